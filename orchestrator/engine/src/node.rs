//! One running engine: its workflows, its lanes, the shards it owns, and the sagas it brings to
//! memory.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use crate::batch::Batcher;
use crate::clock;
use crate::driver::Driver;
use crate::error::StoreError;
use crate::event::Message;
use crate::handler::{Description, Handler, Handlers};
use crate::hub::Hub;
use crate::id::{SagaId, ShardId};
use crate::lane::Lane;
use crate::lease::Lease;
use crate::metrics::Meters;
use crate::program::Registry;
use crate::read_again;
use crate::shard::{Mailbox, Shard};
use crate::store::lease::NodeName;
use crate::store::load::Known;
use crate::store::{POOL_CONNECTIONS_MAX, Store};
use crate::suspects::{self, Found, Suspects};

/// How many sagas are read in one go.
const LOAD_PAGE: usize = 500;
/// How many such goes at once: half of the connections are for everybody else.
const LOADS_MAX: usize = POOL_CONNECTIONS_MAX as usize / 2;

/// A saga to bring to memory, and the message that asks for it.
pub(crate) type Wanted = (SagaId, Option<(Uuid, Message)>);

/// What all tasks of an engine share.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) lease: Lease,
    pub(crate) hub: Arc<Hub>,
    pub(crate) suspects: Suspects,
    pub(crate) meters: Meters,
    /// How many shards the database has.
    pub(crate) shard_count: u16,
    /// Somebody left a message for a shard of this node.
    pub(crate) inbox_poke: Notify,
    /// A shard was let go somewhere.
    pub(crate) shards_poke: Notify,
    /// What this node has the code of.
    pub(crate) known: Known,
    loads: Semaphore,
    handlers: Arc<Handlers>,
    activities: HashMap<&'static str, Activity>,
    /// In the order of their ids: neighbours have different lanes.
    shards: RwLock<BTreeMap<ShardId, Arc<Shard>>>,
}

/// An activity as the node runs it.
#[derive(Clone)]
pub(crate) struct Activity {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) description: Description,
    /// Where its calls are gathered, if they are.
    pub(crate) batcher: Option<Batcher>,
}

impl std::fmt::Debug for Activity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.description.fmt(f)
    }
}

impl Node {
    pub(crate) fn new(
        name: NodeName,
        store: Store,
        mut registry: Registry,
        lanes: Vec<Lane>,
        shard_count: u16,
        meters: Meters,
    ) -> Self {
        let handlers = Arc::new(std::mem::take(&mut registry.handlers));
        let activities = handlers.iter().map(|(name, handler)| {
            let description = handler.describe_self();
            let batched = description.batch_max > 1;
            let batcher = batched.then(|| Batcher::start(handler.clone(), description.batch_max));
            (*name, Activity { handler: handler.clone(), description, batcher })
        });
        let known =
            Known { workflows: registry.names(), activities: handlers.keys().copied().collect() };
        Self {
            known,
            activities: activities.collect(),
            name,
            store,
            registry,
            handlers,
            lanes,
            lease: Lease::new(),
            loads: Semaphore::new(LOADS_MAX),
            hub: Arc::default(),
            suspects: Suspects::new(),
            meters,
            shard_count,
            inbox_poke: Notify::new(),
            shards_poke: Notify::new(),
            shards: RwLock::default(),
        }
    }

    pub(crate) fn handlers(&self) -> &Arc<Handlers> {
        &self.handlers
    }

    pub(crate) fn activity(&self, name: &str) -> Option<&Activity> {
        self.activities.get(name)
    }

    /// The way into the lane of a shard.
    pub(crate) fn lane(&self, shard: ShardId) -> Lane {
        self.lanes[shard.unsigned_abs() as usize % self.lanes.len()].clone()
    }

    /// The shard, if this node owns it and may start something on it.
    pub(crate) fn shard(&self, id: ShardId) -> Option<Arc<Shard>> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        shards.get(&id).filter(|shard| shard.is_open()).cloned()
    }

    /// All shards this node owns.
    pub(crate) fn owned(&self) -> Vec<Arc<Shard>> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        shards.values().cloned().collect()
    }

    /// One of the shards on which sagas may start here, whichever `number` falls on; none: there is none.
    pub(crate) fn open_shard(&self, number: u64) -> Option<ShardId> {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        let first = number.checked_rem(shards.len() as u64)? as usize;
        let mut from_there = shards.values().cycle().skip(first).take(shards.len());
        from_there.find(|shard| shard.is_open()).map(|shard| shard.id)
    }

    pub(crate) fn own(&self, shard: Arc<Shard>) {
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(former) = shards.insert(shard.id, shard) {
            former.lost.cancel();
        }
        self.meters.shards.set(shards.len() as f64);
    }

    /// Another node owns the shard, or nobody knows whether the last write to it still lands: everything of it in
    /// memory stops where it is, and whoever takes it anew goes on.
    pub(crate) fn shard_lost(&self, lost: &Arc<Shard>) {
        if !lost.lost.is_cancelled() {
            tracing::warn!(
                shard = lost.id,
                "a shard is given up: it is another node's, or its last write is in doubt"
            );
        }
        self.disown(lost);
    }

    /// Forgets a shard.
    pub(crate) fn disown(&self, shard: &Arc<Shard>) {
        shard.lost.cancel();
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        if shards.get(&shard.id).is_some_and(|owned| Arc::ptr_eq(owned, shard)) {
            shards.remove(&shard.id);
        }
        self.meters.shards.set(shards.len() as f64);
    }

    /// Brings sagas to memory, in the background. `abandoned`: their former owner died over them.
    pub(crate) fn bring(self: &Arc<Self>, shard: &Arc<Shard>, sagas: Vec<Wanted>, abandoned: bool) {
        let mut wanted: Vec<(SagaId, Arc<Mailbox>)> = Vec::with_capacity(sagas.len());
        // A saga may be named for each of its messages: they reach it in this order.
        let mut here: HashMap<SagaId, Arc<Mailbox>> = HashMap::new();
        for (id, message) in sagas {
            let found = here.get(&id).cloned();
            let is_new = found.is_none();
            match (found.or_else(|| shard.activate(id)), message) {
                (Some(mailbox), message) => {
                    if let Some((id, message)) = message {
                        Shard::post(&mailbox, id, message);
                    }
                    if is_new {
                        here.insert(id, mailbox.clone());
                        wanted.push((id, mailbox));
                    }
                }
                // It came to memory meanwhile, or may not: the inbox shows the message again.
                (None, Some((message, _))) => {
                    shard.undelivered(message);
                    self.inbox_poke.notify_one();
                }
                (None, None) => {}
            }
        }
        if wanted.is_empty() {
            return;
        }
        let (node, shard) = (self.clone(), shard.clone());
        let tasks = shard.tasks.clone();
        tasks.spawn(async move {
            for page in wanted.chunks(LOAD_PAGE) {
                if let Err(error) = node.load(&shard, page, abandoned).await {
                    let again = read_again::run(node.clone(), shard.clone(), page.to_vec(), abandoned);
                    tracing::warn!(shard = shard.id, %error, "sagas could not be read; it is tried again");
                    shard.tasks.spawn(again);
                }
            }
        });
    }

    /// Reads a page of sagas that are to come to memory, and drives them.
    pub(crate) async fn load(
        self: &Arc<Self>,
        shard: &Arc<Shard>,
        page: &[(SagaId, Arc<Mailbox>)],
        abandoned: bool,
    ) -> Result<(), StoreError> {
        // Nobody closes it.
        let _turn = self.loads.acquire().await;
        if !shard.is_open() {
            page.iter().for_each(|(id, _)| shard.forget(*id));
            return Ok(());
        }
        let ids: Vec<SagaId> = page.iter().map(|(id, _)| *id).collect();
        let loaded = self.store.load(shard.id, &ids).await?;
        let mut mailboxes: HashMap<SagaId, Arc<Mailbox>> = page.iter().cloned().collect();
        let mut found = Vec::with_capacity(loaded.len());
        for saga in loaded {
            if let Err(error) = &saga.entries {
                // Nothing may be written after what can not be read: it stays open, and overdue.
                tracing::error!(saga = %saga.id, error, "a journal can not be read");
            } else if let Some(mailbox) = mailboxes.remove(&saga.id) {
                found.push(Found { mailbox, claims: saga.claims(), abandoned, saga });
            }
        }
        self.meters.loaded.increment(found.len() as u64);
        let (innocent, suspects): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| found.claims == 0);
        if abandoned {
            // Before their code runs: it may be what kills.
            let claims: Vec<_> = innocent.iter().filter_map(Found::claim).collect();
            self.store.claimed(shard.id, shard.fence, &claims).await?;
        }
        for found in innocent {
            if let Some(driver) = self.resume(shard, found) {
                shard.tasks.spawn(driver.run());
            }
        }
        for found in suspects {
            shard.tasks.spawn(suspects::run(self.clone(), shard.clone(), found));
        }
        for id in mailboxes.into_keys() {
            shard.forget(id);
        }
        Ok(())
    }

    /// A saga as its journal has it, its code run up to where it waits. None: that panicked, which is a bug of
    /// the engine; it is out of memory, and read again.
    pub(crate) fn resume(
        self: &Arc<Self>,
        shard: &Arc<Shard>,
        found: Found,
    ) -> Option<Box<Driver>> {
        let resume = || Driver::resume(self.clone(), shard.clone(), found.mailbox, &found.saga);
        let resumed = std::panic::catch_unwind(AssertUnwindSafe(resume));
        if resumed.is_err() {
            shard.broke(found.saga.id);
        }
        resumed.ok()
    }

    /// Brings back what a shard that was just taken has open: what is due now to memory, the rest
    /// to the timekeeper. In bounded pages.
    pub(crate) async fn recover(
        self: &Arc<Self>,
        shard: &Arc<Shard>,
        abandoned: bool,
    ) -> Result<usize, StoreError> {
        let mut after = (OffsetDateTime::UNIX_EPOCH, SagaId::floor(OffsetDateTime::UNIX_EPOCH));
        let mut found = 0;
        loop {
            let page = self.store.open_sagas(shard.id, after, LOAD_PAGE as i64, &self.known);
            let page = page.await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = (last.next_at, last.saga_id);
            found += page.len();
            let now = clock::now();
            let (due, resting): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|open| open.phase == "running" || open.next_at <= now);
            for open in resting {
                shard.rests(open.saga_id, open.next_at);
            }
            self.bring(
                shard,
                due.into_iter().map(|open| (open.saga_id, None)).collect(),
                abandoned,
            );
            if shard.lost.is_cancelled() {
                return Ok(found);
            }
        }
    }
}
