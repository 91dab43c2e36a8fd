//! Stops a server: politely, then less so.

use std::{
    process::Child,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    error::Error,
    process,
    server::{Cluster, POLL_INTERVAL, Postmaster},
};

const FAST_TIMEOUT: Duration = Duration::from_secs(60);
const IMMEDIATE_TIMEOUT: Duration = Duration::from_secs(10);

impl Cluster {
    /// Fast shutdown (SIGINT: open transactions are rolled back), and if that takes too long an
    /// immediate one (SIGQUIT: no checkpoint, the next start recovers from the log).
    pub(crate) fn stop(&self, mut postmaster: Postmaster) -> Result<(), Error> {
        let pid = postmaster.pid();
        for (signal, timeout) in
            [(Signal::SIGINT, FAST_TIMEOUT), (Signal::SIGQUIT, IMMEDIATE_TIMEOUT)]
        {
            // An unreaped child keeps its pid; an adopted server may have ended long ago.
            if self.has_ended(&mut postmaster) {
                return Ok(());
            }
            process::signal(pid, signal);
            let deadline = Instant::now() + timeout;
            while Instant::now() < deadline {
                if self.has_ended(&mut postmaster) {
                    return Ok(());
                }
                thread::sleep(POLL_INTERVAL);
            }
            tracing::debug!(pid, %signal, "PostgreSQL did not stop in time");
        }
        self.kill(postmaster)
    }

    /// SIGKILL to the first process, which can then start no others, and to all of them.
    pub(crate) fn kill(&self, postmaster: Postmaster) -> Result<(), Error> {
        let mut child: Option<Child> = match postmaster {
            Postmaster::Child(child) => Some(child),
            Postmaster::Adopted(pid) => {
                if process::belongs(pid, &self.name) {
                    process::signal(pid, Signal::SIGKILL);
                }
                None
            }
        };
        self.end_at_once(&mut child)
    }

    /// Signals all processes of the cluster and waits until none is left; those that do not heed
    /// the signal are killed.
    pub(crate) fn end_processes(&self, signal: Signal) -> Result<(), Error> {
        let started = Instant::now();
        let mut next = signal;
        loop {
            let pids = process::all(&self.name)?;
            if pids.is_empty() {
                return Ok(());
            }
            if started.elapsed() > 2 * IMMEDIATE_TIMEOUT {
                return Err(Error::Unstoppable { pids });
            }
            if started.elapsed() > IMMEDIATE_TIMEOUT {
                next = Signal::SIGKILL;
            }
            for pid in pids {
                process::signal(pid, next);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    pub(crate) fn has_ended(&self, postmaster: &mut Postmaster) -> bool {
        match postmaster {
            Postmaster::Child(child) => !matches!(child.try_wait(), Ok(None)),
            Postmaster::Adopted(pid) => !process::belongs(*pid, &self.name),
        }
    }
}
