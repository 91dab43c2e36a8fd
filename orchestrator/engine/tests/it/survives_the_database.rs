//! What was accepted survives a database that crashes in the middle.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::client::StartError;
use engine::journal::Ending;
use engine::{Abort, Registry, Saga, SagaId, Workflow};
use local_postgres::testing::TestServer;
use sqlx::{Connection, Executor, PgConnection};

use crate::harness::{database, ends, engine, start, with_key};
use crate::script::{Do, Script, does};
use crate::stock::{Order, Stock, registry};

struct Three;

impl Workflow for Three {
    const NAME: &'static str = "three";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        for what in ["first", "second", "third"] {
            saga.step(does(what)).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgresql_under_load_loses_nothing_accepted() {
    let mut server = tokio::task::spawn_blocking(|| TestServer::start(&[])).await.unwrap();
    let mut admin = PgConnection::connect(&server.url("postgres")).await.unwrap();
    admin.execute("create database amends").await.unwrap();
    let url = server.url("amends");
    engine::migrate(&url, 8).await.unwrap();
    let stock = Stock::open();
    let engine = engine(&url, registry(&stock)).await;
    let crashing = Arc::new(AtomicBool::new(true));
    let loads: Vec<_> = (0..16)
        .map(|client| {
            let (engine, crashing) = (engine.client(), crashing.clone());
            tokio::spawn(async move {
                let mut accepted: Vec<SagaId> = Vec::new();
                while crashing.load(Ordering::Relaxed) {
                    let key = format!("{client}-{}", accepted.len());
                    // Sent again with its key until it is answered, as a customer would.
                    let id = loop {
                        let order = with_key(start("take-many", &Order::of(3)), &key);
                        match engine.start(order).await {
                            Ok(started) => break started.id,
                            Err(StartError::Unavailable(_) | StartError::Busy) => {
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                            Err(error) => panic!("{error:?}"),
                        }
                    };
                    accepted.push(id);
                }
                accepted
            })
        })
        .collect();
    for _ in 0..3 {
        let calls = *stock.calls.lock().unwrap();
        stock.called(calls + 300).await;
        server = tokio::task::spawn_blocking(move || {
            server.postgres().kill().unwrap();
            server.postgres().restart().unwrap();
            server
        })
        .await
        .unwrap();
    }
    crashing.store(false, Ordering::Relaxed);
    let mut sagas = 0;
    for load in loads {
        for id in load.await.unwrap() {
            ends(&engine.client(), id, Ending::Completed).await;
            sagas += 1;
        }
    }
    assert!(sagas > 300, "only {sagas} sagas");
    // Each step of each saga took its thing once, however often it was called.
    assert_eq!(stock.taken(), sagas * 3);
    let violations = engine.operator().verify().await.unwrap();
    assert!(violations.is_empty(), "{violations:?}");
    engine.shutdown().await;
}

/// Stops the server at once, does something to its files, and starts it again.
async fn restarted(mut server: TestServer, change: fn(&Path)) -> TestServer {
    let changed = tokio::task::spawn_blocking(move || {
        server.postgres().kill().unwrap();
        change(server.postgres().data_dir());
        server.postgres().restart().unwrap();
        server
    });
    changed.await.unwrap()
}

fn copy(folder: &Path, from: &str, to: &str) {
    let _ = std::fs::remove_dir_all(folder.join(to));
    let copied = Command::new("cp").arg("-a").arg(folder.join(from)).arg(folder.join(to)).status();
    assert!(copied.unwrap().success());
}

/// As a standby does that has not heard of everything.
fn promote(folder: &Path) {
    copy(folder, "standby", "postgres");
    let data = folder.join("postgres");
    copy(&data, "PG_VERSION", "recovery.signal");
    let settings = data.join("postgresql.auto.conf");
    let old = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, old + "restore_command = 'false'\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_standby_does_not_know_when_it_takes_over_is_done_again() {
    let server = tokio::task::spawn_blocking(|| TestServer::start(&[])).await.unwrap();
    let mut admin = PgConnection::connect(&server.url("postgres")).await.unwrap();
    admin.execute("create database amends").await.unwrap();
    let url = server.url("amends");
    engine::migrate(&url, 8).await.unwrap();
    let script = Script::new();
    let engine = engine(&url, Registry::new().workflow::<Three>(&script)).await;
    let client = engine.client();
    let (second, third) = (script.gate("do second"), script.gate("do third"));
    let id = client.start(start("three", &())).await.unwrap().id;
    script.seen("do second").await;
    let server = restarted(server, |folder| copy(folder, "postgres", "standby")).await;
    second.notify_one();
    script.seen("do third").await;
    let unknown = with_key(start("three", &()), "unknown");
    let lost = client.start(unknown).await.unwrap().id;
    ends(&client, lost, Ending::Completed).await;

    let server = restarted(server, promote).await;
    third.notify_one();
    ends(&client, id, Ending::Completed).await;
    let called = script.log().iter().filter(|call| *call == "do second").count();
    assert!(called >= 3, "its journal has a hole: {:?}", script.log());
    let keys: HashSet<String> = script.keys().into_iter().collect();
    assert_eq!(keys.len(), 6, "one a step, however often it is done: {keys:?}");
    assert!(client.view(lost).await.unwrap().is_none(), "nobody knows of it any more");
    let violations = engine.operator().verify().await.unwrap();
    assert!(violations.is_empty(), "{violations:?}");
    engine.shutdown().await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_holds_the_row_of_one_saga_holds_up_no_other() {
    let url = database().await;
    let stock = Stock::closed();
    let engine = engine(&url, registry(&stock)).await;
    let client = engine.client();
    // Sent again with its key until it is answered.
    let take = async |key| loop {
        match client.start(with_key(start("take-many", &Order::of(1)), key)).await {
            Ok(started) => return started.id,
            Err(StartError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error:?}"),
        }
    };
    let (held, other) = (take("held").await, take("other").await);
    stock.called(2).await;
    let mut somebody = PgConnection::connect(&url).await.unwrap();
    let mut holding = somebody.begin().await.unwrap();
    let hold = sqlx::query("select from saga.saga where saga_id = $1 for update");
    hold.bind(held.uuid()).execute(&mut *holding).await.unwrap();
    stock.gate.send_replace(true);

    ends(&client, other, Ending::Completed).await;
    let view = client.view(held).await.unwrap().unwrap();
    assert_eq!(view.summary.ending, None, "it can not be written");
    // And so do new ones.
    ends(&client, take("new").await, Ending::Completed).await;
    holding.rollback().await.unwrap();
    ends(&client, held, Ending::Completed).await;
    assert_eq!(stock.taken(), 3, "each once");
    engine.shutdown().await;
}
