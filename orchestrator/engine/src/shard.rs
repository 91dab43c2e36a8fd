//! A shard this node owns: its fence, its sagas in memory, and those that rest in the database.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::clock;
use crate::event::Message;
use crate::id::{SagaId, ShardId};
use crate::lane::Lane;
use crate::store::Timeline;

/// How soon a saga is read again that could not be driven.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// One ownership of a shard. A shard that is lost and taken again is another one.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) fence: Uuid,
    /// The line of the server's history on which it was taken.
    pub(crate) timeline: Timeline,
    pub(crate) lane: Lane,
    /// Cancelled when another node owns the shard, or this node stops at once: nothing of it may
    /// be written any more.
    pub(crate) lost: CancellationToken,
    /// Set while the shard is handed over: nothing new starts.
    draining: AtomicBool,
    pub(crate) drained: Notify,
    pub(crate) tasks: TaskTracker,
    sagas: Mutex<Sagas>,
}

#[derive(Debug, Default)]
struct Sagas {
    active: HashMap<SagaId, Arc<Mailbox>>,
    resting: BTreeSet<(OffsetDateTime, SagaId)>,
    resting_until: HashMap<SagaId, OffsetDateTime>,
    /// Messages that were delivered and not yet taken, and to whom: the inbox shows them again and again.
    delivered: HashMap<Uuid, SagaId>,
    /// Messages that were taken since the inbox was last asked: an answer that is still on its way
    /// may show them once more.
    gone: HashSet<Uuid>,
}

/// Where messages for a saga in memory are put.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    messages: Mutex<Vec<(Uuid, Message)>>,
    pub(crate) arrived: Notify,
}

impl Mailbox {
    pub(crate) fn take(&self) -> Vec<(Uuid, Message)> {
        std::mem::take(&mut self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, id: Uuid, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push((id, message));
        self.arrived.notify_one();
    }

    fn is_empty(&self) -> bool {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Shard {
    pub(crate) fn new(
        id: ShardId,
        fence: Uuid,
        timeline: Timeline,
        lane: Lane,
        lost: CancellationToken,
    ) -> Self {
        Self {
            id,
            fence,
            timeline,
            lane,
            lost,
            draining: AtomicBool::new(false),
            drained: Notify::new(),
            tasks: TaskTracker::new(),
            sagas: Mutex::default(),
        }
    }

    fn sagas(&self) -> MutexGuard<'_, Sagas> {
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether new attempts may start on it.
    pub(crate) fn is_open(&self) -> bool {
        !self.draining.load(Ordering::Acquire) && !self.lost.is_cancelled()
    }

    /// What `work` gives; none: the shard went away before.
    pub(crate) async fn while_open<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let drained = self.drained.notified();
        if !self.is_open() {
            return None;
        }
        tokio::select! {
            () = self.lost.cancelled() => None,
            () = drained => None,
            done = work => Some(done),
        }
    }

    /// Lets what is under way finish, and starts nothing more.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.drained.notify_waiters();
        for mailbox in self.sagas().active.values() {
            mailbox.arrived.notify_one();
        }
        self.tasks.close();
    }

    /// Brings a saga to memory; none: it is there already, or the shard is being handed over.
    pub(crate) fn activate(&self, id: SagaId) -> Option<Arc<Mailbox>> {
        let mut sagas = self.sagas();
        if !self.is_open() || sagas.active.contains_key(&id) {
            return None;
        }
        if let Some(until) = sagas.resting_until.remove(&id) {
            sagas.resting.remove(&(until, id));
        }
        let mailbox = Arc::new(Mailbox::default());
        sagas.active.insert(id, mailbox.clone());
        Some(mailbox)
    }

    /// How many sagas are in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.sagas().active.len()
    }

    /// Whether a saga is in memory.
    pub(crate) fn is_active(&self, id: SagaId) -> bool {
        self.sagas().active.contains_key(&id)
    }

    /// Takes a saga out of memory, to be woken at `wake_at` or by a message. False: a message came
    /// meanwhile, and the saga stays.
    pub(crate) fn rest(&self, id: SagaId, wake_at: Option<OffsetDateTime>) -> bool {
        let mut sagas = self.sagas();
        if sagas.active.get(&id).is_some_and(|mailbox| !mailbox.is_empty()) {
            return false;
        }
        sagas.active.remove(&id);
        if let Some(until) = wake_at {
            sagas.resting.insert((until, id));
            sagas.resting_until.insert(id, until);
        }
        true
    }

    /// Takes a saga out of memory for good, or until it is loaded again.
    pub(crate) fn forget(&self, id: SagaId) {
        let mut sagas = self.sagas();
        let mailbox = sagas.active.remove(&id);
        // What it did not read any more the inbox shows again.
        for (message, _) in mailbox.map(|mailbox| mailbox.take()).unwrap_or_default() {
            sagas.delivered.remove(&message);
        }
    }

    /// Takes a saga out of memory that could not be driven, and has it read again.
    pub(crate) fn broke(&self, id: SagaId) {
        tracing::error!(saga = %id, "a saga can not be driven: it is read again");
        let at = clock::now() + AGAIN_AFTER;
        // In one go: from here on it may be brought to memory again.
        let mut sagas = self.sagas();
        sagas.active.remove(&id);
        // What it had not read, or not yet written, it reads again.
        sagas.delivered.retain(|_, saga| *saga != id);
        sagas.resting.insert((at, id));
        sagas.resting_until.insert(id, at);
    }

    /// Notes that a saga rests in the database until `wake_at`.
    pub(crate) fn rests(&self, id: SagaId, wake_at: OffsetDateTime) {
        let mut sagas = self.sagas();
        if !sagas.active.contains_key(&id) && sagas.resting_until.insert(id, wake_at).is_none() {
            sagas.resting.insert((wake_at, id));
        }
    }

    /// Resting sagas that are due, at most `limit`; they are not resting any more.
    pub(crate) fn due(&self, now: OffsetDateTime, limit: usize) -> Vec<SagaId> {
        let mut sagas = self.sagas();
        let mut due = Vec::new();
        while let Some((until, id)) = sagas.resting.first().copied() {
            if until > now || due.len() == limit {
                break;
            }
            sagas.resting.pop_first();
            sagas.resting_until.remove(&id);
            due.push(id);
        }
        due
    }

    /// When the next resting saga is due.
    pub(crate) fn next_due(&self) -> Option<OffsetDateTime> {
        self.sagas().resting.first().map(|(until, _)| *until)
    }

    /// Gives a message to its saga if it is in memory. Some: it is not, load it with this message.
    pub(crate) fn deliver(
        &self,
        saga: SagaId,
        id: Uuid,
        message: Message,
    ) -> Option<(Uuid, Message)> {
        let mut sagas = self.sagas();
        if sagas.gone.contains(&id) || sagas.delivered.contains_key(&id) {
            return None;
        }
        sagas.delivered.insert(id, saga);
        match sagas.active.get(&saga) {
            Some(mailbox) => {
                mailbox.put(id, message);
                None
            }
            None => Some((id, message)),
        }
    }

    /// Puts a message into the mailbox of a saga that is about to run.
    pub(crate) fn post(mailbox: &Mailbox, id: Uuid, message: Message) {
        mailbox.put(id, message);
    }

    /// A message was taken, its row is gone.
    pub(crate) fn taken(&self, messages: &[Uuid]) {
        let mut sagas = self.sagas();
        for message in messages {
            sagas.delivered.remove(message);
            sagas.gone.insert(*message);
        }
    }

    /// The inbox is about to be asked: what is gone by now it does not show any more.
    pub(crate) fn asking(&self) {
        self.sagas().gone.clear();
    }

    /// A message could not be delivered: the inbox will show it again.
    pub(crate) fn undelivered(&self, message: Uuid) {
        self.sagas().delivered.remove(&message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_saga_had_read_before_it_broke_it_is_told_again() {
        let shard = Shard::new(1, Uuid::nil(), 1, Lane::to_nowhere(), CancellationToken::new());
        let (id, message) = (SagaId::new(1, clock::now()), Uuid::from_u128(1));
        let deliver = || shard.deliver(id, message, Message::Started);
        let mailbox = shard.activate(id).unwrap();
        assert!(deliver().is_none());
        assert_eq!(mailbox.take().len(), 1);
        assert!(deliver().is_none() && mailbox.take().is_empty(), "the inbox shows it again");
        shard.broke(id);
        assert!(!shard.is_active(id) && shard.next_due().is_some());
        assert!(deliver().is_some(), "it is to be read with it");
    }
}
