//! The rules: what follows from what happens. Pure: no clock, no randomness, no database; times and
//! waits come with the event. The model checker runs this very function.

use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::event::{Ask, Event, Message, Verdict};
use crate::journal::{Because, Ending, Fact, Plan, Problem};
use crate::payload::Payload;
use crate::problem::shortened;
use crate::state::{Kind, State, Status};

/// The most signals that are kept for a workflow that does not ask for them.
pub const SIGNALS_KEPT_MAX: usize = 100;

/// The most positions one saga may claim; a workflow that loops without end is parked there.
pub const STEPS_MAX: usize = 1_000;

/// What follows from `event`. The facts are not yet part of `state`: write them, then apply them.
pub fn decide(state: &State, event: Event) -> Vec<Fact> {
    if state.ending.is_some() {
        return match event {
            Event::Message { message: Message::Started, .. } => Vec::new(),
            Event::Message { id, .. } => refused(id, "already_ended"),
            Event::Refused { id, code } => refused(id, code),
            _ => Vec::new(),
        };
    }
    match event {
        Event::Asked(ask) => asked(state, ask),
        Event::Returned(output) => returned(state, output),
        Event::Done { step, output } if is_open(state, step) => {
            vec![Fact::Done { step, output, by: None }]
        }
        Event::Rejected { step, code, reason, details } if is_open(state, step) => {
            rejected(state, step, code, reason, details)
        }
        Event::Failed { step, unsure, counted, problem, next_at, slow_at }
            if is_open(state, step) =>
        {
            failed(state, step, unsure, counted, problem, next_at, slow_at)
        }
        Event::Undone { step } if is_being_undone(state, step) => undone(state, step, None),
        Event::UndoFailed { step, problem, next_at } if is_being_undone(state, step) => {
            undo_failed(state, step, problem, next_at)
        }
        // An outcome for a step that is closed or whose saga turned back meanwhile: the plan holds
        // that step as one that may have happened, so its undo takes care of it.
        Event::Done { .. }
        | Event::Rejected { .. }
        | Event::Failed { .. }
        | Event::Undone { .. }
        | Event::UndoFailed { .. } => Vec::new(),
        Event::Due { now } => due(state, now),
        Event::Message { id, message } => told(state, id, message),
        Event::Refused { id, code } => refused(id, code),
        // An attempt of an undo that an operator has settled meanwhile.
        Event::Broken { step: Some(step), .. }
            if state.turned.is_some() && !is_being_undone(state, step) =>
        {
            Vec::new()
        }
        Event::Broken { step, problem } => vec![Fact::Held { step, problem }],
    }
}

fn is_open(state: &State, step: u32) -> bool {
    state.turned.is_none() && state.step(step).is_some_and(|step| step.status == Status::Open)
}

fn is_being_undone(state: &State, step: u32) -> bool {
    is_planned(state, step) && state.step(step).is_some_and(|step| !step.undone)
}

fn asked(state: &State, ask: Ask) -> Vec<Fact> {
    let step = state.steps.len() as u32 + 1;
    if state.turned.is_some() {
        return Vec::new();
    }
    if state.steps.len() >= STEPS_MAX {
        let message = format!("the workflow asked for more than {STEPS_MAX} steps");
        return vec![Fact::Held { step: None, problem: Problem::own("too_many_steps", message) }];
    }
    match ask {
        Ask::Step { name, class, with, input } => {
            vec![Fact::Intent { step, name, class, with, input }]
        }
        Ask::Sleep { until } => vec![Fact::Sleep { step, until }],
        Ask::Signal { name, until } => {
            let kept = state.kept_signal(&name).is_some();
            let mut facts = vec![Fact::Await { step, signal: name, until }];
            if kept {
                facts.push(Fact::Signalled { step });
            }
            facts
        }
        Ask::Pivot => vec![Fact::Pivot],
    }
}

fn returned(state: &State, output: Payload) -> Vec<Fact> {
    // What is parked ends when somebody has let it go.
    if state.turned.is_some() || state.held.is_some() {
        return Vec::new();
    }
    // A step that was built and then forgotten is still carried out; the saga ends with it.
    if state.steps.iter().any(|step| step.status == Status::Open) {
        return Vec::new();
    }
    vec![Fact::Ended { ending: Ending::Completed, output: Some(output) }]
}

fn rejected(
    state: &State,
    step: u32,
    code: String,
    reason: String,
    details: Option<Payload>,
) -> Vec<Fact> {
    if state.pivot.is_some() {
        // Past the point of no return nothing is undone by itself.
        return vec![Fact::Held { step: Some(step), problem: Problem::own(&code, reason) }];
    }
    let reason = shortened(reason);
    let because = Because { code, reason, step: Some(step), details, by: None };
    turn_back(state, Some(Fact::Rejected { step }), because)
}

fn failed(
    state: &State,
    step: u32,
    unsure: bool,
    counted: bool,
    problem: Problem,
    next_at: Option<OffsetDateTime>,
    slow_at: OffsetDateTime,
) -> Vec<Fact> {
    let attempt = state.step(step).map_or(1, |step| step.tries.attempts + 1);
    let past_pivot = state.pivot.is_some();
    let next_at = if past_pivot { next_at.or(Some(slow_at)) } else { next_at };
    let because = next_at.is_none().then(|| Because {
        code: "retries_exhausted".into(),
        reason: format!("gave up after {attempt} attempts: {}", problem.message),
        step: Some(step),
        details: None,
        by: None,
    });
    let failed = Fact::Failed { step, attempt, unsure, counted, problem, next_at };
    match because {
        None => vec![failed],
        Some(because) => turn_back(state, Some(failed), because),
    }
}

/// The fact that made the saga turn back, the frozen plan, and the ending if there is nothing to
/// undo.
fn turn_back(state: &State, first: Option<Fact>, because: Because) -> Vec<Fact> {
    let mut facts: Vec<Fact> = first.into_iter().collect();
    let mut after = state.clone();
    after.apply_all(&facts, OffsetDateTime::UNIX_EPOCH);
    let plan = Plan::of(&after);
    let ending = plan.groups.is_empty().then(|| ending(&because));
    facts.push(Fact::TurnedBack { because, plan });
    facts.extend(ending.map(|ending| Fact::Ended { ending, output: None }));
    facts
}

fn ending(because: &Because) -> Ending {
    if because.by.is_some() { Ending::Cancelled } else { Ending::Undone }
}

fn undone(state: &State, step: u32, by: Option<String>) -> Vec<Fact> {
    let mut facts = vec![Fact::Undone { step, by }];
    if let Some(turned) = &state.turned {
        let rest = turned.plan.groups.iter().flatten().any(|undo| {
            undo.step != step && state.step(undo.step).is_some_and(|step| !step.undone)
        });
        if !rest {
            facts.push(Fact::Ended { ending: ending(&turned.because), output: None });
        }
    }
    facts
}

fn undo_failed(
    state: &State,
    step: u32,
    problem: Problem,
    next_at: Option<OffsetDateTime>,
) -> Vec<Fact> {
    let attempt = state.step(step).map_or(1, |step| step.undo.attempts + 1);
    let held = next_at.is_none().then(|| Fact::Held { step: Some(step), problem: problem.clone() });
    let mut facts = vec![Fact::UndoFailed { step, attempt, problem, next_at }];
    facts.extend(held);
    facts
}

fn due(state: &State, now: OffsetDateTime) -> Vec<Fact> {
    if state.turned.is_some() || state.held.is_some() || state.paused.is_some() {
        return Vec::new();
    }
    let open = state.steps.iter().enumerate().filter(|(_, step)| step.status == Status::Open);
    open.filter_map(|(index, step)| {
        let number = index as u32 + 1;
        match &step.kind {
            Kind::Sleep { until } if *until <= now => Some(Fact::Woke { step: number }),
            Kind::Await { until, .. } if *until <= now => Some(Fact::TimedOut { step: number }),
            _ => None,
        }
    })
    .collect()
}

fn told(state: &State, id: Uuid, message: Message) -> Vec<Fact> {
    match message {
        Message::Started => Vec::new(),
        Message::Signal { name, payload } => signal(state, id, name, &payload),
        Message::Cancel { .. } if state.turned.is_some() => refused(id, "already_turning_back"),
        Message::Cancel { .. } if state.pivot.is_some() => refused(id, "too_late_to_cancel"),
        Message::Cancel { by, reason } => {
            let because = Because {
                code: "cancelled".into(),
                reason,
                step: None,
                details: None,
                by: Some(by),
            };
            turn_back(state, None, because)
        }
        Message::RetryNow { by } => vec![Fact::RetryNow { by }],
        Message::Pause { .. } if state.paused.is_some() => refused(id, "already_paused"),
        Message::Pause { by, reason } => vec![Fact::Paused { by, reason }],
        Message::Resume { .. } if state.paused.is_none() => refused(id, "not_paused"),
        Message::Resume { by } => vec![Fact::Resumed { by }],
        Message::Resolve { by, step, verdict } => resolve(state, id, by, step, verdict),
        Message::IfAt { message, .. } => told(state, id, *message),
    }
}

fn signal(state: &State, id: Uuid, name: Arc<str>, payload: &serde_json::Value) -> Vec<Fact> {
    let kept = state.signals.iter().filter(|signal| signal.taken_by.is_none()).count();
    if kept >= SIGNALS_KEPT_MAX {
        return refused(id, "too_many_signals");
    }
    let Ok(payload) = Payload::encode(payload) else { return refused(id, "payload_too_large") };
    let waiting = state.steps.iter().position(|step| {
        step.status == Status::Open
            && matches!(&step.kind, Kind::Await { signal, .. } if *signal == name)
    });
    let mut facts = vec![Fact::Signal { name, payload }];
    if let (Some(index), None) = (waiting, &state.turned) {
        facts.push(Fact::Signalled { step: index as u32 + 1 });
    }
    facts
}

fn resolve(state: &State, id: Uuid, by: String, step: u32, verdict: Verdict) -> Vec<Fact> {
    let Some(at) = state.step(step) else { return refused(id, "no_such_step") };
    if !matches!(at.kind, Kind::Activity { .. }) {
        return refused(id, "not_an_activity");
    }
    let forward = state.turned.is_none() && at.status == Status::Open;
    match verdict {
        Verdict::Happened(output) if forward => match Payload::encode(&output) {
            Ok(output) => vec![Fact::Done { step, output, by: Some(by) }],
            Err(_) => refused(id, "payload_too_large"),
        },
        Verdict::DidNotHappen if forward => vec![Fact::DidNotHappen { step, by }],
        Verdict::Compensated if is_being_undone(state, step) => undone(state, step, Some(by)),
        Verdict::Happened(_) | Verdict::DidNotHappen => refused(id, "step_is_not_open"),
        Verdict::Compensated => refused(id, "step_is_not_being_undone"),
    }
}

fn is_planned(state: &State, step: u32) -> bool {
    let groups = state.turned.iter().flat_map(|turned| &turned.plan.groups);
    groups.flatten().any(|undo| undo.step == step)
}

fn refused(message: Uuid, code: &str) -> Vec<Fact> {
    vec![Fact::Refused { message, code: code.into() }]
}
