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
    recoveries: Vec<Duration>,
}

impl FaultLog {
    /// In `directory`, named after the scenario and its seed.
    pub(crate) fn create(directory: &Path, scenario: &str, seed: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("{scenario}-{seed}.jsonl"));
        let file = File::create(&path)?;
        let inner = Inner { file, counts: BTreeMap::new(), recoveries: Vec::new() };
        Ok(Self { path, began: Instant::now(), inner: Mutex::new(inner) })
    }

    /// Notes one fault.
    pub(crate) fn note(&self, kind: &str, about: Value) {
        let mut inner = self.inner.lock().unwrap();
        *inner.counts.entry(kind.to_owned()).or_default() += 1;
        let at = self.began.elapsed().as_millis() as u64;
        writeln!(inner.file, "{}", json!({"ms": at, "fault": kind, "about": about})).unwrap();
    }

    /// Adds to a count what somebody else counted.
    pub(crate) fn count(&self, kind: &str, times: u64) {
        *self.inner.lock().unwrap().counts.entry(kind.to_owned()).or_default() += times;
    }

    /// Notes how long it took until the first success after a fault was over.
    pub(crate) fn recovered(&self, after: Duration) {
        let mut inner = self.inner.lock().unwrap();
        inner.recoveries.push(after);
        let at = self.began.elapsed().as_millis() as u64;
        writeln!(inner.file, "{}", json!({"ms": at, "recovered_ms": after.as_millis() as u64}))
            .unwrap();
    }

    /// How often each kind happened.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.inner.lock().unwrap().counts.clone()
    }

    /// The longest recovery, if any was measured.
    pub(crate) fn slowest_recovery(&self) -> Option<Duration> {
        self.inner.lock().unwrap().recoveries.iter().max().copied()
    }
}
