//! The states of a saga and its steps: what the journal adds up to. No clock, no database.

mod tries;

use std::sync::Arc;

use time::OffsetDateTime;

use crate::activity::ClassKind;
use crate::journal::{Because, Direction, Ending, Fact, Plan, Problem};

pub use tries::Tries;

/// What a saga's journal adds up to, without the payloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Every position the workflow claimed; step `n` is at `n - 1`.
    pub steps: Vec<Step>,
    /// How many steps lie before the last pivot, once there was one.
    pub pivot: Option<u32>,
    /// Signals that came, in order.
    pub signals: Vec<KeptSignal>,
    /// Set once the saga turned back.
    pub turned: Option<Turned>,
    /// Set while it is parked for a person.
    pub held: Option<Held>,
    /// Set while an operator paused it: who and why.
    pub paused: Option<(String, String)>,
    /// Set once it is over.
    pub ending: Option<Ending>,
}

/// One claimed position.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// What it is.
    pub kind: Kind,
    /// How far it is.
    pub status: Status,
    /// When it was intended.
    pub at: OffsetDateTime,
    /// An attempt of it may have happened although nobody saw its outcome.
    pub unsure: bool,
    /// Its attempts that ended, in vain, in the forward direction.
    pub tries: Tries,
    /// Its undo.
    pub undo: Tries,
    /// Its undo is done.
    pub undone: bool,
}

/// What a claimed position is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A use of an activity.
    Activity {
        /// Which.
        name: Arc<str>,
        /// How it is taken back.
        class: ClassKind,
        /// The first step of its `join`.
        with: Option<u32>,
    },
    /// A sleep.
    Sleep {
        /// Its end.
        until: OffsetDateTime,
    },
    /// A wait for a signal.
    Await {
        /// Its name.
        signal: Arc<str>,
        /// Its end.
        until: OffsetDateTime,
    },
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Intended; no outcome yet.
    Open,
    /// It has its outcome.
    Done,
    /// It said no.
    Rejected,
    /// Its retries ended.
    GivenUp,
}

/// A signal that came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptSignal {
    /// Its name.
    pub name: Arc<str>,
    /// The wait that got it.
    pub taken_by: Option<u32>,
}

/// A saga that turned back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Turned {
    /// Why.
    pub because: Because,
    /// What is undone.
    pub plan: Plan,
}

/// A parked saga.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Where.
    pub step: Option<u32>,
    /// Why.
    pub problem: Problem,
    /// Since when.
    pub since: OffsetDateTime,
}

/// What should be under way now. Derived from the state, so a crash loses nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Todo {
    /// Attempt a step.
    Attempt {
        /// Which.
        step: u32,
        /// The number of the attempt.
        number: u32,
        /// Not before.
        not_before: Option<OffsetDateTime>,
        /// Ask whether it happened first.
        probe: bool,
    },
    /// Undo a step.
    Undo {
        /// Which.
        step: u32,
        /// The number of the attempt.
        number: u32,
        /// Not before.
        not_before: Option<OffsetDateTime>,
        /// Whether it is known to be done.
        done: bool,
    },
    /// Wake a sleep, or end a wait.
    Timer {
        /// Which.
        step: u32,
        /// When.
        at: OffsetDateTime,
    },
}

impl State {
    /// The state a list of facts, all of one entry written at `at`, leads to.
    pub fn apply_all(&mut self, facts: &[Fact], at: OffsetDateTime) {
        for fact in facts {
            self.apply(fact, at);
        }
    }

    /// Which way it goes.
    pub fn direction(&self) -> Direction {
        if self.turned.is_some() { Direction::Backward } else { Direction::Forward }
    }

    /// The step `number`, from 1.
    pub fn step(&self, number: u32) -> Option<&Step> {
        self.steps.get((number as usize).checked_sub(1)?)
    }

    fn step_mut(&mut self, number: u32) -> Option<&mut Step> {
        self.steps.get_mut((number as usize).checked_sub(1)?)
    }

    /// Marks what a crash may have cut off: an attempt of any open step may have happened.
    pub fn reloaded(&mut self) {
        for number in 1..=self.steps.len() as u32 {
            self.in_doubt(number);
        }
    }

    /// An attempt of an open step may have happened.
    fn in_doubt(&mut self, number: u32) {
        if let Some(step) = self.step_mut(number)
            && step.status == Status::Open
            && matches!(step.kind, Kind::Activity { .. })
        {
            step.unsure = true;
        }
    }

    /// The earliest signal kept for `name`.
    pub fn kept_signal(&self, name: &str) -> Option<usize> {
        self.signals.iter().position(|signal| signal.taken_by.is_none() && *signal.name == *name)
    }

    /// Adds one fact. Facts come from [`crate::decide`] or from a journal it wrote: one that does
    /// not fit (an outcome without its intent) changes nothing.
    pub fn apply(&mut self, fact: &Fact, at: OffsetDateTime) {
        match fact {
            Fact::Intent { step, name, class, with, .. } => {
                let kind = Kind::Activity { name: name.clone(), class: *class, with: *with };
                self.claim(*step, kind, at);
            }
            Fact::Sleep { step, until } => self.claim(*step, Kind::Sleep { until: *until }, at),
            Fact::Await { step, signal, until } => {
                self.claim(*step, Kind::Await { signal: signal.clone(), until: *until }, at);
            }
            Fact::Pivot => self.pivot = Some(self.steps.len() as u32),
            Fact::Done { step, .. } | Fact::TimedOut { step } | Fact::Woke { step } => {
                self.close(*step, Status::Done);
            }
            Fact::Signalled { step } => self.signalled(*step),
            Fact::Rejected { step } => self.close(*step, Status::Rejected),
            Fact::Failed { step, attempt, unsure, counted, problem, next_at } => {
                if let Some(step) = self.step_mut(*step) {
                    step.unsure |= *unsure;
                    step.tries.fail(*attempt, *counted, problem, *next_at, at);
                    if next_at.is_none() {
                        step.status = Status::GivenUp;
                    }
                }
            }
            Fact::DidNotHappen { step, .. } => self.did_not_happen(*step),
            Fact::Signal { name, .. } => {
                self.signals.push(KeptSignal { name: name.clone(), taken_by: None });
            }
            Fact::TurnedBack { because, plan } => {
                // The plan remembers a doubt that only memory had: an attempt that a crash cut off.
                for undo in plan.groups.iter().flatten().filter(|undo| !undo.done) {
                    let step = self.step_mut(undo.step);
                    let closed = step.filter(|step| step.status != Status::Open);
                    closed.into_iter().for_each(|step| step.unsure = true);
                }
                self.turned = Some(Turned { because: because.clone(), plan: plan.clone() });
                self.held = None;
            }
            Fact::Undone { step, .. } => {
                self.release(*step);
                if let Some(step) = self.step_mut(*step) {
                    step.undone = true;
                }
            }
            Fact::UndoFailed { step, attempt, problem, next_at } => {
                if let Some(step) = self.step_mut(*step) {
                    step.undo.fail(*attempt, true, problem, *next_at, at);
                }
            }
            Fact::Held { step, problem } => {
                // Whatever broke there, the attempt may have got far enough.
                step.iter().for_each(|step| self.in_doubt(*step));
                self.held = Some(Held { step: *step, problem: problem.clone(), since: at });
            }
            Fact::RetryNow { .. } => self.retry_now(),
            Fact::Paused { by, reason } => self.paused = Some((by.clone(), reason.clone())),
            Fact::Resumed { .. } => self.paused = None,
            Fact::Refused { .. } => {}
            Fact::Ended { ending, .. } => {
                self.ending = Some(*ending);
                (self.held, self.paused) = (None, None);
            }
        }
    }

    fn claim(&mut self, number: u32, kind: Kind, at: OffsetDateTime) {
        if number as usize == self.steps.len() + 1 {
            self.steps.push(Step {
                kind,
                status: Status::Open,
                at,
                unsure: false,
                tries: Tries::default(),
                undo: Tries::default(),
                undone: false,
            });
        }
    }

    fn close(&mut self, number: u32, status: Status) {
        self.release(number);
        if let Some(step) = self.step_mut(number) {
            step.status = status;
            step.tries.next_at = None;
        }
    }

    /// What held the saga at this step is settled. It stays held for anything else.
    fn release(&mut self, number: u32) {
        if self.held.as_ref().is_some_and(|held| held.step == Some(number)) {
            self.held = None;
        }
    }

    fn signalled(&mut self, number: u32) {
        let Some(Kind::Await { signal, .. }) = self.step(number).map(|step| &step.kind) else {
            return;
        };
        if let Some(kept) = self.kept_signal(&signal.clone()) {
            self.signals[kept].taken_by = Some(number);
        }
        self.close(number, Status::Done);
    }

    fn did_not_happen(&mut self, number: u32) {
        self.release(number);
        if let Some(step) = self.step_mut(number) {
            step.unsure = false;
            step.status = Status::Open;
            step.tries.next_at = None;
            step.tries.counted = 0;
        }
    }

    fn retry_now(&mut self) {
        self.held = None;
        let backward = self.turned.is_some();
        for step in &mut self.steps {
            step.undo.next_at = None;
            step.tries.next_at = None;
            if !backward && step.status == Status::GivenUp {
                step.status = Status::Open;
                step.tries.counted = 0;
            }
        }
    }

    /// What should be under way. Nothing while it is held, paused or over.
    pub fn todo(&self) -> Vec<Todo> {
        if self.held.is_some() || self.paused.is_some() || self.ending.is_some() {
            return Vec::new();
        }
        match &self.turned {
            Some(turned) => self.undos_due(&turned.plan),
            None => self.attempts_due(),
        }
    }

    fn attempts_due(&self) -> Vec<Todo> {
        // Only the last claimed positions can be open; a saga has a handful of steps.
        let open = self.steps.iter().enumerate().filter(|(_, step)| step.status == Status::Open);
        open.map(|(index, step)| {
            let number = index as u32 + 1;
            match &step.kind {
                Kind::Activity { .. } => Todo::Attempt {
                    step: number,
                    number: step.tries.attempts + 1,
                    not_before: step.tries.next_at,
                    probe: step.unsure,
                },
                Kind::Sleep { until } | Kind::Await { until, .. } => {
                    Todo::Timer { step: number, at: *until }
                }
            }
        })
        .collect()
    }

    /// The first group that is not all undone: strictly in order, so that stock is not released
    /// while a payment is unknown.
    fn undos_due(&self, plan: &Plan) -> Vec<Todo> {
        let is_undone = |step: u32| self.step(step).is_none_or(|step| step.undone);
        let group = plan.groups.iter().find(|group| !group.iter().all(|undo| is_undone(undo.step)));
        group
            .into_iter()
            .flatten()
            .filter(|undo| !is_undone(undo.step))
            .filter_map(|undo| {
                let tries = &self.step(undo.step)?.undo;
                Some(Todo::Undo {
                    step: undo.step,
                    number: tries.attempts + 1,
                    not_before: tries.next_at,
                    done: undo.done,
                })
            })
            .collect()
    }
}
