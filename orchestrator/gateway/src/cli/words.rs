//! Times as people say them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `4 m`, `2 h`: the time between a moment and now, in its largest unit. `-` when there is none.
pub(super) fn between(at: Option<&str>, now: OffsetDateTime) -> String {
    let parsed = at.and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
    parsed.map_or_else(|| "-".to_owned(), |at| span((now - at).whole_seconds().unsigned_abs()))
}

/// The time until a moment; `now` when it has come.
pub(super) fn until(at: Option<&str>, now: OffsetDateTime) -> String {
    let parsed = at.and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
    match parsed {
        Some(at) if at <= now => "now".to_owned(),
        _ => between(at, now),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_their_largest_unit() {
        let now = OffsetDateTime::parse("2026-01-02T00:00:00Z", &Rfc3339).unwrap();
        for (at, words) in [
            ("2026-01-02T00:00:00Z", "0 s"),
            ("2026-01-01T23:59:01Z", "59 s"),
            ("2026-01-01T23:56:00.5Z", "3 m"),
            ("2026-01-01T22:00:00Z", "2 h"),
            ("2025-12-02T00:00:00Z", "31 d"),
        ] {
            assert_eq!(between(Some(at), now), words);
        }
        assert_eq!(between(None, now), "-");
        assert_eq!(between(Some("garbage"), now), "-");
        assert_eq!(until(Some("2026-01-02T00:00:31Z"), now), "31 s");
        assert_eq!(until(Some("2026-01-01T00:00:31Z"), now), "now");
    }
}
