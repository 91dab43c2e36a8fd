//! The places where a crash leaves something else behind than a moment earlier, and harm at them.

use std::fmt;
use std::str::FromStr;

use super::named::named;
use crate::journal::Direction;

named! {
    /// A place between a step's intent, its attempt and its outcome, or an undo's. The intent of an
    /// undo is the plan it stands in; a failed attempt has an outcome too.
    pub enum Boundary ("boundary") {
        /// The intent is about to be sent to the database: nothing of it is there.
        BeforeIntent = "before_intent",
        /// The intent is durable, and this node does not know it yet.
        IntentDurable = "intent_durable",
        /// This node knows that the intent is durable; the attempt is not started.
        AfterIntent = "after_intent",
        /// The attempt has started and has called nobody yet.
        BeforeCall = "before_call",
        /// The call has been answered, and nobody has heard of that.
        AfterCall = "after_call",
        /// The outcome is about to be sent to the database: nothing of it is there.
        BeforeOutcome = "before_outcome",
        /// The outcome is durable, and this node does not know it yet.
        OutcomeDurable = "outcome_durable",
        /// This node knows that the outcome is durable; nothing has followed from it.
        AfterOutcome = "after_outcome",
    }
}

named! {
    /// What is done at a boundary.
    pub enum BoundaryHarm ("harm") {
        /// The process aborts.
        Abort = "abort",
        /// The process stops (SIGSTOP) until somebody continues it.
        Stop = "stop",
        /// The commit is not sent, or the attempt does not call: it fails in a way that is retried.
        Error = "error",
        /// It happened, and its answer is lost: the lane's connection breaks after the commit, or
        /// nobody knows what became of the call.
        LoseAck = "lose_ack",
        /// The call is made twice, one after the other, under the same keys; the second answer counts.
        Twice = "twice",
        /// No call is made. A step is rejected; an undo is stuck until a person has it tried again.
        Reject = "reject",
        /// The attempt fails in a way that is retried, and no other is allowed: nobody knows whether
        /// it happened, and before the pivot the saga turns back.
        GiveUp = "give_up",
    }
}

impl Boundary {
    /// What can be done here to a step, or to its undo. Where nothing is sent there is nothing to
    /// fail, where nothing is answered no answer to lose, and an undo is never given up.
    pub const fn harms(self, direction: Direction) -> &'static [BoundaryHarm] {
        use BoundaryHarm::{Abort, Error, GiveUp, LoseAck, Reject, Stop, Twice};
        match (self, direction) {
            (Self::BeforeIntent | Self::BeforeOutcome, _) => &[Abort, Stop, Error],
            (Self::BeforeCall, Direction::Forward) => &[Abort, Stop, Error, Twice, Reject, GiveUp],
            (Self::BeforeCall, Direction::Backward) => &[Abort, Stop, Error, Twice, Reject],
            (Self::AfterCall, Direction::Forward) => &[Abort, Stop, LoseAck, GiveUp],
            (Self::AfterCall, Direction::Backward)
            | (Self::IntentDurable | Self::OutcomeDurable, _) => &[Abort, Stop, LoseAck],
            (Self::AfterIntent | Self::AfterOutcome, _) => &[Abort, Stop],
        }
    }
}

/// One harm at one boundary of one activity: `after_call:forward:charge-payment:abort`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BoundaryFault {
    /// Where.
    pub boundary: Boundary,
    /// Of the step, or of its undo.
    pub direction: Direction,
    /// The step's activity.
    pub activity: String,
    /// What is done.
    pub harm: BoundaryHarm,
}

impl fmt::Display for BoundaryFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boundary, direction, activity, harm } = self;
        write!(f, "{boundary}:{}:{activity}:{harm}", direction.name())
    }
}

impl FromStr for BoundaryFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [boundary, direction, activity, harm] = parts[..] else {
            return Err(format!("`{text}` is not <boundary>:<direction>:<activity>:<harm>"));
        };
        let directions = [Direction::Forward, Direction::Backward];
        let direction = directions.into_iter().find(|known| known.name() == direction);
        let direction = direction.ok_or("the direction is forward or backward")?;
        let (boundary, harm): (Boundary, BoundaryHarm) = (boundary.parse()?, harm.parse()?);
        if !boundary.harms(direction).contains(&harm) {
            return Err(format!("there is no {harm} at {boundary}, {}", direction.name()));
        }
        Ok(Self { boundary, direction, activity: activity.to_owned(), harm })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        let mut faults = 0;
        for boundary in Boundary::ALL {
            for direction in [Direction::Forward, Direction::Backward] {
                for harm in boundary.harms(direction) {
                    let activity = "charge-payment".to_owned();
                    let fault = BoundaryFault { boundary, direction, activity, harm: *harm };
                    assert_eq!(fault.to_string().parse(), Ok(fault));
                    faults += 1;
                }
            }
        }
        assert_eq!(faults, 50);
    }

    #[test]
    fn what_can_not_be_done_is_refused() {
        let refused = |text: &str| text.parse::<BoundaryFault>().unwrap_err();
        assert!(refused("").contains("is not <boundary>"));
        assert!(refused("after_call:forward:charge-payment").contains("is not <boundary>"));
        assert!(refused("after_cal:forward:a:abort").contains("before_intent, intent_durable"));
        assert!(refused("after_call:upward:a:abort").contains("forward or backward"));
        assert!(refused("after_call:forward:a:murder").contains("abort, stop, error, lose_ack"));
        assert!(refused("after_call:forward:a:error").contains("no error at after_call"));
        let undo = refused("after_call:backward:a:give_up");
        assert_eq!(undo, "there is no give_up at after_call, backward");
    }
}
