//! Sagas that ended long ago, as many as one likes: what a table's size costs those that are new.

use anyhow::ensure;
use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

use crate::nodes::SHARDS;

/// How many are written in one statement.
const PAGE: u64 = 50_000;
/// How many write at once.
const WRITERS: u64 = 2;
/// Over how many seconds they began, until an hour ago: so much of the past has partitions in a new database.
const SECONDS: f64 = 6.0 * 24.0 * 3_600.0;

/// Copies $1 to $2 of $3 of the saga $6 and of its journal, on $4 shards over $5 seconds. An id is the time, the
/// shard and something random (`engine::SagaId`).
const COPY: &str = "
    with ended as (
        insert into saga.saga (shard_id, saga_id, workflow, root, codec, input, created_at, direction, phase,
                               ending, step, activity, rev, changed_at)
        select n % $4, id, model.workflow, id, model.codec, model.input, at, model.direction, model.phase,
               model.ending, model.step, model.activity, model.rev, at
        from generate_series($1::bigint, $2::bigint) n
        cross join lateral (
            select now() - interval '1 hour' - make_interval(secs => $5::float8 * (1 - n / $3::float8))
        ) t(at)
        cross join lateral (
            select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
                    || to_hex(28672 + n % $4) || '8' || substr(md5(n::text), 1, 15))::uuid
        ) i(id)
        cross join (select * from saga.saga where saga_id = $6) model
        returning shard_id, saga_id, created_at
    )
    insert into saga.entry (shard_id, saga_id, seq, at, codec, body)
    select ended.shard_id, ended.saga_id, model.seq, ended.created_at, model.codec, model.body
    from ended, saga.entry model
    where model.saga_id = $6";

/// Makes a history of `ended` sagas out of the one that is there.
pub(crate) async fn write(url: &str, ended: u64) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    let one = "select saga_id from saga.saga where phase = 'ended'";
    let model: Uuid = sqlx::query_scalar(one).fetch_one(&mut connection).await?;
    let style = ProgressStyle::with_template("{bar:40} {human_pos} sagas have ended, {eta}")?;
    let bar = ProgressBar::new(ended).with_style(style);
    bar.inc(1);
    let writer = |number| copies(url, model, ended, number, &bar);
    try_join_all((0..WRITERS).map(writer)).await?;
    bar.finish_and_clear();
    // As it would be after days, where the journal is not vacuumed, and not in the middle of a checkpoint.
    connection.execute("vacuum (analyze) saga.saga").await?;
    connection.execute("analyze saga.entry").await?;
    connection.execute("checkpoint").await?;
    let counts = "select (select count(*) from saga.saga), (select count(*) from saga.entry)";
    let (sagas, entries): (i64, i64) = sqlx::query_as(counts).fetch_one(&mut connection).await?;
    ensure!(
        (sagas as u64, entries as u64) == (ended, 4 * ended),
        "the history has {sagas} sagas and {entries} entries"
    );
    Ok(connection.close().await?)
}

/// What one of the writers writes: every so many pages one.
async fn copies(
    url: &str,
    model: Uuid,
    ended: u64,
    writer: u64,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute("set synchronous_commit = off").await?;
    for first in (1 + writer * PAGE..ended).step_by((WRITERS * PAGE) as usize) {
        let last = (first + PAGE).min(ended) - 1;
        let query = sqlx::query(COPY).bind(first as i64).bind(last as i64).bind(ended as f64);
        query.bind(i64::from(SHARDS)).bind(SECONDS).bind(model).execute(&mut connection).await?;
        bar.inc(last + 1 - first);
    }
    Ok(connection.close().await?)
}
