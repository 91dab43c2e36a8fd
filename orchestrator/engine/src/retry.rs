//! When to try again, and when to give up. The only file that knows the crate `backoff`.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::exponential::ExponentialBackoff;
use backoff::{ExponentialBackoffBuilder, SystemClock};

use crate::clock::LONGEST_WAIT;

/// How often and for how long a step is tried. Waits grow by a factor from `first` to `cap`, each
/// spread by half of itself either way so that many sagas do not come back at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The wait after the first failed attempt.
    pub first: Duration,
    /// What each wait is multiplied by to get the next; at least 1.
    pub factor: f64,
    /// The longest wait.
    pub cap: Duration,
    /// Give up after this many attempts; `None`: never.
    pub attempts_max: Option<u32>,
}

impl RetryPolicy {
    /// 200 ms, doubling to 30 s, 12 attempts: about three minutes. What an activity gets that does
    /// not say otherwise.
    pub const DEFAULT: Self = Self {
        first: Duration::from_millis(200),
        factor: 2.0,
        cap: Duration::from_secs(30),
        attempts_max: Some(12),
    };

    /// 500 ms, doubling to 60 s, for ever: what an undo gets, and a step after the pivot.
    pub const FOREVER: Self = Self {
        first: Duration::from_millis(500),
        factor: 2.0,
        cap: Duration::from_secs(60),
        attempts_max: None,
    };

    /// Whether a step that failed `attempts` times is given up.
    pub fn is_exhausted(&self, attempts: u32) -> bool {
        self.attempts_max.is_some_and(|max| attempts >= max)
    }

    /// How long to wait after the failed attempt number `attempt` (from 1). Random within half of
    /// the nominal wait either way, never above the cap (backoff's own jitter can exceed it).
    pub fn wait_after(&self, attempt: u32) -> Duration {
        let exponent = attempt.saturating_sub(1).min(64) as i32;
        let cap = self.cap.min(LONGEST_WAIT);
        let nominal = self.first.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let nominal = Duration::from_secs_f64(nominal.min(cap.as_secs_f64()));
        let mut intervals: ExponentialBackoff<SystemClock> = ExponentialBackoffBuilder::new()
            .with_initial_interval(nominal)
            .with_randomization_factor(0.5)
            .with_max_interval(cap)
            // Its default gives up after 15 minutes; giving up is `attempts_max` here.
            .with_max_elapsed_time(None)
            .build();
        intervals.next_backoff().unwrap_or(cap).min(cap)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_never_exceed_the_cap() {
        let policy = RetryPolicy::DEFAULT;
        for attempt in [1, 2, 5, 8, 100, u32::MAX] {
            let nominal = 0.2 * 2f64.powi(attempt.min(20) as i32 - 1);
            let wait = policy.wait_after(attempt).as_secs_f64();
            assert!(wait <= 30.0, "attempt {attempt}: {wait}");
            assert!(wait >= (nominal * 0.49).min(15.0 * 0.99), "attempt {attempt}: {wait}");
        }
    }

    #[test]
    fn whatever_it_says_there_is_a_time_after_the_wait() {
        let forever =
            RetryPolicy { first: Duration::MAX, cap: Duration::MAX, ..RetryPolicy::DEFAULT };
        for attempt in [1, u32::MAX] {
            assert!(forever.wait_after(attempt) <= LONGEST_WAIT);
        }
    }

    #[test]
    fn gives_up_only_when_told_to() {
        assert!(!RetryPolicy::DEFAULT.is_exhausted(11));
        assert!(RetryPolicy::DEFAULT.is_exhausted(12));
        assert!(!RetryPolicy::FOREVER.is_exhausted(u32::MAX));
    }
}
