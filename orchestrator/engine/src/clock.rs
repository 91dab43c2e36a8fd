//! The one place the engine asks what time it is.

use time::OffsetDateTime;

/// Now, by this node's clock, to the microsecond: what the database keeps, so that a replay reads
/// the very time that was used.
pub(crate) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.microsecond() * 1_000).unwrap_or(now)
}
