//! What an intent can and can never do.

use payment_simulator::{Error, FaultPlan, Simulator};

use crate::gateway::{Gateway, client, confirm_path, options};

#[tokio::test]
async fn a_good_card_is_charged_and_the_answer_reads_like_stripe() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    let answer = gateway.confirm(&id, "k", "pm_card_visa").await;
    assert_eq!(answer.status, 200);
    let intent = &answer.body;
    assert_eq!(intent["object"], "payment_intent");
    assert_eq!(intent["status"], "succeeded");
    assert_eq!(intent["amount_received"], 500);
    assert!(intent["latest_charge"].as_str().unwrap().starts_with("ch_"));
    assert_eq!(*intent, gateway.intent(&id).await);
    let expanded = gateway.get(&format!("/v1/payment_intents/{id}?expand[]=latest_charge")).await;
    assert_eq!(expanded.body["latest_charge"]["amount_captured"], 500);
}

#[tokio::test]
async fn an_authorization_is_captured_or_let_go() {
    let gateway = Gateway::start().await;
    let id = gateway.create_with("a", "manual").await;
    let answer = gateway.confirm(&id, "k1", "pm_card_mastercard").await;
    assert_eq!(answer.body["status"], "requires_capture");
    assert_eq!(answer.body["amount_capturable"], 500);
    let capture = format!("/v1/payment_intents/{id}/capture");
    let answer = gateway.post(&capture, "k2", &[("amount_to_capture", "501")]).await;
    assert_eq!((answer.status, &answer.body["error"]["code"]), (400, &"amount_too_large".into()));
    let answer = gateway.post(&capture, "k3", &[("amount_to_capture", "400")]).await;
    assert_eq!(answer.body["amount_received"], 400);

    let other = gateway.create_with("b", "manual").await;
    gateway.confirm(&other, "k4", "pm_card_visa").await;
    let cancel = format!("/v1/payment_intents/{other}/cancel");
    let answer = gateway.post(&cancel, "k5", &[("cancellation_reason", "abandoned")]).await;
    assert_eq!(answer.body["status"], "canceled");
    assert_eq!(gateway.ledger_lines("voided", &other)[0]["amount_minor"], 500);
    let sums = gateway.get("/_sim/ledger").await.body;
    assert_eq!(sums["orders"]["a"]["captured"], 400);
    assert_eq!(sums["orders"].get("b"), None);
}

#[tokio::test]
async fn a_canceled_intent_can_never_charge() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    let cancel = format!("/v1/payment_intents/{id}/cancel");
    assert_eq!(gateway.post(&cancel, "c", &[]).await.body["status"], "canceled");
    for (key, card) in [("k1", "pm_card_visa"), ("k2", "pm_card_authenticationRequired")] {
        let answer = gateway.confirm(&id, key, card).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.body["error"]["code"], "payment_intent_unexpected_state");
        assert_eq!(answer.body["error"]["payment_intent"]["status"], "canceled");
    }
    let capture = format!("/v1/payment_intents/{id}/capture");
    assert_eq!(gateway.post(&capture, "k3", &[]).await.status, 400);
    assert!(gateway.ledger().is_empty());
}

#[tokio::test]
async fn a_succeeded_intent_is_neither_canceled_nor_charged_again() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    gateway.confirm(&id, "k1", "pm_card_visa").await;
    for (step, key) in [("confirm", "k2"), ("cancel", "k3"), ("capture", "k4")] {
        let path = format!("/v1/payment_intents/{id}/{step}");
        let form: &[_] =
            if step == "confirm" { &[("payment_method", "pm_card_visa")] } else { &[] };
        let error = gateway.post(&path, key, form).await.body["error"].clone();
        assert_eq!(error["code"], "payment_intent_unexpected_state", "{step}");
        assert_eq!(error["payment_intent"]["status"], "succeeded");
    }
    assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
}

#[tokio::test]
async fn a_declined_intent_can_be_confirmed_with_another_card() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    for (card, code, decline_code) in [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedFraudulent", "card_declined", "fraudulent"),
    ] {
        let answer = gateway.confirm(&id, card, card).await;
        let error = &answer.body["error"];
        assert_eq!((answer.status, &error["type"]), (402, &"card_error".into()));
        assert_eq!((&error["code"], &error["decline_code"]), (&code.into(), &decline_code.into()));
        assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
        assert_eq!(gateway.intent(&id).await["last_payment_error"]["code"], code);
    }
    assert_eq!(gateway.ledger_lines("declined", &id).len(), 4);
    assert_eq!(gateway.confirm(&id, "good", "pm_card_amex").await.body["status"], "succeeded");
}

#[tokio::test]
async fn a_challenge_waits_for_the_customer() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    let card = ("payment_method", "pm_card_threeDSecure2Required");
    let back = ("return_url", "https://shop.example/paid");
    let answer = gateway.post(&confirm_path(&id), "k", &[card, back]).await;
    assert_eq!(answer.body["status"], "requires_action");
    let url = answer.body["next_action"]["redirect_to_url"]["url"].as_str().unwrap().to_owned();
    assert!(client().get(&url).send().await.unwrap().status().is_success());

    let path = format!("/_sim/payment_intents/{id}/authenticate");
    let failed = gateway.control(&(path.clone() + "?outcome=failed"), "").await;
    assert_eq!(failed["status"], "requires_payment_method");
    assert_eq!(failed["last_payment_error"]["code"], "payment_intent_authentication_failure");
    gateway.confirm(&id, "k2", "pm_card_threeDSecure2Required").await;
    assert!(gateway.ledger_lines("captured", &id).is_empty());
    let passed = gateway.control(&(path + "?outcome=succeeded"), "").await;
    assert_eq!(passed["status"], "succeeded");
    assert_eq!(gateway.ledger_lines("captured", &id).len(), 1);
}

#[tokio::test]
async fn a_challenge_with_no_way_back_says_no_url() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    let answer = gateway.confirm(&id, "k", "pm_card_threeDSecure2Required").await;
    assert_eq!(answer.body["status"], "requires_action");
    let next = &answer.body["next_action"];
    assert_eq!(next["type"], "use_stripe_sdk");
    assert!(next.get("redirect_to_url").is_none(), "{next}");
}

#[tokio::test]
async fn challenges_complete_by_themselves_as_the_plan_says() {
    let gateway = Gateway::start().await;
    for (fail_share, status) in [("0", "succeeded"), ("1", "requires_payment_method")] {
        let challenges = format!(r#"{{"after_millis":20,"fail_share":{fail_share}}}"#);
        gateway.faults(&format!(r#"{{"challenges":{challenges}}}"#)).await;
        let id = gateway.create(status).await;
        gateway.confirm(&id, status, "pm_card_authenticationRequired").await;
        gateway.until_status(&id, status).await;
    }
}

#[tokio::test]
async fn a_refund_gives_back_no_more_than_was_taken() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    let form = |amount| [("payment_intent", id.as_str()), ("amount", amount)];
    let early = gateway.post("/v1/refunds", "r0", &form("100")).await;
    assert_eq!(early.status, 400, "nothing was captured yet");
    gateway.confirm(&id, "k", "pm_card_visa").await;
    let first = gateway.post("/v1/refunds", "r1", &form("300")).await;
    assert_eq!((first.status, &first.body["status"]), (200, &"succeeded".into()));
    let more = gateway.post("/v1/refunds", "r2", &form("201")).await;
    assert_eq!(more.body["error"]["code"], "amount_too_large");
    gateway.post("/v1/refunds", "r3", &form("200")).await;
    let again = gateway.post("/v1/refunds", "r4", &form("1")).await;
    assert_eq!(again.body["error"]["code"], "charge_already_refunded");
    let list = gateway.get(&format!("/v1/refunds?payment_intent={id}")).await.body;
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    let sums = gateway.get("/_sim/ledger").await.body;
    assert_eq!(sums["orders"]["a"], serde_json::json!({"captured": 500, "refunded": 500}));
    assert_eq!(sums["refunded_minor"], 500);
}

#[tokio::test]
async fn a_refund_can_stay_pending_or_fail_later() {
    let gateway = Gateway::start().await;
    for (card, at_once, finally, refunded) in [
        ("pm_card_pendingRefund", "pending", "succeeded", 1),
        ("pm_card_refundFail", "succeeded", "failed", 0),
    ] {
        let id = gateway.create(card).await;
        gateway.confirm(&id, card, card).await;
        let refund = gateway.post("/v1/refunds", "", &[("payment_intent", &id)]).await.body;
        assert_eq!(refund["status"], at_once);
        let path = format!("/v1/refunds/{}", refund["id"].as_str().unwrap());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while gateway.get(&path).await.body["status"] != finally {
            assert!(std::time::Instant::now() < deadline, "the refund never {finally}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(gateway.ledger_lines("refunded", &id).len(), refunded);
    }
}

#[tokio::test]
async fn a_list_shows_every_intent_once_newest_first() {
    let gateway = Gateway::start().await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.insert(0, gateway.create(&n.to_string()).await);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/payment_intents?limit=2&created[gte]=1{after}");
        let page = gateway.get(&path).await.body;
        for intent in page["data"].as_array().unwrap() {
            seen.push(intent["id"].as_str().unwrap().to_owned());
        }
        if page["has_more"] == false {
            break;
        }
        after = format!("&starting_after={}", seen.last().unwrap());
    }
    assert_eq!(seen, made);
    let future = gateway.get("/v1/payment_intents?created[gte]=99999999999").await.body;
    assert_eq!(future["data"].as_array().unwrap().len(), 0);
    assert_eq!(gateway.get("/v1/payment_intents?limit=0").await.status, 400);
}

#[tokio::test]
async fn bad_requests_get_stripes_errors() {
    let gateway = Gateway::start().await;
    let create = |form: Vec<(&'static str, &'static str)>| {
        let gateway = &gateway;
        async move { gateway.post("/v1/payment_intents", "", &form).await }
    };
    let small = create(vec![("amount", "49"), ("currency", "usd")]).await;
    assert_eq!((small.status, &small.body["error"]["code"]), (400, &"amount_too_small".into()));
    assert_eq!(small.body["error"]["param"], "amount");
    assert!(small.body["error"]["request_log_url"].as_str().unwrap().contains("req_"));
    assert_eq!(gateway.get("/v1/payment_intents/pi_none").await.status, 404);
    assert_eq!(gateway.get("/v1/shoes").await.status, 404);
    let id = gateway.create("a").await;
    let card = gateway.confirm(&id, "k", "pm_card_unheardOf").await;
    assert_eq!((card.status, &card.body["error"]["code"]), (400, &"resource_missing".into()));
    let none = gateway.post(&confirm_path(&id), "k2", &[]).await;
    assert_eq!(none.body["error"]["code"], "payment_intent_unexpected_state");

    let url = gateway.simulator.url() + "/v1/payment_intents/" + &id;
    for request in [client().get(&url), client().get(&url).bearer_auth("sk_test_other")] {
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
    let basic = client().get(&url).basic_auth(crate::gateway::KEY, Some(""));
    assert_eq!(basic.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let good = options(&folder, FaultPlan::none());
    let open = payment_simulator::Options { listen: "0.0.0.0:0".parse().unwrap(), ..good.clone() };
    assert!(matches!(Simulator::start(open).await.err(), Some(Error::NotLoopback(_))));
    let live = payment_simulator::Options { api_key: "sk_live_1".to_owned(), ..good.clone() };
    assert!(matches!(Simulator::start(live).await.err(), Some(Error::ApiKey(_))));
    let url = Some("http://example.com/".to_owned());
    let away = payment_simulator::Options { webhook_url: url, ..good.clone() };
    assert!(matches!(Simulator::start(away).await.err(), Some(Error::WebhookUrl { .. })));
    let first = Simulator::start(good.clone()).await.unwrap();
    assert!(matches!(Simulator::start(good.clone()).await.err(), Some(Error::LedgerInUse(_))));
    let other = folder.path().join("other.jsonl");
    let taken = payment_simulator::Options { listen: first.address(), ledger: other, ..good };
    assert!(matches!(Simulator::start(taken).await.err(), Some(Error::Listen { .. })));
}
