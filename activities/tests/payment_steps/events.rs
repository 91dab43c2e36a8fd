//! Webhooks are kept once and never dropped; every statement is one that the database knows.

use std::time::Duration;

use activities::payment_gateway::signature::{Event, EventError};
use activities::payment_store::PaymentStore;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr};
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::shop::{Shop, soon};

fn event(id: &str, intent_id: &str) -> Event {
    Event {
        id: id.to_owned(),
        kind: "payment_intent.succeeded".to_owned(),
        intent_id: Some(intent_id.to_owned()),
        created: OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap(),
        payload: json!({ "id": id, "nul": "\0" }),
    }
}

#[tokio::test]
async fn an_event_is_kept_once_and_names_its_saga() {
    let shop = Shop::open().await;
    let (placed, charge) = shop.prepare("pm_card_visa").await;
    let store = &shop.payments.store;
    let whose = Some((placed.order_id, placed.saga_id));
    for is_fresh in [true, false] {
        let recorded = store.record_event(event("evt_1", &charge.intent_id)).await.unwrap();
        assert_eq!((recorded.is_fresh, recorded.whose), (is_fresh, whose));
    }
    let stranger = store.record_event(event("evt_2", "pi_stranger")).await.unwrap();
    assert_eq!((stranger.is_fresh, stranger.whose), (true, None));
}

#[tokio::test]
async fn events_that_come_twice_at_once_are_fresh_once() {
    let shop = Shop::open().await;
    let mut recording = tokio::task::JoinSet::new();
    for n in 0..40 {
        let store = shop.payments.store.clone();
        let event = event(&format!("evt_{}", n % 4), "pi_1");
        recording.spawn(async move { store.record_event(event).await.unwrap().is_fresh });
    }
    let fresh = recording.join_all().await.into_iter().filter(|is_fresh| *is_fresh).count();
    assert_eq!(fresh, 4);
}

#[tokio::test]
async fn what_nobody_has_dealt_with_waits_for_reconciliation() {
    let shop = Shop::open().await;
    let store = &shop.payments.store;
    for id in ["evt_1", "evt_2"] {
        store.record_event(event(id, "pi_1")).await.unwrap();
    }
    let waiting = async || {
        let later = engine::now() + Duration::from_secs(60);
        let events = store.unprocessed_events(OffsetDateTime::UNIX_EPOCH..later, 10).await.unwrap();
        events.into_iter().map(|event| event.id).collect::<Vec<_>>()
    };
    assert_eq!(waiting().await, ["evt_1", "evt_2"]);
    store.mark_processed(&["evt_1".to_owned(), "evt_3".to_owned()]).await.unwrap();
    assert_eq!(waiting().await, ["evt_2"]);
    let long_ago = engine::now() - Duration::from_secs(60);
    assert!(
        store
            .unprocessed_events(OffsetDateTime::UNIX_EPOCH..long_ago, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_event_of_the_gateway_is_verified_and_names_its_intent() {
    let shop = Shop::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    shop.send_events_to(&format!("http://{}/events", listener.local_addr().unwrap()));
    let (_, charge, answer) = shop.charge("pm_card_visa").await;
    assert!(answer.is_ok(), "{answer:?}");
    let (mut stream, _) =
        tokio::time::timeout_at(soon(), listener.accept()).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    let (header, body) = loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "{bytes:?}");
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
        };
        if body.len() == header("content-length").unwrap().parse::<usize>().unwrap() {
            break (header("stripe-signature").unwrap().to_owned(), body.to_owned());
        }
    };
    let gateway = &shop.payments.gateway;
    let now = engine::now();
    let event = gateway.verified_event(&header, body.as_bytes(), now).unwrap();
    assert_eq!(event.kind, "payment_intent.succeeded");
    assert_eq!(event.intent_id, Some(charge.intent_id));
    let forged = body.replace("succeeded", "canceled");
    let refused = gateway.verified_event(&header, forged.as_bytes(), now);
    assert_eq!(refused, Err(EventError::Mismatch));
}

#[tokio::test]
async fn every_statement_is_one_that_the_database_knows() {
    let shop = Shop::open().await;
    let mut connection = PgConnection::connect(&shop.url).await.unwrap();
    for statement in PaymentStore::statements() {
        let prepared = connection.prepare(AssertSqlSafe(statement).into_sql_str()).await;
        assert!(prepared.is_ok(), "{statement}: {prepared:?}");
    }
}
