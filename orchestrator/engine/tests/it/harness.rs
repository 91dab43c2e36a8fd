//! A database per test, cloned from a migrated template; engines on it; a world to act upon.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::client::{Signal, Start, StartKey, Told, WaitFor};
use engine::journal::Ending;
use engine::view::SagaView;
use engine::{Client, Engine, Payload, Registry, SagaId, Settings};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

const TEMPLATE: &str = "engine_template";
static MIGRATED: OnceCell<()> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Long enough for anything that is going to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) fn url(database: &str) -> String {
    local_postgres::testing::server().url(database)
}

/// A database of its own, with everything in place.
pub(crate) async fn database() -> String {
    let mut admin = PgConnection::connect(&url("postgres")).await.unwrap();
    MIGRATED
        .get_or_init(async || {
            let mut admin = PgConnection::connect(&url("postgres")).await.unwrap();
            admin.execute(AssertSqlSafe(format!("create database {TEMPLATE}"))).await.unwrap();
            engine::migrate(&url(TEMPLATE), 8).await.unwrap();
            admin.close().await.unwrap();
        })
        .await;
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("engine_{}_{number}", std::process::id());
    // Cloning fails while another connection is still on its way out of the template.
    for _ in 0..100 {
        let clone = format!("create database {name} template {TEMPLATE}");
        match admin.execute(AssertSqlSafe(clone)).await {
            Ok(_) => return url(&name),
            Err(error) if error.to_string().contains("being accessed") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the template stays in use");
}

/// An engine with a short lease.
pub(crate) async fn engine(url: &str, registry: Registry) -> Engine {
    let mut settings = Settings::new(url);
    settings.lease_ttl = Duration::from_secs(2);
    Engine::start(settings, registry).await.unwrap()
}

pub(crate) fn start(workflow: &str, input: &impl Serialize) -> Start {
    let input = Payload::encode(input).unwrap();
    Start { workflow: workflow.into(), input, key: None, business_key: None, subject: None }
}

pub(crate) fn with_key(mut start: Start, key: &str) -> Start {
    let key = StartKey { scope: "test".into(), key: key.into(), fingerprint: [7; 32] };
    start.key = Some(key);
    start
}

/// Sends one signal.
pub(crate) async fn signal(client: &Client, saga: SagaId, name: &str, payload: Payload) {
    let (message_id, name) = (Uuid::now_v7(), name.to_owned());
    let told = client.signal(vec![Signal { saga, message_id, name, payload }]).await.unwrap();
    assert_eq!(told, [Told::Pending]);
}

/// Waits until no saga of the engine is in memory: all that are open rest in the database.
pub(crate) async fn rest(engine: &Engine) {
    let looking = async {
        while engine.sagas_in_memory() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, looking).await.expect("what waits leaves memory");
}

pub(crate) async fn ended(client: &Client, id: SagaId) -> SagaView {
    let view = client.wait(id, WaitFor::End, SOON).await.unwrap().unwrap();
    assert!(view.summary.ending.is_some(), "still open: {:#?}", view.why);
    view
}

pub(crate) async fn ends(client: &Client, id: SagaId, ending: Ending) -> SagaView {
    let view = ended(client, id).await;
    assert_eq!(view.summary.ending, Some(ending), "{view:#?}");
    view
}

/// What sagas did to the world, in order, and what is in force.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) log: Mutex<Vec<String>>,
    pub(crate) in_force: Mutex<BTreeMap<String, i32>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn add(&self, what: &str, by: i32) {
        *self.in_force.lock().unwrap().entry(what.into()).or_default() += by;
    }
}
