//! A private server: started, shared or adopted, and stopped by its owner.

use std::{
    fmt,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use crate::{
    account::Account,
    binaries::{self, Binaries},
    data_directory::DataDirectory,
    error::Error,
    initialise::{SUPERUSER, initialise, remove_abandoned},
    launch::accepts,
    process::{self, PostmasterFile},
};

pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What server to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the data, the log and the password are kept; created if missing.
    pub data_dir: PathBuf,
    /// PostgreSQL settings by name, as for its `-c`; of two equal names the later counts. They
    /// apply when a server is started, not when a running one is shared or adopted.
    pub settings: Vec<(String, String)>,
    /// How long a start may take before it fails. Recovery after a crash of a big database is
    /// part of it.
    pub start_timeout: Duration,
}

impl Options {
    /// 200 connections, 5 minutes to start.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            settings: vec![("max_connections".to_owned(), "200".to_owned())],
            start_timeout: Duration::from_mins(5),
        }
    }
}

/// A running private server. Dropping the owner's stops the server; dropping a sharer's does not.
pub struct LocalPostgres {
    directory: DataDirectory,
    port: u16,
    password: String,
    name: String,
    owner: Option<Owner>,
}

impl LocalPostgres {
    /// Starts the server of `options.data_dir`, or shares the one that another living process runs
    /// there, or becomes the owner of one whose owner was killed. Returns when it is ready.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::NotOwner`].
    pub fn start(options: &Options) -> Result<Self, Error> {
        let directory = DataDirectory::open(&options.data_dir)?;
        let lock = directory.open_lock()?;
        let started = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Self::own(directory, lock, options),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => {
                    return Err(Error::Io { action: "lock", path: directory.lock(), source });
                }
            }
            // The holder may be about to start its server, or about to end: then the lock is ours.
            if let Some(shared) = Self::share(&directory)? {
                return Ok(shared);
            }
            if started.elapsed() >= options.start_timeout {
                let waited = options.start_timeout;
                return Err(Error::Held { lock: directory.lock(), waited });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn own(directory: DataDirectory, lock: File, options: &Options) -> Result<Self, Error> {
        let account = Account::choose(&directory)?;
        let binaries = matching_binaries(&directory)?;
        if let Some(account) = &account {
            directory.admit(account)?;
            account.check_reach(directory.root(), &binaries)?;
        }
        remove_abandoned(&directory);
        if directory.cluster_version().is_none() {
            initialise(&directory, &binaries, account.as_ref())?;
            tracing::info!(data_dir = %directory.root().display(), "database cluster initialised");
        }
        let password = directory.read_password()?;
        let name = directory.cluster_name()?;
        let cluster = Cluster {
            directory: directory.clone(),
            binaries,
            account,
            settings: options.settings.clone(),
            start_timeout: options.start_timeout,
            name: name.clone(),
        };
        let (postmaster, port) = match cluster.take_over()? {
            Some(found) => (Postmaster::Adopted(found.pid), found.port),
            None => {
                let launched = cluster.launch(None)?;
                (Postmaster::Child(launched.child), launched.port)
            }
        };
        let adopted = matches!(postmaster, Postmaster::Adopted(_));
        let data_dir = directory.root().display();
        tracing::info!(%data_dir, port, adopted, "private PostgreSQL server is ready");
        let owner = Some(Owner { cluster, postmaster: Some(postmaster), _lock: lock });
        Ok(Self { directory, port, password, name, owner })
    }

    fn share(directory: &DataDirectory) -> Result<Option<Self>, Error> {
        let Some(file) = PostmasterFile::read(&directory.cluster()) else { return Ok(None) };
        let name = directory.cluster_name()?;
        let ready = file.ready && process::belongs(file.pid, &name);
        let Some(port) = file.port.filter(|port| ready && accepts(*port)) else { return Ok(None) };
        let password = directory.read_password()?;
        Ok(Some(Self { directory: directory.clone(), port, password, name, owner: None }))
    }

    /// The URL of a database of this server, with the password of its superuser in it: over its Unix
    /// socket if it has one. A new server has the database `postgres` only.
    pub fn url(&self, database: &str) -> String {
        let url = self.tcp_url(database);
        match PostmasterFile::read(&self.directory.cluster()).and_then(|file| file.sockets) {
            Some(sockets) => format!("{url}&host={sockets}"),
            None => url,
        }
    }

    /// [`url`](Self::url), but over TCP: for what stands between, or is on the way.
    pub fn tcp_url(&self, database: &str) -> String {
        let (password, port) = (&self.password, self.port);
        format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether this process started or adopted the server, so that it ends with it.
    pub fn is_owner(&self) -> bool {
        self.owner.is_some()
    }

    /// The pid of the server's first process (the postmaster), if it runs.
    pub fn pid(&self) -> Option<u32> {
        let file = PostmasterFile::read(&self.directory.cluster())?;
        process::belongs(file.pid, &self.name).then_some(file.pid.unsigned_abs())
    }

    /// The data directory, as an absolute path without symbolic links.
    pub fn data_dir(&self) -> &Path {
        self.directory.root()
    }

    /// Stops the server and waits until it has ended. Open transactions are rolled back. Does
    /// nothing to a server that belongs to another process. Dropping does the same, silently.
    ///
    /// # Errors
    /// [`Error::Unstoppable`], or [`Error::Io`] if the process list can not be read.
    pub fn stop(mut self) -> Result<(), Error> {
        self.shut_down()
    }

    /// Ends the server as a crash would: SIGKILL to every process of it. For fault tests; follow
    /// it with [`restart`](Self::restart).
    ///
    /// # Errors
    /// [`Error::NotOwner`], [`Error::Unstoppable`], or [`Error::Io`] if the process list can not
    /// be read.
    pub fn kill(&mut self) -> Result<(), Error> {
        let owner = self.owned()?;
        match owner.postmaster.take() {
            Some(postmaster) => owner.cluster.kill(postmaster),
            None => Ok(()),
        }
    }

    /// Starts the server again, on the same port with the same password; stops it first if it
    /// runs. Returns when it is ready.
    ///
    /// # Errors
    /// [`Error::NotOwner`], [`Error::Start`], [`Error::Unstoppable`], [`Error::Io`].
    pub fn restart(&mut self) -> Result<(), Error> {
        self.shut_down()?;
        let port = self.port;
        let owner = self.owned()?;
        // After a crash of the server alone, some of its processes may still be there.
        owner.cluster.take_over()?;
        owner.postmaster = Some(Postmaster::Child(owner.cluster.launch(Some(port))?.child));
        Ok(())
    }

    fn owned(&mut self) -> Result<&mut Owner, Error> {
        let data_dir = self.directory.root();
        self.owner.as_mut().ok_or_else(|| Error::NotOwner { data_dir: data_dir.to_owned() })
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        let Some(owner) = &mut self.owner else { return Ok(()) };
        match owner.postmaster.take() {
            Some(postmaster) => owner.cluster.stop(postmaster),
            None => Ok(()),
        }
    }
}

impl Drop for LocalPostgres {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::debug!(%error, "private PostgreSQL server not stopped");
        }
    }
}

impl fmt::Debug for LocalPostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPostgres")
            .field("data_dir", &self.data_dir())
            .field("port", &self.port)
            .field("is_owner", &self.is_owner())
            .finish_non_exhaustive()
    }
}

struct Owner {
    cluster: Cluster,
    /// `None` after it was killed or stopped.
    postmaster: Option<Postmaster>,
    /// Held until the server has stopped: whoever gets the lock next finds the data at rest.
    _lock: File,
}

/// The first process of a server.
pub(crate) enum Postmaster {
    Child(Child),
    Adopted(i32),
}

impl Postmaster {
    pub(crate) fn pid(&self) -> i32 {
        match self {
            Self::Child(child) => child.id().cast_signed(),
            Self::Adopted(pid) => *pid,
        }
    }
}

/// All that is needed to run the server of one data directory.
pub(crate) struct Cluster {
    pub(crate) directory: DataDirectory,
    pub(crate) binaries: Binaries,
    pub(crate) account: Option<Account>,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) start_timeout: Duration,
    /// Shown in the process list by each of its processes.
    pub(crate) name: String,
}

/// The newest binaries that can read the data: a cluster belongs to one major version.
fn matching_binaries(directory: &DataDirectory) -> Result<Binaries, Error> {
    let installed = binaries::installed()?;
    let Some(major) = directory.cluster_version() else {
        return installed.into_iter().next().ok_or(Error::BinariesNotFound);
    };
    let matching = installed.into_iter().find(|found| found.major.to_string() == major);
    let data_dir = directory.root().to_owned();
    matching.ok_or(Error::OtherVersion { data_dir, major })
}
