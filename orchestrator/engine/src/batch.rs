//! Gathers calls of one activity from many sagas, so that they share a transaction. No linger: what
//! arrives during one batch is the next.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::activity::Attempt;
use crate::failure::{Failure, Trouble, unknown};
use crate::handler::{Attempted, Handler, timed_out};
use crate::payload::{Payload, panic_text};

/// The most calls that wait for one activity.
const QUEUE_MAX: usize = 8_192;

/// The way into an activity's batches.
#[derive(Clone, Debug)]
pub(crate) struct Batcher {
    queue: mpsc::Sender<Queued>,
}

#[derive(Debug)]
struct Queued {
    input: Payload,
    attempt: Attempt,
    answer: oneshot::Sender<Attempted>,
}

impl Batcher {
    /// Starts gathering for `handler`. Ends when the last handle is dropped.
    pub(crate) fn start(handler: Arc<dyn Handler>, batch_max: usize) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(gather(handler, batch_max, queued));
        Self { queue }
    }

    /// Runs one call in the next batch.
    pub(crate) async fn run(&self, input: Payload, attempt: Attempt) -> Attempted {
        let (answer, answered) = oneshot::channel();
        let cut_off = |_| Attempted::Answered(Err(unknown("cut_off", "the node is stopping")));
        if self.queue.send(Queued { input, attempt, answer }).await.is_err() {
            return cut_off(());
        }
        answered.await.unwrap_or_else(|_| cut_off(()))
    }
}

async fn gather(handler: Arc<dyn Handler>, batch_max: usize, mut queue: mpsc::Receiver<Queued>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, batch_max).await > 0 {
        let (calls, answers): (Vec<_>, Vec<_>) = batch
            .drain(..)
            .filter_map(still_wanted)
            .map(|queued| ((queued.input, queued.attempt), queued.answer))
            .unzip();
        if calls.is_empty() {
            continue;
        }
        let timeout = handler.describe_self().timeout;
        // Also what is let go when its time is over may panic. That costs its batch an answer, and nobody
        // the task.
        let running = async { tokio::time::timeout(timeout, handler.run_batch(calls)).await };
        let (attempted, trouble) = match AssertUnwindSafe(running).catch_unwind().await {
            Ok(attempted) => (attempted.unwrap_or_default(), None),
            Err(panic) => (Vec::new(), Some(Trouble::new("panicked", panic_text(panic.as_ref())))),
        };
        let mut attempted = attempted.into_iter();
        for answer in answers {
            let nobody_knows = || {
                let trouble = trouble.clone().unwrap_or_else(|| timed_out(timeout));
                Attempted::Answered(Err(Failure::Unknown(trouble)))
            };
            // A saga that is gone does not wait for its answer.
            let _ = answer.send(attempted.next().unwrap_or_else(nobody_knows));
        }
    }
}

/// A call whose saga left, or whose time ran out in line, is not begun: somebody else may be at it by
/// now. That it had to wait is not its dependency's failure, and uses up no attempt.
fn still_wanted(queued: Queued) -> Option<Queued> {
    if queued.answer.is_closed() {
        return None;
    }
    if queued.attempt.deadline > Instant::now() {
        return Some(queued);
    }
    let late = Trouble::new("not_begun", "its time ran out while others were before it");
    // It may leave at this very moment.
    let _ = queued.answer.send(Attempted::Answered(Err(Failure::Retry(late.uncounted()))));
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use serde::{Deserialize, Serialize};
    use time::OffsetDateTime;
    use tokio::sync::Semaphore;
    use uuid::Uuid;

    use super::*;
    use crate::activity::{Activity, ForwardOnly};
    use crate::handler::handler;
    use crate::id::SagaId;

    struct Shelf {
        open: Semaphore,
        put: Mutex<Vec<String>>,
    }

    #[derive(Serialize, Deserialize)]
    struct Put(String);

    impl Activity for Put {
        const NAME: &'static str = "put";
        const DEPENDENCY: &'static str = "shelf";
        const BATCH_MAX: usize = 10;
        type Services = Shelf;
        type Output = ();
        type Class = ForwardOnly;

        async fn run(&self, shelf: &Shelf, _: &Attempt) -> Result<(), Failure> {
            shelf.put.lock().unwrap().push(self.0.clone());
            let _ = shelf.open.acquire().await;
            Ok(())
        }
    }

    /// Goes off when it is let go: when its time is over, say.
    #[derive(Serialize, Deserialize)]
    struct Fuse {
        is_lit: bool,
    }

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("it went off");
        }
    }

    impl Activity for Fuse {
        const NAME: &'static str = "fuse";
        const DEPENDENCY: &'static str = "luck";
        const BATCH_MAX: usize = 10;
        type Services = ();
        type Output = ();
        type Class = ForwardOnly;

        async fn run(&self, (): &(), _: &Attempt) -> Result<(), Failure> {
            if self.is_lit {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            }
            Ok(())
        }

        fn timeout() -> Duration {
            Duration::from_millis(20)
        }
    }

    #[tokio::test]
    async fn a_panic_costs_its_batch_an_answer_and_the_next_one_nothing() {
        let batcher = Batcher::start(handler::<Fuse, ()>(Arc::new(())), 10);
        let call = async |is_lit| {
            let input = Payload::encode(&Fuse { is_lit }).unwrap();
            batcher.run(input, attempt(Duration::from_secs(600))).await
        };
        match call(true).await {
            Attempted::Answered(Err(Failure::Unknown(trouble))) => {
                assert_eq!((&*trouble.code, &*trouble.message), ("panicked", "it went off"));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(call(false).await, Attempted::Answered(Ok(_))));
    }

    fn attempt(within: Duration) -> Attempt {
        let at = OffsetDateTime::UNIX_EPOCH;
        let deadline = Instant::now() + within;
        let (saga_id, root) = (SagaId::new(1, at), Uuid::nil());
        Attempt { saga_id, step: 1, number: 1, intended_at: at, deadline, root }
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_or_whose_time_ran_out_in_line_is_not_begun() {
        let shelf = Arc::new(Shelf { open: Semaphore::new(0), put: Mutex::default() });
        let batcher = Batcher::start(handler::<Put, Shelf>(shelf.clone()), 10);
        let put = |what: &str, within| {
            let (batcher, input) = (batcher.clone(), Payload::encode(what).unwrap());
            Box::pin(async move { batcher.run(input, attempt(within)).await })
        };
        let long = Duration::from_secs(600);
        let mut first = put("first", long);
        assert!((&mut first).now_or_never().is_none());
        while shelf.put.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let mut late = put("late", Duration::ZERO);
        let mut gone = put("gone", long);
        let mut last = put("last", long);
        for call in [&mut late, &mut gone, &mut last] {
            assert!(call.now_or_never().is_none(), "it stands in line");
        }
        drop(gone);
        shelf.open.close();
        assert!(matches!(first.await, Attempted::Answered(Ok(_))));
        assert!(matches!(last.await, Attempted::Answered(Ok(_))));
        match late.await {
            Attempted::Answered(Err(Failure::Retry(trouble))) => {
                assert!(trouble.not_executed && !trouble.counted, "{trouble:?}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(*shelf.put.lock().unwrap(), ["first", "last"]);
    }
}
