//! The clients: so many at once, each with the next saga as soon as its last one ended; or one every so
//! often, whoever is still waiting.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use nix::time::{ClockId, clock_gettime};
use tokio::task::{JoinHandle, JoinSet};

use crate::meter::{Meter, Sources, Usage, rss_bytes};

/// Nothing takes longer: ten minutes.
pub(crate) const MICROS_MAX: u64 = 600_000_000;

/// Of so many sagas the CPU of one's client is measured: to ask for it is a call of the system.
const CPU_OF_ONE_IN: u64 = 16;

/// What a client does again and again.
pub(crate) trait Job: Send + Sync + 'static {
    /// One saga, from its start to its end.
    fn run(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// How much load, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many sagas are under way at once, at most.
    pub(crate) in_flight: u32,
    /// How many begin in a second, whether or not others have ended, as long as there is room. None: as
    /// many as end.
    pub(crate) rate: Option<u32>,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Runs `job` under this load, and says what it cost.
pub(crate) async fn drive(
    job: impl Job,
    load: Load,
    sources: Sources<'_>,
) -> anyhow::Result<Usage> {
    let clients = Arc::new(Clients {
        job,
        is_over: AtomicBool::new(false),
        begun: AtomicU64::new(0),
        measured: Mutex::new(None),
    });
    let mut running = tokio::spawn(match load.rate {
        Some(rate) => {
            futures_util::future::Either::Left(clients.clone().open(load.in_flight, rate))
        }
        None => futures_util::future::Either::Right(clients.clone().closed(load.in_flight)),
    });
    let bar = progress(load.warm_up + load.measured);
    wait(&bar, load.warm_up, &mut running).await?;
    let meter = Meter::start(sources).await?;
    *clients.measured.lock().unwrap() = Some(Measured::new()?);
    let resident = wait(&bar, load.measured, &mut running).await?;
    let measured = clients.measured.lock().unwrap().take().unwrap();
    let usage = meter.stop((&measured.latencies).into()).await?.resident_over(&resident);
    clients.is_over.store(true, Ordering::Relaxed);
    running.await??;
    bar.finish_and_clear();
    Ok(Usage { client_cpu_us: measured.client_cpu_us(), ..usage })
}

struct Clients<J> {
    job: J,
    is_over: AtomicBool,
    /// How many sagas were begun.
    begun: AtomicU64,
    /// None: it is not measured yet, or not any more.
    measured: Mutex<Option<Measured>>,
}

struct Measured {
    /// How many microseconds each saga took.
    latencies: Histogram<u64>,
    /// What the clients of some of them took, and of how many.
    cpu: Duration,
    cpu_sagas: u32,
}

impl Measured {
    fn new() -> anyhow::Result<Self> {
        let latencies = Histogram::new_with_max(MICROS_MAX, 3)?;
        Ok(Self { latencies, cpu: Duration::ZERO, cpu_sagas: 0 })
    }

    fn client_cpu_us(&self) -> Option<f64> {
        let mean = self.cpu.checked_div(self.cpu_sagas)?;
        Some(mean.as_secs_f64() * 1_000_000.0)
    }
}

impl<J: Job> Clients<J> {
    async fn closed(self: Arc<Self>, in_flight: u32) -> anyhow::Result<()> {
        let mut running = JoinSet::new();
        for _ in 0..in_flight {
            let clients = self.clone();
            running.spawn(async move {
                while !clients.is_over.load(Ordering::Relaxed) {
                    clients.one(Instant::now()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(())
    }

    /// A saga's time counts from when it should have begun: one that stands in line because others are
    /// slow is slow itself.
    async fn open(self: Arc<Self>, in_flight: u32, rate: u32) -> anyhow::Result<()> {
        let mut running = JoinSet::new();
        let between = Duration::from_secs(1) / rate;
        let mut due = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            tokio::time::sleep_until(due.into()).await;
            while running.len() >= in_flight as usize {
                let Some(done) = running.join_next().await else { break };
                done??;
            }
            let (clients, began) = (self.clone(), due);
            running.spawn(async move { clients.one(began).await });
            due += between;
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn one(&self, began: Instant) -> anyhow::Result<()> {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        let cpu = if begun.is_multiple_of(CPU_OF_ONE_IN) {
            Some(cpu_of(self.job.run()).await?)
        } else {
            self.job.run().await?;
            None
        };
        let micros = began.elapsed().as_micros() as u64;
        if let Some(measured) = &mut *self.measured.lock().unwrap() {
            measured.latencies.saturating_record(micros);
            if let Some(cpu) = cpu {
                measured.cpu += cpu;
                measured.cpu_sagas += 1;
            }
        }
        Ok(())
    }
}

/// The CPU time that `work` takes of the threads that run it.
async fn cpu_of(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Duration> {
    // Linux has that clock.
    let now =
        || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default();
    let (mut work, mut cpu) = (pin!(work), Duration::ZERO);
    let done = poll_fn(|context| {
        let began = now();
        let polled = work.as_mut().poll(context);
        cpu += now() - began;
        polled
    });
    done.await?;
    Ok(cpu)
}

/// Not longer than it runs. How many bytes this process had resident, each second.
async fn wait(
    bar: &ProgressBar,
    how_long: Duration,
    running: &mut JoinHandle<anyhow::Result<()>>,
) -> anyhow::Result<Vec<u64>> {
    let mut resident = Vec::new();
    for _ in 0..how_long.as_secs() {
        tokio::select! {
            ended = &mut *running => {
                ended??;
                bail!("the clients went away");
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => bar.inc(1),
        }
        resident.push(rss_bytes());
    }
    Ok(resident)
}

fn progress(how_long: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(how_long.as_secs()).with_style(style)
}
