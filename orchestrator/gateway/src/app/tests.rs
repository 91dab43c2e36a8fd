//! The doors over HTTP: what every answer has, and who is let in.

mod world;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method};
use engine::id::SagaId;
use serde_json::json;
use uuid::Uuid;
use world::{Memory, OneSaga, doors, get, is_problem, post, public, request, send};

use super::{OPERATOR_ADDRESS, PUBLIC_ADDRESS};
use crate::auth::{Gate, Role, Token};

#[tokio::test]
async fn every_refusal_is_a_problem_with_an_id() {
    let keys = Arc::new(Memory::default());
    let (shop, router) = (keys.add(Role::Shop, None), public(&keys));
    let long = "x".repeat(17 * 1024);
    let cases = [
        (get("/nothing", None), 404, "route_not_found"),
        (get("/v1/echo", Some(&shop)), 405, "method_not_allowed"),
        (get(&format!("/{long}"), None), 431, "headers_too_large"),
        (post("/v1/echo", &shop, "{"), 400, "invalid_json"),
        (post("/v1/echo", &shop, vec![b' '; 65 * 1024]), 413, "body_too_large"),
        (post("/v1/echo", &shop, "\"4242424242424242\""), 400, "card_number_refused"),
        (
            request(Method::POST, "/v1/echo", Some(&shop))
                .header("amends-customer", "a")
                .body("{}".into())
                .unwrap(),
            415,
            "unsupported_media_type",
        ),
        (
            request(Method::GET, "/", None).header("x", &long).body(Body::empty()).unwrap(),
            431,
            "headers_too_large",
        ),
    ];
    for (request, status, code) in cases {
        is_problem(&send(&router, request).await, status, code);
    }
    let chunks = futures_util::stream::iter(
        (0..70).map(|_| Ok::<_, std::convert::Infallible>(vec![b' '; 1024])),
    );
    let unannounced = post("/v1/echo", &shop, Body::from_stream(chunks));
    is_problem(&send(&router, unannounced).await, 413, "body_too_large");
    let broken = futures_util::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("reset"))]);
    let broken = post("/v1/echo", &shop, Body::from_stream(broken));
    is_problem(&send(&router, broken).await, 400, "bad_request");
    let allowed = send(&router, get("/v1/echo", Some(&shop))).await;
    assert_eq!(allowed.headers["allow"], "POST");
    let page = send(&router, get("/problems/invalid_json", None)).await;
    assert!(page.body.as_str().unwrap().contains("What to do"), "{}", page.body);
    is_problem(&send(&router, get("/problems/nonsense", None)).await, 404, "route_not_found");
}

#[tokio::test]
async fn a_panic_is_answered_and_not_shown() {
    let keys = Arc::new(Memory::default());
    let (shop, router) = (keys.add(Role::Shop, None), public(&keys));
    let answer = send(&router, get("/v1/boom", Some(&shop))).await;
    is_problem(&answer, 500, "internal");
    assert!(!answer.body.to_string().contains("disco"));
}

#[tokio::test]
async fn a_request_id_is_taken_from_nobody() {
    let keys = Arc::new(Memory::default());
    let (shop, router) = (keys.add(Role::Shop, None), public(&keys));
    let mut request = post("/v1/echo", &shop, "{}");
    request.headers_mut().insert("request-id", HeaderValue::from_static("req_mine"));
    let answer = send(&router, request).await;
    assert_eq!(answer.status, 200);
    let id = answer.headers["request-id"].to_str().unwrap();
    assert!(id.starts_with("req_") && id.len() == 36, "{id}");
}

#[tokio::test]
async fn nobody_comes_in_without_a_key_of_the_right_role() {
    let keys = Arc::new(Memory::default());
    let (ops, router) = (keys.add(Role::Ops, None), public(&keys));
    let unknown = Token::random();
    for request in [
        get("/v1/boom", None),
        get("/v1/boom", Some(&unknown)),
        request(Method::GET, "/v1/boom", None)
            .header("authorization", "Basic eDp5")
            .body(Body::empty())
            .unwrap(),
        request(Method::GET, "/v1/boom", None)
            .header("authorization", "Bearer ' or 1=1")
            .body(Body::empty())
            .unwrap(),
    ] {
        let answer = send(&router, request).await;
        is_problem(&answer, 401, "unauthenticated");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    }
    is_problem(&send(&router, post("/v1/echo", &ops, "{}")).await, 403, "forbidden");
}

#[tokio::test]
async fn a_customers_key_speaks_for_that_customer_only() {
    let keys = Arc::new(Memory::default());
    let (shop, bert) = (keys.add(Role::Shop, None), keys.add(Role::Customer, Some("bert")));
    let router = public(&keys);
    assert_eq!(send(&router, post("/v1/echo", &shop, "{}")).await.body["customer"], "anna");
    is_problem(&send(&router, post("/v1/echo", &bert, "{}")).await, 403, "forbidden");
    let mut own = post("/v1/echo", &bert, "{}");
    own.headers_mut().remove("amends-customer");
    assert_eq!(send(&router, own).await.body["customer"], "bert");
    let mut nobody = post("/v1/echo", &shop, "{}");
    nobody.headers_mut().remove("amends-customer");
    is_problem(&send(&router, nobody).await, 400, "customer_missing");
}

#[tokio::test]
async fn a_good_key_costs_one_query() {
    let keys = Arc::new(Memory::default());
    let (shop, router) = (keys.add(Role::Shop, None), public(&keys));
    for _ in 0..5 {
        assert_eq!(send(&router, post("/v1/echo", &shop, "{}")).await.status, 200);
    }
    assert_eq!(keys.0.lock().unwrap().1, 1);
}

#[tokio::test]
async fn one_request_too_many_is_refused_before_anything_is_taken() {
    let keys = Arc::new(Memory::default());
    let (shop, router) = (keys.add(Role::Shop, None), public(&keys));
    let mut waiting: Vec<_> =
        (0..2).map(|_| Box::pin(send(&router, get("/v1/never", Some(&shop))))).collect();
    for request in &mut waiting {
        assert!(futures_util::poll!(request).is_pending());
    }
    let answer = send(&router, post("/v1/echo", &shop, "{}")).await;
    is_problem(&answer, 503, "busy");
    assert_eq!(answer.headers["retry-after"], "1");
    drop(waiting);
    assert_eq!(send(&router, post("/v1/echo", &shop, "{}")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_given_up() {
    let keys = Arc::new(Memory::default());
    let (shop, router) = (keys.add(Role::Shop, None), public(&keys));
    is_problem(&send(&router, get("/v1/never", Some(&shop))).await, 504, "timed_out");
}

#[tokio::test]
async fn health_says_what_is_missing() {
    let keys = Arc::new(Memory::default());
    let router = public(&keys);
    assert_eq!(send(&router, get("/health/live", None)).await.status, 200);
    for path in ["/health/ready", "/health", "/actuator/health"] {
        let answer = send(&router, get(path, None)).await;
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (503, &json!("DOWN")));
        assert_eq!(answer.body["checks"][0]["name"], "amends database");
    }
    assert_eq!(send(&router, get("/metrics", None)).await.status, 404);
    let operators = doors(keys).operators(Arc::new(OneSaga::new()));
    assert_eq!(send(&operators, get("/metrics", None)).await.body, "up 1\n");
}

#[tokio::test]
async fn operators_act_and_ops_only_look() {
    let keys = Arc::new(Memory::default());
    let (ops, operator) = (keys.add(Role::Ops, None), keys.add(Role::Operator, None));
    let saga = Arc::new(OneSaga::new());
    let router = doors(keys).operators(saga.clone());
    let path = format!("/admin/v1/sagas/{}", saga.0.summary.id);
    let seen = send(&router, get(&path, Some(&ops))).await;
    assert_eq!((seen.status.as_u16(), &seen.headers["etag"]), (200, &"\"7\"".parse().unwrap()));
    let why = r#"{"reason": "the gateway is back"}"#;
    is_problem(&send(&router, post(&format!("{path}/retry"), &ops, why)).await, 403, "forbidden");

    let done = send(&router, post(&format!("{path}/retry"), &operator, why)).await;
    assert_eq!((done.status.as_u16(), &done.body["told"]), (200, &json!("taken")));
    assert_eq!(done.body["saga"]["rev"], 7);
    let late = send(&router, post(&format!("{path}/cancel"), &operator, why)).await;
    is_problem(&late, 409, "too_late_to_cancel");
    let later = send(&router, post(&format!("{path}/pause"), &operator, why)).await;
    assert_eq!((later.status.as_u16(), &later.body["told"]), (202, &json!("pending")));
    let who = saga.1.lock().unwrap()[0].1.clone();
    assert_eq!((who.actor.as_str(), who.reason.as_str()), ("operator:test", "the gateway is back"));
    assert_eq!(who.request_id.as_deref(), done.headers["request-id"].to_str().ok());
}

#[tokio::test]
async fn an_action_that_can_not_be_meant_is_not_done() {
    let keys = Arc::new(Memory::default());
    let admin = keys.add(Role::Admin, None);
    let saga = Arc::new(OneSaga::new());
    let router = doors(keys).operators(saga.clone());
    let path = format!("/admin/v1/sagas/{}", saga.0.summary.id);
    let retry = format!("{path}/retry");
    is_problem(&send(&router, post(&retry, &admin, "{}")).await, 422, "invalid_request");
    is_problem(
        &send(&router, post(&retry, &admin, r#"{"reason":" "}"#)).await,
        422,
        "invalid_request",
    );
    let mut stale = post(&retry, &admin, r#"{"reason":"x"}"#);
    stale.headers_mut().insert("if-match", HeaderValue::from_static("\"6\""));
    is_problem(&send(&router, stale).await, 412, "stale");
    let plan = post(&format!("{retry}?dry_run=true"), &admin, r#"{"reason":"x"}"#);
    is_problem(&send(&router, plan).await, 400, "invalid_query");
    let resolve = format!("{path}/resolve");
    let body = r#"{"reason":"x","step":"charge-payment","verdict":"maybe"}"#;
    let answer = send(&router, post(&resolve, &admin, body)).await;
    is_problem(&answer, 422, "invalid_request");
    assert_eq!(answer.body["errors"].as_array().unwrap().len(), 2);
    for id in ["x", "00000000-0000-0000-0000-000000000000", "%00"] {
        let path = format!("/admin/v1/sagas/{id}/retry");
        is_problem(
            &send(&router, post(&path, &admin, r#"{"reason":"x"}"#)).await,
            404,
            "saga_not_found",
        );
    }
    assert!(saga.1.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_the_database_says_stays_inside() {
    let keys = Arc::new(Memory::default());
    let ops = keys.add(Role::Ops, None);
    let router = doors(keys).operators(Arc::new(OneSaga::new()));
    let answer = send(&router, get("/admin/v1/nodes", Some(&ops))).await;
    is_problem(&answer, 500, "internal");
    assert!(!answer.body.to_string().contains("select"));
    is_problem(&send(&router, get("/admin/v1/sagas", Some(&ops))).await, 400, "invalid_query");
    let history =
        send(&router, get(&format!("/admin/v1/sagas/{}/history", Uuid::nil()), Some(&ops))).await;
    assert_eq!(history.body["entries"][0]["facts"][0], "pivot");
}

#[test]
fn without_keys_it_listens_on_loopback_only() {
    assert!(Gate::insecure_dev(&[PUBLIC_ADDRESS, OPERATOR_ADDRESS]).is_ok());
    let error = Gate::insecure_dev(&["0.0.0.0:80".parse().unwrap()]).unwrap_err();
    assert!(error.to_string().contains("0.0.0.0:80"), "{error}");
}

/// The operators' door of one saga, a key to look and one to act, and the saga.
pub(crate) fn one_saga_door() -> (Router, (Token, Token), SagaId) {
    let keys = Arc::new(Memory::default());
    let tokens = (keys.add(Role::Ops, None), keys.add(Role::Operator, None));
    let saga = Arc::new(OneSaga::new());
    let id = saga.0.summary.id;
    (doors(keys).operators(saga), tokens, id)
}
