//! How a saga stands, as its row says it: derived from its journal's state alone.

use time::{Duration, OffsetDateTime};

use crate::handler::{Description, Handlers};
use crate::journal::{Direction, Ending, Problem};
use crate::state::{Held, Kind, State, Status, Step, Todo};
use crate::view::Phase;

/// How long a running saga may be silent before it counts as overdue, unless one attempt of its
/// activity may take longer.
pub(crate) const HORIZON: Duration = Duration::seconds(30);

/// An undo that failed so often, or for so long, needs a person; it goes on trying.
const UNDO_FAILURES_MAX: u32 = 10;
const UNDO_FAILING_MAX: Duration = Duration::minutes(10);
/// A step that may have happened and that nobody could settle for so long needs a person.
const UNSETTLED_MAX: Duration = Duration::minutes(15);

/// The columns of a saga's row that follow from its state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    /// Which way it goes.
    pub(crate) direction: Direction,
    /// What it is doing.
    pub(crate) phase: Phase,
    /// The step it is at; 0 before the first.
    pub(crate) step: u32,
    /// That step's activity, `sleep`, or the name of the signal.
    pub(crate) activity: Option<String>,
    /// The number of that step's present or last attempt.
    pub(crate) attempt: u32,
    /// When the present row of failures began.
    pub(crate) first_failed_at: Option<OffsetDateTime>,
    /// When the engine does the next thing; none: never again.
    pub(crate) next_at: Option<OffsetDateTime>,
    /// What it waits for, in words.
    pub(crate) dependency: Option<String>,
    /// The last failure.
    pub(crate) problem: Option<Problem>,
    /// Set when only a person, or somebody outside, can make it go on.
    pub(crate) attention: Option<String>,
    /// How it ended.
    pub(crate) ending: Option<Ending>,
}

/// How `state` stands at `at`.
pub(crate) fn standing(state: &State, handlers: &Handlers, at: OffsetDateTime) -> Standing {
    if let Some(ending) = state.ending {
        return ended(state, ending);
    }
    if let Some(held) = &state.held {
        return stopped_by(state, held, handlers, at);
    }
    if state.paused.is_some() {
        let mut free = state.clone();
        free.paused = None;
        let attention = Some("paused".to_owned());
        return Standing {
            phase: Phase::Held,
            next_at: Some(at),
            attention,
            ..going(&free, handlers, at)
        };
    }
    going(state, handlers, at)
}

/// What is known of the activity `name`, if this node has it.
pub(crate) fn describe(handlers: &Handlers, name: &str) -> Option<Description> {
    handlers.get(name).map(|handler| handler.describe_self())
}

/// What `name` depends on, in words; its own name when this node does not know it.
pub(crate) fn dependency_of(handlers: &Handlers, name: &str) -> String {
    describe(handlers, name).map_or(name, |description| description.dependency).to_owned()
}

/// The name a position goes by.
pub(crate) fn name_of(kind: &Kind) -> &str {
    match kind {
        Kind::Activity { name, .. } => name,
        Kind::Sleep { .. } => "sleep",
        Kind::Await { signal, .. } => signal,
    }
}

fn ended(state: &State, ending: Ending) -> Standing {
    let turned_at = state.turned.as_ref().and_then(|turned| turned.because.step);
    let number = turned_at.unwrap_or(state.steps.len() as u32);
    let step = state.step(number);
    Standing {
        attempt: step.map_or(0, attempts_ended),
        problem: step.filter(|_| turned_at.is_some()).and_then(|step| step.tries.problem.clone()),
        ending: Some(ending),
        ..bare(state, Phase::Ended, number)
    }
}

fn stopped_by(state: &State, held: &Held, handlers: &Handlers, at: OffsetDateTime) -> Standing {
    let mut free = state.clone();
    (free.held, free.paused) = (None, None);
    let place = match held.step {
        Some(number) => at_step(state, handlers, number),
        None => going(&free, handlers, at),
    };
    let code = match state.direction() {
        Direction::Backward => "undo_failed",
        Direction::Forward => &held.problem.code,
    };
    Standing {
        phase: Phase::Held,
        next_at: Some(held.since),
        problem: Some(held.problem.clone()),
        attention: Some(code.to_owned()),
        ..place
    }
}

/// A saga that is neither over, nor held, nor paused: the todo that says most about it, and the time
/// of the one that comes first.
fn going(state: &State, handlers: &Handlers, at: OffsetDateTime) -> Standing {
    let todos = state.todo();
    let next_at = todos.iter().map(|todo| time_of(todo, state, handlers, at)).min();
    Standing { next_at: next_at.or(Some(at + HORIZON)), ..told(state, &todos, handlers, at) }
}

/// When something is to be heard of a todo: the end of a wait, or that of an attempt that is made now.
fn time_of(todo: &Todo, state: &State, handlers: &Handlers, at: OffsetDateTime) -> OffsetDateTime {
    match *todo {
        Todo::Timer { at, .. }
        | Todo::Attempt { not_before: Some(at), .. }
        | Todo::Undo { not_before: Some(at), .. } => at,
        Todo::Attempt { step, .. } | Todo::Undo { step, .. } => {
            let known = state.step(step).and_then(|step| describe(handlers, name_of(&step.kind)));
            let timeout = known.and_then(|known| Duration::try_from(known.timeout).ok());
            at + timeout.map_or(HORIZON, |timeout| timeout.max(HORIZON))
        }
    }
}

/// The todo that says most about a saga, without its time.
fn told(state: &State, todos: &[Todo], handlers: &Handlers, at: OffsetDateTime) -> Standing {
    let retrying = todos.iter().filter_map(|todo| match *todo {
        Todo::Attempt { step, not_before, .. } | Todo::Undo { step, not_before, .. } => {
            let attention = attention(state, handlers, step, at);
            tries(state, step)?.problem.as_ref()?;
            Some((attention, not_before?, step))
        }
        Todo::Timer { .. } => None,
    });
    let worst = retrying.min_by_key(|(attention, next_at, _)| (attention.is_none(), *next_at));
    if let Some((attention, _, step)) = worst {
        return Standing { phase: Phase::Retrying, attention, ..at_step(state, handlers, step) };
    }
    let acting = todos.iter().find_map(|todo| match *todo {
        Todo::Attempt { step, number, .. } | Todo::Undo { step, number, .. } => {
            Some((step, number))
        }
        Todo::Timer { .. } => None,
    });
    if let Some((step, attempt)) = acting {
        return Standing { attempt, ..at_step(state, handlers, step) };
    }
    let timer = todos.iter().filter_map(|todo| match *todo {
        Todo::Timer { step, at } => Some((at, step)),
        Todo::Attempt { .. } | Todo::Undo { .. } => None,
    });
    match timer.min() {
        Some((_, step)) => bare(state, Phase::Waiting, step),
        None => bare(state, Phase::Running, state.steps.len() as u32),
    }
}

/// At an activity, with its failures so far.
fn at_step(state: &State, handlers: &Handlers, number: u32) -> Standing {
    let tries = tries(state, number);
    let activity = state.step(number).filter(|step| matches!(step.kind, Kind::Activity { .. }));
    Standing {
        attempt: tries.map_or(0, |tries| tries.attempts),
        first_failed_at: tries.and_then(|tries| tries.first_failed_at),
        problem: tries.and_then(|tries| tries.problem.clone()),
        dependency: activity.map(|step| dependency_of(handlers, name_of(&step.kind))),
        ..bare(state, Phase::Running, number)
    }
}

fn bare(state: &State, phase: Phase, number: u32) -> Standing {
    Standing {
        direction: state.direction(),
        phase,
        step: number,
        activity: state.step(number).map(|step| name_of(&step.kind).to_owned()),
        attempt: 0,
        first_failed_at: None,
        next_at: None,
        dependency: None,
        problem: None,
        attention: None,
        ending: None,
    }
}

/// The tries that count in the direction the saga goes.
pub(crate) fn tries(state: &State, number: u32) -> Option<&crate::state::Tries> {
    state.step(number).map(|step| match state.direction() {
        Direction::Forward => &step.tries,
        Direction::Backward => &step.undo,
    })
}

/// How many forward attempts ended, with the last one if it gave an outcome.
pub(crate) fn attempts_ended(step: &Step) -> u32 {
    let outcome = matches!(step.status, Status::Done | Status::Rejected)
        && matches!(step.kind, Kind::Activity { .. });
    step.tries.attempts + u32::from(outcome)
}

/// Why a step that is still being tried needs a person all the same.
fn attention(
    state: &State,
    handlers: &Handlers,
    number: u32,
    at: OffsetDateTime,
) -> Option<String> {
    let step = state.step(number)?;
    let tries = tries(state, number)?;
    let failing = tries.first_failed_at.map_or(Duration::ZERO, |first| at - first);
    let code = match state.direction() {
        Direction::Backward
            if tries.attempts >= UNDO_FAILURES_MAX || failing > UNDO_FAILING_MAX =>
        {
            "undo_failed"
        }
        Direction::Forward if state.pivot.is_some() && is_used_up(handlers, step) => "exhausted",
        Direction::Forward if step.unsure && failing > UNSETTLED_MAX => "unknown_effect",
        _ => return None,
    };
    Some(code.to_owned())
}

fn is_used_up(handlers: &Handlers, step: &Step) -> bool {
    describe(handlers, name_of(&step.kind))
        .is_some_and(|known| known.retry.is_exhausted(step.tries.counted))
}

#[cfg(test)]
pub(crate) mod properties;
#[cfg(test)]
mod tests;
