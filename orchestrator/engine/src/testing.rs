//! How a workflow is tested: everything that can go wrong at each of its steps, one after the other.
//!
//! A [`Sweep`] runs a workflow once undisturbed, then once for each [`Harm`] at each of its steps
//! and undos, each time against a world of its own, and asks after each run whether that world is
//! clean. What it finds are the mistakes that otherwise show in production only: an action that is
//! not idempotent, an undo that forgets, an undo that does not shut out its own late action.
//!
//! It shows the engine to a workflow, not the engine itself: a cut kills the engine in this process.

mod fault;
mod faults;
mod injector;
mod sweep;
mod trial;

pub use fault::{Fault, Harm};
pub use faults::{Faults, Injected, Point, Stray};
pub use sweep::{Broken, Report, Stage, Sweep};
