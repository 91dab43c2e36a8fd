//! Keys in a real PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test")]

use access::{AccessError, AccessKeys};
use gateway::Role;
use gateway::auth::{Keys, NewKey, Token};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

async fn database() -> String {
    let server = local_postgres::testing::server();
    let name = format!("access_{}", Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(&server.url("postgres")).await.unwrap();
    admin.execute(sqlx::raw_sql(AssertSqlSafe(format!("create database {name}")))).await.unwrap();
    let url = server.url(&name);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let migration = include_str!("../../../migrations/amends/0002_access.sql");
    connection.execute(sqlx::raw_sql(migration)).await.unwrap();
    url
}

fn new(role: Role, subject: Option<&str>) -> NewKey {
    NewKey { name: "test".to_owned(), role, subject: subject.map(str::to_owned) }
}

#[tokio::test]
async fn a_key_is_found_by_its_token_until_it_is_revoked() {
    let url = database().await;
    let keys = AccessKeys::connect(&url).unwrap();
    let (shop, token) = keys.issue(new(Role::Shop, None)).await.unwrap();
    let (anna, _) = keys.issue(new(Role::Customer, Some("anna"))).await.unwrap();
    assert_eq!(keys.find(token.hash()).await.unwrap(), Some((shop.clone(), token.hash())));
    assert_eq!(keys.find(Token::random().hash()).await.unwrap(), None);
    assert_eq!(anna.subject.as_deref(), Some("anna"));
    assert!(keys.revoke(shop.id).await.unwrap());
    assert!(!keys.revoke(shop.id).await.unwrap());
    assert!(!keys.revoke(Uuid::nil()).await.unwrap());
    assert_eq!(keys.find(token.hash()).await.unwrap(), None);
    let listed = keys.list().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!((listed[0].id, listed[1].id), (anna.id, shop.id), "those in use come first");
    assert!(listed[1].revoked_at.is_some());

    let mut connection = PgConnection::connect(&url).await.unwrap();
    let dump: Vec<String> = sqlx::query_scalar("select api_key::text from access.api_key")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert!(dump.iter().all(|row| !row.contains(token.expose())), "{dump:?}");
    for statement in AccessKeys::statements() {
        connection.prepare(sqlx::SqlSafeStr::into_sql_str(statement)).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_that_can_not_be_is_refused_before_it_is_made() {
    let keys = AccessKeys::connect("postgres://nobody@127.0.0.1:1/nothing").unwrap();
    let long = "x".repeat(201);
    for key in [
        new(Role::Customer, None),
        new(Role::Customer, Some("")),
        new(Role::Customer, Some("a b")),
        new(Role::Customer, Some(&long)),
        new(Role::Shop, Some("anna")),
        NewKey { name: String::new(), role: Role::Ops, subject: None },
    ] {
        assert!(matches!(keys.issue(key).await, Err(AccessError::Invalid(_))));
    }
}
