//! Does to an attempt what a test wants done to it. Compiled with the feature `testing` only.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::Driver;
use super::attempt::{Aim, Described, End, Flight, Landed};
use crate::failure::{Failure, Trouble, UndoFailure, reject, unknown};
use crate::handler::{Attempted, UndoAttempted};
use crate::journal::Direction;
use crate::program::Registry;
use crate::testing::{Boundary, BoundaryHarm, BoundaryWatch, Faults, Injected, Point};

/// The longest wait between two attempts of an engine with faults: what is tested is that they
/// come, not how long they take.
const WAIT_MAX: Duration = Duration::from_millis(10);

impl Driver {
    /// The same policies with short waits, and without another try where a test gives up.
    pub(super) fn as_tested(&self, mut described: Described) -> Described {
        let watches = &self.node.registry.watches;
        if watches.iter().any(|watch| watch.gives_up(self.id, &described.name)) {
            described.retry.attempts_max = Some(1);
        }
        if self.node.registry.faults.is_some() {
            for policy in [&mut described.retry, &mut described.undo_retry] {
                policy.cap = policy.cap.min(WAIT_MAX);
            }
        }
        described
    }
}

/// Starts the attempt, with the boundaries before and after its call.
pub(super) fn fly(registry: &Registry, aim: Aim) -> Flight {
    let is_for = |watch: &&Arc<BoundaryWatch>| watch.is_for(aim.direction, aim.activity());
    let watches: Vec<_> = registry.watches.iter().filter(is_for).cloned().collect();
    match watches.is_empty() {
        true => injected(registry.faults.as_deref(), aim),
        false => {
            let flight = injected(registry.faults.as_deref(), aim.clone());
            Box::pin(watched(watches, aim, flight))
        }
    }
}

async fn watched(watches: Vec<Arc<BoundaryWatch>>, aim: Aim, flight: Flight) -> Landed {
    let (saga, step, direction) = (aim.attempt.saga_id, aim.attempt.step, aim.direction);
    for watch in &watches {
        match watch.reach(Boundary::BeforeCall, saga) {
            None => {}
            Some(BoundaryHarm::Twice) => drop(aim.clone().fly().await),
            Some(BoundaryHarm::Reject) => return refused(step, direction),
            Some(_) => return failed(step, direction),
        }
    }
    let landed = flight.await;
    let reached = |watch: &Arc<BoundaryWatch>| watch.reach(Boundary::AfterCall, saga).is_some();
    if watches.iter().any(reached) { lost(step, direction) } else { landed }
}

/// The attempt, or what is injected in its place.
fn injected(faults: Option<&dyn Faults>, aim: Aim) -> Flight {
    let Some(faults) = faults else { return aim.fly() };
    let injected = faults.on(&Point {
        saga_id: aim.attempt.saga_id,
        step: aim.attempt.step,
        activity: aim.activity(),
        direction: aim.direction,
        attempt: aim.attempt.number,
    });
    let (step, direction) = (aim.attempt.step, aim.direction);
    match injected {
        Injected::Nothing => aim.fly(),
        Injected::Reject => Box::pin(async move { refused(step, direction) }),
        Injected::Fail => Box::pin(async move { failed(step, direction) }),
        Injected::LoseReply => Box::pin(async move {
            aim.fly().await;
            lost(step, direction)
        }),
        Injected::Twice => Box::pin(async move {
            aim.clone().fly().await;
            aim.fly().await
        }),
        Injected::Late(stray) => {
            stray.keep(Box::pin(async move { drop(aim.fly().await) }));
            Box::pin(async move { lost(step, direction) })
        }
        Injected::After(gate) => Box::pin(async move {
            gate.notified().await;
            aim.fly().await
        }),
        Injected::CutBefore(cut) => Box::pin(async move {
            cut.notify_one();
            pending().await
        }),
        Injected::CutAfter(cut) => Box::pin(async move {
            aim.fly().await;
            cut.notify_one();
            pending().await
        }),
    }
}

fn refused(step: u32, direction: Direction) -> Landed {
    let end = match direction {
        Direction::Forward => {
            let no = reject("injected", "a test rejects this step");
            End::Attempted(Attempted::Answered(Err(no)))
        }
        Direction::Backward => {
            let stuck = UndoFailure::Stuck(Trouble::new("injected", "a test blocks this undo"));
            End::Undone(UndoAttempted::Answered(Err(stuck)))
        }
    };
    Landed { step, end }
}

fn failed(step: u32, direction: Direction) -> Landed {
    let trouble = Trouble::new("injected", "a test lets this attempt fail");
    Landed { step, end: ended(direction, Failure::Retry(trouble.clone()), trouble) }
}

fn lost(step: u32, direction: Direction) -> Landed {
    let message = "a test loses the reply";
    let end = ended(direction, unknown("injected", message), Trouble::new("injected", message));
    Landed { step, end }
}

fn ended(direction: Direction, forward: Failure, backward: Trouble) -> End {
    match direction {
        Direction::Forward => End::Attempted(Attempted::Answered(Err(forward))),
        Direction::Backward => {
            End::Undone(UndoAttempted::Answered(Err(UndoFailure::Retry(backward))))
        }
    }
}
