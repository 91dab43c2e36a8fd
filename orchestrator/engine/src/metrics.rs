//! What the engine counts, under the names Prometheus sees.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Handles looked up once: the hot path only adds.
#[derive(Clone)]
pub(crate) struct Meters {
    /// Commits of the lanes.
    pub(crate) commits: Counter,
    /// Sagas a commit.
    pub(crate) batch_size: Histogram,
    /// How long a commit takes.
    pub(crate) commit_seconds: Histogram,
    /// Writes that a lost fence refused.
    pub(crate) fenced_writes: Counter,
    /// Commits whose answer was lost and that were written again.
    pub(crate) ambiguous_commits: Counter,
    /// Sagas that were started here.
    pub(crate) started: Counter,
    /// Sagas that ended here.
    pub(crate) ended: Counter,
    /// Attempts that ended here.
    pub(crate) attempts: Counter,
    /// Shards that were taken over here.
    pub(crate) takeovers: Counter,
    /// Sagas that were loaded from their journal here.
    pub(crate) loaded: Counter,
    /// Sagas in memory.
    pub(crate) active: Gauge,
    /// Shards that are owned here.
    pub(crate) shards: Gauge,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            commits: counter!("amends_lane_commits_total"),
            batch_size: histogram!("amends_lane_batch_sagas"),
            commit_seconds: histogram!("amends_lane_commit_seconds"),
            fenced_writes: counter!("amends_fenced_writes_total"),
            ambiguous_commits: counter!("amends_ambiguous_commits_total"),
            started: counter!("amends_sagas_started_total"),
            ended: counter!("amends_sagas_ended_total"),
            attempts: counter!("amends_attempts_total"),
            takeovers: counter!("amends_takeovers_total"),
            loaded: counter!("amends_sagas_loaded_total"),
            active: gauge!("amends_sagas_active"),
            shards: gauge!("amends_shards_owned"),
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}
