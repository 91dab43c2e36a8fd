//! What waits together is written in one commit, as long as it is not so much that two at once pay.

use std::collections::BTreeMap;

use engine::client::{Start, Started};
use engine::journal::Ending;
use engine::{Abort, Engine, Registry, Saga, Workflow};
use futures_util::future::try_join_all;
use sqlx::{Connection, PgConnection};
use tokio::task::unconstrained;
use uuid::Uuid;

use crate::harness::{database, ends, engine, start, with_key};
use crate::script::{Do, Script, does};

struct One;

impl Workflow for One {
    const NAME: &'static str = "one";
    type Services = Script;
    type Input = ();
    type Output = String;
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<String, Abort> {
        saga.step(does("it")).await
    }
}

fn registry() -> Registry {
    Registry::new().workflow::<One>(&Script::new())
}

/// Starts these before any lane looks.
async fn start_at_once(engine: &Engine, starts: impl IntoIterator<Item = Start>) -> Vec<Started> {
    let client = engine.client();
    let starts = starts.into_iter().map(|start| client.start(start));
    unconstrained(try_join_all(starts)).await.unwrap()
}

/// Which transactions wrote the starts of these, a list for the shards of either lane.
async fn commits(url: &str, sagas: &[Started]) -> BTreeMap<i32, Vec<String>> {
    let written_by = "select shard_id % 2, array_agg(distinct xmin::text) from saga.entry
                       where seq = 1 and saga_id = any($1) group by 1";
    let ids: Vec<Uuid> = sagas.iter().map(|started| started.id.uuid()).collect();
    let mut connection = PgConnection::connect(url).await.unwrap();
    let rows: Vec<(i32, Vec<String>)> =
        sqlx::query_as(written_by).bind(ids).fetch_all(&mut connection).await.unwrap();
    rows.into_iter().collect()
}

fn unkeyed(sagas: usize) -> impl Iterator<Item = Start> {
    (0..sagas).map(|_| start("one", &()))
}

// One thread, so that all starts wait when the lanes first look.
#[tokio::test]
async fn a_few_of_all_shards_share_a_commit() {
    let url = database().await;
    let engine = engine(&url, registry()).await;
    let started = start_at_once(&engine, unkeyed(20)).await;
    let commits = commits(&url, &started).await;
    assert_eq!(commits.len(), 2, "shards of both lanes: {commits:?}");
    assert_eq!(commits[&0].len(), 1, "{commits:?}");
    assert_eq!(commits[&0], commits[&1]);
    engine.shutdown().await;
}

#[tokio::test]
async fn many_are_written_by_two_lanes_each_with_shards_of_its_own() {
    let url = database().await;
    let engine = engine(&url, registry()).await;
    let started = start_at_once(&engine, unkeyed(400)).await;
    let commits = commits(&url, &started).await;
    assert_eq!((commits[&0].len(), commits[&1].len()), (1, 1), "{commits:?}");
    assert_ne!(commits[&0], commits[&1]);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_lane_that_was_lent_its_queue_gives_it_back_though_no_other_has_work() {
    let keyed = |number: u32| with_key(start("one", &()), &number.to_string());
    // A key's shard is the same in each database.
    let scout = engine(&database().await, registry()).await;
    let scouted = start_at_once(&scout, (0..500).map(keyed)).await;
    scout.shutdown().await;
    let one_lanes = (0..).zip(scouted).filter(|(_, started)| started.id.shard() % 2 == 1);
    let one_lanes: Vec<Start> = one_lanes.map(|(number, _)| keyed(number)).collect();
    assert!(one_lanes.len() > 150, "{}", one_lanes.len());

    let url = database().await;
    let engine = engine(&url, registry()).await;
    for started in start_at_once(&engine, one_lanes).await {
        ends(&engine.client(), started.id, Ending::Completed).await;
    }
    let few = start_at_once(&engine, unkeyed(20)).await;
    let commits = commits(&url, &few).await;
    assert_eq!(commits[&0], commits[&1], "they share a commit again");
    engine.shutdown().await;
}
