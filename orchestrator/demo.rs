//! `amends demo`: real carts become orders, with everything that can go wrong going wrong.

mod carts;
mod input;
mod load;
mod plan;
mod report;
mod rest;
mod shopper;
mod tally;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use activities::payment_gateway::settings::Settings as PaymentSettings;
use anyhow::{Context, anyhow};
use gateway::auth::{Keys, Role};
use gateway::cli::Format;
use gateway::{Gate, app};
use payment_simulator::{Error as SimulatorError, FaultPlan, Options, Simulator};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::catalog;
use crate::databases::{DataDir, Databases};
use crate::migrate::SHARDS;
use crate::platform::{self, FirstKey, LANES, LEASE_TTL_MS, Parts, Platform};
use crate::signals;
use crate::verify::{self, Sources, Witness};
use report::{Next, Report};
use shopper::Shopper;
use tally::Tally;

/// The simulator's, unless it is taken.
const SIMULATOR_PORT: u16 = 8420;
/// What the platform shows the simulator.
const SIMULATOR_KEY: &str = "sk_test_simulator";
/// What the demo's keys are called.
const KEYS: &str = "demo";
/// How long a call to the simulator may take: several times what its slow answers do. The ones it never
/// gives are settled after it.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Place 2,000 real carts as orders, with everything going wrong, and check every cent
///
/// Over HTTP, against a simulated payment gateway that declines, stalls and breaks. Killed in the
/// middle, the same command goes on. It keeps its data and the gateway's ledger in its data directory.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data_dir: DataDir,
    /// Carts, one JSON object a line, plain or gzipped [default: 2,000 real ones]
    #[arg(long, value_name = "FILE.jsonl[.gz]", requires = "catalog")]
    carts: Option<PathBuf>,
    /// The catalogue of all products, CSV, plain or gzipped [default: the one of the 2,000 carts]
    #[arg(long, value_name = "FILE.csv[.gz]")]
    catalog: Option<PathBuf>,
    /// How much of what was sold is in stock: below 1, some carts meet empty shelves
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = share)]
    stock_factor: f64,
    /// Decides who pays how and what breaks. Another seed places the carts once more, with a new
    /// delivery of stock
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many carts are placed at the same time. Some of them wait for a gateway that hangs
    #[arg(long, value_name = "N", default_value_t = 320,
          value_parser = clap::value_parser!(u16).range(1..=4_000))]
    in_flight: u16,
    /// The API's port on 127.0.0.1. If it is taken, a free one is used
    #[arg(long, value_name = "PORT", default_value_t = app::PUBLIC_ADDRESS.port())]
    port: u16,
    /// End after the verification, with 0 if everything holds, else with 1
    #[arg(long)]
    exit: bool,
}

/// The catalogue's column of how many of a product all carts together want.
const UNITS: &str = "units_sold";

/// What is built into the program.
#[cfg(test)]
pub(crate) fn built_in_catalog() -> catalog::Catalog {
    catalog::read(&input::catalog(None).unwrap(), UNITS).unwrap()
}

/// Everything that runs, in the order it was started.
struct Stage {
    databases: Databases,
    simulator: Simulator,
    platform: Platform,
    keys: Vec<FirstKey>,
    ledger: PathBuf,
}

/// Runs it.
pub(crate) async fn run(arguments: Arguments, output: Format) -> anyhow::Result<ExitCode> {
    let stop = signals::stop_token()?;
    let catalog = input::catalog(arguments.catalog.as_deref())
        .and_then(|text| catalog::read(&text, UNITS))
        .context("the catalogue can not be used")?;
    let carts = input::carts(arguments.carts.as_deref())
        .and_then(|text| carts::read(&text, &catalog))
        .context("the carts can not be used")?;
    let data_dir = arguments.data_dir.path_or_within("demo")?;
    let stage = Stage::set(&arguments, &data_dir).await?;
    let report = tokio::select! {
        report = stage.play(&arguments, &catalog, &carts) => Some(report),
        () = stop.cancelled() => None,
    };
    let code = match report.transpose()? {
        None => {
            eprintln!("stopped in the middle: the same command goes on");
            ExitCode::from(signals::INTERRUPTED)
        }
        Some(report) => {
            match output {
                Format::Json | Format::Ndjson => println!("{}", report.json()),
                Format::Table | Format::Ids => {
                    println!("{}\n{}", report.table(), report.verdict.summary())
                }
            }
            if report.verdict.is_clean() && !report.is_verified() {
                let open = report.verdict.open;
                eprintln!("not at rest: {open} checkouts are still open; the same command goes on");
            }
            if !arguments.exit && !stop.is_cancelled() {
                eprintln!("\n{}", stage.next(&carts[0], &data_dir).text());
                stop.cancelled().await;
            }
            ExitCode::from(u8::from(!report.is_verified()))
        }
    };
    stage.strike().await?;
    Ok(code)
}

impl Stage {
    /// Starts everything.
    async fn set(arguments: &Arguments, data_dir: &Path) -> anyhow::Result<Self> {
        let databases = Databases::open(data_dir).await?;
        databases.migrate(SHARDS).await?;
        databases.check(false, LANES).await?;
        // The private server made it already.
        std::fs::create_dir_all(data_dir)
            .with_context(|| format!("can not create {}", data_dir.display()))?;
        let ledger = data_dir.join("gateway.jsonl");
        let secret = format!("whsec_{}", Uuid::new_v4().simple());
        // It locks its ledger: from here on this is the only demo on this directory.
        let simulator = simulator(&ledger, &secret, arguments.seed).await?;
        let access: Arc<dyn Keys> = Arc::new(access::AccessKeys::connect(&databases.urls.amends)?);
        platform::revoke(&*access, KEYS).await?;
        let keys = platform::issue(&*access, KEYS).await?;
        let public = listen(arguments.port, "the API").await?;
        let operators = listen(app::OPERATOR_ADDRESS.port(), "the operators' API").await?;
        let events = format!("http://{}/v1/payment-events", public.local_addr()?);
        simulator.set_webhook_url(Some(&events))?;
        let mut payments = PaymentSettings::from_values(
            Some(&simulator.url()),
            Some(SIMULATOR_KEY),
            Some(&secret),
            None,
            Some(&format!("http://{}/", public.local_addr()?)),
        )?;
        payments.timeout = GATEWAY_TIMEOUT;
        let platform = Platform::start(Parts {
            urls: databases.urls.clone(),
            payments,
            lanes: LANES.into(),
            lease_ttl: Duration::from_millis(LEASE_TTL_MS.into()),
            allow_data_loss: false,
            gate: Gate::with_keys(access),
            public,
            operators,
        })
        .await?;
        Ok(Self { databases, simulator, platform, keys, ledger })
    }

    /// Places all carts, waits for the last one, and verifies.
    async fn play(
        &self,
        arguments: &Arguments,
        catalog: &catalog::Catalog,
        carts: &[carts::Cart],
    ) -> anyhow::Result<Report> {
        let (inventory, orders) = (&self.platform.inventory, &self.platform.orders);
        let delivery = plan::delivery(arguments.seed);
        let booked =
            catalog::load(catalog, arguments.stock_factor, &delivery, inventory, orders).await?;
        let checkouts = plan::checkouts(carts, arguments.seed);
        let found = match booked {
            0 => "its stock was delivered before".to_owned(),
            booked => format!("stock of {booked} delivered"),
        };
        eprintln!("{} products ({found}), {} carts", catalog.len(), carts.len());
        eprintln!(
            "the API is on http://{}, the operators' on http://{}, the payment gateway on {}",
            self.platform.public,
            self.platform.operators,
            self.simulator.url()
        );
        let (operator, client) = (self.platform.operator(), self.platform.client());
        let _redelivery = Background(tokio::spawn(rest::redeliver(operator.clone(), client)));
        let in_flight = usize::from(arguments.in_flight);
        let url = format!("http://{}", self.platform.public);
        let shopper = Shopper::new(url, self.key(Role::Shop)?.to_owned(), in_flight)?;
        let mut tally = Tally::new()?;
        load::place(&shopper, checkouts, in_flight, &mut tally).await?;
        rest::wait(&operator).await?;
        load::place(&shopper, tally.take_open(), in_flight, &mut tally).await?;
        let sources = Sources {
            operator,
            inventory: inventory.clone(),
            orders: orders.clone(),
            gateway: Witness::Ledger(self.ledger.clone()),
        };
        let verdict = verify::verify(&sources, false).await?;
        Ok(Report { tally, verdict })
    }

    fn next<'a>(&'a self, cart: &'a carts::Cart, data_dir: &'a Path) -> Next<'a> {
        let sku = cart.lines.keys().next().map_or("", String::as_str);
        Next {
            url: format!("http://{}", self.platform.public),
            operators_url: format!("http://{}", self.platform.operators),
            simulator_url: self.simulator.url(),
            shop_key: self.key(Role::Shop).unwrap_or_default(),
            operator_key: self.key(Role::Operator).unwrap_or_default(),
            sku,
            currency: cart.currency,
            data_dir,
            ledger: &self.ledger,
            are_databases_private: self.databases.are_private(),
        }
    }

    fn key(&self, role: Role) -> anyhow::Result<&str> {
        let key = self.keys.iter().find(|key| key.role == role);
        key.map(|key| key.token.expose()).ok_or_else(|| anyhow!("there is no {role} key"))
    }

    /// Ends everything, the last one first.
    async fn strike(self) -> anyhow::Result<()> {
        self.platform.stop().await?;
        self.simulator.stop().await;
        self.databases.close().await
    }
}

/// A task that ends with what it serves.
struct Background(tokio::task::JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// On its usual port, or a free one.
async fn simulator(ledger: &Path, secret: &str, seed: u64) -> anyhow::Result<Simulator> {
    let options = |port| Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        api_key: SIMULATOR_KEY.to_owned(),
        ledger: ledger.to_owned(),
        webhook_url: None,
        webhook_secret: secret.to_owned(),
        faults: FaultPlan::demo(),
        seed,
    };
    let started = match Simulator::start(options(SIMULATOR_PORT)).await {
        Err(SimulatorError::Listen { .. }) => {
            let simulator = Simulator::start(options(0)).await;
            if let Ok(simulator) = &simulator {
                say_taken(SIMULATOR_PORT, "the payment gateway", simulator.address());
            }
            simulator
        }
        started => started,
    };
    started.map_err(|error| match error {
        SimulatorError::LedgerInUse(_) => anyhow!(error).context(
            "another demo runs on this data directory: stop it, or use another --data-dir",
        ),
        error => anyhow!(error).context("the payment gateway simulator does not start"),
    })
}

/// On this port of loopback, or a free one.
async fn listen(port: u16, what: &str) -> anyhow::Result<TcpListener> {
    let on = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let Ok(listener) = on(port).await {
        return Ok(listener);
    }
    let listener = on(0).await.with_context(|| format!("{what} can not listen on loopback"))?;
    say_taken(port, what, listener.local_addr()?);
    Ok(listener)
}

fn say_taken(port: u16, what: &str, instead: SocketAddr) {
    eprintln!("port {port} is taken: {what} is on {instead}");
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1_000.0).contains(&share) => Ok(share),
        _ => Err("it should be a number from 0 to 1000, such as 0.9".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_that_makes_sense() {
        assert_eq!(share("0.9"), Ok(0.9));
        for garbage in ["", "x", "-1", "NaN", "inf", "1001"] {
            assert!(share(garbage).is_err(), "{garbage}");
        }
    }
}
