//! Waits at a boundary for the first saga that comes to it, and does the harm, once.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use nix::sys::signal::{Signal, raise};

use super::boundary::{Boundary, BoundaryFault, BoundaryHarm};
use crate::id::SagaId;
use crate::journal::{Direction, Fact};
use crate::program::Registry;
use crate::state::{Kind, State};

/// One fault of an engine. See [`crate::Registry::with_boundary_watch`].
#[derive(Debug)]
pub struct BoundaryWatch {
    fault: BoundaryFault,
    /// Where it is said before it is done, for whoever survives it.
    log: Option<Arc<File>>,
    /// The saga that came to it.
    victim: OnceLock<SagaId>,
}

impl BoundaryWatch {
    /// Does `fault` to the first saga that comes to it.
    pub fn new(fault: BoundaryFault) -> Arc<Self> {
        Self::logging(fault, None)
    }

    pub(super) fn logging(fault: BoundaryFault, log: Option<Arc<File>>) -> Arc<Self> {
        Arc::new(Self { fault, log, victim: OnceLock::new() })
    }

    /// Whether any saga has come to it.
    pub fn has_fired(&self) -> bool {
        self.victim.get().is_some()
    }

    pub(super) fn fault(&self) -> &BoundaryFault {
        &self.fault
    }

    pub(crate) fn is_for(&self, direction: Direction, activity: &str) -> bool {
        self.fault.direction == direction && self.fault.activity == activity
    }

    /// Whether this step of this saga, which fails by this fault, is not tried again.
    pub(crate) fn gives_up(&self, saga: SagaId, activity: &str) -> bool {
        self.fault.harm == BoundaryHarm::GiveUp
            && self.fault.activity == activity
            && self.victim.get() == Some(&saga)
    }

    /// A saga whose step or undo this fault is for is at `boundary`. Some: what is left for the caller
    /// to do to it.
    pub(crate) fn reach(&self, boundary: Boundary, saga: SagaId) -> Option<BoundaryHarm> {
        if self.fault.boundary != boundary || self.victim.set(saga).is_err() {
            return None;
        }
        if let Err(error) = self.say(saga) {
            // A harm that nobody can learn of proves nothing.
            eprintln!("the fault {} can not be logged: {error}", self.fault);
            std::process::exit(1);
        }
        match self.fault.harm {
            BoundaryHarm::Abort => std::process::abort(),
            BoundaryHarm::Stop => {
                // It can not fail: the signal is one, and the thread is its own.
                let _ = raise(Signal::SIGSTOP);
                None
            }
            harm => Some(harm),
        }
    }

    fn say(&self, saga: SagaId) -> std::io::Result<()> {
        let Some(mut log) = self.log.as_deref() else { return Ok(()) };
        log.write_all(format!("{} {saga}\n", self.fault).as_bytes())?;
        log.sync_all()
    }
}

/// The faults that wait for an intent or an outcome in what is being written down.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Vec<Marked>);

#[derive(Clone, Debug)]
struct Marked {
    watch: Arc<BoundaryWatch>,
    saga: SagaId,
    intent: bool,
    outcome: bool,
}

impl Marks {
    pub(crate) fn of(registry: &Registry, saga: SagaId, facts: &[Fact], state: &State) -> Self {
        let marked = |watch: &Arc<BoundaryWatch>| Marked::of(watch, saga, facts, state);
        Self(registry.watches.iter().map(marked).collect())
    }

    /// The commit is about to be sent. True: it fails.
    pub(crate) fn before_commit(&self) -> bool {
        self.reach(Boundary::BeforeIntent, Boundary::BeforeOutcome)
    }

    /// It is durable, and only the database knows. True: its answer is lost.
    pub(crate) fn durable(&self) -> bool {
        self.reach(Boundary::IntentDurable, Boundary::OutcomeDurable)
    }

    /// It is known to be durable.
    pub(crate) fn known(&self) {
        self.reach(Boundary::AfterIntent, Boundary::AfterOutcome);
    }

    fn reach(&self, intent: Boundary, outcome: Boundary) -> bool {
        self.0.iter().any(|marked| {
            let reach = |boundary| marked.watch.reach(boundary, marked.saga).is_some();
            (marked.intent && reach(intent)) || (marked.outcome && reach(outcome))
        })
    }
}

impl Marked {
    fn of(watch: &Arc<BoundaryWatch>, saga: SagaId, facts: &[Fact], state: &State) -> Self {
        let is_of = |step: &u32, direction| match state.step(*step).map(|step| &step.kind) {
            Some(Kind::Activity { name, .. }) => watch.is_for(direction, name),
            _ => false,
        };
        let intent = facts.iter().any(|fact| match fact {
            Fact::Intent { step, .. } => is_of(step, Direction::Forward),
            Fact::TurnedBack { plan, .. } => {
                plan.groups.iter().flatten().any(|undo| is_of(&undo.step, Direction::Backward))
            }
            _ => false,
        });
        let outcome = facts.iter().any(|fact| match fact {
            Fact::Done { step, .. } | Fact::Rejected { step } | Fact::Failed { step, .. } => {
                is_of(step, Direction::Forward)
            }
            Fact::Undone { step, .. } | Fact::UndoFailed { step, .. } => {
                is_of(step, Direction::Backward)
            }
            _ => false,
        });
        Self { watch: watch.clone(), saga, intent, outcome }
    }
}
