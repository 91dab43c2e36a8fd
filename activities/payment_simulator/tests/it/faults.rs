//! What goes wrong on purpose goes wrong in exactly that way.

use crate::gateway::{Gateway, confirm_path, plan};

async fn with_rule(rule: &str) -> Gateway {
    Gateway::with(plan(&format!(r#"{{"rules":[{rule}]}}"#))).await
}

/// Confirms with a good card; true if there was an answer of any status.
async fn answered(gateway: &Gateway, id: &str, key: &str) -> bool {
    let form = [("payment_method", "pm_card_visa")];
    gateway.request(&confirm_path(id), key, &form).send().await.is_ok()
}

#[tokio::test]
async fn a_timeout_or_reset_after_the_effect_did_charge() {
    for (kind, millis) in [("timeout_after", r#","millis":50"#), ("reset_after", "")] {
        let rule = format!(r#"{{"op":"confirm","kind":"{kind}","attempts_max":1{millis}}}"#);
        let gateway = with_rule(&rule).await;
        let id = gateway.create("a").await;
        assert!(!answered(&gateway, &id, "k").await, "a transport error, not a status");
        assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
        assert_eq!(gateway.intent(&id).await["status"], "succeeded");
        let again = gateway.confirm(&id, "k", "pm_card_visa").await;
        assert_eq!((again.status, again.replayed), (200, true));
        assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
        assert_eq!(gateway.injected(kind).await, 1);
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_has_charged_all_the_same() {
    let gateway = with_rule(r#"{"op":"confirm","kind":"latency","millis":200}"#).await;
    let id = gateway.create("a").await;
    let form = [("payment_method", "pm_card_visa")];
    let hasty = gateway.request(&confirm_path(&id), "k", &form);
    let hasty = hasty.timeout(std::time::Duration::from_millis(50)).send().await;
    assert!(hasty.unwrap_err().is_timeout());
    gateway.until_status(&id, "succeeded").await;
}

#[tokio::test]
async fn a_timeout_before_the_effect_charged_nothing() {
    let rule = r#"{"op":"confirm","kind":"timeout_before","millis":50,"attempts_max":1}"#;
    let gateway = with_rule(rule).await;
    let id = gateway.create("a").await;
    assert!(!answered(&gateway, &id, "k").await);
    assert!(gateway.ledger().is_empty());
    assert!(!gateway.confirm(&id, "k", "pm_card_visa").await.replayed);
}

#[tokio::test]
async fn a_lost_request_lands_later() {
    let rule = r#"{"op":"confirm","kind":"late_delivery","millis":100}"#;
    let gateway = with_rule(rule).await;
    let id = gateway.create("a").await;
    assert!(!answered(&gateway, &id, "k").await);
    assert_eq!(gateway.intent(&id).await["status"], "requires_payment_method");
    gateway.until_status(&id, "succeeded").await;
    assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
}

#[tokio::test]
async fn a_lost_request_that_lands_after_the_cancel_moves_no_money() {
    let rule = r#"{"op":"confirm","kind":"late_delivery","millis":100,"attempts_max":1}"#;
    let gateway = with_rule(rule).await;
    let id = gateway.create("a").await;
    assert!(!answered(&gateway, &id, "k").await);
    gateway.post(&format!("/v1/payment_intents/{id}/cancel"), "c", &[]).await;
    // The late one has landed when its key answers: it was refused.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !gateway.confirm(&id, "k", "pm_card_visa").await.replayed {
        assert!(std::time::Instant::now() < deadline);
    }
    assert_eq!(gateway.intent(&id).await["status"], "canceled");
    assert!(gateway.ledger().is_empty());
}

#[tokio::test]
async fn a_good_card_is_declined_challenged_or_left_processing() {
    let gateway = with_rule(r#"{"kind":"decline","code":"insufficient_funds"}"#).await;
    let id = gateway.create("a").await;
    let answer = gateway.confirm(&id, "k", "pm_card_visa").await;
    assert_eq!(answer.status, 402);
    assert_eq!(answer.body["error"]["decline_code"], "insufficient_funds");

    gateway.faults(r#"{"rules":[{"op":"confirm","kind":"require_action"}]}"#).await;
    let answer = gateway.confirm(&id, "k2", "pm_card_visa").await;
    assert_eq!(answer.body["status"], "requires_action");

    gateway.faults(r#"{"rules":[{"op":"confirm","kind":"processing","millis":50}]}"#).await;
    let answer = gateway.confirm(&id, "k3", "pm_card_visa").await;
    assert_eq!(answer.body["status"], "processing");
    gateway.until_status(&id, "succeeded").await;
    assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
}

#[tokio::test]
async fn an_outage_executes_nothing() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    let outage = |answer: &str| {
        format!(r#"{{"outages":[{{"from_seconds":0,"to_seconds":600,"answer":"{answer}"}}]}}"#)
    };
    gateway.faults(&outage("error_503")).await;
    assert_eq!(gateway.confirm(&id, "k", "pm_card_visa").await.status, 503);
    gateway.faults(&outage("refused")).await;
    assert!(!answered(&gateway, &id, "k").await);
    gateway.faults("{}").await;
    assert!(gateway.ledger().is_empty());
    assert!(!gateway.confirm(&id, "k", "pm_card_visa").await.replayed);
    assert_eq!(gateway.injected("outage").await, 2);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let rules = r#"{"rules":[{"op":"confirm","kind":"decline","probability":0.3},
        {"op":"confirm","kind":"error_503","probability":0.2},
        {"op":"confirm","kind":"reset_after","probability":0.2}]}"#;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let gateway = Gateway::start().await;
        let mut run = Vec::new();
        let ids = {
            let mut ids = Vec::new();
            for n in 0..40 {
                ids.push(gateway.create(&n.to_string()).await);
            }
            ids
        };
        gateway.faults(rules).await;
        for (n, id) in ids.iter().enumerate() {
            let form = [("payment_method", "pm_card_visa")];
            for _ in 0..2 {
                let request = gateway.request(&confirm_path(id), &format!("o/{n}/confirm"), &form);
                run.push(request.send().await.map_or(0, |answer| answer.status().as_u16()));
            }
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    for status in [0, 200, 402, 503] {
        assert!(runs[0].contains(&status), "{status} is not among {:?}", runs[0]);
    }
}

#[tokio::test]
async fn a_plan_that_is_wrong_changes_nothing() {
    let gateway = with_rule(r#"{"kind":"error_503"}"#).await;
    for bad in ["", "{", r#"{"rules":[{"kind":"meteor"}]}"#, r#"{"outages":[{}]}"#] {
        let url = gateway.simulator.url() + "/_sim/faults";
        let answer = gateway.client.post(url).body(bad).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{bad}");
    }
    assert_eq!(gateway.get("/_sim/faults").await.body["plan"]["rules"][0]["kind"], "error_503");
}
