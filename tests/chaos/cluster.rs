//! Everything that runs: a PostgreSQL, the payment gateway in its own process, and nodes.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use activities::inventory_store::{Receipt, ReceiptKind};
use activities::{Inventory, Line};
use anyhow::Context;
use local_postgres::testing::TestServer;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::disk::Disks;
use crate::harness::{Databases, Simulator};
use crate::node::{Node, ports};
use crate::proxy::Proxy;

/// How a cluster begins.
#[derive(Clone, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) nodes: usize,
    pub(crate) stock: &'a [(&'a str, u32)],
    /// What the payment gateway does wrong.
    pub(crate) gateway: Value,
    /// Settings of PostgreSQL.
    pub(crate) postgres: &'a [(&'a str, &'a str)],
    /// Variables of every node.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// What lets their clocks be set, if that is to be done.
    pub(crate) faketime: Option<PathBuf>,
    /// What PostgreSQL is put on, if not on the machine's own disk.
    pub(crate) disks: Option<&'a Disks>,
}

/// A running platform, and the means to harm it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) simulator: Simulator,
    pub(crate) databases: Databases,
    /// The gateway's events go to whichever node answers.
    _events: Proxy,
    postgres: Mutex<TestServer>,
    directory: TempDir,
}

/// The settings of every server: each node has some thirty connections, and zombies keep theirs.
const POSTGRES: [(&str, &str); 3] = [
    ("max_connections", "400"),
    ("max_wal_size", "4GB"),
    // After a crash it would sync thousands of small files one by one before it does anything.
    ("recovery_init_sync_method", "syncfs"),
];

impl Cluster {
    /// Starts everything and waits until all nodes are ready.
    pub(crate) async fn start(setup: &Setup<'_>) -> anyhow::Result<Self> {
        let settings: Vec<_> = POSTGRES.iter().chain(setup.postgres).copied().collect();
        let mut server = tokio::task::block_in_place(|| TestServer::start(&settings));
        if let Some(disks) = setup.disks {
            tokio::task::block_in_place(|| disks.take_in(&mut server))?;
        }
        let databases = Databases::furnished(&server, "chaos").await;
        let directory = tempfile::tempdir()?;
        deliver(&databases.inventory, setup.stock).await?;
        let places: Vec<[u16; 2]> = (0..setup.nodes).map(|_| ports()).collect();
        let events = Proxy::open(places.iter().map(|ports| ports[0]).collect()).await?;
        let webhooks = format!("http://127.0.0.1:{}/v1/payment-events", events.port);
        let simulator = Simulator::start(directory.path(), &setup.gateway, Some(&webhooks)).await;
        let mut variables = vec![
            ("PAYMENT_GATEWAY_URL", simulator.url.clone()),
            ("PAYMENT_GATEWAY_KEY", "sk_test_simulator".to_owned()),
            ("PAYMENT_WEBHOOK_SECRET", "whsec_simulator".to_owned()),
        ];
        variables.extend_from_slice(&setup.variables);
        let mut nodes = Vec::new();
        for (number, ports) in places.into_iter().enumerate() {
            let name = format!("node-{number}");
            let mut node =
                Node::new(name, ports, &databases, variables.clone(), directory.path()).await?;
            if let Some(library) = &setup.faketime {
                node.has_a_clock_of_its_own(library, directory.path())?;
            }
            nodes.push(node);
        }
        let postgres = Mutex::new(server);
        let cluster = Self { nodes, simulator, databases, _events: events, postgres, directory };
        for node in &cluster.nodes {
            node.start(&[]);
        }
        for node in &cluster.nodes {
            node.ready().await?;
        }
        Ok(cluster)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// kill -9 of the server and all its sessions; nothing answers until it is restarted.
    pub(crate) fn kill_postgres(&self) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| self.postgres.lock().unwrap().postgres().kill())
            .context("PostgreSQL can not be killed")
    }

    /// After [`Cluster::kill_postgres`], or after it was told to stop.
    pub(crate) fn restart_postgres(&self) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| self.postgres.lock().unwrap().postgres().restart())
            .context("PostgreSQL can not be restarted")
    }

    pub(crate) fn postgres_pid(&self) -> Option<u32> {
        self.postgres.lock().unwrap().postgres().pid()
    }

    /// A connection that no harm is done to but the server's own.
    pub(crate) async fn amends(&self) -> anyhow::Result<PgConnection> {
        connect(&self.databases.amends).await
    }

    /// A number that is in a database.
    pub(crate) async fn number(&self, url: &str, sql: &str) -> anyhow::Result<i64> {
        let mut connection = connect(url).await?;
        let sql = AssertSqlSafe(sql.to_owned());
        Ok(sqlx::query_scalar(sql).fetch_one(&mut connection).await?)
    }

    /// Reads the counters of all nodes that answer.
    pub(crate) async fn read_counters(&self) {
        for node in &self.nodes {
            node.read_counters().await;
        }
    }

    /// What all nodes counted.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.nodes.iter().map(|node| node.counted(name)).sum()
    }
}

/// Connects; a server that is just starting is waited for.
pub(crate) async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let connecting = tokio::time::timeout(Duration::from_secs(5), PgConnection::connect(url));
    Ok(connecting.await.context("PostgreSQL does not answer")??)
}

/// Puts goods on the shelves.
async fn deliver(url: &str, stock: &[(&str, u32)]) -> anyhow::Result<()> {
    let inventory = Inventory::connect(url, 1)?;
    let line = |(sku, quantity): &(&str, u32)| Line { sku: (*sku).to_owned(), quantity: *quantity };
    let lines: Vec<_> = stock.iter().map(line).collect();
    let receipt = Receipt { kind: ReceiptKind::Receipt, reference: "first", lines: &lines };
    inventory.receive(receipt).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    inventory.close().await;
    Ok(())
}
