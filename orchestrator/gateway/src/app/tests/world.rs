//! Keys and a saga of memory, doors before them, and requests.

use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use engine::client::Told;
use engine::error::StoreError;
use engine::id::SagaId;
use engine::journal::{Direction, Entry};
use engine::operator::{Acted, Action, Filter, NodeView, OperateError, Page, Who};
use engine::payload::Payload;
use engine::view::{Phase, SagaView, Summary};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tower::ServiceExt;
use uuid::Uuid;

use super::super::*;
use crate::auth::{Caller, Customer, Found, Key, Keys, KeysError, NewKey, Role, Token};
use crate::body::Json;
use crate::health::Check;
use crate::routes::Access;

/// Keys in memory, and how often one was asked for.
#[derive(Default)]
pub(super) struct Memory(pub(super) Mutex<(Vec<Found>, u32)>);

impl Memory {
    pub(super) fn add(&self, role: Role, subject: Option<&str>) -> Token {
        let token = Token::random();
        let key = Key {
            id: Uuid::new_v4(),
            name: "test".to_owned(),
            role,
            subject: subject.map(str::to_owned),
            created_at: OffsetDateTime::UNIX_EPOCH,
            revoked_at: None,
        };
        self.0.lock().unwrap().0.push((key, token.hash()));
        token
    }
}

impl Keys for Memory {
    fn find(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<Found>, KeysError>> {
        let mut inner = self.0.lock().unwrap();
        inner.1 += 1;
        let found = inner.0.iter().find(|(_, kept)| *kept == hash).cloned();
        Box::pin(async move { Ok(found) })
    }
    fn create(&self, _: NewKey, _: [u8; 32]) -> BoxFuture<'_, Result<Key, KeysError>> {
        Box::pin(async { Err(KeysError("not here".into())) })
    }
    fn list(&self) -> BoxFuture<'_, Result<Vec<Key>, KeysError>> {
        let keys = self.0.lock().unwrap().0.iter().map(|(key, _)| key.clone()).collect();
        Box::pin(async move { Ok(keys) })
    }
    fn revoke(&self, _: Uuid) -> BoxFuture<'_, Result<bool, KeysError>> {
        Box::pin(async { Ok(false) })
    }
}

/// One saga at rev 7 that takes a retry, refuses a cancel, and lets everything else wait.
pub(super) struct OneSaga(pub(super) SagaView, pub(super) Mutex<Vec<(Action, Who)>>);

impl OneSaga {
    pub(super) fn new() -> Self {
        let summary = Summary {
            id: SagaId::new(3, OffsetDateTime::UNIX_EPOCH),
            workflow: "place-order".to_owned(),
            business_key: None,
            subject: None,
            direction: Direction::Forward,
            phase: Phase::Running,
            ending: None,
            step: 1,
            activity: None,
            attempt: 1,
            first_failed_at: None,
            next_at: None,
            dependency: None,
            error: None,
            attention: None,
            rev: 7,
            created_at: OffsetDateTime::UNIX_EPOCH,
            changed_at: OffsetDateTime::UNIX_EPOCH,
        };
        let view = SagaView {
            summary,
            input: Payload::null(),
            result: None,
            because: None,
            why: None,
            past_pivot: false,
            effects: Vec::new(),
            steps: Vec::new(),
        };
        Self(view, Mutex::default())
    }
}

impl Operations for OneSaga {
    fn list(
        &self,
        _: Filter,
        _: Option<SagaId>,
        _: u32,
    ) -> BoxFuture<'_, Result<Page, OperateError>> {
        Box::pin(async { Err(OperateError::Filter("these two together have no index".to_owned())) })
    }
    fn view(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaView>, StoreError>> {
        Box::pin(async move { Ok((id == self.0.summary.id).then(|| self.0.clone())) })
    }
    fn history(&self, _: SagaId) -> BoxFuture<'_, Result<Option<Vec<Entry>>, StoreError>> {
        let facts = vec![engine::journal::Fact::Pivot];
        let entry = Entry { seq: 1, at: OffsetDateTime::UNIX_EPOCH, facts };
        Box::pin(async { Ok(Some(vec![entry])) })
    }
    fn act(
        &self,
        id: SagaId,
        action: Action,
        who: Who,
        if_rev: Option<i32>,
    ) -> BoxFuture<'_, Result<Acted, OperateError>> {
        Box::pin(async move {
            if id != self.0.summary.id {
                return Err(OperateError::NoSuchSaga(id));
            }
            if let Some(seen) = if_rev.filter(|rev| *rev != 7) {
                return Err(OperateError::Stale { now: 7, seen });
            }
            let told = match action {
                Action::Retry => Told::Taken,
                Action::Cancel => Told::Refused("too_late_to_cancel".to_owned()),
                _ => Told::Pending,
            };
            self.1.lock().unwrap().push((action, who));
            Ok(Acted { audit_id: Uuid::nil(), told, view: self.0.clone() })
        })
    }
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeView>, StoreError>> {
        Box::pin(async { Err(StoreError::Unreadable("select secret from x".to_owned())) })
    }
}

pub(super) fn doors(keys: Arc<Memory>) -> Doors {
    let check = Check { name: "amends database", ok: false, detail: Some("away".to_owned()) };
    let health = Health::new(
        move || {
            let check = check.clone();
            Box::pin(async move { vec![check] })
        },
        || "up 1\n".to_owned(),
    );
    let pages = Pages::new(&[]);
    Doors { gate: Gate::with_keys(keys), health, pages, in_flight_max: 2 }
}

pub(super) async fn echo(Customer(customer): Customer, Json(body): Json) -> axum::Json<Value> {
    axum::Json(json!({"customer": customer, "body": body}))
}

pub(super) async fn boom(_: Caller) -> &'static str {
    panic!("at the disco")
}

pub(super) async fn never() {
    std::future::pending().await
}

pub(super) fn public(keys: &Arc<Memory>) -> Router {
    let customers = Access::Roles(&[Role::Shop, Role::Customer]);
    let routes = Routes::<()>::new()
        .post("/v1/echo", customers, "says it again", echo)
        .get("/v1/boom", customers, "breaks", boom)
        .get("/v1/never", customers, "waits", never)
        .with_state(());
    doors(keys.clone()).public(routes)
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: axum::http::HeaderMap,
    pub(super) body: Value,
}

pub(super) async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8_lossy(&body).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(super) fn request(
    method: Method,
    path: &str,
    token: Option<&Token>,
) -> axum::http::request::Builder {
    let builder = Request::builder().method(method).uri(path);
    match token {
        Some(token) => builder.header("authorization", format!("Bearer {}", token.expose())),
        None => builder,
    }
}

pub(super) fn post(path: &str, token: &Token, body: impl Into<Body>) -> Request<Body> {
    let builder = request(Method::POST, path, Some(token));
    let builder = builder.header("content-type", "application/json");
    builder.header("amends-customer", "anna").body(body.into()).unwrap()
}

pub(super) fn get(path: &str, token: Option<&Token>) -> Request<Body> {
    request(Method::GET, path, token).body(Body::empty()).unwrap()
}

pub(super) fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.body["code"], code, "{}", answer.body);
    assert_eq!(answer.status.as_u16(), status, "{code}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{code}");
    assert_eq!(answer.body["request_id"], answer.headers["request-id"].to_str().unwrap(), "{code}");
    assert_eq!(answer.body["type"], format!("/problems/{code}"));
}
