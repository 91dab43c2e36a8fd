//! What keeps a node from starting `doctor` explains beforehand, in the very words of the refusal.

use local_postgres::testing::TestServer;
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::harness::{Databases, Finished, Shop, amends, free_port, server, until};

type Variables = Vec<(&'static str, String)>;

fn with_gateway(databases: Variables) -> Variables {
    let values = [("PAYMENT_GATEWAY_KEY", "sk_test_1"), ("PAYMENT_WEBHOOK_SECRET", "whsec_1")];
    databases.into_iter().chain(values.map(|(name, value)| (name, value.to_owned()))).collect()
}

fn doctor(variables: &Variables) -> (Finished, Value) {
    let finished = amends(&["doctor", "-o", "json"], variables);
    let verdict = serde_json::from_str(&finished.stdout);
    let verdict = verdict.unwrap_or_else(|_| panic!("{}\n{}", finished.stdout, finished.stderr));
    (finished, verdict)
}

/// What `doctor` says of `check`, one a database.
fn findings<'a>(verdict: &'a Value, check: &str) -> Vec<&'a Value> {
    let all = verdict["checks"].as_array().unwrap().iter();
    all.filter(|finding| finding["check"] == check).collect()
}

/// `doctor` refuses over `check` of `of`, and `serve` says the same and does not start.
#[track_caller]
fn both_refuse(databases: Variables, of: &str, check: &str, code: i32) {
    let variables = with_gateway(databases);
    let (finished, verdict) = doctor(&variables);
    assert_eq!(finished.code, Some(1), "{verdict:#}");
    assert_eq!(verdict["ok"], false);
    let finding = findings(&verdict, check).into_iter().find(|finding| finding["of"] == of);
    let finding = finding.unwrap_or_else(|| panic!("nothing of {of}: {verdict:#}"));
    assert_eq!(finding["level"], "refused", "{finding}");
    let mut sentence = format!("the {of} {}", finding["found"].as_str().unwrap());
    if let Some(advice) = finding["advice"].as_str() {
        sentence = format!("{sentence}: {advice}");
    }

    let ports = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let serve = ["serve", "--listen", &ports[0], "--operator-listen", &ports[1]];
    let refused = amends(&serve, &variables);
    assert_eq!(refused.code, Some(code), "{}", refused.stderr);
    assert!(refused.stderr.contains(&sentence), "no `{sentence}` in: {}", refused.stderr);
}

async fn on(url: &str, sql: String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_refused_of_databases_on_which_a_node_runs() {
    let shop = Shop::open(&[("tea", 1)]).await;
    let mut node = shop.node().await;
    let (finished, verdict) = doctor(&shop.variables());
    assert_eq!(finished.code, Some(0), "{verdict:#}");
    assert_eq!(verdict["refused"], 0);
    for check in ["reachable", "version", "primary", "durability", "migrations", "clock"] {
        let found = findings(&verdict, check);
        assert!(found.len() == 3 && found.iter().all(|one| one["level"] == "ok"), "{verdict:#}");
    }
    assert_eq!(findings(&verdict, "connections").len(), 3);
    for (check, found) in [
        ("shards", "has 8 shards"),
        ("nodes", "has 1 nodes that are alive"),
        ("partitions", "has partitions for 5 weeks"),
        ("settings", "with a key and a webhook secret"),
    ] {
        let one = findings(&verdict, check);
        assert!(one[0]["found"].as_str().unwrap().contains(found), "{verdict:#}");
        assert_eq!(one[0]["level"], "ok", "{verdict:#}");
    }
    let said = amends(&["doctor"], &shop.variables());
    assert!(said.stdout.contains("a node can start here"), "{}", said.stdout);

    // Ctrl-C is a hand-over, and no failure.
    node.program.signal(Signal::SIGINT);
    let status = until("the node stops", async || node.program.ended()).await;
    assert_eq!(status.code(), Some(0), "{}", node.program.log());
    let free = "select count(*) from saga.shard where node_id is null";
    assert_eq!(shop.count(&shop.databases.amends, free).await, 8, "all is handed over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_lose_orders_is_explained() {
    let forgetful = TestServer::start(&[("fsync", "off")]);
    let databases = Databases::furnished(&forgetful, "explained").await;
    both_refuse(databases.variables(), "amends database", "durability", 1);

    let databases = Databases::clones().await;
    let name = databases.orders.rsplit('/').next().unwrap().split('?').next().unwrap();
    let off = format!("alter database {name} set synchronous_commit = off");
    on(&databases.orders, off).await;
    both_refuse(databases.variables(), "order database", "durability", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_explained() {
    let databases = Databases::clones().await;
    let name = databases.inventory.rsplit('/').next().unwrap().split('?').next().unwrap();
    let only = format!("alter database {name} set default_transaction_read_only = on");
    on(&databases.inventory, only).await;
    both_refuse(databases.variables(), "inventory database", "primary", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_that_are_missing_or_too_new_or_changed_are_explained() {
    let [amends_url, inventory, orders] = Databases::empty(server(), "unmigrated").await;
    let names = ["AMENDS_DATABASE_URL", "INVENTORY_DATABASE_URL", "ORDERS_DATABASE_URL"];
    let bare = names.into_iter().zip([amends_url, inventory, orders]).collect();
    both_refuse(bare, "amends database", "migrations", 1);

    let databases = Databases::clones().await;
    let newer = "insert into orders.migration \
                 (version, description, success, checksum, execution_time)
                 values (9000, 'of tomorrow', true, 'x', 0)";
    on(&databases.orders, newer.to_owned()).await;
    both_refuse(databases.variables(), "order database", "migrations", 1);

    let databases = Databases::clones().await;
    let changed = "update inventory.migration set checksum = 'x' where version = 1";
    on(&databases.inventory, changed.to_owned()).await;
    both_refuse(databases.variables(), "inventory database", "migrations", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_explained_and_the_others_are_looked_at() {
    let databases = Databases::clones().await;
    let mut variables = databases.variables();
    variables[1].1 = format!("postgres://u:hunter2@127.0.0.1:{}/x", free_port());
    both_refuse(variables.clone(), "inventory database", "reachable", 8);
    let (finished, verdict) = doctor(&variables);
    assert_eq!(findings(&verdict, "migrations").len(), 2, "{verdict:#}");
    assert!(!finished.stdout.contains("hunter2"), "{}", finished.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_the_payment_gateway_lacks_is_said_at_once() {
    let databases = Databases::clones().await;
    let (finished, verdict) = doctor(&databases.variables());
    assert_eq!(finished.code, Some(1));
    let found: Vec<_> = findings(&verdict, "settings");
    assert_eq!(found.len(), 2, "{verdict:#}");
    assert!(found[0]["found"].as_str().unwrap().contains("PAYMENT_GATEWAY_KEY is not set"));
    assert!(found[1]["found"].as_str().unwrap().contains("PAYMENT_WEBHOOK_SECRET is not set"));
    assert_eq!(verdict["refused"], 2, "{verdict:#}");
}
