//! The clients: so many at once, each with the next saga as soon as its last one ended; or one every so
//! often, whoever is still waiting.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::{JoinHandle, JoinSet};

use crate::meter::{Meter, Sources, Usage};

/// Nothing takes longer: ten minutes.
pub(crate) const MICROS_MAX: u64 = 600_000_000;

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
    let clients =
        Arc::new(Clients { job, is_over: AtomicBool::new(false), latencies: Mutex::new(None) });
    let mut running = tokio::spawn(match load.rate {
        Some(rate) => {
            futures_util::future::Either::Left(clients.clone().open(load.in_flight, rate))
        }
        None => futures_util::future::Either::Right(clients.clone().closed(load.in_flight)),
    });
    let bar = progress(load.warm_up + load.measured);
    wait(&bar, load.warm_up, &mut running).await?;
    let meter = Meter::start(sources).await?;
    *clients.latencies.lock().unwrap() = Some(Histogram::new_with_max(MICROS_MAX, 3)?);
    wait(&bar, load.measured, &mut running).await?;
    let latencies = clients.latencies.lock().unwrap().take().unwrap();
    let usage = meter.stop((&latencies).into()).await?;
    clients.is_over.store(true, Ordering::Relaxed);
    running.await??;
    bar.finish_and_clear();
    Ok(usage)
}

struct Clients<J> {
    job: J,
    is_over: AtomicBool,
    /// While it is measured: how many microseconds each saga took.
    latencies: Mutex<Option<Histogram<u64>>>,
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
        self.job.run().await?;
        let micros = began.elapsed().as_micros() as u64;
        if let Some(latencies) = &mut *self.latencies.lock().unwrap() {
            latencies.saturating_record(micros);
        }
        Ok(())
    }
}

/// Not longer than it runs.
async fn wait(
    bar: &ProgressBar,
    how_long: Duration,
    running: &mut JoinHandle<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    for _ in 0..how_long.as_secs() {
        tokio::select! {
            ended = &mut *running => {
                ended??;
                bail!("the clients went away");
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => bar.inc(1),
        }
    }
    Ok(())
}

fn progress(how_long: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(how_long.as_secs()).with_style(style)
}
