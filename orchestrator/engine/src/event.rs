//! What can happen to a saga, and what others can tell it.

use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::activity::ClassKind;
use crate::journal::Problem;
use crate::payload::Payload;

/// Something that happens to a saga.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The workflow asked for something new, beyond what the journal has.
    Asked(Ask),
    /// The workflow returned.
    Returned(Payload),
    /// An attempt succeeded, or a probe found that it had.
    Done {
        /// The step.
        step: u32,
        /// What it gave.
        output: Payload,
    },
    /// An attempt said no.
    Rejected {
        /// The step.
        step: u32,
        /// The rejection's code.
        code: String,
        /// The rejection's reason.
        reason: String,
        /// What a program needs.
        details: Option<Payload>,
    },
    /// An attempt failed.
    Failed {
        /// The step.
        step: u32,
        /// It may have happened all the same.
        unsure: bool,
        /// It uses up one of the policy's attempts.
        counted: bool,
        /// What failed.
        problem: Problem,
        /// When the policy would try again; none: its attempts are used up.
        next_at: Option<OffsetDateTime>,
        /// When it is tried again after the pivot, where nothing is given up.
        slow_at: OffsetDateTime,
    },
    /// An undo succeeded.
    Undone {
        /// The step.
        step: u32,
    },
    /// An undo failed.
    UndoFailed {
        /// The step.
        step: u32,
        /// What failed.
        problem: Problem,
        /// The next attempt; none: no repeat can help.
        next_at: Option<OffsetDateTime>,
    },
    /// Time passed: sleeps and waits up to now are over.
    Due {
        /// Now.
        now: OffsetDateTime,
    },
    /// Somebody sent a message.
    Message {
        /// Its id.
        id: Uuid,
        /// What it says.
        message: Message,
    },
    /// Somebody sent a message that the saga does not take: it says what can not be, or comes too late.
    Refused {
        /// The message's id.
        id: Uuid,
        /// Why.
        code: &'static str,
    },
    /// The saga can not go on: its code diverged, panicked, or broke a rule.
    Broken {
        /// Where.
        step: Option<u32>,
        /// How.
        problem: Problem,
    },
}

/// What a workflow can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// A step.
    Step {
        /// The activity.
        name: Arc<str>,
        /// How it is taken back.
        class: ClassKind,
        /// The first step of its `join`.
        with: Option<u32>,
        /// Its input.
        input: Payload,
    },
    /// A sleep.
    Sleep {
        /// Its end.
        until: OffsetDateTime,
    },
    /// A signal.
    Signal {
        /// Its name.
        name: Arc<str>,
        /// How long to wait for it.
        until: OffsetDateTime,
    },
    /// The point of no return.
    Pivot,
}

/// What others can tell a saga. Kept in its shard's inbox until the owner took it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Message {
    /// The saga was started by a node that does not own its shard.
    Started,
    /// A signal for the workflow.
    Signal {
        /// Its name.
        name: Arc<str>,
        /// What it carries.
        payload: serde_json::Value,
    },
    /// Undo everything, if the pivot has not passed.
    Cancel {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Try now what waits for its next attempt or is held.
    RetryNow {
        /// Who.
        by: String,
    },
    /// Start nothing new.
    Pause {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Go on.
    Resume {
        /// Who.
        by: String,
    },
    /// An operator knows what became of a step.
    Resolve {
        /// Who.
        by: String,
        /// The step.
        step: u32,
        /// What became of it.
        verdict: Verdict,
    },
    /// Only if nothing has happened to the saga since its sender saw it.
    IfAt {
        /// How many entries its journal had.
        rev: i32,
        /// What it is told then.
        message: Box<Message>,
    },
}

/// Why a [`Message::IfAt`] is refused.
pub const STALE: &str = "stale";

impl Message {
    /// What it says, if it is taken.
    pub(crate) fn said(&self) -> &Self {
        match self {
            Self::IfAt { message, .. } => message.said(),
            message => message,
        }
    }

    /// As it is kept.
    pub(crate) fn json(&self) -> String {
        // Made of text and JSON: writing it to memory can not fail.
        serde_json::to_string(self)
            .unwrap_or_else(|error| unreachable!("messages are JSON: {error}"))
    }
}

/// What became of a step, by the word of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It happened, with this output.
    Happened(serde_json::Value),
    /// It did not happen: try it again, without asking first.
    DidNotHappen,
    /// Its undo is done.
    Compensated,
}
