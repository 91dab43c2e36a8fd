//! Attempts under way: how they start, and what their ends mean.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use crate::activity::{Attempt, Probe};
use crate::batch::Batcher;
use crate::clock::{self, LONGEST_WAIT};
use crate::event::Event;
use crate::failure::{Failure, Trouble, UndoFailure};
use crate::handler::{Attempted, Description, Handler, UndoAttempted, timed_out};
use crate::journal::{Direction, Problem};
use crate::node::Activity;
use crate::payload::Payload;
use crate::problem::fingerprint;
use crate::retry::RetryPolicy;
use crate::state::{Kind, Status, Todo};

/// An attempt that will land.
pub(super) type Flight = Pin<Box<dyn Future<Output = Landed> + Send>>;

/// An attempt that ended.
pub(super) struct Landed {
    pub(super) step: u32,
    pub(super) end: End,
}

pub(super) enum End {
    Attempted(Attempted),
    Undone(UndoAttempted),
}

/// An attempt that is about to start.
#[cfg_attr(feature = "testing", derive(Clone))]
pub(super) struct Aim {
    handler: Arc<dyn Handler>,
    batcher: Option<Batcher>,
    timeout: Duration,
    input: Payload,
    output: Option<Payload>,
    pub(super) attempt: Attempt,
    pub(super) direction: Direction,
    /// Forward, whether to ask first; backward, whether it is known to be done.
    hint: bool,
}

impl Aim {
    /// Starts it.
    pub(super) fn fly(self) -> Flight {
        let Self { handler, batcher, timeout, input, output, attempt, direction, hint } = self;
        match (direction, batcher) {
            (Direction::Backward, _) => {
                let output = output.filter(|_| hint);
                Box::pin(undo(handler, input, output, attempt, timeout))
            }
            (Direction::Forward, batcher) => {
                Box::pin(run(handler, batcher, input, attempt, timeout, hint))
            }
        }
    }

    #[cfg(feature = "testing")]
    pub(super) fn activity(&self) -> &'static str {
        self.handler.describe_self().name
    }
}

impl Driver {
    /// Starts everything that is due and not under way. Nothing starts on a shard that is being
    /// handed over, or while the node can not rely on its lease.
    pub(super) fn start_due(&mut self) {
        if !self.shard.is_open() || !self.node.lease.is_safe() {
            return;
        }
        let now = clock::now();
        for todo in self.state.todo() {
            match todo {
                Todo::Attempt { step, number, not_before, probe } => {
                    if not_before.is_none_or(|at| at <= now) && !self.flying.contains(&step) {
                        self.launch(step, number, Direction::Forward, probe);
                    }
                }
                // An undo never runs beside its own action: what is still flying lands first.
                Todo::Undo { step, number, not_before, done } => {
                    if not_before.is_none_or(|at| at <= now) && !self.flying.contains(&step) {
                        self.launch(step, number, Direction::Backward, done);
                    }
                }
                Todo::Timer { .. } => {}
            }
        }
    }

    /// For `hint` see [`Aim`].
    fn launch(&mut self, step: u32, number: u32, direction: Direction, hint: bool) {
        let Some((at, payloads)) = self.state.step(step).zip(self.payloads.get(step as usize - 1))
        else {
            return;
        };
        let Kind::Activity { name, .. } = &at.kind else { return };
        let Some(Activity { handler, description, batcher }) = self.node.activity(name) else {
            // Another node may have it, if it has the workflow.
            if !self.is_foreign {
                let message = format!("this node has no activity `{name}`");
                self.park(Some(step), "unknown_activity", message);
            }
            return;
        };
        let attempt = Attempt {
            saga_id: self.id,
            step,
            number,
            intended_at: at.at,
            deadline: Instant::now() + description.timeout,
            root: self.root,
        };
        // A suspect's call stands in no line, or its trial would be over before it begins, and takes nobody
        // with it.
        let is_suspect = self.moves.is_some();
        let aim = Aim {
            handler: handler.clone(),
            batcher: batcher.clone().filter(|_| !is_suspect),
            timeout: description.timeout,
            input: payloads.input.clone(),
            output: payloads.output.clone(),
            attempt,
            direction,
            hint,
        };
        self.flying.push(step);
        #[cfg(feature = "testing")]
        let flight = super::inject::fly(&self.node.registry, aim);
        #[cfg(not(feature = "testing"))]
        let flight = aim.fly();
        self.flights.push(flight);
    }

    /// What the end of an attempt means to the rules.
    pub(super) fn event_of(&self, Landed { step, end }: Landed) -> Event {
        let described = || self.described(step);
        match end {
            End::Attempted(Attempted::Answered(Ok(output))) => Event::Done { step, output },
            End::Attempted(Attempted::Answered(Err(Failure::Rejected(rejection)))) => {
                let details = rejection.details.as_ref();
                Event::Rejected {
                    step,
                    code: rejection.code.into_owned(),
                    reason: rejection.reason,
                    details: details.and_then(|details| Payload::encode(details).ok()),
                }
            }
            End::Attempted(Attempted::Answered(Err(Failure::Retry(trouble)))) => {
                let unsure = !trouble.not_executed;
                self.failed(step, &described(), unsure, trouble)
            }
            End::Attempted(Attempted::Answered(Err(Failure::Unknown(trouble)))) => {
                self.failed(step, &described(), true, trouble)
            }
            End::Undone(UndoAttempted::Answered(Ok(()))) => Event::Undone { step },
            End::Undone(UndoAttempted::Answered(Err(UndoFailure::Retry(trouble)))) => {
                let counted = self.state.step(step).map_or(0, |step| step.undo.counted);
                let described = described();
                let wait = wait(&described.undo_retry, counted + 1, &trouble);
                let next_at = Some(clock::now() + wait);
                let problem = self.problem(&described, Direction::Backward, trouble);
                Event::UndoFailed { step, problem, next_at }
            }
            End::Undone(UndoAttempted::Answered(Err(UndoFailure::Stuck(trouble)))) => {
                let problem = self.problem(&described(), Direction::Backward, trouble);
                Event::UndoFailed { step, problem, next_at: None }
            }
            End::Attempted(Attempted::Broken(code, message)) if !self.is_open(step) => {
                // Its undo takes care of it: nothing is parked over what is given up.
                self.failed(step, &described(), true, Trouble::new(code, message))
            }
            End::Attempted(Attempted::Broken(code, message))
            | End::Undone(UndoAttempted::Broken(code, message)) => {
                tracing::error!(saga = %self.id, step, code, message, "a step broke its saga");
                let direction = self.state.direction();
                let problem = self.problem(&described(), direction, Trouble::new(code, message));
                Event::Broken { step: Some(step), problem }
            }
        }
    }

    /// Whether its outcome still matters.
    pub(super) fn is_open(&self, step: u32) -> bool {
        self.state.turned.is_none()
            && self.state.step(step).is_some_and(|step| step.status == Status::Open)
    }

    fn failed(&self, step: u32, described: &Described, unsure: bool, trouble: Trouble) -> Event {
        let counted = self.state.step(step).map_or(0, |step| step.tries.counted);
        let counted = counted + u32::from(trouble.counted);
        let now = clock::now();
        let given_up = trouble.counted && described.retry.is_exhausted(counted);
        let next_at = now + wait(&described.retry, counted.max(1), &trouble);
        let slow_at = now + wait(&RetryPolicy::FOREVER, counted.max(1), &trouble);
        Event::Failed {
            step,
            unsure,
            counted: trouble.counted,
            problem: self.problem(described, Direction::Forward, trouble),
            next_at: (!given_up).then_some(next_at),
            slow_at,
        }
    }

    fn problem(&self, described: &Described, direction: Direction, trouble: Trouble) -> Problem {
        let parts = [&*described.name, direction.name(), &trouble.code];
        let fingerprint = match &*trouble.code {
            // An error without a code of its own is told apart by its words, less what varies.
            "error" => {
                let words = words_of(&trouble.message);
                fingerprint(&[parts[0], parts[1], parts[2], &words])
            }
            _ => fingerprint(&parts),
        };
        Problem::new(trouble.code.into_owned(), trouble.message, fingerprint)
    }

    fn described(&self, step: u32) -> Described {
        let name = match self.state.step(step).map(|step| &step.kind) {
            Some(Kind::Activity { name, .. }) => name.clone(),
            _ => "".into(),
        };
        let description: Option<Description> =
            self.node.activity(&name).map(|activity| activity.description);
        let described = Described {
            name,
            retry: description.map_or(RetryPolicy::DEFAULT, |description| description.retry),
            undo_retry: description.map_or(RetryPolicy::FOREVER, |known| known.undo_retry),
        };
        #[cfg(feature = "testing")]
        let described = self.as_tested(described);
        described
    }
}

pub(super) struct Described {
    pub(super) name: Arc<str>,
    pub(super) retry: RetryPolicy,
    pub(super) undo_retry: RetryPolicy,
}

fn wait(policy: &RetryPolicy, counted: u32, trouble: &Trouble) -> Duration {
    policy.wait_after(counted).max(trouble.after.unwrap_or_default()).min(LONGEST_WAIT)
}

/// The message without what differs from case to case: anything with a digit, anything quoted.
fn words_of(message: &str) -> String {
    let varies = |word: &&str| {
        word.contains(|c: char| c.is_ascii_digit() || matches!(c, '"' | '\'' | '`' | '/'))
    };
    message.split_whitespace().filter(|word| !varies(word)).collect::<Vec<_>>().join(" ")
}

/// One attempt: asks first whether an earlier one happened, if that may be, then does it. A repeat may
/// stand in line with others too: its key makes it as harmless there.
async fn run(
    handler: Arc<dyn Handler>,
    batcher: Option<Batcher>,
    input: Payload,
    attempt: Attempt,
    timeout: Duration,
    probe: bool,
) -> Landed {
    let (step, deadline) = (attempt.step, attempt.deadline);
    let late = |_| Attempted::Answered(Err(Failure::Unknown(timed_out(timeout))));
    if probe {
        let asked = handler.probe(&input, &attempt);
        let settled = match tokio::time::timeout_at(deadline, asked).await {
            Ok(Ok(Probe::DidNotHappen | Probe::CanNotTell)) => None,
            Ok(Ok(Probe::Happened(output))) => Some(Attempted::Answered(Ok(output))),
            Ok(Err(attempted)) => Some(attempted),
            Err(elapsed) => Some(late(elapsed)),
        };
        if let Some(attempted) = settled {
            return Landed { step, end: End::Attempted(attempted) };
        }
    }
    let attempted = match batcher {
        // A batch has a time limit of its own.
        Some(batcher) => batcher.run(input, attempt).await,
        None => {
            let running = handler.run(&input, &attempt);
            tokio::time::timeout_at(deadline, running).await.unwrap_or_else(late)
        }
    };
    Landed { step, end: End::Attempted(attempted) }
}

async fn undo(
    handler: Arc<dyn Handler>,
    input: Payload,
    output: Option<Payload>,
    attempt: Attempt,
    timeout: Duration,
) -> Landed {
    let undoing = tokio::time::timeout(timeout, handler.undo(&input, output.as_ref(), &attempt));
    let late = |_| UndoAttempted::Answered(Err(UndoFailure::Retry(timed_out(timeout))));
    Landed { step: attempt.step, end: End::Undone(undoing.await.unwrap_or_else(late)) }
}
