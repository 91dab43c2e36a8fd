//! What is said of a saga that stopped.

use super::*;

/// Stopped at 10 s; asked 12 minutes later.
fn stopped(
    mut facts: Vec<Fact>,
    hold: Fact,
    code: &'static str,
    by: &'static str,
    sentence: &'static str,
) -> Case {
    let mut journal = vec![(0.0, vec![charging()])];
    facts.push(hold);
    journal.push((10.0, facts));
    Case { journal, now_s: 730.0, code, stuck: true, by, sentence }
}

#[test]
fn a_stopped_saga_says_what_stopped_it() {
    check(vec![
        stopped(
            vec![failed(1, 12, "503 Service Unavailable", Some(11.0))],
            held(Some(1), "exhausted", "503 Service Unavailable"),
            "exhausted",
            "operator",
            "Stopped 12 m ago: the payment gateway failed 12 attempts of charge-payment (503 Service Unavailable). Retry it or resolve it by hand.",
        ),
        stopped(
            vec![],
            held(Some(2), "diverged", "step 2 was create-order, the code asks for charge-payment"),
            "diverged",
            "deploy",
            "Stopped 12 m ago: this build's workflow does not do what its journal says: step 2 was create-order, the code asks for charge-payment. Deploy the build it was started with.",
        ),
        stopped(
            vec![],
            held(Some(1), "panicked", "index out of bounds\nat line 7"),
            "panicked",
            "deploy",
            "Stopped 12 m ago: charge-payment panicked: index out of bounds. Deploy a fix, then retry.",
        ),
        stopped(
            vec![],
            held(None, "panicked", "oops"),
            "panicked",
            "deploy",
            "Stopped 12 m ago: the workflow panicked: oops. Deploy a fix, then retry.",
        ),
        stopped(
            vec![],
            held(Some(1), "misfit", "input: missing field `what`"),
            "misfit",
            "deploy",
            "Stopped 12 m ago: recorded data and charge-payment do not fit: input: missing field `what`. Deploy a fix, then retry.",
        ),
    ]);
}

#[test]
fn a_saga_stopped_by_a_bound_or_a_refusal_says_which() {
    check(vec![
        stopped(
            vec![],
            held(None, "poison", "3 owners found it at rev 1"),
            "poison",
            "operator",
            "Stopped 12 m ago: it was taken over again and again without getting any further: 3 owners found it at rev 1. Find out why, then retry.",
        ),
        stopped(
            vec![],
            held(None, "too_many_steps", "the workflow asked for more than 1000 steps"),
            "too_many_steps",
            "deploy",
            "Stopped 12 m ago: the workflow asked for more than 1000 steps. Deploy a fix, then retry.",
        ),
        stopped(
            vec![],
            held(
                Some(1),
                "payload_too_large",
                "output: the value has 300000 bytes, the most is 262144",
            ),
            "payload_too_large",
            "deploy",
            "Stopped 12 m ago: output: the value has 300000 bytes, the most is 262144. Deploy a fix, then retry.",
        ),
        stopped(
            vec![],
            held(Some(1), "odd", "it is odd."),
            "odd",
            "operator",
            "Stopped 12 m ago at charge-payment: it is odd. Retry it or resolve it by hand.",
        ),
        Case {
            journal: vec![
                (0.0, vec![charging()]),
                (1.0, vec![done(1, "ch_3"), Fact::Pivot, intent(2, "confirm-order", "ord_1")]),
                (10.0, vec![held(Some(2), "order_gone", "there is no order ord_1")]),
            ],
            now_s: 730.0,
            code: "order_gone",
            stuck: true,
            by: "operator",
            sentence: "Stopped 12 m ago: confirm-order said no past the point of no return: there is no order ord_1. Retry it or resolve it by hand.",
        },
        Case {
            journal: vec![
                (0.0, vec![charging()]),
                (1.0, vec![done(1, "ch_3"), turned_back(&[(1, "charge-payment", true)])]),
                (
                    10.0,
                    vec![
                        undo_failed(1, 1, "404 charge not found", None),
                        held(Some(1), "charge_not_found", "404 charge not found"),
                    ],
                ),
            ],
            now_s: 2_470.0,
            code: "undo_failed",
            stuck: true,
            by: "operator",
            sentence: "Stopped 41 m ago: could not undo charge-payment: 404 charge not found (1 attempt). In force: EUR 42.00 charged, ch_3.",
        },
    ]);
}

#[test]
fn what_stopped_a_saga_goes_before_which_way_it_went() {
    check(vec![
        stopped(
            vec![done(1, "ch_3"), turned_back(&[(1, "charge-payment", true)])],
            held(None, "poison", "3 owners found it at rev 2"),
            "poison",
            "operator",
            "Stopped 12 m ago: it was taken over again and again without getting any further: 3 owners found it at rev 2. Find out why, then retry.",
        ),
        stopped(
            vec![done(1, "ch_3"), Fact::Pivot, intent(2, "confirm-order", "ord_1")],
            held(Some(2), "unknown_activity", "this build has no activity confirm-order"),
            "unknown_activity",
            "deploy",
            "Stopped 12 m ago: this build has no activity confirm-order. Deploy a build that can go on, then retry.",
        ),
    ]);
}
