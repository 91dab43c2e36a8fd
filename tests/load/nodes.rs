//! Engines that share a database, and clients that take them by turns.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use engine::client::{Start, StartKey};
use engine::{Client, Engine, Payload, Registry, Settings, Workflow};
use sqlx::{Connection, PgConnection};

use crate::arguments::LoadArguments;

/// How many shards the database is made with: as in the program.
pub(crate) const SHARDS: u16 = 32;
/// How soon each has its share: some leases.
const SHARED_WITHIN: Duration = Duration::from_secs(60);
/// How long a saga may take.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Engines in this process, each with lanes and connections of its own.
pub(crate) struct Nodes(Vec<Engine>);

/// Their clients.
pub(crate) struct Clients {
    clients: Vec<Client>,
    next: AtomicUsize,
}

impl Nodes {
    /// Makes the database at `url` and starts as many as `arguments` say.
    pub(crate) async fn start(
        url: &str,
        arguments: &LoadArguments,
        registry: impl Fn() -> anyhow::Result<Registry>,
    ) -> anyhow::Result<Self> {
        engine::migrate(url, SHARDS).await?;
        let mut engines = Vec::new();
        for number in 0..arguments.nodes {
            let mut settings = Settings::new(url);
            settings.lanes = arguments.lanes.map_or(settings.lanes, usize::from);
            settings.node_name = format!("load-{number}");
            engines.push(Engine::start(settings, registry()?).await?);
        }
        let nodes = Self(engines);
        nodes.share().await?;
        Ok(nodes)
    }

    /// Waits until every shard has its owner, and nobody more than his share.
    async fn share(&self) -> anyhow::Result<()> {
        let most = usize::from(SHARDS).div_ceil(self.0.len());
        let deadline = Instant::now() + SHARED_WITHIN;
        loop {
            let nodes = self.operator().nodes().await?;
            let owned = || nodes.iter().filter(|node| node.alive).map(|node| node.shards.len());
            if owned().sum::<usize>() == usize::from(SHARDS) && owned().all(|count| count <= most) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the nodes do not share the shards: {nodes:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn clients(&self) -> Clients {
        let clients = self.0.iter().map(Engine::client).collect();
        Clients { clients, next: AtomicUsize::new(0) }
    }

    /// The first one's.
    pub(crate) fn operator(&self) -> engine::Operator {
        self.0[0].operator()
    }

    /// How many sagas are in memory.
    pub(crate) fn sagas_in_memory(&self) -> usize {
        self.0.iter().map(Engine::sagas_in_memory).sum()
    }

    pub(crate) async fn shutdown(self) {
        for engine in self.0 {
            engine.shutdown().await;
        }
    }
}

impl Clients {
    /// Whose turn it is.
    pub(crate) fn next(&self) -> &Client {
        &self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }

    /// Runs a saga of nobody in particular, from its start to its end.
    pub(crate) async fn run<W: Workflow>(
        &self,
        input: &W::Input,
        key: Option<StartKey>,
    ) -> anyhow::Result<()> {
        let client = self.next();
        let id = client.start(start::<W>(input, key)?).await?.id;
        ensure!(client.ended(id, ENDS_WITHIN).await?, "{id} does not end");
        Ok(())
    }
}

/// What starts a saga of nobody in particular.
pub(crate) fn start<W: Workflow>(input: &W::Input, key: Option<StartKey>) -> anyhow::Result<Start> {
    let (workflow, input) = (W::NAME.to_owned(), Payload::encode(input)?);
    Ok(Start { workflow, input, key, business_key: None, subject: None })
}

/// Whether every saga of the database at `url` ended as one of these, and each of them is how some did.
pub(crate) async fn ended_as(url: &str, endings: &[&str]) -> anyhow::Result<()> {
    let found = "select distinct coalesce(ending, 'open') as ending from saga.saga order by ending";
    let mut connection = PgConnection::connect(url).await?;
    let found: Vec<String> = sqlx::query_scalar(found).fetch_all(&mut connection).await?;
    ensure!(found == endings, "sagas ended as {found:?}, not {endings:?}");
    Ok(())
}
