//! The command line: `simulate-gateway`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::Error;
use crate::fault_plan::FaultPlan;
use crate::simulator::{Options, Simulator};

/// Runs a Stripe-shaped payment gateway on loopback, for demos and tests.
#[derive(Args)]
pub struct Arguments {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8420)]
    port: u16,
    /// The ledger: a file that is only appended to. Its state is kept in FILE.state.
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    /// The key callers must show.
    #[arg(
        long,
        env = "PAYMENT_GATEWAY_KEY",
        hide_env_values = true,
        default_value = "sk_test_simulator"
    )]
    api_key: String,
    /// Where events are posted: http:// on loopback. Without it none are sent.
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// What events are signed with.
    #[arg(
        long,
        env = "PAYMENT_WEBHOOK_SECRET",
        hide_env_values = true,
        default_value = "whsec_simulator"
    )]
    webhook_secret: String,
    /// What goes wrong on purpose: `none`, `demo`, or a file with a fault plan.
    #[arg(long, value_name = "none|demo|FILE.json", default_value = "none")]
    faults: String,
    /// The same seed and the same idempotency keys give the same faults.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Arguments {
    /// Serves until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// It can not start, or the ledger can not be written any more.
    pub async fn run(self) -> Result<(), Error> {
        let ledger = self.ledger.clone();
        let simulator = Simulator::start(self.options()?).await?;
        println!("payment gateway simulator on {}", simulator.url());
        println!("  ledger  {}", ledger.display());
        println!("  sums    curl {}/_sim/ledger", simulator.url());
        println!("  faults  curl {}/_sim/faults", simulator.url());
        let lost = tokio::select! {
            () = simulator.lost() => true,
            () = told_to_stop() => false,
        };
        simulator.stop().await;
        if lost { Err(Error::LedgerLost) } else { Ok(()) }
    }

    fn options(self) -> Result<Options, Error> {
        Ok(Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
            api_key: self.api_key,
            ledger: self.ledger,
            webhook_url: self.webhook_url,
            webhook_secret: self.webhook_secret,
            faults: plan(&self.faults)?,
            seed: self.seed,
        })
    }
}

fn plan(name: &str) -> Result<FaultPlan, Error> {
    match name {
        "none" => Ok(FaultPlan::none()),
        "demo" => Ok(FaultPlan::demo()),
        path => {
            let text = std::fs::read_to_string(path).map_err(|source| {
                let path = Path::new(path).to_owned();
                Error::FaultPlanFile { path, source }
            })?;
            serde_json::from_str(&text)
                .map_err(|error| Error::FaultPlan(format!("{path}: {error}")))
        }
    }
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        let arguments = ["program"].iter().chain(arguments);
        Program::try_parse_from(arguments).map(|program| program.arguments)
    }

    #[test]
    fn garbage_gets_a_clear_error() {
        for garbage in [
            &[][..],
            &["--ledger", "l", "--port", "99999"],
            &["--ledger", "l", "--seed", "-1"],
            &["--ledger", "l", "--shoe"],
        ] {
            assert!(parse(garbage).is_err(), "{garbage:?}");
        }
        let arguments = parse(&["--ledger", "l", "--faults", "/nowhere.json"]).unwrap();
        let error = arguments.options().err().unwrap().to_string();
        assert!(error.contains("/nowhere.json"), "{error}");
        assert_eq!(parse(&["--ledger", "l"]).unwrap().port, 8420);
    }
}
