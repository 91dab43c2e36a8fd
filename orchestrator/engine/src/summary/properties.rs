//! What holds of every saga that the rules can lead to.

use proptest::prelude::*;
use time::Duration;
use uuid::Uuid;

use super::*;
use crate::activity::ClassKind;
use crate::decide::decide;
use crate::event::{Ask, Event, Message, Verdict};
use crate::journal::Entry;
use crate::payload::Payload;
use crate::view::fixture::{at, handlers, problem, row};
use crate::view::{EffectState, Look, SagaView};
use crate::why::Owner;

fn step() -> impl Strategy<Value = Ask> {
    let kinds = prop_oneof![
        Just(("charge-payment", ClassKind::Undoable)),
        Just(("confirm-order", ClassKind::ForwardOnly)),
        Just(("not-known-here", ClassKind::NoUndo)),
    ];
    let input = || Payload::encode(&serde_json::json!({ "what": "EUR 42.00" })).unwrap();
    kinds.prop_map(move |(name, class)| Ask::Step {
        name: name.into(),
        class,
        with: None,
        input: input(),
    })
}

fn message() -> impl Strategy<Value = Message> {
    let by = || "anna".to_owned();
    prop_oneof![
        Just(Message::Cancel { by: by(), reason: "r".into() }),
        Just(Message::RetryNow { by: by() }),
        Just(Message::Pause { by: by(), reason: "r".into() }),
        Just(Message::Resume { by: by() }),
        Just(Message::Signal { name: "paid".into(), payload: serde_json::Value::Null }),
        (1..4_u32).prop_map(move |step| {
            Message::Resolve { by: by(), step, verdict: Verdict::DidNotHappen }
        }),
    ]
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let next = prop_oneof![Just(None), (0.0..2_000.0).prop_map(|seconds| Some(at(seconds)))];
    let failed = (1..4_u32, any::<bool>(), next.clone());
    prop_oneof![
        4 => step().prop_map(Event::Asked),
        1 => Just(Event::Asked(Ask::Sleep { until: at(600.0) })),
        1 => Just(Event::Asked(Ask::Signal { name: "paid".into(), until: at(900.0) })),
        1 => Just(Event::Asked(Ask::Pivot)),
        2 => Just(Event::Returned(Payload::null())),
        4 => (1..4_u32).prop_map(|step| {
            Event::Done { step, output: Payload::encode("ch_3").unwrap() }
        }),
        1 => (1..4_u32).prop_map(|step| {
            Event::Rejected { step, code: "no".into(), reason: "no".into(), details: None }
        }),
        4 => failed.prop_map(|(step, unsure, next_at)| Event::Failed {
            step,
            unsure,
            counted: true,
            problem: problem("p", "503"),
            next_at,
            slow_at: at(2_000.0),
        }),
        3 => (1..4_u32).prop_map(|step| Event::Undone { step }),
        3 => (1..4_u32, next).prop_map(|(step, next_at)| {
            Event::UndoFailed { step, problem: problem("p", "404"), next_at }
        }),
        1 => (0.0..1_000.0).prop_map(|seconds| Event::Due { now: at(seconds) }),
        3 => message().prop_map(|message| Event::Message { id: Uuid::nil(), message }),
        1 => Just(Event::Broken { step: Some(1), problem: problem("panicked", "oops") }),
    ]
}

/// A journal as the rules write it, 20 seconds an entry.
pub(crate) fn journal_of(events: Vec<Event>) -> (State, Vec<Entry>) {
    let (mut state, mut entries) = (State::default(), Vec::new());
    for event in events {
        let facts = decide(&state, event);
        if !facts.is_empty() {
            let seq = entries.len() as i32 + 1;
            let at = at(0.0) + Duration::seconds(20) * seq;
            state.apply_all(&facts, at);
            entries.push(Entry { seq, at, facts });
        }
    }
    (state, entries)
}

proptest! {
    /// The CHECKs of `saga.saga`: a row that breaks one could not be written.
    #[test]
    fn every_standing_fits_the_row(events in prop::collection::vec(event(), 0..40)) {
        let (state, _) = journal_of(events);
        let row = standing(&state, &handlers(), at(500.0));
        prop_assert_eq!(row.phase == Phase::Ended, row.ending.is_some());
        prop_assert_eq!(row.phase == Phase::Ended, row.next_at.is_none());
        let backward = row.direction == Direction::Backward;
        prop_assert!(row.ending != Some(Ending::Completed) || !backward);
        prop_assert!(!matches!(row.ending, Some(Ending::Undone | Ending::Cancelled)) || backward);
        prop_assert!(row.phase != Phase::Held || row.attention.is_some());
        prop_assert!(row.phase != Phase::Retrying || row.problem.is_some());
        prop_assert_eq!(state.step(row.step).is_none(), row.activity.is_none());
    }

    #[test]
    fn every_open_saga_has_a_sentence_and_its_data(
        events in prop::collection::vec(event(), 0..40),
        alive in any::<bool>(),
        seconds in 0.0..5_000.0,
    ) {
        let (state, entries) = journal_of(events);
        let handlers = handlers();
        let owner = Owner { alive, offers: alive, silent_since: None };
        let look = Look { handlers: &handlers, owner, now: at(seconds) };
        let view = SagaView::of(row(), Payload::null(), &entries, look);
        prop_assert_eq!(view.why.is_none(), state.ending.is_some());
        prop_assert_eq!(view.summary.rev, entries.len() as i32);
        prop_assert_eq!(view.steps.len(), state.steps.len());
        if let Some(why) = view.why {
            let whole = why.sentence.ends_with(['.', '?']);
            prop_assert!(whole && !why.sentence.contains("  "), "{}", why.sentence);
            prop_assert!(why.stuck || alive);
        }
        // Nothing that was done and not undone is left out of what is in force.
        for effect in &view.effects {
            let step = state.step(effect.step).unwrap();
            let in_force = step.status == Status::Done && !step.undone;
            prop_assert_eq!(effect.state == EffectState::InForce, in_force);
        }
    }
}
