//! One node of the platform as a process, behind a network of its own to its databases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::harness::{Databases, Program, free_port, http};
use crate::proxy::Proxy;
use crate::wall_clock::WallClock;

/// How long a dead node keeps its sagas.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(1);
/// How long a node may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The counters that are read before a process goes.
const COUNTERS: [&str; 3] =
    ["amends_fenced_writes_total", "amends_ambiguous_commits_total", "amends_takeovers_total"];

/// A place where a node runs; its process comes and goes.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Between it and its databases.
    pub(crate) network: Proxy,
    pub(crate) url: String,
    pub(crate) operators_url: String,
    arguments: Vec<String>,
    variables: Mutex<Vec<(&'static str, String)>>,
    log: PathBuf,
    program: Mutex<Option<Program>>,
    /// Its own, if it can be set.
    clock: Option<WallClock>,
    /// What processes counted that are gone, and the present one up to its last reading.
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    gone: BTreeMap<&'static str, f64>,
    present: BTreeMap<&'static str, f64>,
}

impl Node {
    /// A place for a node. Nothing runs there yet.
    pub(crate) async fn new(
        name: String,
        ports: [u16; 2],
        databases: &Databases,
        variables: Vec<(&'static str, String)>,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let network = Proxy::open(vec![port_of(&databases.amends)?]).await?;
        let through = |url: &str| -> anyhow::Result<String> {
            Ok(url.replace(&format!(":{}/", port_of(url)?), &format!(":{}/", network.port)))
        };
        let mut all = vec![
            ("AMENDS_DATABASE_URL", through(&databases.amends)?),
            ("INVENTORY_DATABASE_URL", through(&databases.inventory)?),
            ("ORDERS_DATABASE_URL", through(&databases.orders)?),
            ("RUST_LOG", "info,tower_http=warn,sqlx=warn".to_owned()),
        ];
        all.extend(variables);
        let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
        let [url, operators_url] = addresses.each_ref().map(|address| format!("http://{address}"));
        let [listen, operators] = addresses;
        let arguments = ["serve", "--listen", &listen, "--operator-listen", &operators];
        let mut arguments = arguments.map(str::to_owned).to_vec();
        arguments.extend(["--lease-ttl-ms".to_owned(), LEASE_TTL.as_millis().to_string()]);
        Ok(Self {
            log: directory.join(format!("{name}.log")),
            name,
            network,
            url,
            operators_url,
            arguments,
            variables: Mutex::new(all),
            program: Mutex::new(None),
            clock: None,
            counted: Mutex::default(),
        })
    }

    /// What it starts with next time no longer has this variable.
    pub(crate) fn forget(&self, variable: &str) {
        self.variables.lock().unwrap().retain(|(name, _)| *name != variable);
    }

    /// Gives it a clock that can be set, before its process starts.
    pub(crate) fn has_a_clock_of_its_own(
        &mut self,
        library: &Path,
        directory: &Path,
    ) -> std::io::Result<()> {
        let clock = WallClock::right(directory.join(format!("{}.clock", self.name)))?;
        self.variables.get_mut().unwrap().extend(clock.variables(library));
        self.clock = Some(clock);
        Ok(())
    }

    /// Sets its clock so many seconds ahead of everybody else's.
    pub(crate) fn set_clock(&self, ahead_s: i64) -> anyhow::Result<()> {
        Ok(self.clock.as_ref().context("a node without a clock of its own")?.set(ahead_s)?)
    }

    /// How far its clock is ahead, by the time of the last line of its log. It writes one for each
    /// answer, if it is to be asked this.
    pub(crate) async fn clock_ahead(&self) -> anyhow::Result<time::Duration> {
        let asked = http().get(format!("{}/health/live", self.url));
        asked.timeout(Duration::from_secs(2)).send().await?;
        let log = std::fs::read_to_string(&self.log)?;
        let times = log.lines().rev().filter_map(|line| line.split(' ').next());
        let mut times = times.filter_map(|word| OffsetDateTime::parse(word, &Rfc3339).ok());
        Ok(times.next().context("a log without a time")? - engine::now())
    }

    /// Starts its process.
    pub(crate) fn start(&self, extra: &[(&'static str, String)]) {
        let mut variables = self.variables.lock().unwrap().clone();
        variables.extend_from_slice(extra);
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        *self.program.lock().unwrap() = Some(Program::spawn(&arguments, &variables, &self.log));
    }

    /// Waits until it takes requests.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let end = Instant::now() + READY_WITHIN;
        let http = http();
        loop {
            if let Some(status) = self.ended() {
                bail!("{} ended with {status}:\n{}", self.name, self.last_words());
            }
            let asked = http.get(format!("{}/health/ready", self.url));
            let answer = asked.timeout(Duration::from_secs(2)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("{} is not ready:\n{}", self.name, self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// kill -9. What it counted since the last reading is gone with it.
    pub(crate) fn kill(&self) {
        if let Some(mut program) = self.program.lock().unwrap().take() {
            program.kill();
            if let Some(clock) = &self.clock {
                clock.forget(program.pid());
            }
        }
        let mut counted = self.counted.lock().unwrap();
        for (name, value) in std::mem::take(&mut counted.present) {
            *counted.gone.entry(name).or_default() += value;
        }
    }

    /// SIGTERM, and waits until it is gone.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        self.read_counters().await;
        self.signal(Signal::SIGTERM);
        let end = Instant::now() + READY_WITHIN;
        while self.ended().is_none() {
            if Instant::now() > end {
                bail!("{} does not stop:\n{}", self.name, self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let status = self.ended();
        self.kill();
        match status {
            Some(status) if status.success() => Ok(()),
            status => bail!("{} ended with {status:?}:\n{}", self.name, self.last_words()),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(program) = &*self.program.lock().unwrap() {
            program.signal(signal);
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.program.lock().unwrap().as_ref().map(Program::pid)
    }

    /// Its exit status, if it ended by itself.
    pub(crate) fn ended(&self) -> Option<std::process::ExitStatus> {
        self.program.lock().unwrap().as_mut()?.ended()
    }

    /// Kilobytes of its memory.
    pub(crate) fn resident_kb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Reads what it counted so far.
    pub(crate) async fn read_counters(&self) {
        let Ok(text) = self.metrics().await else { return };
        let mut counted = self.counted.lock().unwrap();
        for name in COUNTERS {
            counted.present.insert(name, sum_of(&text, name));
        }
    }

    async fn metrics(&self) -> anyhow::Result<String> {
        let asked = http().get(format!("{}/metrics", self.operators_url));
        Ok(asked.timeout(Duration::from_secs(2)).send().await?.text().await?)
    }

    /// A gauge of its metrics, now.
    pub(crate) async fn gauge(&self, name: &str) -> anyhow::Result<f64> {
        Ok(sum_of(&self.metrics().await?, name))
    }

    /// What all its processes counted.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let counted = self.counted.lock().unwrap();
        let of = |counts: &BTreeMap<&str, f64>| counts.get(name).copied().unwrap_or(0.0);
        (of(&counted.gone) + of(&counted.present)) as u64
    }

    /// The end of what it said.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn sum_of(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn port_of(url: &str) -> anyhow::Result<u16> {
    let (_, rest) = url.rsplit_once(':').context("a database URL without a port")?;
    let port = rest.split('/').next().unwrap_or_default();
    port.parse().with_context(|| format!("no port in {url}"))
}

/// Two free ports.
pub(crate) fn ports() -> [u16; 2] {
    [free_port(), free_port()]
}
