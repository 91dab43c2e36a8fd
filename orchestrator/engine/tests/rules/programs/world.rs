//! What a program's steps do to the world, which forgets nothing: what is in force, what was taken
//! back, and what arrives late.

use std::collections::{BTreeMap, BTreeSet};

use engine::event::Event;
use engine::journal::Problem;
use engine::payload::Payload;

use super::program::{Ends, Fails, UndoFails, Use, When};
use crate::events::at;

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) in_force: BTreeSet<u32>,
    /// Taken back: from here on it can not happen.
    shut_out: BTreeSet<u32>,
    /// What was sent and has not arrived.
    late: Vec<u32>,
    attempts: BTreeMap<u32, usize>,
    undos: BTreeMap<u32, usize>,
}

impl World {
    /// An attempt ends. An undo that began shuts its action out, so none may come after it.
    pub(crate) fn attempt(&mut self, step: u32, used: &Use, now: i64) -> Event {
        assert!(!self.shut_out.contains(&step), "step {step} is attempted after its undo");
        let count = self.attempts.entry(step).or_default();
        *count += 1;
        let (problem, slow_at) = (problem(), at(now + 9));
        let failed = |unsure, next_at| {
            let problem = problem.clone();
            Event::Failed { step, unsure, counted: true, problem, next_at, slow_at }
        };
        match used.fails.get(*count - 1) {
            Some(Fails::NotExecuted) => failed(false, Some(at(now + 3))),
            Some(Fails::Unknown(when)) => {
                self.unheard(step, *when);
                failed(true, Some(at(now + 3)))
            }
            Some(Fails::Panics(when)) => {
                self.unheard(step, *when);
                Event::Broken { step: Some(step), problem }
            }
            Some(Fails::SaysNo) => rejected(step),
            None => match used.ends {
                Ends::Done(output) => {
                    self.happens(step);
                    Event::Done { step, output: Payload::encode(&output).unwrap() }
                }
                Ends::Rejected => rejected(step),
                Ends::GivenUp(when) => {
                    self.unheard(step, when);
                    failed(true, None)
                }
            },
        }
    }

    /// An undo ends.
    pub(crate) fn undo(&mut self, step: u32, used: &Use, now: i64) -> Event {
        let count = self.undos.entry(step).or_default();
        *count += 1;
        let problem = problem();
        match used.undo_fails.get(*count - 1) {
            Some(UndoFails::Retry) => {
                Event::UndoFailed { step, problem, next_at: Some(at(now + 3)) }
            }
            Some(UndoFails::Stuck) => Event::UndoFailed { step, problem, next_at: None },
            Some(UndoFails::Panics) => Event::Broken { step: Some(step), problem },
            None => {
                self.in_force.remove(&step);
                self.shut_out.insert(step);
                Event::Undone { step }
            }
        }
    }

    /// A crash cuts off whoever waited for it; it may arrive all the same.
    pub(crate) fn is_cut_off(&mut self, step: u32) {
        self.late.push(step);
    }

    /// Something late arrives.
    pub(crate) fn arrives(&mut self, pick: usize) {
        if !self.late.is_empty() {
            let step = self.late.remove(pick % self.late.len());
            self.happens(step);
        }
    }

    pub(crate) fn all_arrive(&mut self) {
        for step in std::mem::take(&mut self.late) {
            self.happens(step);
        }
    }

    fn unheard(&mut self, step: u32, when: When) {
        match when {
            When::Never => {}
            When::Now => self.happens(step),
            When::Later => self.late.push(step),
        }
    }

    fn happens(&mut self, step: u32) {
        if !self.shut_out.contains(&step) {
            self.in_force.insert(step);
        }
    }
}

fn rejected(step: u32) -> Event {
    Event::Rejected { step, code: "no".into(), reason: "no".into(), details: None }
}

fn problem() -> Problem {
    Problem::own("trouble", "trouble")
}
