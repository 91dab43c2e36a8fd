//! What others see of a saga: the row as it stands, its steps and effects, and why it is where it is.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::id::SagaId;
use crate::journal::{Because, Direction, Ending, Problem};
use crate::payload::Payload;

mod build;
mod effects;
#[cfg(test)]
pub(crate) mod fixture;
mod steps;
mod story;

pub(crate) use build::{Look, present};
pub(crate) use story::Story;

/// What a saga is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// An attempt is under way or about to be.
    Running,
    /// It sleeps or waits for a signal.
    Waiting,
    /// The last attempt failed and the next is planned.
    Retrying,
    /// Nothing goes on until somebody acts: parked or paused.
    Held,
    /// It is over.
    Ended,
}

impl Phase {
    /// As the row keeps it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::Held => "held",
            Self::Ended => "ended",
        }
    }
}

/// A saga's row: how it stood when something last changed that a person would see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its id.
    pub id: SagaId,
    /// Its workflow.
    pub workflow: String,
    /// What the business calls it: the order's id, say.
    pub business_key: Option<String>,
    /// Whose it is.
    pub subject: Option<String>,
    /// Which way it goes.
    pub direction: Direction,
    /// What it is doing.
    pub phase: Phase,
    /// How it ended.
    pub ending: Option<Ending>,
    /// The step it is at.
    pub step: u32,
    /// That step's activity.
    pub activity: Option<String>,
    /// The number of that step's present or last attempt.
    pub attempt: u32,
    /// When the present row of failures began.
    #[serde(with = "time::serde::rfc3339::option")]
    pub first_failed_at: Option<OffsetDateTime>,
    /// When the engine does the next thing. Never none for an open saga.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_at: Option<OffsetDateTime>,
    /// What it waits for, in words.
    pub dependency: Option<String>,
    /// The last failure.
    pub error: Option<Problem>,
    /// Set when only a person, or somebody outside, can make it go on.
    pub attention: Option<String>,
    /// The journal's length when the row was last written.
    pub rev: i32,
    /// When it was started.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When the row was last written; when it ended, once it has.
    #[serde(with = "time::serde::rfc3339")]
    pub changed_at: OffsetDateTime,
}

/// Everything about one saga.
#[derive(Clone, Debug, Serialize)]
pub struct SagaView {
    /// The row, brought up to the journal's last entry; `rev` is that entry's `seq`.
    #[serde(flatten)]
    pub summary: Summary,
    /// What it was started with.
    pub input: Payload,
    /// Its result, once it completed.
    pub result: Option<Payload>,
    /// Why it turned back, if it did.
    pub because: Option<Because>,
    /// Why it is where it is; none once it ended.
    pub why: Option<Why>,
    /// Whether the point of no return has passed.
    pub past_pivot: bool,
    /// What is in force in the real world.
    pub effects: Vec<Effect>,
    /// Every position the workflow claimed.
    pub steps: Vec<StepView>,
}

/// One position of a saga.
#[derive(Clone, Debug, Serialize)]
pub struct StepView {
    /// From 1.
    pub number: u32,
    /// The activity, `sleep`, or the name of the signal.
    pub name: String,
    /// What it is.
    pub kind: StepKind,
    /// How far it is.
    pub state: StepState,
    /// How many attempts ended, with the last one that succeeded.
    pub attempts: u32,
    /// When it was intended.
    #[serde(with = "time::serde::rfc3339")]
    pub intended_at: OffsetDateTime,
    /// When it got its outcome.
    #[serde(with = "time::serde::rfc3339::option")]
    pub closed_at: Option<OffsetDateTime>,
    /// An activity's input.
    pub input: Option<Payload>,
    /// An activity's output, or the signal's payload.
    pub output: Option<Payload>,
    /// Every attempt that failed.
    pub failures: Vec<FailureView>,
}

/// What a position is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A use of an activity.
    Activity,
    /// A sleep.
    Sleep,
    /// A wait for a signal.
    Signal,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// An attempt is under way or about to be.
    Running,
    /// A sleep or a wait that is not over.
    Waiting,
    /// The last attempt failed, the next is planned.
    Retrying,
    /// Done, woken or signalled.
    Done,
    /// A wait that got no signal.
    TimedOut,
    /// It said no.
    Rejected,
    /// Its retries ended.
    GivenUp,
    /// Being undone, or about to be.
    Undoing,
    /// Undone.
    Undone,
}

/// One failed attempt.
#[derive(Clone, Debug, Serialize)]
pub struct FailureView {
    /// Of the step, or of its undo.
    pub direction: Direction,
    /// Its number.
    pub attempt: u32,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What failed.
    pub problem: Problem,
    /// What it depends on, in words.
    pub dependency: String,
    /// The attempt after it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_at: Option<OffsetDateTime>,
}

/// What one step left in the real world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// The step.
    pub step: u32,
    /// Its activity.
    pub activity: String,
    /// Whether it is in force.
    pub state: EffectState,
    /// In words: "USD 42.00 charged to card ..4242".
    pub description: String,
}

/// Whether an effect is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectState {
    /// It was never made.
    None,
    /// It is.
    InForce,
    /// It was taken back.
    Undone,
    /// Nobody knows yet.
    Unknown,
}

/// Why a saga is where it is: one honest sentence, and the same as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The rule that fits: `running`, `waiting`, `retrying`, `retrying_long`, `overdue`, `paused`,
    /// or what it needs a person for (`undo_failed`, `diverged`, ..).
    pub code: String,
    /// Whether it will not end in time unless something outside the engine changes.
    pub stuck: bool,
    /// Since when it is so.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// The sentence.
    pub sentence: String,
    /// What it waits for.
    pub dependency: Option<String>,
    /// The activity it is at.
    pub step: Option<String>,
    /// Which way it goes.
    pub direction: Direction,
    /// The number of the present or last attempt.
    pub attempt: u32,
    /// After how many the step is given up; none: never.
    pub max_attempts: Option<u32>,
    /// The next attempt.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_attempt_at: Option<OffsetDateTime>,
    /// The last failure.
    pub error: Option<Problem>,
    /// Who or what can make it go on: `nobody`, `dependency`, `operator`, `deploy`, `customer`.
    pub unblocked_by: &'static str,
}

#[cfg(test)]
mod tests;
