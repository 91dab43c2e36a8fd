//! Cancelling: everything is undone, or it is too late and said so.

use std::sync::Arc;
use std::time::Duration;

use engine::client::Told;
use engine::journal::Ending;
use engine::view::Phase;
use engine::{Abort, Engine, Registry, Saga, SagaId, Workflow};

use crate::harness::{SOON, database, ends, engine, rest, start};
use crate::script::{Answer, Do, Script, does, until};

/// a, a wait for a word, b.
struct Hesitate;

impl Workflow for Hesitate {
    const NAME: &'static str = "hesitate";
    type Services = Script;
    type Input = u64;
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, wait_s: u64) -> Result<(), Abort> {
        saga.step(does("a")).await?;
        if wait_s > 0 {
            saga.signal::<()>("word", Duration::from_secs(wait_s)).await?;
        }
        saga.step(does("b")).await?;
        Ok(())
    }
}

async fn hesitating(script: &Arc<Script>, wait_s: u64) -> (Engine, SagaId) {
    let engine = engine(&database().await, Registry::new().workflow::<Hesitate>(script)).await;
    let id = engine.client().start(start("hesitate", &wait_s)).await.unwrap().id;
    (engine, id)
}

async fn cancel(engine: &Engine, id: SagaId) -> Told {
    engine.client().cancel(id, "customer:1", "changed my mind", SOON).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_undoes_what_was_done_and_what_is_in_flight() {
    let script = Script::new();
    let gate = script.gate("do b");
    let (engine, id) = hesitating(&script, 0).await;
    script.seen("do b").await;
    assert_eq!(cancel(&engine, id).await, Told::Taken);
    assert_eq!(script.log(), ["do a", "do b"], "an undo waits for its action to land");
    gate.notify_one();
    let view = ends(&engine.client(), id, Ending::Cancelled).await;
    assert_eq!(script.log(), ["do a", "do b", "undo b unknown", "undo a done"]);
    let because = view.because.unwrap();
    assert_eq!((&*because.code, because.by.as_deref()), ("cancelled", Some("customer:1")));
    assert_eq!(because.reason, "changed my mind");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_waits_can_be_cancelled_and_its_code_goes_no_further() {
    let script = Script::new();
    let (engine, id) = hesitating(&script, 600).await;
    until(&engine.client(), id, |view| view.summary.phase == Phase::Waiting).await;
    rest(&engine).await;
    assert_eq!(cancel(&engine, id).await, Told::Taken);
    ends(&engine.client(), id, Ending::Cancelled).await;
    assert_eq!(script.log(), ["do a", "undo a done"]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_cancel_is_told_that_it_is_turning_back() {
    let script = Script::new();
    let gate = script.gate("undo a");
    let (engine, id) = hesitating(&script, 600).await;
    until(&engine.client(), id, |view| view.summary.phase == Phase::Waiting).await;
    assert_eq!(cancel(&engine, id).await, Told::Taken);
    script.seen("undo a done").await;
    assert_eq!(cancel(&engine, id).await, Told::Refused("already_turning_back".into()));
    gate.notify_one();
    ends(&engine.client(), id, Ending::Cancelled).await;
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_after_the_end_is_told_so() {
    let script = Script::new();
    let (engine, id) = hesitating(&script, 0).await;
    ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(cancel(&engine, id).await, Told::Refused("already_ended".into()));
    assert_eq!(script.log(), ["do a", "do b"]);
    let unheard_of = SagaId::new(0, id.started_at());
    assert_eq!(cancel(&engine, unheard_of).await, Told::NoSuchSaga);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_before_anything_was_done_undoes_what_may_have_happened() {
    let script = Script::new();
    script.on("do a", [Answer::Unknown]);
    let gate = script.gate("probe a");
    let (engine, id) = hesitating(&script, 0).await;
    script.seen("probe a").await;
    assert_eq!(cancel(&engine, id).await, Told::Taken);
    gate.notify_one();
    ends(&engine.client(), id, Ending::Cancelled).await;
    assert!(script.has("undo a unknown"), "{:?}", script.log());
    engine.shutdown().await;
}
