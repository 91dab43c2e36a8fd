//! Webhooks are signed, repeated until taken, and go wrong as planned.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use payment_simulator::FaultPlan;
use serde_json::Value;
use sha2::Sha256;

use crate::gateway::{Gateway, SECRET, plan};

/// Takes what is posted to it, after refusing so many.
#[derive(Default)]
struct Receiver {
    refuses: AtomicU32,
    taken: Mutex<Vec<(String, Bytes)>>,
}

impl Receiver {
    async fn start(refuses: u32) -> (Arc<Receiver>, String) {
        let receiver = Arc::new(Receiver { refuses: refuses.into(), ..Receiver::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/payment-events", listener.local_addr().unwrap());
        let take = axum::routing::post(take).with_state(Arc::clone(&receiver));
        let app = axum::Router::new().route("/v1/payment-events", take);
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    fn events(&self) -> Vec<Value> {
        let taken = self.taken.lock().unwrap();
        taken.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.events().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    async fn until(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.taken.lock().unwrap().len() < count {
            assert!(Instant::now() < deadline, "{:?}", self.kinds());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn take(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let less = |left: u32| left.checked_sub(1);
    if receiver.refuses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    receiver.taken.lock().unwrap().push((signature, body));
    StatusCode::OK
}

async fn gateway(faults: FaultPlan, url: &str) -> Gateway {
    let gateway = Gateway::with(faults).await;
    gateway.simulator.set_webhook_url(Some(url)).unwrap();
    gateway
}

#[tokio::test]
async fn a_signature_verifies() {
    let (receiver, url) = Receiver::start(0).await;
    let gateway = gateway(FaultPlan::none(), &url).await;
    let id = gateway.create("a").await;
    gateway.confirm(&id, "k", "pm_card_visa").await;
    receiver.until(1).await;
    let (signature, body) = receiver.taken.lock().unwrap()[0].clone();
    let (at, v1) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(&body);
    mac.verify_slice(&hex::decode(v1).unwrap()).unwrap();

    let event = &receiver.events()[0];
    assert!(event["id"].as_str().unwrap().starts_with("evt_"));
    assert_eq!(event["type"], "payment_intent.succeeded");
    assert_eq!(event["data"]["object"]["id"], id);
    assert_eq!(event["data"]["object"]["metadata"]["order_id"], "a");
    assert_eq!(event["request"]["idempotency_key"], "k");
    let listed = gateway.get("/v1/events?types[]=payment_intent.succeeded").await.body;
    assert_eq!(listed["data"][0], *event);
}

#[tokio::test]
async fn every_change_has_its_event() {
    let (receiver, url) = Receiver::start(0).await;
    let gateway = gateway(FaultPlan::none(), &url).await;
    let id = gateway.create_with("a", "manual").await;
    let step = |name: &str| format!("/v1/payment_intents/{id}/{name}");
    gateway.confirm(&id, "k1", "pm_card_chargeDeclined").await;
    receiver.until(1).await;
    gateway.confirm(&id, "k2", "pm_card_threeDSecure2Required").await;
    receiver.until(2).await;
    let authenticate = format!("/_sim/payment_intents/{id}/authenticate?outcome=succeeded");
    gateway.control(&authenticate, "").await;
    receiver.until(3).await;
    gateway.post(&step("capture"), "k3", &[]).await;
    receiver.until(4).await;
    gateway.post("/v1/refunds", "k4", &[("payment_intent", &id)]).await;
    receiver.until(6).await;
    let other = gateway.create("b").await;
    gateway.post(&format!("/v1/payment_intents/{other}/cancel"), "k5", &[]).await;
    receiver.until(7).await;
    let mut kinds = receiver.kinds();
    kinds[4..6].sort();
    let expected = [
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "payment_intent.amount_capturable_updated",
        "payment_intent.succeeded",
        "charge.refunded",
        "refund.created",
        "payment_intent.canceled",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn an_event_is_sent_again_until_it_is_taken() {
    let (receiver, url) = Receiver::start(2).await;
    let gateway = gateway(FaultPlan::none(), &url).await;
    let id = gateway.create("a").await;
    gateway.confirm(&id, "k", "pm_card_visa").await;
    receiver.until(1).await;
    assert_eq!(receiver.refuses.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn events_are_dropped_doubled_early_and_overtaken_as_planned() {
    let (receiver, url) = Receiver::start(0).await;
    let gateway = gateway(plan(r#"{"rules":[{"kind":"drop_webhook"}]}"#), &url).await;
    let confirm = async |order: &str| {
        let id = gateway.create(order).await;
        gateway.confirm(&id, order, "pm_card_visa").await;
    };
    confirm("dropped").await;
    gateway.faults(r#"{"rules":[{"kind":"duplicate_webhook"}]}"#).await;
    confirm("doubled").await;
    receiver.until(2).await;
    let events = receiver.events();
    assert_eq!(events[0]["id"], events[1]["id"]);
    assert_eq!(events[0]["data"]["object"]["metadata"]["order_id"], "doubled");

    gateway.faults(r#"{"rules":[{"kind":"early_webhook"}]}"#).await;
    confirm("early").await;
    assert_eq!(receiver.events().len(), 3, "it is there when the answer is");

    gateway.faults(r#"{"rules":[{"kind":"delay_webhook","millis":300}]}"#).await;
    confirm("late").await;
    gateway.faults("{}").await;
    confirm("overtakes").await;
    receiver.until(5).await;
    let order = |n: usize| receiver.events()[n]["data"]["object"]["metadata"]["order_id"].clone();
    assert_eq!((order(3), order(4)), ("overtakes".into(), "late".into()));
    for kind in ["drop_webhook", "duplicate_webhook", "early_webhook", "delay_webhook"] {
        assert_eq!(gateway.injected(kind).await, 1, "{kind}");
    }
}
