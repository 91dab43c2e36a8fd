//! What a journal looks like to others.

use super::fixture::{
    at, done, failed, handlers, intent, journal, refused, row, turned_back, undo_failed,
};
use super::*;
use crate::journal::Fact;
use crate::why::Owner;

fn view_of(entries: &[(f64, &[Fact])], seconds: f64) -> SagaView {
    let owner = Owner { alive: true, offers: true, silent_since: None };
    let handlers = handlers();
    let look = Look { handlers: &handlers, owner, now: at(seconds) };
    SagaView::of(row(), Payload::null(), &journal(entries), look)
}

fn charging() -> Fact {
    intent(1, "charge-payment", "EUR 42.00")
}

fn effect_of(entries: &[(f64, &[Fact])], seconds: f64) -> (EffectState, String) {
    let effect = view_of(entries, seconds).effects.remove(0);
    (effect.state, effect.description)
}

#[test]
fn the_ledger_says_what_is_in_force() {
    let intended = [charging()];
    let start: (f64, &[Fact]) = (0.0, &intended);
    let made = "EUR 42.00 charged, ch_3".to_owned();
    let known = "EUR 42.00 charged".to_owned();
    let back = turned_back(&[(1, "charge-payment", true)]);

    assert_eq!(effect_of(&[start], 1.0), (EffectState::Unknown, known.clone()));
    let charged: &[Fact] = &[done(1, "ch_3")];
    assert_eq!(effect_of(&[start, (1.0, charged)], 2.0), (EffectState::InForce, made.clone()));
    let turned: &[Fact] = &[done(1, "ch_3"), back];
    assert_eq!(effect_of(&[start, (1.0, turned)], 2.0), (EffectState::InForce, made.clone()));
    let undone: &[Fact] = &[Fact::Undone { step: 1, by: None }];
    let all = [start, (1.0, turned), (2.0, undone)];
    assert_eq!(effect_of(&all, 3.0), (EffectState::Undone, made));
    let rejected: &[Fact] = &[Fact::Rejected { step: 1 }];
    assert_eq!(effect_of(&[start, (1.0, rejected)], 2.0), (EffectState::None, known));
}

#[test]
fn an_attempt_that_may_have_happened_leaves_its_effect_unknown() {
    let intended = [charging()];
    let start: (f64, &[Fact]) = (0.0, &intended);
    let state = |facts: &[Fact], seconds| effect_of(&[start, (1.0, facts)], seconds).0;

    let waits: &[Fact] = &[refused(1, 1, Some(5.0))];
    assert_eq!(state(waits, 2.0), EffectState::None, "it certainly did nothing");
    assert_eq!(state(waits, 6.0), EffectState::Unknown, "the next attempt may be under way");
    assert_eq!(state(&[failed(1, 1, "no answer", Some(5.0))], 2.0), EffectState::Unknown);
    assert_eq!(state(&[failed(1, 12, "no answer", None)], 2.0), EffectState::Unknown);
    assert_eq!(state(&[refused(1, 12, None)], 2.0), EffectState::None);
    let settled = [
        failed(1, 1, "no answer", Some(5.0)),
        Fact::DidNotHappen { step: 1, by: "anna".into() },
        refused(1, 2, Some(5.0)),
    ];
    assert_eq!(state(&settled, 2.0), EffectState::None);
}

#[test]
fn the_row_is_brought_up_to_the_journal() {
    let ended = Fact::Ended { ending: Ending::Completed, output: Some(Payload::null()) };
    let view = view_of(&[(0.0, &[charging()]), (1.5, &[done(1, "ch_3"), ended])], 9.0);
    assert_eq!((view.summary.phase, view.summary.ending), (Phase::Ended, Some(Ending::Completed)));
    assert_eq!((view.summary.rev, view.summary.changed_at), (2, at(1.5)));
    assert_eq!((view.why, view.result), (None, Some(Payload::null())));
    assert_eq!(view.summary.business_key.as_deref(), Some("ord_1"), "the rest is the row's");
}

#[test]
fn steps_keep_what_went_in_what_came_out_and_what_failed() {
    let wait = Fact::Await { step: 2, signal: "paid".into(), until: at(60.0) };
    let paid = Payload::encode(&7).unwrap();
    let signal = |payload: &Payload| Fact::Signal { name: "paid".into(), payload: payload.clone() };
    let early = [charging(), signal(&paid)];
    let facts = [done(1, "ch_3"), wait, Fact::Signalled { step: 2 }];
    let last = [intent(3, "reserve-inventory", "2 of sku_77")];
    let entries: &[(f64, &[Fact])] = &[
        (0.0, &early),
        (1.0, &[failed(1, 1, "503", Some(1.5))]),
        (2.0, &facts),
        (3.0, &[signal(&Payload::null())]),
        (4.0, &last),
    ];
    let view = view_of(entries, 5.0);
    let seen: Vec<_> =
        view.steps.iter().map(|step| (&*step.name, step.kind, step.state, step.attempts)).collect();
    assert_eq!(
        seen,
        [
            ("charge-payment", StepKind::Activity, StepState::Done, 2),
            ("paid", StepKind::Signal, StepState::Done, 0),
            ("reserve-inventory", StepKind::Activity, StepState::Running, 0),
        ]
    );
    assert_eq!(view.steps[0].closed_at, Some(at(2.0)));
    assert_eq!(view.steps[0].output.as_ref().unwrap().json(), "\"ch_3\"");
    assert_eq!(view.steps[0].failures[0].dependency, "payment gateway");
    assert_eq!(view.steps[1].output, Some(paid), "the earliest kept signal");
    assert_eq!(view.steps[2].closed_at, None);
}

#[test]
fn a_wait_that_is_not_over_is_a_step_too() {
    let view = view_of(&[(0.0, &[Fact::Sleep { step: 1, until: at(60.0) }])], 1.0);
    let step = &view.steps[0];
    assert_eq!(
        (&*step.name, step.kind, step.state),
        ("sleep", StepKind::Sleep, StepState::Waiting)
    );
    assert_eq!(view.effects, []);
}

#[test]
fn steps_say_how_far_their_unwinding_is() {
    let back = turned_back(&[(2, "reserve-inventory", false), (1, "charge-payment", true)]);
    let reserving = intent(2, "reserve-inventory", "2 of sku_77");
    let sleep = Fact::Sleep { step: 3, until: at(60.0) };
    let start = [charging(), done(1, "ch_3"), reserving, sleep, back];
    let entries: &[(f64, &[Fact])] = &[
        (0.0, &start),
        (1.0, &[undo_failed(2, 1, "busy", Some(2.0))]),
        (2.0, &[Fact::Undone { step: 2, by: None }]),
    ];
    let view = view_of(entries, 3.0);
    let states: Vec<_> = view.steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [StepState::Undoing, StepState::Undone, StepState::GivenUp]);
    assert_eq!(view.steps[1].failures[0].direction, Direction::Backward);
    assert_eq!(view.because.unwrap().code, "cancelled");
    assert!(!view.past_pivot);
}

#[test]
fn an_outcome_by_hand_is_not_an_attempt() {
    let by_hand =
        Fact::Done { step: 1, output: Payload::encode("ch_3").unwrap(), by: Some("anna".into()) };
    let view =
        view_of(&[(0.0, &[charging()]), (1.0, &[failed(1, 1, "x", Some(5.0)), by_hand])], 2.0);
    assert_eq!((view.steps[0].attempts, view.steps[0].state), (1, StepState::Done));
}

#[test]
fn a_step_that_is_opened_again_is_not_closed() {
    let entries: &[(f64, &[Fact])] = &[
        (0.0, &[charging()]),
        (1.0, &[failed(1, 12, "x", None)]),
        (2.0, &[Fact::DidNotHappen { step: 1, by: "anna".into() }]),
    ];
    let view = view_of(entries, 3.0);
    assert_eq!((view.steps[0].state, view.steps[0].closed_at), (StepState::Running, None));
}

#[test]
fn a_saga_whose_owner_lacks_its_workflow_says_so_and_is_stuck_once_it_is_overdue() {
    let handlers = handlers();
    let look = |entries: &[(f64, &[Fact])], offers, seconds| {
        let owner = Owner { alive: true, offers, silent_since: None };
        let look = Look { handlers: &handlers, owner, now: at(seconds) };
        SagaView::of(row(), Payload::null(), &journal(entries), look).why.unwrap()
    };
    let charging: &[(f64, &[Fact])] = &[(0.0, &[charging()])];
    let why = look(charging, false, 7.0);
    assert_eq!((&*why.code, why.stuck, why.unblocked_by), ("no_workflow", false, "deploy"));
    assert_eq!(
        why.sentence,
        "No node that owns it has the workflow place-order: left open for 7 s, it goes on when one that has it takes over."
    );
    assert_eq!(look(charging, true, 7.0).code, "running");
    let late = look(charging, false, 700.0);
    assert_eq!((&*late.code, late.stuck), ("no_workflow", true));
    // What waits waits without its code.
    let sleep = Fact::Sleep { step: 1, until: at(60.0) };
    let waiting: &[(f64, &[Fact])] = &[(0.0, &[sleep])];
    assert_eq!(look(waiting, false, 30.0).code, "waiting");
    assert_eq!(look(waiting, false, 91.0).code, "no_workflow");
}
