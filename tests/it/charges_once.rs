//! Money is taken once, for what was bought, or not at all.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::harness::{Node, Setup, Shop, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_card_is_never_charged() {
    let shop = Shop::open(&[("tea", 10)]).await;
    let node = shop.node().await;
    let ann = node.customer("ann");

    let card = "pm_card_visa_chargeDeclinedInsufficientFunds";
    let id = ann.buy("first", &[("tea", 1)], card).await.id();
    let checkout = ann.end(&id).await;

    assert_eq!(checkout["status"], "declined", "{checkout:#}");
    assert_eq!(checkout["failure"]["reason"], "insufficient_funds");
    assert_eq!(checkout["failure"]["do"], "new_payment_method");
    assert_eq!(checkout["money"], "not_charged");
    assert_eq!(shop.simulator.lines("captured").len(), 0);
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 10);
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_nobody_saw_is_found_and_not_made_again() {
    // The first attempt to charge goes through, or will, and its answer is lost.
    let kinds = [
        ("timeout_after", Some(1_500)),
        ("error_500_committed", None),
        ("reset_after", None),
        ("late_delivery", Some(1_500)),
    ];
    for (kind, millis) in kinds {
        let mut fault = json!({"op": "confirm", "kind": kind, "attempts_max": 1});
        if let Some(millis) = millis {
            fault["millis"] = json!(millis);
        }
        let faults = json!({"rules": [fault]});
        let shop = Shop::with(Setup { stock: &[("tea", 10)], faults }).await;
        let node = shop.node().await;
        let ann = node.customer("ann");

        let id = ann.buy("first", &[("tea", 2)], "pm_card_visa").await.id();
        let checkout = ann.end(&id).await;

        assert_eq!(checkout["status"], "completed", "{kind}: {checkout:#}");
        assert_eq!(checkout["money"], "charged", "{kind}");
        assert!(shop.simulator.injected(kind).await > 0, "{kind} did not happen");
        let captured = shop.simulator.lines("captured");
        assert_eq!(captured.len(), 1, "{kind}: {captured:?}");
        assert_eq!(captured[0]["amount_minor"], 900, "{kind}");
        shop.verify();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_checkout_is_not_kept_any_more_makes_no_second_order() {
    let shop = Shop::open(&[("tea", 10)]).await;
    let node = shop.node().await;
    let ann = node.customer("ann");
    let id = ann.buy("first", &[("tea", 1)], "pm_card_visa").await.id();
    assert_eq!(ann.end(&id).await["status"], "completed");

    // As when the partition of its week is dropped.
    let mut amends = PgConnection::connect(&shop.databases.amends).await.unwrap();
    for table in ["saga.entry", "saga.saga"] {
        let delete = AssertSqlSafe(format!("delete from {table}"));
        sqlx::query(delete).execute(&mut amends).await.unwrap();
    }
    let again = ann.buy("first", &[("tea", 1)], "pm_card_visa").await;
    assert_eq!(again.status, 409, "{}", again.body);
    assert_eq!(again.body["code"], "key_expired");
    assert_eq!(shop.simulator.lines("captured").len(), 1);
    assert_eq!(shop.sagas().await, 0, "nothing was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_knows_whether_it_was_charged_nobody_says_so() {
    let fault = json!({"op": "confirm", "kind": "error_500_committed"});
    let blind = json!({"op": "get", "kind": "error_503"});
    let faults = json!({"rules": [fault, blind]});
    let shop = Shop::with(Setup { stock: &[("tea", 10)], faults }).await;
    let node = shop.node().await;
    let ann = node.customer("ann");

    let id = ann.buy("first", &[("tea", 1)], "pm_card_visa").await.id();
    until("the charge went through", async || {
        (!shop.simulator.lines("captured").is_empty()).then_some(())
    })
    .await;
    until("the platform asks", async || {
        (shop.simulator.injected("error_503").await > 0).then_some(())
    })
    .await;
    let checkout = ann.get(&format!("/v1/checkouts/{id}")).await.body;
    assert_eq!(checkout["status"], "processing", "{checkout:#}");
    assert_eq!(checkout["money"], "checking", "{checkout:#}");

    shop.simulator.set_faults(&json!({})).await;
    assert_eq!(node.operate(&["retry", &id, "--reason", "it is back", "-y"]).code, Some(0));
    assert_eq!(ann.end(&id).await["status"], "completed");
    assert_eq!(shop.simulator.lines("captured").len(), 1);
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_checkout_however_often_it_is_sent() {
    let shop = Shop::open(&[("tea", 100)]).await;
    let nodes = [shop.node().await, shop.node().await];

    let posts = (0..64).map(|i| {
        let ann = nodes[i % 2].customer("ann");
        async move { ann.buy("the-key", &[("tea", 1)], "pm_card_visa").await }
    });
    let mut ids = BTreeSet::new();
    let mut first = 0;
    for answer in join_all(posts).await {
        first += usize::from(answer.header("idempotency-replayed").is_empty());
        ids.insert(answer.id());
    }

    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(first, 1, "one of them started it");
    let ann = nodes[0].customer("ann");
    let id = ids.pop_first().unwrap();
    assert_eq!(ann.end(&id).await["status"], "completed");
    // Later too, and at another node.
    let again = nodes[1].customer("ann").buy("the-key", &[("tea", 1)], "pm_card_visa").await;
    assert_eq!((again.status, again.id()), (200, id.clone()));

    // Another body under the same key is refused; another customer's same key is another key.
    let other = ann.buy("the-key", &[("tea", 2)], "pm_card_visa").await;
    assert_eq!((other.status, &*other.text("/code")), (422, "idempotency_key_reused"));
    assert_eq!(other.text("/existing"), format!("/v1/checkouts/{id}"));
    assert_eq!(shop.sagas().await, 1);
    let bob = nodes[0].customer("bob");
    let bobs = bob.buy("the-key", &[("tea", 2)], "pm_card_visa").await.id();
    assert_ne!(bobs, id);
    assert_eq!(bob.end(&bobs).await["status"], "completed");

    let captured = shop.simulator.lines("captured");
    assert_eq!(captured.len(), 2, "{captured:?}");
    assert_eq!(shop.verify()["captured_minor"], 3 * 450);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_answers_the_bank_is_charged_once_the_bank_says_so() {
    let shop = Shop::open(&[("tea", 10)]).await;
    let node = shop.node().await;
    let ann = node.customer("ann");
    let card = "pm_card_authenticationRequired";

    let id = ann.buy("yes", &[("tea", 1)], card).await.id();
    let waiting = ann.sees(&id, &["action_required"]).await;
    let url = waiting["next_action"]["url"].as_str().unwrap();
    assert_eq!(shop.simulator.lines("captured").len(), 0);
    // The platform learns of it by the gateway's signed event alone.
    shop.simulator.authenticate(url, "succeeded").await;
    let checkout = ann.end(&id).await;
    assert_eq!(checkout["status"], "completed", "{checkout:#}");

    let id = ann.buy("no", &[("tea", 1)], card).await.id();
    let waiting = ann.sees(&id, &["action_required"]).await;
    shop.simulator.authenticate(waiting["next_action"]["url"].as_str().unwrap(), "failed").await;
    let checkout = ann.end(&id).await;
    assert_eq!(checkout["status"], "declined", "{checkout:#}");
    assert_eq!(checkout["money"], "not_charged");

    assert_eq!(shop.simulator.lines("captured").len(), 1);
    assert_eq!(shop.verify()["captured_minor"], 450);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_kept_and_not_told_is_told_again() {
    // What happened at the bank is never sent: it is put where an event stands that was taken by a node
    // which died, or lost its database, before it could tell the saga.
    let (shop, node, id) = authenticated_and_not_told().await;
    let ann = node.customer("ann");
    let mut orders = PgConnection::connect(&shop.databases.orders).await.unwrap();
    let kept = "insert into orders.gateway_event (id, type, intent_id, created, payload)
                select 'evt_kept', 'payment_intent.succeeded', intent_id, now(), '{}'
                  from orders.payment";
    sqlx::query(kept).execute(&mut orders).await.unwrap();

    let checkout = ann.end(&id).await;
    assert_eq!(checkout["status"], "completed", "{checkout:#}");
    until("the event counts as dealt with", async || {
        let open = "select count(*) from orders.gateway_event where processed_at is null";
        (shop.count(&shop.databases.orders, open).await == 0).then_some(())
    })
    .await;
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_never_comes_is_asked_for() {
    let (shop, node, id) = authenticated_and_not_told().await;

    // The saga asks after a minute, and not only when the customer's time is over.
    let checkout = node.customer("ann").end(&id).await;
    assert_eq!(checkout["status"], "completed", "{checkout:#}");
    assert_eq!(shop.simulator.lines("captured").len(), 1);
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_time_to_answer_the_bank_begins_when_they_are_asked() {
    let shop = Shop::open(&[("tea", 10)]).await;
    let mut node = shop.node().await;
    let ann = node.customer("ann");
    let id = ann.buy("first", &[("tea", 1)], "pm_card_authenticationRequired").await.id();
    let waiting = ann.sees(&id, &["action_required"]).await;

    // As if the gateway had been away for twenty minutes before it took the charge.
    node.program.kill();
    let (amends, orders) = (&shop.databases.amends, &shop.databases.orders);
    let newest = format!("select max(seq)::bigint from saga.entry where saga_id = '{id}'");
    let asked = shop.count(amends, &newest).await;
    let earlier = format!(
        "update saga.entry set at = at - interval '20 minutes'
         where saga_id = '{id}' and seq < {asked}"
    );
    let mut connection = PgConnection::connect(amends).await.unwrap();
    sqlx::query(AssertSqlSafe(earlier)).execute(&mut connection).await.unwrap();
    let node = shop.again(node).await;

    // Told of something, the saga asks, and goes on waiting.
    let event = "insert into orders.gateway_event (id, type, intent_id, created, payload)
                 select 'evt_told', 'payment_intent.processing', intent_id, now(), '{}'
                   from orders.payment";
    let mut connection = PgConnection::connect(orders).await.unwrap();
    sqlx::query(event).execute(&mut connection).await.unwrap();
    until("the saga has asked", async || {
        (shop.count(amends, &newest).await >= asked + 2).then_some(())
    })
    .await;
    let ann = node.customer("ann");
    let checkout = ann.get(&format!("/v1/checkouts/{id}")).await.body;
    assert_eq!(checkout["status"], "action_required", "{checkout:#}");
    shop.simulator.authenticate(waiting["next_action"]["url"].as_str().unwrap(), "succeeded").await;
    assert_eq!(ann.end(&id).await["status"], "completed");
    shop.verify();
}

/// A checkout whose customer said yes at the bank, which nobody tells the platform.
async fn authenticated_and_not_told() -> (Shop, Node, String) {
    let faults = json!({"rules": [{"op": "authenticate", "kind": "drop_webhook"}]});
    let shop = Shop::with(Setup { stock: &[("tea", 10)], faults }).await;
    let node = shop.node().await;
    let ann = node.customer("ann");
    let id = ann.buy("first", &[("tea", 1)], "pm_card_authenticationRequired").await.id();
    let waiting = ann.sees(&id, &["action_required"]).await;
    shop.simulator.authenticate(waiting["next_action"]["url"].as_str().unwrap(), "succeeded").await;
    (shop, node, id)
}
