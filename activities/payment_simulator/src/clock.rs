//! The simulator's clock: the real one, and what was added to it through `/_sim/clock`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Default)]
pub(crate) struct Clock {
    offset_seconds: AtomicI64,
}

impl Clock {
    /// Unix milliseconds, moved by the offset. What keys, intents and the ledger are dated with.
    pub(crate) fn now_ms(&self) -> i64 {
        real_ms() + self.offset_seconds.load(Ordering::Relaxed) * 1_000
    }

    /// Moves the clock and returns the whole offset.
    pub(crate) fn advance(&self, seconds: i64) -> i64 {
        self.offset_seconds.fetch_add(seconds, Ordering::Relaxed) + seconds
    }
}

/// Unix milliseconds. What timers and webhook signatures go by: receivers check those with their own clocks.
pub(crate) fn real_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
