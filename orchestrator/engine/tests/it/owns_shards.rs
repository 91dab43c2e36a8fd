//! One writer a shard: nodes share them, take over from the dead, hand over gracefully, and a
//! former owner can not write.

use std::time::Duration;

use engine::journal::Ending;
use engine::{Engine, SagaId};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::Instant;

use crate::harness::{SOON, database, ended, ends, engine, start, with_key};
use crate::stock::{Order, Stock, registry};

/// Waits until the nodes own so many shards each, in any order.
async fn shares(engine: &Engine, mut expected: Vec<usize>) {
    expected.sort_unstable();
    let deadline = Instant::now() + SOON;
    loop {
        let nodes = engine.operator().nodes().await.unwrap();
        let alive = nodes.iter().filter(|node| node.alive);
        let mut shares: Vec<usize> = alive.map(|node| node.shards.len()).collect();
        shares.sort_unstable();
        if shares == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{shares:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_node_is_taken_over_and_its_sagas_go_on() {
    let url = database().await;
    let stock = Stock::closed();
    let first = engine(&url, registry(&stock)).await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(first.client().start(start("take-many", &Order::of(3))).await.unwrap().id);
    }
    stock.called(50).await;
    first.crash();
    let second = engine(&url, registry(&stock)).await;
    stock.gate.send_replace(true);
    for id in ids {
        ends(&second.client(), id, Ending::Completed).await;
    }
    assert_eq!(stock.taken(), 150);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_the_shards_and_hand_over_when_one_leaves() {
    let url = database().await;
    let stock = Stock::open();
    let first = engine(&url, registry(&stock)).await;
    shares(&first, vec![8]).await;
    let second = engine(&url, registry(&stock)).await;
    shares(&first, vec![4, 4]).await;
    // Keys lead to shards of both nodes, whoever is asked.
    let mut ids: Vec<SagaId> = Vec::new();
    for number in 0..40 {
        let order = with_key(start("take-many", &Order::of(2)), &number.to_string());
        ids.push(first.client().start(order).await.unwrap().id);
    }
    for id in &ids {
        ends(&first.client(), *id, Ending::Completed).await;
    }
    first.shutdown().await;
    shares(&second, vec![8]).await;
    for id in ids {
        ends(&second.client(), id, Ending::Completed).await;
    }
    assert_eq!(stock.taken(), 80);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_attempt_holds_up_no_other_shard_of_a_node_that_leaves() {
    let url = database().await;
    let stock = Stock::closed();
    let leaving = engine(&url, registry(&stock)).await;
    let slow = leaving.client().start(start("take-many", &Order::of(2))).await.unwrap().id;
    stock.called(1).await;
    let staying = engine(&url, registry(&stock)).await;
    let left = tokio::spawn(leaving.shutdown());
    shares(&staying, vec![1, 7]).await;
    assert!(!left.is_finished(), "the slow attempt was given up");
    stock.gate.send_replace(true);
    left.await.unwrap();
    shares(&staying, vec![8]).await;
    ends(&staying.client(), slow, Ending::Completed).await;
    assert_eq!(*stock.calls.lock().unwrap(), 2, "what was under way was repeated");
    staying.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_owner_can_not_write() {
    let url = database().await;
    let stock = Stock::closed();
    let engine = engine(&url, registry(&stock)).await;
    let id = engine.client().start(start("take-many", &Order::of(2))).await.unwrap().id;
    stock.called(1).await;
    // Another node takes the shard over and dies at once.
    let mut other = PgConnection::connect(&url).await.unwrap();
    let takeover = "update saga.shard set fence = gen_random_uuid(), node_id = gen_random_uuid() \
                    where shard_id = $1";
    sqlx::query(takeover).bind(id.shard()).execute(&mut other).await.unwrap();
    let before: i64 = sqlx::query_scalar("select count(*) from saga.entry where saga_id = $1")
        .bind(id.uuid())
        .fetch_one(&mut other)
        .await
        .unwrap();
    stock.gate.send_replace(true);
    // Its outcome was refused; the saga was taken up again and its step repeated under its key.
    let view = ended(&engine.client(), id).await;
    assert_eq!(before, 1);
    assert_eq!(view.summary.rev, 3);
    assert_eq!(stock.taken(), 2);
    assert!(*stock.calls.lock().unwrap() > 2, "the step was not repeated");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_ours_only_in_the_database_is_taken_again() {
    let url = database().await;
    let stock = Stock::open();
    let engine = engine(&url, registry(&stock)).await;
    // As after a take whose answer was lost: the database names this node, with a fence it never saw.
    let mut other = PgConnection::connect(&url).await.unwrap();
    let forgotten = "update saga.shard set fence = gen_random_uuid()";
    sqlx::query(forgotten).execute(&mut other).await.unwrap();
    let deadline = Instant::now() + SOON;
    let id = loop {
        // Refused while its fence is not the database's; then it is again.
        match engine.client().start(start("take-many", &Order::of(2))).await {
            Ok(started) => break started.id,
            Err(_) => assert!(Instant::now() < deadline, "never taken again"),
        }
    };
    ends(&engine.client(), id, Ending::Completed).await;
    shares(&engine, vec![8]).await;
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_hand_over_was_lost_is_not_left_unattended() {
    let url = database().await;
    let stock = Stock::open();
    let nodes = [engine(&url, registry(&stock)).await, engine(&url, registry(&stock)).await];
    shares(&nodes[0], vec![4, 4]).await;
    // The database says that the first node still owns a shard which it let go: it has its share,
    // and the other takes nothing from a node that is alive.
    let mut other = PgConnection::connect(&url).await.unwrap();
    let lost = "update saga.shard set fence = gen_random_uuid(), node_id = $1 \
                where shard_id = (select min(shard_id) from saga.shard where node_id = $2) \
                returning shard_id";
    let shard: i16 = sqlx::query_scalar(lost)
        .bind(nodes[0].node_id())
        .bind(nodes[1].node_id())
        .fetch_one(&mut other)
        .await
        .unwrap();
    shares(&nodes[0], vec![4, 4]).await;
    let mut number = 0;
    let id = loop {
        number += 1;
        let order = with_key(start("take-many", &Order::of(2)), &number.to_string());
        // Refused for as long as the second node believes in the fence it had.
        let started = nodes[0].client().start(order).await;
        if let Some(started) = started.ok().filter(|started| started.id.shard() == shard) {
            break started.id;
        }
    };
    ends(&nodes[0].client(), id, Ending::Completed).await;
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_kills_its_owners_is_parked_and_the_others_go_on() {
    let url = database().await;
    let stock = Stock::closed();
    let mut ids = Vec::new();
    // Its first owner, and four that claim it: among all, among few, alone, and alone again.
    for round in 0..5_u32 {
        let engine = engine(&url, registry(&stock)).await;
        if round == 0 {
            ids.push(engine.client().start(start("take-many", &Order::of(1))).await.unwrap().id);
        }
        stock.called(round + 1).await;
        engine.crash();
    }
    let last = engine(&url, registry(&stock)).await;
    let deadline = Instant::now() + SOON;
    loop {
        let view = last.client().view(ids[0]).await.unwrap().unwrap();
        if view.summary.attention.as_deref() == Some("poison") {
            break;
        }
        assert!(Instant::now() < deadline, "{:#?}", view.why);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stock.gate.send_replace(true);
    let other = last.client().start(start("take-many", &Order::of(1))).await.unwrap().id;
    ends(&last.client(), other, Ending::Completed).await;
    last.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_that_had_no_time_to_move_are_not_parked() {
    let url = database().await;
    let stock = Stock::closed();
    let mut ids = Vec::new();
    let mut called = 0;
    for round in 0..3 {
        let engine = engine(&url, registry(&stock)).await;
        if round == 0 {
            for _ in 0..40 {
                let order = start("take-many", &Order::of(1));
                ids.push(engine.client().start(order).await.unwrap().id);
            }
        }
        // It dies as soon as it got on with any of them.
        called += 1;
        stock.called(called).await;
        called = *stock.calls.lock().unwrap();
        engine.crash();
    }
    let last = engine(&url, registry(&stock)).await;
    stock.gate.send_replace(true);
    for id in ids {
        ends(&last.client(), id, Ending::Completed).await;
    }
    last.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_replaced_calls_nobody_when_the_database_answers_again() {
    let url = database().await;
    let stock = Stock::open();
    let engine = engine(&url, registry(&stock)).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut away = database.begin().await.unwrap();
    away.execute("lock table saga.node in access exclusive mode").await.unwrap();
    // It can not renew its lease, and knows that it may have been replaced when it has run out.
    let deadline = Instant::now() + SOON;
    let has_run_out = "select lease_until <= clock_timestamp() from saga.node";
    while !sqlx::query_scalar::<_, bool>(has_run_out).fetch_one(&mut *away).await.unwrap() {
        assert!(Instant::now() < deadline, "it renews a lease that it can not reach");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let id = engine.client().start(start("take-many", &Order::of(1))).await.unwrap().id;
    let replaced = "
        with another as (
            insert into saga.node (node_id, name, version, workflows, started_at, lease_until)
            values (gen_random_uuid(), 'another', '1', '{}', now(), clock_timestamp() + interval '4 s')
            returning node_id
        )
        update saga.shard set fence = gen_random_uuid(), node_id = another.node_id from another";
    away.execute(replaced).await.unwrap();
    away.commit().await.unwrap();
    while engine.sagas_in_memory() > 0 {
        assert!(Instant::now() < deadline, "it goes on with what is another's");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(*stock.calls.lock().unwrap(), 0, "it has called the outside world");
    // Until that one is gone too.
    ends(&engine.client(), id, Ending::Completed).await;
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_outlived_being_alone_is_not_parked_for_who_comes_after() {
    let url = database().await;
    let stock = Stock::closed();
    let mut ids = Vec::new();
    // Their first owner, and four that claim them: among all, among few, one by one, and again.
    for round in 0..5_u32 {
        let engine = engine(&url, registry(&stock)).await;
        if round == 0 {
            for _ in 0..3 {
                let order = start("take-many", &Order::of(1));
                ids.push(engine.client().start(order).await.unwrap().id);
            }
        }
        // Who tries them one by one dies when the last of them has its turn: what it waits for is slow.
        stock.called(3 * (round + 1)).await;
        engine.crash();
    }
    let last = engine(&url, registry(&stock)).await;
    stock.gate.send_replace(true);
    let mut parked = 0;
    for id in ids {
        let deadline = Instant::now() + SOON;
        loop {
            let view = last.client().view(id).await.unwrap().unwrap();
            if view.summary.attention.as_deref() == Some("poison") {
                parked += 1;
                break;
            }
            if view.summary.ending == Some(Ending::Completed) {
                break;
            }
            assert!(Instant::now() < deadline, "{:#?}", view.why);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(parked <= 1, "{parked} are parked, and one at most was alone when both owners died");
    last.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_that_is_handed_over_stays_one() {
    let url = database().await;
    let stock = Stock::closed();
    // Its first owner, and one that claims it among all others.
    for round in 1..=2_u32 {
        let engine = engine(&url, registry(&stock)).await;
        if round == 1 {
            engine.client().start(start("take-many", &Order::of(1))).await.unwrap();
        }
        stock.called(round).await;
        engine.crash();
    }
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut claims = async || -> i16 {
        sqlx::query_scalar("select claims from saga.saga").fetch_one(&mut database).await.unwrap()
    };
    assert_eq!(claims().await, 1);
    // It dies as well, but not before it gave its shards away.
    for (round, claimed) in [(3_u32, 2), (4, 3)] {
        let given = "update saga.shard set fence = gen_random_uuid(), node_id = null";
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::query(given).execute(&mut connection).await.unwrap();
        let engine = engine(&url, registry(&stock)).await;
        stock.called(round).await;
        assert_eq!(claims().await, claimed, "in round {round}");
        engine.crash();
    }
    let last = engine(&url, registry(&stock)).await;
    stock.gate.send_replace(true);
    last.shutdown().await;
}
