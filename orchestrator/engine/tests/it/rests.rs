//! A node that has nothing to do does nothing, and a saga that waits costs little.

use std::time::Duration;

use engine::journal::Ending;
use engine::{Engine, SagaId, Settings};
use local_postgres::testing::TestServer;
use sqlx::{Connection, Executor, PgConnection};

use crate::harness::{database, ends, engine, start};
use crate::stock::{Order, Stock, registry};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_costs_less_than_five_statements_a_second() {
    let log_all = [("log_statement", "all"), ("log_line_prefix", "%a|")];
    let mut server =
        tokio::task::spawn_blocking(move || TestServer::start(&log_all)).await.unwrap();
    let mut admin = PgConnection::connect(&server.url("postgres")).await.unwrap();
    admin.execute("create database amends").await.unwrap();
    let url = server.url("amends");
    engine::migrate(&url, 32).await.unwrap();
    let log = server.postgres().data_dir().join("server.log");
    let statements = || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.lines().filter(|line| line.starts_with("amends|LOG")).count()
    };
    let engine = Engine::start(Settings::new(&url), registry(&Stock::open())).await.unwrap();
    // What it says while it settles in does not count.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = statements();
    assert!(before > 0, "nothing is logged");
    let seconds = 12;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let said = statements() - before;
    assert!(said > 0 && said < 5 * seconds as usize, "{said} statements in {seconds} s");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_waiting_sagas_leave_memory_and_wake_on_time() {
    let url = database().await;
    let stock = Stock::open();
    let engine = engine(&url, registry(&stock)).await;
    let pause = time::Duration::seconds(15);
    let order = Order { steps: 1, refused: false, pause_ms: 15_000 };
    let mut ids: Vec<SagaId> = Vec::new();
    for _ in 0..1_000 {
        ids.push(engine.client().start(start("take-many", &order)).await.unwrap().id);
    }
    while engine.sagas_in_memory() > 0 {
        assert_eq!(stock.taken(), 0, "some wake, {} are in memory", engine.sagas_in_memory());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for id in ids {
        let view = ends(&engine.client(), id, Ending::Completed).await;
        let took = view.summary.changed_at - view.summary.created_at;
        assert!(took >= pause, "woke after {took}");
        assert!(took < pause + time::Duration::seconds(4), "woke after {took}");
    }
    assert_eq!(stock.taken(), 1_000);
    engine.shutdown().await;
}

/// Makes the row of a saga that nobody has in memory: its start was never announced.
const UNHEARD_OF: &str = "
insert into saga.saga (shard_id, saga_id, workflow, root, codec, input, created_at, changed_at, next_at)
select 0, $1, 'take-many', $1, 0, $2, now(), now(), now() - interval '1 minute'";

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_fell_out_of_memory_is_found_however_many_in_it_are_late() {
    let url = database().await;
    let stock = Stock::closed();
    let engine = engine(&url, registry(&stock)).await;
    // More than the sweep looks at in one go, each with an attempt that takes its time.
    for _ in 0..600 {
        engine.client().start(start("take-many", &Order::of(1))).await.unwrap();
    }
    stock.called(600).await;
    let mut admin = PgConnection::connect(&url).await.unwrap();
    admin.execute("update saga.saga set next_at = now() - interval '1 hour'").await.unwrap();
    let lost = SagaId::new(0, engine::now());
    let input = serde_json::to_vec(&Order::of(0)).unwrap();
    let insert = sqlx::query(UNHEARD_OF).bind(lost).bind(input);
    insert.execute(&mut admin).await.unwrap();

    ends(&engine.client(), lost, Ending::Completed).await;
    assert_eq!(stock.taken(), 0, "the others are where they were");
    engine.crash();
}
