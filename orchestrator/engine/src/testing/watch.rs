//! Waits at a boundary for the first saga that comes to it, and does the harm, once.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    log: Option<File>,
    fired: AtomicBool,
}

impl BoundaryWatch {
    /// Does `fault` to the first saga that comes to it.
    pub fn new(fault: BoundaryFault) -> Arc<Self> {
        Self::logging(fault, None)
    }

    pub(super) fn logging(fault: BoundaryFault, log: Option<File>) -> Arc<Self> {
        Arc::new(Self { fault, log, fired: AtomicBool::new(false) })
    }

    /// Whether any saga has come to it.
    pub fn has_fired(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }

    pub(super) fn fault(&self) -> &BoundaryFault {
        &self.fault
    }

    pub(crate) fn is_for(&self, direction: Direction, activity: &str) -> bool {
        self.fault.direction == direction && self.fault.activity == activity
    }

    /// A saga whose step or undo this fault is for is at `boundary`. True: it fails here, or its
    /// answer is lost.
    pub(crate) fn reach(&self, boundary: Boundary, saga: SagaId) -> bool {
        if self.fault.boundary != boundary || self.fired.swap(true, Ordering::AcqRel) {
            return false;
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
                false
            }
            BoundaryHarm::Error | BoundaryHarm::LoseAck => true,
        }
    }

    fn say(&self, saga: SagaId) -> std::io::Result<()> {
        let Some(mut log) = self.log.as_ref() else { return Ok(()) };
        log.write_all(format!("{} {saga}\n", self.fault).as_bytes())?;
        log.sync_all()
    }
}

/// Whether what is being written down has the intent or the outcome that a fault waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Option<Marked>);

#[derive(Clone, Debug)]
struct Marked {
    watch: Arc<BoundaryWatch>,
    saga: SagaId,
    intent: bool,
    outcome: bool,
}

impl Marks {
    pub(crate) fn of(registry: &Registry, saga: SagaId, facts: &[Fact], state: &State) -> Self {
        let Some(watch) = registry.watch.clone() else { return Self::default() };
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
        Self(Some(Marked { watch, saga, intent, outcome }))
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
        self.0.as_ref().is_some_and(|marked| {
            let reach = |boundary| marked.watch.reach(boundary, marked.saga);
            (marked.intent && reach(intent)) || (marked.outcome && reach(outcome))
        })
    }
}
