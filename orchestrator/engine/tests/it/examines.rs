//! A node does not start beside a clock that is too far from its own.

use engine::checkup::{Checkup, Level};
use engine::schema::{Durability, Needs, SAGA, SchemaError};
use time::{Duration, OffsetDateTime};

use crate::harness::database;

async fn examined(url: &str, now: fn() -> OffsetDateTime) -> (Checkup, Level, String) {
    let needs = Needs { now, ..Needs::new(Durability::Waived) };
    let checkup = SAGA.examine(url, needs).await;
    let clock = checkup.findings.iter().find(|finding| finding.check == "clock").unwrap();
    let (level, text) = (clock.level, clock.to_string());
    (checkup, level, text)
}

fn seconds_ago(seconds: i64) -> OffsetDateTime {
    engine::now() - Duration::seconds(seconds)
}

#[tokio::test]
async fn a_clock_that_is_too_far_away_is_refused_and_one_that_is_off_is_told() {
    let url = database().await;
    let (checkup, level, _) = examined(&url, || seconds_ago(0)).await;
    assert_eq!(level, Level::Ok);
    checkup.accepted().unwrap();

    let (checkup, level, text) = examined(&url, || seconds_ago(3)).await;
    assert_eq!(level, Level::Warning);
    assert!(text.contains("s ahead of this machine's: set both clocks by NTP"), "{text}");
    checkup.accepted().unwrap();

    for (now, side) in [
        ((|| seconds_ago(60)) as fn() -> _, "ahead of this machine's"),
        (|| seconds_ago(-60), "behind this machine's"),
    ] {
        let (checkup, level, text) = examined(&url, now).await;
        assert_eq!(level, Level::Refused);
        assert!(text.contains(side), "{text}");
        let error = checkup.accepted().unwrap_err();
        assert!(matches!(error, SchemaError::Skewed { .. }), "{error}");
        assert_eq!(error.to_string(), text, "one voice");
    }
}

#[tokio::test]
async fn what_lies_within_the_time_of_the_question_proves_nothing() {
    // A clock that jumps a minute while the question is under way.
    static ASKED: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
    let jumping = || {
        let asked = ASKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        seconds_ago(if asked == 0 { 30 } else { -30 })
    };
    let (_, level, text) = examined(&database().await, jumping).await;
    assert_eq!(level, Level::Ok, "{text}");
}
