//! What has happened to a saga, as it is kept: entries, each a list of facts written in one commit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::activity::ClassKind;
use crate::failure::Rejection;
use crate::payload::Payload;
pub use crate::problem::Problem;

/// One committed transition of a saga. `seq` counts from 1 without gaps and is assigned by the
/// owner of the saga's shard; nothing else orders a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the journal.
    pub seq: i32,
    /// When the owner wrote it, by the owner's clock. `Saga::now` gives this.
    pub at: OffsetDateTime,
    /// What happened, in order.
    pub facts: Vec<Fact>,
}

/// Which way a saga is going.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Towards its result.
    #[default]
    Forward,
    /// Undoing what was done.
    Backward,
}

/// How a saga ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The workflow returned its result.
    Completed,
    /// A step was rejected or given up, and everything was undone.
    Undone,
    /// Somebody cancelled it, and everything was undone.
    Cancelled,
    /// An admin closed it although something stays in force.
    ClosedWithResidue,
}

impl Direction {
    /// As the row keeps it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        }
    }
}

impl Ending {
    /// As the row keeps it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Undone => "undone",
            Self::Cancelled => "cancelled",
            Self::ClosedWithResidue => "closed_with_residue",
        }
    }
}

/// Why a saga turned back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Because {
    /// Stable: a rejection's code, `retries_exhausted`, or `cancelled`.
    pub code: String,
    /// For a person.
    pub reason: String,
    /// The step that said no, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// What a program needs to act on it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::payload::even_null"
    )]
    pub details: Option<Payload>,
    /// Who asked for it, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl From<&Because> for Rejection {
    fn from(because: &Because) -> Self {
        Self {
            code: because.code.clone().into(),
            reason: because.reason.clone(),
            details: because.details.as_ref().and_then(|details| details.decode().ok()),
        }
    }
}

/// What will be undone, in this order: groups one after the other, the steps of a group at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// The groups, the latest steps first.
    pub groups: Vec<Vec<PlannedUndo>>,
    /// SHA-256 over the groups, in hexadecimal: what an operator saw is what is carried out.
    pub digest: String,
}

/// One undo of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlannedUndo {
    /// The step.
    pub step: u32,
    /// Its activity.
    pub name: Arc<str>,
    /// Whether it is known to be done (else it may be).
    pub done: bool,
}

/// What happened. The names are part of the stored format.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A step will be attempted. Durable before its first attempt.
    Intent {
        /// From 1, in the order the calls were built.
        step: u32,
        /// The activity.
        name: Arc<str>,
        /// How it is taken back.
        #[serde(default, skip_serializing_if = "is_undoable")]
        class: ClassKind,
        /// The first step of its `join`, if it is in one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<u32>,
        /// The activity's input.
        input: Payload,
    },
    /// The workflow sleeps.
    Sleep {
        /// Its position.
        step: u32,
        /// Until then.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// The workflow waits for a signal.
    Await {
        /// Its position.
        step: u32,
        /// The signal's name.
        signal: Arc<str>,
        /// At most until then.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// The point of no return: nothing before it is undone from here on.
    Pivot,
    /// A step was done.
    Done {
        /// Which.
        step: u32,
        /// What it gave.
        output: Payload,
        /// The operator who said so, if it was resolved by hand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A step said no.
    Rejected {
        /// Which.
        step: u32,
    },
    /// An attempt of a step failed.
    Failed {
        /// Which.
        step: u32,
        /// The number of the attempt.
        attempt: u32,
        /// It may have happened all the same.
        unsure: bool,
        /// It used up one of the policy's attempts.
        counted: bool,
        /// What failed.
        problem: Problem,
        /// The next attempt; none: given up.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "time::serde::rfc3339::option"
        )]
        next_at: Option<OffsetDateTime>,
    },
    /// An operator knows that a step did not happen: it is tried again without asking.
    DidNotHappen {
        /// Which.
        step: u32,
        /// Who said so.
        by: String,
    },
    /// A signal came. It is kept until the workflow asks for it.
    Signal {
        /// Its name.
        name: Arc<str>,
        /// What it carries.
        payload: Payload,
    },
    /// A wait got the earliest kept signal of its name.
    Signalled {
        /// Which.
        step: u32,
    },
    /// A wait got no signal in time.
    TimedOut {
        /// Which.
        step: u32,
    },
    /// A sleep is over.
    Woke {
        /// Which.
        step: u32,
    },
    /// The saga turned back; the plan is frozen here.
    TurnedBack {
        /// Why.
        because: Because,
        /// What will be undone.
        plan: Plan,
    },
    /// A step was undone.
    Undone {
        /// Which.
        step: u32,
        /// The operator who said so, if it was resolved by hand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// An attempt to undo a step failed.
    UndoFailed {
        /// Which.
        step: u32,
        /// The number of the attempt.
        attempt: u32,
        /// What failed.
        problem: Problem,
        /// The next attempt; none: stuck, it waits for a person.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "time::serde::rfc3339::option"
        )]
        next_at: Option<OffsetDateTime>,
    },
    /// The saga is parked and waits for a person.
    Held {
        /// Where.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        /// Why.
        problem: Problem,
    },
    /// An operator asked for the next attempt now.
    RetryNow {
        /// Who.
        by: String,
    },
    /// An operator paused it: nothing new starts.
    Paused {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// An operator let it go on.
    Resumed {
        /// Who.
        by: String,
    },
    /// A message came too late, or did not fit.
    Refused {
        /// The message.
        message: Uuid,
        /// Stable: `too_late_to_cancel`.
        code: String,
    },
    /// It is over.
    Ended {
        /// How.
        ending: Ending,
        /// The workflow's result, when it completed.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "crate::payload::even_null"
        )]
        output: Option<Payload>,
    },
}

fn is_undoable(class: &ClassKind) -> bool {
    *class == ClassKind::Undoable
}

/// How an entry's facts are kept in `saga.entry.body`. The tag stands beside the bytes, so that
/// other codecs (encryption) can follow without a rewrite of what is there.
pub const CODEC_JSON: i16 = 0;

/// An entry's body that this build can not read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Written by a codec this build does not know.
    #[error("entry {seq} is written with codec {codec}, which this build does not know")]
    Codec {
        /// The entry.
        seq: i32,
        /// The tag.
        codec: i16,
    },
    /// Not the JSON of facts.
    #[error("entry {seq} can not be read")]
    Body {
        /// The entry.
        seq: i32,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Writes facts as [`CODEC_JSON`].
pub fn encode(facts: &[Fact]) -> Vec<u8> {
    // Facts are made of text, numbers and JSON that is already valid: writing them to memory
    // can not fail.
    serde_json::to_vec(facts).unwrap_or_else(|error| unreachable!("facts are JSON: {error}"))
}

/// Reads the facts of an entry.
pub fn decode(seq: i32, codec: i16, body: &[u8]) -> Result<Vec<Fact>, JournalError> {
    if codec != CODEC_JSON {
        return Err(JournalError::Codec { seq, codec });
    }
    serde_json::from_slice(body).map_err(|source| JournalError::Body { seq, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_they_were_written() {
        let facts = vec![
            Fact::Done {
                step: 1,
                output: Payload::encode(&serde_json::json!({"a": 1})).unwrap(),
                by: None,
            },
            Fact::Intent {
                step: 2,
                name: "charge".into(),
                class: ClassKind::Undoable,
                with: None,
                input: Payload::from_json("{ \"spaces\" : 1 }".into()).unwrap(),
            },
            Fact::Pivot,
            Fact::Failed {
                step: 2,
                attempt: 1,
                unsure: true,
                counted: true,
                problem: Problem { code: "c".into(), message: "m".into(), fingerprint: "f".into() },
                next_at: None,
            },
        ];
        let body = encode(&facts);
        assert_eq!(decode(1, CODEC_JSON, &body).unwrap(), facts);
        assert!(matches!(decode(7, 9, &body), Err(JournalError::Codec { seq: 7, codec: 9 })));
        assert!(matches!(decode(7, 0, b"{"), Err(JournalError::Body { seq: 7, .. })));
    }
}
