//! Several runs by turns, each time in a new process on a new server: machines are not the same from one minute
//! to the next, so only what was measured side by side can be compared.

use std::process::Stdio;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::arguments::{LoadArguments, Workload};
use crate::meter::Usage;
use crate::unless_interrupted;

/// `RUST_BACKTRACE` is for panics only: a system that makes an error of each saga on its way would do little else than
/// to walk its stack, as Restate's server does.
pub(crate) const NO_BACKTRACES: [(&str, &str); 1] = [("RUST_LIB_BACKTRACE", "0")];

/// One of them.
pub(crate) struct Turn {
    pub(crate) workload: Workload,
    pub(crate) load: LoadArguments,
    /// What a person calls it, while it runs.
    pub(crate) label: String,
}

/// The whole rounds that were run, and why there are no more of them, if there are not.
pub(crate) struct Rounds {
    /// Of each turn, a run each round.
    pub(crate) runs: Vec<Vec<Usage>>,
    pub(crate) ended: anyhow::Result<()>,
}

/// Runs each of them `rounds` times. What was measured is not lost with what fails, nor if somebody wants this
/// process to end.
pub(crate) async fn by_turns(turns: &[Turn], rounds: u32) -> Rounds {
    let mut runs = vec![Vec::new(); turns.len()];
    let ended = unless_interrupted(async {
        let mut order: Vec<usize> = (0..turns.len()).collect();
        for _ in 0..rounds {
            for which in &order {
                let Turn { workload, load, label } = &turns[*which];
                let usage = run(*workload, load).await?;
                let Usage { sagas_per_s, p50_ms, .. } = usage;
                eprintln!("{label}: {sagas_per_s:.0} sagas/s, p50 {p50_ms:.1} ms");
                runs[*which].push(usage);
            }
            // Back the way it came, so that a slow minute is nobody's alone.
            order.reverse();
        }
        Ok(())
    });
    let ended = ended.await;
    let whole = runs.iter().map(Vec::len).min().unwrap_or(0);
    runs.iter_mut().for_each(|runs| runs.truncate(whole));
    Rounds { runs, ended }
}

/// One run, in a process of its own.
pub(crate) async fn run(workload: Workload, load: &LoadArguments) -> anyhow::Result<Usage> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([&workload.name(), "--output", "json"]).args(load.to_words(workload));
    command.envs(NO_BACKTRACES);
    let child = command.stdout(Stdio::piped()).spawn().context("can not run this program again")?;
    let mut running = Run(child);
    let mut output = Vec::new();
    let mut pipe = running.0.stdout.take().context("its output is a pipe")?;
    pipe.read_to_end(&mut output).await?;
    let status = running.0.wait().await?;
    ensure!(status.success(), "{} failed: {status}", workload.name());
    serde_json::from_slice(&output).context("its output is not what this program writes")
}

/// A run that nobody waits for any more ends, and ends what it has started.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(pid) = self.0.id() {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
        }
    }
}
