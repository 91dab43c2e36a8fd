//! Reads single sagas: row, shard's owner and journal, in one statement and so as of one moment.
//! Whoever looks at the same time shares a statement.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde::de::value::{Error as WordError, StrDeserializer};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::StoreError;
use crate::handler::Handlers;
use crate::id::{SagaId, ShardId};
use crate::journal::{CODEC_JSON, Entry, JournalError, Problem, decode};
use crate::payload::Payload;
use crate::store::{Pool, Store};
use crate::view::{Look, SagaView, Summary};
use crate::why::Owner;

/// The columns of a row `s` and of its shard's owner.
macro_rules! columns {
    () => {
        "s.saga_id, s.workflow, s.business_key, s.subject, s.direction, s.phase, s.ending, s.step,
       s.activity, s.attempt, s.first_failed_at, s.next_at, s.dependency, s.error_code,
       s.error_message, s.fingerprint, s.attention, s.rev, s.created_at, s.changed_at,
       coalesce(n.lease_until > clock_timestamp(), false) as owner_alive, n.lease_until,
       coalesce(s.workflow = any(n.workflows), false) as owner_offers"
    };
}
pub(super) use columns;

/// The owner `n` of the shard of the row `s`.
macro_rules! owner {
    () => {
        "left join saga.shard h on h.shard_id = s.shard_id
  left join saga.node n on n.node_id = h.node_id"
    };
}
pub(super) use owner;

/// The journal `j` of the row `s`, as four arrays of one length. `$condition` leaves out journals
/// that are not needed.
macro_rules! journal {
    ($condition:literal) => {
        concat!(
            "cross join lateral (
       select array_agg(e.seq order by e.seq) as seqs, array_agg(e.at order by e.seq) as ats,
              array_agg(e.codec order by e.seq) as codecs,
              array_agg(e.body order by e.seq) as bodies
         from saga.entry e
        where e.shard_id = s.shard_id and e.saga_id = s.saga_id",
            $condition,
            "
       ) j"
        )
    };
}
pub(super) use journal;

/// How many are read by one statement: with their journals they are in memory at once.
pub(super) const LOOKS_MAX: usize = 32;

/// `limit 1` keeps the planner to one index lookup a key.
pub(super) const SAGAS: &str = concat!(
    "select ",
    columns!(),
    ",
       s.codec, s.input, clock_timestamp() as as_of, j.seqs, j.ats, j.codecs, j.bodies
  from unnest($1::smallint[], $2::uuid[]) asked(shard_id, saga_id)
 cross join lateral (
       select * from saga.saga k
        where k.shard_id = asked.shard_id and k.saga_id = asked.saga_id limit 1
       ) s
  ",
    owner!(),
    "
 ",
    journal!("")
);

/// One saga as it was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) stored: Stored,
    pub(crate) input: Payload,
    /// When it was read, by the database's clock.
    pub(crate) as_of: OffsetDateTime,
}

/// A saga's row with its shard's owner and its journal.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) row: Summary,
    pub(crate) owner: Owner,
    /// None of them, if they were left out.
    pub(crate) entries: Result<Vec<Entry>, JournalError>,
}

impl Store {
    /// The view of one saga at `now`; none: no such saga.
    pub(crate) async fn view(
        &self,
        id: SagaId,
        handlers: &Handlers,
        now: OffsetDateTime,
    ) -> Result<Option<SagaView>, StoreError> {
        let Some(Loaded { stored, input, .. }) = self.load_one(id).await? else { return Ok(None) };
        let entries = stored.entries.map_err(unreadable)?;
        let look = Look { handlers, owner: stored.owner, now };
        Ok(Some(SagaView::of(stored.row, input, &entries, look)))
    }

    /// One saga's row and whole journal; none: no such saga.
    pub(crate) async fn load_one(&self, id: SagaId) -> Result<Option<Loaded>, StoreError> {
        self.looks.call(id).await?
    }
}

/// What was looked for, in that order; one that can not be read is an error by itself.
pub(super) async fn load(
    pool: Pool,
    ids: Vec<SagaId>,
) -> Result<Vec<Result<Option<Loaded>, StoreError>>, StoreError> {
    let shards: Vec<ShardId> = ids.iter().map(|id| id.shard()).collect();
    let query = sqlx::query(SAGAS).bind(shards).bind(&ids);
    let rows = pool.look_up(async |connection| query.fetch_all(connection).await).await?;
    // A saga that two look for has two rows.
    let mut found: HashMap<SagaId, Vec<_>> = HashMap::with_capacity(rows.len());
    for row in &rows {
        let id = SagaId::from(row.try_get::<Uuid, _>("saga_id")?);
        found.entry(id).or_default().push(loaded(id, row));
    }
    let mut take = |id| found.get_mut(id).and_then(Vec::pop).transpose();
    Ok(ids.iter().map(&mut take).collect())
}

fn loaded(id: SagaId, row: &PgRow) -> Result<Loaded, StoreError> {
    let stored = Stored::from_row(row)?;
    let input = payload(id, row.try_get("codec")?, row.try_get("input")?)?;
    Ok(Loaded { stored, input, as_of: row.try_get("as_of")? })
}

/// An entry this build can not read, as an error of the store.
pub(crate) fn unreadable(error: JournalError) -> StoreError {
    StoreError::Unreadable(error.to_string())
}

fn payload(id: SagaId, codec: i16, bytes: Vec<u8>) -> Result<Payload, StoreError> {
    let bad = || StoreError::Unreadable(format!("the input of saga {id} (codec {codec})"));
    if codec != CODEC_JSON {
        return Err(bad());
    }
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    Payload::from_json(text).map_err(|_| bad())
}

impl FromRow<'_, PgRow> for Stored {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let owner = Owner {
            alive: row.try_get("owner_alive")?,
            offers: row.try_get("owner_offers")?,
            silent_since: row.try_get("lease_until")?,
        };
        Ok(Self { row: summary(row)?, owner, entries: entries(row)? })
    }
}

fn summary(row: &PgRow) -> Result<Summary, sqlx::Error> {
    let problem = match row.try_get::<Option<String>, _>("error_code")? {
        Some(code) => Some(Problem {
            code,
            message: row.try_get::<Option<_>, _>("error_message")?.unwrap_or_default(),
            fingerprint: row.try_get::<Option<_>, _>("fingerprint")?.unwrap_or_default(),
        }),
        None => None,
    };
    let ending: Option<&str> = row.try_get("ending")?;
    Ok(Summary {
        id: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        workflow: row.try_get("workflow")?,
        business_key: row.try_get("business_key")?,
        subject: row.try_get("subject")?,
        direction: word("direction", row.try_get("direction")?)?,
        phase: word("phase", row.try_get("phase")?)?,
        ending: ending.map(|ending| word("ending", ending)).transpose()?,
        step: count(row.try_get("step")?),
        activity: row.try_get("activity")?,
        attempt: count(row.try_get("attempt")?),
        first_failed_at: row.try_get("first_failed_at")?,
        next_at: row.try_get("next_at")?,
        dependency: row.try_get("dependency")?,
        error: problem,
        attention: row.try_get("attention")?,
        rev: row.try_get("rev")?,
        created_at: row.try_get("created_at")?,
        changed_at: row.try_get("changed_at")?,
    })
}

/// A word that a CHECK lets a column hold.
fn word<T: DeserializeOwned>(column: &str, text: &str) -> Result<T, sqlx::Error> {
    T::deserialize(StrDeserializer::<WordError>::new(text)).map_err(|error| {
        sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) }
    })
}

/// A number that a CHECK keeps from being negative.
fn count(number: i32) -> u32 {
    number.unsigned_abs()
}

fn entries(row: &PgRow) -> Result<Result<Vec<Entry>, JournalError>, sqlx::Error> {
    let seqs: Vec<i32> = row.try_get::<Option<_>, _>("seqs")?.unwrap_or_default();
    let ats: Vec<OffsetDateTime> = row.try_get::<Option<_>, _>("ats")?.unwrap_or_default();
    let codecs: Vec<i16> = row.try_get::<Option<_>, _>("codecs")?.unwrap_or_default();
    let bodies: Vec<Vec<u8>> = row.try_get::<Option<_>, _>("bodies")?.unwrap_or_default();
    let rows = seqs.into_iter().zip(ats).zip(codecs.into_iter().zip(bodies));
    let entries = rows.map(|((seq, at), (codec, body))| {
        decode(seq, codec, &body).map(|facts| Entry { seq, at, facts })
    });
    Ok(entries.collect())
}
