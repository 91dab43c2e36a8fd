//! What a sweep does to a saga, and how the saga must end all the same.

use std::fmt;

use crate::activity::ClassKind;
use crate::journal::{Direction, Ending, Entry, Fact};

/// One kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Harm {
    /// A step says no; an undo is stuck until an operator retries it.
    Reject,
    /// It fails without having run: a step before the pivot until it is given up, anything else
    /// three times.
    Exhaust,
    /// It runs, and nobody learns of it.
    LoseReply,
    /// It runs twice under one key.
    Repeat,
    /// Nobody knows what became of a step until it is given up and undone; then it arrives.
    ArriveLate,
    /// The engine dies before it runs; another one takes over.
    CutBefore,
    /// The engine dies after it ran and before that is written; another one takes over.
    CutAfter,
    /// The customer cancels while it runs.
    Cancel,
}

/// One harm at one step, or at its undo.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What is done to it.
    pub harm: Harm,
    /// To the step, or to its undo.
    pub direction: Direction,
    /// The step, from 1.
    pub step: u32,
    /// Its activity.
    pub activity: String,
    /// It lies before the pivot, so that the saga can still turn back there.
    pub before_pivot: bool,
}

impl Fault {
    /// How the saga must end: none, as it does undisturbed.
    pub fn ending(&self) -> Option<Ending> {
        match (self.direction, self.harm) {
            (Direction::Backward, _) => Some(Ending::Undone),
            (_, Harm::Reject | Harm::Exhaust | Harm::ArriveLate) if self.before_pivot => {
                Some(Ending::Undone)
            }
            (_, Harm::Cancel) if self.before_pivot => Some(Ending::Cancelled),
            _ => None,
        }
    }

    /// Whether an operator has to help.
    pub(super) fn needs_a_person(&self) -> bool {
        let stays = self.direction == Direction::Backward || !self.before_pivot;
        self.harm == Harm::Reject && stays
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { harm, direction, step, activity, .. } = self;
        let what = match direction {
            Direction::Forward => "step",
            Direction::Backward => "the undo of step",
        };
        let (before, after) = match harm {
            Harm::Reject => ("reject ", ""),
            Harm::Exhaust => ("let every attempt fail of ", ""),
            Harm::LoseReply => ("lose the reply of ", ""),
            Harm::Repeat => ("run twice ", ""),
            Harm::ArriveLate => ("let arrive late ", ""),
            Harm::CutBefore => ("kill the engine before ", " runs"),
            Harm::CutAfter => ("kill the engine after ", " ran"),
            Harm::Cancel => ("cancel during ", ""),
        };
        write!(f, "{before}{what} {step} {activity}{after}")
    }
}

/// A step as an undisturbed run showed it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) step: u32,
    pub(super) activity: String,
    class: ClassKind,
    pub(super) before_pivot: bool,
}

impl Seen {
    /// Whether it has an undo that can come to run.
    pub(super) fn can_be_undone(&self) -> bool {
        self.before_pivot && self.class == ClassKind::Undoable
    }
}

/// The steps of a journal.
pub(super) fn seen(entries: &[Entry]) -> Vec<Seen> {
    let mut before_pivot = true;
    let mut seen = Vec::new();
    for fact in entries.iter().flat_map(|entry| &entry.facts) {
        match fact {
            Fact::Pivot => before_pivot = false,
            Fact::Intent { step, name, class, .. } => {
                let (step, class, activity) = (*step, *class, name.to_string());
                seen.push(Seen { step, activity, class, before_pivot });
            }
            _ => {}
        }
    }
    seen
}

/// Everything that can be done to these steps.
pub(super) fn all(seen: &[Seen]) -> Vec<Fault> {
    use Harm::{Cancel, CutAfter, CutBefore, Exhaust, LoseReply, Reject, Repeat};
    let harms = [Reject, Exhaust, LoseReply, Repeat, CutBefore, CutAfter, Cancel];
    let mut faults = Vec::new();
    for step in seen {
        let fault = |harm, direction| Fault {
            harm,
            direction,
            step: step.step,
            activity: step.activity.clone(),
            before_pivot: step.before_pivot,
        };
        faults.extend(harms.map(|harm| fault(harm, Direction::Forward)));
        if step.can_be_undone() {
            faults.push(fault(Harm::ArriveLate, Direction::Forward));
            let undone = harms.into_iter().filter(|harm| *harm != Cancel);
            faults.extend(undone.map(|harm| fault(harm, Direction::Backward)));
        }
    }
    faults
}
