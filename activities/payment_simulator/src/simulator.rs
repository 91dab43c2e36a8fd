//! Starts a simulator on loopback, and stops it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::clock::Clock;
use crate::error::Error;
use crate::fault_plan::FaultPlan;
use crate::faults::Faults;
use crate::log;
use crate::server::{Credentials, Door, router};
use crate::webhooks::{Webhooks, check_url};
use crate::wire::{Scissors, Wires};
use crate::world::World;

/// How long `stop` waits for connections that callers keep open.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How a simulator is to run.
#[derive(Clone)]
pub struct Options {
    /// Loopback only; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Taken as bearer key, or as the user of basic authentication.
    pub api_key: String,
    /// Append-only, one JSON object a line. `<ledger>.state` beside it holds what a restart needs.
    pub ledger: PathBuf,
    /// Where events are posted: `http://` on loopback.
    pub webhook_url: Option<String>,
    /// What events are signed with.
    pub webhook_secret: String,
    /// What goes wrong on purpose.
    pub faults: FaultPlan,
    /// The same seed and the same keys give the same faults.
    pub seed: u64,
}

/// A running simulator. Dropping it stops it too, without waiting.
pub struct Simulator {
    address: SocketAddr,
    app: Arc<App>,
    stop: CancellationToken,
    lost: CancellationToken,
    server: tokio::task::JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Simulator {
    /// Starts to serve, with everything an earlier run left in the files.
    ///
    /// # Errors
    /// The options make no sense, the port is taken, or the files can not be used.
    pub async fn start(options: Options) -> Result<Simulator, Error> {
        let url = options.check()?;
        let listener = listen(options.listen).await?;
        let failed = |source| Error::Listen { address: options.listen, source };
        let address = listener.local_addr().map_err(failed)?;
        let mut found = log::open(&options.ledger)?;
        let records = std::mem::take(&mut found.records);

        let (stop, lost) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let secret = options.webhook_secret;
        let webhooks = Webhooks::new(url, secret, stop.clone(), tasks.clone())?;
        let (log, writer) = found.start(lost.clone());
        let mut world = World::new(log.clone(), format!("http://{address}"));
        let clock = Clock::default();
        clock.advance(world.restore(records));
        let due = world.all_due();
        let app = Arc::new(App {
            world: Mutex::new(world),
            log,
            clock,
            faults: Faults::new(options.faults, options.seed),
            webhooks: Arc::new(webhooks),
            stop: stop.clone(),
            tasks,
        });
        due.into_iter().for_each(|due| app.schedule(due));

        let credentials = Credentials::new(&options.api_key);
        let door = Arc::new(Door { app: Arc::clone(&app), credentials });
        let service = router(door).into_make_service_with_connect_info::<Scissors>();
        let serving = axum::serve(Wires(listener), service)
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the payment simulator stopped serving");
            }
        });
        Ok(Simulator { address, app, stop, lost, server, writer })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL to give to the payment client.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends events elsewhere from now on, or nowhere: for a receiver whose port is known only later.
    ///
    /// # Errors
    /// The URL is not `http://` on loopback.
    pub fn set_webhook_url(&self, url: Option<&str>) -> Result<(), Error> {
        self.app.webhooks.set_url(url.map(check_url).transpose()?);
        Ok(())
    }

    /// Stops to serve: held answers are dropped, everything accepted is synced.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.server).await.is_err() {
            self.server.abort();
        }
        self.app.tasks.close();
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.app.tasks.wait()).await;
        self.app.log.stop();
        while !self.writer.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Resolves when the ledger can not be written any more.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.app.log.stop();
    }
}

impl Options {
    fn check(&self) -> Result<Option<reqwest::Url>, Error> {
        if !self.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(self.listen));
        }
        if self.api_key.trim().is_empty() {
            return Err(Error::ApiKey("is empty"));
        }
        if self.api_key.contains("_live_") {
            return Err(Error::ApiKey("is a live key: the simulator takes test keys only"));
        }
        self.faults.check()?;
        self.webhook_url.as_deref().map(check_url).transpose()
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}
