//! After a day the gateway has forgotten its keys: what is old is asked about first.

use engine::{Activity, Outcome, SagaId, Undo};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::shop::{Shop, once};

#[tokio::test]
async fn an_old_charge_is_asked_about_and_not_sent_again() {
    let shop = Shop::with_faults(once("confirm", "timeout_after")).await;
    let (placed, charge, answer) = shop.charge("pm_card_visa").await;
    assert!(answer.is_err(), "{answer:?}");
    shop.advance_hours(25).await;
    // A confirm would show from now on.
    shop.faults(json!({ "rules": [{ "op": "confirm", "kind": "error_503" }] })).await;
    let answer = charge.run(&shop.payments, &placed.old_attempt(4, 2, 25)).await;
    assert!(matches!(answer, Ok(activities::Charge::Captured { .. })), "{answer:?}");
    assert_eq!(shop.ledger(&placed).await, (4200, 0));
}

#[tokio::test]
async fn an_old_charge_that_was_never_sent_is_sent() {
    let shop = Shop::open().await;
    let (placed, charge) = shop.prepare("pm_card_visa").await;
    let answer = charge.run(&shop.payments, &placed.old_attempt(4, 1, 25)).await;
    assert!(matches!(answer, Ok(activities::Charge::Captured { .. })), "{answer:?}");
    assert_eq!(shop.ledger(&placed).await, (4200, 0));
}

#[tokio::test]
async fn an_old_prepare_finds_its_intent_instead_of_making_another() {
    let shop = Shop::with_faults(once("create", "timeout_after")).await;
    let placed = shop.place(4200).await;
    let answer = placed.prepare().run(&shop.payments, &placed.attempt(3, 1)).await;
    assert!(answer.is_err(), "{answer:?}");
    shop.advance_hours(25).await;
    let answer = placed.prepare().run(&shop.payments, &placed.old_attempt(3, 2, 25)).await;
    let intents = shop.intents(&placed).await;
    assert_eq!(intents.len(), 1);
    assert_eq!(answer.unwrap().intent_id, intents[0].id);
}

#[tokio::test]
async fn the_undo_of_an_old_prepare_finds_its_intent_and_cancels_it() {
    let shop = Shop::with_faults(once("create", "timeout_after")).await;
    let placed = shop.place(4200).await;
    let answer = placed.prepare().run(&shop.payments, &placed.attempt(3, 1)).await;
    assert!(answer.is_err(), "{answer:?}");
    shop.advance_hours(25).await;
    let attempt = placed.old_attempt(3, 2, 25);
    let undo = placed.prepare().undo(&shop.payments, &attempt, Outcome::Unknown).await;
    assert!(undo.is_ok(), "{undo:?}");
    let intents = shop.intents(&placed).await;
    assert_eq!(intents.len(), 1);
    let canceled = activities::payment_gateway::intent::IntentStatus::Canceled;
    assert_eq!(intents[0].status, canceled);
}

#[tokio::test]
async fn an_old_undo_gives_back_once() {
    let shop = Shop::with_faults(once("refund", "timeout_after")).await;
    let (placed, charge, answer) = shop.charge("pm_card_visa").await;
    let captured = answer.unwrap();
    let undo = charge.undo(&shop.payments, &placed.attempt(4, 1), Outcome::Done(&captured)).await;
    assert!(undo.is_err(), "{undo:?}");
    // The key is forgotten, the refund is not.
    shop.advance_hours(25).await;
    let attempt = placed.old_attempt(4, 2, 25);
    let undo = charge.undo(&shop.payments, &attempt, Outcome::Done(&captured)).await;
    assert!(undo.is_ok(), "{undo:?}");
    assert_eq!(shop.ledger(&placed).await, (4200, 4200));
}

#[tokio::test]
async fn a_start_that_was_lost_and_sent_again_finds_the_intent_of_the_first() {
    let shop = Shop::open().await;
    let (placed, charge) = shop.prepare("pm_card_visa").await;
    // All databases lose their newest rows: the customer's key makes the same order again.
    let mut connection = PgConnection::connect(&shop.url).await.unwrap();
    sqlx::query("delete from orders.payment").execute(&mut connection).await.unwrap();
    let mut attempt = placed.attempt(3, 1);
    let first = std::mem::replace(&mut attempt.saga_id, SagaId::new(2, engine::now()));
    assert_ne!(attempt.saga_id, first);
    let again = placed.prepare().run(&shop.payments, &attempt).await.unwrap();
    assert_eq!(again.intent_id, charge.intent_id);
    assert_eq!(shop.intents(&placed).await.len(), 1);
}
