//! A shop of a test's own: both stores in a database of its own, and a gateway simulator.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use activities::inventory_store::{Receipt, ReceiptKind, Reserve};
use activities::migrate::{INVENTORY, ORDERS};
use activities::order_store::Create;
use activities::payment_gateway::PaymentGateway;
use activities::payment_gateway::intent::Intent;
use activities::payment_gateway::settings::Settings;
use activities::payment_store::{Payment, PaymentStore};
use activities::{
    Charge, ChargePayment, ChargeStage, Currency, Inventory, Line, Money, OrderId, Orders,
    Payments, PreparePayment, PricedLine,
};
use engine::{Activity, Attempt, Failure, SagaId};
use payment_simulator::{FaultPlan, Simulator};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) const SKU: &str = "1";
pub(crate) const RETURN_URL: &str = "https://shop.example/paid";
const KEY: &str = "sk_test_simulator";

pub(crate) struct Shop {
    pub(crate) payments: Payments,
    pub(crate) orders: Orders,
    pub(crate) url: String,
    simulator: Simulator,
    http: reqwest::Client,
    _ledger: TempDir,
}

/// An order whose payment is to be prepared.
#[derive(Clone)]
pub(crate) struct Placed {
    pub(crate) order_id: OrderId,
    pub(crate) saga_id: SagaId,
    pub(crate) amount: Money,
}

impl Shop {
    /// With nothing going wrong.
    pub(crate) async fn open() -> Self {
        Self::with_faults(json!({})).await
    }

    /// With `faults` (the simulator's plan, as JSON). Requests of ours time out after a second.
    pub(crate) async fn with_faults(faults: Value) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = database().await;
        let ledger = TempDir::new().unwrap();
        let simulator = Simulator::start(payment_simulator::Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            api_key: KEY.to_owned(),
            ledger: ledger.path().join("ledger.jsonl"),
            webhook_url: None,
            webhook_secret: "whsec_simulator".to_owned(),
            faults: plan(faults),
            seed: 1,
        });
        let simulator = simulator.await.unwrap();
        let gateway = simulator.url();
        let (gateway, secret) = (Some(gateway.as_str()), Some("whsec_simulator"));
        let settings = Settings::from_values(gateway, Some(KEY), secret, None, Some(RETURN_URL));
        let settings = Settings { timeout: Duration::from_secs(1), ..settings.unwrap() };
        let orders = Orders::connect(&url, 4).unwrap();
        let inventory = Inventory::connect(&url, 4).unwrap();
        let lines = [Line { sku: SKU.to_owned(), quantity: 1000 }];
        let receipt = Receipt { kind: ReceiptKind::Initial, reference: "first", lines: &lines };
        inventory.receive(receipt).await.unwrap();
        let payments = Payments {
            gateway: PaymentGateway::new(settings).unwrap(),
            store: PaymentStore::new(&orders),
            inventory,
        };
        let http = reqwest::Client::new();
        Self { payments, orders, url, simulator, http, _ledger: ledger }
    }

    /// An order over `cents`, with stock put aside for it.
    pub(crate) async fn place(&self, cents: i64) -> Placed {
        let (order_id, saga_id) = (OrderId::random(), SagaId::new(1, engine::now()));
        let placed = Placed { order_id, saga_id, amount: Money::new(cents, Currency::Usd) };
        let lines = [Line { sku: SKU.to_owned(), quantity: 1 }];
        let reserve = Reserve { attempt: &placed.attempt(1, 1), order_id, lines: &lines };
        let reserved = self.payments.inventory.reserve(&[reserve]).await.unwrap();
        assert!(reserved[0].is_ok(), "{reserved:?}");
        let (sku, name) = (SKU.to_owned(), "One".to_owned());
        let lines = [PricedLine { sku, name, quantity: 1, unit_price: cents }];
        let create = Create {
            attempt: &placed.attempt(2, 1),
            order_id,
            customer_id: "anna",
            currency: Currency::Usd,
            lines: &lines,
        };
        let created = self.orders.create(&[create]).await.unwrap();
        assert!(created[0].is_ok(), "{created:?}");
        placed
    }

    /// An order whose payment is prepared, and the step that charges `card`.
    pub(crate) async fn prepare(&self, card: &str) -> (Placed, ChargePayment) {
        let placed = self.place(4200).await;
        let prepared = placed.prepare().run(&self.payments, &placed.attempt(3, 1)).await.unwrap();
        let charge = placed.charge(&prepared.intent_id, card);
        (placed, charge)
    }

    /// Like [`Shop::prepare`], and charged.
    pub(crate) async fn charge(
        &self,
        card: &str,
    ) -> (Placed, ChargePayment, Result<Charge, Failure>) {
        let (placed, charge) = self.prepare(card).await;
        let answer = charge.run(&self.payments, &placed.attempt(4, 1)).await;
        (placed, charge, answer)
    }

    /// Our book of the order's payment.
    pub(crate) async fn book(&self, placed: &Placed) -> Payment {
        self.payments.store.payment(placed.order_id).await.unwrap().expect("a payment")
    }

    /// The gateway's book of the order: captured, refunded.
    pub(crate) async fn ledger(&self, placed: &Placed) -> (i64, i64) {
        let ledger: Value = self.ask("GET", "/_sim/ledger", None).await;
        let order = &ledger["orders"][placed.order_id.to_string()];
        (order["captured"].as_i64().unwrap_or(0), order["refunded"].as_i64().unwrap_or(0))
    }

    /// The gateway's intents of the order.
    pub(crate) async fn intents(&self, placed: &Placed) -> Vec<Intent> {
        let order_id = placed.order_id.to_string();
        let is_ours = |intent: &Intent| intent.metadata.get("order_id") == Some(&order_id);
        let since = engine::now() - Duration::from_secs(48 * 3600);
        let gateway = &self.payments.gateway;
        gateway.list_intents(since.., is_ours, soon()).await.unwrap()
    }

    /// The customer answers the challenge.
    pub(crate) async fn authenticate(&self, intent_id: &str, outcome: &str) {
        let path = format!("/_sim/payment_intents/{intent_id}/authenticate?outcome={outcome}");
        self.ask("POST", &path, None).await;
    }

    /// The gateway's clock goes on, and with it the age of keys.
    pub(crate) async fn advance_hours(&self, hours: u32) {
        let body = json!({ "advance_seconds": hours * 3600 });
        self.ask("POST", "/_sim/clock", Some(body)).await;
    }

    /// Where the gateway sends its events.
    pub(crate) fn send_events_to(&self, url: &str) {
        self.simulator.set_webhook_url(Some(url)).unwrap();
    }

    /// Other faults from now on.
    pub(crate) async fn faults(&self, faults: Value) {
        self.ask("POST", "/_sim/faults", Some(faults)).await;
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}{path}", self.simulator.url());
        let request = self.http.request(method, url).bearer_auth(KEY);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap().error_for_status().unwrap();
        let text = response.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// A call as Stripe's own tools send it.
    pub(crate) async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}{path}", self.simulator.url());
        let response = self.http.post(url).bearer_auth(KEY).form(form).send().await.unwrap();
        response.error_for_status().unwrap().json().await.unwrap()
    }
}

impl Placed {
    pub(crate) fn attempt(&self, step: u32, number: u32) -> Attempt {
        Attempt::for_test(self.saga_id, step, number)
    }

    /// An attempt of a step that was first intended `hours` ago.
    pub(crate) fn old_attempt(&self, step: u32, number: u32, hours: u64) -> Attempt {
        let mut attempt = self.attempt(step, number);
        attempt.intended_at -= Duration::from_secs(hours * 3600);
        attempt
    }

    pub(crate) fn prepare(&self) -> PreparePayment {
        PreparePayment { order_id: self.order_id, amount: self.amount }
    }

    pub(crate) fn charge(&self, intent_id: &str, card: &str) -> ChargePayment {
        ChargePayment {
            order_id: self.order_id,
            intent_id: intent_id.to_owned(),
            return_url: Some(RETURN_URL.to_owned()),
            payment_method: card.to_owned(),
            amount: self.amount,
            stage: ChargeStage::Confirm,
        }
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

pub(crate) fn plan(faults: Value) -> FaultPlan {
    serde_json::from_value(faults).unwrap()
}

/// One thing that goes wrong at the first attempt under each key. Timeouts outlast ours.
pub(crate) fn once(op: &str, kind: &str) -> Value {
    let mut rule = json!({ "op": op, "kind": kind, "attempts_max": 1 });
    if kind.starts_with("timeout") {
        rule["millis"] = json!(10_000);
    }
    json!({ "rules": [rule] })
}

async fn database() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = tokio::task::spawn_blocking(local_postgres::testing::server).await.unwrap();
    let n = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("payment_{n}_{}", Uuid::new_v4().as_simple());
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("create database {name}"));
    sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let url = server.url(&name);
    INVENTORY.migrate(&url).await.unwrap();
    ORDERS.migrate(&url).await.unwrap();
    url
}
