//! What became of the attempts of a step, or of its undo.

use time::OffsetDateTime;

use crate::journal::Problem;

/// The failed attempts of a step or of its undo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tries {
    /// How many ended.
    pub attempts: u32,
    /// How many of them the policy counts.
    pub counted: u32,
    /// When the first of the present row of failures ended.
    pub first_failed_at: Option<OffsetDateTime>,
    /// When the next is due; none: now.
    pub next_at: Option<OffsetDateTime>,
    /// The last failure.
    pub problem: Option<Problem>,
}

impl Tries {
    /// One more ended.
    pub(super) fn fail(
        &mut self,
        attempt: u32,
        counted: bool,
        problem: &Problem,
        next_at: Option<OffsetDateTime>,
        at: OffsetDateTime,
    ) {
        self.attempts = attempt;
        self.counted += u32::from(counted);
        self.first_failed_at.get_or_insert(at);
        self.next_at = next_at;
        self.problem = Some(problem.clone());
    }
}
