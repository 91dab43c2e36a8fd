//! What the environment asks for: faults at boundaries, poison, and a planted bug.

use std::fs::File;
use std::sync::{Arc, OnceLock};

use super::boundary::BoundaryFault;
use super::watch::BoundaryWatch;
use super::{planted, poison};
use crate::program::Registry;

/// `<boundary>:<direction>:<activity>:<harm>`: done once by this process. Several stand apart by
/// commas.
pub const FAULT: &str = "AMENDS_TEST_FAULT";
/// The file to which a line is added, durably, before a fault: the fault and the saga's id.
pub const FAULT_LOG: &str = "AMENDS_TEST_FAULT_LOG";

/// `registry` with what the environment asks for, unless a test asked for something else. What it
/// asks for wrongly is named.
pub(crate) fn applied_to(mut registry: Registry) -> Result<Registry, String> {
    // One for all engines of the process.
    static WATCHES: OnceLock<Result<Vec<Arc<BoundaryWatch>>, String>> = OnceLock::new();
    if let Some(bug) = planted::from_environment()? {
        tracing::warn!(%bug, "a bug is planted");
    }
    let known = |variable, activity: &str| match registry.handlers.contains_key(activity) {
        true => Ok(()),
        false => Err(format!("{variable}: there is no activity `{activity}`")),
    };
    for poison in poison::from_environment().clone()? {
        known(poison::POISON, &poison.activity)?;
        tracing::warn!(%poison, "calls are poisoned");
    }
    let watches = WATCHES.get_or_init(watches).clone()?;
    for fault in watches.iter().map(|watch| watch.fault()) {
        known(FAULT, &fault.activity)?;
        tracing::warn!(%fault, "a fault waits for its saga");
    }
    if registry.watches.is_empty() {
        registry.watches = watches;
    }
    Ok(registry)
}

fn watches() -> Result<Vec<Arc<BoundaryWatch>>, String> {
    let Ok(text) = std::env::var(FAULT) else { return Ok(Vec::new()) };
    let fault = |text: &str| -> Result<BoundaryFault, String> {
        text.parse().map_err(|error| format!("{FAULT}: {error}"))
    };
    let faults: Vec<_> = text.split(',').map(fault).collect::<Result<_, _>>()?;
    let path = std::env::var_os(FAULT_LOG).ok_or_else(|| format!("{FAULT} needs {FAULT_LOG}"))?;
    let log = File::options().create(true).append(true).open(&path);
    let log = log.map_err(|error| format!("{FAULT_LOG}: {}: {error}", path.display()))?;
    let log = Arc::new(log);
    let watch = |fault| BoundaryWatch::logging(fault, Some(log.clone()));
    Ok(faults.into_iter().map(watch).collect())
}
