//! All of the platform in one process: the stores, the payments, the engine, and both doors.

mod keys;
mod metrics;
mod ready;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use activities::payment_gateway::PaymentGateway;
use activities::payment_gateway::settings::Settings as PaymentSettings;
use activities::payment_store::PaymentStore;
use activities::{Inventory, Orders, Payments, Shop};
use anyhow::Context;
use engine::schema::Durability;
use engine::{Client, Engine, Operator, Registry, Settings as EngineSettings};
use gateway::app::IN_FLIGHT_MAX;
use gateway::problem::Pages;
use gateway::{Doors, Gate};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workflows::PlaceOrder;

use crate::databases::Urls;
use crate::storefront::{self, Storefront};

pub(crate) use keys::{FirstKey, issue, print, revoke};

/// How many connections each store's database gets: its work comes in batches, and each connection has its
/// own plans to make first.
pub(crate) const STORE_CONNECTIONS_MAX: u32 = 4;

/// How many connections commit the engine's work, unless something else is said.
pub(crate) const LANES: u8 = EngineSettings::LANES;

/// How long the stores' connections may take to end when the program stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// How long a node that died keeps its sagas, unless something else is said.
pub(crate) const LEASE_TTL_MS: u32 = 10_000;

/// How many connections a node opens to the engine's database, at most.
pub(crate) fn engine_connections_max(lanes: u8) -> u32 {
    let mut settings = EngineSettings::new("");
    settings.lanes = lanes.into();
    settings.connections_max() + access::CONNECTIONS_MAX
}

/// What a platform is made of.
pub(crate) struct Parts {
    pub(crate) urls: Urls,
    pub(crate) payments: PaymentSettings,
    /// How many connections commit the engine's work.
    pub(crate) lanes: usize,
    /// How long the node keeps its sagas when it is not heard of any more.
    pub(crate) lease_ttl: Duration,
    /// Whether databases that may lose what they acknowledged will do.
    pub(crate) allow_data_loss: bool,
    /// Who may come in.
    pub(crate) gate: Gate,
    /// Where customers come in.
    pub(crate) public: TcpListener,
    /// Where operators come in.
    pub(crate) operators: TcpListener,
}

/// A running platform.
pub(crate) struct Platform {
    pub(crate) public: SocketAddr,
    pub(crate) operators: SocketAddr,
    pub(crate) inventory: Inventory,
    pub(crate) orders: Orders,
    engine: Engine,
    stopping: CancellationToken,
    doors: [JoinHandle<std::io::Result<()>>; 2],
}

impl Platform {
    /// Starts it. The databases must be up to date.
    pub(crate) async fn start(parts: Parts) -> anyhow::Result<Self> {
        let metrics = metrics::install()?;
        let inventory = Inventory::connect(&parts.urls.inventory, STORE_CONNECTIONS_MAX)?;
        let orders = Orders::connect(&parts.urls.orders, STORE_CONNECTIONS_MAX)?;
        let payments = Arc::new(Payments {
            gateway: PaymentGateway::new(parts.payments)?,
            store: PaymentStore::new(&orders),
            inventory: inventory.clone(),
        });
        let shop = Shop {
            inventory: inventory.clone(),
            orders: orders.clone(),
            payments: payments.clone(),
        };
        let registry = Registry::new().workflow::<PlaceOrder>(&Arc::new(shop));
        let mut settings = EngineSettings::new(&parts.urls.amends);
        settings.lanes = parts.lanes;
        settings.lease_ttl = parts.lease_ttl;
        if parts.allow_data_loss {
            settings.durability = Durability::Waived;
        }
        let engine =
            Engine::start(settings, registry).await.context("the engine does not start")?;

        let stopping = CancellationToken::new();
        let stores = storefront::RealStores {
            inventory: inventory.clone(),
            orders: orders.clone(),
            payments,
        };
        let sagas = Arc::new(engine.client());
        let storefront = Storefront::new(sagas, Arc::new(stores), stopping.clone());
        let doors = Doors {
            gate: parts.gate,
            health: ready::health(engine.operator(), inventory.clone(), orders.clone(), metrics),
            pages: Pages::new(&[storefront::PROBLEMS]),
            in_flight_max: IN_FLIGHT_MAX,
        };
        let customers = doors.clone().public(storefront.routes());
        let staff = doors.operators(Arc::new(engine.operator()));
        let (public, operators) = (parts.public.local_addr()?, parts.operators.local_addr()?);
        let serve = |listener, router| {
            tokio::spawn(gateway::listen::serve(listener, router, stopping.clone()))
        };
        let doors = [serve(parts.public, customers), serve(parts.operators, staff)];
        Ok(Self { public, operators, inventory, orders, engine, stopping, doors })
    }

    pub(crate) fn client(&self) -> Client {
        self.engine.client()
    }

    pub(crate) fn operator(&self) -> Operator {
        self.engine.operator()
    }

    /// Accepts nothing new, answers what is under way, hands the sagas over.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stopping.cancel();
        for door in futures_util::future::try_join_all(self.doors).await? {
            door.context("a listener broke")?;
        }
        self.engine.shutdown().await;
        // What still waits for an answer there has none to give any more.
        let closing = async { tokio::join!(self.inventory.close(), self.orders.close()) };
        if tokio::time::timeout(CLOSE_WITHIN, closing).await.is_err() {
            tracing::warn!("connections to the stores do not end; they are left to their servers");
        }
        Ok(())
    }
}
