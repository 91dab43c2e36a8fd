//! Callers go away, servers do not answer: what was acknowledged is there, the rest is not.

use std::time::Duration;

use activities::inventory_store::{Receipt, ReceiptKind, Reserve};
use activities::verify::Moment;
use activities::{Inventory, OrderId};
use engine::Failure;
use sqlx::Connection;

use crate::support::{OwnDatabase, again, attempt, code, cut_off, inventory_with, lines, reserve};

/// Callers that go away at every moment of a transaction, `begin` above all, between others that
/// wait for their answer, on one connection. What was acknowledged must be there for everybody at
/// once: neither in a transaction that somebody else left open, nor gone with it.
#[tokio::test]
async fn a_dropped_caller_loses_nothing() {
    let (_, database) = inventory_with(&[("a", 1_000_000)]).await;
    let inventory = Inventory::connect(&database.url(), 1).unwrap();
    let orders: Vec<_> = (0..200).map(|_| (attempt(), OrderId::random())).collect();
    let one = lines(&[("a", 1)]);
    let basket = |(attempt, order_id)| Reserve { attempt, order_id, lines: &one };
    let baskets: Vec<_> = orders.iter().map(|(step, id)| basket((step, *id))).collect();
    inventory.reserve(&baskets).await.unwrap();

    let mut other = database.connect().await;
    for (n, (_, order_id)) in (0..).zip(&orders) {
        let step = attempt();
        let gone = reserve(&inventory, &step, OrderId::random(), &[("a", 1)]);
        cut_off(n % 20, gone).await;

        inventory.pin(*order_id).await.unwrap();
        let state: String =
            sqlx::query_scalar("select state from inventory.reservation where order_id = $1")
                .bind(order_id)
                .fetch_one(&mut other)
                .await
                .unwrap();
        assert_eq!(state, "pinned", "acknowledged, and not there for others");

        let reference = format!("delivery {n}");
        let lines = lines(&[("b", 1)]);
        let receipt = Receipt { kind: ReceiptKind::Receipt, reference: &reference, lines: &lines };
        inventory.receive(receipt).await.unwrap();
    }
    inventory.close().await;
    let pinned = "select count(*) from inventory.reservation where state = 'pinned'";
    assert_eq!(database.count(pinned).await, 200, "acknowledged, and lost");
    let booked = "select count(*) from inventory.stock_movement where sku = 'b'";
    assert_eq!(database.count(booked).await, 200, "acknowledged, and lost");
    wait_until_no_session_is_in_a_transaction(&database).await;
    let inventory = Inventory::connect(&database.url(), 2).unwrap();
    assert_eq!(inventory.verify(Moment::Always).await.unwrap(), []);
}

async fn wait_until_no_session_is_in_a_transaction(database: &OwnDatabase) {
    let open = format!(
        "select count(*) from pg_stat_activity
         where datname = '{}' and state like 'idle in transaction%'",
        database.name
    );
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while database.count(&open).await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "a session is stuck in a transaction");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a saga does after a crash: the same call again, however far the first one came.
#[tokio::test]
async fn a_call_that_was_cut_off_can_be_repeated() {
    let (inventory, _database) = inventory_with(&[("a", 1_000_000)]).await;
    for n in 0..60 {
        let (first, order_id) = (attempt(), OrderId::random());
        cut_off(n % 20, reserve(&inventory, &first, order_id, &[("a", 1)])).await;
        reserve(&inventory, &again(&first), order_id, &[("a", 1)]).await.unwrap();
    }
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().reserved, 60);
    assert_eq!(inventory.verify(Moment::Always).await.unwrap(), []);
}

/// The only connection waits for a lock when its caller gives up: the next caller gets a new one.
#[tokio::test]
async fn a_call_that_timed_out_does_not_block_the_next() {
    let (_, database) = inventory_with(&[("a", 10), ("b", 10)]).await;
    let inventory = Inventory::connect(&database.url(), 1).unwrap();
    let mut other = database.connect().await;
    let mut lock = other.begin().await.unwrap();
    sqlx::query("select from inventory.stock where sku = 'a' for update")
        .execute(&mut *lock)
        .await
        .unwrap();
    let step = attempt();
    let blocked = reserve(&inventory, &step, OrderId::random(), &[("a", 1)]);
    tokio::time::timeout(Duration::from_millis(200), blocked).await.unwrap_err();
    let other_step = attempt();
    let next = reserve(&inventory, &other_step, OrderId::random(), &[("b", 1)]);
    let next = tokio::time::timeout(Duration::from_secs(4), next).await;
    next.expect("the pool is blocked").unwrap();
}

#[tokio::test]
async fn a_database_that_refuses_the_connection_was_not_reached() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://nobody@127.0.0.1:{port}/inventory");
    let inventory = Inventory::connect(&url, 1).unwrap();
    let lines = lines(&[("a", 1)]);
    let step = attempt();
    let call = Reserve { attempt: &step, order_id: OrderId::random(), lines: &lines };
    let trouble = inventory.reserve(&[call]).await.unwrap_err().trouble();
    assert_eq!(trouble.code, "database_unavailable");
    assert!(trouble.not_executed, "{trouble:?}");
    assert!(trouble.message.contains("inventory database"), "{trouble:?}");
    match inventory.pin(OrderId::random()).await {
        Err(Failure::Retry(trouble)) => assert_eq!(trouble.code, "database_unavailable"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sessions_that_are_ended_are_replaced() {
    let (inventory, database) = inventory_with(&[("a", 100)]).await;
    for _ in 0..3 {
        let end = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = '{}' and pid <> pg_backend_pid()",
            database.name
        );
        database.execute(&end).await;
        let (step, order_id) = (attempt(), OrderId::random());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        loop {
            match crate::activities::run_reserve(&inventory, &step, order_id, "a").await {
                Ok(_) => break,
                Err(failure) => {
                    let answer = Err::<(), _>(failure);
                    assert_eq!(code(&answer), "database_unavailable");
                    assert!(tokio::time::Instant::now() < deadline, "no new session");
                }
            }
        }
    }
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().reserved, 3);
}

/// One session that ends rarely ends alone: whoever meets it first pays for all of them.
#[tokio::test]
async fn a_server_that_restarts_costs_one_attempt_and_not_one_a_session() {
    let (_, database) = inventory_with(&[("a", 100)]).await;
    let inventory = Inventory::connect(&database.url(), 4).unwrap();
    let mut other = database.connect().await;
    let mut lock = other.begin().await.unwrap();
    let locked = "select from inventory.stock where sku = 'a' for update";
    sqlx::query(locked).execute(&mut *lock).await.unwrap();
    let steps: Vec<_> = (0..4).map(|_| attempt()).collect();
    let blocked =
        steps.iter().map(|step| reserve(&inventory, step, OrderId::random(), &[("a", 1)]));
    let released = async {
        let waiting = format!(
            "select count(*) from pg_stat_activity
             where datname = '{}' and wait_event_type = 'Lock'",
            database.name
        );
        let deadline = tokio::time::Instant::now() + Duration::from_secs(4);
        while database.count(&waiting).await < 4 {
            assert!(tokio::time::Instant::now() < deadline, "there are fewer sessions");
        }
        lock.commit().await.unwrap();
    };
    let (reserved, ()) = tokio::join!(futures_util::future::try_join_all(blocked), released);
    reserved.unwrap();

    let end = format!(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity
         where datname = '{}' and pid <> pg_backend_pid()",
        database.name
    );
    database.execute(&end).await;
    let (mut failed, one) = (0, lines(&[("a", 1)]));
    for _ in 0..8 {
        let (step, order_id) = (attempt(), OrderId::random());
        let basket = Reserve { attempt: &step, order_id, lines: &one };
        failed += u32::from(inventory.reserve(&[basket]).await.is_err());
    }
    assert_eq!(failed, 1);
}
