//! Sleeps and signals: kept, timed out, and waited for without memory.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use engine::client::{Told, WaitFor};
use engine::journal::{Ending, Fact};
use engine::operator::Action;
use engine::view::Phase;
use engine::{
    Abort, Activity, Attempt, Engine, Failure, ForwardOnly, Payload, Registry, Saga, SagaId,
    Trouble, Workflow,
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, Executor, PgConnection};

use crate::harness::{SOON, database, ends, engine, rest, signal, start};
use crate::script::{Do, Script, act, does, until};

/// Sleeps for so many milliseconds, and says how long that was.
struct Nap;

impl Workflow for Nap {
    const NAME: &'static str = "nap";
    type Services = Script;
    type Input = u64;
    type Output = i64;
    type Activities = (Do,);

    async fn run(saga: &mut Saga<Self>, ms: u64) -> Result<i64, Abort> {
        let _here = Here::come();
        let before = saga.now();
        // What it is given again at a replay is compared with what it was given first.
        let id = saga.uuid();
        saga.step(Do(format!("{before} {id}"))).await?;
        saga.sleep(Duration::from_millis(ms)).await?;
        let after = saga.now();
        saga.step(Do(format!("{after} {id} {}", saga.uuid()))).await?;
        Ok((after - before).whole_milliseconds() as i64)
    }
}

/// Does something, then hears so many signals.
struct Listen;

impl Workflow for Listen {
    const NAME: &'static str = "listen";
    type Services = Script;
    type Input = (u32, u64);
    type Output = Vec<Option<u32>>;
    type Activities = (Do,);

    async fn run(
        saga: &mut Saga<Self>,
        (count, timeout_ms): (u32, u64),
    ) -> Result<Vec<Option<u32>>, Abort> {
        saga.step(does("first")).await?;
        let mut heard = Vec::new();
        for _ in 0..count {
            heard.push(saga.signal("word", Duration::from_millis(timeout_ms)).await?);
        }
        Ok(heard)
    }
}

/// Takes as long as it takes, and would not be tried again in this world.
#[derive(Serialize, Deserialize)]
struct Endless;
static TRIED: AtomicU32 = AtomicU32::new(0);

impl Activity for Endless {
    const NAME: &'static str = "endless";
    const DEPENDENCY: &'static str = "time";
    type Services = Script;
    type Output = ();
    type Class = ForwardOnly;

    async fn run(&self, _: &Script, _: &Attempt) -> Result<(), Failure> {
        match TRIED.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Failure::Retry(Trouble::new("not_yet", "not yet").after(Duration::MAX))),
            _ => Ok(()),
        }
    }

    fn timeout() -> Duration {
        Duration::MAX
    }
}

/// Waits without an end for a word, then for its step.
struct Patient;

impl Workflow for Patient {
    const NAME: &'static str = "patient";
    type Services = Script;
    type Input = ();
    type Output = Option<u32>;
    type Activities = (Endless,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<Option<u32>, Abort> {
        let word = saga.signal("word", Duration::MAX).await?;
        saga.pivot().step(Endless).await;
        Ok(word)
    }
}

/// Counts how often the code of a nap left memory.
struct Here;
static LEFT: AtomicU32 = AtomicU32::new(0);

impl Here {
    fn come() -> Self {
        Self
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        LEFT.fetch_add(1, Ordering::SeqCst);
    }
}

async fn listening() -> (std::sync::Arc<Script>, Engine) {
    let script = Script::new();
    let registry = Registry::new().workflow::<Listen>(&script).workflow::<Nap>(&script);
    let registry = registry.workflow::<Patient>(&script);
    (script, engine(&database().await, registry).await)
}

async fn say(engine: &Engine, id: SagaId, word: u32) {
    let payload = Payload::encode(&word).unwrap();
    signal(&engine.client(), id, "word", payload).await;
}

async fn heard(engine: &Engine, id: SagaId, words: usize) {
    let look = async {
        loop {
            let journal = engine.operator().history(id).await.unwrap().unwrap();
            let facts = journal.iter().flat_map(|entry| &entry.facts);
            if facts.filter(|fact| matches!(fact, Fact::Signal { .. })).count() >= words {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, look).await.expect("the signals reach the journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_lasts_as_long_as_it_says_and_leaves_memory_meanwhile() {
    let (_, engine) = listening().await;
    let begun = Instant::now();
    let id = engine.client().start(start("nap", &300)).await.unwrap().id;
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(view.result.unwrap().decode::<i64>().unwrap() >= 300);
    assert_eq!(LEFT.load(Ordering::SeqCst), 1, "a short sleep stays in memory");

    let id = engine.client().start(start("nap", &2_500)).await.unwrap().id;
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert!((2_500..4_500).contains(&view.result.unwrap().decode::<i64>().unwrap()));
    assert_eq!(LEFT.load(Ordering::SeqCst), 3, "a long one is run again over its journal");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_who_waits_for_it() {
    let (_, engine) = listening().await;
    let id = engine.client().start(start("listen", &(1, 60_000))).await.unwrap().id;
    until(&engine.client(), id, |view| view.summary.phase == Phase::Waiting).await;
    say(&engine, id, 7).await;
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(view.result.unwrap().json(), "[7]");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_hears_that_a_saga_waits_or_that_it_ended_without() {
    let (script, engine) = listening().await;
    let client = engine.client();
    let gate = script.gate("do first");
    let id = client.start(start("listen", &(1, 60_000))).await.unwrap().id;
    script.seen("do first").await;
    let waiting = client.wait(id, WaitFor::Waiting, SOON);
    let opening = async { gate.notify_one() };
    let (view, ()) = tokio::join!(waiting, opening);
    assert_eq!(view.unwrap().unwrap().summary.phase, Phase::Waiting);

    let id = client.start(start("listen", &(0, 0))).await.unwrap().id;
    let view = client.wait(id, WaitFor::Waiting, SOON).await.unwrap().unwrap();
    assert_eq!(view.summary.ending, Some(Ending::Completed));
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_came_too_early_are_kept_in_their_order() {
    let (script, engine) = listening().await;
    let gate = script.gate("do first");
    let id = engine.client().start(start("listen", &(3, 60_000))).await.unwrap().id;
    script.seen("do first").await;
    say(&engine, id, 1).await;
    heard(&engine, id, 1).await;
    say(&engine, id, 2).await;
    heard(&engine, id, 2).await;
    gate.notify_one();
    until(&engine.client(), id, |view| view.summary.phase == Phase::Waiting).await;
    say(&engine, id, 3).await;
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(view.result.unwrap().json(), "[1,2,3]");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_without_a_signal_ends_at_its_time() {
    let (_, engine) = listening().await;
    let id = engine.client().start(start("listen", &(2, 200))).await.unwrap().id;
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(view.result.unwrap().json(), "[null,null]");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_without_an_end_is_as_good_as_any() {
    let (_, engine) = listening().await;
    let client = engine.client();
    let id = client.start(start("patient", &())).await.unwrap().id;
    until(&client, id, |view| view.summary.phase == Phase::Waiting).await;
    say(&engine, id, 7).await;
    until(&client, id, |view| view.summary.phase == Phase::Retrying).await;
    assert_eq!(act(&engine, id, Action::Retry).await.told, Told::Taken);
    let view = ends(&client, id, Ending::Completed).await;
    assert_eq!(view.result.unwrap().json(), "7");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_wakes_a_saga_that_rests_in_the_database() {
    let (_, engine) = listening().await;
    let id = engine.client().start(start("listen", &(1, 60_000))).await.unwrap().id;
    until(&engine.client(), id, |view| view.summary.phase == Phase::Waiting).await;
    rest(&engine).await;
    say(&engine, id, 9).await;
    let view = ends(&engine.client(), id, Ending::Completed).await;
    assert_eq!(view.result.unwrap().json(), "[9]");
    engine.shutdown().await;
}

/// Whether somebody waits for the inbox who is not its reader.
const SAGA_STANDS: &str = "
select count(*) from pg_stat_activity
 where datname = current_database() and wait_event_type = 'Lock'
   and query not like '%order by shard_id, message_id%'";

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_came_in_time_wins_over_the_end_of_the_wait_at_a_takeover() {
    let script = Script::new();
    let registry = || Registry::new().workflow::<Listen>(&script);
    let url = database().await;
    let first = engine(&url, registry()).await;
    let client = first.client();
    let id = client.start(start("listen", &(1, 2_000))).await.unwrap().id;
    let view = until(&client, id, |view| view.summary.phase == Phase::Waiting).await;
    first.shutdown().await;
    // Nobody owns it when the signal comes, and the next owner comes too late for the wait.
    signal(&client, id, "word", Payload::encode(&7).unwrap()).await;
    let end = view.summary.next_at.unwrap();
    while engine::now() <= end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // Nobody reads or takes messages before the saga is loaded and its time is seen to be over.
    let mut admin = PgConnection::connect(&url).await.unwrap();
    admin.execute("begin; lock table saga.inbox in access exclusive mode").await.unwrap();
    let second = engine(&url, registry()).await;
    let mut watch = PgConnection::connect(&url).await.unwrap();
    let stands = async {
        while sqlx::query_scalar::<_, i64>(SAGA_STANDS).fetch_one(&mut watch).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, stands).await.expect("the saga comes to the end of its wait");
    admin.execute("rollback").await.unwrap();
    let view = ends(&second.client(), id, Ending::Completed).await;
    assert_eq!(view.result.unwrap().json(), "[7]");
    second.shutdown().await;
}
