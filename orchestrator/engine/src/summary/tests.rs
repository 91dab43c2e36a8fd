//! How each kind of state stands.

use super::*;
use crate::journal::Fact;
use crate::view::fixture::{
    at, done, failed, handlers, held, intent, journal, refused, turned_back, undo_failed,
};

fn stands(entries: &[(f64, &[Fact])], seconds: f64) -> Standing {
    let mut state = State::default();
    for entry in journal(entries) {
        state.apply_all(&entry.facts, entry.at);
    }
    standing(&state, &handlers(), at(seconds))
}

fn charging() -> Fact {
    intent(1, "charge-payment", "EUR 42.00")
}

#[test]
fn before_its_first_step_it_runs_at_none() {
    let standing = stands(&[], 1.0);
    assert_eq!((standing.phase, standing.step, standing.activity), (Phase::Running, 0, None));
    assert_eq!(standing.next_at, Some(at(31.0)));
}

#[test]
fn a_running_step_has_its_attempt_and_a_horizon() {
    let standing = stands(&[(0.0, &[charging()])], 1.0);
    assert_eq!((standing.phase, standing.step, standing.attempt), (Phase::Running, 1, 1));
    assert_eq!(standing.activity.as_deref(), Some("charge-payment"));
    assert_eq!(standing.dependency.as_deref(), Some("payment gateway"));
    assert_eq!(standing.next_at, Some(at(31.0)));
    assert_eq!((standing.problem, standing.attention), (None, None));
}

#[test]
fn a_failed_step_is_retrying_until_its_next_time() {
    let entries: &[(f64, &[Fact])] = &[
        (0.0, &[charging()]),
        (1.0, &[refused(1, 1, Some(2.0))]),
        (3.0, &[failed(1, 2, "503", Some(9.0))]),
    ];
    let standing = stands(entries, 3.0);
    assert_eq!((standing.phase, standing.attempt), (Phase::Retrying, 2));
    assert_eq!((standing.first_failed_at, standing.next_at), (Some(at(1.0)), Some(at(9.0))));
    assert_eq!(standing.problem.unwrap().message, "503");

    let retry_now = [Fact::RetryNow { by: "anna".into() }];
    let again = [entries, &[(5.0, &retry_now)]].concat();
    let standing = stands(&again, 5.0);
    assert_eq!((standing.phase, standing.attempt), (Phase::Running, 3));
    assert_eq!(standing.first_failed_at, Some(at(1.0)), "it has not recovered yet");
}

#[test]
fn only_timers_are_a_wait_until_the_earliest() {
    let sleep = Fact::Sleep { step: 1, until: at(60.0) };
    let wait = Fact::Await { step: 2, signal: "paid".into(), until: at(50.0) };
    let standing = stands(&[(0.0, &[sleep, wait])], 1.0);
    assert_eq!((standing.phase, standing.step), (Phase::Waiting, 2));
    assert_eq!(standing.activity.as_deref(), Some("paid"));
    assert_eq!((standing.next_at, standing.dependency), (Some(at(50.0)), None));
}

#[test]
fn of_two_steps_at_once_the_failing_one_is_told() {
    let reserve = intent(2, "reserve-inventory", "2 of sku_77");
    let standing =
        stands(&[(0.0, &[charging(), reserve]), (1.0, &[refused(2, 1, Some(4.0))])], 1.0);
    assert_eq!((standing.phase, standing.step), (Phase::Retrying, 2));
    assert_eq!(standing.dependency.as_deref(), Some("inventory database"));
}

#[test]
fn of_two_steps_at_once_the_first_that_is_due_says_when() {
    let reserve = intent(2, "reserve-inventory", "2 of sku_77");
    let both = [charging(), reserve];
    let entries: &[(f64, &[Fact])] = &[
        (0.0, &both),
        (1.0, &[refused(2, 1, Some(4.0))]),
        // Told, because it needs a person; the other one is due long before.
        (950.0, &[failed(1, 1, "no answer", Some(2_000.0))]),
        (951.0, &[refused(2, 2, Some(1_900.0)), failed(1, 2, "no answer", Some(3_000.0))]),
    ];
    let standing = stands(entries, 1_890.0);
    assert_eq!((standing.step, standing.attention.as_deref()), (1, Some("unknown_effect")));
    assert_eq!(standing.next_at, Some(at(1_900.0)));

    // One that is under way comes before one that waits for longer.
    let entries: &[(f64, &[Fact])] = &[(0.0, &both), (1.0, &[refused(2, 1, Some(400.0))])];
    let standing = stands(entries, 1.0);
    assert_eq!((standing.phase, standing.next_at), (Phase::Retrying, Some(at(31.0))));
}

#[test]
fn a_held_saga_stands_since_it_was_held() {
    let entries: &[(f64, &[Fact])] =
        &[(0.0, &[charging()]), (5.0, &[held(Some(1), "panicked", "oops")])];
    let standing = stands(entries, 500.0);
    assert_eq!((standing.phase, standing.step), (Phase::Held, 1));
    assert_eq!(standing.attention.as_deref(), Some("panicked"));
    assert_eq!(
        (standing.next_at, standing.problem.unwrap().code),
        (Some(at(5.0)), "panicked".into())
    );
}

#[test]
fn a_held_undo_needs_a_person_for_the_undo() {
    let back = turned_back(&[(1, "charge-payment", true)]);
    let entries: &[(f64, &[Fact])] = &[
        (0.0, &[charging()]),
        (1.0, &[done(1, "ch_3"), back]),
        (5.0, &[undo_failed(1, 1, "gone", None), held(Some(1), "charge_not_found", "gone")]),
    ];
    let standing = stands(entries, 9.0);
    assert_eq!((standing.direction, standing.phase), (Direction::Backward, Phase::Held));
    assert_eq!((standing.attempt, standing.attention.as_deref()), (1, Some("undo_failed")));
}

#[test]
fn a_paused_saga_is_held_where_it_is() {
    let paused = Fact::Paused { by: "anna".into(), reason: "red".into() };
    let standing =
        stands(&[(0.0, &[charging()]), (1.0, &[failed(1, 1, "503", Some(2.0)), paused])], 7.0);
    assert_eq!((standing.phase, standing.step, standing.attempt), (Phase::Held, 1, 1));
    assert_eq!((standing.attention.as_deref(), standing.next_at), (Some("paused"), Some(at(7.0))));
}

#[test]
fn an_ended_saga_has_no_next_time() {
    let ended = |ending| Fact::Ended { ending, output: None };
    let completed =
        stands(&[(0.0, &[charging()]), (1.0, &[done(1, "ch_3"), ended(Ending::Completed)])], 9.0);
    assert_eq!((completed.phase, completed.next_at), (Phase::Ended, None));
    assert_eq!((completed.step, completed.attempt), (1, 1));
    assert_eq!((completed.ending, completed.problem), (Some(Ending::Completed), None));

    let back = turned_back(&[]);
    let undone = stands(&[(0.0, &[charging()]), (1.0, &[back, ended(Ending::Cancelled)])], 9.0);
    assert_eq!((undone.direction, undone.ending), (Direction::Backward, Some(Ending::Cancelled)));
}

#[test]
fn a_saga_that_goes_on_in_vain_needs_a_person() {
    let back = turned_back(&[(1, "charge-payment", true)]);
    let undoing = |attempts: u32, seconds: f64| {
        let first = [undo_failed(1, 1, "gone", Some(11.0))];
        let last = [undo_failed(1, attempts, "gone", Some(seconds + 9.0))];
        let start = [charging(), done(1, "ch_3"), back.clone()];
        let entries: &[(f64, &[Fact])] = &[(0.0, &start), (10.0, &first), (seconds, &last)];
        stands(entries, seconds)
    };
    assert_eq!(undoing(9, 600.0).attention, None);
    assert_eq!(undoing(10, 60.0).attention.as_deref(), Some("undo_failed"));
    assert_eq!(undoing(2, 611.0).attention.as_deref(), Some("undo_failed"));
    assert_eq!(undoing(2, 611.0).phase, Phase::Retrying, "it goes on all the same");

    let trying = |fact: fn(u32, u32, Option<f64>) -> Fact, seconds: f64| {
        let first = [fact(1, 1, Some(11.0))];
        let last = [fact(1, 2, Some(seconds + 9.0))];
        let entries: &[(f64, &[Fact])] = &[(0.0, &[charging()]), (10.0, &first), (seconds, &last)];
        stands(entries, seconds)
    };
    let unsure = |step, attempt, next_s| failed(step, attempt, "no answer", next_s);
    assert_eq!(trying(unsure, 900.0).attention, None);
    assert_eq!(trying(unsure, 911.0).attention.as_deref(), Some("unknown_effect"));
    assert_eq!(trying(refused, 911.0).attention, None, "it certainly did not happen");

    let confirming = [charging(), done(1, "ch_3"), Fact::Pivot, intent(2, "confirm-order", "o")];
    let past_pivot = |attempts: u32| {
        let failures: Vec<_> = (1..=attempts).map(|n| refused(2, n, Some(41.0))).collect();
        stands(&[(0.0, &confirming), (10.0, &failures)], 11.0)
    };
    assert_eq!(past_pivot(11).attention, None);
    assert_eq!(past_pivot(12).attention.as_deref(), Some("exhausted"));
}

#[test]
fn an_activity_this_node_does_not_know_goes_by_its_name() {
    let standing = stands(&[(0.0, &[intent(1, "ship-parcel", "p")])], 1.0);
    assert_eq!(standing.dependency.as_deref(), Some("ship-parcel"));
    assert_eq!(standing.next_at, Some(at(31.0)));
}
