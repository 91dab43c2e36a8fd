//! F16: sagas that panic, that kill whoever runs them, or whose output no journal takes. Each is parked
//! for what it did, none of the others is harmed, and all of them end once the code is mended.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use engine::testing::{POISON, Poison, PoisonHarm};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::three_nodes;
use crate::cluster::Setup;
use crate::customers::Habits;
use crate::operator::retry_held;
use crate::report::Report;
use crate::run::{Run, Size};

const STOCK: [(&str, u32); 6] = [
    ("tea", 10_000_000),
    ("cup", 10_000_000),
    ("pot", 10_000_000),
    ("poison-panic", 100),
    ("poison-abort", 100),
    ("poison-oversize", 100),
];
/// How soon all poison is parked. Each that kills does so five times, and every time a lease runs out.
const PARKED_WITHIN: Duration = Duration::from_secs(180);
/// How many owners die over a saga before it is parked, besides the one that began it.
const CLAIMS: i16 = 4;
/// How soon a dead node is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The sagas with poison in them, by their ids.
type Swallowed = BTreeMap<String, PoisonHarm>;

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let poison = PoisonHarm::ALL.map(|harm| poison(harm).to_string()).join(",");
        let setup =
            Setup { stock: &STOCK, variables: vec![(POISON, poison)], ..three_nodes(slow_day()) };
        let habits = Habits {
            skus: vec!["tea", "cup", "pot"],
            cards: vec![("pm_card_visa", 1)],
            cancels_one_in: None,
            follow: true,
        };
        let mut run = Run::open(name, seed, size, &logs, &setup, habits).await?;
        // As many others as the size says.
        run.size.sagas += run.size.faults;
        run.in_flight = 64;
        let swallowed = run.under_load(Box::pin(supervised(&run, poison_some(&run)))).await?;
        parked_for_what_they_did(&run, &swallowed).await?;
        run.parked = swallowed.into_keys().collect();
        run.look().await?;
        mend(&mut run).await?;
        let mut report = run.finish().await?;
        report.needs(&["node_died", "innocent_suspects", "let_go"]);
        report.needs(&PoisonHarm::ALL.map(code));
        if report.endings.get("completed") != Some(&report.sagas) {
            report.lacks(format!("not all are completed: {:?}", report.endings));
        }
        Ok(report)
    }
    .boxed_local()
}

/// A payment gateway that takes its time: many sagas stand still when a node dies, and are none the less
/// innocent.
fn slow_day() -> Value {
    json!({"rules": [{"op": "any", "kind": "latency", "millis": 2_000, "probability": 0.3}]})
}

/// Known by what is in the basket.
fn poison(harm: PoisonHarm) -> Poison {
    Poison { activity: "reserve-inventory".to_owned(), word: sku(harm).to_owned(), harm }
}

const fn sku(harm: PoisonHarm) -> &'static str {
    match harm {
        PoisonHarm::Panic => "poison-panic",
        PoisonHarm::Abort => "poison-abort",
        PoisonHarm::Oversize => "poison-oversize",
    }
}

/// What its saga is parked with.
const fn code(harm: PoisonHarm) -> &'static str {
    match harm {
        PoisonHarm::Panic => "panicked",
        PoisonHarm::Abort => "poison",
        PoisonHarm::Oversize => "payload_too_large",
    }
}

/// Poison among the first half of the others, until all of it is parked.
async fn poison_some(run: &Run) -> anyhow::Result<Swallowed> {
    let mut harms: Vec<_> = PoisonHarm::ALL.into_iter().cycle().take(run.size.faults).collect();
    run.dice().shuffle(&mut harms);
    let mut swallowed = Swallowed::new();
    for (number, harm) in harms.iter().enumerate() {
        run.accepts(run.size.sagas * number / (2 * harms.len())).await?;
        let id = run.customers.leave_order(sku(*harm)).await.context("poison is not accepted")?;
        run.log.note("poisoned", json!({"saga": id, "harm": harm.name()}));
        swallowed.insert(id, *harm);
    }
    let held = "select count(*) from saga.saga where phase = 'held'";
    let all_held = async {
        loop {
            // A database that is busy with a takeover may refuse a connection.
            let held = run.cluster.number(&run.cluster.databases.amends, held).await;
            if held.is_ok_and(|held| held >= swallowed.len() as i64) {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let parked = timeout(PARKED_WITHIN, all_held).await;
    run.must("parked", parked.is_ok(), || format!("not all poison after {PARKED_WITHIN:?}"));
    Ok(swallowed)
}

/// Starts a node again whenever it died, as whoever runs it would, until `harm` is done.
async fn supervised<T>(run: &Run, harm: impl Future<Output = T>) -> T {
    let mut harm = pin!(harm);
    loop {
        if let Ok(done) = timeout(LOOK_EVERY, &mut harm).await {
            return done;
        }
        for node in &run.cluster.nodes {
            let Some(status) = node.ended() else { continue };
            run.log.note("node_died", json!({"node": node.name, "status": status.to_string()}));
            run.must("only poison kills", status.signal() == Some(Signal::SIGABRT as i32), || {
                format!("{} ended with {status}:\n{}", node.name, node.last_words())
            });
            node.kill();
            node.start(&[]);
        }
    }
}

async fn parked_for_what_they_did(run: &Run, swallowed: &Swallowed) -> anyhow::Result<()> {
    let held = "select saga_id::text, error_code, claims from saga.saga where phase = 'held'";
    let held: Vec<(String, String, i16)> =
        sqlx::query_as(held).fetch_all(&mut run.cluster.amends().await?).await?;
    for (id, found, claims) in held {
        run.log.count(&found, 1);
        // One that has no poison in it is open and should not be: the invariants say so.
        let Some(harm) = swallowed.get(&id) else { continue };
        let expected = if *harm == PoisonHarm::Abort { CLAIMS } else { claims };
        run.must("parked for what it did", found == code(*harm) && claims == expected, || {
            format!("{harm} {id} is parked for {found} after {claims} claims")
        });
    }
    let suspected = "select count(*) from saga.saga where phase = 'ended' and claims > 1";
    let suspected = run.cluster.number(&run.cluster.databases.amends, suspected).await?;
    run.log.count("innocent_suspects", suspected.unsigned_abs());
    let killers = swallowed.values().filter(|harm| **harm == PoisonHarm::Abort).count();
    let (died, most) = (run.log.of("node_died"), killers as u64 * (1 + CLAIMS as u64));
    run.must("parked in time", died <= most, || {
        format!("{killers} sagas killed {died} times, {most} at most")
    });
    Ok(())
}

/// Deploys code without poison in it, and has what was parked tried again.
async fn mend(run: &mut Run) -> anyhow::Result<()> {
    for node in &run.cluster.nodes {
        node.forget(POISON);
        node.stop().await?;
        node.start(&[]);
        node.ready().await?;
    }
    for saga in std::mem::take(&mut run.parked) {
        retry_held(run, &run.cluster.nodes[0], &saga).await?;
    }
    run.calm();
    Ok(())
}
