//! One scenario under way: its cluster, its customers, its dice, and what was done.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::ensure;
use engine::testing::{PLANTED_BUG, PlantedBug};
use tokio::time::Instant;

use crate::cluster::{Cluster, Setup};
use crate::customers::{Customers, Habits};
use crate::invariants::{Findings, check};
use crate::log::FaultLog;
use crate::report::Report;

/// After a network is healed or a server is back, somebody is served within this time.
pub(crate) const RECOVER_WITHIN: Duration = Duration::from_secs(5);

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// At least so many sagas.
    pub(crate) sagas: usize,
    /// So many faults, where a scenario counts them.
    pub(crate) faults: usize,
    /// How long harm is done, where a scenario has a time.
    pub(crate) time: Duration,
    /// A bug that every node has.
    pub(crate) bug: Option<PlantedBug>,
    /// Whether a bug is looked for: what hangs then need not be waited for as long.
    pub(crate) is_hunt: bool,
}

impl Size {
    /// How long a customer asks before giving up, which is a violation.
    fn patience(&self) -> Duration {
        Duration::from_secs(if self.is_hunt { 30 } else { 240 })
    }

    /// How long what is open may take to end once nothing goes wrong any more.
    fn drain(&self) -> Duration {
        Duration::from_secs(if self.is_hunt { 30 } else { 120 })
    }
}

/// A scenario under way.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) scenario: &'static str,
    pub(crate) seed: u64,
    pub(crate) size: Size,
    pub(crate) cluster: Cluster,
    pub(crate) customers: Customers,
    pub(crate) log: FaultLog,
    /// How many customers are served at once.
    pub(crate) in_flight: usize,
    /// The sagas that are meant to stay parked.
    pub(crate) parked: BTreeSet<String>,
    /// What did not hold while it went on.
    findings: Mutex<Findings>,
    began: Instant,
    /// When the harm was over.
    calm_since: Mutex<Instant>,
}

impl Run {
    pub(crate) async fn open(
        scenario: &'static str,
        seed: u64,
        size: Size,
        logs: &Path,
        setup: &Setup<'_>,
        habits: Habits,
    ) -> anyhow::Result<Self> {
        let log = FaultLog::create(logs, scenario, seed)?;
        let mut setup = setup.clone();
        setup.variables.extend(size.bug.map(|bug| (PLANTED_BUG, bug.to_string())));
        let cluster = Cluster::start(&setup).await?;
        let doors = cluster.nodes.iter().map(|node| node.url.clone()).collect();
        let key = cluster.databases.keys.shop.clone();
        let customers = Customers::new(doors, key, habits, seed, size.patience());
        Ok(Self {
            scenario,
            seed,
            size,
            cluster,
            customers,
            log,
            in_flight: 24,
            parked: BTreeSet::new(),
            findings: Mutex::default(),
            began: Instant::now(),
            calm_since: Mutex::new(Instant::now()),
        })
    }

    /// Where files of this run may be put.
    pub(crate) fn directory(&self) -> &Path {
        self.cluster.directory()
    }

    /// Dice of this run: the same for the same seed.
    pub(crate) fn dice(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// Lets customers shop while `harm` is done, and at least as many as the size says. When the harm
    /// is over nobody new comes in.
    pub(crate) async fn under_load<T>(
        &self,
        harm: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let harm = async {
            let done = harm.await;
            self.customers.close();
            self.calm();
            done
        };
        let (done, ()) = tokio::join!(harm, self.customers.shop(self.size.sagas, self.in_flight));
        done
    }

    /// Waits until so many customers in all were accepted.
    pub(crate) async fn accepts(&self, count: usize) -> anyhow::Result<()> {
        let end = Instant::now() + self.size.patience();
        while self.customers.accepted() < count {
            ensure!(Instant::now() < end, "{count} customers are not accepted in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// All harm is over.
    pub(crate) fn calm(&self) {
        *self.calm_since.lock().unwrap() = Instant::now();
    }

    /// Sends a customer in, and notes how long they wait: until they are accepted, at most `within`, and
    /// until they have what they paid for.
    pub(crate) async fn recovers(&self, within: Option<Duration>) {
        let Some((accepted, ended)) = self.customers.probe().await else { return };
        self.log.recovered(accepted, ended);
        let in_time = within.is_none_or(|within| accepted <= within);
        self.must("recovery", in_time, || format!("{accepted:?} until anybody was accepted"));
    }

    /// Notes what does not hold.
    pub(crate) fn must(&self, promise: &str, holds: bool, detail: impl FnOnce() -> String) {
        self.findings.lock().unwrap().must(promise, holds, detail);
    }

    /// Checks everything in the middle of it, when all sagas ended or are parked.
    pub(crate) async fn look(&self) -> anyhow::Result<()> {
        let found = self.check().await?;
        self.findings.lock().unwrap().violations.extend(found.violations);
        Ok(())
    }

    async fn check(&self) -> anyhow::Result<Findings> {
        let calm_since = *self.calm_since.lock().unwrap();
        let drain = self.size.drain();
        check(&self.cluster, &self.customers, &self.parked, calm_since, drain).await
    }

    /// Checks everything, and says what was found.
    pub(crate) async fn finish(self) -> anyhow::Result<Report> {
        let found = self.check().await?;
        self.cluster.read_counters().await;
        for name in ["fenced_writes", "ambiguous_commits", "takeovers"] {
            self.log.count(name, self.cluster.counted(&format!("amends_{name}_total")));
        }
        self.log.count("repeated_requests", self.customers.repeats() as u64);
        let mut violations = self.findings.into_inner().unwrap().violations;
        violations.extend(found.violations.iter().cloned());
        Ok(Report {
            scenario: self.scenario.to_owned(),
            seed: self.seed,
            seconds: self.began.elapsed().as_secs_f64(),
            sagas: found.sagas,
            endings: found.endings,
            faults: self.log.counts(),
            slowest_recovery_s: self.log.slowest_recovery(),
            drained_s: found.drained_s,
            violations,
            not_run: None,
            log: self.log.path.display().to_string(),
        })
    }
}
