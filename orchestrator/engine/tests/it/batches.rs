//! Calls of one activity from many sagas share a batch, repeats after a takeover too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::journal::Ending;
use engine::testing::BoundaryWatch;
use engine::{
    Abort, Activity, Attempt, Call, Failure, ForwardOnly, Payload, Registry, Saga, Workflow,
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tokio::sync::Semaphore;

use crate::harness::{database, ends, engine, start};

/// Counts how its calls came.
struct Desk {
    open: Semaphore,
    alone: AtomicUsize,
    together: AtomicUsize,
}

impl Desk {
    fn new(open: usize) -> Arc<Self> {
        let (alone, together) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { open: Semaphore::new(open), alone, together })
    }
}

#[derive(Serialize, Deserialize)]
struct Stamp(u32);

impl Activity for Stamp {
    const NAME: &'static str = "stamp";
    const DEPENDENCY: &'static str = "desk";
    const BATCH_MAX: usize = 8;
    type Services = Desk;
    type Output = u32;
    type Class = ForwardOnly;

    async fn run(&self, desk: &Desk, _: &Attempt) -> Result<u32, Failure> {
        desk.alone.fetch_add(1, Ordering::SeqCst);
        Ok(self.0)
    }

    async fn run_batch(desk: &Desk, calls: &[Call<Self>]) -> Vec<Result<u32, Failure>> {
        let _ = desk.open.acquire().await;
        desk.together.fetch_add(calls.len(), Ordering::SeqCst);
        calls.iter().map(|call| Ok(call.activity.0)).collect()
    }
}

struct Letter;

impl Workflow for Letter {
    const NAME: &'static str = "letter";
    type Services = Desk;
    type Input = u32;
    type Output = u32;
    type Activities = (Stamp,);

    async fn run(saga: &mut Saga<Self>, number: u32) -> Result<u32, Abort> {
        Ok(saga.pivot().step(Stamp(number)).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_may_have_done_is_repeated_in_batches() {
    let url = database().await;
    let closed = Desk::new(0);
    let first = engine(&url, Registry::new().workflow::<Letter>(&closed)).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(first.client().start(start("letter", &number)).await.unwrap().id);
    }
    // Every attempt is in the journal, and nobody knows how far it got.
    first.crash();

    let open = Desk::new(1);
    let second = engine(&url, Registry::new().workflow::<Letter>(&open)).await;
    for (number, id) in ids.into_iter().enumerate() {
        let view = ends(&second.client(), id, Ending::Completed).await;
        assert_eq!(view.result.as_ref().map(Payload::json), Some(&*number.to_string()));
    }
    assert_eq!(open.alone.load(Ordering::SeqCst), 0, "each by itself");
    assert_eq!(open.together.load(Ordering::SeqCst), 20);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_is_tried_in_no_batch() {
    let url = database().await;
    let closed = Desk::new(0);
    let first = engine(&url, Registry::new().workflow::<Letter>(&closed)).await;
    let client = first.client();
    client.start(start("letter", &1)).await.unwrap();
    let suspect = client.start(start("letter", &2)).await.unwrap().id;
    first.crash();
    let claimed = "update saga.saga s set claims = 2,
                     claimed_rev = (select max(seq) from saga.entry e where e.saga_id = s.saga_id)
                   where saga_id = $1";
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query(claimed).bind(suspect.uuid()).execute(&mut connection).await.unwrap();

    // The other one's batch never ends.
    let second = engine(&url, Registry::new().workflow::<Letter>(&closed)).await;
    ends(&second.client(), suspect, Ending::Completed).await;
    assert_eq!(closed.alone.load(Ordering::SeqCst), 1);
    second.crash();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_test_has_made_twice_is_twice_in_a_batch() {
    let desk = Desk::new(1);
    let watch = BoundaryWatch::new("before_call:forward:stamp:twice".parse().unwrap());
    let registry = Registry::new().workflow::<Letter>(&desk).with_boundary_watch(watch);
    let engine = engine(&database().await, registry).await;
    let id = engine.client().start(start("letter", &7)).await.unwrap().id;
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(view.result.as_ref().map(Payload::json), Some("7"));
    let [alone, together] = [&desk.alone, &desk.together].map(|calls| calls.load(Ordering::SeqCst));
    assert_eq!((alone, together), (0, 2));
    engine.shutdown().await;
}
