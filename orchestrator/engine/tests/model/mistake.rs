//! What an implementation could get wrong. Each was thought of by somebody as good enough; each must
//! be found out.

/// One guard that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Whoever believes to own the shard writes.
    NoFence,
    /// The fence is compared before the write, and not in it.
    FenceOnlyRead,
    /// The first attempt of a step starts while its intent is being written.
    AttemptBeforeIntent,
    /// Each attempt of the charge has an idempotency key of its own.
    NewKeyEachAttempt,
    /// No answer means that nothing happened.
    TimeoutIsFailure,
    /// An undo asks whether money moved; if not, there is nothing to do.
    LookUpThenCompensate,
    /// A declined charge fails although its intent can still be charged.
    DeclineWithoutSettling,
    /// A refund that is sent twice is two refunds.
    RefundWithoutKey,
    /// An undo that finds nothing to undo leaves no trace.
    NoTombstone,
}
