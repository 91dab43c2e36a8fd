//! Sagas that did not move while owner after owner died. One of them may be what kills them, so they
//! are tried apart from each other: the one that is alone when its owner dies, and again, is parked, and
//! those that merely had no time to move are not.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::clock;
use crate::driver::Driver;
use crate::error::StoreError;
use crate::id::SagaId;
use crate::node::Node;
use crate::shard::{Mailbox, Shard};
use crate::store::load::Loaded;

/// A saga that so many owners claimed without its moving is parked: the first with all others, the
/// second in a small group, the third and the fourth alone. Twice, because owners also die of other
/// things, now and then in the very moment in which an innocent is alone.
const CLAIMS_MAX: i16 = 4;
/// So many owners claim it before one tries it alone.
const CLAIMS_IN_COMPANY: i16 = 2;
/// How many are tried together.
const GROUP: u32 = 16;
/// A suspect that neither moved nor killed its owner in this time no longer keeps the others waiting. What
/// kills does so when it is called; each moment more blames more innocents.
const TRIAL_MAX: Duration = Duration::from_millis(300);
/// One that was alone all that time is not to blame for a death that comes later, when it is no longer
/// alone: it waits for something slow. But something slow ends; one that has not moved for so long while
/// owner after owner died is what kills them, only slowly.
const SLOW_MAX: time::Duration = time::Duration::minutes(10);
/// How soon a suspect is read again when the database did not answer.
const AGAIN_AFTER: time::Duration = time::Duration::seconds(1);

/// A saga that was read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) saga: Loaded,
    /// How many owners in a row claimed it where it is now.
    pub(crate) claims: i16,
    /// Whether the last of them died, and did not hand it over.
    pub(crate) abandoned: bool,
}

/// The room in which suspects of a node are tried.
#[derive(Debug)]
pub(crate) struct Suspects {
    room: Semaphore,
}

impl Suspects {
    pub(crate) fn new() -> Self {
        Self { room: Semaphore::new(GROUP as usize) }
    }

    /// Waits for room; none: the shard goes away.
    async fn enter(&self, shard: &Shard, alone: bool) -> Option<SemaphorePermit<'_>> {
        let places = self.room.acquire_many(if alone { GROUP } else { 1 });
        shard.while_open(places).await?.ok()
    }
}

/// A saga, how many owners claimed it, and how far it was then.
type Claim = (SagaId, i16, i32);

impl Found {
    /// What a new owner notes of it: one claim more, unless it is over.
    pub(crate) fn claim(&self) -> Option<Claim> {
        (!self.saga.ended).then(|| (self.saga.id, self.claims + 1, self.saga.rev()))
    }
}

/// Tries a suspect when its turn comes, or parks it when it has been tried often enough.
pub(crate) async fn run(node: Arc<Node>, shard: Arc<Shard>, mut found: Found) {
    // Who handed it over did not die of it: it is tried once more.
    let spared = if found.abandoned { CLAIMS_MAX } else { CLAIMS_MAX - 1 };
    found.claims = found.claims.min(spared);
    let claims = found.claims;
    if claims == CLAIMS_MAX {
        let mut driver = Driver::without_code(node, shard, found.mailbox, &found.saga);
        driver.poison(claims);
        return driver.run().await;
    }
    let id = found.saga.id;
    let alone = claims >= CLAIMS_IN_COMPANY;
    let Some(turn) = node.suspects.enter(&shard, alone).await else {
        return shard.forget(id);
    };
    // What it stood at before, if it may be merely slow.
    let before = (alone && clock::now() - found.saga.moved_at() < SLOW_MAX)
        .then(|| (id, claims, found.saga.rev()));
    if let Err(error) = note(&node, &shard, found.claim()).await {
        tracing::warn!(saga = %id, %error, "a suspect could not be claimed; it is tried again");
        shard.forget(id);
        return shard.rests(id, clock::now() + AGAIN_AFTER);
    }
    let Some(mut driver) = node.resume(&shard, found) else { return };
    let (moved, moves) = oneshot::channel();
    driver.tells_when_it_moves(moved);
    shard.tasks.spawn(driver.run());
    // It moved or is over, it is handed over, or it has been waited for long enough.
    let trial = tokio::time::timeout(TRIAL_MAX, moves).await;
    let outlived = !matches!(trial, Ok(Ok(()))) && !shard.lost.is_cancelled();
    // Before anybody else is let in, who may kill the owner.
    if let Some(before) = before.filter(|_| outlived)
        && let Err(error) = note(&node, &shard, Some(before)).await
    {
        tracing::warn!(saga = %id, %error, "a suspect outlived its trial, and that could not be noted");
    }
    drop(turn);
}

async fn note(node: &Node, shard: &Shard, claim: Option<Claim>) -> Result<(), StoreError> {
    let claims: Vec<_> = claim.into_iter().collect();
    node.store.claimed(shard.id, shard.fence, &claims).await
}
