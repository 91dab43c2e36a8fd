//! The server's processes as others see them: `postmaster.pid` and the process list.

use std::{fs, io, path::Path, process::Command};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::error::Error;

/// `postmaster.pid`, which a server keeps while it runs.
/// Source of the lines: `src/include/utils/pidfile.h` of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostmasterFile {
    pub(crate) pid: i32,
    /// Absent while the server has not opened its port yet.
    pub(crate) port: Option<u16>,
    /// The directory of its Unix socket, if it has one.
    pub(crate) sockets: Option<String>,
    pub(crate) ready: bool,
}

impl PostmasterFile {
    /// `None` if there is no such file, or none that is fully written.
    pub(crate) fn read(cluster: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(cluster.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        // A pid of 0 or below would make a signal go to whole groups.
        let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?;
        let port = lines.nth(2).and_then(|line| line.trim().parse().ok());
        let sockets =
            lines.next().map(|line| line.trim().to_owned()).filter(|path| !path.is_empty());
        let status = lines.nth(2).unwrap_or_default();
        Some(Self { pid, port, sockets, ready: port.is_some() && status.trim() == "ready" })
    }

    /// Puts another pid into the file. PostgreSQL takes a file with its parent's pid for stale, and
    /// still checks the shared memory that the file names: deleting it would skip that check.
    pub(crate) fn replace_pid(cluster: &Path, pid: u32) -> io::Result<()> {
        let path = cluster.join("postmaster.pid");
        let text = fs::read_to_string(&path)?;
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
        fs::write(&path, format!("{pid}\n{rest}"))
    }
}

/// Whether the process is one of the named cluster. Not so for one that merely got the same pid,
/// nor for a dead one that nobody has waited for.
pub(crate) fn belongs(pid: i32, cluster_name: &str) -> bool {
    command_line(pid).is_some_and(|line| is_of_cluster(&line, cluster_name))
}

/// The pids of all processes of the named cluster. PostgreSQL's processes are not in one process
/// group (each server process has a session of its own), so they are found by name.
pub(crate) fn all(cluster_name: &str) -> Result<Vec<i32>, Error> {
    if has_proc() {
        let entries = fs::read_dir("/proc").map_err(Error::io("list", "/proc"))?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        return Ok(pids.filter(|pid| belongs(*pid, cluster_name)).collect());
    }
    let output = Command::new("ps")
        .args(["-axww", "-o", "pid=,command="])
        .output()
        .map_err(Error::io("run", "ps"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of_cluster = text.lines().filter_map(|line| {
        let (pid, command) = line.trim_start().split_once(' ')?;
        is_of_cluster(command.as_bytes(), cluster_name).then(|| pid.parse().ok()).flatten()
    });
    Ok(of_cluster.collect())
}

/// Whether a process has that pid, whatever it is.
pub(crate) fn exists(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// A process that is gone already is no error.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        tracing::debug!(pid, %signal, %error, "signal not delivered");
    }
}

fn has_proc() -> bool {
    Path::new("/proc/self/cmdline").exists()
}

fn command_line(pid: i32) -> Option<Vec<u8>> {
    if has_proc() {
        return fs::read(format!("/proc/{pid}/cmdline")).ok();
    }
    let pid = pid.to_string();
    Some(Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid]).output().ok()?.stdout)
}

/// The first process reads `…/postgres -D … -c cluster_name=<name> …`, all others
/// `postgres: <name>: checkpointer`.
fn is_of_cluster(command_line: &[u8], cluster_name: &str) -> bool {
    let text = String::from_utf8_lossy(command_line);
    let mut words = text.split(['\0', ' ']);
    let program = words.next().and_then(|path| path.rsplit('/').next());
    let mut named = words.map(|word| {
        let word = word.strip_suffix(':').unwrap_or(word);
        word.strip_prefix("cluster_name=").unwrap_or(word)
    });
    matches!(program, Some("postgres" | "postgres:")) && named.any(|word| word == cluster_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_server_is_told_from_a_starting_one() {
        let ready = "123\n/d/postgres\n1700000000\n15432\n\n127.0.0.1\n   5 6\nready   \n";
        let read = PostmasterFile::parse(ready);
        let (port, sockets) = (Some(15432), None);
        assert_eq!(read, Some(PostmasterFile { pid: 123, port, sockets, ready: true }));
        let with_socket =
            PostmasterFile::parse(&ready.replace("15432\n\n", "15432\n/d/postgres\n"));
        let with_socket = with_socket.unwrap();
        assert_eq!(
            (with_socket.sockets.as_deref(), with_socket.ready),
            (Some("/d/postgres"), true)
        );
        let starting = PostmasterFile::parse(&ready.replace("ready   ", "starting")).unwrap();
        assert!(!starting.ready);
        let early = PostmasterFile::parse("123\n/d/postgres\n1700000000\n").unwrap();
        assert_eq!((early.port, early.ready), (None, false));
    }

    #[test]
    fn a_file_without_a_sane_pid_is_not_believed() {
        for text in ["", "\n", "-1\n", "0\n", "1\n", "x\n"] {
            assert_eq!(PostmasterFile::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_processes_of_the_very_cluster_belong() {
        let cases: [(&[u8], bool); 7] = [
            (b"/usr/bin/postgres\0-D\0/d\0-c\0cluster_name=amends-1-2a\0", true),
            (b"postgres: amends-1-2a: checkpointer \0\0\0", true),
            (b"postgres: amends-1-2a: amends orders 127.0.0.1(4) idle", true),
            (b"postgres: amends-1-2ab: checkpointer", false),
            (b"/usr/bin/postgres\0-D\0/d\0-c\0cluster_name=amends-1-2\0", false),
            (b"grep\0cluster_name=amends-1-2a\0", false),
            (b"", false),
        ];
        for (line, belongs) in cases {
            let text = String::from_utf8_lossy(line);
            assert_eq!(is_of_cluster(line, "amends-1-2a"), belongs, "{text}");
        }
    }
}
