//! The hook in the engine: what is to happen to an attempt that is about to start.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::id::SagaId;
use crate::journal::Direction;

/// Decides what happens to each attempt of an engine. See [`crate::Registry::with_faults`].
pub trait Faults: fmt::Debug + Send + Sync {
    /// Asked when `attempt` is about to start; must not block.
    fn on(&self, attempt: &Point) -> Injected;
}

/// An attempt that is about to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its saga.
    pub saga_id: SagaId,
    /// Its step, from 1.
    pub step: u32,
    /// The step's activity.
    pub activity: &'static str,
    /// Forward, the step itself; backward, its undo.
    pub direction: Direction,
    /// The number of the attempt, from 1, counted apart for the step and its undo.
    pub attempt: u32,
}

/// What happens to an attempt.
#[derive(Clone, Debug, Default)]
pub enum Injected {
    /// What would happen without a test.
    #[default]
    Nothing,
    /// It is not run. A step is rejected; an undo is stuck, and waits for an operator.
    Reject,
    /// It is not run, and fails as one that may have happened.
    Fail,
    /// It runs; the engine is told that nobody knows. An undo fails.
    LoseReply,
    /// It runs twice, one after the other, under the same key; the second answer counts.
    Twice,
    /// Nobody knows what became of it; it runs when the stray is let loose.
    Late(Stray),
    /// It runs once this is notified.
    After(Arc<Notify>),
    /// It is not run and never answers; this is notified.
    CutBefore(Arc<Notify>),
    /// It runs and never answers; then this is notified.
    CutAfter(Arc<Notify>),
}

/// Calls that are still on their way.
#[derive(Clone, Default)]
pub struct Stray(Arc<Mutex<Vec<Call>>>);

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Stray {
    pub(crate) fn keep(&self, call: Call) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Lets them arrive, one after the other. What they answer, nobody hears.
    pub async fn arrive(&self) {
        let calls = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for call in calls {
            call.await;
        }
    }
}

impl fmt::Debug for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stray").finish_non_exhaustive()
    }
}
