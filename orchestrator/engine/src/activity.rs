//! What a saga may do to the world: one thing, its outcome, and how it is taken back.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::failure::{Failure, UndoFailure};
use crate::id::SagaId;
use crate::retry::RetryPolicy;

/// One thing a saga does to the world. The struct is its input: `saga.step(ReserveInventory { .. })`
/// journals it, so that everything later - a retry, an undo, an operator - needs data only.
///
/// `Class` says how it is taken back: [`Undoable`] (then implement [`Undo`]), [`ForwardOnly`]
/// (allowed after the pivot, retried until done) or [`NoUndo`] (then say why in [`WithoutUndo`]).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity",
    label = "no `impl Activity for {Self}`",
    note = "implement `Activity` for it: say how it runs and how it is undone"
)]
pub trait Activity: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The activity's name: the file's name, what the journal keeps and the console shows.
    const NAME: &'static str;
    /// What it depends on, as an operator reads it: "waiting for the `inventory database`".
    const DEPENDENCY: &'static str;
    /// How many calls [`Activity::run_batch`] takes at once. 1: calls are not gathered.
    const BATCH_MAX: usize = 1;

    /// What it works with: injected, never global.
    type Services: Send + Sync + 'static;
    /// What it yields; journalled.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// How it is taken back: `Undoable`, `ForwardOnly` or `NoUndo`.
    type Class: Class<Self>;

    /// Does it, once. It may be called again for the same step (a lost reply, a crash, a retry):
    /// [`Attempt::key`] stays the same and must make the repeat harmless.
    fn run(
        &self,
        services: &Self::Services,
        attempt: &Attempt,
    ) -> impl Future<Output = Result<Self::Output, Failure>> + Send;

    /// Does it for many sagas at once, in one transaction say: as many answers as calls, in their
    /// order. Each call must be able to fail alone, and may be a repeat of one that happened, as in
    /// [`Activity::run`].
    fn run_batch(
        services: &Self::Services,
        calls: &[Call<Self>],
    ) -> impl Future<Output = Vec<Result<Self::Output, Failure>>> + Send {
        async move {
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                answers.push(call.activity.run(services, &call.attempt).await);
            }
            answers
        }
    }

    /// Whether it happened, asked after an attempt that ended [`Failure::Unknown`] (or was cut off)
    /// and before the next one. Without an own probe the next attempt repeats the call under the
    /// same key.
    fn probe(
        &self,
        services: &Self::Services,
        attempt: &Attempt,
    ) -> impl Future<Output = Result<Probe<Self::Output>, Failure>> + Send {
        let _ = (services, attempt);
        async { Ok(Probe::CanNotTell) }
    }

    /// When a failed attempt is repeated and when the step is given up.
    fn retry() -> RetryPolicy {
        RetryPolicy::DEFAULT
    }

    /// How long one attempt may take; one that takes longer ends [`Failure::Unknown`].
    fn timeout() -> Duration {
        Duration::from_secs(30)
    }

    /// The effect in one line for a person: "EUR 42.00 charged to card ..4242".
    fn describe(&self, output: Option<&Self::Output>) -> String {
        let _ = output;
        Self::NAME.replace('-', " ")
    }
}

/// How an [`Undoable`] activity is taken back.
#[diagnostic::on_unimplemented(
    message = "`{Self}` says it is undoable, but not how it is undone",
    label = "no `impl Undo for {Self}`",
    note = "implement `Undo` for it, or say in `type Class` that it is `ForwardOnly` or `NoUndo`"
)]
pub trait Undo: Activity {
    /// Takes it back. Called with what is known: `Outcome::Done` with the output, or
    /// `Outcome::Unknown` when it may or may not have happened - or happens later: an undo must
    /// also shut out its own late action (a tombstone). Retried until it succeeds.
    fn undo(
        &self,
        services: &Self::Services,
        attempt: &Attempt,
        outcome: Outcome<'_, Self::Output>,
    ) -> impl Future<Output = Result<(), UndoFailure>> + Send;

    /// When a failed undo is repeated. It is never given up.
    fn undo_retry() -> RetryPolicy {
        RetryPolicy::FOREVER
    }
}

/// Why a [`NoUndo`] activity has none, for whoever reads the plan of an unwinding.
#[diagnostic::on_unimplemented(
    message = "`{Self}` says it has no undo, but not why",
    label = "no `impl WithoutUndo for {Self}`",
    note = "implement `WithoutUndo` for it and state the reason"
)]
pub trait WithoutUndo: Activity {
    /// The reason: "a sent mail can not be called back".
    const REASON: &'static str;
}

/// Taken back by its [`Undo`] when the saga turns back.
#[derive(Debug)]
pub enum Undoable {}
/// Allowed after the pivot only; retried until it is done; never taken back.
#[derive(Debug)]
pub enum ForwardOnly {}
/// Left as it is when the saga turns back, for the reason in [`WithoutUndo`].
#[derive(Debug)]
pub enum NoUndo {}

/// One of [`Undoable`], [`ForwardOnly`], [`NoUndo`]; nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a way to take an activity back",
    label = "neither `Undoable`, nor `ForwardOnly`, nor `NoUndo`",
    note = "`Undoable`: it has an undo; `ForwardOnly`: it runs after the pivot and is retried until done; `NoUndo`: it is left as it is, for a stated reason"
)]
pub trait Class<A: Activity>: sealed::Sealed {
    #[doc(hidden)]
    const KIND: ClassKind;
    #[doc(hidden)]
    const REASON: Option<&'static str> = None;
    #[doc(hidden)]
    fn undo_retry() -> RetryPolicy {
        RetryPolicy::FOREVER
    }
    #[doc(hidden)]
    fn undo<'a>(
        activity: &'a A,
        services: &'a A::Services,
        attempt: &'a Attempt,
        outcome: Outcome<'a, A::Output>,
    ) -> impl Future<Output = Result<(), UndoFailure>> + Send + 'a {
        let _ = (activity, services, attempt, outcome);
        async { Ok(()) }
    }
}

/// A class that a step before the pivot may have.
#[diagnostic::on_unimplemented(
    message = "a forward-only activity can not run before the pivot",
    label = "forward-only: it could not be taken back from here",
    note = "call `let mut saga = saga.pivot();` first: from there the saga can not turn back"
)]
pub trait BeforePivot {}
impl BeforePivot for Undoable {}
impl BeforePivot for NoUndo {}

/// The class that a step after the pivot must have.
#[diagnostic::on_unimplemented(
    message = "only a forward-only activity can run after the pivot",
    label = "it can say no or be given up, and from here nothing turns back",
    note = "run it before `saga.pivot()`, or make its class `ForwardOnly`: it is then retried until it is done"
)]
pub trait AfterPivot {}
impl AfterPivot for ForwardOnly {}

impl<A: Undo> Class<A> for Undoable {
    const KIND: ClassKind = ClassKind::Undoable;
    fn undo_retry() -> RetryPolicy {
        A::undo_retry()
    }
    fn undo<'a>(
        activity: &'a A,
        services: &'a A::Services,
        attempt: &'a Attempt,
        outcome: Outcome<'a, A::Output>,
    ) -> impl Future<Output = Result<(), UndoFailure>> + Send + 'a {
        activity.undo(services, attempt, outcome)
    }
}
impl<A: Activity> Class<A> for ForwardOnly {
    const KIND: ClassKind = ClassKind::ForwardOnly;
}
impl<A: WithoutUndo> Class<A> for NoUndo {
    const KIND: ClassKind = ClassKind::NoUndo;
    const REASON: Option<&'static str> = Some(A::REASON);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Undoable {}
    impl Sealed for super::ForwardOnly {}
    impl Sealed for super::NoUndo {}
}

/// An activity's class as the journal keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassKind {
    /// See [`Undoable`].
    #[default]
    Undoable,
    /// See [`ForwardOnly`].
    ForwardOnly,
    /// See [`NoUndo`].
    NoUndo,
}

/// One call of a batch.
#[derive(Debug)]
pub struct Call<A: ?Sized> {
    /// Which attempt of which step it is.
    pub attempt: Attempt,
    /// The input.
    pub activity: A,
}

/// One try of a step, or of its undo.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The saga.
    pub saga_id: SagaId,
    /// The step, from 1 in the order the calls were built.
    pub step: u32,
    /// The number of this try, from 1, counted apart for the step and its undo.
    pub number: u32,
    /// When the step was first intended, so before its first attempt. What may have been sent
    /// earlier than this was not.
    pub intended_at: OffsetDateTime,
    /// When this attempt is cut off.
    pub deadline: Instant,
    /// What the keys derive from. Of the start key when there is one, so that a start that was lost
    /// with its database and sent again has the same, under another `saga_id`.
    pub root: Uuid,
}

impl Attempt {
    /// An attempt that no engine made, to test an activity by itself.
    pub fn for_test(saga_id: SagaId, step: u32, number: u32) -> Self {
        Self {
            saga_id,
            step,
            number,
            intended_at: saga_id.started_at(),
            deadline: Instant::now() + Duration::from_secs(30),
            root: saga_id.uuid(),
        }
    }

    /// The idempotency key of the action: 32 hexadecimal digits, the same at each attempt of this
    /// step. What is sent under it must be the same each time too, so nothing of it may derive from
    /// `saga_id`: see [`Attempt::root`].
    pub fn key(&self) -> String {
        if crate::planted!(NewKeyPerAttempt) {
            return Uuid::new_v4().simple().to_string();
        }
        self.derived("do")
    }

    /// The idempotency key of the undo: stable too, and another one.
    pub fn undo_key(&self) -> String {
        self.derived("undo")
    }

    fn derived(&self, purpose: &str) -> String {
        use std::fmt::Write;
        let digest = Sha256::new()
            .chain_update(self.root.as_bytes())
            .chain_update(self.step.to_be_bytes())
            .chain_update(purpose)
            .finalize();
        digest.iter().take(16).fold(String::with_capacity(32), |mut key, byte| {
            // Writing to a String can not fail.
            let _ = write!(key, "{byte:02x}");
            key
        })
    }
}

/// What is known of a step that must be undone.
#[derive(Debug)]
pub enum Outcome<'a, T> {
    /// It was done and gave this.
    Done(&'a T),
    /// It may have been done, or be done later.
    Unknown,
}

/// What a probe found.
#[derive(Debug)]
pub enum Probe<T> {
    /// It happened, with this output.
    Happened(T),
    /// It did not happen and can not happen later unless it is tried again.
    DidNotHappen,
    /// No way to know: the attempt is repeated under its key.
    CanNotTell,
}
