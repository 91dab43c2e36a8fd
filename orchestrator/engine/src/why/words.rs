//! The words a sentence is made of: spans of time, counts, clauses.

use time::{Duration, OffsetDateTime, UtcOffset};

use crate::view::{Effect, EffectState};

/// The longest failure message a sentence quotes, in characters; the rest is among the failures.
const CLAUSE_CHARS_MAX: usize = 200;

/// A span of time as a person says it: `0.3 s`, `31 s`, `4 m`, `3 h`, `5 d`, rounded down.
pub(super) fn span(duration: Duration) -> String {
    let duration = duration.max(Duration::ZERO);
    match duration.whole_seconds() {
        // Tenths matter while something runs.
        0..10 => match duration.whole_milliseconds() / 100 {
            tenths if tenths % 10 == 0 => format!("{} s", tenths / 10),
            tenths => format!("{}.{} s", tenths / 10, tenths % 10),
        },
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} m", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `4 m ago`.
pub(super) fn ago(duration: Duration) -> String {
    format!("{} ago", span(duration))
}

/// `1 attempt`, `8 attempts`.
pub(super) fn attempts(count: u32) -> String {
    if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") }
}

/// A message as a part of a sentence: its first line, without its full stop, not too long.
pub(super) fn clause(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default().trim().trim_end_matches('.');
    let end = line.char_indices().nth(CLAUSE_CHARS_MAX).map_or(line.len(), |(end, _)| end);
    if end == 0 { "no message" } else { &line[..end] }
}

/// ` In force: EUR 42.00 charged.`, or that it may be.
pub(super) fn effect_line(effect: &Effect) -> String {
    let state = match effect.state {
        EffectState::InForce => "In force",
        EffectState::Unknown => "May be in force",
        EffectState::None | EffectState::Undone => return String::new(),
    };
    format!(" {state}: {}.", clause(&effect.description))
}

/// `12:03:41 UTC`.
pub(super) fn time_of_day(at: OffsetDateTime) -> String {
    let (hour, minute, second) = at.to_offset(UtcOffset::UTC).time().as_hms();
    format!("{hour:02}:{minute:02}:{second:02} UTC")
}
