//! Charging: once, or not at all.

use activities::payment_gateway::answer::GatewayFailure;
use activities::payment_gateway::intent::IntentStatus;
use activities::{Charge, ChargePayment};
use engine::{Activity, Failure, Probe, Rejection};
use serde_json::json;

use crate::shop::{Placed, Shop, once, soon};

pub(crate) fn rejection<T: std::fmt::Debug>(answer: Result<T, Failure>) -> Rejection {
    match answer {
        Err(Failure::Rejected(rejection)) => rejection,
        other => panic!("not rejected: {other:?}"),
    }
}

fn is_captured(answer: &Charge, placed: &Placed) {
    let Charge::Captured { charge_id, amount } = answer else { panic!("{answer:?}") };
    assert!(charge_id.as_ref().is_some_and(|id| id.starts_with("ch_")), "{charge_id:?}");
    assert_eq!(*amount, placed.amount);
}

/// Tries until the step ends, as the engine does: asks before it repeats after a doubt.
async fn to_the_end(
    shop: &Shop,
    placed: &Placed,
    charge: &ChargePayment,
) -> Result<Charge, Failure> {
    let mut number = 0;
    loop {
        number += 1;
        assert!(number < 20, "it does not end");
        let attempt = placed.attempt(4, number);
        let answer = charge.run(&shop.payments, &attempt).await;
        let Err(Failure::Unknown(_)) = answer else { return answer };
        if let Ok(Probe::Happened(charge)) = charge.probe(&shop.payments, &attempt).await {
            return Ok(charge);
        }
    }
}

#[tokio::test]
async fn a_card_is_charged_once_however_often_the_steps_are_repeated() {
    let shop = Shop::open().await;
    let (placed, charge, answer) = shop.charge("pm_card_visa").await;
    let answer = answer.unwrap();
    is_captured(&answer, &placed);
    for number in 2..4 {
        let again = placed.prepare().run(&shop.payments, &placed.attempt(3, number)).await;
        assert_eq!(again.unwrap().intent_id, charge.intent_id);
        let again = charge.run(&shop.payments, &placed.attempt(4, number)).await;
        assert_eq!(again.unwrap(), answer);
    }
    assert_eq!(shop.ledger(&placed).await, (4200, 0));
    assert_eq!(shop.intents(&placed).await.len(), 1);
    let book = shop.book(&placed).await;
    assert_eq!((book.status.as_str(), book.captured, book.refunded), ("captured", 4200, 0));
}

#[tokio::test]
async fn a_declined_card_is_never_charged() {
    let shop = Shop::open().await;
    let (placed, charge, answer) = shop.charge("pm_card_chargeDeclinedInsufficientFunds").await;
    let first = rejection(answer);
    assert_eq!(first.code, "card_declined");
    assert_eq!(first.details, Some(json!({ "decline_code": "insufficient_funds" })));
    let again = charge.run(&shop.payments, &placed.attempt(4, 2)).await;
    assert_eq!(rejection(again), first);
    // Not even by a request that comes late, with a good card and under another key.
    let late =
        shop.payments.gateway.confirm(&charge.intent_id, "pm_card_visa", None, "late", soon());
    let Err(GatewayFailure::UnexpectedState(intent)) = late.await else { panic!() };
    assert_eq!(intent.status, IntentStatus::Canceled);
    assert_eq!(shop.ledger(&placed).await, (0, 0));
    let book = shop.book(&placed).await;
    assert_eq!(book.status, "declined");
    assert_eq!(book.decline_code.as_deref(), Some("insufficient_funds"));
}

#[tokio::test]
async fn a_charge_whose_answer_is_lost_is_settled_as_captured_by_asking() {
    for kind in ["timeout_after", "reset_after", "error_500_committed"] {
        let shop = Shop::with_faults(once("confirm", kind)).await;
        let (placed, charge, answer) = shop.charge("pm_card_visa").await;
        let Err(Failure::Unknown(trouble)) = answer else { panic!("{kind}: {answer:?}") };
        assert!(!trouble.not_executed, "{kind}");
        assert_eq!(shop.book(&placed).await.status, "unknown", "{kind}");

        let probe = charge.probe(&shop.payments, &placed.attempt(4, 1)).await.unwrap();
        let Probe::Happened(found) = probe else { panic!("{kind}: {probe:?}") };
        is_captured(&found, &placed);
        let again = charge.run(&shop.payments, &placed.attempt(4, 2)).await;
        assert_eq!(again.unwrap(), found, "{kind}");
        assert_eq!(shop.ledger(&placed).await, (4200, 0), "{kind}");
        assert_eq!(shop.book(&placed).await.status, "captured", "{kind}");
    }
}

#[tokio::test]
async fn a_charge_that_did_not_reach_the_gateway_is_repeated_and_charges_once() {
    for kind in ["timeout_before", "error_500_not_committed", "error_503", "rate_limit_429"] {
        let shop = Shop::with_faults(once("confirm", kind)).await;
        let (placed, charge, answer) = shop.charge("pm_card_visa").await;
        assert!(matches!(answer, Err(Failure::Unknown(_) | Failure::Retry(_))), "{kind}");
        // It could still be charged, so nobody may say that it was not.
        let probe = charge.probe(&shop.payments, &placed.attempt(4, 1)).await.unwrap();
        assert!(matches!(probe, Probe::CanNotTell), "{kind}: {probe:?}");
        // Another key would have a first attempt too.
        shop.faults(json!({})).await;
        is_captured(&to_the_end(&shop, &placed, &charge).await.unwrap(), &placed);
        assert_eq!(shop.ledger(&placed).await, (4200, 0), "{kind}");
    }
}

#[tokio::test]
async fn a_charge_that_is_delivered_late_charges_once() {
    let faults = json!({ "rules": [
        { "op": "confirm", "kind": "late_delivery", "attempts_max": 1, "millis": 200 }
    ] });
    let shop = Shop::with_faults(faults).await;
    let (placed, charge, answer) = shop.charge("pm_card_visa").await;
    assert!(matches!(answer, Err(Failure::Unknown(_))), "{answer:?}");
    is_captured(&to_the_end(&shop, &placed, &charge).await.unwrap(), &placed);
    assert_eq!(shop.ledger(&placed).await, (4200, 0));
}

#[tokio::test]
async fn a_decline_whose_answer_is_lost_is_still_a_decline() {
    for kind in ["timeout_after", "reset_after", "error_500_committed"] {
        let shop = Shop::with_faults(once("confirm", kind)).await;
        let (placed, charge, answer) = shop.charge("pm_card_chargeDeclinedLostCard").await;
        assert!(matches!(answer, Err(Failure::Unknown(_))), "{kind}: {answer:?}");
        let rejection = rejection(to_the_end(&shop, &placed, &charge).await);
        assert_eq!(rejection.details, Some(json!({ "decline_code": "lost_card" })), "{kind}");
        assert_eq!(shop.intents(&placed).await[0].status, IntentStatus::Canceled, "{kind}");
    }
}

#[tokio::test]
async fn a_decline_is_not_recorded_before_the_intent_is_cancelled() {
    let shop = Shop::with_faults(once("cancel", "error_503")).await;
    let (placed, charge, answer) = shop.charge("pm_card_chargeDeclined").await;
    let Err(Failure::Unknown(trouble)) = answer else { panic!("{answer:?}") };
    assert!(!trouble.not_executed);
    assert_eq!(shop.book(&placed).await.status, "created");
    assert_eq!(rejection(to_the_end(&shop, &placed, &charge).await).code, "card_declined");
    assert_eq!(shop.intents(&placed).await[0].status, IntentStatus::Canceled);
}

#[tokio::test]
async fn a_payment_that_the_bank_is_deciding_on_is_waited_for() {
    for (card, is_good) in [("pm_card_visa", true), ("pm_card_chargeDeclined", false)] {
        let faults = json!({ "rules": [
            { "op": "confirm", "kind": "processing", "millis": 300 }
        ] });
        let shop = Shop::with_faults(faults).await;
        let (placed, charge, answer) = shop.charge(card).await;
        if is_good {
            let Err(Failure::Unknown(trouble)) = &answer else { panic!("{answer:?}") };
            assert_eq!(trouble.code, "payment_processing");
            assert_eq!(shop.book(&placed).await.status, "processing");
        }
        let end = tokio::time::timeout_at(soon(), async {
            let mut answer = answer;
            // The answer that is kept under the key says `processing` for ever.
            for number in 2.. {
                let Err(Failure::Unknown(_)) = answer else { break };
                answer = charge.run(&shop.payments, &placed.attempt(4, number)).await;
            }
            answer
        });
        match end.await.unwrap() {
            Ok(answer) => is_captured(&answer, &placed),
            answer => assert_eq!(rejection(answer).code, "card_declined"),
        }
        let captured = if is_good { 4200 } else { 0 };
        assert_eq!(shop.ledger(&placed).await, (captured, 0), "{card}");
    }
}

#[tokio::test]
async fn an_authorized_payment_is_captured() {
    let shop = Shop::with_faults(once("capture", "error_500_not_committed")).await;
    let placed = shop.place(4200).await;
    let order_id = placed.order_id.to_string();
    let intent = shop
        .post_form(
            "/v1/payment_intents",
            &[
                ("amount", "4200"),
                ("currency", "usd"),
                ("capture_method", "manual"),
                ("metadata[order_id]", &order_id),
            ],
        )
        .await;
    let charge = placed.charge(intent["id"].as_str().unwrap(), "pm_card_visa");
    let answer = charge.run(&shop.payments, &placed.attempt(4, 1)).await;
    assert!(matches!(answer, Err(Failure::Unknown(_))), "{answer:?}");
    shop.faults(json!({})).await;
    is_captured(&to_the_end(&shop, &placed, &charge).await.unwrap(), &placed);
    assert_eq!(shop.ledger(&placed).await, (4200, 0));
    assert_eq!(shop.book(&placed).await.captured, 4200);
}

#[tokio::test]
async fn an_amount_below_the_gateways_minimum_is_rejected_before_anything_moves() {
    let shop = Shop::open().await;
    for cents in [1, 49] {
        let placed = shop.place(cents).await;
        let answer = placed.prepare().run(&shop.payments, &placed.attempt(3, 1)).await;
        assert_eq!(rejection(answer).code, "amount_too_small");
        assert!(shop.intents(&placed).await.is_empty());
    }
}

#[tokio::test]
async fn a_payment_method_that_nobody_knows_is_the_customers_mistake() {
    let shop = Shop::open().await;
    let (placed, _, answer) = shop.charge("pm_card_nobody").await;
    assert_eq!(rejection(answer).code, "invalid_payment_method");
    assert_eq!(shop.intents(&placed).await[0].status, IntentStatus::Canceled);
}

#[tokio::test]
async fn a_prepare_whose_answer_is_lost_makes_one_intent() {
    for kind in ["timeout_after", "reset_after", "error_500_committed", "error_500_not_committed"] {
        let shop = Shop::with_faults(once("create", kind)).await;
        let placed = shop.place(4200).await;
        let answer = placed.prepare().run(&shop.payments, &placed.attempt(3, 1)).await;
        assert!(matches!(answer, Err(Failure::Unknown(_))), "{kind}: {answer:?}");
        let mut answer = placed.prepare().run(&shop.payments, &placed.attempt(3, 2)).await;
        if kind == "error_500_not_committed" {
            // The next key has a first attempt too.
            assert!(matches!(answer, Err(Failure::Unknown(_))), "{kind}: {answer:?}");
            shop.faults(json!({})).await;
            answer = placed.prepare().run(&shop.payments, &placed.attempt(3, 3)).await;
        }
        let prepared = answer.unwrap();
        let intents = shop.intents(&placed).await;
        assert_eq!(intents.len(), 1, "{kind}");
        assert_eq!(intents[0].id, prepared.intent_id, "{kind}");
    }
}

#[tokio::test]
async fn an_outage_parks_the_step_without_burning_its_attempts() {
    let shop = Shop::open().await;
    let (placed, charge) = shop.prepare("pm_card_visa").await;
    shop.faults(json!({ "rules": [{ "op": "any", "kind": "error_503" }] })).await;
    for number in 1..=5 {
        let answer = charge.run(&shop.payments, &placed.attempt(4, number)).await;
        assert!(matches!(answer, Err(Failure::Unknown(_))), "{answer:?}");
    }
    let answer = charge.run(&shop.payments, &placed.attempt(4, 6)).await;
    let Err(Failure::Retry(trouble)) = answer else { panic!("{answer:?}") };
    assert_eq!(trouble.code, "gateway_unavailable");
    assert!(trouble.not_executed && !trouble.counted);
    assert!(trouble.after.is_some_and(|after| after.as_secs() >= 50), "{trouble:?}");
}

#[tokio::test]
async fn a_reservation_that_was_taken_back_is_not_paid() {
    let shop = Shop::open().await;
    let placed = shop.place(4200).await;
    let released = shop.payments.inventory.release(&placed.attempt(1, 1), placed.order_id).await;
    assert!(released.is_ok(), "{released:?}");
    let answer = placed.prepare().run(&shop.payments, &placed.attempt(3, 1)).await;
    assert_eq!(rejection(answer).code, "reservation_released");
    assert!(shop.intents(&placed).await.is_empty());
}

#[tokio::test]
async fn many_sagas_at_once_are_each_charged_once() {
    let shop = Shop::open().await;
    let shop = std::sync::Arc::new(shop);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let shop = shop.clone();
        running.spawn(async move {
            let (placed, _, answer) = shop.charge("pm_card_visa").await;
            is_captured(&answer.unwrap(), &placed);
            placed
        });
    }
    for placed in running.join_all().await {
        assert_eq!(shop.ledger(&placed).await, (4200, 0));
        assert_eq!(shop.book(&placed).await.captured, 4200);
    }
}
