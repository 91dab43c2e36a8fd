//! Sagas that wait for a signal: what one takes in memory while it rests in the database, and how fast all of
//! them wake.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use engine::client::Signal;
use engine::{Abort, Payload, Registry, Saga, SagaId, Workflow};
use futures_util::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use uuid::Uuid;

use crate::arguments::LoadArguments;
use crate::load::MICROS_MAX;
use crate::meter::{Meter, Sources, Usage, rss_bytes};
use crate::nodes::{self, Clients, Nodes};
use crate::noop::{Nothing, Order, Step};

/// What they wait for, and for how long at most.
const GO: &str = "go";
const HOUR: Duration = Duration::from_secs(3_600);
/// How many are started, or told, at once.
const AT_ONCE: usize = 512;
/// How soon the allocator gives back some of what is free, if it does.
const GIVES_BACK_WITHIN: Duration = Duration::from_secs(2);
/// How soon all of them rest, and have woken.
const SOON: Duration = Duration::from_secs(300);

struct Waits;

impl Workflow for Waits {
    const NAME: &'static str = "waits";
    type Services = Nothing;
    type Input = Order;
    type Output = bool;
    type Activities = (Step,);

    async fn run(saga: &mut Saga<Self>, order: Order) -> Result<bool, Abort> {
        saga.step(Step::first(&order)).await?;
        Ok(saga.signal::<bool>(GO, HOUR).await?.is_some())
    }
}

/// Has as many sagas wait as `arguments` say, and wakes them.
pub(crate) async fn run(arguments: &LoadArguments, sources: Sources<'_>) -> anyhow::Result<Usage> {
    let registry = || Ok(Registry::new().workflow::<Waits>(&Arc::new(Nothing)));
    let nodes = Nodes::start(sources.url, arguments, registry).await?;
    let clients = nodes.clients();
    // What the first ones need, the others have: connections, plans, buffers.
    started(&clients, AT_ONCE as u32).await?;
    let before = resting(&nodes).await?;
    let ids = started(&clients, arguments.in_flight).await?;
    let memory = resting(&nodes).await?.saturating_sub(before);

    let meter = Meter::start(sources).await?;
    let latencies = wake(&clients, &ids).await?;
    let usage = meter.stop((&latencies).into()).await?;
    nodes.shutdown().await;
    let each = memory as f64 / f64::from(arguments.in_flight);
    Ok(Usage { memory_bytes_per_saga: Some(each), ..usage })
}

async fn started(clients: &Clients, count: u32) -> anyhow::Result<Vec<SagaId>> {
    let one = async |_| {
        let start = nodes::start::<Waits>(&Order::example(), None)?;
        anyhow::Ok(clients.next().start(start).await?.id)
    };
    stream::iter(0..count).map(one).buffer_unordered(AT_ONCE).try_collect().await
}

/// How many bytes are resident once none of them is in memory, and the allocator has given back what they had.
async fn resting(nodes: &Nodes) -> anyhow::Result<u64> {
    let deadline = Instant::now() + SOON;
    while nodes.sagas_in_memory() > 0 {
        ensure!(Instant::now() < deadline, "{} sagas do not rest", nodes.sagas_in_memory());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut least = u64::MAX;
    while rss_bytes() < least {
        least = rss_bytes();
        tokio::time::sleep(GIVES_BACK_WITHIN).await;
    }
    Ok(least)
}

/// Tells each of them to go on, and waits for its end.
async fn wake(clients: &Clients, ids: &[SagaId]) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::new_with_max(MICROS_MAX, 3)?;
    for page in ids.chunks(AT_ONCE) {
        let (client, began) = (clients.next(), Instant::now());
        let signal = |saga: &SagaId| {
            let payload = Payload::encode(&true)?;
            anyhow::Ok(Signal { saga: *saga, message_id: Uuid::now_v7(), name: GO.into(), payload })
        };
        client.signal(page.iter().map(signal).collect::<Result<_, _>>()?).await?;
        let ended = page.iter().map(async |id| {
            ensure!(client.ended(*id, SOON).await?, "{id} does not wake");
            Ok(began.elapsed())
        });
        for took in futures_util::future::try_join_all(ended).await? {
            latencies.saturating_record(took.as_micros() as u64);
        }
    }
    Ok(latencies)
}
