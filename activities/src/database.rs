//! A store's database: its connections, the one way to begin a transaction, and what its errors mean.
//!
//! A connection is used again only after work that ended well. Whatever is cut off in the middle - a
//! caller that went away, a deadline, a broken network - closes it instead: in a transaction that was left
//! open, the next one's acknowledged writes would be lost.

use std::future::Future;
use std::time::Duration;

use engine::Trouble;
use engine::store::PLANNED_BY_KEY;
use engine::store::connections::{Connections, Lease};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::QueryAs;
use sqlx::{FromRow, PgConnection, Postgres};

use crate::effect::EffectSql;

/// The code of a statement that will not do better when it is tried again.
pub const REFUSED: &str = "database_refused";
/// How long a statement may run before the server ends it.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait for a server's answer: longer than it lets a statement run, so that this ends only
/// what has no server any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long to wait for what somebody asks who can ask another node instead: a few rows by their keys,
/// which a server that is well finds long before it would end the statement.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// What a scan of whole tables may take instead of [`STATEMENT_TIMEOUT`], and how it is planned.
const SCAN: &str = "set local statement_timeout = '10min'; \
                    set local plan_cache_mode = force_custom_plan; \
                    set local enable_seqscan = on; set local enable_hashjoin = on; \
                    set local enable_mergejoin = on";
/// One store's database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    connections: Connections,
    /// As an operator reads it: "inventory database".
    pub(crate) name: &'static str,
    pub(crate) effects: &'static EffectSql,
}

/// Why a store did not do what it was asked, shaped by who must act.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No connection: nothing was sent.
    #[error("the {database} can not be reached")]
    Unreachable {
        /// Which one.
        database: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The connection was lost in the middle: what was sent may have happened.
    #[error("the connection to the {database} was lost")]
    Interrupted {
        /// Which one.
        database: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The server gave up for now (a lock, a deadlock, a limit): nothing happened, try again.
    #[error("the {database} is busy")]
    Busy {
        /// Which one.
        database: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The server refused the statement: a bug here, or a database that is not set up. Nothing
    /// happened.
    #[error("the {database} refused a statement")]
    Refused {
        /// Which one.
        database: &'static str,
        /// Why.
        source: sqlx::Error,
    },
}

impl Database {
    /// Keeps at most `connections_max`. It connects when it is first used, so that a program can start
    /// while its database does not answer.
    pub(crate) fn connect(
        url: &str,
        connections_max: u32,
        name: &'static str,
        effects: &'static EffectSql,
    ) -> Result<Self, DatabaseError> {
        let idle_max = match engine::planted!(KeepTimedOutConnection) {
            true => Duration::ZERO,
            false => ANSWER_TIMEOUT,
        };
        let options = engine::store::connect_options(url)
            .map_err(|source| DatabaseError::Refused { database: name, source })?
            .options([
                ("statement_timeout", millis(STATEMENT_TIMEOUT)),
                ("lock_timeout", millis(STATEMENT_TIMEOUT)),
                ("idle_in_transaction_session_timeout", millis(idle_max)),
            ])
            .options(PLANNED_BY_KEY);
        let connections = Connections::new(options, connections_max);
        Ok(Self { connections, name, effects })
    }

    /// Waits until all connections are given back and closes them.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// A connection that is closed unless [`Lease::give_back`] says that all went well.
    async fn lease(&self) -> Result<Lease, DatabaseError> {
        let leased = self.connections.lease().await;
        leased.map_err(|source| DatabaseError::Unreachable { database: self.name, source })
    }

    /// The only way to begin a transaction.
    pub(crate) async fn begin(&self) -> Result<Transaction, DatabaseError> {
        let mut lease = self.lease().await?;
        let begun = within(ANSWER_TIMEOUT, sqlx::raw_sql("begin").execute(&mut *lease));
        self.check(begun.await)?;
        Ok(Transaction { lease, database: self.clone() })
    }

    /// All rows of one statement.
    pub(crate) async fn fetch_all<T>(
        &self,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, DatabaseError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.fetch_all_within(ANSWER_TIMEOUT, query).await
    }

    /// All rows of one statement that finds a few by their keys, soon or not at all.
    pub(crate) async fn look_up<T>(
        &self,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, DatabaseError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.fetch_all_within(LOOK_UP_TIMEOUT, query).await
    }

    async fn fetch_all_within<T>(
        &self,
        limit: Duration,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, DatabaseError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut lease = self.lease().await?;
        let rows = self.check(within(limit, query.fetch_all(&mut *lease)).await)?;
        lease.give_back();
        Ok(rows)
    }

    /// All rows of one statement that reads whole tables, and so may take long.
    pub(crate) async fn scan<T>(
        &self,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, DatabaseError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut transaction = self.begin().await?;
        transaction.run(async |connection| sqlx::raw_sql(SCAN).execute(connection).await).await?;
        let rows = query.fetch_all(&mut *transaction.lease).await;
        let rows = self.check(rows)?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// Says what an error of a statement means here.
    fn check<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, DatabaseError> {
        result.map_err(|source| {
            let error = classify(self.name, source);
            if matches!(error, DatabaseError::Interrupted { .. }) {
                self.connections.broke();
            }
            error
        })
    }
}

/// An open transaction. Dropped before [`Transaction::commit`], it takes its connection with it and
/// the server rolls back.
pub(crate) struct Transaction {
    lease: Lease,
    database: Database,
}

impl Transaction {
    /// Runs a statement, or two. A server that does not answer in time is taken for gone.
    pub(crate) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DatabaseError> {
        let done = within(ANSWER_TIMEOUT, statement(&mut self.lease)).await;
        self.database.check(done)
    }

    /// Makes it last.
    pub(crate) async fn commit(mut self) -> Result<(), DatabaseError> {
        self.run(async |connection| sqlx::raw_sql("commit").execute(connection).await).await?;
        self.lease.give_back();
        Ok(())
    }
}

impl DatabaseError {
    /// What an attempt reports to the engine.
    pub fn trouble(&self) -> Trouble {
        let (code, source, executed) = match self {
            Self::Unreachable { source, .. } => ("database_unavailable", source, false),
            Self::Interrupted { source, .. } => ("database_unavailable", source, true),
            Self::Busy { source, .. } => ("database_busy", source, false),
            Self::Refused { source, .. } => (REFUSED, source, false),
        };
        let trouble = Trouble::new(code, format!("{self}: {source}"));
        if executed { trouble } else { trouble.not_executed() }
    }
}

/// The classes of SQLSTATE (PostgreSQL, appendix A) that pass by themselves.
fn classify(database: &'static str, source: sqlx::Error) -> DatabaseError {
    let state = match &source {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => return DatabaseError::Interrupted { database, source },
        _ => return DatabaseError::Refused { database, source },
    };
    match state.as_str() {
        // Serialization, deadlock, lock not available, statement timeout.
        "40001" | "40P01" | "55P03" | "57014" => DatabaseError::Busy { database, source },
        // Out of memory, disk, connections.
        state if state.starts_with("53") => DatabaseError::Busy { database, source },
        // The server is going down or coming up; the connection broke; a transaction that waited
        // too long for its client was ended.
        "57P01" | "57P02" | "57P03" | "25P03" => DatabaseError::Interrupted { database, source },
        state if state.starts_with("08") => DatabaseError::Interrupted { database, source },
        _ => DatabaseError::Refused { database, source },
    }
}

/// `work`, or the error of a connection that does not answer.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(elapsed) => {
            let kind = std::io::ErrorKind::TimedOut;
            Err(sqlx::Error::Io(std::io::Error::new(kind, elapsed)))
        }
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
