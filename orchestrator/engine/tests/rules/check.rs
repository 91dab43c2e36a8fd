//! What must hold of every state, and of every change from one to the next.

use std::collections::BTreeSet;

use engine::activity::ClassKind;
use engine::event::{Event, Message};
use engine::journal::{Ending, Fact, Plan};
use engine::state::{Kind, State, Status, Todo};

use crate::events::has_open;

/// Of every state.
pub(crate) fn state(state: &State) {
    let todos = state.todo();
    let stands = state.ending.is_some() || state.held.is_some() || state.paused.is_some();
    if stands {
        assert_eq!(todos, [], "nothing is under way while it is over, held or paused");
    } else if state.turned.is_some() {
        assert!(!todos.is_empty(), "it turned back and does nothing: {state:#?}");
    } else if has_open(state) {
        assert!(!todos.is_empty(), "something is open and nothing is under way: {state:#?}");
    }
    for todo in &todos {
        due(state, todo);
    }
    if let Some(turned) = &state.turned {
        assert!(state.pivot.is_none(), "it turned back past its pivot");
        plan(state, &turned.plan);
    }
    match state.ending {
        Some(Ending::Completed) => {
            assert!(state.turned.is_none() && !has_open(state), "{state:#?}");
        }
        Some(Ending::Undone | Ending::Cancelled) => {
            let plan = &state.turned.as_ref().expect("it turned back").plan;
            let undone = |step: u32| state.step(step).is_some_and(|step| step.undone);
            assert!(plan.groups.iter().flatten().all(|undo| undone(undo.step)), "{state:#?}");
        }
        Some(Ending::ClosedWithResidue) => panic!("nothing here closes with residue"),
        None => {}
    }
}

fn due(state: &State, todo: &Todo) {
    match *todo {
        Todo::Attempt { step, number, .. } => {
            let step = state.step(step).expect("it is there");
            assert!(state.turned.is_none());
            assert_eq!(step.status, Status::Open);
            assert!(matches!(step.kind, Kind::Activity { .. }));
            assert_eq!(number, step.tries.attempts + 1);
        }
        Todo::Undo { step, number, .. } => {
            let plan = &state.turned.as_ref().expect("it turned back").plan;
            let place = plan.groups.iter().position(|group| group.iter().any(|u| u.step == step));
            let earlier = &plan.groups[..place.expect("only what is planned is undone")];
            let undone = |step: u32| state.step(step).is_some_and(|step| step.undone);
            assert!(earlier.iter().flatten().all(|undo| undone(undo.step)), "out of order");
            assert!(!undone(step), "undone twice");
            assert_eq!(number, state.step(step).expect("it is there").undo.attempts + 1);
        }
        Todo::Timer { step, .. } => {
            let step = state.step(step).expect("it is there");
            assert_eq!(step.status, Status::Open);
            assert!(!matches!(step.kind, Kind::Activity { .. }));
        }
    }
}

/// The plan holds exactly what was done or may have happened, the latest first, joins together.
fn plan(state: &State, plan: &Plan) {
    let expected: BTreeSet<u32> = (1..=state.steps.len() as u32)
        .filter(|number| {
            let step = state.step(*number).expect("it is there");
            let undoable = matches!(step.kind, Kind::Activity { class: ClassKind::Undoable, .. });
            let may_be = match step.status {
                Status::Done | Status::Open => true,
                Status::Rejected | Status::GivenUp => step.unsure,
            };
            undoable && may_be
        })
        .collect();
    let planned: Vec<u32> = plan.groups.iter().flatten().map(|undo| undo.step).collect();
    assert_eq!(planned.iter().copied().collect::<BTreeSet<_>>(), expected, "{state:#?}");
    assert!(planned.is_sorted_by(|a, b| a > b), "not in reverse: {planned:?}");
    let leader = |step: u32| match &state.step(step).expect("it is there").kind {
        Kind::Activity { with, .. } => with.unwrap_or(step),
        _ => panic!("not an activity"),
    };
    let leaders: Vec<u32> = plan.groups.iter().map(|group| leader(group[0].step)).collect();
    for (group, of) in plan.groups.iter().zip(&leaders) {
        assert!(group.iter().all(|undo| leader(undo.step) == *of), "two joins in one group");
        for undo in group {
            let done = state.step(undo.step).expect("it is there").status == Status::Done;
            assert_eq!(undo.done, done, "step {}", undo.step);
        }
    }
    assert!(leaders.is_sorted_by(|a, b| a > b), "a join is torn apart: {leaders:?}");
}

/// Of every change.
pub(crate) fn step(before: &State, event: &Event, facts: &[Fact], after: &State) {
    legal(before, facts);
    if before.ending.is_some() {
        assert!(facts.iter().all(|fact| matches!(fact, Fact::Refused { .. })), "{facts:?}");
        assert_eq!(before, after, "it is over and changes");
    }
    if facts.is_empty() {
        assert_eq!(before, after);
    }
    if before.pivot.is_some() {
        assert!(after.turned.is_none(), "{event:?} turned it back past its pivot");
    }
    if let (Some(before), after) = (&before.turned, &after.turned) {
        assert_eq!(Some(before), after.as_ref(), "a frozen plan changed");
    }
    if let Event::Message { id, message } = event {
        answered(before, *id, message, facts);
    }
    if let (Event::Returned(_), Some(_)) = (event, &before.held) {
        assert_eq!(facts, [], "what is parked ends when somebody has let it go");
    }
    if let (Event::Broken { step: Some(step), .. }, Some(_)) = (event, &before.turned)
        && before.step(*step).is_some_and(|step| step.undone)
    {
        assert_eq!(facts, [], "what is undone holds up nothing");
    }
    let may_let_go = matches!(
        event,
        Event::Message { message: Message::RetryNow { .. } | Message::Cancel { .. }, .. }
    );
    if let (Some(held), None, None, false) = (&before.held, &after.held, after.ending, may_let_go) {
        let settled = facts.iter().any(|fact| match fact {
            Fact::Done { step, .. }
            | Fact::DidNotHappen { step, .. }
            | Fact::Undone { step, .. }
            | Fact::Signalled { step }
            | Fact::TimedOut { step }
            | Fact::Woke { step } => held.step == Some(*step),
            Fact::TurnedBack { .. } => true,
            _ => false,
        });
        assert!(settled, "{event:?} let a held saga go: {facts:?}");
    }
}

/// Facts extend a journal legally: positions without gaps, outcomes of what is open only.
fn legal(before: &State, facts: &[Fact]) {
    let mut state = before.clone();
    for (index, fact) in facts.iter().enumerate() {
        let open = |step: u32| state.step(step).is_some_and(|step| step.status == Status::Open);
        match fact {
            Fact::Intent { step, with, .. } => {
                assert_eq!(*step as usize, state.steps.len() + 1, "a gap");
                assert!(with.is_none_or(|with| with <= *step));
                assert!(state.turned.is_none());
            }
            Fact::Sleep { step, .. } | Fact::Await { step, .. } => {
                assert_eq!(*step as usize, state.steps.len() + 1, "a gap");
                assert!(state.turned.is_none());
            }
            Fact::Done { step, .. }
            | Fact::Rejected { step }
            | Fact::DidNotHappen { step, .. }
            | Fact::Signalled { step }
            | Fact::TimedOut { step }
            | Fact::Woke { step } => assert!(open(*step), "{fact:?} of what is not open"),
            Fact::Failed { step, attempt, .. } => {
                assert!(open(*step), "{fact:?} of what is not open");
                assert_eq!(*attempt, state.step(*step).expect("it is open").tries.attempts + 1);
            }
            Fact::Undone { step, .. } | Fact::UndoFailed { step, .. } => {
                let turned = state.turned.as_ref().expect("an undo without a plan");
                let planned = turned.plan.groups.iter().flatten().any(|undo| undo.step == *step);
                assert!(planned, "{fact:?} is not planned");
                assert!(!state.step(*step).expect("planned").undone, "{fact:?} a second time");
            }
            Fact::TurnedBack { .. } => assert!(state.turned.is_none(), "it turned back twice"),
            Fact::Ended { .. } => {
                assert!(state.ending.is_none(), "it ended twice");
                assert_eq!(index + 1, facts.len(), "something follows the end");
            }
            Fact::Pivot
            | Fact::Signal { .. }
            | Fact::Held { .. }
            | Fact::RetryNow { .. }
            | Fact::Paused { .. }
            | Fact::Resumed { .. }
            | Fact::Refused { .. } => {}
        }
        state.apply(fact, time::OffsetDateTime::UNIX_EPOCH);
    }
}

/// Whoever asks for something is heard or told why not; nothing is dropped.
fn answered(before: &State, id: uuid::Uuid, message: &Message, facts: &[Fact]) {
    let refusal = facts.iter().find_map(|fact| match fact {
        Fact::Refused { message, code } => {
            assert_eq!(*message, id);
            Some(code.as_str())
        }
        _ => None,
    });
    match message {
        Message::Started => assert_eq!(facts, []),
        _ if before.ending.is_some() => {
            let is_signal = matches!(message, Message::Signal { .. });
            assert!(is_signal || refusal == Some("already_ended"), "{facts:?}");
        }
        Message::Cancel { .. } => {
            let expected = match (&before.turned, before.pivot) {
                (Some(_), _) => Some("already_turning_back"),
                (None, Some(_)) => Some("too_late_to_cancel"),
                (None, None) => None,
            };
            assert_eq!(refusal, expected);
        }
        _ => assert!(!facts.is_empty(), "{message:?} was dropped"),
    }
}
