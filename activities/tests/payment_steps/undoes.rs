//! Taking back: no money moves afterwards, and what moved comes back once.

use activities::effect::SHUT_OUT;
use activities::payment_gateway::answer::GatewayFailure;
use activities::payment_gateway::intent::IntentStatus;
use activities::{Charge, ChargePayment, PreparedPayment};
use engine::{Activity, Failure, Outcome, Undo, UndoFailure};
use serde_json::json;

use crate::charges::rejection;
use crate::shop::{Placed, Shop, once, soon};

fn prepared(charge: &ChargePayment) -> PreparedPayment {
    let (intent_id, return_url) = (charge.intent_id.clone(), charge.return_url.clone());
    PreparedPayment { intent_id, return_url }
}

async fn undo_prepare(shop: &Shop, placed: &Placed, number: u32) -> Result<(), UndoFailure> {
    let attempt = placed.attempt(3, number);
    placed.prepare().undo(&shop.payments, &attempt, Outcome::Unknown).await
}

/// Undoes until it is done, as the engine does.
async fn undone(shop: &Shop, placed: &Placed) {
    for number in 1..10 {
        match undo_prepare(shop, placed, number).await {
            Ok(()) => return,
            Err(UndoFailure::Retry(_)) => {}
            Err(UndoFailure::Stuck(trouble)) => panic!("{trouble:?}"),
        }
    }
    panic!("it does not end");
}

async fn no_intent_can_charge(shop: &Shop, placed: &Placed) {
    for intent in shop.intents(placed).await {
        let late =
            shop.payments.gateway.confirm(&intent.id, "pm_card_visa", None, "late", soon()).await;
        assert!(matches!(late, Err(GatewayFailure::UnexpectedState(_))), "{late:?}");
    }
    assert_eq!(shop.ledger(placed).await, (0, 0));
}

#[tokio::test]
async fn an_unknown_prepare_leaves_no_intent_that_could_charge() {
    for kind in [
        "timeout_after",
        "timeout_before",
        "reset_after",
        "error_500_committed",
        "error_500_not_committed",
        "error_503",
        "rate_limit_429",
    ] {
        let shop = Shop::with_faults(once("create", kind)).await;
        let placed = shop.place(4200).await;
        let answer = placed.prepare().run(&shop.payments, &placed.attempt(3, 1)).await;
        assert!(matches!(answer, Err(Failure::Unknown(_) | Failure::Retry(_))), "{kind}");
        undone(&shop, &placed).await;
        no_intent_can_charge(&shop, &placed).await;
        undone(&shop, &placed).await;
        // And the late action is refused.
        let late = placed.prepare().run(&shop.payments, &placed.attempt(3, 2)).await;
        if kind.starts_with("error_500") {
            // The next key has a first attempt too.
            shop.faults(json!({})).await;
            let late = placed.prepare().run(&shop.payments, &placed.attempt(3, 3)).await;
            assert_eq!(rejection(late).code, SHUT_OUT, "{kind}");
        } else {
            assert_eq!(rejection(late).code, SHUT_OUT, "{kind}");
        }
        no_intent_can_charge(&shop, &placed).await;
    }
}

#[tokio::test]
async fn an_undo_that_comes_before_its_prepare_refuses_the_late_one() {
    let shop = Shop::open().await;
    let placed = shop.place(4200).await;
    undone(&shop, &placed).await;
    let late = placed.prepare().run(&shop.payments, &placed.attempt(3, 1)).await;
    assert_eq!(rejection(late).code, SHUT_OUT);
    no_intent_can_charge(&shop, &placed).await;
}

#[tokio::test]
async fn a_create_that_is_delivered_late_is_found_and_cancelled() {
    let faults = json!({ "rules": [
        { "op": "create", "kind": "late_delivery", "attempts_max": 1, "millis": 200 }
    ] });
    let shop = Shop::with_faults(faults).await;
    let placed = shop.place(4200).await;
    let answer = placed.prepare().run(&shop.payments, &placed.attempt(3, 1)).await;
    assert!(matches!(answer, Err(Failure::Unknown(_))), "{answer:?}");
    let delivered = async { while shop.intents(&placed).await.is_empty() {} };
    tokio::time::timeout_at(soon(), delivered).await.unwrap();
    undone(&shop, &placed).await;
    assert_eq!(shop.intents(&placed).await.len(), 1);
    no_intent_can_charge(&shop, &placed).await;
}

#[tokio::test]
async fn a_prepared_payment_is_voided() {
    let shop = Shop::open().await;
    let (placed, charge) = shop.prepare("pm_card_visa").await;
    let prepared = prepared(&charge);
    for number in 1..4 {
        let attempt = placed.attempt(3, number);
        let outcome = Outcome::Done(&prepared);
        placed.prepare().undo(&shop.payments, &attempt, outcome).await.unwrap_done();
    }
    no_intent_can_charge(&shop, &placed).await;
    assert_eq!(shop.book(&placed).await.status, "voided");
    // A confirm that comes late, under its own key, is refused.
    let late = charge.run(&shop.payments, &placed.attempt(4, 1)).await;
    assert_eq!(rejection(late).code, "payment_canceled");
    assert_eq!(shop.ledger(&placed).await, (0, 0));
}

#[tokio::test]
async fn a_captured_payment_is_given_back_once_however_often_it_is_undone() {
    let shop = Shop::open().await;
    let (placed, charge, answer) = shop.charge("pm_card_visa").await;
    let captured = answer.unwrap();
    let prepared = prepared(&charge);
    for number in 1..4 {
        let attempt = placed.attempt(4, number);
        charge.undo(&shop.payments, &attempt, Outcome::Done(&captured)).await.unwrap_done();
        charge.undo(&shop.payments, &attempt, Outcome::Unknown).await.unwrap_done();
        let attempt = placed.attempt(3, number);
        let outcome = Outcome::Done(&prepared);
        placed.prepare().undo(&shop.payments, &attempt, outcome).await.unwrap_done();
    }
    assert_eq!(shop.ledger(&placed).await, (4200, 4200));
    let book = shop.book(&placed).await;
    assert_eq!((book.status.as_str(), book.captured, book.refunded), ("captured", 4200, 4200));
}

#[tokio::test]
async fn a_charge_nobody_knows_of_is_given_back_by_the_undo_of_its_prepare() {
    for kind in ["timeout_after", "error_500_committed"] {
        let shop = Shop::with_faults(once("confirm", kind)).await;
        let (placed, charge, answer) = shop.charge("pm_card_visa").await;
        assert!(matches!(answer, Err(Failure::Unknown(_))), "{kind}: {answer:?}");
        let prepared = prepared(&charge);
        let outcome = Outcome::Done(&prepared);
        let attempt = placed.attempt(3, 1);
        placed.prepare().undo(&shop.payments, &attempt, outcome).await.unwrap_done();
        assert_eq!(shop.ledger(&placed).await, (4200, 4200), "{kind}");
        assert_eq!(shop.book(&placed).await.refunded, 4200, "{kind}");
    }
}

#[tokio::test]
async fn a_confirm_that_is_delivered_after_the_undo_can_not_charge() {
    let faults = json!({ "rules": [
        { "op": "confirm", "kind": "late_delivery", "attempts_max": 1, "millis": 300 }
    ] });
    let shop = Shop::with_faults(faults).await;
    let (placed, charge, answer) = shop.charge("pm_card_visa").await;
    assert!(matches!(answer, Err(Failure::Unknown(_))), "{answer:?}");
    let attempt = placed.attempt(4, 1);
    charge.undo(&shop.payments, &attempt, Outcome::Unknown).await.unwrap_done();
    // The same request again is what comes late.
    let late = charge.run(&shop.payments, &placed.attempt(4, 2)).await;
    assert!(matches!(late, Err(Failure::Rejected(_))), "{late:?}");
    assert_eq!(shop.intents(&placed).await[0].status, IntentStatus::Canceled);
    assert_eq!(shop.ledger(&placed).await, (0, 0));
    assert_eq!(shop.book(&placed).await.status, "voided");
}

#[tokio::test]
async fn a_refund_whose_answer_is_lost_is_given_back_once() {
    for kind in [
        "timeout_after",
        "timeout_before",
        "reset_after",
        "error_500_committed",
        "error_500_not_committed",
        "error_503",
        "rate_limit_429",
    ] {
        let shop = Shop::with_faults(once("refund", kind)).await;
        let (placed, charge, answer) = shop.charge("pm_card_visa").await;
        let captured = answer.unwrap();
        let mut number = 0;
        loop {
            number += 1;
            assert!(number < 10, "{kind}: it does not end");
            let attempt = placed.attempt(4, number);
            let undo = charge.undo(&shop.payments, &attempt, Outcome::Done(&captured)).await;
            match undo {
                Ok(()) => break,
                Err(UndoFailure::Retry(_)) => {}
                Err(UndoFailure::Stuck(trouble)) => panic!("{kind}: {trouble:?}"),
            }
            // Another key would have a first attempt too.
            shop.faults(json!({})).await;
        }
        assert!(number > 1, "{kind}: nothing went wrong");
        assert_eq!(shop.ledger(&placed).await, (4200, 4200), "{kind}");
        assert_eq!(shop.book(&placed).await.refunded, 4200, "{kind}");
    }
}

#[tokio::test]
async fn a_refund_that_is_on_its_way_counts_as_given_back() {
    let shop = Shop::open().await;
    let (placed, charge, answer) = shop.charge("pm_card_pendingRefund").await;
    let captured: Charge = answer.unwrap();
    for number in 1..3 {
        let attempt = placed.attempt(4, number);
        charge.undo(&shop.payments, &attempt, Outcome::Done(&captured)).await.unwrap_done();
    }
    let refunds = shop.payments.gateway.list_refunds(&charge.intent_id, soon()).await.unwrap();
    assert_eq!(refunds.len(), 1);
}

#[tokio::test]
async fn a_refund_that_comes_back_waits_for_a_person() {
    let shop = Shop::open().await;
    let (placed, charge, answer) = shop.charge("pm_card_refundFail").await;
    let captured = answer.unwrap();
    let stuck = tokio::time::timeout_at(soon(), async {
        for number in 1.. {
            let attempt = placed.attempt(4, number);
            let undo = charge.undo(&shop.payments, &attempt, Outcome::Done(&captured)).await;
            if let Err(UndoFailure::Stuck(trouble)) = undo {
                return trouble;
            }
        }
        unreachable!()
    });
    assert_eq!(stuck.await.unwrap().code, "refund_failed");
}

/// `UndoFailure` is no error that `unwrap` can show.
trait UnwrapDone {
    fn unwrap_done(self);
}

impl UnwrapDone for Result<(), UndoFailure> {
    fn unwrap_done(self) {
        assert!(self.is_ok(), "{self:?}");
    }
}
