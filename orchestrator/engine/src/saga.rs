//! The handle a workflow holds: steps, waits, time and ids, all of which replay the same.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::activity::{Activity, AfterPivot, BeforePivot, Class, ClassKind};
use crate::clock::LONGEST_WAIT;
use crate::event::Ask;
use crate::failure::Rejection;
use crate::payload::{Payload, PayloadError};
use crate::workflow::{Declares, Workflow};

/// The saga is turning back. Only the engine makes one; `?` passes it on.
#[derive(Debug, Clone)]
pub struct Abort {
    rejection: Rejection,
}

impl Abort {
    pub(crate) fn new(rejection: Rejection) -> Self {
        Self { rejection }
    }

    /// Why it turns back.
    pub fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

/// What a workflow and its driver share. The workflow's future is polled by the driver alone.
#[derive(Debug)]
struct Link {
    claimed: u32,
    asks: Vec<Ask>,
    /// Those the workflow did not take yet: a handful at most, each with its position.
    answers: Vec<(u32, Answer)>,
    now: OffsetDateTime,
    root: Uuid,
    uuids: u32,
    broken: Option<PayloadError>,
}

impl Link {
    fn take_answer(&mut self, step: u32) -> Option<Answer> {
        let at = self.answers.iter().position(|(number, _)| *number == step)?;
        Some(self.answers.swap_remove(at).1)
    }
}

/// What a claimed position yields.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A step's output, a signal's payload.
    Value(Payload),
    /// A sleep that is over.
    Awake,
    /// A wait without a signal.
    NoSignal,
    /// The saga turns back.
    Abort(Abort),
}

/// The driver's side, and the workflow's. Public only because a sealed signature names it.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct SharedLink(Arc<Mutex<Link>>);

impl SharedLink {
    pub(crate) fn new(root: Uuid, now: OffsetDateTime) -> Self {
        let (asks, answers) = (Vec::new(), Vec::new());
        let link = Link { claimed: 0, asks, answers, now, root, uuids: 0, broken: None };
        Self(Arc::new(Mutex::new(link)))
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        // A workflow that panicked is parked and its link dropped: what is behind the lock is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answer(&self, step: u32, answer: Answer) {
        self.lock().answers.push((step, answer));
    }

    pub(crate) fn set_now(&self, now: OffsetDateTime) {
        self.lock().now = now;
    }

    /// What the workflow asked for since the last call, in order.
    pub(crate) fn take_asks(&self) -> Vec<Ask> {
        std::mem::take(&mut self.lock().asks)
    }

    /// A value of the workflow that does not fit the journal, or of the journal that does not fit
    /// the workflow.
    pub(crate) fn take_broken(&self) -> Option<PayloadError> {
        self.lock().broken.take()
    }

    fn claim(&self, ask: Ask) -> u32 {
        let mut link = self.lock();
        link.claimed += 1;
        link.ask(ask);
        link.claimed
    }
}

impl Link {
    /// From a value on that can not be written or read nothing is asked for: the saga is parked there, and
    /// its journal fits the code once that is mended.
    fn ask(&mut self, ask: Ask) {
        if self.broken.is_none() {
            self.asks.push(ask);
        }
    }
}

/// A running saga, as its workflow sees it, up to the pivot.
#[derive(Debug)]
pub struct Saga<W> {
    link: SharedLink,
    workflow: PhantomData<fn(W)>,
}

/// A saga past its pivot: from here forward only, so also forward-only activities may run, and no
/// step says no any more.
#[derive(Debug)]
pub struct Forward<'a, W> {
    link: &'a SharedLink,
    workflow: PhantomData<fn(W)>,
}

impl<W: Workflow> Saga<W> {
    pub(crate) fn new(link: SharedLink) -> Self {
        Self { link, workflow: PhantomData }
    }

    /// Does `activity` once, whatever crashes; if the saga turns back later, undoes it.
    ///
    /// The step's position is claimed by this call, not when the future is first polled.
    #[must_use = "a step's outcome is known only when it is awaited"]
    pub fn step<A, Index>(
        &mut self,
        activity: A,
    ) -> impl Future<Output = Result<A::Output, Abort>> + Send + use<'_, W, A, Index>
    where
        A: Activity<Class: BeforePivot>,
        W::Activities: Declares<A, Index>,
    {
        Waiting::<A::Output>::of(&self.link, ask_step(&self.link, &activity, None))
    }

    /// Does several activities at once; if the saga turns back later, undoes them at once.
    #[must_use = "the steps' outcomes are known only when they are awaited"]
    pub fn join<S, Index>(
        &mut self,
        steps: S,
    ) -> impl Future<Output = Result<S::Outputs, Abort>> + Send + use<'_, W, S, Index>
    where
        S: Steps<W, Index>,
    {
        steps.claim(&self.link)
    }

    /// Sleeps. A saga that sleeps long costs a row and some bytes.
    #[must_use = "a sleep does nothing until awaited"]
    pub fn sleep(
        &mut self,
        duration: Duration,
    ) -> impl Future<Output = Result<(), Abort>> + Send + use<'_, W> {
        let until = self.now() + duration.min(LONGEST_WAIT);
        let sleeping = Waiting::<()>::of(&self.link, self.link.claim(Ask::Sleep { until }));
        async move { sleeping.answered().await.map(|_| ()) }
    }

    /// Waits for the signal `name` for at most `timeout`; `None`: it did not come. A signal that
    /// came before it was asked for is kept.
    #[must_use = "a wait does nothing until awaited"]
    pub fn signal<T: DeserializeOwned + Send>(
        &mut self,
        name: &str,
        timeout: Duration,
    ) -> impl Future<Output = Result<Option<T>, Abort>> + Send + use<'_, W, T> {
        let until = self.now() + timeout.min(LONGEST_WAIT);
        let ask = Ask::Signal { name: name.into(), until };
        let waiting = Waiting::<T>::of(&self.link, self.link.claim(ask));
        async move {
            match waiting.answered().await? {
                Answer::Value(payload) => Ok(Some(waiting.decode(&payload).await)),
                Answer::Awake | Answer::NoSignal | Answer::Abort(_) => Ok(None),
            }
        }
    }

    /// The time of the outcome the workflow last went on with: the same at each replay.
    pub fn now(&self) -> OffsetDateTime {
        self.link.lock().now
    }

    /// A new id: the same at each replay, and the same when a start with a key is sent again after
    /// its database was lost.
    pub fn uuid(&self) -> Uuid {
        let mut link = self.link.lock();
        link.uuids += 1;
        Uuid::new_v5(&link.root, &link.uuids.to_be_bytes())
    }

    /// The point of no return. What was done stays done: from here steps are retried until they
    /// succeed, and nothing is undone by itself.
    pub fn pivot(&mut self) -> Forward<'_, W> {
        self.link.lock().ask(Ask::Pivot);
        Forward { link: &self.link, workflow: PhantomData }
    }
}

impl<W: Workflow> Forward<'_, W> {
    /// Does `activity` once, whatever crashes and however long it takes.
    #[must_use = "a step's outcome is known only when it is awaited"]
    pub fn step<A, Index>(
        &mut self,
        activity: A,
    ) -> impl Future<Output = A::Output> + Send + use<'_, W, A, Index>
    where
        A: Activity<Class: AfterPivot>,
        W::Activities: Declares<A, Index>,
    {
        let waiting = Waiting::<A::Output>::of(self.link, ask_step(self.link, &activity, None));
        async move {
            match waiting.await {
                Ok(output) => output,
                // Nothing turns a saga back past its pivot.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// The time of the outcome the workflow last went on with: the same at each replay.
    pub fn now(&self) -> OffsetDateTime {
        self.link.lock().now
    }
}

fn ask_step<A: Activity>(link: &SharedLink, activity: &A, with: Option<u32>) -> u32 {
    let input = Payload::encode(activity).unwrap_or_else(|error| {
        link.lock().broken.get_or_insert(error);
        Payload::null()
    });
    let class: ClassKind = <A::Class as Class<A>>::KIND;
    link.claim(Ask::Step { name: A::NAME.into(), class, with, input })
}

/// Several activities that run at once: a tuple of two to four.
pub trait Steps<W: Workflow, Index>: Send {
    /// What they give, in their order.
    type Outputs;
    #[doc(hidden)]
    fn claim(
        self,
        link: &SharedLink,
    ) -> impl Future<Output = Result<Self::Outputs, Abort>> + Send + use<'_, Self, W, Index>;
}

macro_rules! steps {
    ($($name:ident $index:ident $field:tt),*) => {
        impl<W: Workflow, $($name,)* $($index),*> Steps<W, ($($index,)*)> for ($($name,)*)
        where
            $($name: Activity<Class: BeforePivot>, W::Activities: Declares<$name, $index>),*
        {
            type Outputs = ($($name::Output,)*);

            fn claim(
                self,
                link: &SharedLink,
            ) -> impl Future<Output = Result<Self::Outputs, Abort>> + Send + use<'_, W, $($name,)* $($index),*> {
                let leader = link.lock().claimed + 1;
                let steps = ($(ask_step(link, &self.$field, Some(leader)),)*);
                async move {
                    // Polled one after the other: the driver fills in outcomes in any order.
                    Ok(($(Waiting::<$name::Output>::of(link, steps.$field).await?,)*))
                }
            }
        }
    };
}

steps!(A IA 0, B IB 1);
steps!(A IA 0, B IB 1, C IC 2);
steps!(A IA 0, B IB 1, C IC 2, D ID 3);

/// A claimed position whose answer the driver will fill in.
struct Waiting<'a, T> {
    link: &'a SharedLink,
    step: u32,
    output: PhantomData<fn() -> T>,
}

impl<'a, T: DeserializeOwned> Waiting<'a, T> {
    fn of(link: &'a SharedLink, step: u32) -> Self {
        Self { link, step, output: PhantomData }
    }

    async fn answered(&self) -> Result<Answer, Abort> {
        std::future::poll_fn(|_| match self.link.lock().take_answer(self.step) {
            Some(Answer::Abort(abort)) => Poll::Ready(Err(abort)),
            Some(answer) => Poll::Ready(Ok(answer)),
            // No waker: the driver polls again when it has an answer.
            None => Poll::Pending,
        })
        .await
    }

    /// The value, or never: a recorded value that does not fit parks the saga.
    async fn decode(&self, payload: &Payload) -> T {
        match payload.decode() {
            Ok(value) => value,
            Err(error) => {
                self.link.lock().broken.get_or_insert(error);
                std::future::pending().await
            }
        }
    }
}

impl<T: DeserializeOwned> Future for Waiting<'_, T> {
    type Output = Result<T, Abort>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let mut link = self.link.lock();
        match link.take_answer(self.step) {
            Some(Answer::Value(payload)) => match payload.decode() {
                Ok(value) => Poll::Ready(Ok(value)),
                Err(error) => {
                    link.broken.get_or_insert(error);
                    Poll::Pending
                }
            },
            Some(Answer::Abort(abort)) => Poll::Ready(Err(abort)),
            // No waker: the driver polls again when it has an answer.
            Some(Answer::Awake | Answer::NoSignal) | None => Poll::Pending,
        }
    }
}
