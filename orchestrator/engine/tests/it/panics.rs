//! Whatever of an author's code panics, it costs its own saga a person's look, and nobody else anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::client::Told;
use engine::journal::Ending;
use engine::view::Phase;
use engine::{
    Abort, Activity, Attempt, Failure, Outcome, Payload, Registry, Saga, Undo, UndoFailure,
    Undoable, Workflow,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::harness::{SOON, database, ends, engine, signal, start};
use crate::script::{Do, Script, does, goes_on, held, problem, until};

/// What reads it panics, once its version is the new one.
#[derive(Serialize)]
struct Brittle(String);
static BRITTLE: AtomicBool = AtomicBool::new(false);

impl<'de> Deserialize<'de> for Brittle {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        assert!(!BRITTLE.load(Ordering::SeqCst), "in pieces");
        String::deserialize(from).map(Self)
    }
}

/// A signal, then its input.
struct Fragile;

impl Workflow for Fragile {
    const NAME: &'static str = "fragile";
    type Services = Script;
    type Input = Brittle;
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, Brittle(what): Brittle) -> Result<(), Abort> {
        saga.signal::<()>("go", Duration::from_secs(600)).await?;
        saga.step(Do(what)).await?;
        Ok(())
    }
}

/// Something that can not be written, until it is mended.
struct Unwritable;
static WRITABLE: AtomicBool = AtomicBool::new(false);

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        assert!(WRITABLE.load(Ordering::SeqCst), "no ink");
        to.serialize_none()
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <()>::deserialize(from).map(|()| Self)
    }
}

impl Activity for Unwritable {
    const NAME: &'static str = "unwritable";
    const DEPENDENCY: &'static str = "ink";
    type Services = Script;
    type Output = ();
    type Class = Undoable;

    async fn run(&self, _: &Script, _: &Attempt) -> Result<(), Failure> {
        Ok(())
    }

    fn describe(&self, _: Option<&()>) -> String {
        panic!("words fail it")
    }
}

impl Undo for Unwritable {
    async fn undo(&self, _: &Script, _: &Attempt, _: Outcome<'_, ()>) -> Result<(), UndoFailure> {
        panic!("it was done by a saga that could not even say it")
    }
}

/// a, then what can not be written.
struct Speechless;

impl Workflow for Speechless {
    const NAME: &'static str = "speechless";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do, Unwritable);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        saga.step(does("a")).await?;
        saga.step(Unwritable).await?;
        Ok(())
    }
}

/// Panics when it is let go.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("it went off");
    }
}

/// a, then b, holding something that must not be let go.
struct Armed;

impl Workflow for Armed {
    const NAME: &'static str = "armed";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        let bomb = Bomb;
        saga.step(does("a")).await?;
        saga.step(does("b")).await?;
        std::mem::forget(bomb);
        Ok(())
    }
}

fn registry(script: &Arc<Script>) -> Registry {
    let registry = Registry::new().workflow::<Fragile>(script);
    registry.workflow::<Speechless>(script).workflow::<Armed>(script)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_what_reads_an_input_parks_its_saga() {
    let script = Script::new();
    let url = database().await;
    let first = engine(&url, registry(&script)).await;
    let id = first.client().start(start("fragile", &"whole")).await.unwrap().id;
    until(&first.client(), id, |view| view.summary.phase == Phase::Waiting).await;
    first.shutdown().await;

    BRITTLE.store(true, Ordering::SeqCst);
    let second = engine(&url, registry(&script)).await;
    let client = second.client();
    signal(&client, id, "go", Payload::encode(&()).unwrap()).await;
    let view = held(&client, id).await;
    let (code, message) = problem(&view);
    assert_eq!(code, "panicked");
    assert!(message.contains("in pieces"), "{message}");
    BRITTLE.store(false, Ordering::SeqCst);
    goes_on(&second, id).await;
    assert_eq!(script.log(), ["do whole"]);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_can_not_be_written_was_never_asked_for() {
    let script = Script::new();
    let engine = engine(&database().await, registry(&script)).await;
    let client = engine.client();
    let (cancelled, mended) = (start("speechless", &()), start("speechless", &()));
    let cancelled = client.start(cancelled).await.unwrap().id;
    let view = held(&client, cancelled).await;
    let (code, message) = problem(&view);
    assert_eq!(code, "panicked");
    assert!(message.contains("no ink"), "{message}");
    assert_eq!(view.steps.len(), 1, "{:?}", view.steps);

    let mended = client.start(mended).await.unwrap().id;
    held(&client, mended).await;
    let told = client.cancel(cancelled, "a test", "enough", Duration::MAX).await;
    assert_eq!(told.unwrap(), Told::Taken);
    ends(&client, cancelled, Ending::Cancelled).await;
    assert_eq!(script.log(), ["do a", "do a", "undo a done"], "what was done, and nothing else");

    WRITABLE.store(true, Ordering::SeqCst);
    goes_on(&engine, mended).await;
    // What says in words what was done can fail nobody.
    let view = client.view(mended).await.unwrap().unwrap();
    assert_eq!(view.effects[1].description, "unwritable");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_panics_when_it_is_let_go_is_undone_as_any() {
    let script = Script::new();
    let engine = engine(&database().await, registry(&script)).await;
    let client = engine.client();
    // Cancelled while it waits: its code is dropped where it is.
    let gate = script.gate("do b");
    let id = client.start(start("armed", &())).await.unwrap().id;
    script.seen("do b").await;
    let told = client.cancel(id, "a test", "enough", SOON).await.unwrap();
    assert_eq!(told, Told::Taken);
    gate.notify_one();
    ends(&client, id, Ending::Cancelled).await;
    assert_eq!(script.log(), ["do a", "do b", "undo b unknown", "undo a done"]);
    engine.shutdown().await;
}
