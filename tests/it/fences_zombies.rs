//! A node that comes back after its time finds that it owns nothing any more.

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::harness::{Setup, Shop, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wakes_up_after_its_lease_writes_nothing() {
    // The gateway's answers come late, so that there is something to write when it wakes up.
    let slow = json!({"op": "confirm", "kind": "latency", "millis": 1_500, "attempts_max": 1});
    let faults = json!({"rules": [slow]});
    let shop = Shop::with(Setup { stock: &[("tea", 1_000)], faults }).await;
    let zombie = shop.node().await;
    let ann = zombie.customer("ann");

    // All of them are the zombie's: there is no other node yet.
    let buying = (0..40).map(|i| {
        let ann = ann.clone();
        async move { ann.buy(&format!("key-{i}"), &[("tea", 1)], "pm_card_visa").await.id() }
    });
    let ids = join_all(buying).await;
    until("the charges are under way", async || {
        (shop.simulator.injected("latency").await >= 20).then_some(())
    })
    .await;
    zombie.program.signal(Signal::SIGSTOP);

    let other = shop.node().await;
    let bob = other.customer("ann");
    for checkout in join_all(ids.iter().map(|id| bob.end(id))).await {
        assert_eq!(checkout["status"], "completed", "{checkout:#}");
    }
    assert!(other.metric("amends_takeovers_total").await > 0.0);

    // Its lease could tell it that it was replaced, but its renewal waits for this row: only the fence
    // is left to stop it.
    let mut lock = PgConnection::connect(&shop.databases.amends).await.unwrap();
    let mut lock = lock.begin().await.unwrap();
    let name = format!("%-{}", zombie.program.pid());
    let row = "select node_id from saga.node where name like $1 for update";
    let locked = sqlx::query(row).bind(name).execute(&mut *lock).await.unwrap();
    assert_eq!(locked.rows_affected(), 1);
    zombie.program.signal(Signal::SIGCONT);
    until("the zombie's writes are refused", async || {
        (zombie.metric("amends_fenced_writes_total").await > 0.0).then_some(())
    })
    .await;

    lock.rollback().await.unwrap();

    // It is a node like any other again. A shard that it does not know yet to be lost answers 503.
    let id = until("it is served there", async || {
        let answer = ann.buy("afterwards", &[("tea", 1)], "pm_card_visa").await;
        (answer.status != 503).then(|| answer.id())
    })
    .await;
    assert_eq!(ann.end(&id).await["status"], "completed");
    assert_eq!(shop.simulator.lines("captured").len(), 41);
    assert_eq!(shop.verify()["captured_minor"], 41 * 450);
}
