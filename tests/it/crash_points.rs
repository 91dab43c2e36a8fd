//! A node that dies or hangs between intent, attempt and outcome: what it began ends, once.

use std::path::Path;

use engine::testing::{FAULT, FAULT_LOG};
use nix::sys::signal::Signal;

use crate::harness::{Node, Shop, until};

/// A node that does this harm to the first saga that comes to it.
async fn node(shop: &Shop, fault: &str, log: &Path) -> Node {
    let log = log.to_str().unwrap().to_owned();
    shop.node_with(&[(FAULT, fault.to_owned()), (FAULT_LOG, log)]).await
}

/// Waits until it fired; answers for which saga.
async fn fired(fault: &str, log: &Path) -> String {
    let line = until("the fault is logged", async || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.ends_with('\n').then_some(text)
    })
    .await;
    let words: Vec<_> = line.split_whitespace().collect();
    assert!(matches!(words[..], [what, _] if what == fault), "{line}");
    words[1].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_between_a_charge_and_its_outcome_charges_once() {
    let (shop, directory) = (Shop::open(&[("tea", 10)]).await, tempfile::tempdir().unwrap());
    let (fault, log) = ("after_call:forward:charge-payment:abort", directory.path().join("log"));
    let mut dies = node(&shop, fault, &log).await;
    let ann = dies.customer("ann");
    let id = ann.buy("key", &[("tea", 1)], "pm_card_visa").await.id();
    let status = until("the node dies", async || dies.program.ended()).await;
    assert!(!status.success(), "{status}");
    assert_eq!(fired(fault, &log).await, id);
    assert_eq!(shop.simulator.lines("captured").len(), 1);

    let lives = shop.again(dies).await;
    assert_eq!(lives.customer("ann").end(&id).await["status"], "completed");
    assert_eq!(shop.simulator.lines("captured").len(), 1);
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_with_a_commit_in_its_hands_finds_its_lane_shut() {
    let (shop, directory) = (Shop::open(&[("tea", 10)]).await, tempfile::tempdir().unwrap());
    let fault = "before_outcome:forward:charge-payment:stop";
    let log = directory.path().join("log");
    let zombie = node(&shop, fault, &log).await;
    let id = zombie.customer("ann").buy("key", &[("tea", 1)], "pm_card_visa").await.id();
    assert_eq!(fired(fault, &log).await, id);

    let other = shop.node().await;
    assert_eq!(other.customer("ann").end(&id).await["status"], "completed");
    zombie.program.signal(Signal::SIGCONT);
    until("its write is refused", async || {
        (zombie.metric("amends_fenced_writes_total").await > 0.0).then_some(())
    })
    .await;
    assert_eq!(shop.simulator.lines("captured").len(), 1);
    shop.verify();
}
