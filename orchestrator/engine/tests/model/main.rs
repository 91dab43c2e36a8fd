//! Every order in which a few nodes, a customer and an unreliable network can meet one saga, over
//! the production rules: exhaustively, up to some number of owners and faults. The way a payment is
//! protected is modelled as the steps of an order carry it out; each of its guards is then left out,
//! and that must be found.
//!
//! `cargo test --test model -- --nocapture` says how many states were seen.

mod cluster;
mod mistake;
mod owner;
mod properties;
mod saga;
mod shared;
mod world;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use cluster::Cluster;
use mistake::Mistake;
use properties::*;

/// Nothing that must hold fails, and everything that must be possible happens. Fewer states than
/// `states` mean that less is tried than was.
fn holds(owners: u8, faults: u8, states: usize) {
    let cluster = Cluster { owners, faults, mistake: None };
    let failures = HasDiscoveries::AnyFailures;
    let checker = cluster.checker().threads(2).finish_when(failures).spawn_bfs().join();
    let (seen, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{owners} owners, {faults} faults: {seen} states, {depth} deep");
    let discoveries = checker.discoveries();
    for property in properties() {
        let found = discoveries.get(property.name);
        match property.expectation {
            Expectation::Sometimes => {
                let is_possible = property.name != LOST_THE_SHARD || owners > 1;
                assert_eq!(found.is_some(), is_possible, "never: {}", property.name);
            }
            Expectation::Always | Expectation::Eventually => {
                let path = found.map(|path| path.clone().into_actions());
                assert!(path.is_none(), "not so: {}: {path:?}", property.name);
            }
        }
    }
    assert!(seen >= states, "only {seen} states");
}

/// An implementation that makes this mistake breaks this promise, with so many faults.
fn finds(mistake: Mistake, faults: u8, broken: &'static str) {
    let cluster = Cluster { owners: 2, faults, mistake: Some(mistake) };
    let until = HasDiscoveries::AllOf([broken].into());
    let checker = cluster.checker().finish_when(until).spawn_bfs().join();
    let states = checker.unique_state_count();
    let path = checker.discovery(broken).map(|path| path.into_actions());
    let path = path.unwrap_or_else(|| panic!("{mistake:?} goes unnoticed in {states} states"));
    println!("{mistake:?}: not so: {broken}: {} steps, {states} states\n    {path:?}", path.len());
}

#[test]
fn one_owner_keeps_every_promise_on_a_bad_network() {
    holds(1, 3, 75_000);
}

#[test]
fn two_owners_keep_every_promise_with_a_fault() {
    holds(2, 1, 66_000);
}

#[test]
fn three_owners_keep_every_promise() {
    holds(3, 0, 92_000);
}

#[test]
fn without_a_fence_two_owners_write() {
    finds(Mistake::NoFence, 0, NEVER_REWRITTEN);
}

#[test]
fn without_a_fence_an_order_is_confirmed_and_given_back() {
    finds(Mistake::NoFence, 0, PAID_AND_KEPT);
}

#[test]
fn a_fence_that_is_only_read_lets_two_owners_write() {
    finds(Mistake::FenceOnlyRead, 0, NEVER_REWRITTEN);
}

#[test]
fn a_fence_that_is_only_read_confirms_and_gives_back() {
    finds(Mistake::FenceOnlyRead, 0, PAID_AND_KEPT);
}

#[test]
fn an_attempt_before_its_intent_is_forgotten() {
    finds(Mistake::AttemptBeforeIntent, 1, NETS_TO_ZERO);
}

#[test]
fn a_new_key_each_attempt_charges_twice() {
    finds(Mistake::NewKeyEachAttempt, 1, CHARGED_ONCE);
}

#[test]
fn a_time_out_taken_for_a_failure_keeps_the_money() {
    finds(Mistake::TimeoutIsFailure, 1, NETS_TO_ZERO);
}

#[test]
fn a_look_before_the_undo_misses_the_late_charge() {
    finds(Mistake::LookUpThenCompensate, 1, NETS_TO_ZERO);
}

#[test]
fn a_decline_that_is_not_settled_is_charged_later() {
    finds(Mistake::DeclineWithoutSettling, 1, NETS_TO_ZERO);
}

#[test]
fn a_refund_without_a_key_gives_back_twice() {
    finds(Mistake::RefundWithoutKey, 1, REFUNDED_ONCE);
}

#[test]
fn without_a_tombstone_a_late_reservation_stays() {
    finds(Mistake::NoTombstone, 1, NETS_TO_ZERO);
}
