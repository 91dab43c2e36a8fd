//! Reads sagas back: open ones of a shard in bounded pages, and the journals of some.

use std::collections::HashMap;

use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::driver::Beginning;
use crate::error::StoreError;
use crate::id::{SagaId, ShardId};
use crate::journal::{Entry, decode};
use crate::payload::Payload;
use crate::store::Store;

/// Which sagas this node can get on: all of its workflows; of others it can carry out an undo whose
/// activity it has. The rest stays as it is for a node that has its code.
macro_rules! ours {
    ($workflows:literal, $activities:literal) => {
        concat!(
            "(workflow = any(",
            $workflows,
            "::text[]) or (direction = 'backward' and activity = any(",
            $activities,
            "::text[])))"
        )
    };
}

/// Open sagas of one shard that the engine must do something with, in the order of their time.
/// Parked ones wait for a message and are not among them.
pub(crate) const OPEN: &str = concat!(
    "\
select saga_id, phase, next_at from saga.saga
 where shard_id = $1 and phase <> 'ended' and phase <> 'held' and (next_at, saga_id) > ($2, $3)
   and ",
    ours!("$5", "$6"),
    "
 order by next_at, saga_id
 limit $4"
);

/// Open sagas whose time is long past although nobody works on them.
pub(crate) const OVERDUE: &str = concat!(
    "\
select saga_id, phase, next_at from saga.saga
 where shard_id = any($1) and phase <> 'ended' and phase <> 'held' and next_at < $2
   and (next_at, saga_id) > ($6, $7)
   and ",
    ours!("$4", "$5"),
    "
 order by next_at, saga_id
 limit $3"
);

pub(crate) const ROWS: &str = "\
select saga_id, workflow, root, input, codec, created_at, phase, claims, claimed_rev
  from saga.saga
 where shard_id = $1 and saga_id = any($2)";

pub(crate) const ENTRIES: &str = "\
select saga_id, seq, at, codec, body from saga.entry
 where shard_id = $1 and saga_id = any($2)
 order by saga_id, seq";

/// Notes where a new owner found sagas, so that one that never gets on is found out. Under the
/// fence, as every write of an owner.
pub(crate) const CLAIMED: &str = "\
with fence as materialized (
    select 1 from saga.shard where shard_id = $1 and fence = $2 for share
)
update saga.saga s set claims = c.claims, claimed_rev = c.rev
  from unnest($3::uuid[], $4::smallint[], $5::integer[]) c(saga_id, claims, rev)
 where s.shard_id = $1 and s.saga_id = c.saga_id and exists (select 1 from fence)";

/// What a node has the code of, by name.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) workflows: Vec<&'static str>,
    pub(crate) activities: Vec<&'static str>,
}

/// An open saga, as far as a takeover needs to know at first.
#[derive(Debug, FromRow)]
pub(crate) struct Open {
    pub(crate) saga_id: SagaId,
    pub(crate) phase: String,
    pub(crate) next_at: OffsetDateTime,
}

/// A saga with its journal.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) id: SagaId,
    pub(crate) workflow: String,
    pub(crate) root: Uuid,
    pub(crate) input: Payload,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) ended: bool,
    claims: i16,
    claimed_rev: Option<i32>,
    /// The journal, or why it can not be read.
    pub(crate) entries: Result<Vec<Entry>, String>,
}

#[derive(FromRow)]
struct SagaRow {
    saga_id: SagaId,
    workflow: String,
    root: Uuid,
    input: Vec<u8>,
    codec: i16,
    created_at: OffsetDateTime,
    phase: String,
    claims: i16,
    claimed_rev: Option<i32>,
}

#[derive(FromRow)]
struct EntryRow {
    saga_id: SagaId,
    seq: i32,
    at: OffsetDateTime,
    codec: i16,
    body: Vec<u8>,
}

impl Store {
    /// A page of open sagas of `shard`, after the one named by `after`.
    pub(crate) async fn open_sagas(
        &self,
        shard: ShardId,
        after: (OffsetDateTime, SagaId),
        limit: i64,
        known: &Known,
    ) -> Result<Vec<Open>, StoreError> {
        let query = sqlx::query_as(OPEN).bind(shard).bind(after.0).bind(after.1).bind(limit);
        let query = query.bind(&known.workflows).bind(&known.activities);
        self.with(async |connection| query.fetch_all(connection).await).await
    }

    /// A page of the open sagas of `shards` whose time came before `before`, after the one named by
    /// `after`.
    pub(crate) async fn overdue(
        &self,
        shards: &[ShardId],
        before: OffsetDateTime,
        after: (OffsetDateTime, SagaId),
        limit: i64,
        known: &Known,
    ) -> Result<Vec<Open>, StoreError> {
        let query = sqlx::query_as(OVERDUE).bind(shards).bind(before).bind(limit);
        let query = query.bind(&known.workflows).bind(&known.activities);
        let query = query.bind(after.0).bind(after.1);
        self.with(async |connection| query.fetch_all(connection).await).await
    }

    /// Sagas of one shard with their journals. Row by row: one that can not be read does not stop
    /// the others.
    pub(crate) async fn load(
        &self,
        shard: ShardId,
        ids: &[SagaId],
    ) -> Result<Vec<Loaded>, StoreError> {
        let rows: Vec<SagaRow> = self
            .with(async |connection| {
                sqlx::query_as(ROWS).bind(shard).bind(ids).fetch_all(connection).await
            })
            .await?;
        let entries: Vec<EntryRow> = self
            .with(async |connection| {
                sqlx::query_as(ENTRIES).bind(shard).bind(ids).fetch_all(connection).await
            })
            .await?;
        let mut journals: HashMap<SagaId, Result<Vec<Entry>, String>> = HashMap::new();
        for EntryRow { saga_id, seq, at, codec, body } in entries {
            let journal = journals.entry(saga_id).or_insert_with(|| Ok(Vec::new()));
            match (&mut *journal, decode(seq, codec, &body)) {
                (Ok(entries), _) if seq as usize != entries.len() + 1 => {
                    *journal = Err(format!("entry {seq} follows entry {}", entries.len()));
                }
                (Ok(entries), Ok(facts)) => entries.push(Entry { seq, at, facts }),
                (Ok(_), Err(error)) => *journal = Err(error.to_string()),
                (Err(_), _) => {}
            }
        }
        Ok(rows.into_iter().map(|row| loaded(row, &mut journals)).collect())
    }

    /// Notes that a new owner of `shard` found these sagas at these places, for the how-manieth time.
    pub(crate) async fn claimed(
        &self,
        shard: ShardId,
        fence: Uuid,
        claims: &[(SagaId, i16, i32)],
    ) -> Result<(), StoreError> {
        let ids: Vec<SagaId> = claims.iter().map(|claim| claim.0).collect();
        let counts: Vec<i16> = claims.iter().map(|claim| claim.1).collect();
        let revs: Vec<i32> = claims.iter().map(|claim| claim.2).collect();
        let query = sqlx::query(CLAIMED).bind(shard).bind(fence).bind(ids).bind(counts).bind(revs);
        self.with(async |connection| query.execute(connection).await).await?;
        Ok(())
    }
}

impl Loaded {
    /// Its journal, as far as it can be read.
    pub(crate) fn journal(&self) -> &[Entry] {
        self.entries.as_deref().unwrap_or_default()
    }

    /// The length of its journal.
    pub(crate) fn rev(&self) -> i32 {
        self.journal().len() as i32
    }

    /// When it last moved.
    pub(crate) fn moved_at(&self) -> OffsetDateTime {
        self.journal().last().map_or(self.created_at, |entry| entry.at)
    }

    /// How many owners in a row found it where it is now and died.
    pub(crate) fn claims(&self) -> i16 {
        let stands = !self.ended && self.claimed_rev == Some(self.rev());
        if stands { self.claims } else { 0 }
    }

    /// What it begins with.
    pub(crate) fn beginning(&self) -> Beginning {
        Beginning {
            id: self.id,
            workflow: self.workflow.clone(),
            root: self.root,
            input: self.input.clone(),
            created_at: self.created_at,
        }
    }
}

fn loaded(row: SagaRow, journals: &mut HashMap<SagaId, Result<Vec<Entry>, String>>) -> Loaded {
    let mut entries = journals.remove(&row.saga_id).unwrap_or_else(|| Ok(Vec::new()));
    let input = match String::from_utf8(row.input).map(Payload::from_json) {
        Ok(Ok(input)) if row.codec == crate::journal::CODEC_JSON => input,
        _ => {
            entries = Err(format!("the input (codec {}) can not be read", row.codec));
            Payload::null()
        }
    };
    Loaded {
        id: row.saga_id,
        workflow: row.workflow,
        root: row.root,
        input,
        created_at: row.created_at,
        ended: row.phase == "ended",
        claims: row.claims,
        claimed_rev: row.claimed_rev,
        entries,
    }
}
