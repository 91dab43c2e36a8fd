//! Steps at once: they run together, and are undone together.

use std::sync::Arc;

use engine::journal::{Direction, Ending};
use engine::{Abort, Engine, Registry, Saga, Workflow};

use crate::harness::{database, ends, engine, start};
use crate::script::{Answer, Do, Script, does, until};

/// a, then b and c at once, then d.
struct Fork;

impl Workflow for Fork {
    const NAME: &'static str = "fork";
    type Services = Script;
    type Input = ();
    type Output = (String, String);
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(String, String), Abort> {
        saga.step(does("a")).await?;
        let both = saga.join((does("b"), does("c"))).await?;
        saga.step(does("d")).await?;
        Ok(both)
    }
}

async fn forking() -> (Arc<Script>, Engine) {
    let script = Script::new();
    let engine = engine(&database().await, Registry::new().workflow::<Fork>(&script)).await;
    (script, engine)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_join_run_at_once_and_both_are_waited_for() {
    let (script, engine) = forking().await;
    let gate = script.gate("do b");
    let id = engine.client().start(start("fork", &())).await.unwrap().id;
    script.seen("do b").await;
    script.seen("do c").await;
    until(&engine.client(), id, |view| view.steps[2].output.is_some()).await;
    assert!(!script.has("do d"), "{:?}", script.log());
    gate.notify_one();
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(view.result.unwrap().json(), r#"["b","c"]"#);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_join_are_undone_at_once_and_before_what_came_earlier() {
    let (script, engine) = forking().await;
    script.on("do d", [Answer::No]);
    let (b, c) = (script.gate("undo b"), script.gate("undo c"));
    let id = engine.client().start(start("fork", &())).await.unwrap().id;
    // Each is begun although the other has not ended.
    script.seen("undo b done").await;
    script.seen("undo c done").await;
    c.notify_one();
    let undone = |step: usize| {
        move |view: &engine::view::SagaView| {
            view.steps[step - 1].state == engine::view::StepState::Undone
        }
    };
    until(&engine.client(), id, undone(3)).await;
    assert!(!script.has("undo a done"), "its turn comes when both are undone");
    b.notify_one();
    ends(&engine.client(), id, Ending::Undone).await;
    assert_eq!(script.log().last().unwrap(), "undo a done");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_in_flight_while_its_neighbour_says_no_lands_before_it_is_undone() {
    let (script, engine) = forking().await;
    let gate = script.gate("do b");
    script.on("do c", [Answer::No]);
    let id = engine.client().start(start("fork", &())).await.unwrap().id;
    until(&engine.client(), id, |view| view.summary.direction == Direction::Backward).await;
    assert!(!script.log().iter().any(|line| line.starts_with("undo")), "{:?}", script.log());
    gate.notify_one();
    let view = ends(&engine.client(), id, Ending::Undone).await;
    assert_eq!(script.log()[3..], ["undo b unknown", "undo a done"]);
    assert_eq!(view.because.unwrap().step, Some(3));
    engine.shutdown().await;
}
