//! What an idempotency key promises.

use futures_util::future::join_all;

use crate::gateway::{Gateway, confirm_path, plan, read};

#[tokio::test]
async fn the_same_key_gets_the_same_answer() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    assert_eq!(gateway.create("a").await, id, "create");
    for card in ["pm_card_chargeDeclined", "pm_card_visa"] {
        let first = gateway.confirm(&id, card, card).await;
        let second = gateway.confirm(&id, card, card).await;
        assert!(!first.replayed && second.replayed);
        assert_eq!((first.status, first.body), (second.status, second.body));
    }
    assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
    assert_eq!(gateway.ledger_lines("declined", &id).len(), 1);
}

#[tokio::test]
async fn a_key_refuses_other_parameters() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    gateway.confirm(&id, "k", "pm_card_chargeDeclined").await;
    let other_card = gateway.confirm(&id, "k", "pm_card_visa").await;
    let other_call = gateway.post(&format!("/v1/payment_intents/{id}/cancel"), "k", &[]).await;
    for answer in [other_card, other_call] {
        assert_eq!(answer.status, 400);
        assert_eq!(answer.body["error"]["type"], "idempotency_error");
    }
    assert_eq!(gateway.intent(&id).await["status"], "requires_payment_method");
}

#[tokio::test]
async fn a_key_that_failed_validation_is_not_used_up() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    assert_eq!(gateway.confirm(&id, "k", "pm_card_unheardOf").await.status, 400);
    assert_eq!(gateway.confirm(&id, "k", "pm_card_visa").await.status, 200);
}

#[tokio::test]
async fn a_429_and_a_503_are_not_remembered() {
    for (kind, status) in [("rate_limit_429", 429), ("error_503", 503)] {
        let rule = format!(r#"{{"op":"confirm","kind":"{kind}","attempts_max":1}}"#);
        let gateway = Gateway::with(plan(&format!(r#"{{"rules":[{rule}]}}"#))).await;
        let id = gateway.create("a").await;
        let first = gateway.confirm(&id, "k", "pm_card_visa").await;
        assert_eq!(first.status, status);
        assert_eq!(first.retry_after.is_some(), status == 429);
        assert!(gateway.ledger().is_empty());
        let second = gateway.confirm(&id, "k", "pm_card_visa").await;
        assert_eq!((second.status, second.replayed), (200, false));
    }
}

#[tokio::test]
async fn a_500_is_remembered_whether_it_charged_or_not() {
    for (kind, status, charges) in [
        ("error_500_committed", "succeeded", 1),
        ("error_500_not_committed", "requires_payment_method", 0),
    ] {
        let rule = format!(r#"{{"op":"confirm","kind":"{kind}","attempts_max":1}}"#);
        let gateway = Gateway::with(plan(&format!(r#"{{"rules":[{rule}]}}"#))).await;
        let id = gateway.create("a").await;
        assert_eq!(gateway.confirm(&id, "k", "pm_card_visa").await.status, 500);
        let again = gateway.confirm(&id, "k", "pm_card_visa").await;
        assert_eq!((again.status, again.replayed), (500, true), "{kind}");
        assert_eq!(gateway.intent(&id).await["status"], status);
        assert_eq!(gateway.ledger_lines("captured", &id).len(), charges);
        assert_eq!(gateway.injected(kind).await, 1);
    }
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_and_the_intent_still_guards_itself() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    gateway.confirm(&id, "k", "pm_card_visa").await;
    gateway.control("/_sim/clock", r#"{"advance_seconds":86000}"#).await;
    assert!(gateway.confirm(&id, "k", "pm_card_visa").await.replayed);
    gateway.control("/_sim/clock", r#"{"advance_seconds":500}"#).await;
    assert_ne!(gateway.create("a").await, id, "a fused call would charge again");
    let late = gateway.confirm(&id, "k", "pm_card_visa").await;
    assert_eq!((late.status, late.replayed), (400, false));
    assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
}

#[tokio::test]
async fn a_key_in_flight_is_in_use() {
    let rule = r#"{"op":"confirm","kind":"latency","millis":60000,"attempts_max":1}"#;
    let gateway = Gateway::with(plan(&format!(r#"{{"rules":[{rule}]}}"#))).await;
    let id = gateway.create("a").await;
    let slow = gateway.request(&confirm_path(&id), "k", &[("payment_method", "pm_card_visa")]);
    let slow = tokio::spawn(slow.send());
    while gateway.injected("latency").await == 0 {
        tokio::task::yield_now().await;
    }
    let second = gateway.confirm(&id, "k", "pm_card_visa").await;
    assert_eq!(
        (second.status, &second.body["error"]["code"]),
        (409, &"idempotency_key_in_use".into())
    );
    // The first is cut by the stop, executes nothing and leaves nothing behind.
    let gateway = gateway.restart().await;
    assert!(slow.await.unwrap().is_err());
    assert_eq!(gateway.confirm(&id, "k", "pm_card_visa").await.status, 200);
    assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_with_one_key_charge_once() {
    for latency in ["", r#"{"op":"confirm","kind":"latency","probability":0.5,"millis":20}"#] {
        let gateway = Gateway::with(plan(&format!(r#"{{"rules":[{latency}]}}"#))).await;
        let id = gateway.create("a").await;
        let requests = (0..64).map(|_| {
            gateway.request(&confirm_path(&id), "k", &[("payment_method", "pm_card_visa")]).send()
        });
        let mut fresh = 0;
        for response in join_all(requests).await {
            let answer = read(response.unwrap()).await;
            match answer.status {
                200 => fresh += u32::from(!answer.replayed),
                409 => {}
                other => panic!("{other}: {:?}", answer.body),
            }
        }
        assert_eq!(fresh, 1);
        assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_at_once_charge_an_intent_once() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    let keys: Vec<_> = (0..64).map(|n| n.to_string()).collect();
    let answers = join_all(keys.iter().map(|key| gateway.confirm(&id, key, "pm_card_visa"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
}
