//! A cart becomes an order: stock reserved, order written, money taken, all of it or nothing.

use serde_json::json;

use crate::harness::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_becomes_a_confirmed_and_paid_order() {
    let shop = Shop::open(&[("tea", 10), ("cup", 5)]).await;
    let node = shop.node().await;
    let ann = node.customer("ann");

    let accepted = ann.buy("first", &[("tea", 2), ("cup", 1)], "pm_card_visa").await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let id = accepted.id();
    assert_eq!(accepted.header("location"), format!("/v1/checkouts/{id}"));
    let checkout = ann.end(&id).await;

    assert_eq!(checkout["status"], "completed", "{checkout:#}");
    assert_eq!(checkout["money"], "charged");
    assert_eq!(checkout["order"]["total"], json!({"value": 2_150, "currency": "USD"}));
    let order = checkout["order"]["id"].as_str().unwrap();

    let captured = shop.simulator.lines("captured");
    assert_eq!(captured.len(), 1, "{captured:?}");
    assert_eq!(captured[0]["order_id"], order);
    assert_eq!(captured[0]["amount_minor"], 2_150);

    let orders = ann.get("/v1/orders").await.body;
    assert_eq!(orders["orders"].as_array().unwrap().len(), 1, "{orders:#}");
    assert_eq!(orders["orders"][0]["id"], order);
    assert_eq!(orders["orders"][0]["status"], "confirmed");
    let whole = ann.get(&format!("/v1/orders/{order}")).await.body;
    assert_eq!(whole["money"], "charged", "{whole:#}");
    assert_eq!(whole["lines"].as_array().unwrap().len(), 2);
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 8);

    let verdict = shop.verify();
    assert_eq!(verdict["captured_minor"], 2_150);
    assert_eq!(verdict["gateway_captured_minor"], 2_150);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_paid_leaves_nothing_behind() {
    let shop = Shop::open(&[("crumb", 10)]).await;
    let node = shop.node().await;
    let ann = node.customer("ann");

    // Ten cents are less than the gateway takes.
    let id = ann.buy("first", &[("crumb", 1)], "pm_card_visa").await.id();
    let checkout = ann.end(&id).await;

    assert_eq!(checkout["status"], "failed", "{checkout:#}");
    assert_eq!(checkout["failure"]["code"], "amount_too_small", "{checkout:#}");
    assert_eq!(checkout["money"], "not_charged");
    assert_eq!(ann.get("/v1/inventory/crumb").await.body["available"], 10);
    assert_eq!(shop.verify()["captured_minor"], 0);
}
