//! The engine as a program holds it: made ready, started, talked to, stopped.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_cron_scheduler::JobScheduler;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::client::Client;
use crate::clock;
use crate::error::StoreError;
use crate::id::SHARDS_MAX;
use crate::lane::Lane;
use crate::metrics::Meters;
use crate::node::Node;
use crate::operator::{self, Operator};
use crate::ownership::Ownership;
use crate::program::Registry;
use crate::schema::{Durability, SAGA, SchemaError};
use crate::store::lease::NodeName;
use crate::store::{PAGE_CONNECTIONS_MAX, POOL_CONNECTIONS_MAX, Store, partitions};
use crate::{housekeeper, inbox, listener, timekeeper};

/// How an engine runs. The defaults are for production.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `amends` database.
    pub database_url: String,
    /// What operators call this node: host and process.
    pub node_name: String,
    /// How many connections commit, at most. What waits during one commit is the next, so that the first
    /// one writes for all shards as long as it can; each further one takes a part of them when much
    /// waits.
    pub lanes: usize,
    /// How long a node that died keeps its shards: [`LEASE_TTL`].
    pub lease_ttl: Duration,
    /// Whether a server that may lose what it acknowledged will do.
    pub durability: Durability,
}

impl Settings {
    /// How many lanes there are unless told otherwise.
    pub const LANES: u8 = 2;

    /// [`Settings::LANES`], a lease of 10 s, durable.
    pub fn new(database_url: impl Into<String>) -> Self {
        let node_name = format!("{}-{}", hostname(), std::process::id());
        Self {
            database_url: database_url.into(),
            node_name,
            lanes: Self::LANES.into(),
            lease_ttl: Duration::from_secs(10),
            durability: Durability::Required,
        }
    }

    /// How many connections an engine with these opens, at most: those of the API and of operators' lists,
    /// the lanes, the lease and the listener, and one that makes partitions.
    pub fn connections_max(&self) -> u32 {
        let shared = POOL_CONNECTIONS_MAX + PAGE_CONNECTIONS_MAX;
        u32::try_from(self.lanes).unwrap_or(u32::MAX).saturating_add(shared + 3)
    }
}

/// How long a lease may last: long enough to be renewed in time, short enough to be waited for.
pub const LEASE_TTL: RangeInclusive<Duration> =
    Duration::from_millis(500)..=Duration::from_secs(600);

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The database is not what the engine needs.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two workflows or activities have one name.
    #[error("{0}")]
    Clash(String),
    /// A setting that can not work.
    #[error("{0}")]
    Setting(String),
    /// The ticker of the schedules does not start.
    #[error("the schedules do not start")]
    Schedules(#[from] tokio_cron_scheduler::JobSchedulerError),
}

/// Brings the `amends` database up to date and, the first time, gives it its `shards`.
pub async fn migrate(url: &str, shards: u16) -> Result<(), EngineError> {
    if shards == 0 || shards > SHARDS_MAX {
        let message = format!("a database has 1 to {SHARDS_MAX} shards, not {shards}");
        return Err(EngineError::Setting(message));
    }
    SAGA.migrate(url).await?;
    let store = Store::connect(url).await?;
    let mut connection = store.connection().await?;
    partitions::furnish(&mut connection, shards).await?;
    Ok(())
}

/// A running engine.
pub struct Engine {
    node: Arc<Node>,
    /// Cancelled to hand everything over.
    leaving: CancellationToken,
    /// Cancelled to stop at once.
    stopped: CancellationToken,
    ownership: JoinHandle<()>,
    schedules: Option<JobScheduler>,
}

impl Engine {
    /// Starts an engine: refuses a database that is not up to date or not durable.
    pub async fn start(settings: Settings, registry: Registry) -> Result<Self, EngineError> {
        #[cfg(feature = "testing")]
        let registry = crate::testing::applied_to(registry).map_err(EngineError::Setting)?;
        if let Some(clash) = registry.clash() {
            return Err(EngineError::Clash(clash.to_owned()));
        }
        if settings.lanes == 0 {
            return Err(EngineError::Setting("an engine needs at least one lane".to_owned()));
        }
        if !LEASE_TTL.contains(&settings.lease_ttl) {
            let (least, most) = (LEASE_TTL.start(), LEASE_TTL.end());
            let message =
                format!("a lease lasts {least:?} to {most:?}, not {:?}", settings.lease_ttl);
            return Err(EngineError::Setting(message));
        }
        SAGA.check(&settings.database_url, settings.durability).await?;
        let store = Store::connect(&settings.database_url).await?;
        let Some(shard_count) = store.shard_count().await? else {
            return Err(EngineError::Setting(operator::no_shards().to_string()));
        };
        let meters = Meters::new();
        let lanes = Lane::start(settings.lanes, &store, &meters);
        let workflows = registry.names().into_iter().map(str::to_owned).collect();
        let name = NodeName { id: Uuid::new_v4(), name: settings.node_name, workflows };
        let node = Arc::new(Node::new(name, store, registry, lanes, shard_count, meters));
        let (leaving, stopped) = (CancellationToken::new(), CancellationToken::new());
        let mut ownership = Ownership::new(node.clone(), settings.lease_ttl, stopped.clone());
        // From here on the clock is the database's.
        ownership.run_once().await?;
        node.store.make_partitions(clock::now()).await?;
        let ownership = tokio::spawn(ownership.run(leaving.clone()));
        tokio::spawn(listener::run(node.clone(), stopped.clone()));
        tokio::spawn(inbox::run(node.clone(), stopped.clone()));
        tokio::spawn(timekeeper::run(node.clone(), stopped.clone()));
        tokio::spawn(housekeeper::sweep(node.clone(), stopped.clone()));
        let schedules = Some(housekeeper::schedules(node.clone()).await?);
        Ok(Self { node, leaving, stopped, ownership, schedules })
    }

    /// Starts, shows and signals sagas.
    pub fn client(&self) -> Client {
        Client::new(self.node.clone())
    }

    /// What an operator may do.
    pub fn operator(&self) -> Operator {
        let node = self.node.clone();
        let poke = Arc::new(move |shard| {
            if node.shard(shard).is_some() {
                node.inbox_poke.notify_one();
            }
        });
        Operator::new(self.node.store.clone(), self.node.handlers().clone(), poke)
    }

    /// The node's id.
    pub fn node_id(&self) -> Uuid {
        self.node.name.id
    }

    /// How many sagas are in memory; the others rest in the database.
    pub fn sagas_in_memory(&self) -> usize {
        self.node.owned().iter().map(|shard| shard.in_memory()).sum()
    }

    /// Hands everything over: what is under way finishes, nothing new starts, other nodes go on.
    pub async fn shutdown(mut self) {
        self.leaving.cancel();
        if let Err(error) = (&mut self.ownership).await {
            tracing::error!(%error, "the hand-over broke");
        }
        self.stopped.cancel();
        if let Some(mut schedules) = self.schedules.take()
            && let Err(error) = schedules.shutdown().await
        {
            tracing::warn!(%error, "the schedules did not stop");
        }
    }

    /// Stops at once, as a crash would: nothing is finished, nothing is released.
    pub fn crash(self) {
        self.stopped.cancel();
        self.ownership.abort();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("node", &self.node.name).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}

/// The machine's name, as far as this process knows it.
fn hostname() -> String {
    let file = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = std::env::var("HOSTNAME").or(file).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "node".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_setting_that_can_not_work_is_refused_before_anything_is_asked() {
        let nowhere = || Settings::new("postgres://127.0.0.1:1/nowhere");
        for (settings, says) in [
            (Settings { lanes: 0, ..nowhere() }, "at least one lane"),
            (Settings { lease_ttl: Duration::ZERO, ..nowhere() }, "500ms to 600s, not 0ns"),
            (Settings { lease_ttl: Duration::MAX, ..nowhere() }, "500ms to 600s, not 1844"),
        ] {
            match Engine::start(settings, Registry::new()).await {
                Err(EngineError::Setting(message)) => assert!(message.contains(says), "{message}"),
                other => panic!("{:?}", other.map(|_| "it started")),
            }
        }
    }
}
