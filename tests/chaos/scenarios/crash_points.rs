//! F1: a crash, a stop beyond the lease, an error, a lost answer - at every boundary between intent,
//! attempt and outcome, of every step and every undo. The list is the code's own.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use engine::journal::Direction;
use engine::testing::{Boundary, BoundaryFault, BoundaryHarm};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, try_join_all};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use super::{STOCK, mixed};
use crate::cluster::Setup;
use crate::node::LEASE_TTL;
use crate::report::Report;
use crate::run::{Run, Size};

/// The steps of place-order.
const STEPS: [&str; 6] = [
    "reserve-inventory",
    "create-order",
    "prepare-payment",
    "charge-payment",
    "commit-inventory",
    "confirm-order",
];
/// Those of them that are undone.
const UNDONE: [&str; 3] = ["reserve-inventory", "create-order", "prepare-payment"];
/// How many clusters share the cases.
const CLUSTERS: usize = 3;
/// How soon an order comes to its fault.
const FIRES_WITHIN: Duration = Duration::from_secs(30);

/// Everything that can be done at every boundary.
fn cases() -> VecDeque<BoundaryFault> {
    let mut cases = VecDeque::new();
    let forward = STEPS.map(|activity| (Direction::Forward, activity));
    let backward = UNDONE.map(|activity| (Direction::Backward, activity));
    for boundary in Boundary::ALL {
        for harm in boundary.harms() {
            for (direction, activity) in forward.iter().chain(&backward) {
                let (direction, activity) = (*direction, (*activity).to_owned());
                cases.push_back(BoundaryFault { boundary, direction, activity, harm: *harm });
            }
        }
    }
    cases
}

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let mut cases = cases();
        cases.truncate(size.faults);
        let cases = Mutex::new(cases);
        let shares = (0..CLUSTERS).map(|_| share(name, seed, size, &logs, &cases));
        let mut reports = try_join_all(shares).await?.into_iter();
        let mut whole = reports.next().unwrap_or_default();
        reports.for_each(|report| whole.add(report));
        whole.needs(&["abort", "stop", "error", "lose_ack", "ambiguous_commits"]);
        Ok(whole)
    }
    .boxed_local()
}

/// One cluster of one node takes cases until there are none left.
async fn share(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: &Path,
    cases: &Mutex<VecDeque<BoundaryFault>>,
) -> anyhow::Result<Report> {
    let gateway = json!({});
    let setup = Setup { nodes: 1, stock: &STOCK, gateway, postgres: &[], variables: Vec::new() };
    let run = Run::open(name, seed, size, logs, &setup, mixed()).await?;
    loop {
        let Some(case) = cases.lock().unwrap().pop_front() else { break };
        run_case(&run, &case).await?;
    }
    run.finish().await
}

async fn run_case(run: &Run, case: &BoundaryFault) -> anyhow::Result<()> {
    let node = &run.cluster.nodes[0];
    let fired = run.directory().join(case.to_string().replace(':', "-"));
    let variables = [
        ("AMENDS_TEST_FAULT", case.to_string()),
        ("AMENDS_TEST_FAULT_LOG", fired.display().to_string()),
    ];
    node.read_counters().await;
    node.kill();
    node.start(&variables);
    node.ready().await?;
    // A decline undoes everything before the charge.
    let card = match case.direction {
        Direction::Forward => "pm_card_visa",
        Direction::Backward => "pm_card_visa_chargeDeclined",
    };
    let ordered = run.customers.order(card);
    let harmed = async {
        let end = Instant::now() + FIRES_WITHIN;
        while std::fs::metadata(&fired).map_or(0, |file| file.len()) == 0 {
            if Instant::now() > end {
                run.must("I10", false, || format!("{case} was never reached"));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        run.log.note(case.harm.name(), json!(case.to_string()));
        mend(run, case.harm).await
    };
    let (_, mended) = tokio::join!(ordered, harmed);
    mended
}

/// What an operator's machinery does about it.
async fn mend(run: &Run, harm: BoundaryHarm) -> anyhow::Result<()> {
    let node = &run.cluster.nodes[0];
    match harm {
        BoundaryHarm::Abort => {
            node.kill();
            node.start(&[]);
            node.ready().await
        }
        BoundaryHarm::Stop => {
            tokio::time::sleep(LEASE_TTL * 2).await;
            node.signal(Signal::SIGCONT);
            Ok(())
        }
        BoundaryHarm::Error | BoundaryHarm::LoseAck => Ok(()),
    }
}
