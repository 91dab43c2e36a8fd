//! A saga that can not go on is parked, alone, and goes on once what was wrong is mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::client::Told;
use engine::journal::Ending;
use engine::operator::{Action, Filter};
use engine::view::{Phase, SagaView};
use engine::{Abort, Client, Payload, Registry, Saga, SagaId, Workflow};

use crate::harness::{database, ends, engine, signal, start};
use crate::script::{Answer, Do, Script, Then, act, does, goes_on, held, problem, until};

/// a, then b.
struct Plain;

impl Workflow for Plain {
    const NAME: &'static str = "plain";
    type Services = Script;
    type Input = String;
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, what: String) -> Result<(), Abort> {
        saga.step(Do(what)).await?;
        saga.step(does("b")).await?;
        Ok(())
    }
}

/// Panics after its first step, until it is mended.
struct Clumsy;
static MENDED: AtomicBool = AtomicBool::new(false);

impl Workflow for Clumsy {
    const NAME: &'static str = "clumsy";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        saga.step(does("clumsy")).await?;
        assert!(MENDED.load(Ordering::SeqCst), "dropped it");
        saga.step(does("mended")).await?;
        Ok(())
    }
}

/// Two steps, then a panic; a version of it has the first step only.
struct Shrunk;
static IS_SHRUNK: AtomicBool = AtomicBool::new(false);

impl Workflow for Shrunk {
    const NAME: &'static str = "shrunk";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        saga.step(does("kept")).await?;
        if !IS_SHRUNK.load(Ordering::SeqCst) {
            saga.step(does("dropped")).await?;
            panic!("at the end");
        }
        Ok(())
    }
}

/// Panics before its first step.
struct Stumbling;

impl Workflow for Stumbling {
    const NAME: &'static str = "stumbling";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do,);

    async fn run(_: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        panic!("at the door");
    }
}

/// Its first step is another one in the new version.
struct Changed;
static NEW_VERSION: AtomicBool = AtomicBool::new(false);

impl Workflow for Changed {
    const NAME: &'static str = "changed";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        let version = if NEW_VERSION.load(Ordering::SeqCst) { "new" } else { "old" };
        saga.step(does(version)).await?;
        saga.signal::<()>("go", Duration::from_secs(600)).await?;
        saga.step(does("end")).await?;
        Ok(())
    }
}

/// a, a signal, then b.
struct Tomorrow;

impl Workflow for Tomorrow {
    const NAME: &'static str = "tomorrow";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        saga.step(does("a")).await?;
        saga.signal::<()>("go", Duration::from_secs(600)).await?;
        saga.step(does("b")).await?;
        Ok(())
    }
}

fn registry(script: &Arc<Script>) -> Registry {
    let registry = Registry::new().workflow::<Plain>(script);
    let registry = registry.workflow::<Clumsy>(script).workflow::<Stumbling>(script);
    registry.workflow::<Changed>(script).workflow::<Shrunk>(script)
}

async fn begin(client: &Client, what: &str) -> SagaId {
    client.start(start("plain", &what)).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_an_activity_parks_its_saga_and_no_other() {
    let script = Script::new();
    let engine = engine(&database().await, registry(&script)).await;
    script.on("do bad", [Answer::Panic]);
    let id = begin(&engine.client(), "bad").await;
    let view = held(&engine.client(), id).await;
    assert_eq!(problem(&view), ("panicked", "the script says so"));
    assert_eq!(view.summary.attention.as_deref(), Some("panicked"));
    let other = begin(&engine.client(), "good").await;
    ends(&engine.client(), other, Ending::Completed).await;
    goes_on(&engine, id).await;
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_panicked_may_have_happened() {
    let script = Script::new();
    let engine = engine(&database().await, registry(&script)).await;
    script.on("do torn", [Answer::Panic, Answer::NotExecuted]);
    script.on("do torn", [Answer::NotExecuted, Answer::NotExecuted]);
    let id = begin(&engine.client(), "torn").await;
    held(&engine.client(), id).await;
    act(&engine, id, Action::Retry).await;
    ends(&engine.client(), id, Ending::Undone).await;
    assert_eq!(script.log()[..3], ["do torn", "probe torn", "do torn"]);
    assert!(script.has("undo torn unknown"), "{:?}", script.log());
    engine.shutdown().await;
}

/// The same name on a node whose build has none of the activities any more.
struct Gutted;

impl Workflow for Gutted {
    const NAME: &'static str = "plain";
    type Services = Script;
    type Input = String;
    type Output = ();
    type Activities = (Then,);

    async fn run(saga: &mut Saga<Self>, what: String) -> Result<(), Abort> {
        saga.pivot().step(Then(what)).await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_a_node_does_not_have_parks_its_saga_there() {
    let script = Script::new();
    let url = database().await;
    let first = engine(&url, registry(&script)).await;
    script.on("do b", [Answer::No]);
    script.on("undo a", [Answer::Stuck]);
    let id = begin(&first.client(), "a").await;
    held(&first.client(), id).await;
    first.shutdown().await;

    let second = engine(&url, Registry::new().workflow::<Gutted>(&script)).await;
    act(&second, id, Action::Retry).await;
    let view = until(&second.client(), id, |view| {
        view.summary.phase == Phase::Held
            && view.summary.error.as_ref().is_some_and(|error| error.code == "unknown_activity")
    })
    .await;
    assert_eq!(problem(&view).1, "this node has no activity `do`");
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_too_large_parks_its_saga() {
    let script = Script::new();
    let engine = engine(&database().await, registry(&script)).await;
    script.on("do fat", [Answer::Big]);
    let id = begin(&engine.client(), "fat").await;
    let view = held(&engine.client(), id).await;
    let (code, message) = problem(&view);
    assert_eq!(code, "payload_too_large");
    assert!(message.contains("262144"), "{message}");
    goes_on(&engine, id).await;
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_workflow_parks_its_saga_until_the_code_is_mended() {
    let script = Script::new();
    let engine = engine(&database().await, registry(&script)).await;
    let client = engine.client();
    let id = client.start(start("clumsy", &())).await.unwrap().id;
    let view = held(&client, id).await;
    assert_eq!(problem(&view), ("panicked", "dropped it"));
    // Nothing is mended yet: it is parked again, not lost.
    act(&engine, id, Action::Retry).await;
    until(&client, id, |now| {
        now.summary.phase == Phase::Held && now.summary.rev > view.summary.rev + 1
    })
    .await;
    MENDED.store(true, Ordering::SeqCst);
    goes_on(&engine, id).await;
    assert_eq!(script.log(), ["do clumsy", "do mended"], "what was done is not done again");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_parked_before_its_first_step_is_listed_with_what_is_wrong() {
    let engine = engine(&database().await, registry(&Script::new())).await;
    let id = engine.client().start(start("stumbling", &())).await.unwrap().id;
    let view = held(&engine.client(), id).await;
    assert_eq!(problem(&view), ("panicked", "at the door"));
    let needs_somebody = Filter { attention: Some(true), ..Filter::default() };
    let page = engine.operator().list(&needs_somebody, None, 10).await.unwrap();
    let listed: Vec<_> = page.sagas.iter().map(|line| line.summary.id).collect();
    assert_eq!(listed, [id]);
    let summary = &page.sagas[0].summary;
    assert_eq!(summary.attention.as_deref(), Some("panicked"));
    assert_eq!(summary.error.as_ref().map(|error| &*error.message), Some("at the door"));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_no_longer_fits_a_journal_parks_that_saga_and_names_both_sides() {
    let script = Script::new();
    let url = database().await;
    let first = engine(&url, registry(&script)).await;
    let id = first.client().start(start("changed", &())).await.unwrap().id;
    until(&first.client(), id, |view| view.summary.phase == Phase::Waiting).await;
    first.shutdown().await;

    NEW_VERSION.store(true, Ordering::SeqCst);
    let second = engine(&url, registry(&script)).await;
    let client = second.client();
    let go = Payload::encode(&()).unwrap();
    signal(&client, id, "go", go).await;
    let view = held(&client, id).await;
    let (code, message) = problem(&view);
    assert_eq!(code, "diverged");
    assert!(message.contains("the journal has do \"old\""), "{message}");
    assert!(message.contains("the code asks for do \"new\""), "{message}");

    // What an operator says of a step does not make the code fit.
    let verdict = engine::event::Verdict::Happened(serde_json::json!("old"));
    let told = act(&second, id, Action::Resolve { step: 1, verdict }).await.told;
    assert_eq!(told, Told::Refused("step_is_not_open".into()));
    assert_eq!(script.log(), ["do old"], "nothing is guessed");

    NEW_VERSION.store(false, Ordering::SeqCst);
    goes_on(&second, id).await;
    assert_eq!(script.log(), ["do old", "do end"]);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_ends_before_its_journal_does_not_end_its_saga() {
    let script = Script::new();
    let engine = engine(&database().await, registry(&script)).await;
    let client = engine.client();
    let id = client.start(start("shrunk", &())).await.unwrap().id;
    let view = held(&client, id).await;
    assert_eq!(problem(&view), ("panicked", "at the end"));

    IS_SHRUNK.store(true, Ordering::SeqCst);
    act(&engine, id, Action::Retry).await;
    let is_parked_again = |now: &SagaView| {
        now.summary.ending.is_some()
            || (now.summary.phase == Phase::Held && now.summary.rev > view.summary.rev + 1)
    };
    let view = until(&client, id, is_parked_again).await;
    assert_eq!(view.summary.ending, None, "a step that the code does not have stays in force");
    let (code, message) = problem(&view);
    assert_eq!(code, "diverged");
    assert!(message.contains("the journal has do, the code has nothing"), "{message}");

    assert_eq!(act(&engine, id, Action::Cancel).await.told, Told::Taken);
    ends(&client, id, Ending::Cancelled).await;
    assert_eq!(script.log(), ["do kept", "do dropped", "undo dropped done", "undo kept done"]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diverged_saga_whose_open_step_is_resolved_is_not_forgotten() {
    let script = Script::new();
    let url = database().await;
    let first = engine(&url, registry(&script)).await;
    script.on("do opened", [Answer::Panic]);
    let id = begin(&first.client(), "opened").await;
    held(&first.client(), id).await;
    first.shutdown().await;

    // A node that has the saga without its code in memory.
    let second = engine(&url, registry(&script)).await;
    let verdict = engine::event::Verdict::Happened(serde_json::json!("opened"));
    let acted = act(&second, id, Action::Resolve { step: 1, verdict }).await;
    assert_eq!(acted.told, Told::Taken);
    ends(&second.client(), id, Ending::Completed).await;
    assert_eq!(script.log(), ["do opened", "do b"]);
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_workflow_leaves_its_sagas_open_for_one_that_has_it() {
    let script = Script::new();
    let url = database().await;
    let tomorrow = || Registry::new().workflow::<Tomorrow>(&script);
    let first = engine(&url, tomorrow()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = first.client().start(start("tomorrow", &())).await.unwrap().id;
        until(&first.client(), id, |view| view.summary.phase == Phase::Waiting).await;
        ids.push(id);
    }
    first.shutdown().await;

    // In the middle of a rolling deploy.
    let old = engine(&url, Registry::new().workflow::<Plain>(&script)).await;
    signal(&old.client(), ids[0], "go", Payload::encode(&()).unwrap()).await;
    let view = until(&old.client(), ids[0], |view| view.summary.phase != Phase::Waiting).await;
    assert_eq!((view.summary.phase, view.summary.attention), (Phase::Running, None));
    let why = view.why.unwrap();
    assert_eq!((&*why.code, why.unblocked_by), ("no_workflow", "deploy"));
    assert!(why.sentence.starts_with("No node that owns it has the workflow tomorrow"));
    // An unwinding needs no code.
    assert_eq!(act(&old, ids[1], Action::Cancel).await.told, Told::Taken);
    ends(&old.client(), ids[1], Ending::Cancelled).await;
    old.shutdown().await;

    let new = engine(&url, tomorrow()).await;
    ends(&new.client(), ids[0], Ending::Completed).await;
    assert_eq!(script.log(), ["do a", "do a", "undo a done", "do b"]);
    new.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_a_node_without_the_workflow_does_not_have_is_left_for_another() {
    let script = Script::new();
    let url = database().await;
    let first = engine(&url, Registry::new().workflow::<Tomorrow>(&script)).await;
    script.on("undo a", [Answer::Stuck]);
    let id = first.client().start(start("tomorrow", &())).await.unwrap().id;
    until(&first.client(), id, |view| view.summary.phase == Phase::Waiting).await;
    act(&first, id, Action::Cancel).await;
    held(&first.client(), id).await;
    first.shutdown().await;

    let old = engine(&url, Registry::new().workflow::<Gutted>(&script)).await;
    let acted = act(&old, id, Action::Retry).await;
    assert_eq!(acted.told, Told::Taken);
    assert_ne!(acted.view.summary.phase, Phase::Held);
    // Nothing more came of it.
    assert_eq!(act(&old, id, Action::Retry).await.view.summary.rev, acted.view.summary.rev + 1);
    old.shutdown().await;

    let new = engine(&url, Registry::new().workflow::<Tomorrow>(&script)).await;
    ends(&new.client(), id, Ending::Cancelled).await;
    new.shutdown().await;
}
