//! The saga under check: reserve, charge, pivot, confirm. Which event follows from what; what the
//! event means is the business of the production rules.

use std::sync::Arc;

use engine::activity::ClassKind;
use engine::decide::decide;
use engine::event::{Ask, Event, Message};
use engine::journal::{Ending, Fact, Problem};
use engine::payload::Payload;
use engine::state::{State, Status};
use time::OffsetDateTime;
use uuid::Uuid;

/// The only moment there is: what is due may happen at any time.
pub(crate) const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

pub(crate) const RESERVE: u32 = 1;
pub(crate) const CHARGE: u32 = 2;
pub(crate) const CONFIRM: u32 = 3;

/// Takes in an event and runs the workflow as far as it gets with it. What comes of it is part of
/// the state, and still to be written.
pub(crate) fn happen(state: &mut State, event: Event) -> Vec<Fact> {
    let mut facts = decide(state, event);
    state.apply_all(&facts, NOW);
    if !facts.is_empty() {
        facts.extend(advance(state));
    }
    facts
}

/// Runs the workflow as far as it gets.
pub(crate) fn advance(state: &mut State) -> Vec<Fact> {
    let mut all = Vec::new();
    while let Some(event) = asks(state) {
        let facts = decide(state, event);
        state.apply_all(&facts, NOW);
        all.extend(facts);
    }
    all
}

/// What the workflow's code says next, if it is its turn.
fn asks(state: &State) -> Option<Event> {
    let waits = state.steps.last().is_some_and(|step| step.status != Status::Done);
    if waits || state.turned.is_some() || state.ending.is_some() {
        return None;
    }
    Some(match (state.steps.len(), state.pivot) {
        (0, _) => step("reserve", ClassKind::Undoable),
        (1, _) => step("charge", ClassKind::Undoable),
        (2, None) => Event::Asked(Ask::Pivot),
        (2, Some(_)) => step("confirm", ClassKind::ForwardOnly),
        _ => Event::Returned(Payload::null()),
    })
}

fn step(name: &str, class: ClassKind) -> Event {
    let name: Arc<str> = name.into();
    Event::Asked(Ask::Step { name, class, with: None, input: Payload::null() })
}

pub(crate) fn done(step: u32) -> Event {
    Event::Done { step, output: Payload::null() }
}

pub(crate) fn rejected(step: u32) -> Event {
    Event::Rejected { step, code: "no".into(), reason: String::new(), details: None }
}

/// Nobody knows whether it happened, unless `unsure` is false.
pub(crate) fn failed(step: u32, unsure: bool, gives_up: bool) -> Event {
    let next_at = (!gives_up).then_some(NOW);
    Event::Failed { step, unsure, counted: true, problem: no_answer(), next_at, slow_at: NOW }
}

pub(crate) fn undo_failed(step: u32) -> Event {
    Event::UndoFailed { step, problem: no_answer(), next_at: Some(NOW) }
}

fn no_answer() -> Problem {
    Problem::own("timed_out", "")
}

pub(crate) fn cancel() -> Event {
    let message = Message::Cancel { by: "customer".into(), reason: String::new() };
    Event::Message { id: Uuid::nil(), message }
}

pub(crate) fn is_undone(state: &State) -> bool {
    matches!(state.ending, Some(Ending::Undone | Ending::Cancelled))
}
