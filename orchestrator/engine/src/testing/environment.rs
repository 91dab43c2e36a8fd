//! What the environment asks for: a fault at a boundary, and a planted bug.

use std::fs::File;
use std::sync::{Arc, OnceLock};

use super::boundary::BoundaryFault;
use super::planted;
use super::watch::BoundaryWatch;
use crate::program::Registry;

/// `<boundary>:<direction>:<activity>:<harm>`: done once by this process.
pub const FAULT: &str = "AMENDS_TEST_FAULT";
/// The file to which a line is added, durably, before the fault: the fault and the saga's id.
pub const FAULT_LOG: &str = "AMENDS_TEST_FAULT_LOG";

/// `registry` with what the environment asks for, unless a test asked for something else. What it
/// asks for wrongly is named.
pub(crate) fn applied_to(mut registry: Registry) -> Result<Registry, String> {
    // One for all engines of the process.
    static WATCH: OnceLock<Result<Option<Arc<BoundaryWatch>>, String>> = OnceLock::new();
    if let Some(bug) = planted::from_environment()? {
        tracing::warn!(%bug, "a bug is planted");
    }
    let Some(watch) = WATCH.get_or_init(watch).clone()? else { return Ok(registry) };
    let fault = watch.fault();
    if !registry.handlers.contains_key(fault.activity.as_str()) {
        return Err(format!("{FAULT}: there is no activity `{}`", fault.activity));
    }
    tracing::warn!(%fault, "a fault waits for its saga");
    registry.watch.get_or_insert(watch);
    Ok(registry)
}

fn watch() -> Result<Option<Arc<BoundaryWatch>>, String> {
    let Ok(text) = std::env::var(FAULT) else { return Ok(None) };
    let fault: BoundaryFault = text.parse().map_err(|error| format!("{FAULT}: {error}"))?;
    let path = std::env::var_os(FAULT_LOG).ok_or_else(|| format!("{FAULT} needs {FAULT_LOG}"))?;
    let log = File::options().create(true).append(true).open(&path);
    let log = log.map_err(|error| format!("{FAULT_LOG}: {}: {error}", path.display()))?;
    Ok(Some(BoundaryWatch::logging(fault, Some(log))))
}
