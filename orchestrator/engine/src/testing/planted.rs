//! Bugs that are put in on purpose: each undoes one decision of the design, and the proof must notice.

use std::sync::OnceLock;

use super::named::named;

/// The name of the bug that is planted in this process.
pub const PLANTED_BUG: &str = "AMENDS_PLANTED_BUG";

named! {
    /// A bug that can be planted.
    pub enum PlantedBug ("planted bug") {
        /// The lanes' writes do not ask whether the fence holds, nor whether the row is newer than
        /// what is written: a node that was replaced goes on as if it owned its shards. Caught by:
        /// no refused write is counted where zombies write; the row of a saga that the next owner ended
        /// otherwise is not what its journal folds to, until the saga's next message.
        NoFence = "no_fence",
        /// A lane reads the fence in a statement of its own, without a lock, and then writes as with
        /// [`Self::NoFence`]. The boundary before a commit lies between the two. Caught by: the row,
        /// as above, of a zombie that wakes up there; most others are refused.
        FenceOnlyRead = "fence_only_read",
        /// The keys of the payment gateway change with each request. Behind the key stands the state
        /// of the one intent, so this is off too: an attempt that finds the intent touched charges
        /// another one, and nobody asks first what became of the last attempt. Caught by: two
        /// charges captured for one order.
        NewKeyPerAttempt = "new_key_per_attempt",
        /// A confirm whose answer is lost counts as a declined card, without settling the payment.
        /// Behind it stands the undo of the prepared payment, which is off too. Caught by: a
        /// cancelled order whose money the gateway keeps.
        TimeoutIsFailure = "timeout_is_failure",
        /// The undo of a payment looks whether it was charged; if it does not see that, it does
        /// nothing: the intent is not cancelled and no tombstone is written. Caught by: a charge that
        /// arrives late, of a cancelled order.
        LookupThenCompensate = "lookup_then_compensate",
        /// The stores do not look at what they did: a repeated action or undo, and an action that
        /// comes after its undo, is carried out. Caught by: stock that is held for nobody, orders
        /// that fail though nothing said no.
        NoEffectRows = "no_effect_rows",
        /// Each attempt of a refund has a random key and gives back the whole charge, whatever was
        /// given back before. The gateway gives back no more than it took, so what shows is an undo
        /// that is stuck. Caught by: a saga that is open at rest.
        RefundWithoutKey = "refund_without_key",
        /// The lanes commit with `synchronous_commit = off`. Caught by: checkouts that were accepted
        /// and are gone after a crash of the database.
        AsyncCommit = "async_commit",
        /// A start on a shard of this node is answered before it is committed. Caught by: checkouts
        /// that were accepted and never were, after a crash or a fenced write, and by a key that is
        /// used twice.
        AcceptBeforeCommit = "accept_before_commit",
        /// A connection to a store that was cut off in the middle goes back to its pool. Behind it
        /// stand the age check and the server's limit for idle transactions, which are off too. Caught
        /// by: transactions that take in the work of others, and a store that stays dead after a cut of
        /// the network.
        KeepTimedOutConnection = "keep_timed_out_connection",
        /// The stock is read without a lock, and what is reserved is then written as a number.
        /// Caught by: reserved is not what the reservations say; more is sold than there was.
        ReadThenWriteStock = "read_then_write_stock",
        /// An event of an intent that is not known here (yet) is acknowledged and not kept. Sagas ask
        /// the gateway by themselves, so no money is lost by it. Caught by: an event that the
        /// gateway had acknowledged and that is not in the book of events.
        DropUnknownWebhooks = "drop_unknown_webhooks",
    }
}

/// Whether this bug is planted in this process. Asked by [`crate::planted!`].
pub fn planted(bug: PlantedBug) -> bool {
    matches!(from_environment(), Ok(Some(planted)) if planted == bug)
}

/// Read once: a bug is there from the beginning to the end.
pub(super) fn from_environment() -> Result<Option<PlantedBug>, String> {
    static PLANTED: OnceLock<Result<Option<PlantedBug>, String>> = OnceLock::new();
    let read = || match std::env::var(PLANTED_BUG) {
        Ok(name) => name.parse().map(Some).map_err(|error| format!("{PLANTED_BUG}: {error}")),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(format!("{PLANTED_BUG}: {error}")),
    };
    PLANTED.get_or_init(read).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_read_by_its_name() {
        for bug in PlantedBug::ALL {
            assert_eq!(bug.name().parse(), Ok(bug));
            assert_eq!(bug.to_string(), bug.name());
        }
        let error = "none".parse::<PlantedBug>().unwrap_err();
        assert!(error.contains("`none` is no planted bug: they are no_fence, "), "{error}");
    }

    #[test]
    fn nothing_is_planted_unless_somebody_asks_for_it() {
        assert!(!PlantedBug::ALL.into_iter().any(planted));
    }
}
