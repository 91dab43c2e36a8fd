//! Servers for tests: one that all tests of a process share, and ones of a test's own.
//!
//! Statics are not dropped, and test processes get killed. So a test server is watched by a small
//! shell process that waits for the end of a pipe whose other end the test process holds: when the
//! test process ends, however it ends, the shell stops the server and removes its data.

use std::{
    env, fs,
    io::PipeWriter,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use nix::unistd::{geteuid, getpid};
use uuid::Uuid;

use crate::server::{LocalPostgres, Options};

/// The server that all tests of this process share: the one `AMENDS_TEST_DATABASE_URL` points to,
/// else a private one, started by the first call and stopped when the process ends.
///
/// # Panics
/// If no server can be started; the message says why.
pub fn server() -> &'static TestServer {
    static SERVER: OnceLock<TestServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        match env::var("AMENDS_TEST_DATABASE_URL").ok().filter(|url| !url.is_empty()) {
            Some(url) => TestServer(Server::External { url }),
            None => TestServer::start(&[]),
        }
    })
}

/// A server for tests.
#[derive(Debug)]
pub struct TestServer(Server);

#[derive(Debug)]
enum Server {
    External {
        url: String,
    },
    /// In this order: the server stops before its watcher is told to remove the data.
    Private {
        postgres: Box<LocalPostgres>,
        _watcher: Watcher,
    },
}

impl TestServer {
    /// A private server of the test's own, with extra PostgreSQL settings: for tests that kill or
    /// restart it. It stops, and its data goes, when this is dropped or the process ends.
    ///
    /// # Panics
    /// If it can not be started; the message says why.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let directory = new_directory();
        let watcher = Watcher::start(&directory);
        let mut options = Options::new(&directory);
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        options.settings.extend(settings);
        match LocalPostgres::start(&options) {
            Ok(postgres) => {
                Self(Server::Private { postgres: Box::new(postgres), _watcher: watcher })
            }
            Err(error) => panic!("no PostgreSQL server for the tests: {error}"),
        }
    }

    /// The URL of a database of this server. It always has the database `postgres`.
    pub fn url(&self, database: &str) -> String {
        match &self.0 {
            Server::External { url } => with_database(url, database),
            Server::Private { postgres, .. } => postgres.tcp_url(database),
        }
    }

    /// The server itself, to kill and restart it.
    ///
    /// # Panics
    /// If it is the one `AMENDS_TEST_DATABASE_URL` points to.
    pub fn postgres(&mut self) -> &mut LocalPostgres {
        match &mut self.0 {
            Server::External { .. } => panic!("not a private server"),
            Server::Private { postgres, .. } => postgres,
        }
    }
}

fn with_database(url: &str, database: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, ""), |(url, query)| (url, query));
    let host = address.find("://").map_or(0, |at| at + "://".len());
    let end = address[host..].find('/').map_or(address.len(), |at| host + at);
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}/{database}{mark}{query}", &address[..end])
}

fn new_directory() -> PathBuf {
    let name = format!("amends-test-{}-{}-{}", geteuid(), getpid(), Uuid::new_v4().as_simple());
    let directory = env::temp_dir().join(name);
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Ok(()) => directory,
        Err(error) => panic!("can not create {}: {error}", directory.display()),
    }
}

/// `$1` is the data directory. A pid is believed only if the process has that directory among its
/// arguments; sixty seconds are what a shutdown may take.
const WATCH: &str = r#"
read -r _
file=$1/postgres/postmaster.pid
is_server() {
    if [ -e /proc/self/cmdline ]; then grep -qF "$1" "/proc/$pid/cmdline"
    else ps -ww -o command= -p "$pid" | grep -qF "$1"; fi
}
if pid=$(head -n 1 "$file") && is_server "$1/postgres"; then
    kill -INT "$pid"
    n=0
    while [ -e "$file" ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done
fi
n=0
while [ -e "$1" ] && [ $n -lt 50 ]; do rm -rf -- "$1"; sleep 0.1; n=$((n + 1)); done
"#;

/// Cleans up after a test server once the pipe is closed.
#[derive(Debug)]
struct Watcher {
    pipe: Option<PipeWriter>,
    shell: Child,
}

impl Watcher {
    fn start(directory: &Path) -> Self {
        let spawned = std::io::pipe().and_then(|(reader, writer)| {
            let shell = Command::new("/bin/sh")
                .args(["-c", WATCH, "sh"])
                .arg(directory)
                .current_dir("/")
                .stdin(reader)
                // Not ours: whoever reads the tests' output would wait for the watcher's end.
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()?;
            Ok(Self { pipe: Some(writer), shell })
        });
        match spawned {
            Ok(watcher) => watcher,
            Err(error) => panic!("can not watch over the test server: {error}"),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn the_database_of_a_url_is_replaced_and_the_rest_stays() {
        for (url, expected) in [
            ("postgres://u:p@h:5432/a?sslmode=disable", "postgres://u:p@h:5432/b?sslmode=disable"),
            ("postgres://u:p@h/a", "postgres://u:p@h/b"),
            ("postgres://u:p@h", "postgres://u:p@h/b"),
            ("postgres://h?host=/tmp", "postgres://h/b?host=/tmp"),
        ] {
            assert_eq!(with_database(url, "b"), expected);
        }
    }
}
