//! A migrated database of a test's own, sagas to put into it, and an owner for its inbox.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqlSafeStr};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::clock;
use crate::decide::decide;
use crate::event::{Event, Message};
use crate::id::SagaId;
use crate::journal::{CODEC_JSON, Fact, encode};
use crate::operator::Poke;
use crate::state::State;
use crate::store::Store;
use crate::summary::standing;
use crate::view::Phase;
use crate::view::fixture::{handlers, intent, problem};

pub(in crate::store) struct Database {
    pub(in crate::store) store: Store,
}

pub(in crate::store) fn seconds_ago(seconds: f64) -> OffsetDateTime {
    clock::now() - Duration::seconds_f64(seconds)
}

const SHARDS_AND_NODES: &str = "
insert into saga.setting (shards) values (4);
insert into saga.node (node_id, name, version, workflows, started_at, lease_until) values
  ('00000000-0000-4000-8000-000000000001', 'alive', '1', '{place-order}',
   now() - interval '1 minute', now() + interval '1 hour'),
  ('00000000-0000-4000-8000-000000000002', 'dead', '1', '{place-order}',
   now() - interval '2 minutes', now() - interval '1 minute'),
  ('00000000-0000-4000-8000-000000000003', 'forgotten', '1', '{place-order}',
   now() - interval '9 days', now() - interval '2 days');
insert into saga.shard (shard_id, fence, node_id, taken_at)
select s, gen_random_uuid(),
       case when s < 3 then '00000000-0000-4000-8000-000000000001'::uuid
            else '00000000-0000-4000-8000-000000000002' end,
       now()
  from generate_series(0, 3) s;";

const PUT_SAGA: &str = "
insert into saga.saga (shard_id, saga_id, workflow, root, business_key, codec, input, created_at,
                       direction, phase, ending, step, activity, attempt, first_failed_at, next_at,
                       dependency, error_code, error_message, fingerprint, attention, rev, changed_at)
values ($1, $2, 'place-order', $2, 'ord_1', 0, 'null', $3,
        $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";

const PUT_ENTRY: &str = "
insert into saga.entry (shard_id, saga_id, seq, at, codec, body) values ($1, $2, $3, $4, $5, $6)";

impl Database {
    pub(in crate::store) async fn new() -> Self {
        let server = local_postgres::testing::server();
        let name = format!("views_{}", Uuid::new_v4().simple());
        let mut postgres = PgConnection::connect(&server.url("postgres")).await.unwrap();
        run(&mut postgres, &format!("create database {name}")).await;
        let mut connection = PgConnection::connect(&server.url(&name)).await.unwrap();
        run(&mut connection, "create schema saga").await;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/amends");
        let mut files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "sql")) {
            run(&mut connection, &fs::read_to_string(file).unwrap()).await;
        }
        let middle = SagaId::floor(seconds_ago(86_400.0));
        for table in ["saga", "entry"] {
            run(&mut connection, &format!(
                "create table saga.{table}_old partition of saga.{table} for values from (minvalue) to ('{middle}');
                 create table saga.{table}_new partition of saga.{table} for values from ('{middle}') to (maxvalue)",
            )).await;
        }
        run(&mut connection, SHARDS_AND_NODES).await;
        Self { store: Store::connect(&server.url(&name)).await.unwrap() }
    }

    pub(in crate::store) async fn execute(&self, statements: &str) {
        run(&mut self.store.connection().await.unwrap(), statements).await;
    }

    pub(in crate::store) async fn count(&self, table: &str) -> i64 {
        let count = AssertSqlSafe(format!("select count(*) from {table}"));
        let counting =
            async |connection: &mut _| sqlx::query_scalar(count).fetch_one(connection).await;
        self.store.with(counting).await.unwrap()
    }

    /// A saga with this journal, each list of facts written so many seconds from now, and the row
    /// that follows from it.
    pub(in crate::store) async fn put(&self, id: SagaId, entries: &[(f64, &[Fact])]) {
        let mut state = State::default();
        let mut at = id.started_at();
        for (seq, (seconds, facts)) in (1..).zip(entries) {
            at = seconds_ago(-seconds);
            state.apply_all(facts, at);
            self.put_entry(id, seq, at, facts).await;
        }
        let row = standing(&state, &handlers(), at);
        let text = |word: serde_json::Value| word.as_str().map(str::to_owned);
        let problem = row.problem.as_ref();
        let query = sqlx::query(PUT_SAGA)
            .bind(id.shard())
            .bind(id.uuid())
            .bind(id.started_at())
            .bind(text(serde_json::to_value(row.direction).unwrap()))
            .bind(text(serde_json::to_value(row.phase).unwrap()))
            .bind(text(serde_json::to_value(row.ending).unwrap()))
            .bind(row.step as i32)
            .bind(&row.activity)
            .bind(row.attempt as i32)
            .bind(row.first_failed_at)
            .bind(row.next_at)
            .bind(&row.dependency)
            .bind(problem.map(|problem| &problem.code))
            .bind(problem.map(|problem| &problem.message))
            .bind(problem.map(|problem| &problem.fingerprint))
            .bind(&row.attention)
            .bind(entries.len() as i32)
            .bind(at);
        self.store.with(async |connection| query.execute(connection).await).await.unwrap();
        assert_eq!(row.phase == Phase::Ended, row.next_at.is_none());
    }

    /// A saga whose charge failed at `seconds` from now; the next attempt is due `wait_s` from now.
    pub(in crate::store) async fn put_retrying(&self, id: SagaId, seconds: f64, wait_s: f64) {
        let failed = Fact::Failed {
            step: 1,
            attempt: 1,
            unsure: true,
            counted: true,
            problem: problem("gateway_unavailable", "503"),
            next_at: Some(seconds_ago(-wait_s)),
        };
        let charging = intent(1, "charge-payment", "EUR 42.00");
        self.put(id, &[(seconds - 1.0, &[charging]), (seconds, &[failed])]).await;
    }

    async fn put_entry(&self, id: SagaId, seq: i32, at: OffsetDateTime, facts: &[Fact]) {
        let query = sqlx::query(PUT_ENTRY)
            .bind(id.shard())
            .bind(id.uuid())
            .bind(seq)
            .bind(at)
            .bind(CODEC_JSON)
            .bind(encode(facts));
        self.store.with(async |connection| query.execute(connection).await).await.unwrap();
    }

    /// Ended sagas of the last two days, and open ones: a few failing, a few that need a person.
    pub(in crate::store) async fn fill_history(&self, ended: usize, open: usize) {
        let ids = |count: usize, step_s: f64| -> Vec<Uuid> {
            let ids = (0..count).map(|n| (n as i16 % 4, seconds_ago(n as f64 * step_s)));
            ids.map(|(shard, at)| SagaId::new(shard, at).uuid()).collect()
        };
        let insert = "
            insert into saga.saga (shard_id, saga_id, workflow, root, codec, input, created_at,
                                   phase, ending, next_at, attention, fingerprint, changed_at)
            select n % 4, id, 'place-order', id, 0, 'null', now(),
                   case when $2 then 'ended' else 'running' end,
                   case when $2 then 'completed' end,
                   case when not $2 then now() end,
                   case when not $2 and n % 50 = 0 then 'poison' end,
                   case when not $2 and n % 10 = 0 then 'f' || (n / 10) end,
                   now()
              from unnest($1::uuid[]) with ordinality u(id, n)";
        for (ids, ended) in [(ids(ended, 8.0), true), (ids(open, 0.5), false)] {
            let query = sqlx::query(insert).bind(ids).bind(ended);
            self.store.with(async |connection| query.execute(connection).await).await.unwrap();
        }
        let entries = "
            insert into saga.entry (shard_id, saga_id, seq, at, codec, body)
            select shard_id, saga_id, seq, now(), 0, '[]' from saga.saga, generate_series(1, 2) seq;
            alter table saga.audit disable trigger audit_is_chained;
            insert into saga.audit (audit_id, at, actor, action, saga_id, reason, detail, seq, hash)
            select gen_random_uuid(), now(), 'a', 'retry', saga_id, 'r', '{}', row_number() over (), ''
              from saga.saga;
            alter table saga.audit enable trigger audit_is_chained;
            insert into saga.inbox (shard_id, message_id, saga_id, at, body)
            select shard_id, gen_random_uuid(), saga_id, now(), '{}' from saga.saga;";
        self.execute(entries).await;
        self.execute("vacuum analyze").await;
    }
}

async fn run(connection: &mut PgConnection, statements: &str) {
    let statements = AssertSqlSafe(statements.to_owned()).into_sql_str();
    sqlx::raw_sql(statements).execute(connection).await.unwrap();
}

const INBOX: &str = "select message_id, saga_id, body from saga.inbox where shard_id = $1";

/// The entry and the message that led to it in one statement, as an owner writes them.
const TAKE: &str = "
with taken as (delete from saga.inbox where shard_id = $1 and message_id = $2)
insert into saga.entry (shard_id, saga_id, seq, at, codec, body) values ($1, $3, $4, $5, 0, $6)";

/// Takes messages as an owner does: each with what follows from it by the rules.
pub(in crate::store) fn owner(store: &Store) -> Poke {
    let store = store.clone();
    Arc::new(move |shard| {
        let store = store.clone();
        tokio::spawn(async move { take(&store, shard).await });
    })
}

async fn take(store: &Store, shard: i16) {
    let query = sqlx::query_as(INBOX).bind(shard);
    let messages: Vec<(Uuid, Uuid, Json<Message>)> =
        store.with(async |connection| query.fetch_all(connection).await).await.unwrap();
    for (message_id, saga_id, Json(message)) in messages {
        let loaded = store.load_one(saga_id.into()).await.unwrap().unwrap();
        let entries = loaded.stored.entries.unwrap();
        let mut state = State::default();
        entries.iter().for_each(|entry| state.apply_all(&entry.facts, entry.at));
        let facts = decide(&state, Event::Message { id: message_id, message });
        let query = sqlx::query(TAKE)
            .bind(shard)
            .bind(message_id)
            .bind(saga_id)
            .bind(entries.len() as i32 + 1)
            .bind(seconds_ago(0.0))
            .bind(encode(&facts));
        store.with(async |connection| query.execute(connection).await).await.unwrap();
    }
}
