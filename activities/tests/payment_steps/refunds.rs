//! A refund that ends, or comes back, after the undo that made it: our book follows the gateway's.

use std::time::Duration;

use activities::Charge;
use activities::payment_gateway::intent::RefundStatus;
use activities::payment_gateway::signature::Event;
use engine::{Outcome, Undo};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::shop::{Placed, Shop, soon};

/// What is kept of events that nobody has dealt with: their ids, and why they wait.
type Waiting = Vec<(String, Option<String>)>;

/// A charge that is taken back: as far as its undo goes.
async fn taken_back(shop: &Shop, card: &str) -> (Placed, String) {
    let (placed, charge, answer) = shop.charge(card).await;
    let captured: Charge = answer.unwrap();
    let attempt = placed.attempt(4, 1);
    let undo = charge.undo(&shop.payments, &attempt, Outcome::Done(&captured)).await;
    assert!(undo.is_ok(), "{undo:?}");
    (placed, charge.intent_id)
}

/// Waits until the first refund of the intent has ended so.
async fn ends(shop: &Shop, intent_id: &str, status: RefundStatus) {
    let gateway = &shop.payments.gateway;
    let ended = async {
        while gateway.list_refunds(intent_id, soon()).await.unwrap()[0].status != status {}
    };
    tokio::time::timeout_at(soon(), ended).await.unwrap();
}

/// The gateway tells of it, and our book follows once.
async fn told(shop: &Shop, intent_id: &str, events: &[(&str, &str)]) {
    for (id, kind) in events {
        let event = Event {
            id: (*id).to_owned(),
            kind: (*kind).to_owned(),
            intent_id: Some(intent_id.to_owned()),
            created: engine::now(),
            payload: json!({ "id": id }),
        };
        shop.payments.store.record_event(event).await.unwrap();
    }
    follow(shop).await;
}

async fn follow(shop: &Shop) {
    let later = engine::now() + Duration::from_secs(60);
    shop.payments.follow_refunds(OffsetDateTime::UNIX_EPOCH..later, None).await.unwrap();
}

async fn waiting(shop: &Shop) -> Waiting {
    let mut connection = PgConnection::connect(&shop.url).await.unwrap();
    let waiting = "select id, attention from orders.gateway_event
                   where processed_at is null order by id";
    sqlx::query_as(waiting).fetch_all(&mut connection).await.unwrap()
}

/// Given back by our book, and on its way back.
async fn booked(shop: &Shop, placed: &Placed) -> (i64, i64) {
    let order = shop.orders.find(placed.order_id, None).await.unwrap().unwrap();
    let payment = order.payment.unwrap();
    (payment.refunded.value, payment.refunding.value)
}

#[tokio::test]
async fn a_refund_that_ends_after_its_undo_is_booked() {
    let shop = Shop::open().await;
    let (placed, intent_id) = taken_back(&shop, "pm_card_pendingRefund").await;
    assert_eq!(booked(&shop, &placed).await, (0, 4200));
    told(&shop, &intent_id, &[("evt_1", "refund.created"), ("evt_2", "charge.refunded")]).await;
    assert_eq!(booked(&shop, &placed).await, (0, 4200));
    ends(&shop, &intent_id, RefundStatus::Succeeded).await;
    told(&shop, &intent_id, &[("evt_3", "refund.updated")]).await;
    assert_eq!(booked(&shop, &placed).await, (4200, 0));
    assert_eq!(waiting(&shop).await, []);
}

#[tokio::test]
async fn a_refund_that_comes_back_after_its_undo_waits_for_a_person() {
    let shop = Shop::open().await;
    let (placed, intent_id) = taken_back(&shop, "pm_card_refundFail").await;
    assert_eq!(booked(&shop, &placed).await, (4200, 0));
    ends(&shop, &intent_id, RefundStatus::Failed).await;
    told(&shop, &intent_id, &[("evt_1", "refund.failed"), ("evt_2", "refund.updated")]).await;
    assert_eq!(booked(&shop, &placed).await, (0, 0));
    let why = Some("refund_failed".to_owned());
    let kept = vec![("evt_1".to_owned(), why.clone()), ("evt_2".to_owned(), why)];
    assert_eq!(waiting(&shop).await, kept);

    // Nothing is asked again for those, and one that tells the same is not new.
    shop.faults(json!({ "rules": [{ "op": "get", "kind": "error_503" }] })).await;
    follow(&shop).await;
    let faults = shop.ask("GET", "/_sim/faults", None).await;
    assert_eq!(faults["injected"]["error_503"], 0, "{faults}");
    shop.faults(json!({})).await;
    told(&shop, &intent_id, &[("evt_3", "charge.refund.updated")]).await;
    assert_eq!(waiting(&shop).await, kept);

    // Somebody gives it back at the gateway, and that comes back too.
    shop.post_form("/v1/refunds", &[("payment_intent", &intent_id)]).await;
    ends(&shop, &intent_id, RefundStatus::Failed).await;
    told(&shop, &intent_id, &[("evt_4", "refund.failed")]).await;
    assert_eq!(booked(&shop, &placed).await, (0, 0));
    assert_eq!(waiting(&shop).await.len(), 3);
}

#[tokio::test]
async fn while_the_gateway_can_not_be_asked_its_events_about_refunds_wait() {
    let shop = Shop::open().await;
    let (placed, intent_id) = taken_back(&shop, "pm_card_pendingRefund").await;
    ends(&shop, &intent_id, RefundStatus::Succeeded).await;
    shop.faults(json!({ "rules": [{ "op": "any", "kind": "error_503" }] })).await;
    told(&shop, &intent_id, &[("evt_1", "refund.updated")]).await;
    assert_eq!(waiting(&shop).await, [("evt_1".to_owned(), None)]);
    shop.faults(json!({})).await;
    follow(&shop).await;
    assert_eq!(booked(&shop, &placed).await, (4200, 0));
    assert_eq!(waiting(&shop).await, []);
}

#[tokio::test]
async fn a_refund_whose_event_is_lost_is_asked_for() {
    let shop = Shop::open().await;
    let (placed, intent_id) = taken_back(&shop, "pm_card_pendingRefund").await;
    ends(&shop, &intent_id, RefundStatus::Succeeded).await;
    let (none, now) = (OffsetDateTime::UNIX_EPOCH..OffsetDateTime::UNIX_EPOCH, engine::now());
    let hour = Duration::from_secs(3_600);
    shop.payments.follow_refunds(none.clone(), Some(now - hour)).await.unwrap();
    assert_eq!(booked(&shop, &placed).await, (0, 4200), "it is not long yet");
    shop.payments.follow_refunds(none, Some(now + hour)).await.unwrap();
    assert_eq!(booked(&shop, &placed).await, (4200, 0));
}

#[tokio::test]
async fn an_answer_that_is_older_than_our_book_changes_nothing() {
    let shop = Shop::open().await;
    let (placed, intent_id) = taken_back(&shop, "pm_card_visa").await;
    // As another node has written it, between the gateway's answer to this one and now.
    let mut connection = PgConnection::connect(&shop.url).await.unwrap();
    let failed = "update orders.refund set status = 'failed'";
    sqlx::query(failed).execute(&mut connection).await.unwrap();
    told(&shop, &intent_id, &[("evt_1", "refund.updated")]).await;
    assert_eq!(booked(&shop, &placed).await, (0, 0));
    assert_eq!(waiting(&shop).await, []);
}
