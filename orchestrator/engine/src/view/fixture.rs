//! Journals and activities for the tests of views.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::activity::{Activity, Attempt, ClassKind, ForwardOnly, Outcome, Undo, Undoable};
use crate::failure::{Failure, UndoFailure};
use crate::handler::{Handlers, handler};
use crate::id::SagaId;
use crate::journal::{Because, Direction, Entry, Fact, Plan, PlannedUndo, Problem};
use crate::payload::Payload;
use crate::view::{Phase, Summary};

macro_rules! activity {
    ($type:ident, $name:literal, $dependency:literal, $class:ty, $done:literal) => {
        #[derive(Serialize, Deserialize)]
        struct $type {
            what: String,
        }

        impl Activity for $type {
            const NAME: &'static str = $name;
            const DEPENDENCY: &'static str = $dependency;
            type Services = ();
            type Output = String;
            type Class = $class;

            async fn run(&self, (): &(), _: &Attempt) -> Result<String, Failure> {
                Ok(String::new())
            }

            fn describe(&self, output: Option<&String>) -> String {
                let output = output.map(|output| format!(", {output}")).unwrap_or_default();
                format!(concat!("{} ", $done, "{}"), self.what, output)
            }
        }
    };
}

activity!(Reserve, "reserve-inventory", "inventory database", Undoable, "reserved");
activity!(Charge, "charge-payment", "payment gateway", Undoable, "charged");
activity!(Confirm, "confirm-order", "order database", ForwardOnly, "confirmed");

impl Undo for Reserve {
    async fn undo(&self, (): &(), _: &Attempt, _: Outcome<'_, String>) -> Result<(), UndoFailure> {
        Ok(())
    }
}

impl Undo for Charge {
    async fn undo(&self, (): &(), _: &Attempt, _: Outcome<'_, String>) -> Result<(), UndoFailure> {
        Ok(())
    }
}

pub(crate) fn handlers() -> Handlers {
    let services = Arc::new(());
    [
        handler::<Reserve, ()>(services.clone()),
        handler::<Charge, ()>(services.clone()),
        handler::<Confirm, ()>(services),
    ]
    .into_iter()
    .map(|handler| (handler.describe_self().name, handler))
    .collect()
}

/// Seconds after noon.
pub(crate) fn at(seconds: f64) -> OffsetDateTime {
    datetime!(2026-01-01 12:00 UTC) + Duration::seconds_f64(seconds)
}

/// A journal of these facts, each list written that many seconds after noon.
pub(crate) fn journal(entries: &[(f64, &[Fact])]) -> Vec<Entry> {
    let entries = (1..).zip(entries);
    entries
        .map(|(seq, (seconds, facts))| Entry { seq, at: at(*seconds), facts: facts.to_vec() })
        .collect()
}

/// The row of a saga accepted at noon, of which nothing is known yet.
pub(crate) fn row() -> Summary {
    Summary {
        id: SagaId::new(3, at(0.0)),
        workflow: "place-order".into(),
        business_key: Some("ord_1".into()),
        subject: None,
        direction: Direction::Forward,
        phase: Phase::Running,
        ending: None,
        step: 0,
        activity: None,
        attempt: 0,
        first_failed_at: None,
        next_at: Some(at(30.0)),
        dependency: None,
        error: None,
        attention: None,
        rev: 0,
        created_at: at(0.0),
        changed_at: at(0.0),
    }
}

pub(crate) fn problem(code: &str, message: &str) -> Problem {
    Problem::own(code, message)
}

pub(crate) fn intent(step: u32, name: &str, what: &str) -> Fact {
    let class = if name == "confirm-order" { ClassKind::ForwardOnly } else { ClassKind::Undoable };
    let input = Payload::encode(&serde_json::json!({ "what": what })).unwrap();
    Fact::Intent { step, name: name.into(), class, with: None, input }
}

pub(crate) fn done(step: u32, output: &str) -> Fact {
    Fact::Done { step, output: Payload::encode(output).unwrap(), by: None }
}

/// A failed attempt that may have happened; the next is due that many seconds after noon.
pub(crate) fn failed(step: u32, attempt: u32, message: &str, next_s: Option<f64>) -> Fact {
    let problem = problem("gateway_unavailable", message);
    let next_at = next_s.map(at);
    Fact::Failed { step, attempt, unsure: true, counted: true, problem, next_at }
}

/// A failed attempt that certainly did nothing.
pub(crate) fn refused(step: u32, attempt: u32, next_s: Option<f64>) -> Fact {
    let problem = problem("gateway_unavailable", "connection refused");
    let next_at = next_s.map(at);
    Fact::Failed { step, attempt, unsure: false, counted: true, problem, next_at }
}

pub(crate) fn undo_failed(step: u32, attempt: u32, message: &str, next_s: Option<f64>) -> Fact {
    let problem = problem("charge_not_found", message);
    Fact::UndoFailed { step, attempt, problem, next_at: next_s.map(at) }
}

pub(crate) fn held(step: Option<u32>, code: &str, message: &str) -> Fact {
    Fact::Held { step, problem: problem(code, message) }
}

/// Turned back, to undo these steps one after the other.
pub(crate) fn turned_back(undos: &[(u32, &str, bool)]) -> Fact {
    let undo = |&(step, name, done): &(u32, &str, bool)| {
        vec![PlannedUndo { step, name: Arc::from(name), done }]
    };
    let groups: Vec<_> = undos.iter().map(undo).collect();
    let digest = crate::plan::digest(&groups);
    let because = Because {
        code: "cancelled".into(),
        reason: "the customer asked".into(),
        step: None,
        details: None,
        by: Some("customer".into()),
    };
    Fact::TurnedBack { because, plan: Plan { groups, digest } }
}
