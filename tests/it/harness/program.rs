//! The program as a process: started, watched, stopped, killed.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::SOON;

/// The variables the program reads: those of whoever runs the tests are not its business.
const VARIABLES: [&str; 21] = [
    "AMENDS_DATABASE_URL",
    "INVENTORY_DATABASE_URL",
    "ORDERS_DATABASE_URL",
    "AMENDS_DATA_DIR",
    "AMENDS_PG_BIN",
    "AMENDS_URL",
    "AMENDS_KEY",
    "AMENDS_LISTEN",
    "AMENDS_OPERATOR_LISTEN",
    "AMENDS_LEASE_TTL_MS",
    "PAYMENT_GATEWAY_URL",
    "PAYMENT_GATEWAY_KEY",
    "PAYMENT_GATEWAY_RATE",
    "PAYMENT_RETURN_URL",
    "PAYMENT_WEBHOOK_SECRET",
    engine::testing::FAULT,
    engine::testing::FAULT_LOG,
    engine::testing::POISON,
    engine::testing::PLANTED_BUG,
    "RUST_LOG",
    "NO_COLOR",
];

/// How much of a log is shown when a test fails.
const LOG_LINES: usize = 60;

/// A process that serves.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    /// Starts it; what it says goes to `log`, after what is there.
    pub(crate) fn spawn(arguments: &[&str], variables: &[(&str, String)], log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let mut command = command(arguments, variables);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log: log.to_owned() }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and what it says as its last.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        super::until("the program stops", async || self.child.try_wait().unwrap()).await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// The exit status, if it ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES);
            eprintln!("the end of {}:\n{}\n", self.log.display(), lines[from..].join("\n"));
        }
    }
}

/// Runs `amends` to its end.
pub(crate) fn amends(arguments: &[&str], variables: &[(&str, String)]) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["out", "err"].map(|name| directory.path().join(name));
    let [out, err] = paths.each_ref().map(|path| File::create(path).unwrap());
    let mut command = command(arguments, variables);
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
    let end = Instant::now() + SOON;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let [stdout, stderr] = paths.map(|path| std::fs::read_to_string(path).unwrap());
    let Some(status) = status else {
        panic!("amends {arguments:?} does not end; it said:\n{stdout}\n{stderr}")
    };
    Finished { code: status.code(), stdout, stderr }
}

fn command(arguments: &[&str], variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amends"));
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

/// A port of loopback that nobody uses, below those that the system gives to clients.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + (std::process::id() % 900) as u16 * 20;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
