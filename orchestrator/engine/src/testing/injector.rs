//! Brings one fault about, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::Notify;

use super::fault::{Fault, Harm};
use super::faults::{Faults, Injected, Point, Stray};
use crate::journal::Direction;

/// How often something that is never given up fails.
const FAILURES: u32 = 3;

/// How a saga is made to turn back at a step that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Every reply of the step is lost, until it is given up.
    GivenUp(u32),
    /// The step is never given up: the customer cancels while it runs.
    Cancelled(u32),
}

/// One fault, and where it stands.
#[derive(Debug)]
pub(super) struct Injector {
    fault: Option<Fault>,
    /// The step at which the saga turns back when an undo is to be harmed; it too is to be undone.
    turns_at: Option<Turn>,
    /// The attempts after which the harmed step is given up; none: never.
    attempts_max: Option<u32>,
    failures: AtomicU32,
    spent: AtomicBool,
    /// The engine is to be killed now.
    pub(super) cut: Arc<Notify>,
    /// The saga is to be cancelled now.
    pub(super) reached: Arc<Notify>,
    /// The cancelled step may run.
    pub(super) gate: Arc<Notify>,
    /// What arrives when all is over.
    pub(super) stray: Stray,
}

impl Injector {
    pub(super) fn new(
        fault: Option<Fault>,
        turns_at: Option<Turn>,
        attempts_max: Option<u32>,
    ) -> Arc<Self> {
        Arc::new(Self {
            turns_at: turns_at.filter(|_| {
                fault.as_ref().is_some_and(|fault| fault.direction == Direction::Backward)
            }),
            fault,
            attempts_max,
            failures: AtomicU32::new(0),
            spent: AtomicBool::new(false),
            cut: Arc::default(),
            reached: Arc::default(),
            gate: Arc::default(),
            stray: Stray::default(),
        })
    }

    /// Whether it came to the harm at all.
    pub(super) fn came_to_it(&self) -> bool {
        self.spent.load(Ordering::Acquire)
    }

    /// Whether the saga turns back because it is cancelled, although that is not the harm.
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self.turns_at, Some(Turn::Cancelled(_)))
    }

    /// Whether a step that keeps failing is given up.
    pub(super) fn gives_up(&self) -> bool {
        self.attempts_max.is_some()
    }

    fn cancel(&self) -> Injected {
        self.reached.notify_one();
        Injected::After(self.gate.clone())
    }

    fn harm(&self, harm: Harm, gives_up: bool) -> Injected {
        let first = !self.spent.swap(true, Ordering::AcqRel);
        let failures = self.failures.fetch_add(1, Ordering::AcqRel);
        let fails = self.attempts_max.filter(|_| gives_up).map_or(failures < FAILURES, |_| true);
        match harm {
            Harm::Exhaust if fails => Injected::Fail,
            Harm::ArriveLate if first => Injected::Late(self.stray.clone()),
            // The repeats are lost for good.
            Harm::ArriveLate if fails => Injected::Fail,
            Harm::Reject if first => Injected::Reject,
            Harm::LoseReply if first => Injected::LoseReply,
            Harm::Repeat if first => Injected::Twice,
            Harm::CutBefore if first => Injected::CutBefore(self.cut.clone()),
            Harm::CutAfter if first => Injected::CutAfter(self.cut.clone()),
            Harm::Cancel if first => self.cancel(),
            _ => Injected::Nothing,
        }
    }
}

impl Faults for Injector {
    fn on(&self, attempt: &Point) -> Injected {
        let Some(fault) = &self.fault else { return Injected::Nothing };
        if fault.step == attempt.step && fault.direction == attempt.direction {
            let gives_up = fault.before_pivot && fault.direction == Direction::Forward;
            return self.harm(fault.harm, gives_up);
        }
        match (attempt.direction, self.turns_at) {
            (Direction::Forward, Some(Turn::GivenUp(step))) if step == attempt.step => {
                Injected::LoseReply
            }
            (Direction::Forward, Some(Turn::Cancelled(step))) if step == attempt.step => {
                self.cancel()
            }
            _ => Injected::Nothing,
        }
    }
}
