//! The shop's routes over HTTP.

mod world;

use activities::Currency;
use axum::body::Body;
use axum::http::Request;
use engine::journal::Ending;
use engine::view::SagaView;
use serde_json::{Value, json};
use uuid::Uuid;
use world::{NONE, World, end, is_problem, tea};

use super::PROBLEMS;

#[tokio::test]
async fn a_checkout_is_accepted_at_the_servers_own_price() {
    let world = World::new();
    let answer = world.post("anna", "/v1/checkouts", "k", &tea()).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.body["status"], "processing");
    assert_eq!(answer.headers["retry-after"], "1");
    let path = format!("/v1/checkouts/{}", answer.body["id"].as_str().unwrap());
    assert_eq!(answer.headers["location"], path);
    let sagas = world.engine.sagas.lock().unwrap();
    let (key, view) = &sagas[0];
    assert_eq!(key.scope, "anna POST /v1/checkouts");
    let checkout: workflows::Checkout = view.input.decode().unwrap();
    assert_eq!(checkout.total, activities::Money::new(500, Currency::Usd));
    assert_eq!(checkout.customer_id, "anna");
    assert_eq!(view.summary.business_key, Some(checkout.order_id.to_string()));
}

#[tokio::test]
async fn who_waits_long_enough_gets_the_outcome() {
    let world = World::new();
    let answer = world.post("anna", "/v1/checkouts?wait=10", "k", &tea()).await;
    assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("completed")));
    assert_eq!(answer.headers["preference-applied"], "wait=10");
    assert_eq!(answer.headers["vary"], "Prefer");
    is_problem(
        &world.post("anna", "/v1/checkouts?wait=x", "k2", &tea()).await,
        400,
        "invalid_query",
    );
}

#[tokio::test]
async fn who_waits_is_told_at_once_that_the_bank_asks_them() {
    let world = World::new();
    *world.engine.asks.lock().unwrap() = true;
    let answer = world.post("anna", "/v1/checkouts?wait=10", "k", &tea()).await;
    assert_eq!((answer.status.as_u16(), &answer.body["status"]), (202, &json!("action_required")));
    assert_eq!(answer.body["next_action"]["url"], "https://bank.example/3ds");
    let again = world.post("anna", "/v1/checkouts?wait=10", "k", &tea()).await;
    assert_eq!(again.body["status"], "action_required");
    // Who knows it already waits for what comes of it.
    let path = format!("/v1/checkouts/{}?wait=10", answer.body["id"].as_str().unwrap());
    let seen = world.get("anna", &path, NONE).await;
    assert_eq!(seen.body["status"], "completed");
}

#[tokio::test]
async fn the_same_key_is_the_same_checkout() {
    let world = World::new();
    let first = world.post("anna", "/v1/checkouts", "k", &tea()).await;
    let again = world.post("anna", "/v1/checkouts", "\"k\"", &tea()).await;
    assert_eq!((again.status, &again.body["id"]), (first.status, &first.body["id"]));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let others = world.post("bert", "/v1/checkouts", "k", &tea()).await;
    assert_ne!(others.body["id"], first.body["id"]);
    let mut changed = tea();
    changed["items"][0]["quantity"] = json!(3);
    let reused = world.post("anna", "/v1/checkouts", "k", &changed).await;
    is_problem(&reused, 422, "idempotency_key_reused");
    assert_eq!(reused.body["existing"], first.headers["location"].to_str().unwrap());
    assert_eq!(world.engine.sagas.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_replay_does_not_meet_the_new_price() {
    let world = World::new();
    let mut body = tea();
    body["expected_total"] = json!({"value": 500, "currency": "USD"});
    let first = world.post("anna", "/v1/checkouts", "k", &body).await;
    for (price, down) in [(Some(300), false), (None, false), (Some(250), true)] {
        *world.shop.price.lock().unwrap() = price;
        *world.shop.down.lock().unwrap() = down;
        let again = world.post("anna", "/v1/checkouts", "k", &body).await;
        assert_eq!(
            (again.status.as_u16(), &again.body["id"]),
            (202, &first.body["id"]),
            "{price:?}"
        );
        assert_eq!(again.headers["idempotency-replayed"], "true");
    }
}

#[tokio::test]
async fn nobody_is_told_that_nothing_was_started_while_nobody_knows() {
    let world = World::new();
    world.started("anna").await;
    *world.shop.price.lock().unwrap() = None;
    *world.engine.away.lock().unwrap() = true;
    let again = world.post("anna", "/v1/checkouts", "k", &tea()).await;
    is_problem(&again, 503, "unavailable");
    assert_eq!(again.body["retry"]["same_key"], true);
}

#[tokio::test]
async fn nobody_is_told_that_they_are_not_charged_while_nobody_knows() {
    let world = World::new();
    *world.engine.away.lock().unwrap() = true;
    let new = world.post("anna", "/v1/checkouts?wait=10", "k", &tea()).await;
    assert_eq!((new.status.as_u16(), &new.body["money"]), (202, &json!("checking")));
    for path in ["/v1/checkouts?wait=10", "/v1/checkouts"] {
        let again = world.post("anna", path, "k", &tea()).await;
        is_problem(&again, 503, "unavailable");
    }
}

#[tokio::test]
async fn a_refused_checkout_starts_nothing_and_uses_up_no_key() {
    let world = World::new();
    let mut coffee = tea();
    coffee["items"][0]["sku"] = json!("coffee");
    let answer = world.post("anna", "/v1/checkouts", "k", &coffee).await;
    is_problem(&answer, 422, "invalid_request");
    assert_eq!(answer.body["errors"][0]["pointer"], "/items/0/sku");
    let mut cheap = tea();
    cheap["expected_total"] = json!({"value": 1, "currency": "USD"});
    let answer = world.post("anna", "/v1/checkouts", "k", &cheap).await;
    is_problem(&answer, 409, "price_changed");
    assert_eq!(answer.body["total"], json!({"value": 500, "currency": "USD"}));
    *world.engine.busy.lock().unwrap() = true;
    let busy = world.post("anna", "/v1/checkouts", "k", &tea()).await;
    is_problem(&busy, 503, "busy");
    assert_eq!(busy.headers["retry-after"], "1");
    *world.engine.busy.lock().unwrap() = false;
    *world.shop.down.lock().unwrap() = true;
    is_problem(&world.post("anna", "/v1/checkouts", "k", &tea()).await, 503, "unavailable");
    *world.shop.down.lock().unwrap() = false;
    let missing = Request::post("/v1/checkouts").header("content-type", "application/json");
    let missing = missing.header("amends-customer", "anna").body(tea().to_string().into()).unwrap();
    is_problem(&world.send(missing).await, 400, "idempotency_key_missing");
    assert!(world.engine.sagas.lock().unwrap().is_empty());
    assert_eq!(world.post("anna", "/v1/checkouts", "k", &tea()).await.status, 202);
}

#[tokio::test]
async fn somebody_elses_checkout_is_as_unknown_as_none() {
    let world = World::new();
    let (path, id) = world.started("anna").await;
    assert_eq!(world.get("anna", &path, NONE).await.status, 200);
    let unknown = format!("/v1/checkouts/{}", Uuid::nil());
    for path in [path.as_str(), &unknown, "/v1/checkouts/garbage"] {
        let seen = world.get("bert", path, NONE).await;
        is_problem(&seen, 404, "checkout_not_found");
        assert_eq!(seen.body["detail"], "This customer has no checkout with this id.");
        is_problem(
            &world.get("bert", &format!("{path}/events"), NONE).await,
            404,
            "checkout_not_found",
        );
        let cancel = world.post("bert", &format!("{path}/cancel"), "k", &json!({})).await;
        is_problem(&cancel, 404, "checkout_not_found");
    }
    world.engine.change(id, |view| view.summary.workflow = "other".to_owned());
    is_problem(&world.get("anna", &path, NONE).await, 404, "checkout_not_found");
}

#[tokio::test]
async fn a_long_poll_answers_when_something_changed() {
    let world = World::new();
    let (path, _) = world.started("anna").await;
    let seen = world.get("anna", &path, NONE).await;
    assert_eq!(seen.headers["etag"], "\"1\"");
    let same = world.get("anna", &path, ("if-none-match", "\"1\"")).await;
    assert_eq!((same.status.as_u16(), same.text.as_str()), (304, ""));
    let path = format!("{path}?wait=20");
    let changed = world.get("anna", &path, ("if-none-match", "\"1\"")).await;
    assert_eq!(
        (changed.status.as_u16(), &changed.headers["etag"]),
        (200, &"\"2\"".parse().unwrap())
    );
    assert_eq!(changed.headers["preference-applied"], "wait=20");
    assert_eq!(changed.body["status"], "completed");
}

#[tokio::test]
async fn events_end_with_done() {
    let world = World::new();
    let (path, _) = world.started("anna").await;
    let events = world.get("anna", &format!("{path}/events"), NONE).await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    let ids: Vec<_> = events.text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let names: Vec<_> = events.text.lines().filter_map(|l| l.strip_prefix("event: ")).collect();
    assert_eq!((ids, names), (vec!["1", "2"], vec!["progress", "done"]), "{}", events.text);
    assert!(events.text.starts_with("retry: 2000"), "{}", events.text);
    let again = world.get("anna", &format!("{path}/events"), ("last-event-id", "2")).await;
    assert_eq!(again.text.matches("event: done").count(), 1);
}

#[tokio::test]
async fn a_cancellation_is_taken_until_the_pivot() {
    let world = World::new();
    let (path, id) = world.started("anna").await;
    let path = format!("{path}/cancel");
    let taken = world.post("anna", &path, "k", &json!({"reason": "too slow"})).await;
    assert_eq!(taken.status, 202);
    let wrong = world.post("anna", &path, "k", &json!({"refund": 1})).await;
    is_problem(&wrong, 422, "invalid_request");
    world.engine.change(id, |view| view.past_pivot = true);
    let late = world.post("anna", &path, "k", &json!({})).await;
    is_problem(&late, 409, "too_late_to_cancel");
    assert!(late.body["next"]["href"].as_str().unwrap().starts_with("/v1/orders/"));
    world.engine.change(id, end);
    is_problem(&world.post("anna", &path, "k", &json!({})).await, 409, "too_late_to_cancel");
    let ended = |ending| move |view: &mut SagaView| view.summary.ending = Some(ending);
    world.engine.change(id, ended(Ending::Cancelled));
    world.engine.change(id, |view| view.past_pivot = false);
    let again = world.post("anna", &path, "k", &json!({})).await;
    assert_eq!((again.status.as_u16(), &again.body["status"]), (200, &json!("cancelled")));
}

#[tokio::test]
async fn orders_come_a_page_at_a_time() {
    let world = World::new();
    let page = world.get("anna", "/v1/orders?limit=2", NONE).await;
    assert_eq!(page.body["orders"].as_array().unwrap().len(), 2);
    let next = page.body["next"].as_str().unwrap();
    let last = world.get("anna", &format!("/v1/orders?limit=3&after={next}"), NONE).await;
    assert_eq!((last.status.as_u16(), &last.body["next"]), (200, &Value::Null));
    for query in ["limit=1000", "limit=5&limit=7"] {
        let refused = world.get("anna", &format!("/v1/orders?{query}"), NONE).await;
        is_problem(&refused, 400, "invalid_query");
    }
    for id in ["x", "00000000-0000-0000-0000-000000000000"] {
        is_problem(
            &world.get("anna", &format!("/v1/orders/{id}"), NONE).await,
            404,
            "order_not_found",
        );
    }
}

#[tokio::test]
async fn availability_may_be_kept_for_five_minutes() {
    let world = World::new();
    let tea = world.get("anna", "/v1/inventory/tea", NONE).await;
    assert_eq!(tea.body, json!({"sku": "tea", "available": 3}));
    assert_eq!(tea.headers["cache-control"], "private, max-age=300");
    is_problem(&world.get("anna", "/v1/inventory/coffee", NONE).await, 404, "product_not_found");
}

#[tokio::test]
async fn a_payment_event_is_checked_kept_and_told() {
    let world = World::new();
    let (_, id) = world.started("anna").await;
    let event = |signature: &str, kind: &'static str| {
        let request = Request::post("/v1/payment-events").header("stripe-signature", signature);
        request.body(Body::from(kind)).unwrap()
    };
    is_problem(&world.send(event("bad", "x")).await, 400, "signature_invalid");
    *world.shop.event_of.lock().unwrap() = Some(id);
    let taken = world.send(event("good", "payment_intent.succeeded")).await;
    assert_eq!(taken.status, 200);
    world.shop.processed.notified().await;
    assert_eq!(world.engine.signals.lock().unwrap()[..], [(id, "payment-event".to_owned())]);
    // What our own call caused is not told to the saga that made it.
    assert_eq!(world.send(event("good", "payment_intent.created")).await.status, 200);
    world.shop.processed.notified().await;
    assert_eq!(world.engine.signals.lock().unwrap().len(), 1);
    *world.shop.down.lock().unwrap() = true;
    let lost = world.send(event("good", "payment_intent.succeeded")).await;
    is_problem(&lost, 503, "unavailable");
    assert!(!lost.text.contains("secret"));
}

#[tokio::test]
async fn every_problem_of_the_shop_has_a_page() {
    let world = World::new();
    for code in PROBLEMS {
        let page = world.get("anna", &format!("/problems/{}", code.name), NONE).await;
        assert!(page.text.contains(code.action), "{}", code.name);
    }
}
