//! An operator says what became of a step, with a reason, and the saga goes on with that.

use std::sync::Arc;
use std::time::Duration;

use engine::client::Told;
use engine::event::Verdict;
use engine::journal::{Ending, Fact};
use engine::operator::{Action, OperateError, Who};
use engine::{Abort, Engine, Operator, Registry, Saga, SagaId, Workflow};

use crate::harness::{SOON, database, ends, engine, start};
use crate::script::{Answer, Do, Script, act, does, held};

/// a, a short sleep, then b.
struct Errand;

impl Workflow for Errand {
    const NAME: &'static str = "errand";
    type Services = Script;
    type Input = ();
    type Output = String;
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<String, Abort> {
        let first = saga.step(does("a")).await?;
        saga.sleep(Duration::from_millis(10)).await?;
        Ok(first + &saga.step(does("b")).await?)
    }
}

async fn parked(script: &Arc<Script>) -> (Engine, SagaId) {
    parked_on(&database().await, script).await
}

async fn parked_on(url: &str, script: &Arc<Script>) -> (Engine, SagaId) {
    let engine = engine(url, Registry::new().workflow::<Errand>(script)).await;
    let id = engine.client().start(start("errand", &())).await.unwrap().id;
    held(&engine.client(), id).await;
    (engine, id)
}

fn who(reason: &str) -> Who {
    Who { actor: "operator:test".into(), reason: reason.into(), request_id: None }
}

fn resolve(step: u32, verdict: Verdict) -> Action {
    Action::Resolve { step, verdict }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_happened_by_the_word_of_an_operator_is_done_with_that_output() {
    let script = Script::new();
    script.on("do b", [Answer::Panic]);
    let (engine, id) = parked(&script).await;
    let told = act(&engine, id, resolve(3, Verdict::Happened("B".into()))).await.told;
    assert_eq!(told, Told::Taken);
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(view.result.unwrap().json(), r#""aB""#);
    assert_eq!(script.log(), ["do a", "do b"]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_does_not_fit_its_activity_is_refused_and_parks_nothing() {
    let script = Script::new();
    script.on("do b", [Answer::Panic]);
    let url = database().await;
    let (engine, id) = parked_on(&url, &script).await;
    let rev = held(&engine.client(), id).await.summary.rev;
    let misfit = || resolve(3, Verdict::Happened(serde_json::json!({ "b": 1 })));
    let error = engine.operator().act(id, misfit(), who("a test"), None).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("is no output of do") && text.contains("expected a string"), "{text}");
    // Who does not know the activity is told by the owner, who does.
    let stranger = Operator::connect(&url).await.unwrap();
    let told = stranger.act(id, misfit(), who("a test"), None).await.unwrap().told;
    assert_eq!(told, Told::Refused("output_misfit".into()));

    let view = held(&engine.client(), id).await;
    assert_eq!(view.summary.error.unwrap().code, "panicked", "as it was");
    assert_eq!(view.summary.rev, rev + 1, "nothing but the refusal");
    act(&engine, id, resolve(3, Verdict::Happened("B".into()))).await;
    ends(&engine.client(), id, Ending::Completed).await;
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_did_not_happen_is_tried_again_without_asking() {
    let script = Script::new();
    script.on("do b", [Answer::Unknown, Answer::Panic]);
    let (engine, id) = parked(&script).await;
    act(&engine, id, resolve(3, Verdict::DidNotHappen)).await;
    ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(script.log(), ["do a", "do b", "probe b", "do b", "do b"]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_undo_waits_for_a_person_who_retries_it_or_says_that_it_is_done() {
    let script = Script::new();
    script.on("do b", [Answer::No]);
    script.on("undo a", [Answer::Stuck, Answer::Stuck]);
    let (engine, id) = parked(&script).await;
    let client = engine.client();
    let view = held(&client, id).await;
    assert_eq!(view.summary.attention.as_deref(), Some("undo_failed"));
    let rev = view.summary.rev;
    act(&engine, id, Action::Retry).await;
    crate::script::until(&client, id, |view| {
        view.summary.rev > rev + 1 && view.summary.phase == engine::view::Phase::Held
    })
    .await;
    let acted = act(&engine, id, resolve(1, Verdict::Compensated)).await;
    assert_eq!(acted.told, Told::Taken);
    ends(&client, id, Ending::Undone).await;
    assert_eq!(script.log(), ["do a", "do b", "undo a done", "undo a done"]);
    let audit = engine.operator().audit(id).await.unwrap();
    assert_eq!((&*audit[0].action, &*audit[0].reason), ("resolve", "a test"));
    assert_eq!(audit[0].audit_id, acted.audit_id);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_verdicts_over_the_same_page_the_second_is_refused() {
    let script = Script::new();
    script.on("do b", [Answer::Panic]);
    let url = database().await;
    let (engine, id) = parked_on(&url, &script).await;
    let seen = held(&engine.client(), id).await.summary.rev;
    engine.crash();
    // Nobody owns it for a while, and both operators see the same.
    let operator = Operator::connect(&url).await.unwrap();
    let act = |verdict| operator.act(id, resolve(3, verdict), who("a test"), Some(seen));
    let (first, second) =
        tokio::join!(act(Verdict::DidNotHappen), act(Verdict::Happened("B".into())));
    assert_eq!((first.unwrap().told, second.unwrap().told), (Told::Pending, Told::Pending));

    let engine = crate::harness::engine(&url, Registry::new().workflow::<Errand>(&script)).await;
    ends(&engine.client(), id, Ending::Completed).await;
    // The second one may be read when the saga has ended.
    let deadline = tokio::time::Instant::now() + SOON;
    let refused = loop {
        let history = engine.operator().history(id).await.unwrap().unwrap();
        let facts = history.into_iter().flat_map(|entry| entry.facts);
        let code = |fact| if let Fact::Refused { code, .. } = fact { Some(code) } else { None };
        if let Some(code) = facts.filter_map(code).next() {
            break code;
        }
        assert!(tokio::time::Instant::now() < deadline, "both verdicts were taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refused, "stale");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_does_not_fit_is_refused_and_changes_nothing() {
    let script = Script::new();
    script.on("do b", [Answer::Panic]);
    let (engine, id) = parked(&script).await;
    for (step, verdict, code) in [
        (1, Verdict::DidNotHappen, "step_is_not_open"),
        (2, Verdict::DidNotHappen, "not_an_activity"),
        (3, Verdict::Compensated, "step_is_not_being_undone"),
        (9, Verdict::DidNotHappen, "no_such_step"),
    ] {
        let told = act(&engine, id, resolve(step, verdict)).await.told;
        assert_eq!(told, Told::Refused(code.into()));
    }
    held(&engine.client(), id).await;
    let operator = engine.operator();
    let nothing = operator.act(id, Action::Retry, who(" "), None).await;
    assert!(matches!(nothing, Err(OperateError::ReasonMissing)));
    let stale = operator.act(id, Action::Retry, who("an old page"), Some(1)).await;
    assert!(matches!(stale, Err(OperateError::Stale { seen: 1, .. })));
    assert_eq!(script.log(), ["do a", "do b"]);
    engine.shutdown().await;
}
