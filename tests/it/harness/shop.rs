//! A shop: databases, stock, a payment gateway, and as many nodes as a test starts.

use activities::inventory_store::{Receipt, ReceiptKind};
use activities::{Inventory, Line};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use super::{Customer, Databases, Finished, Program, Simulator, amends, free_port, http, until};

/// How long a dead node keeps its sagas here.
const LEASE_TTL_MS: u32 = 2_000;

/// What a shop begins with.
#[derive(Clone, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) stock: &'a [(&'a str, u32)],
    /// What the payment gateway does wrong.
    pub(crate) faults: Value,
}

/// A shop of a test's own.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) databases: Databases,
    pub(crate) simulator: Simulator,
    directory: TempDir,
    /// The first node's port, where the payment gateway's events go.
    first: std::cell::Cell<Option<u16>>,
    nodes: std::cell::Cell<u32>,
}

/// A node of the platform.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) program: Program,
    pub(crate) url: String,
    pub(crate) operators_url: String,
    ports: [u16; 2],
    shop_key: String,
    operator_key: String,
}

impl Shop {
    /// With this in stock, and nothing that goes wrong.
    pub(crate) async fn open(stock: &[(&str, u32)]) -> Self {
        Self::with(Setup { stock, faults: json!({}) }).await
    }

    pub(crate) async fn with(setup: Setup<'_>) -> Self {
        Self::on(Databases::clones().await, setup).await
    }

    /// On databases that are there.
    pub(crate) async fn on(databases: Databases, setup: Setup<'_>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        deliver(&databases.inventory, setup.stock).await;
        let first = free_port();
        let events = format!("http://127.0.0.1:{first}/v1/payment-events");
        let simulator = Simulator::start(directory.path(), &setup.faults, Some(&events)).await;
        let (first, nodes) = (std::cell::Cell::new(Some(first)), std::cell::Cell::default());
        Self { databases, simulator, directory, first, nodes }
    }

    /// Starts a node, and waits until it is ready.
    pub(crate) async fn node(&self) -> Node {
        self.node_with(&[]).await
    }

    /// The same, with more in its environment.
    pub(crate) async fn node_with(&self, more: &[(&'static str, String)]) -> Node {
        let ports = [self.first.take().unwrap_or_else(free_port), free_port()];
        self.node_on(ports, more).await
    }

    /// Starts a node in the place of one that is gone.
    pub(crate) async fn again(&self, gone: Node) -> Node {
        let ports = gone.ports;
        drop(gone);
        self.node_on(ports, &[]).await
    }

    async fn node_on(&self, ports: [u16; 2], more: &[(&'static str, String)]) -> Node {
        let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
        let ttl = LEASE_TTL_MS.to_string();
        let arguments = [
            "serve",
            "--listen",
            &addresses[0],
            "--operator-listen",
            &addresses[1],
            "--lease-ttl-ms",
            &ttl,
        ];
        self.nodes.set(self.nodes.get() + 1);
        let log = self.directory.path().join(format!("node-{}.log", self.nodes.get()));
        let mut variables = self.variables();
        variables.push(("RUST_LOG", "info,tower_http=warn,sqlx=warn".to_owned()));
        variables.extend_from_slice(more);
        let mut program = Program::spawn(&arguments, &variables, &log);
        let [url, operators_url] = addresses.map(|address| format!("http://{address}"));
        until("the node is ready", async || {
            assert_eq!(program.ended(), None, "{}", program.log());
            let answer = http().get(format!("{url}/health/ready")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        let (shop_key, operator_key) =
            (self.databases.keys.shop.clone(), self.databases.keys.operator.clone());
        Node { program, url, operators_url, ports, shop_key, operator_key }
    }

    /// What the program's environment says.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.databases.variables();
        variables.extend([
            ("PAYMENT_GATEWAY_URL", self.simulator.url.clone()),
            ("PAYMENT_GATEWAY_KEY", "sk_test_simulator".to_owned()),
            ("PAYMENT_WEBHOOK_SECRET", "whsec_simulator".to_owned()),
            ("PAYMENT_RETURN_URL", "https://shop.example/paid".to_owned()),
        ]);
        variables
    }

    /// `amends verify`, when nothing is under way any more: every promise holds.
    pub(crate) fn verify(&self) -> Value {
        let ended = self.verified();
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
        let verdict: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(verdict["verified"], true, "{verdict:#}");
        assert_eq!(verdict["at_rest"], true, "{verdict:#}");
        verdict
    }

    /// `amends verify`, whatever it says.
    pub(crate) fn verified(&self) -> Finished {
        let ledger = self.simulator.ledger.to_str().unwrap();
        let arguments = ["verify", "--at-rest", "-o", "json", "--ledger", ledger];
        amends(&arguments, &self.databases.variables())
    }

    /// A number that is in one of the databases.
    pub(crate) async fn count(&self, url: &str, sql: &str) -> i64 {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    }

    /// How many checkouts were ever accepted.
    pub(crate) async fn sagas(&self) -> i64 {
        self.count(&self.databases.amends, "select count(*) from saga.saga").await
    }
}

impl Node {
    /// Somebody who buys here.
    pub(crate) fn customer(&self, name: &str) -> Customer {
        let (url, key) = (self.url.clone(), self.shop_key.clone());
        Customer { http: http(), url, key, name: name.to_owned() }
    }

    /// The operators' command line, at this node.
    pub(crate) fn operate(&self, arguments: &[&str]) -> Finished {
        self.operate_as(&self.operator_key, arguments)
    }

    pub(crate) fn operate_as(&self, key: &str, arguments: &[&str]) -> Finished {
        let variables =
            [("AMENDS_URL", self.operators_url.clone()), ("AMENDS_KEY", key.to_owned())];
        amends(arguments, &variables)
    }

    /// A counter of its metrics, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let url = format!("{}/metrics", self.operators_url);
        let text = http().get(url).send().await.unwrap().text().await.unwrap();
        let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| {
            line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok())
        });
        values.sum()
    }
}

/// Puts goods on the shelves.
pub(crate) async fn deliver(url: &str, stock: &[(&str, u32)]) {
    let inventory = Inventory::connect(url, 1).unwrap();
    let line = |(sku, quantity): &(&str, u32)| Line { sku: (*sku).to_owned(), quantity: *quantity };
    let lines: Vec<_> = stock.iter().map(line).collect();
    let receipt = Receipt { kind: ReceiptKind::Receipt, reference: "first", lines: &lines };
    inventory.receive(receipt).await.unwrap();
    inventory.close().await;
}
