//! An engine and stores of memory.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use activities::database::DatabaseError;
use activities::inventory_store::Availability;
use activities::order_store::{Cursor, Order, OrderSummary, Pricing};
use activities::payment_gateway::signature::{Event, EventError};
use activities::payment_store::{Book, RecordedEvent, StoredEvent};
use activities::{Currency, Line, OrderId, PricedLine};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use engine::client::{Signal, Start, StartError, StartKey, Started, Told, WaitFor};
use engine::error::StoreError;
use engine::journal::Ending;
use engine::view::{Phase, SagaView};
use engine::{SagaId, Trouble};
use futures_util::future::BoxFuture;
use gateway::health::Health;
use gateway::problem::Pages;
use gateway::{Doors, Gate};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tower::ServiceExt;
use uuid::Uuid;

use super::super::checkout_view::tests::{asking, view};
use super::super::*;

/// An engine whose sagas end as soon as somebody waits for their end.
#[derive(Default)]
pub(super) struct Engine {
    pub(super) sagas: Mutex<Vec<(StartKey, SagaView)>>,
    pub(super) signals: Mutex<Vec<(SagaId, String)>>,
    pub(super) busy: Mutex<bool>,
    /// Whoever waits for them finds them waiting for their customer.
    pub(super) asks: Mutex<bool>,
    /// Nothing can be read of what was started.
    pub(super) away: Mutex<bool>,
}

pub(super) fn end(view: &mut SagaView) {
    view.summary.ending = Some(Ending::Completed);
    view.summary.phase = Phase::Ended;
    view.summary.rev += 1;
}

impl Engine {
    pub(super) fn find_view(&self, id: SagaId) -> Option<SagaView> {
        let sagas = self.sagas.lock().unwrap();
        sagas.iter().find(|(_, view)| view.summary.id == id).map(|(_, view)| view.clone())
    }

    fn is_away(&self) -> Result<(), StoreError> {
        let closed = || StoreError::Unavailable(Arc::new(sqlx::Error::PoolClosed));
        if *self.away.lock().unwrap() { Err(closed()) } else { Ok(()) }
    }

    pub(super) fn change(&self, id: SagaId, by: impl FnOnce(&mut SagaView)) {
        let mut sagas = self.sagas.lock().unwrap();
        by(&mut sagas.iter_mut().find(|(_, view)| view.summary.id == id).unwrap().1);
    }
}

impl Sagas for Engine {
    fn start(&self, start: Start) -> BoxFuture<'_, Result<Started, StartError>> {
        if *self.busy.lock().unwrap() {
            return Box::pin(async { Err(StartError::Busy) });
        }
        let mut sagas = self.sagas.lock().unwrap();
        let key = start.key.unwrap();
        let found = sagas.iter().find(|(k, _)| (&k.scope, &k.key) == (&key.scope, &key.key));
        let result = match found {
            Some((k, view)) if k.fingerprint == key.fingerprint => {
                Ok(Started { id: view.summary.id, existing: true })
            }
            Some((_, view)) => Err(StartError::KeyReused(view.summary.id)),
            None => {
                let mut view = view(start.subject.as_deref().unwrap());
                view.summary.id = SagaId::new(1, engine::now());
                view.summary.business_key = start.business_key;
                view.input = start.input;
                let id = view.summary.id;
                sagas.push((key, view));
                Ok(Started { id, existing: false })
            }
        };
        Box::pin(async move { result })
    }

    fn find(&self, key: StartKey) -> BoxFuture<'_, Result<Option<SagaId>, StoreError>> {
        let sagas = self.sagas.lock().unwrap();
        let same = |k: &StartKey| {
            (&k.scope, &k.key, k.fingerprint) == (&key.scope, &key.key, key.fingerprint)
        };
        let found = sagas.iter().find(|(k, _)| same(k)).map(|(_, view)| view.summary.id);
        Box::pin(async move { self.is_away().map(|()| found) })
    }

    fn view(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaView>, StoreError>> {
        Box::pin(async move { self.is_away().map(|()| self.find_view(id)) })
    }

    fn wait(
        &self,
        id: SagaId,
        what: WaitFor,
        _: Duration,
    ) -> BoxFuture<'_, Result<Option<SagaView>, StoreError>> {
        Box::pin(async move {
            self.is_away()?;
            let is_open = self.find_view(id).is_some_and(|view| view.summary.ending.is_none());
            if is_open && *self.asks.lock().unwrap() && matches!(what, WaitFor::Waiting) {
                self.change(id, |view| *view = asking(view.clone()));
            } else if is_open {
                self.change(id, end);
            }
            Ok(self.find_view(id))
        })
    }

    fn signal(&self, signals: Vec<Signal>) -> BoxFuture<'_, Result<Vec<Told>, StoreError>> {
        let told = vec![Told::Pending; signals.len()];
        let mut sent = self.signals.lock().unwrap();
        sent.extend(signals.into_iter().map(|signal| (signal.saga, signal.name)));
        Box::pin(async { Ok(told) })
    }

    fn cancel(
        &self,
        id: SagaId,
        _: String,
        _: String,
        _: Duration,
    ) -> BoxFuture<'_, Result<Told, StoreError>> {
        let told = match self.find_view(id) {
            Some(view) if view.past_pivot => Told::Refused("too_late_to_cancel".to_owned()),
            Some(_) => Told::Taken,
            None => Told::NoSuchSaga,
        };
        Box::pin(async move { Ok(told) })
    }
}

/// A shop that sells one product, "tea", and has a gateway whose signature is "good".
pub(super) struct TeaShop {
    pub(super) price: Mutex<Option<i64>>,
    pub(super) event_of: Mutex<Option<SagaId>>,
    pub(super) processed: tokio::sync::Notify,
    pub(super) down: Mutex<bool>,
}

impl Stores for TeaShop {
    fn price(&self, lines: Vec<Line>, _: Currency) -> BoxFuture<'_, Result<Pricing, Trouble>> {
        if *self.down.lock().unwrap() {
            return Box::pin(async { Err(Trouble::new("database_unavailable", "it is away")) });
        }
        let price = *self.price.lock().unwrap();
        let mut pricing = Pricing { lines: Vec::new(), unknown: Vec::new() };
        for line in lines {
            match price.filter(|_| line.sku == "tea") {
                Some(unit_price) => pricing.lines.push(PricedLine {
                    sku: line.sku.clone(),
                    name: "Tea".to_owned(),
                    quantity: line.quantity,
                    unit_price,
                }),
                None => pricing.unknown.push(line.sku.clone()),
            }
        }
        Box::pin(async { Ok(pricing) })
    }

    fn availability<'a>(
        &'a self,
        sku: &'a str,
    ) -> BoxFuture<'a, Result<Option<Availability>, DatabaseError>> {
        let stock = Availability { sku: sku.to_owned(), on_hand: 5, reserved: 2, available: 3 };
        Box::pin(async move { Ok(Some(stock).filter(|_| sku == "tea")) })
    }

    fn order<'a>(
        &'a self,
        _: OrderId,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Order>, DatabaseError>> {
        Box::pin(async { Ok(None) })
    }

    fn orders<'a>(
        &'a self,
        _: &'a str,
        _: Option<Cursor>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<OrderSummary>, DatabaseError>> {
        let summary = |n: u32| OrderSummary {
            order_id: OrderId(Uuid::from_u128(n.into())),
            saga_id: Uuid::nil(),
            status: activities::order_store::OrderStatus::Confirmed,
            total: activities::Money::new(500, Currency::Usd),
            created_at: OffsetDateTime::UNIX_EPOCH,
        };
        Box::pin(async move { Ok((0..limit.min(3)).map(summary).collect()) })
    }

    fn verified_event(&self, signature: &str, body: &[u8]) -> Result<Event, EventError> {
        let event = Event {
            id: "evt_1".to_owned(),
            kind: String::from_utf8_lossy(body).into_owned(),
            intent_id: None,
            created: OffsetDateTime::UNIX_EPOCH,
            payload: Value::Null,
        };
        if signature == "good" { Ok(event) } else { Err(EventError::Mismatch) }
    }

    fn record_event(&self, _: Event) -> BoxFuture<'_, Result<RecordedEvent, Trouble>> {
        let down = *self.down.lock().unwrap();
        let whose = self.event_of.lock().unwrap().map(|saga| (OrderId(Uuid::nil()), saga));
        Box::pin(async move {
            match down {
                true => Err(Trouble::new("order_database_unreachable", "secret host")),
                false => Ok(RecordedEvent { is_fresh: true, whose, book: Book::Differs }),
            }
        })
    }

    fn events_agreed(&self, _: Vec<String>) -> BoxFuture<'_, Result<Vec<String>, DatabaseError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn events_processed(&self, _: Vec<String>) -> BoxFuture<'_, Result<(), DatabaseError>> {
        self.processed.notify_one();
        Box::pin(async { Ok(()) })
    }

    fn follow_refunds(
        &self,
        _: Range<OffsetDateTime>,
        _: Option<OffsetDateTime>,
    ) -> BoxFuture<'_, Result<(), DatabaseError>> {
        Box::pin(async { Ok(()) })
    }

    fn events_unprocessed(
        &self,
        _: Range<OffsetDateTime>,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, DatabaseError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

pub(super) struct World {
    pub(super) engine: Arc<Engine>,
    pub(super) shop: Arc<TeaShop>,
    pub(super) router: Router,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) text: String,
}

impl World {
    pub(super) fn new() -> Self {
        let engine = Arc::new(Engine::default());
        let shop = Arc::new(TeaShop {
            price: Mutex::new(Some(250)),
            event_of: Mutex::new(None),
            processed: tokio::sync::Notify::new(),
            down: Mutex::new(false),
        });
        let storefront = Storefront::new(engine.clone(), shop.clone(), CancellationToken::new());
        let health = Health::new(|| Box::pin(async { Vec::new() }), String::new);
        let gate = Gate::insecure_dev(&[]).unwrap();
        let doors = Doors { gate, health, pages: Pages::new(&[PROBLEMS]), in_flight_max: 100 };
        Self { engine, shop, router: doors.public(storefront.routes()) }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().into()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, body, text }
    }

    pub(super) async fn get(&self, customer: &str, path: &str, header: (&str, &str)) -> Answer {
        let request = Request::get(path).header("amends-customer", customer);
        self.send(request.header(header.0, header.1).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn post(&self, customer: &str, path: &str, key: &str, body: &Value) -> Answer {
        let request = Request::builder().method(Method::POST).uri(path);
        let request = request.header("amends-customer", customer).header("idempotency-key", key);
        let request = request.header("content-type", "application/json");
        self.send(request.body(body.to_string().into()).unwrap()).await
    }

    /// The path of a checkout that was started.
    pub(super) async fn started(&self, customer: &str) -> (String, SagaId) {
        let answer = self.post(customer, "/v1/checkouts", "k", &tea()).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let id = answer.body["id"].as_str().unwrap().parse().unwrap();
        (answer.headers["location"].to_str().unwrap().to_owned(), id)
    }
}

pub(super) fn tea() -> Value {
    json!({
        "items": [{"sku": "tea", "quantity": 2}],
        "payment_method": "pm_card_visa",
        "currency": "USD",
    })
}

pub(super) const NONE: (&str, &str) = ("x", "y");

pub(super) fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status.as_u16(), &answer.body["code"]),
        (status, &json!(code)),
        "{}",
        answer.text
    );
    assert!(answer.body["request_id"].is_string() && answer.body["retry"].is_object());
}
