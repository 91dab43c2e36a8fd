//! Gathers calls of one activity from many sagas, so that they share a transaction. No linger: what
//! arrives during one batch is the next.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::activity::Attempt;
use crate::failure::{Failure, unknown};
use crate::handler::{Attempted, Handler, timed_out};
use crate::payload::Payload;

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
        let (calls, answers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|queued| ((queued.input, queued.attempt), queued.answer)).unzip();
        let timeout = handler.describe_self().timeout;
        let attempted = tokio::time::timeout(timeout, handler.run_batch(calls)).await;
        let mut attempted = attempted.unwrap_or_default().into_iter();
        for answer in answers {
            let late = || Attempted::Answered(Err(Failure::Unknown(timed_out(timeout))));
            // A saga that is gone does not wait for its answer.
            let _ = answer.send(attempted.next().unwrap_or_else(late));
        }
    }
}
