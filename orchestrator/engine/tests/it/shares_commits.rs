//! What waits together is written in one commit, as long as it is not so much that two at once pay.

use std::collections::BTreeMap;

use engine::client::{Start, Started};
use engine::journal::Ending;
use engine::{Abort, Engine, Registry, Saga, Workflow};
use futures_util::future::try_join_all;
use sqlx::{Connection, PgConnection};
use tokio::task::unconstrained;

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

/// Starts so many sagas at once, and says which transactions wrote the starts of the shards of either lane.
async fn commits(sagas: usize) -> BTreeMap<i32, Vec<String>> {
    let url = database().await;
    let engine = engine(&url, registry()).await;
    start_at_once(&engine, (0..sagas).map(|_| start("one", &()))).await;

    let written_by = "select shard_id % 2, array_agg(distinct xmin::text) from saga.entry
                       where seq = 1 group by 1";
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let rows: Vec<(i32, Vec<String>)> =
        sqlx::query_as(written_by).fetch_all(&mut connection).await.unwrap();
    engine.shutdown().await;
    rows.into_iter().collect()
}

// One thread, so that all starts wait when the lanes first look.
#[tokio::test]
async fn a_few_of_all_shards_share_a_commit() {
    let commits = commits(20).await;
    assert_eq!(commits.len(), 2, "shards of both lanes: {commits:?}");
    assert_eq!(commits[&0].len(), 1, "{commits:?}");
    assert_eq!(commits[&0], commits[&1]);
}

#[tokio::test]
async fn many_are_written_by_two_lanes_at_once_each_with_shards_of_its_own() {
    let commits = commits(400).await;
    assert_eq!((commits[&0].len(), commits[&1].len()), (1, 1), "{commits:?}");
    assert_ne!(commits[&0], commits[&1]);
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

    let engine = engine(&database().await, registry()).await;
    for started in start_at_once(&engine, one_lanes).await {
        ends(&engine.client(), started.id, Ending::Completed).await;
    }
    engine.shutdown().await;
}
