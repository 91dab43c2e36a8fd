//! A database is used only when it is what this program needs.

use activities::migrate::{Durability, INVENTORY, ORDERS, SchemaError};

use crate::support::OwnDatabase;

#[tokio::test]
async fn many_programs_may_migrate_at_once_and_again() {
    let database = OwnDatabase::empty().await;
    let url = database.url();
    let migrations: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { INVENTORY.migrate(&url).await })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
    INVENTORY.check(&url, Durability::Required).await.unwrap();
    // Both schemas may live in one database.
    ORDERS.migrate(&url).await.unwrap();
    ORDERS.check(&url, Durability::Required).await.unwrap();
}

#[tokio::test]
async fn a_database_without_its_migrations_says_what_to_run() {
    let database = OwnDatabase::empty().await;
    let error = INVENTORY.check(&database.url(), Durability::Required).await.unwrap_err();
    assert!(error.to_string().contains("run `amends migrate`"), "{error}");
    INVENTORY.migrate(&database.url()).await.unwrap();
    database.execute("delete from inventory.migration where version = 2").await;
    let error = INVENTORY.check(&database.url(), Durability::Required).await.unwrap_err();
    assert!(matches!(error, SchemaError::NotMigrated { missing: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_database_of_a_newer_or_a_different_program_is_left_alone() {
    let database = OwnDatabase::migrated(ORDERS).await;
    database
        .execute(
            "insert into orders.migration (version, description, success, checksum, execution_time)
             values (9000, 'of tomorrow', true, 'x', 0)",
        )
        .await;
    let error = ORDERS.check(&database.url(), Durability::Required).await.unwrap_err();
    assert!(matches!(error, SchemaError::Newer { unknown: 9000, .. }), "{error}");
    let error = ORDERS.migrate(&database.url()).await.unwrap_err();
    assert!(matches!(error, SchemaError::Newer { unknown: 9000, .. }), "{error}");

    database.execute("delete from orders.migration where version = 9000").await;
    database.execute("update orders.migration set checksum = 'x' where version = 1").await;
    let error = ORDERS.check(&database.url(), Durability::Required).await.unwrap_err();
    assert!(matches!(error, SchemaError::Different { different: 1, .. }), "{error}");
    let error = ORDERS.migrate(&database.url()).await.unwrap_err();
    assert!(matches!(error, SchemaError::Different { different: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_can_lose_orders_is_refused_unless_that_is_wanted() {
    let database = OwnDatabase::migrated(INVENTORY).await;
    let off = format!("alter database {} set synchronous_commit = off", database.name);
    database.execute(&off).await;
    let error = INVENTORY.check(&database.url(), Durability::Required).await.unwrap_err();
    assert!(error.to_string().contains("`synchronous_commit` off"), "{error}");
    INVENTORY.check(&database.url(), Durability::Waived).await.unwrap();
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_named() {
    let url = local_postgres::testing::server().url("no_such_database");
    let error = ORDERS.check(&url, Durability::Required).await.unwrap_err();
    assert!(error.to_string().contains("order database"), "{error}");
    let error = ORDERS.check("not a url", Durability::Required).await.unwrap_err();
    assert!(matches!(error, SchemaError::Database { .. }), "{error}");
}
