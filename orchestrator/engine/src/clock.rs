//! The one place the engine asks what time it is: the database's time, carried on by this process's
//! monotonic clock between two renewals of the lease.
//!
//! What one node says about time others act on: when a wait is over, when something is overdue, which
//! message came first. So there is one time for all of them, and whoever sets the clock of a machine
//! moves nothing.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use time::{Duration, OffsetDateTime};
use uuid::{ContextV7, Timestamp, Uuid};

/// Nothing waits longer than a hundred years, whatever it says, so that a time it is added to is still one.
pub(crate) const LONGEST_WAIT: std::time::Duration =
    std::time::Duration::from_secs(36_525 * 24 * 3_600);

static CLOCK: LazyLock<Clock> = LazyLock::new(|| Clock::begin(Instant::now(), wall()));

/// Now, to the microsecond: what the database keeps, so that a replay reads the very time that was
/// used. Until a node has asked its database, by the clock that this machine had at first.
pub fn now() -> OffsetDateTime {
    to_the_microsecond(CLOCK.at(Instant::now()))
}

/// Now, by this machine's clock, which may be set at any moment.
#[expect(clippy::disallowed_methods, reason = "the only place that asks it")]
pub(crate) fn wall() -> OffsetDateTime {
    to_the_microsecond(OffsetDateTime::now_utc())
}

/// Goes by what the database said the time was, between `asked` and now.
pub(crate) fn set(asked: Instant, there: OffsetDateTime) {
    let behind = CLOCK.set(asked, there, Instant::now());
    if behind.abs() > WORTH_A_WORD {
        let seconds = behind.as_seconds_f64();
        tracing::warn!(seconds, "this node's time was behind the database's, and is set to it");
    }
}

/// A new id of a message or of an audit row: later ones sort after earlier ones.
pub(crate) fn new_id() -> Uuid {
    static ORDER: std::sync::Mutex<ContextV7> = std::sync::Mutex::new(ContextV7::new());
    let now = now();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(&ORDER, seconds, now.nanosecond()))
}

/// How far a clock that showed `before`, then `after`, is behind one that showed `there` in between, at
/// the least: what lies within the time that the question took proves nothing.
pub(crate) fn behind(
    before: OffsetDateTime,
    there: OffsetDateTime,
    after: OffsetDateTime,
) -> Duration {
    (there - after).max(Duration::ZERO) + (there - before).min(Duration::ZERO)
}

/// Clocks that merely run differently are not so far apart after a few seconds: one of them was set, or
/// this machine stood still.
const WORTH_A_WORD: Duration = Duration::SECOND;

struct Clock {
    began: Instant,
    /// The time at `began`, in nanoseconds since 1970: what corrections change.
    began_at_ns: AtomicI64,
}

impl Clock {
    fn begin(began: Instant, at: OffsetDateTime) -> Self {
        Self { began, began_at_ns: AtomicI64::new(nanoseconds(at)) }
    }

    fn at(&self, instant: Instant) -> OffsetDateTime {
        let began_at = from_nanoseconds(self.began_at_ns.load(Ordering::Relaxed));
        began_at + instant.duration_since(self.began)
    }

    /// Sets it right, if what was said proves it wrong; says by how much.
    fn set(&self, asked: Instant, there: OffsetDateTime, answered: Instant) -> Duration {
        let seen = self.began_at_ns.load(Ordering::Relaxed);
        let began_at = from_nanoseconds(seen);
        let at = |instant: Instant| began_at + instant.duration_since(self.began);
        let behind = behind(at(asked), there, at(answered));
        let (right, order) = (nanoseconds(began_at + behind), Ordering::Relaxed);
        // Somebody else of this process may have set it right meanwhile: once is enough.
        let _ = self.began_at_ns.compare_exchange(seen, right, order, order);
        behind
    }
}

fn nanoseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos()).unwrap_or_default()
}

fn from_nanoseconds(at: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(at.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn to_the_microsecond(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(at.microsecond() * 1_000).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration as Span;

    use super::*;

    const NOON: OffsetDateTime = time::macros::datetime!(2026-01-01 12:00 UTC);
    const HOUR: Duration = Duration::HOUR;

    /// A clock that shows noon now, and a question that takes two seconds.
    fn asked() -> (Clock, Instant, Instant) {
        let began = Instant::now();
        (Clock::begin(began, NOON), began, began + Span::from_secs(2))
    }

    #[test]
    fn it_goes_on_by_itself() {
        let (clock, began, later) = asked();
        assert_eq!(clock.at(began), NOON);
        assert_eq!(clock.at(later), NOON + Span::from_secs(2));
    }

    #[test]
    fn it_is_set_by_an_hour_either_way() {
        for ahead in [HOUR, -HOUR] {
            let (clock, began, later) = asked();
            clock.set(began, NOON + ahead, later);
            assert!((clock.at(began) - NOON - ahead).abs() <= Duration::seconds(2));
            assert_eq!(clock.set(began, NOON + ahead, later), Duration::ZERO, "said again");
        }
    }

    #[test]
    fn an_answer_that_may_be_right_changes_nothing() {
        for seconds in [0, 1, 2] {
            let (clock, began, later) = asked();
            let behind = clock.set(began, NOON + Duration::seconds(seconds), later);
            assert_eq!((behind, clock.at(began)), (Duration::ZERO, NOON));
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let ids: Vec<Uuid> = (0..1_000).map(|_| new_id()).collect();
        assert!(ids.is_sorted());
    }
}
