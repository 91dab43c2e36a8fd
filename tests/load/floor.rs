//! The floor: what PostgreSQL itself takes for the records of a saga of three steps, written by hand. No
//! engine: no replay, no fence, no timers, no intents; two connections, each with one statement a batch.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use sqlx::{Connection, Executor, PgConnection, Postgres};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::load::Job;

/// A row at the start of a saga, one for each step, and the first again when the last step is done.
const TABLES: &str = "
    create table saga (
        id         uuid        primary key,
        status     smallint    not null default 0,
        input      bytea       not null,
        created_at timestamptz not null default now(),
        changed_at timestamptz not null default now()
    ) with (fillfactor = 50);
    create table step (
        saga_id uuid        not null,
        seq     smallint    not null,
        at      timestamptz not null default now(),
        output  bytea       not null,
        primary key (saga_id, seq)
    )";

/// $1 and $2 what starts, $3 to $5 what is done, $6 what ends.
const WRITE: &str = "
    with started as (
        insert into saga (id, input)
        select unnest($1::uuid[]), unnest($2::bytea[])
    ), stepped as (
        insert into step (saga_id, seq, output)
        select unnest($3::uuid[]), unnest($4::smallint[]), unnest($5::bytea[])
    )
    update saga set status = 1, changed_at = now()
    from (select unnest($6::uuid[]) as id) ended
    where saga.id = ended.id";

/// Rows are found by their keys, with a plan that is made once, as by the engine's lanes.
const SESSION: &str = "
    set plan_cache_mode = force_generic_plan; set jit = off;
    set enable_hashjoin = off; set enable_mergejoin = off; set enable_seqscan = off";

/// One writes while the other waits for the disk.
const LANES: u8 = 2;
const BATCH_MAX: usize = 500;
const QUEUE_MAX: usize = 8_192;
const STEPS: i16 = 3;

/// What one saga writes.
pub(crate) struct Floor {
    lanes: Vec<mpsc::Sender<Write>>,
    next: AtomicUsize,
    input: Vec<u8>,
    output: Vec<u8>,
}

struct Write {
    saga: Uuid,
    /// 0: it starts.
    seq: i16,
    data: Vec<u8>,
    written: oneshot::Sender<()>,
}

impl Floor {
    /// Makes its tables at `url`, and opens so many connections that write, [`LANES`] unless told
    /// otherwise. A saga writes `input` once and `output` with each step.
    pub(crate) async fn open(
        url: &str,
        lanes: Option<u8>,
        input: Vec<u8>,
        output: Vec<u8>,
    ) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(TABLES).await?;
        connection.close().await?;
        let mut queues = Vec::new();
        for _ in 0..lanes.unwrap_or(LANES) {
            let mut connection = PgConnection::connect(url).await?;
            connection.execute(SESSION).await?;
            let (queue, queued) = mpsc::channel(QUEUE_MAX);
            tokio::spawn(lane(connection, queued));
            queues.push(queue);
        }
        Ok(Self { lanes: queues, next: AtomicUsize::new(0), input, output })
    }
}

impl Job for Floor {
    async fn run(&self) -> anyhow::Result<()> {
        let saga = Uuid::now_v7();
        let lane = &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()];
        for seq in 0..=STEPS {
            let data = if seq == 0 { self.input.clone() } else { self.output.clone() };
            let (written, is_written) = oneshot::channel();
            let write = Write { saga, seq, data, written };
            lane.send(write).await.ok().context("a lane has ended")?;
            is_written.await.context("a lane has ended")?;
        }
        Ok(())
    }
}

/// What waits during one batch is the next.
async fn lane(mut connection: PgConnection, mut queue: mpsc::Receiver<Write>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        if let Err(error) = statement(&batch).execute(&mut connection).await {
            eprintln!("the floor can not write: {error}");
            return;
        }
        for write in batch.drain(..) {
            // A client that is over does not wait.
            let _ = write.written.send(());
        }
    }
}

fn statement(batch: &[Write]) -> sqlx::query::Query<'_, Postgres, sqlx::postgres::PgArguments> {
    let (started, stepped): (Vec<_>, Vec<_>) = batch.iter().partition(|write| write.seq == 0);
    let ended = stepped.iter().filter(|write| write.seq == STEPS);
    let ids = |writes: &[&Write]| writes.iter().map(|write| write.saga).collect::<Vec<_>>();
    let data =
        |writes: &[&'_ Write]| writes.iter().map(|write| write.data.clone()).collect::<Vec<_>>();
    sqlx::query(WRITE)
        .bind(ids(&started))
        .bind(data(&started))
        .bind(ids(&stepped))
        .bind(stepped.iter().map(|write| write.seq).collect::<Vec<_>>())
        .bind(data(&stepped))
        .bind(ended.map(|write| write.saga).collect::<Vec<_>>())
}
