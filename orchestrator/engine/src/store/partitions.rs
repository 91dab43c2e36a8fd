//! Keeps the partitions of the history ahead of time: one a week, by the time in the saga's id.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};
use time::{Duration, OffsetDateTime, Time};

use crate::error::StoreError;
use crate::id::SagaId;
use crate::store::Store;

/// How far ahead partitions are made: a node that can not make any for so long starts to fail.
const AHEAD: Duration = Duration::weeks(4);
/// How far back the first ones reach, for sagas whose ids were made by a clock that is behind.
const BEHIND: Duration = Duration::weeks(1);

/// What is partitioned, and when its partitions are vacuumed.
const TABLES: [(&str, &str); 2] = [
    // Each saga leaves a dead row, and dead entries in the indexes of those that are open: sooner than by
    // default.
    ("saga", "autovacuum_vacuum_scale_factor = 0.1"),
    // The journal only grows. A vacuum would find nothing but the holes at the ends of its pages, and each
    // small entry that fits into one would cost the log an image of that page: half as much log again.
    ("entry", "autovacuum_vacuum_insert_threshold = -1"),
];

/// SQLSTATE `duplicate_table`.
const EXISTS: &str = "42P07";

pub(crate) const SHARD_COUNT: &str = "select shards from saga.setting";
pub(crate) const SET_SHARDS: &str = "\
insert into saga.setting (shards) values ($1) on conflict do nothing";
pub(crate) const MAKE_SHARDS: &str = "\
insert into saga.shard (shard_id, fence)
select id, gen_random_uuid()
  from saga.setting, generate_series(0, shards - 1) id
    on conflict do nothing";
/// Which of these relations are there.
pub(crate) const THERE: &str = "\
select name from unnest($1::text[]) name where to_regclass(name) is not null";
/// Once among all nodes and however often it is tried.
pub(crate) const CLAIM_RUN: &str = "\
insert into saga.schedule_run (schedule, scheduled_for, node_id) values ($1, $2, $3)
    on conflict do nothing";

impl Store {
    /// How many shards the database was made with; none: it was not made.
    pub(crate) async fn shard_count(&self) -> Result<Option<u16>, StoreError> {
        let shards: Option<i16> = self
            .with(async |connection| {
                sqlx::query_scalar(SHARD_COUNT).fetch_optional(connection).await
            })
            .await?;
        Ok(shards.map(i16::unsigned_abs))
    }

    /// Whether this node is the one to do what `schedule` has for `scheduled_for`.
    pub(crate) async fn claim_run(
        &self,
        schedule: &str,
        scheduled_for: OffsetDateTime,
        node: uuid::Uuid,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(CLAIM_RUN).bind(schedule).bind(scheduled_for).bind(node);
        Ok(self.with(async |connection| query.execute(connection).await).await?.rows_affected() > 0)
    }

    /// For how many weeks from now on, without a gap, the partitions are there.
    pub(crate) async fn weeks_ahead(&self, now: OffsetDateTime) -> Result<usize, StoreError> {
        let weeks: Vec<_> = weeks(now, now + AHEAD).map(Week::partitions).collect();
        let all: Vec<&String> = weeks.iter().flatten().collect();
        let query = sqlx::query_scalar(THERE).bind(all);
        let there: Vec<String> =
            self.with(async |connection| query.fetch_all(connection).await).await?;
        let is_made = |names: &&[String; 2]| names.iter().all(|name| there.contains(name));
        Ok(weeks.iter().take_while(is_made).count())
    }

    /// Makes the partitions that are needed from now on.
    pub(crate) async fn make_partitions(&self, now: OffsetDateTime) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        make_partitions(&mut connection, now).await
    }
}

/// Makes the shards, once, and the first partitions: by the server's clock, as sagas get their ids by it.
pub(crate) async fn furnish(connection: &mut PgConnection, shards: u16) -> Result<(), StoreError> {
    sqlx::query(SET_SHARDS).bind(shards as i16).execute(&mut *connection).await?;
    sqlx::query(MAKE_SHARDS).execute(&mut *connection).await?;
    let now = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *connection).await?;
    make_partitions(connection, now).await
}

/// One week of the history, from Monday to Monday, in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Week {
    monday: OffsetDateTime,
}

impl Week {
    /// The one that `at` is in.
    pub(crate) fn at(at: OffsetDateTime) -> Self {
        let days = i64::from(at.weekday().number_days_from_monday());
        Self { monday: (at - Duration::days(days)).replace_time(Time::MIDNIGHT) }
    }

    pub(crate) fn begins(self) -> OffsetDateTime {
        self.monday
    }

    pub(crate) fn ends(self) -> OffsetDateTime {
        self.monday + Duration::weeks(1)
    }

    /// Its partitions: of the sagas, and of their entries.
    pub(crate) fn partitions(self) -> [String; 2] {
        let (year, week, _) = self.monday.to_iso_week_date();
        TABLES.map(|(table, _)| format!("saga.{table}_{year}w{week:02}"))
    }
}

/// The weeks of which something lies between `from` and `to`.
fn weeks(from: OffsetDateTime, to: OffsetDateTime) -> impl Iterator<Item = Week> {
    let next = |week: &Week| Some(Week { monday: week.ends() });
    std::iter::successors(Some(Week::at(from)), next).take_while(move |week| week.begins() < to)
}

async fn make_partitions(
    connection: &mut PgConnection,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    for week in weeks(now - BEHIND, now + AHEAD) {
        let (from, to) = (SagaId::floor(week.begins()), SagaId::floor(week.ends()));
        for ((table, vacuumed), name) in TABLES.into_iter().zip(week.partitions()) {
            let make = format!(
                "create table if not exists {name} \
                 partition of saga.{table} for values from ('{from}') to ('{to}') \
                 with ({vacuumed})"
            );
            match connection.execute(AssertSqlSafe(make)).await {
                Ok(_) => {}
                // Another node made it at the same moment.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(EXISTS) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
