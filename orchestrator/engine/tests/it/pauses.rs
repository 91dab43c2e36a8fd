//! Pausing: what is under way finishes, nothing new starts, and it goes on where it was.

use std::time::Duration;

use engine::client::Told;
use engine::journal::{Direction, Ending};
use engine::operator::{Action, Filter};
use engine::view::{Phase, StepState};
use engine::{Abort, Registry, Saga, Workflow};

use crate::harness::{SOON, database, ends, engine, rest, start};
use crate::script::{Do, Script, act, does, until};

/// a, then b.
struct Walk;

impl Workflow for Walk {
    const NAME: &'static str = "walk";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        saga.step(does("a")).await?;
        saga.step(does("b")).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_saga_finishes_what_is_under_way_and_starts_nothing_new() {
    let script = Script::new();
    let gate = script.gate("do a");
    let engine = engine(&database().await, Registry::new().workflow::<Walk>(&script)).await;
    let client = engine.client();
    let id = client.start(start("walk", &())).await.unwrap().id;
    script.seen("do a").await;
    let acted = act(&engine, id, Action::Pause).await;
    assert_eq!((acted.told, acted.view.summary.phase), (Told::Taken, Phase::Held));
    let again = act(&engine, id, Action::Pause).await;
    assert_eq!(again.told, Told::Refused("already_paused".into()));
    gate.notify_one();
    until(&client, id, |view| view.steps[0].state == StepState::Done).await;
    rest(&engine).await;
    assert_eq!(script.log(), ["do a"]);
    assert_eq!(act(&engine, id, Action::Resume).await.told, Told::Taken);
    ends(&client, id, Ending::Completed).await;
    // It was in the journal all the while, so a node that finds it there asks first.
    assert_eq!(script.log(), ["do a", "probe b", "do b"]);
    let ended_at = client.view(id).await.unwrap().unwrap().summary.changed_at;
    let late = act(&engine, id, Action::Resume).await;
    assert_eq!(late.told, Told::Refused("already_ended".into()));
    let page = engine.operator().list(&Filter::default(), None, 1).await.unwrap();
    let told_at = [late.view.summary.changed_at, page.sagas[0].summary.changed_at];
    assert_eq!(told_at, [ended_at; 2], "what comes too late ends it no second time");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_is_cancelled_while_paused_is_undone_when_it_is_resumed() {
    let script = Script::new();
    let gate = script.gate("do b");
    let engine = engine(&database().await, Registry::new().workflow::<Walk>(&script)).await;
    let client = engine.client();
    let id = client.start(start("walk", &())).await.unwrap().id;
    script.seen("do b").await;
    let early = act(&engine, id, Action::Resume).await;
    assert_eq!(early.told, Told::Refused("not_paused".into()));
    act(&engine, id, Action::Pause).await;
    let told = client.cancel(id, "customer:1", "too slow", SOON).await.unwrap();
    assert_eq!(told, Told::Taken);
    gate.notify_one();
    let view = until(&client, id, |view| view.summary.direction == Direction::Backward).await;
    assert_eq!(view.summary.phase, Phase::Held);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(script.log(), ["do a", "do b"]);
    act(&engine, id, Action::Resume).await;
    ends(&client, id, Ending::Cancelled).await;
    engine.shutdown().await;
}
