//! Takes over what a killed owner left behind: adopts its server, or clears the way for a new one.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    error::Error,
    launch::accepts,
    process::{self, PostmasterFile},
    server::{Cluster, POLL_INTERVAL},
};

/// How long a server that runs already may take to become ready, or to end.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A server without an owner, ready.
pub(crate) struct Found {
    pub(crate) pid: i32,
    pub(crate) port: u16,
}

impl Cluster {
    /// The server that already runs in the data directory, if there is one. When there is none,
    /// nothing hinders a new one any more. The caller holds the lock.
    pub(crate) fn take_over(&self) -> Result<Option<Found>, Error> {
        let cluster = self.directory.cluster();
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while let Some(file) = PostmasterFile::read(&cluster) {
            if !process::belongs(file.pid, &self.name) || Instant::now() >= deadline {
                break;
            }
            if let Some(port) = file.port.filter(|port| file.ready && accepts(*port)) {
                return Ok(Some(Found { pid: file.pid, port }));
            }
            thread::sleep(POLL_INTERVAL);
        }
        // Server processes outlive a killed first process while they are busy, and block the next
        // server; so does one that hangs, or was spawned a moment before its owner was killed.
        self.end_processes(Signal::SIGQUIT)?;
        self.disown_stale_file()?;
        self.remove_stale_sockets()?;
        Ok(None)
    }

    /// A socket's lock file names a pid too. It guards nothing else, so it can go.
    fn remove_stale_sockets(&self) -> Result<(), Error> {
        let cluster = self.directory.cluster();
        for entry in fs::read_dir(&cluster).map_err(Error::io("list", &cluster))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(".s.PGSQL.") {
                fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }

    /// PostgreSQL refuses to start while the pid in an old `postmaster.pid` exists, though it may
    /// by now be another program's (usual in containers, where pids are few).
    fn disown_stale_file(&self) -> Result<(), Error> {
        let cluster = self.directory.cluster();
        match PostmasterFile::read(&cluster) {
            Some(file) if process::exists(file.pid) => {
                tracing::debug!(pid = file.pid, "postmaster.pid names another program's process");
                PostmasterFile::replace_pid(&cluster, std::process::id())
                    .map_err(Error::io("write", cluster.join("postmaster.pid")))
            }
            _ => Ok(()),
        }
    }
}
