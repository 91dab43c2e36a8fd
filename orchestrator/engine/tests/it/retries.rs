//! What becomes of a step that fails: tried again, settled, given up.

use std::sync::Arc;
use std::time::Duration;

use engine::journal::Ending;
use engine::view::{EffectState, SagaView};
use engine::{
    Abort, Activity, Attempt, Engine, Failure, NoUndo, Registry, RetryPolicy, Saga, SagaId,
    WithoutUndo, Workflow,
};
use serde::{Deserialize, Serialize};

use crate::harness::{World, database, ends, engine, start};
use crate::script::{Answer, Do, Script, does};

/// a, then b.
struct Pair;

impl Workflow for Pair {
    const NAME: &'static str = "pair";
    type Services = Script;
    type Input = ();
    type Output = String;
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<String, Abort> {
        saga.step(does("a")).await?;
        saga.step(does("b")).await
    }
}

async fn started(script: &Arc<Script>) -> (Engine, SagaId) {
    let engine = engine(&database().await, Registry::new().workflow::<Pair>(script)).await;
    let id = engine.client().start(start("pair", &())).await.unwrap().id;
    (engine, id)
}

async fn pair_ends(script: &Arc<Script>, ending: Ending) -> SagaView {
    let (engine, id) = started(script).await;
    let view = ends(&engine.client(), id, ending).await;
    engine.shutdown().await;
    view
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_is_repeated_under_the_same_key() {
    let script = Script::new();
    script.on("do b", [Answer::NotExecuted, Answer::NotExecuted]);
    let view = pair_ends(&script, Ending::Completed).await;
    assert_eq!(script.log(), ["do a", "do b", "do b", "do b"]);
    let keys = script.keys();
    assert!(keys[1] == keys[2] && keys[2] == keys[3] && keys[0] != keys[1], "{keys:?}");
    assert_eq!((view.steps[1].attempts, view.steps[1].failures.len()), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_given_up_is_undone_because_it_may_have_happened() {
    let script = Script::new();
    script.on("do b", [Answer::Retry, Answer::Retry, Answer::Retry]);
    let view = pair_ends(&script, Ending::Undone).await;
    let because = view.because.unwrap();
    assert_eq!((&*because.code, because.step), ("retries_exhausted", Some(2)));
    assert_eq!(script.log().iter().filter(|line| *line == "do b").count(), 3);
    assert!(script.log().ends_with(&["undo b unknown".into(), "undo a done".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_certainly_did_nothing_is_given_up_and_not_undone() {
    let script = Script::new();
    script.on("do b", [Answer::NotExecuted, Answer::NotExecuted, Answer::NotExecuted]);
    let view = pair_ends(&script, Ending::Undone).await;
    assert_eq!(script.log(), ["do a", "do b", "do b", "do b", "undo a done"]);
    assert!(view.effects.iter().all(|effect| effect.state != EffectState::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_uses_up_no_attempts() {
    let script = Script::new();
    script.on("do b", std::iter::repeat_n(Answer::Uncounted, 8));
    pair_ends(&script, Ending::Completed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_settled_by_asking() {
    let script = Script::new();
    script.on("do b", [Answer::Unknown]);
    script.on("probe b", [Answer::Happened]);
    let view = pair_ends(&script, Ending::Completed).await;
    assert_eq!(script.log(), ["do a", "do b", "probe b"]);
    assert_eq!(view.result.unwrap().json(), r#""b after all""#);

    let script = Script::new();
    script.on("do b", [Answer::Unknown]);
    script.on("probe b", [Answer::DidNotHappen]);
    pair_ends(&script, Ending::Completed).await;
    assert_eq!(script.log(), ["do a", "do b", "probe b", "do b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_after_an_unknown_outcome_is_undone_all_the_same() {
    let script = Script::new();
    script.on("do b", [Answer::Unknown, Answer::No]);
    pair_ends(&script, Ending::Undone).await;
    let log = ["do a", "do b", "probe b", "do b", "undo b unknown", "undo a done"];
    assert_eq!(script.log(), log);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_is_repeated_until_it_succeeds() {
    let script = Script::new();
    script.on("do b", [Answer::No]);
    script.on("undo a", std::iter::repeat_n(Answer::Retry, 12));
    let view = pair_ends(&script, Ending::Undone).await;
    assert_eq!(script.log().iter().filter(|line| *line == "undo a done").count(), 13);
    assert_eq!(view.steps[0].failures.len(), 12);
}

/// Takes longer than it may.
#[derive(Serialize, Deserialize)]
struct Dawdle;

impl Activity for Dawdle {
    const NAME: &'static str = "dawdle";
    const DEPENDENCY: &'static str = "world";
    type Services = World;
    type Output = ();
    type Class = NoUndo;

    async fn run(&self, world: &World, attempt: &Attempt) -> Result<(), Failure> {
        world.note(format!("dawdle {}", attempt.number));
        if attempt.number == 1 {
            std::future::pending().await
        }
        Ok(())
    }

    fn retry() -> RetryPolicy {
        RetryPolicy { first: Duration::from_millis(5), ..RetryPolicy::DEFAULT }
    }

    fn timeout() -> Duration {
        Duration::from_millis(50)
    }
}

impl WithoutUndo for Dawdle {
    const REASON: &'static str = "time does not come back";
}

struct Loiter;

impl Workflow for Loiter {
    const NAME: &'static str = "loiter";
    type Services = World;
    type Input = ();
    type Output = ();
    type Activities = (Dawdle,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        saga.step(Dawdle).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_too_long_is_cut_off_and_repeated() {
    let world = World::new();
    let engine = engine(&database().await, Registry::new().workflow::<Loiter>(&world)).await;
    let id = engine.client().start(start("loiter", &())).await.unwrap().id;
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(world.log(), ["dawdle 1", "dawdle 2"]);
    assert_eq!(view.steps[0].failures[0].problem.code, "timed_out");
    engine.shutdown().await;
}
