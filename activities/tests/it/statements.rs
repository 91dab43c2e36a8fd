//! Every statement fits the schema, and the hot ones use their index.

use activities::payment_store::PaymentStore;
use activities::{Inventory, Orders};
use engine::store::PLANNED_BY_KEY;
use sqlx::{AssertSqlSafe, Executor, PgConnection, SqlSafeStr};

use crate::support::{OwnDatabase, inventory, orders};

async fn prepare_all(database: &OwnDatabase, statements: Vec<&'static str>) {
    let mut connection = database.connect().await;
    assert!(statements.len() > 10, "where are they?");
    for statement in statements {
        if let Err(error) = (&mut connection).prepare(statement.into_sql_str()).await {
            panic!("{error}\n{statement}");
        }
    }
}

#[tokio::test]
async fn every_statement_of_the_inventory_prepares() {
    let (_, database) = inventory().await;
    prepare_all(&database, Inventory::statements()).await;
}

#[tokio::test]
async fn every_statement_of_the_orders_prepares() {
    let (_, database) = orders().await;
    prepare_all(&database, Orders::statements()).await;
}

/// The plan of a prepared statement whatever its parameters are, in a session like those of a store.
async fn plan(connection: &mut PgConnection, statement: &str) -> Vec<String> {
    let parameters = (1..).take_while(|n| statement.contains(&format!("${n}"))).count();
    let nulls = vec!["null"; parameters].join(", ");
    let arguments = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let sql = format!("prepare it as {statement}; explain execute it {arguments}; deallocate it");
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| sqlx::Row::get(row, 0)).collect()
}

/// The nodes of a plan that read a table or an index without a key.
fn scans(plan: &[String]) -> Vec<&str> {
    let reads = |line: &str| line.contains("Index Scan") || line.contains("Index Only Scan");
    let with_key = |next: Option<&String>| next.is_some_and(|next| next.contains("Index Cond"));
    let scan = |(at, line): (usize, &'_ String)| {
        line.contains("Seq Scan") || (reads(line) && !with_key(plan.get(at + 1)))
    };
    let scanning = plan.iter().enumerate().filter(|line| scan(*line));
    scanning.map(|(_, line)| line.trim_start_matches([' ', '-', '>'])).collect()
}

async fn session(database: &OwnDatabase) -> PgConnection {
    let mut connection = database.connect().await;
    for (name, value) in PLANNED_BY_KEY {
        let set = format!("set {name} = {value}");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut connection).await.unwrap();
    }
    connection
}

/// On tables as empty as those that a store's first statements are planned on, and kept.
async fn assert_keyed(database: &OwnDatabase, statements: Vec<&'static str>) {
    let mut connection = session(database).await;
    // What adds up everything reads everything, and so does what looks for forgotten refunds now and then.
    let reads_all = |sql: &&&str| sql.contains("sum(captured)") || sql.contains("select distinct");
    for statement in statements.iter().filter(|sql| !reads_all(sql)) {
        let plan = plan(&mut connection, statement).await;
        let scans = scans(&plan);
        assert!(scans.is_empty(), "{scans:?} in\n{statement}\n{}", plan.join("\n"));
    }
}

/// All but those of `verify`, which read everything on purpose.
fn hot(statements: Vec<&'static str>) -> Vec<&'static str> {
    statements.into_iter().filter(|sql| !sql.contains(" as invariant,")).collect()
}

#[tokio::test]
async fn a_statement_planned_on_empty_tables_finds_its_rows_by_their_keys() {
    let (_, database) = inventory().await;
    assert_keyed(&database, hot(Inventory::statements())).await;
    let (_, database) = orders().await;
    assert_keyed(&database, hot(Orders::statements())).await;
    assert_keyed(&database, PaymentStore::statements()).await;
}

#[tokio::test]
async fn a_page_of_a_customers_orders_is_read_in_its_order() {
    let (_, database) = orders().await;
    let mut statements = Orders::statements().into_iter();
    let list = statements.find(|sql| sql.contains("order by created_at desc, id desc")).unwrap();
    let plan = plan(&mut session(&database).await, list).await.join("\n");
    assert!(plan.contains("orders_by_customer"), "{plan}");
    assert!(!plan.contains("Sort"), "{plan}");
}
