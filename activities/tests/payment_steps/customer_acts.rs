//! 3-D Secure: the customer authenticates, fails to, or never comes.

use activities::payment_gateway::answer::GatewayFailure;
use activities::{Charge, ChargePayment, ChargeStage};
use engine::{Activity, Probe};

use crate::charges::rejection;
use crate::shop::{Placed, Shop, soon};

async fn waiting(shop: &Shop, card: &str) -> (Placed, ChargePayment) {
    let (placed, charge, answer) = shop.charge(card).await;
    let Ok(Charge::RequiresAction { url: Some(url) }) = answer else { panic!("{answer:?}") };
    assert!(url.contains(&charge.intent_id), "{url}");
    let book = shop.book(&placed).await;
    assert_eq!(book.status, "requires_action");
    assert_eq!(book.action_url, Some(url));
    (placed, charge)
}

fn then(charge: &ChargePayment, stage: ChargeStage) -> ChargePayment {
    ChargePayment { stage, ..charge.clone() }
}

#[tokio::test]
async fn a_customer_who_authenticates_is_charged_once() {
    let shop = Shop::open().await;
    let (placed, charge) = waiting(&shop, "pm_card_authenticationRequired").await;
    let after = then(&charge, ChargeStage::AfterAction);
    // Asked too early, it waits on.
    let answer = after.run(&shop.payments, &placed.attempt(5, 1)).await;
    assert!(matches!(answer, Ok(Charge::RequiresAction { .. })), "{answer:?}");
    shop.authenticate(&charge.intent_id, "succeeded").await;
    let answer = after.run(&shop.payments, &placed.attempt(6, 1)).await;
    assert!(matches!(answer, Ok(Charge::Captured { .. })), "{answer:?}");
    assert_eq!(shop.ledger(&placed).await, (4200, 0));
    let book = shop.book(&placed).await;
    assert_eq!((book.status.as_str(), book.action_url), ("captured", None));
}

#[tokio::test]
async fn a_customer_who_fails_to_authenticate_is_never_charged() {
    for (card, outcome, code) in [
        ("pm_card_authenticationRequired", "failed", "payment_intent_authentication_failure"),
        ("pm_card_threeDSecureRequiredChargeDeclined", "succeeded", "generic_decline"),
    ] {
        let shop = Shop::open().await;
        let (placed, charge) = waiting(&shop, card).await;
        shop.authenticate(&charge.intent_id, outcome).await;
        let after = then(&charge, ChargeStage::AfterAction);
        let rejection = rejection(after.run(&shop.payments, &placed.attempt(5, 1)).await);
        assert_eq!(rejection.code, "card_declined");
        assert_eq!(rejection.details.unwrap()["decline_code"], code);
        assert_eq!(shop.book(&placed).await.decline_code.as_deref(), Some(code));
        let late =
            shop.payments.gateway.confirm(&charge.intent_id, "pm_card_visa", None, "x", soon());
        assert!(matches!(late.await, Err(GatewayFailure::UnexpectedState(_))));
        assert_eq!(shop.ledger(&placed).await, (0, 0));
    }
}

#[tokio::test]
async fn a_customer_who_never_comes_can_not_be_charged_later() {
    let shop = Shop::open().await;
    let (placed, charge) = waiting(&shop, "pm_card_authenticationRequired").await;
    let give_up = then(&charge, ChargeStage::GiveUp);
    let first = rejection(give_up.run(&shop.payments, &placed.attempt(5, 1)).await);
    assert_eq!(first.code, "authentication_timeout");
    let again = rejection(give_up.run(&shop.payments, &placed.attempt(5, 2)).await);
    assert_eq!(again, first);
    let late = shop.payments.gateway.confirm(&charge.intent_id, "pm_card_visa", None, "x", soon());
    assert!(matches!(late.await, Err(GatewayFailure::UnexpectedState(_))));
    assert_eq!(shop.ledger(&placed).await, (0, 0));
}

#[tokio::test]
async fn a_customer_who_comes_in_the_last_moment_has_paid() {
    let shop = Shop::open().await;
    let (placed, charge) = waiting(&shop, "pm_card_authenticationRequired").await;
    shop.authenticate(&charge.intent_id, "succeeded").await;
    let give_up = then(&charge, ChargeStage::GiveUp);
    let answer = give_up.run(&shop.payments, &placed.attempt(5, 1)).await;
    assert!(matches!(answer, Ok(Charge::Captured { .. })), "{answer:?}");
    assert_eq!(shop.ledger(&placed).await, (4200, 0));
}

#[tokio::test]
async fn a_confirm_whose_answer_was_lost_finds_that_the_customer_must_act() {
    let shop = Shop::with_faults(crate::shop::once("confirm", "reset_after")).await;
    let (placed, charge, answer) = shop.charge("pm_card_authenticationRequired").await;
    assert!(answer.is_err(), "{answer:?}");
    let probe = charge.probe(&shop.payments, &placed.attempt(4, 1)).await.unwrap();
    assert!(matches!(probe, Probe::Happened(Charge::RequiresAction { .. })), "{probe:?}");
    // The kept answer is old by now.
    shop.authenticate(&charge.intent_id, "succeeded").await;
    let after = then(&charge, ChargeStage::AfterAction);
    let answer = after.run(&shop.payments, &placed.attempt(5, 1)).await;
    assert!(matches!(answer, Ok(Charge::Captured { .. })), "{answer:?}");
    assert_eq!(shop.ledger(&placed).await, (4200, 0));
}
