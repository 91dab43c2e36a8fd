//! What can not be right is refused with its own code, and nothing is started.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Answer, Customer, Node, Shop, cart, http};

fn post(ann: &Customer, path: &str) -> RequestBuilder {
    ann.request(Method::POST, path)
}

/// A checkout with this body.
fn checkout(ann: &Customer, key: &str, body: impl Into<String>) -> RequestBuilder {
    let request = post(ann, "/v1/checkouts").header("idempotency-key", key);
    request.header("content-type", "application/json").body(body.into())
}

async fn answer(request: RequestBuilder) -> Answer {
    let answer = Answer::of(request).await.expect("the node answers");
    if answer.status >= 400 {
        assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    }
    answer
}

#[track_caller]
fn is_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &*answer.text("/code")), (status, code), "{answer:?}");
}

/// Nothing was started, and nothing reserved.
async fn nothing_happened(shop: &Shop) {
    let reserved = "select sum(reserved)::bigint from inventory.stock";
    assert_eq!(shop.sagas().await, 0);
    assert_eq!(shop.count(&shop.databases.inventory, reserved).await, 0);
    assert_eq!(shop.count(&shop.databases.orders, "select count(*) from orders.orders").await, 0);
    assert_eq!(std::fs::read_to_string(&shop.simulator.ledger).unwrap_or_default(), "");
}

async fn open() -> (Shop, Node, Customer) {
    let shop = Shop::open(&[("tea", 100), ("cup", 100)]).await;
    let node = shop.node().await;
    let ann = node.customer("ann");
    (shop, node, ann)
}

/// A good body, with this at that place.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = cart(&[("tea", 1)], "pm_card_visa");
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.insert(name.to_owned(), value)),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        other => panic!("{other} has no {name}"),
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_can_not_be_is_pointed_at() {
    let (shop, _node, ann) = open().await;
    let line = json!({"sku": "tea", "quantity": 1});
    let huge = json!(u64::MAX);
    let cases: Vec<(&str, &str, Value)> = vec![
        ("/coupon", "unknown_field", with("/coupon", json!("x"))),
        ("/price", "unknown_field", with("/price", json!(1))),
        ("/customer_id", "unknown_field", with("/customer_id", json!("bob"))),
        ("/items/0/unit_price", "unknown_field", with("/items/0/unit_price", json!(1))),
        ("/items", "wrong_type", with("/items", json!("tea"))),
        ("/items", "out_of_range", with("/items", json!([]))),
        ("/items", "out_of_range", with("/items", json!(vec![line; 101]))),
        ("/items/0", "wrong_type", with("/items/0", json!(7))),
        ("/items/0/quantity", "out_of_range", with("/items/0/quantity", json!(0))),
        ("/items/0/quantity", "out_of_range", with("/items/0/quantity", json!(-1))),
        ("/items/0/quantity", "out_of_range", with("/items/0/quantity", json!(1_000))),
        ("/items/0/quantity", "out_of_range", with("/items/0/quantity", huge)),
        ("/items/0/quantity", "wrong_type", with("/items/0/quantity", json!("2"))),
        ("/items/0/quantity", "wrong_type", with("/items/0/quantity", json!(1.5))),
        ("/items/0/quantity", "missing", with("/items/0/quantity", Value::Null)),
        ("/items/0/sku", "wrong_type", with("/items/0/sku", json!(7))),
        ("/items/0/sku", "unknown_sku", with("/items/0/sku", json!("unicorn"))),
        (
            "/items/0/sku",
            "unknown_sku",
            with("/items/0/sku", json!("'; drop schema saga; --".replace(' ', "_"))),
        ),
        ("/currency", "unsupported_currency", with("/currency", json!("XXX"))),
        ("/currency", "wrong_type", with("/currency", json!(840))),
        // There are no prices in it.
        ("/items/0/sku", "unknown_sku", with("/currency", json!("EUR"))),
        ("/payment_method", "invalid_format", with("/payment_method", json!("visa"))),
        ("/payment_method", "wrong_type", with("/payment_method", json!({}))),
        (
            "/expected_total/currency",
            "currency_mismatch",
            with("/expected_total", json!({"value": 450, "currency": "EUR"})),
        ),
        ("", "wrong_type", json!([])),
    ];
    for (i, (pointer, code, body)) in cases.into_iter().enumerate() {
        let answer = answer(checkout(&ann, &format!("key-{i}"), body.to_string())).await;
        assert_eq!((answer.status, &*answer.text("/code")), (422, "invalid_request"), "{body}");
        let errors = answer.body["errors"].as_array().unwrap();
        let is_said = |error: &Value| error["pointer"] == pointer && error["code"] == code;
        assert!(errors.iter().any(is_said), "{body}: no {code} at {pointer} in {errors:?}");
    }
    nothing_happened(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_can_not_be_read_is_refused_and_not_repeated() {
    let (shop, _node, ann) = open().await;
    let good = cart(&[("tea", 1)], "pm_card_visa").to_string();
    let large = with("/payment_method", json!("pm_".to_owned() + &"x".repeat(65 * 1024)));
    let card = "4242 4242 4242 4242";
    let cases = [
        (400, "invalid_json", String::new()),
        (400, "invalid_json", "{".to_owned()),
        (400, "invalid_json", good.replace("\"currency\"", "\"items\"")),
        (413, "body_too_large", large.to_string()),
        (400, "card_number_refused", with("/payment_method", json!(card)).to_string()),
        (400, "card_number_refused", with("/note", json!(4_242_424_242_424_242_u64)).to_string()),
        (400, "card_number_refused", with("/items/0/4242424242424242", json!(1)).to_string()),
        // It may be the number of an article.
        (422, "invalid_request", with("/items/0/sku", json!("4242424242424242")).to_string()),
    ];
    for (i, (status, code, body)) in cases.into_iter().enumerate() {
        let answer = answer(checkout(&ann, &format!("key-{i}"), body)).await;
        is_refused(&answer, status, code);
        assert!(!answer.body.to_string().contains("4242"), "{answer:?}");
    }
    let form = post(&ann, "/v1/checkouts").header("idempotency-key", "form").body(good);
    is_refused(&answer(form).await, 415, "unsupported_media_type");
    nothing_happened(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_its_key_its_customer_or_its_right_is_refused() {
    let (shop, node, ann) = open().await;
    let good = cart(&[("tea", 1)], "pm_card_visa").to_string();
    let keys = &shop.databases.keys;
    let bare = |key: &str| {
        let url = format!("{}/v1/checkouts", node.url);
        let request = http().post(url).header("content-type", "application/json");
        let request = if key.is_empty() { request } else { request.bearer_auth(key) };
        request.body(good.clone())
    };
    let shops = |key: &str| bare(key).header("amends-customer", "ann");
    let cases = [
        (400, "idempotency_key_missing", shops(&keys.shop)),
        (400, "idempotency_key_invalid", shops(&keys.shop).header("idempotency-key", "")),
        (400, "idempotency_key_invalid", shops(&keys.shop).header("idempotency-key", "a b")),
        (400, "idempotency_key_invalid", checkout(&ann, &"k".repeat(256), good.clone())),
        (
            400,
            "idempotency_key_invalid",
            checkout(&ann, "a", good.clone()).header("idempotency-key", "b"),
        ),
        (401, "unauthenticated", shops("").header("idempotency-key", "k")),
        (401, "unauthenticated", shops("amk_nonsense").header("idempotency-key", "k")),
        (403, "forbidden", shops(&keys.ops).header("idempotency-key", "k")),
        (403, "forbidden", shops(&keys.operator).header("idempotency-key", "k")),
        (400, "customer_missing", bare(&keys.shop).header("idempotency-key", "k")),
        // A customer's own key speaks for nobody else.
        (
            403,
            "forbidden",
            bare(&keys.ann).header("amends-customer", "bob").header("idempotency-key", "k"),
        ),
        (
            431,
            "headers_too_large",
            checkout(&ann, "k", good.clone()).header("x", "x".repeat(17_000)),
        ),
        (400, "invalid_header", checkout(&ann, "k", good.clone()).header("prefer", "wait=soon")),
    ];
    for (status, code, request) in cases {
        is_refused(&answer(request).await, status, code);
    }
    let wrong = with("/expected_total", json!({"value": 449, "currency": "USD"})).to_string();
    let changed = answer(checkout(&ann, "k", wrong)).await;
    is_refused(&changed, 409, "price_changed");
    assert_eq!(changed.body["total"], json!({"value": 450, "currency": "USD"}));
    nothing_happened(&shop).await;

    // Nothing of all that used the key up.
    let right = with("/expected_total", json!({"value": 450, "currency": "USD"})).to_string();
    let id = answer(checkout(&ann, "k", right)).await.id();
    assert_eq!(ann.end(&id).await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_is_as_unknown_as_what_never_was() {
    let (shop, node, ann) = open().await;
    let id = ann.buy("first", &[("tea", 1)], "pm_card_visa").await.id();
    let order = ann.end(&id).await["order"]["id"].as_str().unwrap().to_owned();
    let bob = node.customer("bob");

    let without_ids = |mut answer: Answer| {
        answer.body.as_object_mut().unwrap().remove("request_id");
        (answer.status, answer.body.to_string())
    };
    let nobodys = "018f0000-0000-7000-8000-000000000000";
    for (path, id) in [("/v1/checkouts", &id), ("/v1/orders", &order)] {
        let theirs = bob.get(&format!("{path}/{id}")).await;
        assert_eq!(theirs.status, 404, "{theirs:?}");
        let theirs = without_ids(theirs);
        for unknown in [nobodys, "nonsense", "%00"] {
            assert_eq!(theirs, without_ids(bob.get(&format!("{path}/{unknown}")).await));
        }
    }
    assert_eq!(bob.cancel(&id).await.status, 404);
    assert_eq!(bob.get(&format!("/v1/checkouts/{id}/events")).await.status, 404);
    assert_eq!(bob.get("/v1/orders").await.body["orders"], json!([]));
    assert_eq!(ann.get(&format!("/v1/orders/{order}")).await.status, 200);
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_route_takes_is_refused() {
    let (shop, node, ann) = open().await;
    let keys = &shop.databases.keys;
    let admin = |key: &str, path: &str| {
        http().post(format!("{}/admin/v1/sagas/{path}", node.operators_url)).bearer_auth(key)
    };
    let nobodys = "018f0000-0000-7000-8000-000000000000/retry";
    let reason = json!({"reason": "x"});
    let cases = [
        (404, "route_not_found", ann.request(Method::GET, "/v1/nonsense")),
        // The operators' door is another one.
        (404, "route_not_found", ann.request(Method::GET, "/admin/v1/sagas")),
        (405, "method_not_allowed", ann.request(Method::DELETE, "/v1/checkouts")),
        (404, "product_not_found", ann.request(Method::GET, "/v1/inventory/unicorn")),
        (400, "invalid_query", ann.request(Method::GET, "/v1/orders?limit=0")),
        (400, "invalid_query", ann.request(Method::GET, "/v1/orders?after=nonsense")),
        (400, "signature_invalid", post(&ann, "/v1/payment-events").body("{}")),
        (
            400,
            "signature_invalid",
            post(&ann, "/v1/payment-events").header("stripe-signature", "t=1,v1=00").body("{}"),
        ),
        (403, "forbidden", admin(&keys.shop, nobodys).json(&reason)),
        (403, "forbidden", admin(&keys.ops, nobodys).json(&reason)),
        (404, "saga_not_found", admin(&keys.operator, nobodys).json(&reason)),
        (404, "saga_not_found", admin(&keys.operator, "nonsense/retry").json(&reason)),
        (422, "invalid_request", admin(&keys.operator, nobodys).json(&json!({}))),
    ];
    for (status, code, request) in cases {
        is_refused(&answer(request).await, status, code);
    }
    nothing_happened(&shop).await;
}
