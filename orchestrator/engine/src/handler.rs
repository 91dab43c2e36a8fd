//! An activity without its type: what the engine keeps by name, and can undo from data alone.

use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::activity::{Activity, Attempt, Call, Class, ClassKind, Outcome, Probe};
use crate::clock::LONGEST_WAIT;
use crate::event::Verdict;
use crate::failure::{Failure, Trouble, UndoFailure};
use crate::payload::{Payload, PayloadError, panic_text};
use crate::poison;
use crate::retry::RetryPolicy;
use crate::state::{Kind, State};
use crate::workflow::Provides;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How an attempt without its type ended.
#[derive(Debug)]
pub enum Attempted {
    /// The activity answered.
    Answered(Result<Payload, Failure>),
    /// It panicked, or its data does not fit: the saga is parked with this code and message.
    Broken(&'static str, String),
}

/// How an undo without its type ended.
#[derive(Debug)]
pub enum UndoAttempted {
    /// The activity answered.
    Answered(Result<(), UndoFailure>),
    /// See [`Attempted::Broken`].
    Broken(&'static str, String),
}

/// An activity with its services.
pub trait Handler: Send + Sync + 'static {
    #[doc(hidden)]
    fn describe_self(&self) -> Description;
    #[doc(hidden)]
    fn describe_effect(&self, input: &Payload, output: Option<&Payload>) -> String;
    #[doc(hidden)]
    fn check_output(&self, output: &Payload) -> Result<(), PayloadError>;
    #[doc(hidden)]
    fn run<'a>(&'a self, input: &'a Payload, attempt: &'a Attempt) -> BoxFuture<'a, Attempted>;
    #[doc(hidden)]
    fn probe<'a>(
        &'a self,
        input: &'a Payload,
        attempt: &'a Attempt,
    ) -> BoxFuture<'a, Result<Probe<Payload>, Attempted>>;
    #[doc(hidden)]
    fn undo<'a>(
        &'a self,
        input: &'a Payload,
        output: Option<&'a Payload>,
        attempt: &'a Attempt,
    ) -> BoxFuture<'a, UndoAttempted>;
    #[doc(hidden)]
    fn run_batch<'a>(&'a self, calls: Vec<(Payload, Attempt)>) -> BoxFuture<'a, Vec<Attempted>>;
}

impl std::fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.describe_self().fmt(f)
    }
}

/// What is known of an activity without running it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// What it depends on, for a person.
    pub dependency: &'static str,
    /// How it is taken back.
    pub class: ClassKind,
    /// Why it has no undo, if it has none.
    pub no_undo_reason: Option<&'static str>,
    /// When a failed attempt is repeated.
    pub retry: RetryPolicy,
    /// When a failed undo is repeated.
    pub undo_retry: RetryPolicy,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many calls go into one batch.
    pub batch_max: usize,
}

/// The activities of all workflows of a node, by name.
pub(crate) type Handlers = HashMap<&'static str, Arc<dyn Handler>>;

impl Verdict {
    /// Why the output it says does not fit the activity of `step`, if this node knows that.
    pub(crate) fn misfit(&self, state: &State, step: u32, handlers: &Handlers) -> Option<String> {
        let Self::Happened(output) = self else { return None };
        let Kind::Activity { name, .. } = &state.step(step)?.kind else { return None };
        let handler = handlers.get(&**name)?;
        let error = handler.check_output(&Payload::encode(output).ok()?).err()?;
        let cause = match std::error::Error::source(&error) {
            Some(cause) => cause.to_string(),
            None => error.to_string(),
        };
        Some(format!("is no output of {name}: {cause}"))
    }
}

pub(crate) fn handler<A, S>(services: Arc<S>) -> Arc<dyn Handler>
where
    A: Activity,
    S: Provides<A::Services> + Send + Sync + 'static,
{
    // What the author says of it is asked once, when a node starts: nothing later can fail over that.
    let description = Description {
        name: A::NAME,
        dependency: A::DEPENDENCY,
        class: <A::Class as Class<A>>::KIND,
        no_undo_reason: <A::Class as Class<A>>::REASON,
        retry: A::retry(),
        undo_retry: <A::Class as Class<A>>::undo_retry(),
        timeout: A::timeout().min(LONGEST_WAIT),
        batch_max: A::BATCH_MAX,
    };
    Arc::new(Typed::<A, S> { services, description, activity: PhantomData })
}

struct Typed<A, S> {
    services: Arc<S>,
    description: Description,
    activity: PhantomData<fn() -> A>,
}

impl<A, S> Typed<A, S>
where
    A: Activity,
    S: Provides<A::Services>,
{
    fn services(&self) -> &A::Services {
        self.services.as_ref().provide()
    }
}

impl<A, S> Handler for Typed<A, S>
where
    A: Activity,
    S: Provides<A::Services> + Send + Sync + 'static,
{
    fn describe_self(&self) -> Description {
        self.description
    }

    fn describe_effect(&self, input: &Payload, output: Option<&Payload>) -> String {
        let Ok(activity) = input.decode::<A>() else { return A::NAME.to_owned() };
        let output = output.and_then(|output| output.decode::<A::Output>().ok());
        let describe = || activity.describe(output.as_ref());
        std::panic::catch_unwind(AssertUnwindSafe(describe)).unwrap_or_else(|_| A::NAME.to_owned())
    }

    fn check_output(&self, output: &Payload) -> Result<(), PayloadError> {
        output.decode::<A::Output>().map(|_| ())
    }

    fn run<'a>(&'a self, input: &'a Payload, attempt: &'a Attempt) -> BoxFuture<'a, Attempted> {
        Box::pin(async move {
            let activity: A = match input.decode() {
                Ok(activity) => activity,
                Err(error) => return broken("input", &error),
            };
            called(&activity, || self.services(), attempt).await
        })
    }

    fn probe<'a>(
        &'a self,
        input: &'a Payload,
        attempt: &'a Attempt,
    ) -> BoxFuture<'a, Result<Probe<Payload>, Attempted>> {
        Box::pin(async move {
            let activity: A = input.decode().map_err(|error| broken("input", &error))?;
            let probe = async { activity.probe(self.services(), attempt).await };
            match AssertUnwindSafe(probe).catch_unwind().await {
                Ok(Ok(Probe::Happened(output))) => match answered(Ok(output)) {
                    Attempted::Answered(Ok(output)) => Ok(Probe::Happened(output)),
                    other => Err(other),
                },
                Ok(Ok(Probe::DidNotHappen)) => Ok(Probe::DidNotHappen),
                Ok(Ok(Probe::CanNotTell)) => Ok(Probe::CanNotTell),
                Ok(Err(failure)) => Err(Attempted::Answered(Err(failure))),
                Err(panic) => Err(Attempted::Broken("panicked", panic_text(panic.as_ref()))),
            }
        })
    }

    fn undo<'a>(
        &'a self,
        input: &'a Payload,
        output: Option<&'a Payload>,
        attempt: &'a Attempt,
    ) -> BoxFuture<'a, UndoAttempted> {
        Box::pin(async move {
            let broken = |what, error: PayloadError| {
                UndoAttempted::Broken(error.code(), misfit(what, &error))
            };
            let activity: A = match input.decode() {
                Ok(activity) => activity,
                Err(error) => return broken("input", error),
            };
            let output: Option<A::Output> = match output.map(Payload::decode).transpose() {
                Ok(output) => output,
                Err(error) => return broken("output", error),
            };
            let outcome = output.as_ref().map_or(Outcome::Unknown, Outcome::Done);
            let undo = async {
                <A::Class as Class<A>>::undo(&activity, self.services(), attempt, outcome).await
            };
            match AssertUnwindSafe(undo).catch_unwind().await {
                Ok(answer) => UndoAttempted::Answered(answer),
                Err(panic) => UndoAttempted::Broken("panicked", panic_text(panic.as_ref())),
            }
        })
    }

    fn run_batch<'a>(&'a self, inputs: Vec<(Payload, Attempt)>) -> BoxFuture<'a, Vec<Attempted>> {
        Box::pin(async move {
            let mut answers: Vec<Option<Attempted>> = Vec::with_capacity(inputs.len());
            let mut calls = Vec::with_capacity(inputs.len());
            for (input, attempt) in inputs {
                match input.decode::<A>() {
                    Ok(activity) => {
                        answers.push(None);
                        calls.push(Call { attempt, activity });
                    }
                    Err(error) => answers.push(Some(broken("input", &error))),
                }
            }
            let services = || self.services();
            let batch = async {
                calls.iter().for_each(|call| poison::before(&call.activity));
                A::run_batch(services(), &calls).await
            };
            let mut batch = match AssertUnwindSafe(batch).catch_unwind().await {
                Ok(batch) if batch.len() == calls.len() => batch
                    .into_iter()
                    .zip(&calls)
                    .map(|(answer, call)| poison::after(&call.activity, answered(answer))),
                Ok(batch) => {
                    let (got, sent) = (batch.len(), calls.len());
                    return one_by_one::<A>(services, calls, answers, || {
                        Attempted::Broken("batch_misfit", format!("{got} answers for {sent} calls"))
                    })
                    .await;
                }
                // Which call it was that panicked is found out one by one: it alone is parked.
                Err(panic) => {
                    let text = panic_text(panic.as_ref());
                    return one_by_one::<A>(services, calls, answers, || {
                        Attempted::Broken("panicked", text.clone())
                    })
                    .await;
                }
            };
            let fill = |answer: Option<Attempted>| answer.or_else(|| batch.next());
            answers.into_iter().filter_map(fill).collect()
        })
    }
}

/// One call by itself.
async fn called<'a, A: Activity>(
    activity: &A,
    services: impl FnOnce() -> &'a A::Services,
    attempt: &Attempt,
) -> Attempted {
    let run = async {
        poison::before(activity);
        activity.run(services(), attempt).await
    };
    match AssertUnwindSafe(run).catch_unwind().await {
        Ok(answer) => poison::after(activity, answered(answer)),
        Err(panic) => Attempted::Broken("panicked", panic_text(panic.as_ref())),
    }
}

/// Runs each call of a broken batch by itself, so that only the one that breaks it is parked.
async fn one_by_one<'a, A: Activity>(
    services: impl Fn() -> &'a A::Services,
    calls: Vec<Call<A>>,
    mut answers: Vec<Option<Attempted>>,
    alone: impl Fn() -> Attempted,
) -> Vec<Attempted> {
    let mut singles = Vec::with_capacity(calls.len());
    let only_one = calls.len() == 1;
    for call in calls {
        if only_one {
            singles.push(alone());
            continue;
        }
        singles.push(called(&call.activity, &services, &call.attempt).await);
    }
    let mut singles = singles.into_iter();
    answers
        .iter_mut()
        .filter(|answer| answer.is_none())
        .for_each(|answer| *answer = singles.next());
    answers.into_iter().flatten().collect()
}

pub(crate) fn answered<T: serde::Serialize>(answer: Result<T, Failure>) -> Attempted {
    match answer.map(|output| Payload::encode(&output)) {
        Ok(Ok(output)) => Attempted::Answered(Ok(output)),
        Ok(Err(error)) => broken("output", &error),
        Err(failure) => Attempted::Answered(Err(failure)),
    }
}

fn broken(what: &str, error: &PayloadError) -> Attempted {
    Attempted::Broken(error.code(), misfit(what, error))
}

/// What does not fit, and why, for a person.
fn misfit(what: &str, error: &PayloadError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{what}: {error}{}", cause.unwrap_or_default())
}

/// What an attempt that was cut off counts as.
pub(crate) fn timed_out(timeout: Duration) -> Trouble {
    Trouble::new("timed_out", format!("no answer within {} s", timeout.as_secs_f32()))
}
