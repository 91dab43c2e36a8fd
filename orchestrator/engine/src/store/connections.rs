//! The connections to one database: a few, kept open, each lent to one caller at a time.
//!
//! Not sqlx's pool, because that asks the server for a sign of life whenever a connection comes back: a
//! round trip more for each transaction, of a quarter of all. Here a connection comes back only after work
//! that ended well, and is asked for a sign of life only after a pause.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a connection may take to be made or to become free.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// One that was not used for so long is asked for a sign of life first: its server may be gone.
const UNUSED_MAX: Duration = Duration::from_secs(5);
/// How long to wait for the sign of life.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// One that is older is replaced: what a session keeps in the server's memory only grows.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: PgConnectOptions,
    connections_max: u32,
    /// One place for each connection that may be in use.
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The one that was used last comes last.
    idle: Vec<Idle>,
    /// When one broke. They rarely break alone: those that are older are not used again, or each of them
    /// would cost somebody an attempt.
    broke_at: Option<Instant>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    made_at: Instant,
    used_at: Instant,
}

/// A connection that is closed when it is dropped, unless it was given back.
#[derive(Debug)]
pub struct Lease {
    /// None: given back.
    connection: Option<PgConnection>,
    made_at: Instant,
    home: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Connections {
    /// At most so many. They are made when they are needed.
    pub fn new(options: PgConnectOptions, connections_max: u32) -> Self {
        let places = Arc::new(Semaphore::new(connections_max as usize));
        Self(Arc::new(Shared { options, connections_max, places, state: Mutex::default() }))
    }

    /// A connection, within [`ACQUIRE_TIMEOUT`], or why there is none.
    pub async fn lease(&self) -> Result<Lease, sqlx::Error> {
        let deadline = Instant::now() + ACQUIRE_TIMEOUT;
        let place = timeout_at(deadline, self.0.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some(idle) = self.0.take() {
            if let Some((connection, made_at)) = alive(idle).await {
                return Ok(self.lent(connection, made_at, place));
            }
            self.broke();
        }
        self.make(place, deadline).await
    }

    /// A new connection. A server that takes none is not waited for: somebody may wait to be told. Made by
    /// a task of its own: when its caller goes away meanwhile, somebody else has it sooner.
    async fn make(
        &self,
        place: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<Lease, sqlx::Error> {
        let (answer, made) = oneshot::channel();
        let connections = self.clone();
        tokio::spawn(async move {
            let made_at = Instant::now();
            let connecting = PgConnection::connect_with(&connections.0.options);
            let connected = timeout_at(deadline, connecting).await;
            let connected = connected.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            let made = connected.map(|connection| connections.lent(connection, made_at, place));
            if let Err(Ok(lease)) = answer.send(made) {
                lease.give_back();
            }
        });
        // An error: the runtime ends.
        made.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Notes that a connection broke.
    pub fn broke(&self) {
        self.0.state().broke_at = Some(Instant::now());
    }

    /// Waits until all are given back and closes them. Nobody gets one any more.
    pub async fn close(&self) {
        // An error: they are closed already.
        let all = self.0.places.acquire_many(self.0.connections_max).await;
        self.0.places.close();
        drop(all);
        let idle = std::mem::take(&mut self.0.state().idle);
        for Idle { connection, .. } in idle {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "a connection was not closed");
            }
        }
    }

    fn lent(
        &self,
        connection: PgConnection,
        made_at: Instant,
        place: OwnedSemaphorePermit,
    ) -> Lease {
        Lease { connection: Some(connection), made_at, home: self.0.clone(), _place: place }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last, if it may be used again; those that may not are closed.
    fn take(&self) -> Option<Idle> {
        let mut state = self.state();
        let broke_at = state.broke_at;
        while let Some(idle) = state.idle.pop() {
            let outlived = broke_at.is_none_or(|at| idle.made_at > at);
            if outlived && idle.made_at.elapsed() < AGE_MAX
                || crate::planted!(KeepTimedOutConnection)
            {
                return Some(idle);
            }
        }
        None
    }
}

/// A connection whose server answers.
async fn alive(idle: Idle) -> Option<(PgConnection, Instant)> {
    let Idle { mut connection, made_at, used_at } = idle;
    let is_alive =
        crate::planted!(KeepTimedOutConnection) || answers(&mut connection, used_at).await;
    is_alive.then_some((connection, made_at))
}

/// Whether the server of a connection that was last used then still answers; only asked after a pause.
pub(crate) async fn answers(connection: &mut PgConnection, used_at: Instant) -> bool {
    used_at.elapsed() <= UNUSED_MAX
        || matches!(timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))
}

impl Lease {
    /// All answers were read: somebody else may use it.
    pub fn give_back(mut self) {
        self.put_back();
    }

    fn put_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            let idle = Idle { connection, made_at: self.made_at, used_at: Instant::now() };
            self.home.state().idle.push(idle);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if crate::planted!(KeepTimedOutConnection) {
            self.put_back();
        }
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it is given back once, by value")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is given back once, by value")
    }
}
