//! A saga runs from start to end, and turns back when a step says no.

use std::sync::Arc;

use engine::client::{NAME_MAX, Start, StartError};
use engine::journal::Ending;
use engine::{
    Abort, Activity, Attempt, Failure, Outcome, Registry, Saga, Undo, UndoFailure, Undoable,
    Workflow, reject,
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::harness::{World, database, ended, ends, engine, start, with_key};

#[derive(Serialize, Deserialize)]
struct Put {
    what: String,
    fails: bool,
}

impl Activity for Put {
    const NAME: &'static str = "put";
    const DEPENDENCY: &'static str = "world";
    type Services = World;
    type Output = String;
    type Class = Undoable;

    async fn run(&self, world: &World, attempt: &Attempt) -> Result<String, Failure> {
        if self.fails {
            return Err(reject("no_room", format!("no room for {}", self.what)));
        }
        world.note(format!("put {} {}", self.what, attempt.number));
        world.add(&self.what, 1);
        Ok(self.what.clone())
    }
}

impl Undo for Put {
    async fn undo(
        &self,
        world: &World,
        _: &Attempt,
        outcome: Outcome<'_, String>,
    ) -> Result<(), UndoFailure> {
        world.note(format!("undo {} {}", self.what, matches!(outcome, Outcome::Done(_))));
        world.add(&self.what, -1);
        Ok(())
    }
}

struct PutThree;

impl Workflow for PutThree {
    const NAME: &'static str = "put-three";
    type Services = World;
    type Input = Option<u32>;
    type Output = Vec<String>;
    type Activities = (Put,);

    async fn run(saga: &mut Saga<Self>, fails_at: Option<u32>) -> Result<Vec<String>, Abort> {
        let mut done = Vec::new();
        for (number, what) in ["a", "b", "c"].into_iter().enumerate() {
            let fails = fails_at == Some(number as u32 + 1);
            done.push(saga.step(Put { what: what.into(), fails }).await?);
        }
        Ok(done)
    }
}

fn registry(world: &Arc<World>) -> Registry {
    Registry::new().workflow::<PutThree>(world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_does_its_steps_once_and_in_order() {
    let world = World::new();
    let engine = engine(&database().await, registry(&world)).await;
    let started = engine.client().start(start("put-three", &None::<u32>)).await.unwrap();
    let view = ends(&engine.client(), started.id, Ending::Completed).await;
    assert_eq!(world.log(), ["put a 1", "put b 1", "put c 1"]);
    assert_eq!(view.result.unwrap().json(), r#"["a","b","c"]"#);
    assert_eq!(view.summary.rev, 4);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_step_undoes_what_was_done_in_reverse() {
    let world = World::new();
    let engine = engine(&database().await, registry(&world)).await;
    let started = engine.client().start(start("put-three", &Some(3))).await.unwrap();
    let view = ends(&engine.client(), started.id, Ending::Undone).await;
    assert_eq!(world.log(), ["put a 1", "put b 1", "undo b true", "undo a true"]);
    assert_eq!(view.because.unwrap().code, "no_room");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_saga_however_often_it_is_sent() {
    let world = World::new();
    let engine = engine(&database().await, registry(&world)).await;
    let client = engine.client();
    let starts = (0..64).map(|_| {
        let client = client.clone();
        tokio::spawn(
            async move { client.start(with_key(start("put-three", &None::<u32>), "k")).await },
        )
    });
    let mut ids = Vec::new();
    let mut fresh = 0;
    for started in join_all(starts).await {
        let started = started.unwrap().unwrap();
        fresh += u32::from(!started.existing);
        ids.push(started.id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), fresh), (1, 1));
    ended(&client, ids[0]).await;
    assert_eq!(world.log().len(), 3);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_too_long_is_refused_and_its_neighbours_are_started() {
    let world = World::new();
    let engine = engine(&database().await, registry(&world)).await;
    let client = engine.client();
    let named =
        |name: &str| Start { business_key: Some(name.into()), ..start("put-three", &None::<u32>) };
    let whose =
        |name: &str| Start { subject: Some(name.into()), ..start("put-three", &None::<u32>) };
    let (fits, too_long) = ("\u{e9}".repeat(NAME_MAX), "x".repeat(NAME_MAX + 1));
    for (start, what) in [(named(&too_long), "business_key"), (whose(&too_long), "subject")] {
        let refused = client.start(start).await;
        assert!(matches!(refused, Err(StartError::TooLong(which)) if which == what), "{refused:?}");
    }
    let starts = [named(&fits), whose(&too_long), named(&too_long), whose(&fits)];
    let started = join_all(starts.map(|start| client.start(start))).await;
    let started: Vec<_> = started.into_iter().filter_map(Result::ok).collect();
    assert_eq!(started.len(), 2);
    for saga in started {
        ends(&client, saga.id, Ending::Completed).await;
    }
    engine.shutdown().await;
}
