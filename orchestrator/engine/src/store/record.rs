//! Writes what many sagas have to write, in one statement and one commit, under the fence.

pub(crate) mod statement;

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor, Row};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::boundary::Marks;
use crate::error::StoreError;
use crate::id::{SagaId, ShardId};
use crate::store::connections::answers;
use crate::store::text::storable;
use crate::store::{Store, Timeline};
use crate::summary::Standing;
use crate::view::Phase;

use statement::{RECORD, RECORD_AGAIN, WeekStatement, unfenced};

/// What one saga has to write in one commit.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) saga_id: SagaId,
    /// The fence under which this node owns the saga's shard.
    pub(crate) fence: Uuid,
    /// Where that fence is from.
    pub(crate) timeline: Timeline,
    /// The saga itself, when it starts.
    pub(crate) start: Option<Box<NewSaga>>,
    pub(crate) entry: Option<NewEntry>,
    /// The row, when something changed that a person would see. A starting saga's goes with it.
    pub(crate) row: Option<Box<NewRow>>,
    /// Messages that led to this.
    pub(crate) taken: Vec<Uuid>,
    /// What a test waits for in this.
    pub(crate) marks: Marks,
}

impl Record {
    /// About how many bytes it writes: what an author decides the length of.
    pub(crate) fn bytes(&self) -> usize {
        let input = self.start.as_ref().map_or(0, |start| start.input.len());
        let problem = self.row.as_ref().and_then(|row| row.standing.problem.as_ref());
        let message = problem.map_or(0, |problem| problem.message.len());
        input + message + self.entry.as_ref().map_or(0, |entry| entry.body.len())
    }
}

/// A saga's row at its start.
#[derive(Debug)]
pub(crate) struct NewSaga {
    pub(crate) workflow: &'static str,
    pub(crate) root: Uuid,
    pub(crate) business_key: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) input: Vec<u8>,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) key: Option<NewKey>,
}

/// How a saga stands, as of the journal's length `rev`.
#[derive(Debug)]
pub(crate) struct NewRow {
    pub(crate) standing: Standing,
    pub(crate) rev: i32,
    pub(crate) changed_at: OffsetDateTime,
}

/// A start key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewKey {
    pub(crate) hash: [u8; 32],
    pub(crate) fingerprint: [u8; 32],
}

/// One entry of the journal.
#[derive(Debug)]
pub(crate) struct NewEntry {
    pub(crate) seq: i32,
    pub(crate) at: OffsetDateTime,
    pub(crate) fingerprint: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// The fences that still held. Fewer than asked for: nothing was written. Not the shards: this node
    /// may have lost one and taken it again since.
    pub(crate) held: Vec<Uuid>,
    /// The starts whose key was free.
    pub(crate) keyed: Vec<SagaId>,
}

/// Declares a struct of columns, one vector each, bound in the order of its fields.
macro_rules! columns {
    ($name:ident<$life:lifetime> { $($field:ident: $type:ty),* $(,)? }) => {
        #[derive(Default)]
        struct $name<$life> { $($field: Vec<$type>),*, _life: std::marker::PhantomData<&$life ()> }
        impl<$life> $name<$life> {
            fn bind(self, query: Query<$life>) -> Query<$life> {
                query$(.bind(self.$field))*
            }
        }
    };
}

type Text<'a> = Option<Cow<'a, str>>;
type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

columns!(Starts<'a> {
    shard: ShardId, saga: SagaId, key: Option<&'a [u8]>, fingerprint: Option<&'a [u8]>,
    created_at: OffsetDateTime, workflow: &'a str, root: Uuid, business_key: Text<'a>,
    subject: Text<'a>, input: &'a [u8], phase: &'static str, ending: Option<&'static str>,
    step: i32, activity: Text<'a>, next_at: Option<OffsetDateTime>, rev: i32,
});

columns!(Entries<'a> {
    shard: ShardId, saga: SagaId, seq: i32, at: OffsetDateTime, fingerprint: Option<&'a str>,
    body: &'a [u8], with_key: bool,
});

columns!(Rows<'a> {
    shard: ShardId, saga: SagaId, direction: &'static str, phase: &'static str,
    ending: Option<&'static str>, step: i32, activity: Text<'a>, attempt: i32,
    first_failed_at: Option<OffsetDateTime>, next_at: Option<OffsetDateTime>,
    dependency: Text<'a>, error_code: Text<'a>, error_message: Text<'a>,
    fingerprint: Option<&'a str>, attention: Text<'a>, rev: i32, changed_at: OffsetDateTime,
});

pub(crate) const OWN_KEYS: &str = "\
select k.saga_id from saga.start_key k
  join unnest($1::smallint[], $2::bytea[], $3::uuid[]) mine(shard_id, key_hash, saga_id)
    on k.shard_id = mine.shard_id and k.key_hash = mine.key_hash and k.saga_id = mine.saga_id";

/// A connection that records.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(super) connection: PgConnection,
    /// The line of history that it writes to.
    pub(crate) timeline: Timeline,
    used_at: Instant,
    /// The statement for the last week that all records of a batch were of.
    week: Option<WeekStatement>,
    /// How many were recorded since there is that statement.
    recorded: usize,
    /// At how many its plan is made anew.
    plan_at: usize,
}

/// A plan is kept while its tables grow. One that was made when they had just been analyzed as empty reads
/// them from end to end, so a plan is made anew whenever twice as much was recorded, up to so much: with that,
/// to look rows up by key is always the cheapest.
const PLANNED_FOR_GOOD_AT: usize = 16_384;

impl Recorder {
    pub(crate) async fn open(store: &Store) -> Result<Self, StoreError> {
        let (mut connection, timeline) = store.writing().await?;
        if crate::planted!(AsyncCommit) {
            connection.execute("set synchronous_commit = off").await?;
        }
        let used_at = Instant::now();
        Ok(Self { connection, timeline, used_at, week: None, recorded: 0, plan_at: 1 })
    }

    /// Whether there is still a server at the other end.
    pub(crate) async fn answers(&mut self) -> bool {
        answers(&mut self.connection, self.used_at).await
    }

    /// Writes `records`: all of them, or none if a fence is lost. `again`: they may be there already.
    pub(crate) async fn record(
        &mut self,
        records: &[&Record],
        again: bool,
    ) -> Result<Recorded, StoreError> {
        let mut fences: Vec<(ShardId, Uuid)> =
            records.iter().map(|record| (record.saga_id.shard(), record.fence)).collect();
        fences.sort_unstable();
        fences.dedup();
        let (shards, fences): (Vec<ShardId>, Vec<Uuid>) = fences.into_iter().unzip();
        #[cfg(feature = "testing")]
        if crate::planted!(FenceOnlyRead) {
            let held = fences_held(&mut self.connection, &shards, &fences).await?;
            if held.len() < fences.len() {
                return Ok(Recorded { held, keyed: Vec::new() });
            }
        }
        let statement = self.statement(records, again);
        if self.recorded >= self.plan_at {
            self.connection.execute("discard plans").await?;
            let is_enough = self.recorded >= PLANNED_FOR_GOOD_AT;
            self.plan_at = if is_enough { usize::MAX } else { 2 * self.recorded };
        }
        self.recorded += records.len();
        let query = sqlx::query(AssertSqlSafe(statement));
        let query = bind(query.bind(shards).bind(fences), records);
        if records.iter().any(|record| record.marks.before_commit()) {
            return Err(StoreError::unavailable(sqlx::Error::PoolClosed));
        }
        let row = query.fetch_one(&mut self.connection).await?;
        self.used_at = Instant::now();
        let held: Option<Vec<Uuid>> = row.try_get("held")?;
        let keyed: Option<Vec<SagaId>> = row.try_get("keyed")?;
        Ok(Recorded { held: held.unwrap_or_default(), keyed: keyed.unwrap_or_default() })
    }

    fn statement(&mut self, records: &[&Record], again: bool) -> Arc<str> {
        if crate::planted!(NoFence) || crate::planted!(FenceOnlyRead) {
            return unfenced().into();
        }
        if let Some(week) = self.week.as_ref().filter(|week| week.fits(records)) {
            return week.text(again);
        }
        let another = records.first().map(|record| WeekStatement::of(record.saga_id));
        if let Some(week) = another.filter(|week| week.fits(records)) {
            (self.recorded, self.plan_at) = (0, 1);
            return self.week.insert(week).text(again);
        }
        if again { RECORD_AGAIN.clone() } else { RECORD.clone() }
    }

    /// Which of the starts own their key, after a commit whose answer was lost.
    pub(crate) async fn own_keys(
        &mut self,
        records: &[&Record],
    ) -> Result<Vec<SagaId>, sqlx::Error> {
        let starts = records.iter().filter_map(|record| {
            let key = record.start.as_ref()?.key.as_ref()?;
            Some((record.saga_id, &key.hash[..]))
        });
        let (ids, hashes): (Vec<SagaId>, Vec<&[u8]>) = starts.unzip();
        let shards: Vec<ShardId> = ids.iter().map(|id| id.shard()).collect();
        let query = sqlx::query_scalar(OWN_KEYS).bind(shards).bind(hashes).bind(ids);
        query.fetch_all(&mut self.connection).await
    }
}

fn bind<'a>(query: Query<'a>, records: &[&'a Record]) -> Query<'a> {
    let (mut starts, mut entries) = (Starts::default(), Entries::default());
    let (mut rows, mut taken) = (Rows::default(), (Vec::new(), Vec::new()));
    for record in records {
        match (&record.start, &record.row) {
            (Some(start), Some(row)) => starts.push(record, start, row),
            (None, Some(row)) => rows.push(record, row),
            (_, None) => {}
        }
        if let Some(entry) = &record.entry {
            entries.push(record, entry);
        }
        for message in &record.taken {
            taken.0.push(record.saga_id.shard());
            taken.1.push(*message);
        }
    }
    rows.bind(entries.bind(starts.bind(query))).bind(taken.0).bind(taken.1)
}

/// The fences that hold at this moment, as the planted bug `fence_only_read` asks for them.
#[cfg(feature = "testing")]
async fn fences_held(
    connection: &mut PgConnection,
    shards: &[ShardId],
    fences: &[Uuid],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let sql = "select s.fence from saga.shard s
                 join unnest($1::smallint[], $2::uuid[]) f(shard_id, fence)
                   on s.shard_id = f.shard_id and s.fence = f.fence";
    sqlx::query_scalar(sql).bind(shards).bind(fences).fetch_all(connection).await
}

impl<'a> Starts<'a> {
    fn push(&mut self, record: &Record, start: &'a NewSaga, row: &'a NewRow) {
        let NewRow { standing, rev, .. } = row;
        self.shard.push(record.saga_id.shard());
        self.saga.push(record.saga_id);
        self.key.push(start.key.as_ref().map(|key| &key.hash[..]));
        self.fingerprint.push(start.key.as_ref().map(|key| &key.fingerprint[..]));
        self.created_at.push(start.created_at);
        self.workflow.push(start.workflow);
        self.root.push(start.root);
        self.business_key.push(start.business_key.as_deref().map(storable));
        self.subject.push(start.subject.as_deref().map(storable));
        self.input.push(&start.input);
        self.phase.push(standing.phase.name());
        self.ending.push(standing.ending.map(|ending| ending.name()));
        self.step.push(standing.step as i32);
        self.activity.push(standing.activity.as_deref().map(storable));
        self.next_at.push(standing.next_at);
        self.rev.push(*rev);
    }
}

impl<'a> Entries<'a> {
    fn push(&mut self, record: &Record, entry: &'a NewEntry) {
        self.shard.push(record.saga_id.shard());
        self.saga.push(record.saga_id);
        self.seq.push(entry.seq);
        self.at.push(entry.at);
        self.fingerprint.push(entry.fingerprint.as_deref());
        self.body.push(&entry.body);
        self.with_key.push(record.start.as_ref().is_some_and(|start| start.key.is_some()));
    }
}

impl<'a> Rows<'a> {
    fn push(&mut self, record: &Record, row: &'a NewRow) {
        let NewRow { standing, rev, changed_at } = row;
        let problem = standing.problem.as_ref().filter(|_| standing.phase != Phase::Ended);
        self.shard.push(record.saga_id.shard());
        self.saga.push(record.saga_id);
        self.direction.push(standing.direction.name());
        self.phase.push(standing.phase.name());
        self.ending.push(standing.ending.map(|ending| ending.name()));
        self.step.push(standing.step as i32);
        self.activity.push(standing.activity.as_deref().map(storable));
        self.attempt.push(standing.attempt as i32);
        self.first_failed_at.push(standing.first_failed_at);
        self.next_at.push(standing.next_at);
        self.dependency.push(standing.dependency.as_deref().map(storable));
        self.error_code.push(problem.map(|problem| storable(&problem.code)));
        self.error_message.push(problem.map(|problem| storable(&problem.message)));
        self.fingerprint.push(problem.map(|problem| &*problem.fingerprint));
        self.attention.push(standing.attention.as_deref().map(storable));
        self.rev.push(*rev);
        self.changed_at.push(*changed_at);
    }
}
