//! Whether this node may rely on its lease. Safety never rests on it - the fence holds without any
//! clock - but a node that may have been replaced must not go on calling the outside world.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The lease as this node's own monotonic clock sees it.
#[derive(Debug)]
pub(crate) struct Lease {
    made: Instant,
    /// Milliseconds after `made` until which attempts may start.
    safe_until_ms: AtomicU64,
    renewed: watch::Sender<()>,
}

impl Lease {
    pub(crate) fn new() -> Self {
        let renewed = watch::Sender::new(());
        Self { made: Instant::now(), safe_until_ms: AtomicU64::new(0), renewed }
    }

    /// The lease was renewed by a statement that was sent at `sent`, for `ttl`. A tenth of it is
    /// left as a margin.
    pub(crate) fn renewed(&self, sent: Instant, ttl: Duration) {
        let until = sent.duration_since(self.made) + ttl * 9 / 10;
        self.safe_until_ms.store(until.as_millis() as u64, Ordering::Release);
        self.renewed.send_replace(());
    }

    /// Whether attempts may start.
    pub(crate) fn is_safe(&self) -> bool {
        let now = self.made.elapsed().as_millis() as u64;
        now < self.safe_until_ms.load(Ordering::Acquire)
    }

    /// Sees the next renewal.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.renewed.subscribe()
    }
}
