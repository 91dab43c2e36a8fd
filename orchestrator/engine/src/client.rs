//! How others talk to the engine: start, see, wait, signal, cancel.

mod start;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::{self, LONGEST_WAIT};
use crate::error::StoreError;
use crate::event::Message;
use crate::hub::{News, Waiting};
use crate::id::{SagaId, ShardId};
use crate::node::Node;
use crate::payload::{Payload, PayloadError};
use crate::view::{Phase, SagaView};

/// How often a waiter looks at a saga of another node.
const POLL_ELSEWHERE: Duration = Duration::from_millis(200);
/// How often it looks at one of this node, in case the word of a change was lost with its shard.
const POLL_HERE: Duration = Duration::from_secs(2);

/// The most characters of a [`Start::business_key`] and of a [`Start::subject`].
pub const NAME_MAX: usize = 200;

/// A client of the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    node: Arc<Node>,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The workflow's name.
    pub workflow: String,
    /// Its input.
    pub input: Payload,
    /// Makes a second start with the same key the same saga.
    pub key: Option<StartKey>,
    /// What the business calls the saga; at most [`NAME_MAX`] characters.
    pub business_key: Option<String>,
    /// Whose it is; at most [`NAME_MAX`] characters.
    pub subject: Option<String>,
}

/// A start key: unique within its scope.
#[derive(Clone, Debug)]
pub struct StartKey {
    /// Who may use it for what: subject and route, say. Two scopes never meet.
    pub scope: String,
    /// The key.
    pub key: String,
    /// What it stands for: a digest of the request. The same key with another one is refused.
    pub fingerprint: [u8; 32],
}

impl StartKey {
    /// SHA-256 over scope and key, each with its length, so that no two pairs are alike.
    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.scope, &self.key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().into()
    }
}

/// A start that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The saga.
    pub id: SagaId,
    /// It was there before: the key had been used with the same fingerprint.
    pub existing: bool,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No workflow of this name on this node.
    #[error("there is no workflow `{0}`")]
    UnknownWorkflow(String),
    /// What the business calls it, or whose it is, has more than [`NAME_MAX`] characters.
    #[error("{0} has more than {NAME_MAX} characters")]
    TooLong(&'static str),
    /// The input is not what the workflow takes.
    #[error("the input does not fit the workflow")]
    Input(#[source] PayloadError),
    /// The key was used with another fingerprint.
    #[error("this key was used for another request")]
    KeyReused(SagaId),
    /// Too much is under way: nothing was accepted.
    #[error("too many sagas are under way")]
    Busy,
    /// The database did not answer; it may have been started. Send it again with the same key.
    #[error("the database is unavailable")]
    Unavailable(#[source] StoreError),
}

/// A signal for a saga.
#[derive(Clone, Debug)]
pub struct Signal {
    /// For whom.
    pub saga: SagaId,
    /// Which message it is: the same twice is one.
    pub message_id: Uuid,
    /// What the workflow asks for.
    pub name: String,
    /// What it carries.
    pub payload: Payload,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The saga took it.
    Taken,
    /// The saga refused it, with this stable code: `too_late_to_cancel`, `already_ended`, ..
    Refused(String),
    /// It is in the inbox; the saga's owner has not taken it within the time given.
    Pending,
    /// No such saga.
    NoSuchSaga,
}

/// What to wait for.
#[derive(Clone, Copy, Debug)]
pub enum WaitFor {
    /// The saga's end.
    End,
    /// Its end, or that it waits: for a signal, or for a time.
    Waiting,
    /// Anything newer than this `rev`.
    Change(i32),
}

impl WaitFor {
    /// Of what news it may be.
    fn least(self) -> News {
        match self {
            Self::End => News::Ended,
            Self::Waiting => News::Waits,
            Self::Change(_) => News::Changed,
        }
    }

    /// Whether it is there.
    fn is_met_by(self, view: &SagaView) -> bool {
        view.summary.ending.is_some()
            || match self {
                Self::End => false,
                Self::Waiting => view.summary.phase == Phase::Waiting,
                Self::Change(rev) => view.summary.rev > rev,
            }
    }
}

impl Client {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// One saga, as of now; none: no such saga.
    pub async fn view(&self, id: SagaId) -> Result<Option<SagaView>, StoreError> {
        self.node.store.view(id, self.node.handlers(), clock::now()).await
    }

    /// Waits at most `timeout`, then answers with what it is then.
    pub async fn wait(
        &self,
        id: SagaId,
        what: WaitFor,
        timeout: Duration,
    ) -> Result<Option<SagaView>, StoreError> {
        if let WaitFor::End = what {
            self.ended(id, timeout).await?;
            return self.view(id).await;
        }
        let deadline = Instant::now() + timeout.min(LONGEST_WAIT);
        // Registered before looking: what changes in between wakes.
        let waiting = self.node.hub.wait(id, what.least());
        loop {
            let view = self.view(id).await?;
            let is_met = view.as_ref().is_none_or(|view| what.is_met_by(view));
            if is_met || Instant::now() >= deadline {
                return Ok(view);
            }
            self.pause(&waiting, id, deadline).await;
        }
    }

    /// Waits at most `timeout` for a saga to end: true once it has. Costs no statement for a saga
    /// that is in this node's memory.
    pub async fn ended(&self, id: SagaId, timeout: Duration) -> Result<bool, StoreError> {
        let deadline = Instant::now() + timeout.min(LONGEST_WAIT);
        let waiting = self.node.hub.wait(id, WaitFor::End.least());
        loop {
            let shard = self.node.shard(id.shard());
            if !shard.is_some_and(|shard| shard.is_active(id)) {
                let view = self.view(id).await?;
                if view.is_none_or(|view| view.summary.ending.is_some()) {
                    return Ok(true);
                }
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            if self.pause(&waiting, id, deadline).await {
                return Ok(true);
            }
        }
    }

    /// Waits until what is waited for happens here, or it is time to look by oneself. True: it
    /// happened.
    async fn pause(&self, waiting: &Waiting, id: SagaId, deadline: Instant) -> bool {
        let here = self.node.shard(id.shard()).is_some();
        let poll = if here { POLL_HERE } else { POLL_ELSEWHERE };
        let pause = poll.min(deadline.saturating_duration_since(Instant::now()));
        tokio::time::timeout(pause, waiting.woken()).await.is_ok()
    }

    /// Sends signals, all in one commit, and says what became of each: durable when it returns. The
    /// same `message_id` twice is one message, as long as the saga has not taken it.
    pub async fn signal(&self, signals: Vec<Signal>) -> Result<Vec<Told>, StoreError> {
        let message = |signal: Signal| {
            let payload = signal.payload.decode();
            let payload = payload.map_err(|error| StoreError::Unreadable(error.to_string()))?;
            let message = Message::Signal { name: signal.name.into(), payload };
            Ok((signal.saga, signal.message_id, message))
        };
        let messages: Result<Vec<_>, StoreError> = signals.into_iter().map(message).collect();
        self.tell(messages?).await
    }

    /// Asks for cancellation on behalf of a customer and waits at most `timeout` for the answer.
    pub async fn cancel(
        &self,
        id: SagaId,
        by: &str,
        reason: &str,
        timeout: Duration,
    ) -> Result<Told, StoreError> {
        let message_id = clock::new_id();
        let message = Message::Cancel { by: by.to_owned(), reason: reason.to_owned() };
        match self.tell(vec![(id, message_id, message)]).await?.pop() {
            Some(Told::Pending) => self.node.store.told(id, message_id, timeout).await,
            told => Ok(told.unwrap_or(Told::NoSuchSaga)),
        }
    }

    async fn tell(&self, messages: Vec<(SagaId, Uuid, Message)>) -> Result<Vec<Told>, StoreError> {
        let told = self.node.store.leave_messages(&messages, clock::now()).await?;
        let left = messages.iter().zip(&told).filter(|(_, told)| **told == Told::Pending);
        let shards: BTreeSet<ShardId> = left.map(|((saga, ..), _)| saga.shard()).collect();
        self.poke(shards).await;
        Ok(told)
    }

    /// Tells the owners of shards that something waits for them. Only a hint: they also look by
    /// themselves.
    async fn poke(&self, shards: BTreeSet<ShardId>) {
        let (here, elsewhere): (Vec<ShardId>, Vec<ShardId>) =
            shards.into_iter().partition(|shard| self.node.shard(*shard).is_some());
        if !here.is_empty() {
            self.node.inbox_poke.notify_one();
        }
        if elsewhere.is_empty() {
            return;
        }
        if let Err(error) = self.node.store.notify_owners(&elsewhere).await {
            tracing::debug!(%error, ?elsewhere, "the owners of shards could not be notified");
        }
    }
}
