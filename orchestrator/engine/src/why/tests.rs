//! Every rule, its sentence, and which rule goes before which.

mod stopped;

use super::*;
use crate::journal::{Ending, Fact};
use crate::payload::Payload;
use crate::view::SagaView;
use crate::view::fixture::{
    at, done, failed, handlers, held, intent, journal, refused, row, turned_back, undo_failed,
};

const ALIVE: Owner = Owner { alive: true, offers: true, silent_since: None };

/// The why of a saga with this journal, so many seconds after noon.
fn why_of(entries: &[(f64, &[Fact])], owner: Owner, seconds: f64) -> Option<Why> {
    let handlers = handlers();
    let look = crate::view::Look { handlers: &handlers, owner, now: at(seconds) };
    SagaView::of(row(), Payload::null(), &journal(entries), look).why
}

struct Case {
    journal: Vec<(f64, Vec<Fact>)>,
    now_s: f64,
    code: &'static str,
    stuck: bool,
    by: &'static str,
    sentence: &'static str,
}

fn check(cases: Vec<Case>) {
    for case in cases {
        let entries: Vec<_> = case.journal.iter().map(|(at, facts)| (*at, &facts[..])).collect();
        let why = why_of(&entries, ALIVE, case.now_s).unwrap();
        assert_eq!(why.sentence, case.sentence);
        assert_eq!(
            (&*why.code, why.stuck, why.unblocked_by),
            (case.code, case.stuck, case.by),
            "{}",
            case.sentence
        );
    }
}

fn charging() -> Fact {
    intent(1, "charge-payment", "EUR 42.00")
}

#[test]
fn a_failing_saga_that_needs_a_person_says_what_is_at_stake() {
    check(vec![
        Case {
            journal: vec![
                (0.0, vec![charging()]),
                (1.0, vec![turned_back(&[(1, "charge-payment", false)])]),
                (10.0, vec![undo_failed(1, 1, "404 charge not found", Some(11.0))]),
                (2_465.0, vec![undo_failed(1, 12, "404 charge not found", Some(2_501.0))]),
            ],
            now_s: 2_470.0,
            code: "undo_failed",
            stuck: true,
            by: "operator",
            sentence: "Could not undo charge-payment for 41 m: 404 charge not found, attempt 12, next try in 31 s. May be in force: EUR 42.00 charged.",
        },
        Case {
            journal: vec![
                (0.0, vec![charging()]),
                (10.0, vec![failed(1, 1, "no answer within 30 s", Some(11.0))]),
                (970.0, vec![failed(1, 8, "no answer within 30 s", Some(1_000.0))]),
            ],
            now_s: 975.0,
            code: "unknown_effect",
            stuck: true,
            by: "operator",
            sentence: "Not known for 16 m whether it happened: EUR 42.00 charged (no answer within 30 s, attempt 8 of 12, next try in 25 s).",
        },
        Case {
            journal: vec![
                (0.0, vec![charging()]),
                (1.0, vec![done(1, "ch_3"), Fact::Pivot, intent(2, "confirm-order", "ord_1")]),
                (10.0, (1..=12).map(|n| refused(2, n, Some(41.0))).collect()),
            ],
            now_s: 20.0,
            code: "exhausted",
            stuck: true,
            by: "operator",
            sentence: "Waiting 10 s for the order database: connection refused, attempt 12, next try in 21 s. Past the point of no return it is tried until it succeeds.",
        },
    ]);
}

#[test]
fn a_saga_whose_time_has_passed_says_so() {
    let wait = |signal: &str| Fact::Await { step: 1, signal: signal.into(), until: at(60.0) };
    let overdue = |journal, now_s, sentence| Case {
        journal,
        now_s,
        code: "overdue",
        stuck: true,
        by: "operator",
        sentence,
    };
    check(vec![
        overdue(vec![], 90.0, "Overdue: accepted 1 m ago and not begun."),
        overdue(
            vec![(0.0, vec![charging()])],
            120.0,
            "Overdue: charge-payment began 2 m ago; one attempt may take 30 s.",
        ),
        overdue(
            vec![(0.0, vec![charging()]), (1.0, vec![failed(1, 1, "503", Some(2.0))])],
            122.0,
            "Overdue: the next try of charge-payment was due 2 m ago.",
        ),
        overdue(
            vec![(0.0, vec![Fact::Sleep { step: 1, until: at(60.0) }])],
            100.0,
            "Overdue: its sleep should have ended 40 s ago.",
        ),
        overdue(
            vec![(0.0, vec![wait("paid")])],
            100.0,
            "Overdue: its wait for the signal paid should have ended 40 s ago.",
        ),
        overdue(
            vec![
                (0.0, vec![charging()]),
                (1.0, vec![done(1, "ch_3"), turned_back(&[(1, "charge-payment", true)])]),
            ],
            121.0,
            "Overdue: the undo of charge-payment began 2 m ago; one attempt may take 30 s.",
        ),
    ]);
}

#[test]
fn a_retrying_saga_says_what_it_waits_for() {
    let attempts = |first: u32, last: u32| {
        let facts = vec![failed(1, last, "503 Service Unavailable", Some(281.0))];
        vec![
            (0.0, vec![charging()]),
            (10.0, vec![failed(1, first, "503 Service Unavailable", Some(11.0))]),
            (249.0, facts),
        ]
    };
    check(vec![
        Case {
            journal: attempts(1, 6),
            now_s: 250.0,
            code: "retrying_long",
            stuck: true,
            by: "dependency",
            sentence: "Waiting 4 m for the payment gateway: 503 Service Unavailable, attempt 6 of 12, next try in 31 s.",
        },
        Case {
            journal: vec![(0.0, vec![charging()]), (10.0, vec![failed(1, 2, "503", Some(13.0))])],
            now_s: 11.2,
            code: "retrying",
            stuck: false,
            by: "dependency",
            sentence: "Waiting 1.2 s for the payment gateway: 503, attempt 2 of 12, next try in 1.8 s.",
        },
        Case {
            journal: vec![(0.0, vec![charging()]), (10.0, vec![failed(1, 2, "503", Some(13.0))])],
            now_s: 14.0,
            code: "retrying",
            stuck: false,
            by: "dependency",
            sentence: "Waiting 4 s for the payment gateway: 503, attempt 2 of 12, next try now.",
        },
        Case {
            journal: vec![
                (0.0, vec![charging()]),
                (1.0, vec![done(1, "ch_3"), turned_back(&[(1, "charge-payment", true)])]),
                (10.0, vec![undo_failed(1, 1, "503", Some(12.0))]),
            ],
            now_s: 11.0,
            code: "retrying",
            stuck: false,
            by: "dependency",
            sentence: "Undoing charge-payment: waiting 1 s for the payment gateway: 503, attempt 1, next try in 1 s.",
        },
    ]);
}

#[test]
fn a_healthy_saga_says_what_it_does() {
    let healthy = |journal, now_s, code, by, sentence| Case {
        journal,
        now_s,
        code,
        stuck: false,
        by,
        sentence,
    };
    let wait = Fact::Await { step: 1, signal: "payment-confirmed".into(), until: at(900.0) };
    check(vec![
        healthy(vec![], 0.3, "running", "nobody", "Accepted 0.3 s ago, about to begin."),
        healthy(
            vec![(0.0, vec![charging()])],
            1.2,
            "running",
            "nobody",
            "Running charge-payment for 1.2 s, attempt 1.",
        ),
        healthy(
            vec![
                (0.0, vec![charging()]),
                (1.0, vec![failed(1, 3, "503", Some(30.0))]),
                (5.0, vec![Fact::RetryNow { by: "anna".into() }]),
            ],
            7.0,
            "running",
            "nobody",
            "Running charge-payment for 2 s, attempt 4.",
        ),
        healthy(
            vec![(0.0, vec![charging()]), (1.0, vec![done(1, "ch_3")])],
            1.5,
            "running",
            "nobody",
            "Going on after charge-payment for 0.5 s.",
        ),
        healthy(
            vec![
                (0.0, vec![charging()]),
                (1.0, vec![done(1, "ch_3"), turned_back(&[(1, "charge-payment", true)])]),
            ],
            1.3,
            "running",
            "nobody",
            "Undoing charge-payment for 0.3 s, attempt 1.",
        ),
        healthy(
            vec![(0.0, vec![wait])],
            180.0,
            "waiting",
            "customer",
            "Waiting 3 m for the signal payment-confirmed, up to 15 m.",
        ),
        healthy(
            vec![(0.0, vec![Fact::Sleep { step: 1, until: at(60.0) }])],
            29.0,
            "waiting",
            "nobody",
            "Sleeping for another 31 s.",
        ),
    ]);
}

#[test]
fn a_paused_saga_says_who_and_why() {
    check(vec![Case {
        journal: vec![
            (0.0, vec![charging()]),
            (10.0, vec![Fact::Paused { by: "anna".into(), reason: "status page red".into() }]),
        ],
        now_s: 730.0,
        code: "paused",
        stuck: true,
        by: "operator",
        sentence: "Paused by anna 12 m ago: \u{201c}status page red\u{201d}.",
    }]);
}

#[test]
fn a_shard_without_an_owner_goes_before_all_but_what_needs_a_person() {
    let gone = Owner { alive: false, offers: true, silent_since: Some(at(20.0)) };
    let retrying: &[(f64, &[Fact])] =
        &[(0.0, &[charging()]), (1.0, &[failed(1, 1, "503", Some(30.0))])];
    let why = why_of(retrying, gone, 51.0).unwrap();
    assert_eq!(
        why.sentence,
        "Nobody owns its shard since 12:00:20 UTC (31 s); it goes on when a node takes it over."
    );
    assert_eq!((&*why.code, why.stuck, why.since), ("no_owner", true, at(20.0)));
    assert_eq!(why.unblocked_by, "deploy");

    let never = Owner { alive: false, offers: true, silent_since: None };
    let why = why_of(&[], never, 1.0).unwrap();
    assert_eq!(why.sentence, "Nobody owns its shard; it goes on when a node takes it over.");

    // A takeover takes seconds: not worth a word.
    assert_eq!(why_of(retrying, gone, 24.0).unwrap().code, "retrying");
    let stopped: &[(f64, &[Fact])] = &[(0.0, &[held(None, "poison", "p")])];
    assert_eq!(why_of(stopped, gone, 60.0).unwrap().code, "poison");
}

#[test]
fn an_ended_saga_needs_no_reason() {
    let ended = Fact::Ended { ending: Ending::Completed, output: None };
    assert_eq!(why_of(&[(0.0, &[ended])], ALIVE, 1.0), None);
}

#[test]
fn the_data_says_the_same_as_the_sentence() {
    let entries: &[(f64, &[Fact])] =
        &[(0.0, &[charging()]), (10.0, &[failed(1, 6, "503", Some(41.0))])];
    let why = why_of(entries, ALIVE, 11.0).unwrap();
    assert_eq!((why.attempt, why.max_attempts), (6, Some(12)));
    assert_eq!((why.since, why.next_attempt_at), (at(10.0), Some(at(41.0))));
    assert_eq!(why.dependency.as_deref(), Some("payment gateway"));
    assert_eq!(why.step.as_deref(), Some("charge-payment"));
    assert_eq!(why.error.unwrap().code, "gateway_unavailable");
}

#[test]
fn spans_are_said_as_people_say_them() {
    let cases = [
        (-5.0, "0 s"),
        (0.04, "0 s"),
        (0.34, "0.3 s"),
        (9.99, "9.9 s"),
        (31.9, "31 s"),
        (59.99, "59 s"),
        (60.0, "1 m"),
        (3_599.0, "59 m"),
        (3_600.0, "1 h"),
        (172_799.0, "47 h"),
        (172_800.0, "2 d"),
    ];
    for (seconds, said) in cases {
        assert_eq!(span(Duration::seconds_f64(seconds)), said);
    }
}
