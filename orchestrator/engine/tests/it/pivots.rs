//! Past the point of no return nothing is undone: what fails is tried on, and flagged.

use std::sync::Arc;
use std::time::Duration;

use engine::client::Told;
use engine::journal::{Direction, Ending};
use engine::operator::Action;
use engine::{Abort, Engine, Registry, Saga, Workflow};

use crate::harness::{SOON, database, ends, engine, start};
use crate::script::{Answer, Do, Script, Then, act, does, held, then, until};

/// a, the pivot, b.
struct Cross;

impl Workflow for Cross {
    const NAME: &'static str = "cross";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do, Then);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        saga.step(does("a")).await?;
        saga.pivot().step(then("b")).await;
        Ok(())
    }
}

async fn crossing() -> (Arc<Script>, Engine) {
    let script = Script::new();
    let engine = engine(&database().await, Registry::new().workflow::<Cross>(&script)).await;
    (script, engine)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_past_the_pivot_is_tried_beyond_its_policy_and_flagged() {
    let (script, engine) = crossing().await;
    script.on("do b", [Answer::Retry, Answer::Retry]);
    let id = engine.client().start(start("cross", &())).await.unwrap().id;
    let view = until(&engine.client(), id, |view| view.summary.attention.is_some()).await;
    assert_eq!(view.summary.attention.as_deref(), Some("exhausted"));
    assert_eq!(view.summary.direction, Direction::Forward);
    assert!(view.past_pivot);
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(script.log(), ["do a", "do b", "do b", "do b"]);
    assert_eq!(view.result.unwrap().json(), "null", "no result is a result");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_past_the_pivot_comes_too_late() {
    let (script, engine) = crossing().await;
    let gate = script.gate("do b");
    let id = engine.client().start(start("cross", &())).await.unwrap().id;
    script.seen("do b").await;
    let told = engine.client().cancel(id, "customer:1", "changed my mind", SOON).await.unwrap();
    assert_eq!(told, Told::Refused("too_late_to_cancel".into()));
    gate.notify_one();
    ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(script.log(), ["do a", "do b"]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_past_the_pivot_waits_for_a_person() {
    let (script, engine) = crossing().await;
    script.on("do b", [Answer::No]);
    let id = engine.client().start(start("cross", &())).await.unwrap().id;
    let view = held(&engine.client(), id).await;
    assert_eq!(view.summary.attention.as_deref(), Some("no"));
    // It stays as it is, whatever time passes.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(script.log(), ["do a", "do b"]);
    assert_eq!(act(&engine, id, Action::Retry).await.told, Told::Taken);
    ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(script.log(), ["do a", "do b", "do b"]);
    engine.shutdown().await;
}
