//! Starts a server on a free loopback port and waits until it accepts connections.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use uuid::Uuid;

use crate::{
    account::command,
    error::Error,
    process::{self, PostmasterFile},
    server::{Cluster, POLL_INTERVAL},
};

const ATTEMPTS_MAX: u32 = 20;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(250);
const LOG_SIZE_BYTES_MAX: u64 = 16 << 20;
const LOG_TAIL_LINES: usize = 20;
const LOG_TAIL_BYTES: u64 = 16 << 10;

/// A server that is ready, and its port.
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) port: u16,
}

impl Cluster {
    /// Starts the server, on the given port if it must be that one.
    pub(crate) fn launch(&self, port: Option<u16>) -> Result<Launched, Error> {
        let deadline = Instant::now() + self.start_timeout;
        let mut attempt = 1;
        loop {
            let chosen = match port {
                Some(port) => port,
                None => free_port().map_err(Error::io("find a free port on", "127.0.0.1"))?,
            };
            let (log, log_start) =
                self.open_log().map_err(Error::io("write", self.directory.log()))?;
            let mut child = self.spawn(chosen, log)?;
            let how = match self.wait_until_ready(&mut child, chosen, deadline)? {
                Outcome::Ready => return Ok(Launched { child, port: chosen }),
                Outcome::Ended(status) => format!("ended before it was ready ({status})"),
                Outcome::TooLate => {
                    self.end_at_once(&mut Some(child))?;
                    format!("was not ready within {} s", self.start_timeout.as_secs())
                }
            };
            let log_tail = tail(&self.directory.log(), log_start);
            let again = attempt < ATTEMPTS_MAX && Instant::now() < deadline;
            if !(again && may_pass(&log_tail)) {
                return Err(Error::Start { how, log: self.directory.log(), log_tail });
            }
            tracing::debug!(attempt, port = chosen, log_tail, "PostgreSQL is started again");
            attempt += 1;
            thread::sleep(ATTEMPT_INTERVAL);
        }
    }

    fn spawn(&self, port: u16, log: fs::File) -> Result<Child, Error> {
        let program = self.binaries.program("postgres");
        let run = Error::io("run", &program);
        let log_too = log.try_clone().map_err(Error::io("write", self.directory.log()))?;
        let mut command = command(&program, self.account.as_ref());
        command.current_dir(self.directory.root()).arg("-D").arg(self.directory.cluster());
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // Of two equal names the later counts: what the rest of this crate relies on comes last.
        let port = format!("port={port}");
        let cluster_name = format!("cluster_name={}", self.name);
        let sockets = self.directory.sockets().unwrap_or_default();
        let sockets = format!("unix_socket_directories={sockets}");
        let fixed = [
            "listen_addresses=127.0.0.1",
            &port,
            &sockets,
            &cluster_name,
            "lc_messages=C",
            "log_destination=stderr",
            "logging_collector=off",
        ];
        for setting in fixed {
            command.args(["-c", setting]);
        }
        // A process group of its own: Ctrl-C in the terminal is for us, who then stop the server.
        command.process_group(0).stdout(log_too).stderr(log).spawn().map_err(run)
    }

    fn wait_until_ready(
        &self,
        child: &mut Child,
        port: u16,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let cluster = self.directory.cluster();
        let waiting = Error::io("wait for", self.binaries.program("postgres"));
        loop {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Ok(Outcome::Ended(status)),
                Err(error) => return Err(waiting(error)),
            }
            // The file may still be that of an earlier server: only our child's counts.
            let ready = PostmasterFile::read(&cluster)
                .is_some_and(|file| file.ready && file.pid.unsigned_abs() == child.id());
            if ready && accepts(port) {
                return Ok(Outcome::Ready);
            }
            if Instant::now() >= deadline {
                return Ok(Outcome::TooLate);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Ends whatever runs, without the shutdown checkpoint.
    pub(crate) fn end_at_once(&self, child: &mut Option<Child>) -> Result<(), Error> {
        if let Some(child) = child {
            process::signal(child.id().cast_signed(), Signal::SIGKILL);
            let _ = child.wait();
        }
        self.end_processes(Signal::SIGKILL)
    }

    /// Opens the log for appending, and says where what comes now begins.
    fn open_log(&self) -> io::Result<(fs::File, u64)> {
        let path = self.directory.log();
        if fs::metadata(&path).is_ok_and(|data| data.len() > LOG_SIZE_BYTES_MAX) {
            fs::rename(&path, path.with_extension("log.1"))?;
        }
        let log = fs::File::options().create(true).append(true).mode(0o600).open(&path)?;
        let start = log.metadata()?.len();
        Ok((log, start))
    }
}

enum Outcome {
    Ready,
    Ended(ExitStatus),
    TooLate,
}

/// Whether something accepts connections on the loopback port.
pub(crate) fn accepts(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// A port nobody listens on, from below the ranges that systems give to outgoing connections: a
/// client that keeps trying to reconnect to a stopped server's port in such a range can be given
/// that very port, connect to itself, and hold it.
fn free_port() -> io::Result<u16> {
    let range = 15_000..32_000_u16;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let [high, low, ..] = Uuid::new_v4().into_bytes();
        let offset = u16::from_be_bytes([high, low]) % (range.end - range.start);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, range.start + offset)) {
            Ok(_) => return Ok(range.start + offset),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether trying again can help: the port was taken meanwhile, or an earlier server's last
/// processes are still going away.
fn may_pass(log: &str) -> bool {
    [
        "could not create any TCP/IP sockets",
        "lock file \"postmaster.pid\" already exists",
        "lock file \"postmaster.pid\" is empty",
        "pre-existing shared memory block",
    ]
    .iter()
    .any(|passing| log.contains(passing))
}

fn tail(path: &Path, start: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}
