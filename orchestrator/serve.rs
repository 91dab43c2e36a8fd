//! `amends serve`: runs the platform until it is told to stop.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use access::AccessKeys;
use anyhow::{Context, bail};
use engine::LEASE_TTL;
use gateway::Gate;
use gateway::app::{OPERATOR_ADDRESS, PUBLIC_ADDRESS};
use gateway::auth::Keys;
use tokio::net::TcpListener;

use crate::databases::{DataDir, Databases};
use crate::migrate::SHARDS;
use crate::platform::{self, LANES, LEASE_TTL_MS, Parts, Platform};
use crate::{payment_settings, signals};

/// Run the platform: the engine, the shop's API, the operators' API
///
/// On the databases of AMENDS_DATABASE_URL, INVENTORY_DATABASE_URL and ORDERS_DATABASE_URL, on which
/// any number of nodes may run; without these on a private PostgreSQL server. The payment gateway is
/// that of PAYMENT_GATEWAY_URL, PAYMENT_GATEWAY_KEY and PAYMENT_WEBHOOK_SECRET.
///
/// On SIGTERM or Ctrl-C it hands over: what is under way finishes, nothing new starts, and it exits
/// with 0. A second signal ends it at once, with 130. `amends doctor` says whether it would start.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data_dir: DataDir,
    /// Where customers and shops are served
    #[arg(long, env = "AMENDS_LISTEN", value_name = "ADDRESS", default_value_t = PUBLIC_ADDRESS)]
    listen: SocketAddr,
    /// Where operators and Prometheus are served. Keep it off the internet
    #[arg(long, env = "AMENDS_OPERATOR_LISTEN", value_name = "ADDRESS",
          default_value_t = OPERATOR_ADDRESS)]
    operator_listen: SocketAddr,
    /// Bring the databases up to date first. A private server's always are
    #[arg(long)]
    migrate: bool,
    /// Run on databases that may lose what they acknowledged (fsync, synchronous_commit or
    /// full_page_writes off)
    #[arg(long)]
    allow_data_loss: bool,
    /// Ask nobody for a key. Loopback only
    #[arg(long)]
    insecure_dev: bool,
    /// How many connections commit the engine's work: all but one only while much waits
    #[arg(long, value_name = "N", default_value_t = LANES,
          value_parser = clap::value_parser!(u8).range(1..=64))]
    lanes: u8,
    /// How long, in milliseconds, a node that died or hangs keeps its sagas: after that the others
    /// finish them. All nodes should have the same
    #[arg(long, env = "AMENDS_LEASE_TTL_MS", value_name = "MS", default_value_t = LEASE_TTL_MS,
          value_parser = clap::value_parser!(u32).range(lease_ttl_ms()))]
    lease_ttl_ms: u32,
}

/// What the engine takes.
fn lease_ttl_ms() -> RangeInclusive<i64> {
    let [least, most] = [LEASE_TTL.start(), LEASE_TTL.end()].map(|ttl| ttl.as_millis() as i64);
    least..=most
}

/// Runs it.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_token()?;
    let payments = payment_settings::read()?;
    let public = bind(arguments.listen).await?;
    let operators = bind(arguments.operator_listen).await?;
    let doors = [public.local_addr()?, operators.local_addr()?];
    // What is refused is refused before a database is started.
    let open = arguments.insecure_dev.then(|| Gate::insecure_dev(&doors)).transpose()?;
    let databases = Databases::open(&arguments.data_dir.path()?).await?;
    if databases.are_private() || arguments.migrate {
        databases.migrate(SHARDS).await?;
    }
    databases.check(arguments.allow_data_loss, arguments.lanes).await?;
    let gate = match open {
        Some(gate) => gate,
        None => Gate::with_keys(keys(&databases).await?),
    };
    let platform = Platform::start(Parts {
        urls: databases.urls.clone(),
        payments,
        lanes: arguments.lanes.into(),
        lease_ttl: Duration::from_millis(arguments.lease_ttl_ms.into()),
        allow_data_loss: arguments.allow_data_loss,
        gate,
        public,
        operators,
    })
    .await?;
    tracing::info!(public = %platform.public, operators = %platform.operators, "serving");
    stop.cancelled().await;
    platform.stop().await?;
    databases.close().await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("can not listen on {address}"))
}

/// The keys of the database; the first time one of each role is made and shown.
async fn keys(databases: &Databases) -> anyhow::Result<Arc<dyn Keys>> {
    let keys: Arc<dyn Keys> = Arc::new(AccessKeys::connect(&databases.urls.amends)?);
    let known = keys.list().await?;
    if known.is_empty() {
        platform::print(&platform::issue(&*keys, "first").await?);
    } else if known.iter().all(|key| key.revoked_at.is_some()) {
        bail!(
            "all API keys are revoked, so nobody could call: make one with \
             `amends keys create --role shop`"
        );
    }
    Ok(keys)
}
