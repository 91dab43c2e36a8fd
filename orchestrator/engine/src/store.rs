//! The only SQL on schema `saga`: one verb a file.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};

use crate::error::{StoreError, is_broken, is_passing};
use crate::gather::Gather;
use crate::id::SagaId;
use connections::{ACQUIRE_TIMEOUT, Connections};
use query::Loaded;

pub mod connections;
pub(crate) mod inbox;
pub(crate) mod lease;
mod list;
pub(crate) mod load;
mod nodes;
pub(crate) mod operate;
pub(crate) mod partitions;
pub(crate) mod query;
pub(crate) mod record;
pub(crate) mod start;
mod text;
mod verify;

#[cfg(test)]
mod operator_tests;
#[cfg(test)]
mod statement_tests;

/// The few connections behind the API: views, lists, starts on other nodes' shards, messages. The
/// lanes and the lease have connections of their own, which its callers can not starve.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: Pool,
    /// Those of operators' lists, which may read much: a customer who looks at a saga needs none of them.
    pages: Pool,
    options: PgConnectOptions,
    /// Sagas that somebody looks at.
    looks: Gather<SagaId, Result<Option<Loaded>, StoreError>, StoreError>,
}

/// The connections of a store.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Connections);

/// How long one statement may run: a page of a verification, a lane's largest commit.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long such a statement's answer may take with everything: longer than the server lets it run, so
/// that this ends only what has no server any more.
const SCAN_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a page of a list may be read: somebody waits for it, and is told what reads less.
const PAGE_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same as [`SCAN_TIMEOUT`] of a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(6);
/// The same of a statement that writes or reads a few rows by their keys.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// The same of what somebody asks who can ask another node instead.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// The first eight digits of the name of the log's file.
const TIMELINE: &str = "\
select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer";

/// What a server says to that which has no such thing, or keeps it to itself.
const NO_TIMELINE: [&str; 3] = ["42883", "0A000", "42501"];

/// A line of the server's history: another one since a standby took its place or a backup was restored, and
/// what was written last may be missing there. A server that has no such thing always says the same.
pub(crate) type Timeline = i32;

/// Of the connections that write for all sagas: they wait as long as one whose row somebody else holds.
const LOCK_TIMEOUT: &str = "2000";

/// How many connections the API shares.
pub(crate) const POOL_CONNECTIONS_MAX: u32 = 8;
/// How many connections operators' lists share.
pub(crate) const PAGE_CONNECTIONS_MAX: u32 = 2;

/// The options of a database URL, with a name for the server's list of sessions. A server that is
/// not on this machine is spoken to over TLS and must prove who it is, unless the URL says
/// otherwise.
pub fn connect_options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?
        .application_name("amends")
        .log_statements(tracing::log::LevelFilter::Off);
    let host = options.get_host();
    let is_here =
        matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]") || host.starts_with('/');
    let is_said = url.contains("sslmode=") || url.contains("ssl-mode=");
    Ok(if is_here || is_said { options } else { options.ssl_mode(PgSslMode::VerifyFull) })
}

/// Session settings for statements that find their rows by a key: planned once, whatever the values,
/// and with costs that count nothing but rows. A plan is often made while a table is small, when
/// reading all of it looks cheaper than looking up ten keys, and then kept while it grows.
pub const PLANNED_BY_KEY: [(&str, &str); 10] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("seq_page_cost", "0"),
    ("random_page_cost", "0"),
    ("cpu_tuple_cost", "1"),
    ("cpu_index_tuple_cost", "1"),
    ("cpu_operator_cost", "0.001"),
];

impl Store {
    /// Connects to the `amends` database.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = connect_options(url)?
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
                ("lock_timeout", "5000".to_owned()),
                ("idle_in_transaction_session_timeout", "5000".to_owned()),
            ])
            .options(PLANNED_BY_KEY);
        let pool = Pool(Connections::new(options.clone(), POOL_CONNECTIONS_MAX));
        let timeout = PAGE_STATEMENT_TIMEOUT.as_millis().to_string();
        let page_options = options.clone().options([("statement_timeout", timeout)]);
        let pages = Pool(Connections::new(page_options, PAGE_CONNECTIONS_MAX));
        // Whether there is a server is told here, not to the first who asks it for something.
        pool.look_up(async |connection| connection.ping().await).await?;
        let looks = Gather::new(query::LOOKS_MAX, {
            let pool = pool.clone();
            move |ids| query::load(pool.clone(), ids)
        });
        Ok(Self { pool, pages, options, looks })
    }

    /// A statement that writes or reads a few rows by their keys. See [`Pool::within`].
    pub(crate) async fn with<T>(
        &self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        self.pool.within(ANSWER_TIMEOUT, statement).await
    }

    /// A statement that may read much.
    pub(crate) async fn scan<T>(
        &self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        self.pool.within(SCAN_TIMEOUT, statement).await
    }

    /// A page of a list.
    pub(crate) async fn page<T>(
        &self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        self.pages.within(PAGE_TIMEOUT, statement).await
    }

    /// See [`Pool::look_up`].
    pub(crate) async fn look_up<T>(
        &self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        self.pool.look_up(statement).await
    }

    /// Notes that a connection to the server was lost: those of the pool, which are of the same time, are
    /// not used again.
    pub(crate) fn broke(&self) {
        self.pool.0.broke();
        self.pages.0.broke();
    }

    /// A connection of one's own, outside the pool.
    pub(crate) async fn connection(&self) -> Result<PgConnection, StoreError> {
        let connecting = PgConnection::connect_with(&self.options);
        match tokio::time::timeout(ACQUIRE_TIMEOUT, connecting).await {
            Ok(connection) => Ok(connection?),
            Err(_) => Err(StoreError::unavailable(sqlx::Error::PoolTimedOut)),
        }
    }

    /// A connection of one's own for what must not wait long, and the line of history that it writes to.
    pub(crate) async fn writing(&self) -> Result<(PgConnection, Timeline), StoreError> {
        let options = self.options.clone().options([("lock_timeout", LOCK_TIMEOUT)]);
        let opening = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let timeline = timeline(&mut connection).await?;
            Ok((connection, timeline))
        };
        let opened = tokio::time::timeout(ACQUIRE_TIMEOUT, opening).await;
        opened.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(StoreError::unavailable)
    }

    /// A listener with a connection of its own, which says so when that is lost.
    pub(crate) async fn listener(&self) -> sqlx::Result<PgListener> {
        let only = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
        let only = only.connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&only).await?;
        listener.eager_reconnect(false);
        Ok(listener)
    }
}

async fn timeline(connection: &mut PgConnection) -> sqlx::Result<Timeline> {
    let asked = sqlx::query_scalar(TIMELINE).fetch_one(connection).await;
    asked.or_else(|error| match error.as_database_error().and_then(|error| error.code()) {
        Some(code) if NO_TIMELINE.contains(&&*code) => Ok(0),
        _ => Err(error),
    })
}

impl Pool {
    /// A statement on a few rows by their keys, answered soon or not at all.
    pub(crate) async fn look_up<T>(
        &self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        self.within(LOOK_UP_TIMEOUT, statement).await
    }

    /// Runs a statement on a connection of the pool. One that fails or is not answered within `limit`,
    /// or whose caller goes away in the middle, costs the connection.
    async fn within<T>(
        &self,
        limit: Duration,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        let mut lease = self.0.lease().await?;
        let answer = tokio::time::timeout(limit, statement(&mut lease)).await;
        let answer = answer.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        match &answer {
            Err(error) if is_broken(error) => self.0.broke(),
            Err(error) if is_passing(error) => {}
            // The server answered, be it that the statement is wrong.
            _ => lease.give_back(),
        }
        Ok(answer?)
    }
}
