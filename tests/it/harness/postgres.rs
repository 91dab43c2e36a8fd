//! Three databases per test, cloned from migrated templates that know some products and keys.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use access::AccessKeys;
use activities::migrate::{INVENTORY, ORDERS};
use activities::order_store::Price;
use activities::{Currency, Money, Orders};
use gateway::Role;
use gateway::auth::NewKey;
use local_postgres::testing::TestServer;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::OnceCell;

/// What can be bought, and for how many cents.
const PRODUCTS: [(&str, i64); 8] = [
    ("tea", 450),
    ("cup", 1_250),
    ("pot", 3_999),
    ("rare", 10_000),
    ("crumb", 10),
    ("poison-panic", 450),
    ("poison-abort", 450),
    ("poison-oversize", 450),
];

/// Few shards: a test's database is made and looked at faster.
const SHARDS: u16 = 8;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The databases of one test.
#[derive(Clone, Debug)]
pub(crate) struct Databases {
    pub(crate) amends: String,
    pub(crate) inventory: String,
    pub(crate) orders: String,
    pub(crate) keys: Keys,
}

/// A token of each role.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) shop: String,
    /// Speaks for the customer `ann`.
    pub(crate) ann: String,
    pub(crate) operator: String,
    pub(crate) ops: String,
}

/// The server that all tests share, except those that kill theirs.
pub(crate) fn server() -> &'static TestServer {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    SERVER.get_or_init(|| match std::env::var("AMENDS_TEST_DATABASE_URL") {
        Ok(url) if !url.is_empty() => panic!(
            "the promises are kept against servers of their own: unset AMENDS_TEST_DATABASE_URL"
        ),
        // Every test has a node or two, and each of these some thirty connections.
        _ => TestServer::start(&[("max_connections", "400"), ("max_wal_size", "4GB")]),
    })
}

impl Databases {
    /// Clones of the templates.
    pub(crate) async fn clones() -> Self {
        static TEMPLATE: OnceCell<Databases> = OnceCell::const_new();
        let template = TEMPLATE.get_or_init(|| Self::furnished(server(), "template")).await;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut admin = PgConnection::connect(&server().url("postgres")).await.unwrap();
        let mut urls = Vec::new();
        for name in ["amends", "inventory", "orders"] {
            let own = format!("{name}_{number}");
            clone(&mut admin, &own, &format!("template_{name}")).await;
            urls.push(server().url(&own));
        }
        let [amends, inventory, orders] = urls.try_into().unwrap();
        Self { amends, inventory, orders, keys: template.keys.clone() }
    }

    /// New ones on `server`, migrated, with all products and keys.
    pub(crate) async fn furnished(server: &TestServer, prefix: &str) -> Self {
        let [amends, inventory, orders] = Self::empty(server, prefix).await;
        engine::migrate(&amends, SHARDS).await.unwrap();
        INVENTORY.migrate(&inventory).await.unwrap();
        ORDERS.migrate(&orders).await.unwrap();
        let book = Orders::connect(&orders, 1).unwrap();
        let price = |(sku, cents): (&str, i64)| Price {
            sku: sku.to_owned(),
            name: format!("A {sku}"),
            unit_price: Money::new(cents, Currency::Usd),
        };
        book.load_prices(&PRODUCTS.map(price)).await.unwrap();
        book.close().await;
        let keys = Keys::issue(&amends).await;
        Self { amends, inventory, orders, keys }
    }

    /// New ones with nothing in them.
    pub(crate) async fn empty(server: &TestServer, prefix: &str) -> [String; 3] {
        let mut admin = PgConnection::connect(&server.url("postgres")).await.unwrap();
        let mut urls = Vec::new();
        for name in ["amends", "inventory", "orders"] {
            let name = format!("{prefix}_{name}");
            let sql = AssertSqlSafe(format!("create database {name}"));
            admin.execute(sql).await.unwrap();
            urls.push(server.url(&name));
        }
        urls.try_into().unwrap()
    }

    /// What the program reads them from.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AMENDS_DATABASE_URL", self.amends.clone()),
            ("INVENTORY_DATABASE_URL", self.inventory.clone()),
            ("ORDERS_DATABASE_URL", self.orders.clone()),
        ]
    }
}

impl Keys {
    async fn issue(url: &str) -> Self {
        let access = AccessKeys::connect(url).unwrap();
        let issue = async |role: Role, subject: Option<&str>| {
            let (name, subject) = (format!("test {role}"), subject.map(str::to_owned));
            let (_, token) = access.issue(NewKey { name, role, subject }).await.unwrap();
            token.expose().to_owned()
        };
        Self {
            shop: issue(Role::Shop, None).await,
            ann: issue(Role::Customer, Some("ann")).await,
            operator: issue(Role::Operator, None).await,
            ops: issue(Role::Ops, None).await,
        }
    }
}

async fn clone(admin: &mut PgConnection, name: &str, template: &str) {
    let sql = format!("create database {name} template {template}");
    // Cloning fails while another connection is still on its way out of the template.
    super::until("the template is free", async || {
        match admin.execute(AssertSqlSafe(sql.clone())).await {
            Ok(_) => Some(()),
            Err(error) if error.to_string().contains("being accessed") => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
}
