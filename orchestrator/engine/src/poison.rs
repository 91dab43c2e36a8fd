//! Where a test poisons a call. A program has nothing of it.

#[cfg(feature = "testing")]
pub(crate) use crate::testing::{after, before};

#[cfg(not(feature = "testing"))]
pub(crate) use none::{after, before};

#[cfg(not(feature = "testing"))]
mod none {
    use crate::activity::Activity;
    use crate::handler::Attempted;

    /// Nothing.
    pub(crate) fn before<A: Activity>(_: &A) {}

    /// What it was.
    pub(crate) fn after<A: Activity>(_: &A, attempted: Attempted) -> Attempted {
        attempted
    }
}
