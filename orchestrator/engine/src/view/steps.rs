//! A saga's steps as others see them.

use super::story::{StepStory, Story};
use super::{FailureView, StepKind, StepState, StepView};
use crate::handler::Handlers;
use crate::state::{Kind, State, Status, Step};
use crate::summary::{attempts_ended, dependency_of, name_of};

/// Every position the workflow claimed.
pub(crate) fn steps(story: Story, handlers: &Handlers) -> Vec<StepView> {
    let Story { state, steps, .. } = story;
    let steps = state.steps.iter().zip(steps).enumerate();
    steps
        .map(|(index, (step, kept))| step_view(&state, index as u32 + 1, step, kept, handlers))
        .collect()
}

fn step_view(
    state: &State,
    number: u32,
    step: &Step,
    kept: StepStory,
    handlers: &Handlers,
) -> StepView {
    let name = name_of(&step.kind);
    let failures = kept.failures.into_iter().map(|failed| FailureView {
        direction: failed.direction,
        attempt: failed.attempt,
        at: failed.at,
        problem: failed.problem,
        dependency: dependency_of(handlers, name),
        next_at: failed.next_at,
    });
    StepView {
        number,
        name: name.to_owned(),
        kind: kind(&step.kind),
        state: step_state(state, number, step, kept.timed_out),
        attempts: attempts_ended(step) - u32::from(kept.by_hand),
        intended_at: step.at,
        // An operator may open a step again that had been given up.
        closed_at: kept.closed_at.filter(|_| step.status != Status::Open),
        input: kept.input,
        output: kept.output,
        failures: failures.collect(),
    }
}

fn kind(kind: &Kind) -> StepKind {
    match kind {
        Kind::Activity { .. } => StepKind::Activity,
        Kind::Sleep { .. } => StepKind::Sleep,
        Kind::Await { .. } => StepKind::Signal,
    }
}

fn step_state(state: &State, number: u32, step: &Step, timed_out: bool) -> StepState {
    let over = state.turned.is_some() || state.ending.is_some();
    let planned = state.turned.iter().flat_map(|turned| turned.plan.groups.iter().flatten());
    let planned = planned.map(|undo| undo.step).any(|step| step == number);
    match (step.status, &step.kind) {
        _ if step.undone => StepState::Undone,
        _ if planned => StepState::Undoing,
        (Status::Done, Kind::Await { .. }) if timed_out => StepState::TimedOut,
        (Status::Done, _) => StepState::Done,
        (Status::Rejected, _) => StepState::Rejected,
        (Status::GivenUp, _) => StepState::GivenUp,
        // The saga turned back while it was open, and it is not of the kind that is undone.
        (Status::Open, _) if over => StepState::GivenUp,
        (Status::Open, Kind::Sleep { .. } | Kind::Await { .. }) => StepState::Waiting,
        (Status::Open, Kind::Activity { .. }) if step.tries.next_at.is_some() => {
            StepState::Retrying
        }
        (Status::Open, Kind::Activity { .. }) => StepState::Running,
    }
}
