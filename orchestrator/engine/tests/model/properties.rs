//! What must hold whatever happens, and what must be possible at all.

use engine::journal::Ending;
use stateright::Property;

use crate::cluster::{Cluster, Whole};
use crate::saga::is_undone;

pub(crate) const CHARGED_ONCE: &str = "a saga is charged at most once";
pub(crate) const REFUNDED_ONCE: &str = "no more is given back than was taken";
pub(crate) const NETS_TO_ZERO: &str = "an undone saga leaves no money and no stock behind";
pub(crate) const PAID_AND_KEPT: &str = "a completed saga has one charge, kept, and its stock";
pub(crate) const SETTLED_FIRST: &str = "stock is released only once the payment is settled";
pub(crate) const NEVER_REWRITTEN: &str = "what was acknowledged is in the journal";
pub(crate) const REPLAY_IS_LIVE: &str = "a replay of the journal is what its owner has in memory";
pub(crate) const LOST_THE_SHARD: &str = "an owner that lost its shard has something to write";
pub(crate) const ENDS: &str = "the saga ends";

pub(crate) fn properties() -> Vec<Property<Cluster>> {
    vec![
        Property::always(CHARGED_ONCE, |_, whole: &Whole| whole.world.charges <= 1),
        Property::always(REFUNDED_ONCE, |_, whole: &Whole| {
            whole.world.refunds <= whole.world.charges
        }),
        // At once and for ever: also of what arrives after the end.
        Property::always(NETS_TO_ZERO, |_, whole: &Whole| {
            let world = &whole.world;
            !is_undone(&whole.database.saga)
                || (world.charges == world.refunds && !world.is_held && !world.is_confirmed)
        }),
        Property::always(PAID_AND_KEPT, |_, whole: &Whole| {
            let world = &whole.world;
            !is_completed(whole)
                || (world.charges == 1 && world.refunds == 0 && world.is_held && world.is_confirmed)
        }),
        Property::always(SETTLED_FIRST, |_, whole: &Whole| {
            !whole.world.released || whole.world.charges == whole.world.refunds
        }),
        Property::always(NEVER_REWRITTEN, |_, whole: &Whole| !whole.database.lost_an_entry),
        Property::always(REPLAY_IS_LIVE, |_, whole: &Whole| !whole.database.differed),
        // No path has a cycle (each attempt has its number, each fault is counted), so this is of
        // every path to where nothing can happen any more.
        Property::eventually(ENDS, |_, whole: &Whole| whole.database.saga.ending.is_some()),
        Property::sometimes("it completes", |_, whole: &Whole| is_completed(whole)),
        Property::sometimes("it is undone, and the money given back", |_, whole: &Whole| {
            is_undone(&whole.database.saga) && whole.world.refunds == 1
        }),
        Property::sometimes("it is cancelled", |_, whole: &Whole| {
            whole.database.saga.ending == Some(Ending::Cancelled)
        }),
        Property::sometimes(LOST_THE_SHARD, |_, whole: &Whole| {
            let lost = |fence: u8| fence < whole.database.fence;
            whole.owners.iter().any(|owner| lost(owner.fence) && owner.has_to_write())
        }),
        Property::sometimes("a charge is under way after the end", |_, whole: &Whole| {
            let charges = |call| matches!(call, crate::world::Call::Charge(_));
            whole.database.saga.ending.is_some()
                && whole.network.iter().any(|request| charges(request.call))
        }),
    ]
}

fn is_completed(whole: &Whole) -> bool {
    whole.database.saga.ending == Some(Ending::Completed)
}
