//! Many callers, one statement: whoever waits while a batch is under way is in the next one.
//!
//! There is no linger: a call that finds nobody before it runs at once and alone.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;
use crate::failure::Trouble;
use crate::payload::panic_text;

/// How many callers may wait; more wait before they are let in.
const WAITING_MAX: usize = 4096;
/// How long a batch may take: longer than the server lets its statements run.
const BATCH_TIMEOUT: Duration = Duration::from_secs(20);

/// Hands the calls of many callers to one task, which carries them out a batch at a time. Cheap to
/// clone; the task ends with the last clone.
pub struct Gather<C, A, E = Trouble> {
    waiting: mpsc::Sender<Waiting<C, A, E>>,
}

type Waiting<C, A, E> = (C, oneshot::Sender<Result<A, E>>);

/// What befalls a whole batch, and so each of its calls.
pub trait Common: Clone + Send + 'static {
    /// The batch gave no answer: nobody knows what became of it.
    fn no_answer(why: &str) -> Self;
}

impl Common for Trouble {
    fn no_answer(why: &str) -> Self {
        Self::new("batch_not_answered", format!("the batch gave no answer: {why}"))
    }
}

impl Common for StoreError {
    fn no_answer(why: &str) -> Self {
        Self::unavailable(sqlx::Error::Io(std::io::Error::other(why.to_owned())))
    }
}

impl<C, A, E> Clone for Gather<C, A, E> {
    fn clone(&self) -> Self {
        Self { waiting: self.waiting.clone() }
    }
}

impl<C, A, E> fmt::Debug for Gather<C, A, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").finish_non_exhaustive()
    }
}

impl<C: Send + 'static, A: Send + 'static, E: Common> Gather<C, A, E> {
    /// Starts the task. `carry_out` gets 1 to `batch_max` calls and answers each, in their order. Must
    /// be called within a tokio runtime.
    pub fn new<F>(batch_max: usize, carry_out: impl Fn(Vec<C>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<A>, E>> + Send,
    {
        let (waiting, mut queue) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            let mut batch: Vec<Waiting<C, A, E>> = Vec::new();
            while queue.recv_many(&mut batch, batch_max).await > 0 {
                let (calls, callers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
                let work = async { tokio::time::timeout(BATCH_TIMEOUT, carry_out(calls)).await };
                // What panics, be it when it is let go, costs its batch an answer, and nobody the task.
                let answers = match AssertUnwindSafe(work).catch_unwind().await {
                    Ok(Ok(answers)) => answers,
                    Ok(Err(_)) => Err(E::no_answer("it took too long")),
                    Err(panic) => {
                        let text = panic_text(panic.as_ref());
                        tracing::error!(error = text, "a batch panicked: its calls have no answer");
                        Err(E::no_answer(&text))
                    }
                };
                // A caller that went away misses its answer; its call was carried out.
                match answers {
                    Ok(answers) => callers.into_iter().zip(answers).for_each(|(caller, answer)| {
                        let _ = caller.send(Ok(answer));
                    }),
                    Err(error) => callers.into_iter().for_each(|caller| {
                        let _ = caller.send(Err(error.clone()));
                    }),
                }
            }
        });
        Self { waiting }
    }

    /// Has `call` carried out. Once it is let in, it is carried out even when the caller goes away.
    pub async fn call(&self, call: C) -> Result<A, E> {
        let (caller, answer) = oneshot::channel();
        // Not let in: nothing was done, but that makes no difference to who tries again.
        let let_in = self.waiting.send((call, caller)).await;
        let_in.map_err(|_| E::no_answer("its task has ended"))?;
        answer.await.map_err(|_| E::no_answer("its task has ended"))?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn who_waits_during_a_batch_is_in_the_next_one() {
        let (sizes, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let gather = Gather::<_, _>::new(3, {
            let (sizes, gate) = (sizes.clone(), gate.clone());
            move |calls: Vec<u32>| {
                let (sizes, gate) = (sizes.clone(), gate.clone());
                async move {
                    gate.acquire().await.unwrap().forget();
                    sizes.lock().unwrap().push(calls.len());
                    Ok(calls.into_iter().map(|call| call * 10).collect())
                }
            }
        });
        let calls: Vec<_> = (0..6)
            .map(|call| {
                let gather = gather.clone();
                tokio::spawn(async move { gather.call(call).await })
            })
            .collect();
        while gather.waiting.capacity() > WAITING_MAX - 3 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(9);
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), Ok(n as u32 * 10));
        }
        let sizes = sizes.lock().unwrap();
        assert!(sizes.iter().all(|size| *size <= 3), "{sizes:?}");
        assert!(sizes.len() < 6, "nothing was gathered: {sizes:?}");
    }

    #[tokio::test]
    async fn a_call_is_carried_out_though_its_caller_went_away() {
        let (done, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let gather = Gather::<_, _>::new(8, {
            let (done, gate) = (done.clone(), gate.clone());
            move |calls: Vec<()>| {
                let (done, gate) = (done.clone(), gate.clone());
                async move {
                    gate.acquire().await.unwrap().forget();
                    done.fetch_add(calls.len(), Ordering::SeqCst);
                    Ok(calls)
                }
            }
        });
        let caller = tokio::spawn({
            let gather = gather.clone();
            async move { gather.call(()).await }
        });
        tokio::task::yield_now().await;
        caller.abort();
        let _ = caller.await;
        gate.add_permits(9);
        gather.call(()).await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_panic_costs_its_batch_an_answer_and_the_next_one_nothing() {
        let gather = Gather::<_, _>::new(8, |calls: Vec<u32>| async move {
            assert!(!calls.contains(&13), "unlucky");
            Ok(calls)
        });
        let trouble = gather.call(13).await.unwrap_err();
        assert!(trouble.message.contains("unlucky"), "{trouble:?}");
        assert_eq!(gather.call(7).await, Ok(7));
    }

    #[tokio::test]
    async fn one_trouble_is_everybodys() {
        let gather = Gather::<(), ()>::new(8, |_| async { Err(Trouble::new("busy", "try again")) });
        assert_eq!(gather.call(()).await, Err(Trouble::new("busy", "try again")));
    }
}
