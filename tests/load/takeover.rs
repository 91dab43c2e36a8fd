//! A node dies with many open sagas: how soon after its lease another one has taken each of them up.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use engine::{
    Abort, Activity, Attempt, Engine, Failure, Outcome, Registry, Saga, Settings, Undo,
    UndoFailure, Undoable, Workflow,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};

use crate::arguments::LoadArguments;
use crate::load::MICROS_MAX;
use crate::meter::{Meter, Sources, Usage};
use crate::nodes::{SHARDS, start};

const LEASE_TTL: Duration = Duration::from_secs(2);
/// How many are started at once.
const AT_ONCE: usize = 512;
/// How soon all are taken up.
const SOON: Duration = Duration::from_secs(120);

/// Where a step is run: by the node that dies, which never answers, or by the one after it.
enum Place {
    Dies,
    TakesOver(Taken),
}

/// When the sagas were taken up, since the lease ended.
struct Taken {
    since: Instant,
    latencies: Mutex<Histogram<u64>>,
}

#[derive(Serialize, Deserialize)]
struct Hold;

impl Activity for Hold {
    const NAME: &'static str = "hold";
    const DEPENDENCY: &'static str = "nothing";
    type Services = Place;
    type Output = ();
    type Class = Undoable;

    async fn run(&self, place: &Place, _: &Attempt) -> Result<(), Failure> {
        let Place::TakesOver(taken) = place else { return pending().await };
        let micros = taken.since.elapsed().as_micros() as u64;
        taken.latencies.lock().unwrap().saturating_record(micros);
        Ok(())
    }
}

impl Undo for Hold {
    async fn undo(&self, _: &Place, _: &Attempt, _: Outcome<'_, ()>) -> Result<(), UndoFailure> {
        Ok(())
    }
}

struct Holds;

impl Workflow for Holds {
    const NAME: &'static str = "holds";
    type Services = Place;
    type Input = ();
    type Output = ();
    type Activities = (Hold,);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        saga.step(Hold).await
    }
}

async fn node(url: &str, lanes: Option<u8>, place: &Arc<Place>) -> anyhow::Result<Engine> {
    let mut settings = Settings::new(url);
    settings.lanes = lanes.map_or(settings.lanes, usize::from);
    settings.lease_ttl = LEASE_TTL;
    Ok(Engine::start(settings, Registry::new().workflow::<Holds>(place)).await?)
}

/// As many sagas as `arguments` say lose their node.
pub(crate) async fn run(arguments: &LoadArguments, sources: Sources<'_>) -> anyhow::Result<Usage> {
    engine::migrate(sources.url, SHARDS).await?;
    let first = node(sources.url, arguments.lanes, &Arc::new(Place::Dies)).await?;
    let client = first.client();
    let start = async |_| anyhow::Ok(client.start(start::<Holds>(&(), None)?).await?.id);
    let started = stream::iter(0..arguments.in_flight).map(start).buffer_unordered(AT_ONCE);
    let started: Vec<_> = started.try_collect().await?;
    first.crash();

    let meter = Meter::start(sources).await?;
    let since = Instant::now() + until_lease_ends(sources.url).await?;
    let latencies = Mutex::new(Histogram::new_with_max(MICROS_MAX, 3)?);
    let place = Arc::new(Place::TakesOver(Taken { since, latencies }));
    let second = node(sources.url, arguments.lanes, &place).await?;
    let Place::TakesOver(taken) = &*place else { unreachable!("it was just made") };
    let all = started.len() as u64;
    let deadline = Instant::now() + SOON;
    while taken.latencies.lock().unwrap().len() < all {
        ensure!(Instant::now() < deadline, "not all were taken over within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let latencies = taken.latencies.lock().unwrap().clone();
    let usage = meter.stop((&latencies).into()).await?;
    second.shutdown().await;
    // What counts begins when the lease has ended.
    let seconds = latencies.max() as f64 / 1e6;
    Ok(Usage { seconds, sagas_per_s: all as f64 / seconds, ..usage })
}

/// How long the lease of the node that died still lasts.
async fn until_lease_ends(url: &str) -> anyhow::Result<Duration> {
    let left =
        "select extract(epoch from max(lease_until) - clock_timestamp())::float8 from saga.node";
    let mut connection = PgConnection::connect(url).await?;
    let left: f64 = sqlx::query_scalar(left).fetch_one(&mut connection).await?;
    Duration::try_from_secs_f64(left).context("its lease has ended already")
}
