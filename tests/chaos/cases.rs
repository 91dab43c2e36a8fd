//! Cases that a node is told to bring about by its environment: dealt to clusters, run one after the
//! other, and each must be seen to happen.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail};
use engine::journal::Direction;
use engine::testing::{Boundary, BoundaryFault, BoundaryHarm, FAULT, FAULT_LOG};
use futures_util::future::try_join_all;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::node::{LEASE_TTL, Node};
use crate::operator::retry_held;
use crate::report::Report;
use crate::run::{Run, Size};
use crate::scenarios::{mixed, node_and_heir};

/// The steps of place-order that can be undone: those before the pivot.
pub(crate) const BEFORE_PIVOT: [&str; 4] =
    ["reserve-inventory", "create-order", "prepare-payment", "charge-payment"];
/// Those after it.
pub(crate) const AFTER_PIVOT: [&str; 2] = ["commit-inventory", "confirm-order"];
/// Those that are undone when the card is declined.
const UNDONE: [&str; 3] = ["reserve-inventory", "create-order", "prepare-payment"];
/// How many clusters share the cases: they wait for leases and restarts most of the time.
const CLUSTERS: usize = 5;
/// How soon an order comes to its faults.
const FIRES_WITHIN: Duration = Duration::from_secs(30);
/// How soon another node has what one that stopped had.
const INHERITED_WITHIN: Duration = Duration::from_secs(LEASE_TTL.as_secs() * 2 + 2);

/// One case: an order, and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) faults: Vec<BoundaryFault>,
    /// What its customer is told in the end.
    pub(crate) ending: &'static str,
}

impl Case {
    /// A decline undoes everything before the charge.
    fn card(&self) -> &'static str {
        match self.ending {
            "declined" => "pm_card_visa_chargeDeclined",
            _ => "pm_card_visa",
        }
    }
}

/// Each harm that is meant, at every boundary of every step and undo where there is such a harm.
pub(crate) fn faults(is_meant: fn(BoundaryHarm) -> bool) -> Vec<BoundaryFault> {
    let steps = BEFORE_PIVOT.iter().chain(&AFTER_PIVOT);
    let steps = steps.map(|activity| (Direction::Forward, *activity));
    let undos = UNDONE.iter().map(|activity| (Direction::Backward, *activity));
    let places: Vec<_> = steps.chain(undos).collect();
    let mut faults = Vec::new();
    for boundary in Boundary::ALL {
        for (direction, activity) in &places {
            let harms = boundary.harms(*direction).iter().filter(|harm| is_meant(**harm));
            faults.extend(harms.map(|harm| BoundaryFault {
                boundary,
                direction: *direction,
                activity: (*activity).to_owned(),
                harm: *harm,
            }));
        }
    }
    faults
}

/// Under which name a fault is counted.
pub(crate) fn kind(fault: &BoundaryFault) -> String {
    match fault.direction {
        Direction::Forward => fault.harm.to_string(),
        Direction::Backward => format!("undo_{}", fault.harm),
    }
}

/// Runs all cases, and checks everything after them.
pub(crate) async fn run_all(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: &Path,
    mut cases: Vec<Case>,
) -> anyhow::Result<Report> {
    cases.truncate(size.faults);
    let cases = Mutex::new(VecDeque::from(cases));
    let shares = (0..CLUSTERS).map(|_| share(name, seed, size, logs, &cases));
    Ok(Report::of_all(try_join_all(shares).await?))
}

/// One cluster takes cases until there are none left.
async fn share(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: &Path,
    cases: &Mutex<VecDeque<Case>>,
) -> anyhow::Result<Report> {
    let run = Run::open(name, seed, size, logs, &node_and_heir(json!({})), mixed()).await?;
    loop {
        let Some(case) = cases.lock().unwrap().pop_front() else { break };
        run_case(&run, &case).await?;
    }
    run.calm();
    run.finish().await
}

async fn run_case(run: &Run, case: &Case) -> anyhow::Result<()> {
    let [node, heir] = &run.cluster.nodes[..] else { bail!("cases take two nodes") };
    let faults: Vec<String> = case.faults.iter().map(ToString::to_string).collect();
    let fired = run.directory().join(faults[0].replace(':', "-"));
    let variables = [(FAULT, faults.join(",")), (FAULT_LOG, fired.display().to_string())];
    for node in [node, heir] {
        node.read_counters().await;
        node.kill();
    }
    node.start(&variables);
    node.ready().await?;
    let ordered = run.customers.order(case.card());
    let (told, harmed) = tokio::join!(ordered, all_fire(run, case, &fired));
    let ending = told.and_then(|told| told.ending);
    run.must("ending", ending.as_deref() == Some(case.ending), || {
        format!("{}: {ending:?}, not {}", faults.join(","), case.ending)
    });
    harmed
}

/// Waits until each fault is done, and does about it what is to be done.
async fn all_fire(run: &Run, case: &Case, fired: &Path) -> anyhow::Result<()> {
    let end = Instant::now() + FIRES_WITHIN;
    let mut missing = case.faults.clone();
    while !missing.is_empty() {
        let log = std::fs::read_to_string(fired).unwrap_or_default();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        for line in whole.lines().skip(case.faults.len() - missing.len()) {
            let (fault, saga) = line.split_once(' ').context("a fault without its saga")?;
            let fault: BoundaryFault = fault.parse().map_err(anyhow::Error::msg)?;
            missing.retain(|other| *other != fault);
            run.log.note(&kind(&fault), json!(fault.to_string()));
            mend(run, &fault, saga).await?;
        }
        if Instant::now() > end {
            for fault in &missing {
                run.must("I10", false, || format!("{fault} was never reached"));
            }
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// What an operator, or the machinery of one, does about it.
async fn mend(run: &Run, fault: &BoundaryFault, saga: &str) -> anyhow::Result<()> {
    let [node, heir] = &run.cluster.nodes[..] else { bail!("cases take two nodes") };
    match fault.harm {
        BoundaryHarm::Abort => {
            node.kill();
            node.start(&[]);
            node.ready().await
        }
        BoundaryHarm::Stop => {
            heir.start(&[]);
            heir.ready().await?;
            inherits(run, heir).await?;
            node.signal(Signal::SIGCONT);
            Ok(())
        }
        BoundaryHarm::Reject if needs_a_person(fault) => retry_held(run, node, saga).await,
        BoundaryHarm::Reject
        | BoundaryHarm::Error
        | BoundaryHarm::LoseAck
        | BoundaryHarm::Twice
        | BoundaryHarm::GiveUp => Ok(()),
    }
}

/// Waits until everything is its own that the other node had.
async fn inherits(run: &Run, heir: &Node) -> anyhow::Result<()> {
    let shards = "select count(*) from saga.shard";
    let shards = run.cluster.number(&run.cluster.databases.amends, shards).await? as f64;
    let end = Instant::now() + INHERITED_WITHIN;
    // A node that has just started may be too busy to say so.
    let has_all = async || heir.gauge("amends_shards_owned").await.is_ok_and(|own| own >= shards);
    while !has_all().await {
        if Instant::now() > end {
            run.must("takeover", false, || format!("not after {INHERITED_WITHIN:?}"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// What says no where nothing can turn back any more.
fn needs_a_person(fault: &BoundaryFault) -> bool {
    fault.direction == Direction::Backward || AFTER_PIVOT.contains(&&*fault.activity)
}
