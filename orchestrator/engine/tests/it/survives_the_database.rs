//! What was accepted survives a database that crashes in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::SagaId;
use engine::client::StartError;
use engine::journal::Ending;
use local_postgres::testing::TestServer;
use sqlx::{Connection, Executor, PgConnection};

use crate::harness::{ends, engine, start, with_key};
use crate::stock::{Order, Stock, registry};

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
                                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
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
