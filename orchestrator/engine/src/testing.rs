//! How a workflow is tested: everything that can go wrong at each of its steps, one after the other.
//!
//! A [`Sweep`] runs a workflow once undisturbed, then once for each [`Harm`] at each of its steps
//! and undos, each time against a world of its own, and asks after each run whether that world is
//! clean. What it finds are the mistakes that otherwise show in production only: an action that is
//! not idempotent, an undo that forgets, an undo that does not shut out its own late action.
//!
//! It shows the engine to a workflow, not the engine itself: a cut kills the engine in this process.
//!
//! For the proof of the engine itself, with real processes, the environment of a program can ask for
//! [`BoundaryFault`]s, each at one [`Boundary`], for [`Poison`], and for one [`PlantedBug`].

mod boundary;
mod environment;
mod fault;
mod faults;
mod injector;
mod named;
mod planted;
mod poison;
mod sweep;
mod trial;
mod watch;

pub use boundary::{Boundary, BoundaryFault, BoundaryHarm};
pub use environment::{FAULT, FAULT_LOG};
pub use fault::{Fault, Harm};
pub use faults::{Faults, Injected, Point, Stray};
pub use planted::{PLANTED_BUG, PlantedBug, planted};
pub use poison::{POISON, Poison, PoisonHarm};
pub use sweep::{Broken, Report, Stage, Sweep};
pub use watch::BoundaryWatch;

pub(crate) use environment::applied_to;
pub(crate) use poison::{after, before};
pub(crate) use watch::Marks;
