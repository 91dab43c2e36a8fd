//! Makes a database what this program needs, and says when it is not. Each of the platform's three
//! databases has one folder of migrations and one history table, in the schema they make.

mod examine;
mod words;

use std::time::Duration;

use sqlx::migrate::{MigrateError as SqlxMigrateError, Migrator};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::time::Instant;

use crate::store::connect_options;

pub use examine::Needs;

/// The migrations of one database, with their history in the schema they make.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The schema's name.
    pub name: &'static str,
    /// As an operator reads it: "inventory database".
    pub database: &'static str,
    /// Its migrations, embedded in the program.
    pub migrator: fn() -> Migrator,
}

/// The engine's own schema.
pub const SAGA: Schema = Schema {
    name: "saga",
    database: "amends database",
    migrator: || sqlx::migrate!("../../migrations/amends"),
};

/// Whether a server that may lose what it acknowledged will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It will not.
    Required,
    /// It will: for a trial whose data is worth nothing.
    Waived,
}

/// Why a database can not be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// No connection, or one that broke.
    Database {
        /// Which one.
        database: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// A migration that failed; nothing of it stayed.
    Migration {
        /// Which one.
        database: &'static str,
        /// Why.
        source: SqlxMigrateError,
    },
    /// Somebody else has been migrating for too long.
    Locked {
        /// Which one.
        database: &'static str,
        /// How long this one waited.
        waited_s: u64,
    },
    /// Migrations are missing.
    NotMigrated {
        /// Which one.
        database: &'static str,
        /// The first one that is missing.
        missing: i64,
    },
    /// It has migrations that this program does not know.
    Newer {
        /// Which one.
        database: &'static str,
        /// The migration.
        unknown: i64,
    },
    /// It has other migrations under the same numbers.
    Different {
        /// Which one.
        database: &'static str,
        /// The migration.
        different: i64,
    },
    /// The server is older than what this program is tried with.
    TooOld {
        /// Which one.
        database: &'static str,
        /// Its version.
        version: String,
    },
    /// A standby, or set to read only.
    ReadOnly {
        /// Which one.
        database: &'static str,
        /// Whether it follows another server.
        standby: bool,
    },
    /// The server may lose what it acknowledged.
    Unsafe {
        /// Which one.
        database: &'static str,
        /// What is off.
        settings: Vec<String>,
    },
    /// Its clock and this machine's are too far apart.
    Skewed {
        /// Which one.
        database: &'static str,
        /// How far it is ahead of this machine, at the least; negative: behind.
        ahead: time::Duration,
    },
}

/// How long to wait for another program that migrates the same database.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// How often to look whether it is done.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

const LOCK: &str = "select pg_try_advisory_lock(hashtextextended('amends migrate ' || $1, 0))";
const HAS_HISTORY: &str = "select to_regclass($1 || '.migration') is not null";

impl Schema {
    /// Brings the database at `url` up to date. Any number of programs may do so at once.
    pub async fn migrate(&self, url: &str) -> Result<(), SchemaError> {
        let mut connection = self.connect(url).await?;
        self.lock(&mut connection).await?;
        let mut migrator = (self.migrator)();
        migrator.create_schema(self.name);
        migrator.dangerous_set_table_name(self.history());
        // sqlx's own lock blocks inside a transaction's reach (it deadlocks with `create index
        // concurrently` in another program) and outlives an error; ours ends with the connection.
        migrator.set_locking(false);
        let migrated = migrator.run_direct(None, &mut connection, false).await;
        // Whatever happened: the lock goes with the connection.
        let closed = connection.close().await;
        migrated.map_err(|source| self.explain(source))?;
        self.ok(closed)
    }

    /// Whether a node can run on the database at `url` as it is. Changes nothing.
    pub async fn check(&self, url: &str, durability: Durability) -> Result<(), SchemaError> {
        self.examine(url, Needs::new(durability)).await.accepted()
    }

    /// Whether the database at `url` is up to date, for a program that is no node. Changes nothing.
    pub async fn check_migrations(&self, url: &str) -> Result<(), SchemaError> {
        let mut connection = self.connect(url).await?;
        let compared = self.compare(&mut connection).await;
        self.ok(connection.close().await)?;
        compared.map(|_| ())
    }

    /// The numbers and checksums of the migrations that the database has.
    async fn applied(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<(i64, Vec<u8>)>, sqlx::Error> {
        let has_history = sqlx::query_scalar(HAS_HISTORY).bind(self.name);
        if !has_history.fetch_one(&mut *connection).await? {
            return Ok(Vec::new());
        }
        let history = self.history();
        let applied = format!("select version, checksum from {history} where success order by 1");
        sqlx::query_as(AssertSqlSafe(applied)).fetch_all(connection).await
    }

    /// How many migrations the database has, if they are those of this program.
    async fn compare(&self, connection: &mut PgConnection) -> Result<usize, SchemaError> {
        let database = self.database;
        let applied = self.applied(connection).await;
        let applied = self.ok(applied)?;
        let migrator = (self.migrator)();
        for (version, checksum) in &applied {
            match migrator.iter().find(|migration| migration.version == *version) {
                None => return Err(SchemaError::Newer { database, unknown: *version }),
                Some(known) if known.checksum[..] != checksum[..] => {
                    return Err(SchemaError::Different { database, different: *version });
                }
                Some(_) => {}
            }
        }
        let is_missing = |version| !applied.iter().any(|(applied, _)| *applied == version);
        match migrator.iter().map(|migration| migration.version).find(|v| is_missing(*v)) {
            Some(missing) => Err(SchemaError::NotMigrated { database, missing }),
            None => Ok(applied.len()),
        }
    }

    async fn connect(&self, url: &str) -> Result<PgConnection, SchemaError> {
        let options = self.ok(connect_options(url))?;
        // "schema exists already" is no news.
        let options = options.options([("client_min_messages", "warning")]);
        let connected = tokio::time::timeout(CONNECT_WITHIN, options.connect()).await;
        self.ok(connected.unwrap_or_else(|_| {
            let late = format!("no connection within {} s", CONNECT_WITHIN.as_secs());
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, late)))
        }))
    }

    async fn lock(&self, connection: &mut PgConnection) -> Result<(), SchemaError> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            let locked = sqlx::query_scalar(LOCK).bind(self.name).fetch_one(&mut *connection).await;
            if self.ok(locked)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let waited_s = LOCK_WAIT.as_secs();
                return Err(SchemaError::Locked { database: self.database, waited_s });
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    fn history(&self) -> String {
        format!("{}.migration", self.name)
    }

    fn ok<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, SchemaError> {
        result.map_err(|source| SchemaError::Database { database: self.database, source })
    }

    fn explain(&self, source: SqlxMigrateError) -> SchemaError {
        let database = self.database;
        match source {
            SqlxMigrateError::VersionMissing(unknown) => SchemaError::Newer { database, unknown },
            SqlxMigrateError::VersionMismatch(different) => {
                SchemaError::Different { database, different }
            }
            source => SchemaError::Migration { database, source },
        }
    }
}
