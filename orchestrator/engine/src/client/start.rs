//! Starts sagas: here with their first step, or on the shard of another node.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Client, NAME_MAX, Start, StartError, StartKey, Started};
use crate::clock;
use crate::driver::{Beginning, Driver};
use crate::error::StoreError;
use crate::id::{SagaId, ShardId};
use crate::lane::{LaneFull, Written};
use crate::saga::SharedLink;
use crate::shard::Shard;
use crate::store::record::{NewKey, NewSaga};
use crate::summary::standing;

/// How long a start waits for its commit before it says that it does not know. The same key finds what
/// became of it, at another node too, which may have a better network.
const START_TIMEOUT: Duration = Duration::from_secs(3);

/// For how long sagas start on the same shards. They share commits then, and a commit locks the row of each
/// of its shards, and writes at each one's end of the indexes: with one shard for each lane instead of all of
/// them, PostgreSQL has 5 to 8 % less to do.
const TURN: time::Duration = time::Duration::milliseconds(20);
/// 2^64 by the golden ratio: the high bits of its multiples are spread evenly (Knuth, 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Client {
    /// Starts a saga; durable when it returns.
    pub async fn start(&self, start: Start) -> Result<Started, StartError> {
        let Some(workflow) = self.node.registry.name(&start.workflow) else {
            return Err(StartError::UnknownWorkflow(start.workflow));
        };
        for (what, name) in [("business_key", &start.business_key), ("subject", &start.subject)] {
            // The database refuses more, and with it the batch that it is in.
            if name.as_ref().is_some_and(|name| name.chars().count() > NAME_MAX) {
                return Err(StartError::TooLong(what));
            }
        }
        let created_at = clock::now();
        let hash = start.key.as_ref().map(StartKey::hash);
        let shard = match &hash {
            Some(hash) => self.shard_of(hash),
            None => self.shard_at(created_at),
        };
        let id = SagaId::new(shard, created_at);
        let key = start.key.as_ref().zip(hash);
        let key = key.map(|(key, hash)| NewKey { hash, fingerprint: key.fingerprint });
        let beginning = Beginning {
            id,
            workflow: workflow.to_owned(),
            // From the start key, so that a start that is lost with its database and sent again
            // acts under the same keys.
            root: hash.map_or_else(|| id.uuid(), root_of),
            input: start.input,
            created_at,
        };
        let saga = NewSaga {
            workflow,
            root: beginning.root,
            business_key: start.business_key,
            subject: start.subject,
            input: beginning.input.json().as_bytes().to_vec(),
            created_at,
            key,
        };
        let is_new = match self.node.shard(shard) {
            Some(shard) => self.start_here(&shard, &beginning, saga).await?,
            None => self.start_elsewhere(&beginning, &saga).await?,
        };
        if is_new {
            self.node.meters.started.increment(1);
            return Ok(Started { id, existing: false });
        }
        self.owner_of(shard, id, key).await
    }

    /// A start with a key goes to the shard the key says.
    fn shard_of(&self, hash: &[u8; 32]) -> ShardId {
        let number = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        (number % u64::from(self.node.shard_count)) as ShardId
    }

    /// One without goes to a shard of this node, the same as those before and after it.
    fn shard_at(&self, at: OffsetDateTime) -> ShardId {
        let turn = turn(at, self.node.lanes.len() as u64);
        let any = (turn % u64::from(self.node.shard_count)) as ShardId;
        self.node.open_shard(turn).unwrap_or(any)
    }

    /// Key, saga and first intent in one commit. False: the key is taken.
    async fn start_here(
        &self,
        shard: &Arc<Shard>,
        beginning: &Beginning,
        saga: NewSaga,
    ) -> Result<bool, StartError> {
        let Some(mailbox) = shard.activate(beginning.id) else {
            return self.start_elsewhere(beginning, &saga).await;
        };
        let forget = Forget { shard, id: Some(beginning.id) };
        let mut driver = Driver::begin(self.node.clone(), shard.clone(), mailbox, beginning)
            .map_err(StartError::Input)?;
        if driver.is_parked() {
            // The row of a start says nothing of what is wrong. That of a saga that is resumed does.
            drop(forget);
            return self.start_elsewhere(beginning, &saga).await;
        }
        let Some(record) = driver.record(Some(saga)) else { return Err(StartError::Busy) };
        let answer = shard.lane.try_write(record).map_err(|full| match full {
            LaneFull::Full => StartError::Busy,
            LaneFull::Down => unavailable(),
        })?;
        // From here the record may be written whether or not anybody waits: whoever asked may go
        // away, so its saga is driven by a task of its own.
        forget.keep();
        let (tell, started) = oneshot::channel();
        shard.tasks.spawn(drive_once_started(driver, shard.clone(), answer, tell));
        if crate::planted!(AcceptBeforeCommit) {
            return Ok(true);
        }
        match tokio::time::timeout(START_TIMEOUT, started).await {
            Ok(Ok(Written::Yes)) => Ok(true),
            Ok(Ok(Written::KeyTaken)) => Ok(false),
            Ok(Ok(Written::Impossible(message))) => {
                Err(StartError::Unavailable(StoreError::Unreadable(message)))
            }
            // Lost, or too slow: it may be there. The same key finds it.
            Ok(Ok(Written::Fenced | Written::Late) | Err(_)) | Err(_) => Err(unavailable()),
        }
    }

    /// Key, saga and word of it in one commit; the owner of the shard goes on from there. False:
    /// the key is taken.
    async fn start_elsewhere(
        &self,
        beginning: &Beginning,
        saga: &NewSaga,
    ) -> Result<bool, StartError> {
        let link = SharedLink::new(beginning.root, beginning.created_at);
        if let Some(Err(error)) =
            self.node.registry.program(&beginning.workflow, link, &beginning.input)
        {
            return Err(StartError::Input(error));
        }
        let row = standing(&Default::default(), self.node.handlers(), beginning.created_at);
        let starting = self.node.store.start_elsewhere(beginning.id, saga, &row);
        let started = tokio::time::timeout(START_TIMEOUT, starting).await;
        let started = started.map_err(|_| unavailable())?.map_err(StartError::Unavailable)?;
        if started {
            self.poke([beginning.id.shard()].into()).await;
        }
        Ok(started)
    }

    async fn owner_of(
        &self,
        shard: ShardId,
        id: SagaId,
        key: Option<NewKey>,
    ) -> Result<Started, StartError> {
        let Some(key) = key else { return Err(unavailable()) };
        let owner = self.node.store.key_owner(shard, &key.hash).await;
        match owner.map_err(StartError::Unavailable)? {
            // A commit whose answer was lost, written again, finds its own key.
            Some(owner) if owner.saga_id == id => Ok(Started { id, existing: false }),
            Some(owner) if owner.fingerprint == key.fingerprint => {
                Ok(Started { id: owner.saga_id, existing: true })
            }
            Some(owner) => Err(StartError::KeyReused(owner.saga_id)),
            None => Err(unavailable()),
        }
    }

    /// The saga a key was used for with this very request, if it was.
    pub async fn find(&self, key: &StartKey) -> Result<Option<SagaId>, StoreError> {
        let hash = key.hash();
        let owner = self.node.store.key_owner(self.shard_of(&hash), &hash).await?;
        Ok(owner.filter(|owner| owner.fingerprint == key.fingerprint).map(|owner| owner.saga_id))
    }
}

/// Whose turn it is at `at`, as a number that wraps around the shards: of `lanes` neighbours, so that each lane
/// has its share, and of others after [`TURN`].
fn turn(at: OffsetDateTime, lanes: u64) -> u64 {
    let turns = at.unix_timestamp_nanos().unsigned_abs() / TURN.whole_nanoseconds().unsigned_abs();
    // Scattered: what starts at each full minute would else meet the same few shards for ever.
    let first = (turns as u64).wrapping_mul(GOLDEN) >> 32;
    first * lanes + u64::from(at.microsecond()) % lanes
}

/// Takes a saga out of memory unless its start was sent.
struct Forget<'a> {
    shard: &'a Arc<Shard>,
    id: Option<SagaId>,
}

impl Forget<'_> {
    fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shard.forget(id);
        }
    }
}

/// Waits for the commit of a start, tells of it, and drives the saga.
async fn drive_once_started(
    mut driver: Box<Driver>,
    shard: Arc<Shard>,
    answer: oneshot::Receiver<Written>,
    tell: oneshot::Sender<Written>,
) {
    let written = answer.await.unwrap_or(Written::Fenced);
    let is_started = matches!(written, Written::Yes);
    match is_started {
        true => driver.committed(),
        false => shard.forget(driver.id),
    }
    // Whoever asked may have gone away.
    let _ = tell.send(written);
    if is_started {
        driver.run().await;
    }
}

fn unavailable() -> StartError {
    StartError::Unavailable(StoreError::unavailable(sqlx::Error::PoolTimedOut))
}

/// The first 16 bytes of a start key's hash.
fn root_of(hash: [u8; 32]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// How many that start at these times, in microseconds, fall on which of 32 shards.
    fn shards(times: impl Iterator<Item = i64>, lanes: u64) -> BTreeMap<u64, usize> {
        let mut shards = BTreeMap::new();
        for time in times {
            let at = OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(time);
            *shards.entry(turn(at, lanes) % 32).or_default() += 1;
        }
        shards
    }

    #[test]
    fn sagas_that_start_together_share_a_shard_for_each_lane() {
        for begin in [0, 7_000_000, 1_800_000_000_000_000] {
            let together = begin..begin + 20_000;
            assert_eq!(shards(together.clone(), 1).into_values().collect::<Vec<_>>(), [20_000]);
            let two: Vec<_> = shards(together, 2).into_iter().collect();
            let [(first, 10_000), (second, 10_000)] = two[..] else { panic!("{two:?}") };
            assert_eq!((first % 2, second), (0, first + 1));
        }
    }

    #[test]
    fn each_shard_has_its_share_whatever_the_rhythm_of_the_starts() {
        let (millisecond, minute, hour) = (1_000, 60_000_000, 3_600_000_000);
        for (every, lanes) in [millisecond, 20 * millisecond, 1_000 * millisecond, minute, hour]
            .into_iter()
            .flat_map(|every| [(every, 1), (every, 2)])
        {
            // Not all at the same microsecond, as nothing is.
            let times = (0..100_000).map(|number| number * every + number % 2);
            let shares = shards(times, lanes);
            let even = 100_000 / 32;
            assert!(
                shares.len() == 32 && shares.values().all(|share| share.abs_diff(even) < even / 4),
                "every {every} us, {lanes} lanes: {shares:?}"
            );
        }
    }
}
