//! Cancelling: everything is undone, or it is too late and nothing is.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Answer, Setup, Shop, http, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_waits_for_the_bank_can_be_cancelled() {
    let shop = Shop::open(&[("tea", 10)]).await;
    let node = shop.node().await;
    let ann = node.customer("ann");

    let id = ann.buy("first", &[("tea", 3)], "pm_card_authenticationRequired").await.id();
    let waiting = ann.sees(&id, &["action_required"]).await;
    assert_eq!(waiting["cancellable"], true, "{waiting:#}");
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 7);
    // A checkout is its customer's own.
    let theirs = node.customer("bob").cancel(&id).await;
    assert_eq!((theirs.status, &*theirs.text("/code")), (404, "checkout_not_found"));

    let answer = ann.cancel(&id).await;
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    let checkout = ann.end(&id).await;
    assert_eq!(checkout["status"], "cancelled", "{checkout:#}");
    assert_eq!(checkout["money"], "not_charged");
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 10);
    let order = checkout["order"]["id"].as_str().unwrap();
    assert_eq!(ann.get(&format!("/v1/orders/{order}")).await.body["status"], "cancelled");

    // A second time nothing happens, and the customer who answers now is not charged.
    assert_eq!(ann.cancel(&id).await.body["status"], "cancelled");
    let url = waiting["next_action"]["url"].as_str().unwrap();
    let late = http().post(url).query(&[("outcome", "succeeded")]).send().await;
    assert!(late.unwrap().status().is_client_error(), "the payment is gone");
    assert_eq!(shop.simulator.lines("captured").len(), 0);
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_crosses_the_charge_gives_the_money_back() {
    // The answer takes so long that the cancel comes while the charge is under way.
    let slow = json!({"op": "confirm", "kind": "timeout_after", "millis": 4_000});
    let faults = json!({"rules": [slow]});
    let shop = Shop::with(Setup { stock: &[("tea", 10)], faults }).await;
    let node = shop.node().await;
    let ann = node.customer("ann");

    let id = ann.buy("first", &[("tea", 1)], "pm_card_visa").await.id();
    until("the money is taken", async || {
        (!shop.simulator.lines("captured").is_empty()).then_some(())
    })
    .await;
    let answer = ann.cancel(&id).await;
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    let checkout = ann.end(&id).await;

    assert_eq!(checkout["status"], "cancelled", "{checkout:#}");
    assert_eq!(checkout["money"], "refunded", "{checkout:#}");
    assert_eq!(shop.simulator.lines("captured").len(), 1);
    assert_eq!(shop.simulator.lines("refunded").len(), 1);
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 10);
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_on_its_way_back_is_not_called_returned_before_it_is() {
    let slow = json!({"op": "confirm", "kind": "timeout_after", "millis": 4_000});
    let faults = json!({"rules": [slow]});
    let shop = Shop::with(Setup { stock: &[("tea", 10)], faults }).await;
    let node = shop.node().await;
    let ann = node.customer("ann");

    let id = ann.buy("first", &[("tea", 1)], "pm_card_pendingRefund").await.id();
    until("the money is taken", async || {
        (!shop.simulator.lines("captured").is_empty()).then_some(())
    })
    .await;
    ann.cancel(&id).await;
    let checkout = ann.end(&id).await;
    assert_eq!(checkout["status"], "cancelled", "{checkout:#}");
    assert_eq!(checkout["money"], "refunding", "{checkout:#}");
    let path = format!("/v1/checkouts/{id}");
    let tag = ann.get(&path).await.header("etag").to_owned();
    let order = format!("/v1/orders/{}", checkout["order"]["id"].as_str().unwrap());
    assert_eq!(ann.get(&order).await.body["money"], "refunding");

    // The saga is over; the gateway's events alone tell that the money has arrived.
    until("the order says so", async || {
        (ann.get(&order).await.body["money"] == "refunded").then_some(())
    })
    .await;
    let request = ann.request(Method::GET, &path).header("if-none-match", tag);
    let again = Answer::of(request).await.unwrap();
    assert_eq!((again.status, &again.body["money"]), (200, &json!("refunded")));
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_checkout_can_not_be_cancelled() {
    let shop = Shop::open(&[("tea", 10)]).await;
    let node = shop.node().await;
    let ann = node.customer("ann");

    let id = ann.buy("first", &[("tea", 1)], "pm_card_visa").await.id();
    assert_eq!(ann.end(&id).await["status"], "completed");
    let answer = ann.cancel(&id).await;
    assert_eq!((answer.status, &*answer.text("/code")), (409, "too_late_to_cancel"));

    assert_eq!(ann.end(&id).await["status"], "completed");
    assert_eq!(shop.simulator.lines("refunded").len(), 0);
    assert_eq!(shop.verify()["captured_minor"], 450);
}
