//! The fault sweep finds what is wrong with an activity, and nothing where nothing is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use engine::journal::{Direction, Ending};
use engine::testing::{Fault, Harm, Report, Stage, Sweep};
use engine::view::SagaView;
use engine::{
    Abort, Activity, Attempt, Failure, ForwardOnly, Outcome, Registry, RetryPolicy, Saga, Undo,
    UndoFailure, Undoable, Workflow, unknown,
};
use serde::{Deserialize, Serialize};

use crate::harness::{database, start};

/// A ledger that does under one key what a store does with one row.
#[derive(Debug, Default)]
struct Ledger {
    rows: Mutex<BTreeMap<String, Row>>,
    mistake: Option<Mistake>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    /// An undo that says it is done and is not.
    ForgetsToUndo,
    /// An action that a repeat does again.
    Repeats,
    /// An undo without a tombstone.
    LetsLateOnesIn,
}

#[derive(Debug, Default)]
struct Row {
    in_force: u32,
    tombstone: bool,
}

impl Ledger {
    fn put(&self, attempt: &Attempt) -> Result<u32, Failure> {
        let mut rows = self.rows.lock().unwrap();
        let row = rows.entry(attempt.key()).or_default();
        if row.tombstone {
            return Err(unknown("tombstone", "it was undone before it arrived"));
        }
        match self.mistake {
            Some(Mistake::Repeats) => row.in_force += 1,
            _ => row.in_force = 1,
        }
        Ok(row.in_force)
    }

    fn take_back(&self, attempt: &Attempt) {
        let mut rows = self.rows.lock().unwrap();
        let row = rows.entry(attempt.key()).or_default();
        row.in_force = if self.mistake == Some(Mistake::ForgetsToUndo) { row.in_force } else { 0 };
        row.tombstone = self.mistake != Some(Mistake::LetsLateOnesIn);
    }

    fn in_force(&self) -> Vec<u32> {
        let rows = self.rows.lock().unwrap();
        rows.values().map(|row| row.in_force).filter(|count| *count > 0).collect()
    }
}

#[derive(Serialize, Deserialize)]
struct Write(String);

impl Activity for Write {
    const NAME: &'static str = "write";
    const DEPENDENCY: &'static str = "ledger";
    type Services = Ledger;
    type Output = u32;
    type Class = Undoable;

    async fn run(&self, ledger: &Ledger, attempt: &Attempt) -> Result<u32, Failure> {
        ledger.put(attempt)
    }

    fn retry() -> RetryPolicy {
        RetryPolicy { attempts_max: Some(4), ..RetryPolicy::DEFAULT }
    }
}

impl Undo for Write {
    async fn undo(
        &self,
        ledger: &Ledger,
        attempt: &Attempt,
        _: Outcome<'_, u32>,
    ) -> Result<(), UndoFailure> {
        ledger.take_back(attempt);
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Seal;

impl Activity for Seal {
    const NAME: &'static str = "seal";
    const DEPENDENCY: &'static str = "ledger";
    type Services = Ledger;
    type Output = u32;
    type Class = ForwardOnly;

    async fn run(&self, ledger: &Ledger, attempt: &Attempt) -> Result<u32, Failure> {
        ledger.put(attempt)
    }
}

/// Two lines, then the seal.
struct Enter;

impl Workflow for Enter {
    const NAME: &'static str = "enter";
    type Services = Ledger;
    type Input = ();
    type Output = u32;
    type Activities = (Write, Seal);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<u32, Abort> {
        let first = saga.step(Write("a".into())).await?;
        let second = saga.step(Write("b".into())).await?;
        Ok(first + second + saga.pivot().step(Seal).await)
    }
}

async fn sweep(mistake: Option<Mistake>) -> Report {
    let stage = async || {
        let ledger = Arc::new(Ledger { mistake, ..Ledger::default() });
        let registry = Registry::new().workflow::<Enter>(&ledger);
        Stage {
            database_url: database().await,
            registry,
            start: start("enter", &()),
            world: ledger,
        }
    };
    Sweep::new(stage).run(clean).await
}

async fn clean(ledger: &Arc<Ledger>, view: &SagaView, _: Option<&Fault>) -> Result<(), String> {
    let expected: &[u32] = match view.summary.ending {
        Some(Ending::Completed) => &[1, 1, 1],
        _ => &[],
    };
    let found = ledger.in_force();
    if found == expected { Ok(()) } else { Err(format!("in force: {found:?}, not {expected:?}")) }
}

fn found(report: &Report) -> Vec<(Harm, Direction)> {
    let faults = report.broken.iter().filter_map(|broken| broken.fault.as_ref());
    faults.map(|fault| (fault.harm, fault.direction)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_over_sound_activities_finds_nothing() {
    let report = sweep(None).await;
    report.expect_clean();
    // Two steps with their undos: 7 + 1 + 6 each; the seal: 7.
    assert_eq!(report.tried.len(), 35, "{:#?}", report.tried);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_an_undo_that_forgets() {
    let report = sweep(Some(Mistake::ForgetsToUndo)).await;
    let found = found(&report);
    assert!(found.contains(&(Harm::Reject, Direction::Forward)), "{report}");
    assert!(found.contains(&(Harm::Repeat, Direction::Backward)), "{report}");
    assert!(!found.contains(&(Harm::Repeat, Direction::Forward)), "{report}");
    let words = report.to_string();
    assert!(words.contains("reject step 2 write: in force: [1], not []"), "{words}");
    assert!(words.contains("TurnedBack"), "the journal is shown: {words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_an_action_that_is_not_idempotent() {
    let report = sweep(Some(Mistake::Repeats)).await;
    let found = found(&report);
    for harm in [Harm::LoseReply, Harm::Repeat, Harm::CutAfter] {
        assert!(found.contains(&(harm, Direction::Forward)), "{harm:?}: {report}");
    }
    assert!(!found.contains(&(Harm::CutBefore, Direction::Forward)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_an_undo_without_a_tombstone() {
    let report = sweep(Some(Mistake::LetsLateOnesIn)).await;
    let found = found(&report);
    assert!(found.contains(&(Harm::ArriveLate, Direction::Forward)), "{report}");
    assert!(!found.contains(&(Harm::Repeat, Direction::Backward)), "{report}");
}
