//! Who writes what. As much as can be shares a commit, so one writer takes from all queues. A queue that
//! is long by the time it has written is lent to another one, until it is short again. While a commit hangs,
//! nothing is lent.
//!
//! A queue, and with it each of its shards, is written by whoever holds it: one commit after the other.

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::writer::Writer;
use super::{BATCH_MAX, Queued};

/// Where so many wait, a second commit beside the first costs less than it gains.
const LONG: usize = 100;
/// Where fewer wait, it does not any more.
const SHORT: usize = 50;

type Queue = mpsc::Receiver<Queued>;

/// The queues of all lanes, and who writes them.
pub(super) struct Queues {
    /// Those that are not lent.
    held: Vec<Queue>,
    /// Writes those.
    writer: Writer,
    /// Those that could write a queue of their own.
    idle: Vec<Writer>,
    /// Those that do; each comes back with its queue, or without if that is closed.
    lent: JoinSet<(Writer, Option<Queue>)>,
}

impl Queues {
    pub(super) fn new(held: Vec<Queue>, writer: Writer, idle: Vec<Writer>) -> Self {
        Self { held, writer, idle, lent: JoinSet::new() }
    }

    /// Writes what comes until all queues are closed.
    pub(super) async fn serve(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while poll_fn(|context| self.poll_take(context, &mut batch)).await > 0 {
            self.writer.write(std::mem::take(&mut batch)).await;
        }
    }

    /// Takes a batch from all queues that are not lent; of nothing when all are closed.
    fn poll_take(&mut self, context: &mut Context<'_>, batch: &mut Vec<Queued>) -> Poll<usize> {
        self.lend();
        // After lending: what was not there when this was asked does not wake.
        while let Poll::Ready(Some(returned)) = self.lent.poll_join_next(context) {
            // Else the runtime ends: a writer does not panic.
            if let Ok((writer, queue)) = returned {
                self.idle.push(writer);
                self.held.extend(queue);
            }
        }
        if !self.held.is_empty() {
            // So that it is not always the same that finds no room.
            self.held.rotate_left(1);
        }
        self.held.retain_mut(|queue| {
            let room = BATCH_MAX - batch.len();
            room == 0 || queue.poll_recv_many(context, batch, room) != Poll::Ready(0)
        });
        let is_over = self.held.is_empty() && self.lent.is_empty();
        if batch.is_empty() && !is_over { Poll::Pending } else { Poll::Ready(batch.len()) }
    }

    /// Lends long queues, all but one.
    fn lend(&mut self) {
        let is_long = |queue: &Queue| queue.len() >= LONG;
        while self.held.len() > 1
            && let Some(long) = self.held.iter().position(is_long)
            && let Some(writer) = self.idle.pop()
        {
            self.lent.spawn(borrow(self.held.swap_remove(long), writer));
        }
    }
}

/// Writes a queue until it is short.
async fn borrow(mut queue: Queue, mut writer: Writer) -> (Writer, Option<Queue>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        writer.write(std::mem::take(&mut batch)).await;
        if queue.len() < SHORT {
            return (writer, Some(queue));
        }
    }
    (writer, None)
}
