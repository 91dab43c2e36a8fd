//! Commit lanes: they write what all sagas have to write, many of them in one commit. They never linger:
//! what arrives during one commit is the next batch.

mod serve;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::metrics::Meters;
use crate::store::Store;
use crate::store::record::Record;

use serve::Queues;
use writer::Writer;

/// The most sagas in one commit: nearly all of the gain is there at 250.
const BATCH_MAX: usize = 500;
/// The most bytes in one commit, unless one saga alone has more: they are written long before a statement is
/// stopped.
const BATCH_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// The most sagas that wait for a lane. Beyond it starts are refused.
const QUEUE_MAX: usize = 8_192;

/// What became of a record.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is durable.
    Yes,
    /// Its start key was taken: nothing of it was written.
    KeyTaken,
    /// Another node owns the shard: nothing of it was written, and nothing of it ever may be. Or it may still
    /// land, and whoever takes the shard next waits for that: nothing goes on before it is taken anew.
    Fenced,
    /// The database refuses this very record.
    Impossible(String),
    /// The database can not write this very record now.
    Late,
}

/// The way into a lane.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    queue: mpsc::Sender<Queued>,
    /// How many lanes' connections the database takes no writes from.
    down: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Queued {
    record: Record,
    answer: oneshot::Sender<Written>,
}

impl Lane {
    /// Starts so many, at least one. They end when the last handle to any of them is dropped.
    pub(crate) fn start(count: usize, store: &Store, meters: &Meters) -> Vec<Self> {
        let down = Arc::new(AtomicUsize::new(0));
        let (lanes, queues) = (0..count).map(|_| Self::new(&down)).unzip();
        let writer = || Writer::new(store.clone(), meters.clone(), down.clone());
        let idle = (1..count).map(|_| writer()).collect();
        tokio::spawn(Queues::new(queues, writer(), idle).serve());
        lanes
    }

    fn new(down: &Arc<AtomicUsize>) -> (Self, mpsc::Receiver<Queued>) {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        (Self { queue, down: down.clone() }, queued)
    }

    /// One that nobody serves.
    #[cfg(test)]
    pub(crate) fn to_nowhere() -> Self {
        Self::new(&Arc::default()).0
    }

    /// Writes a record; waits for its turn and for the commit.
    pub(crate) async fn write(&self, record: Record) -> Written {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Queued { record, answer }).await.is_err() {
            return Written::Fenced;
        }
        answered.await.unwrap_or(Written::Fenced)
    }

    /// Puts a record in the queue if there is room and the database took the last ones; the answer comes
    /// later.
    pub(crate) fn try_write(&self, record: Record) -> Result<oneshot::Receiver<Written>, LaneFull> {
        if self.down.load(Ordering::Relaxed) > 0 {
            return Err(LaneFull::Down);
        }
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Queued { record, answer }).map_err(|_| LaneFull::Full)?;
        Ok(answered)
    }
}

/// Why a record was not even queued.
#[derive(Debug)]
pub(crate) enum LaneFull {
    /// Too many wait.
    Full,
    /// The database takes no writes.
    Down,
}
