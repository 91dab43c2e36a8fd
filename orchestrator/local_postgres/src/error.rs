//! What can go wrong with a private server, worded for the person at the terminal.

use std::{io, path::PathBuf, time::Duration};

/// The oldest PostgreSQL this crate runs.
pub(crate) const MAJOR_VERSION_MIN: u32 = 14;

/// Why there is no private server. `Display` says what to do; the source, if any, says what the
/// system answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No installation was found in any of the usual places.
    #[error(
        "no PostgreSQL server is installed (looked in PATH, /usr/lib/postgresql/*/bin, \
         /usr/pgsql-*/bin and Homebrew's directories). Install version {MAJOR_VERSION_MIN} or newer:
  Debian, Ubuntu   sudo apt-get install postgresql
  Fedora, RHEL     sudo dnf install postgresql-server
  macOS            brew install postgresql@17
or set AMENDS_PG_BIN to the bin directory of an installation elsewhere. Without an installation, \
         run a server in Docker and say where its databases are:
  docker run -d --name amends-postgres -e POSTGRES_PASSWORD=amends -p 127.0.0.1:5432:5432 postgres:17
  for name in amends inventory orders; do docker exec amends-postgres createdb -U postgres $name; done
  export AMENDS_DATABASE_URL=postgres://postgres:amends@127.0.0.1:5432/amends
  export INVENTORY_DATABASE_URL=postgres://postgres:amends@127.0.0.1:5432/inventory
  export ORDERS_DATABASE_URL=postgres://postgres:amends@127.0.0.1:5432/orders"
    )]
    BinariesNotFound,

    /// `AMENDS_PG_BIN` is set to something that is not a bin directory of PostgreSQL.
    #[error(
        "AMENDS_PG_BIN is {}, where there is no runnable `{missing}`; it must be the bin directory \
         of a PostgreSQL {MAJOR_VERSION_MIN} or newer, such as /usr/lib/postgresql/17/bin (or leave it unset)",
        directory.display()
    )]
    BinariesVariable { directory: PathBuf, missing: &'static str },

    /// Only installations older than the oldest supported one were found.
    #[error(
        "PostgreSQL {MAJOR_VERSION_MIN} or newer is needed, but the one in {} is version {major}; \
         install a newer one or set AMENDS_PG_BIN to its bin directory",
        directory.display()
    )]
    TooOld { directory: PathBuf, major: u32 },

    /// The data was written by a major version that is not installed (any more).
    #[error(
        "the data in {} was written by PostgreSQL {major}, which is not installed: install that \
         version, or set AMENDS_PG_BIN to its bin directory, or use another --data-dir",
        data_dir.display()
    )]
    OtherVersion { data_dir: PathBuf, major: String },

    /// PostgreSQL refuses to run as root, and there is nobody else to run it as.
    #[error(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as; \
         start this program as another user"
    )]
    NoServerUser,

    /// The user the server runs as can not get to its files.
    #[error(
        "running as root, so PostgreSQL runs as user `{user}`, who may not enter the directory {}; \
         choose a directory that user can reach with --data-dir, such as /var/lib/amends{}",
        directory.display(),
        if *binaries { " (and binaries it can reach with AMENDS_PG_BIN)" } else { "" }
    )]
    Unreachable { directory: PathBuf, user: String, binaries: bool },

    /// The data directory can not be created or written.
    #[error(
        "can not use {} as data directory; choose another with --data-dir", data_dir.display()
    )]
    DataDir { data_dir: PathBuf, source: io::Error },

    /// There is no place that follows from the environment.
    #[error("HOME is not set, so there is no default data directory; choose one with --data-dir")]
    NoHome,

    /// `initdb` failed; its own words.
    #[error("initdb could not create a database cluster in {}:\n{output}", data_dir.display())]
    Initialise { data_dir: PathBuf, output: String },

    /// The data is there, the file with its password is not.
    #[error(
        "{} is missing, without which the server can not be used: restore it, or move the data \
         directory away to begin with an empty one",
        path.display()
    )]
    PasswordMissing { path: PathBuf },

    /// The server ended before it was ready, or was not ready in time; the end of its log.
    #[error("PostgreSQL {how}; the end of {}:\n{log_tail}", log.display())]
    Start { how: String, log: PathBuf, log_tail: String },

    /// Another process holds the data directory, and no server became ready in it.
    #[error(
        "another process holds {}, but no server was ready there within {} s",
        lock.display(),
        waited.as_secs()
    )]
    Held { lock: PathBuf, waited: Duration },

    /// Processes of the server did not end, not even on SIGKILL.
    #[error("processes of the PostgreSQL server did not end: {pids:?}")]
    Unstoppable { pids: Vec<i32> },

    /// Only the process that owns the server may stop, kill or restart it.
    #[error("the server in {} belongs to another process", data_dir.display())]
    NotOwner { data_dir: PathBuf },

    /// Something the system refused.
    #[error("can not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
