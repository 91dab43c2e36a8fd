//! What was done to the system, and when: a line a fault, on disk as it happens.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The faults of one scenario.
#[derive(Debug)]
pub(crate) struct FaultLog {
    pub(crate) path: PathBuf,
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    counts: BTreeMap<String, u64>,
    recoveries: Vec<(Duration, Duration)>,
}

impl FaultLog {
    /// In `directory`, named after the scenario and its seed.
    pub(crate) fn create(directory: &Path, scenario: &str, seed: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("{scenario}-{seed}.jsonl"));
        File::create(&path)?;
        // The clusters of one scenario share it: each line goes to the end.
        let file = File::options().append(true).open(&path)?;
        let inner = Inner { file, counts: BTreeMap::new(), recoveries: Vec::new() };
        Ok(Self { path, began: Instant::now(), inner: Mutex::new(inner) })
    }

    /// Notes one fault.
    pub(crate) fn note(&self, kind: &str, about: Value) {
        let mut inner = self.inner.lock().unwrap();
        *inner.counts.entry(kind.to_owned()).or_default() += 1;
        let at = self.began.elapsed().as_millis() as u64;
        let line = format!("{}\n", json!({"ms": at, "fault": kind, "about": about}));
        inner.file.write_all(line.as_bytes()).unwrap();
    }

    /// Adds to a count what somebody else counted.
    pub(crate) fn count(&self, kind: &str, times: u64) {
        *self.inner.lock().unwrap().counts.entry(kind.to_owned()).or_default() += times;
    }

    /// Notes how long it took after a fault was over until somebody was accepted, and until they had what
    /// they asked for.
    pub(crate) fn recovered(&self, accepted: Duration, ended: Duration) {
        let mut inner = self.inner.lock().unwrap();
        inner.recoveries.push((accepted, ended));
        let at = self.began.elapsed().as_millis() as u64;
        let (accepted, ended) = (accepted.as_millis() as u64, ended.as_millis() as u64);
        let line = json!({"ms": at, "accepted_after_ms": accepted, "ended_after_ms": ended});
        inner.file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// How often each kind happened.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.inner.lock().unwrap().counts.clone()
    }

    /// How often this kind happened.
    pub(crate) fn of(&self, kind: &str) -> u64 {
        self.inner.lock().unwrap().counts.get(kind).copied().unwrap_or(0)
    }

    /// The longest recoveries, in seconds: until accepted, until ended.
    pub(crate) fn slowest_recovery(&self) -> Option<(f64, f64)> {
        let recoveries = &self.inner.lock().unwrap().recoveries;
        let accepted = recoveries.iter().map(|(accepted, _)| accepted).max()?;
        let ended = recoveries.iter().map(|(_, ended)| ended).max()?;
        Some((accepted.as_secs_f64(), ended.as_secs_f64()))
    }
}
