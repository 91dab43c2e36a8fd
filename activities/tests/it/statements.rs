//! Every statement fits the schema, and the hot ones use their index.

use activities::{Inventory, Orders};
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

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

/// The plan of a prepared statement whatever its parameters are, as on a table that is too large to
/// read in full.
async fn plan(database: &OwnDatabase, statement: &str, arguments: &str) -> String {
    let mut connection = database.connect().await;
    let sql = format!(
        "set plan_cache_mode = force_generic_plan; set enable_seqscan = off;
         prepare it as {statement}; explain execute it ({arguments})"
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| sqlx::Row::get::<String, _>(row, 0)).collect::<Vec<_>>().join("\n")
}

fn find(statements: Vec<&'static str>, part: &str) -> &'static str {
    statements.into_iter().find(|statement| statement.contains(part)).unwrap()
}

#[tokio::test]
async fn hot_statements_use_their_index() {
    let (_, database) = inventory().await;
    let lock = find(Inventory::statements(), "select sku, on_hand - reserved");
    let plan_of_lock = plan(&database, lock, "'{a,b}'").await;
    assert!(plan_of_lock.contains("stock_pkey"), "{plan_of_lock}");
    assert!(!plan_of_lock.contains("Seq Scan"), "{plan_of_lock}");

    let (_, database) = orders().await;
    let list = find(Orders::statements(), "order by created_at desc, id desc");
    let arguments = "'ann', '2030-01-01', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 10";
    let plan_of_list = plan(&database, list, arguments).await;
    assert!(plan_of_list.contains("orders_by_customer"), "{plan_of_list}");
    assert!(!plan_of_list.contains("Sort"), "{plan_of_list}");
}
