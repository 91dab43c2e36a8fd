//! Random happenings, made to fit the state they meet often enough to get somewhere.

use engine::activity::ClassKind;
use engine::event::{Ask, Event, Message, Verdict};
use engine::journal::Problem;
use engine::payload::Payload;
use engine::state::{Kind, State, Status, Todo};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// What may happen, without the state it happens in.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    AskStep {
        class: ClassKind,
        joined: bool,
    },
    AskSleep,
    AskSignal(u8),
    AskPivot,
    Return,
    /// One of the steps that are due, or any step.
    Outcome {
        pick: u8,
        any: bool,
        outcome: Outcome,
    },
    Due(i64),
    Told(Told),
    Broken(Option<u8>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Succeeds,
    Rejects,
    Fails {
        unsure: bool,
        counted: bool,
    },
    /// Its attempts are used up; an undo is stuck.
    GivesUp {
        unsure: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    Started,
    Signal(u8),
    Cancel,
    RetryNow,
    Pause,
    Resume,
    Resolve { step: u8, verdict: u8 },
}

pub(crate) fn happening() -> impl Strategy<Value = Happening> {
    let class = prop_oneof![
        4 => Just(ClassKind::Undoable),
        1 => Just(ClassKind::NoUndo),
        1 => Just(ClassKind::ForwardOnly),
    ];
    let outcome = prop_oneof![
        5 => Just(Outcome::Succeeds),
        1 => Just(Outcome::Rejects),
        2 => (any::<bool>(), any::<bool>())
            .prop_map(|(unsure, counted)| Outcome::Fails { unsure, counted }),
        1 => any::<bool>().prop_map(|unsure| Outcome::GivesUp { unsure }),
    ];
    let told = prop_oneof![
        Just(Told::Started),
        (0..3u8).prop_map(Told::Signal),
        Just(Told::Cancel),
        Just(Told::RetryNow),
        Just(Told::Pause),
        Just(Told::Resume),
        (1..6u8, 0..3u8).prop_map(|(step, verdict)| Told::Resolve { step, verdict }),
    ];
    prop_oneof![
        8 => (class, any::<bool>())
            .prop_map(|(class, joined)| Happening::AskStep { class, joined }),
        1 => Just(Happening::AskSleep),
        1 => (0..3u8).prop_map(Happening::AskSignal),
        1 => Just(Happening::AskPivot),
        1 => Just(Happening::Return),
        14 => (any::<u8>(), prop::bool::weighted(0.1), outcome)
            .prop_map(|(pick, any, outcome)| Happening::Outcome { pick, any, outcome }),
        2 => (0..100i64).prop_map(Happening::Due),
        3 => told.prop_map(Happening::Told),
        1 => prop::option::of(1..6u8).prop_map(Happening::Broken),
    ]
}

pub(crate) fn at(second: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(second)
}

/// The event a happening is in this state; none: it can not happen there. A workflow asks for
/// nothing while the saga is held without its code, or past its turn.
pub(crate) fn event_of(
    state: &State,
    leader: &mut Option<u32>,
    happening: &Happening,
) -> Option<Event> {
    let runs = state.turned.is_none() && state.held.is_none() && state.ending.is_none();
    let next = state.steps.len() as u32 + 1;
    let event = match *happening {
        Happening::AskStep { class, joined } if runs => {
            // The compiler lets nothing else past.
            let class = match (state.pivot.is_some(), class) {
                (true, _) => ClassKind::ForwardOnly,
                (false, ClassKind::ForwardOnly) => ClassKind::Undoable,
                (false, class) => class,
            };
            *leader = match (joined, *leader) {
                (true, Some(leader)) => Some(leader),
                (true, None) => Some(next),
                (false, _) => None,
            };
            asked_step(if next.is_multiple_of(2) { "even" } else { "odd" }, class, *leader)
        }
        Happening::AskSleep if runs => {
            *leader = None;
            Event::Asked(Ask::Sleep { until: at(50) })
        }
        Happening::AskSignal(name) if runs => {
            *leader = None;
            Event::Asked(Ask::Signal { name: signal(name), until: at(50) })
        }
        Happening::AskPivot if runs => {
            *leader = None;
            Event::Asked(Ask::Pivot)
        }
        // Also of code that was run before it was found not to fit.
        Happening::Return if runs || state.held.is_some() => Event::Returned(Payload::null()),
        Happening::Outcome { pick, any, outcome } => outcome_of(state, pick, any, outcome)?,
        Happening::Due(now) => Event::Due { now: at(now) },
        Happening::Told(told) => {
            Event::Message { id: Uuid::from_u128(u128::from(next)), message: message(told) }
        }
        Happening::Broken(step) => {
            let step = step.map(u32::from).filter(|step| *step < next);
            Event::Broken { step, problem: Problem::own("panicked", "index out of bounds") }
        }
        _ => return None,
    };
    Some(event)
}

fn outcome_of(state: &State, pick: u8, any: bool, outcome: Outcome) -> Option<Event> {
    let todos: Vec<(u32, bool)> = state
        .todo()
        .into_iter()
        .filter_map(|todo| match todo {
            Todo::Attempt { step, .. } => Some((step, false)),
            Todo::Undo { step, .. } => Some((step, true)),
            Todo::Timer { .. } => None,
        })
        .collect();
    let (step, backward) = match (any, todos.len()) {
        // A reply that nobody waits for any more.
        (true, _) | (_, 0) => {
            let step = u32::from(pick) % (state.steps.len() as u32 + 1) + 1;
            // An attempt of something that is no activity does not end.
            let kind = state.step(step).map(|step| &step.kind)?;
            matches!(kind, Kind::Activity { .. }).then_some((step, state.turned.is_some()))?
        }
        (false, count) => todos[usize::from(pick) % count],
    };
    let problem = Problem::own("gateway_unavailable", "503");
    Some(match (backward, outcome) {
        (false, Outcome::Succeeds) => done(step),
        (false, Outcome::Rejects) => {
            let (code, reason) = ("declined".to_owned(), "no".to_owned());
            Event::Rejected { step, code, reason, details: None }
        }
        (false, Outcome::Fails { unsure, counted }) => {
            let next_at = Some(at(60));
            Event::Failed { step, unsure, counted, problem, next_at, slow_at: at(90) }
        }
        (false, Outcome::GivesUp { unsure }) => {
            let next_at = None;
            Event::Failed { step, unsure, counted: true, problem, next_at, slow_at: at(90) }
        }
        (true, Outcome::Succeeds) => Event::Undone { step },
        (true, Outcome::Rejects | Outcome::Fails { .. }) => {
            Event::UndoFailed { step, problem, next_at: Some(at(60)) }
        }
        (true, Outcome::GivesUp { .. }) => Event::UndoFailed { step, problem, next_at: None },
    })
}

pub(crate) fn asked_step(name: &str, class: ClassKind, with: Option<u32>) -> Event {
    Event::Asked(Ask::Step { name: name.into(), class, with, input: Payload::null() })
}

pub(crate) fn done(step: u32) -> Event {
    Event::Done { step, output: Payload::null() }
}

fn signal(name: u8) -> std::sync::Arc<str> {
    format!("signal-{name}").into()
}

fn message(told: Told) -> Message {
    let by = "operator".to_owned();
    let reason = "because".to_owned();
    match told {
        Told::Started => Message::Started,
        Told::Signal(name) => {
            Message::Signal { name: signal(name), payload: serde_json::json!({ "n": name }) }
        }
        Told::Cancel => Message::Cancel { by, reason },
        Told::RetryNow => Message::RetryNow { by },
        Told::Pause => Message::Pause { by, reason },
        Told::Resume => Message::Resume { by },
        Told::Resolve { step, verdict } => {
            let verdict = match verdict {
                0 => Verdict::Happened(serde_json::json!(null)),
                1 => Verdict::DidNotHappen,
                _ => Verdict::Compensated,
            };
            Message::Resolve { by, step: step.into(), verdict }
        }
    }
}

/// Whether something of the saga is open.
pub(crate) fn has_open(state: &State) -> bool {
    state.steps.iter().any(|step| step.status == Status::Open)
}
