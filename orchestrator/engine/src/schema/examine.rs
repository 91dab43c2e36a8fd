//! Looks whether a node can run on a database: everything that is asked of it and of its server.

use sqlx::{Connection, FromRow, PgConnection};
use time::{Duration, OffsetDateTime};

use super::{Durability, Schema, SchemaError};
use crate::checkup::{Checkup, Finding};
use crate::clock;

/// What a node needs of a database.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Whether a server that may lose what it acknowledged will do.
    pub durability: Durability,
    /// How many connections it opens on that server, at most.
    pub connections: u32,
    /// This machine's clock.
    pub now: fn() -> OffsetDateTime,
}

/// The oldest PostgreSQL, as its `server_version_num`, and what to do about an older one.
pub(super) const VERSION_MIN: (i32, &str) = (140_000, "use version 14 or newer");
/// How far the clocks may be apart when a node starts. From then on it goes by the database's time; but
/// what it writes in its log goes by this machine's, and so does whose certificate is valid.
pub(super) const SKEW_MAX: (Duration, &str) =
    (Duration::seconds(5), "set both clocks by NTP; a node starts when they are within 5 s");
/// From here on a person should look.
const SKEW_WARNING: Duration = Duration::seconds(1);

const LOOK: &str = "
    select current_setting('server_version_num')::integer as version,
           current_setting('server_version') as version_name,
           pg_is_in_recovery() as standby,
           current_setting('transaction_read_only') = 'on' as read_only,
           array(select name
                   from pg_catalog.pg_settings
                  where name in ('fsync', 'full_page_writes', 'synchronous_commit')
                    and setting = 'off'
                  order by name) as settings_off,
           (current_setting('max_connections')::bigint
             - (select sum(setting::bigint)
                  from pg_catalog.pg_settings
                 where name in ('superuser_reserved_connections', 'reserved_connections'))
             - (select sum(numbackends) from pg_catalog.pg_stat_database))::bigint
             as connections_left";
const CLOCK: &str = "select clock_timestamp()";

#[derive(FromRow)]
struct Server {
    version: i32,
    version_name: String,
    standby: bool,
    read_only: bool,
    settings_off: Vec<String>,
    connections_left: i64,
}

impl Needs {
    /// Those of one connection, by this machine's clock.
    pub fn new(durability: Durability) -> Self {
        Self { durability, connections: 1, now: clock::wall }
    }
}

impl Schema {
    /// Everything that is to be said of the database at `url` before a node runs on it. Changes
    /// nothing.
    pub async fn examine(&self, url: &str, needs: Needs) -> Checkup {
        let mut checkup = Checkup::default();
        if let Err(error) = self.look(url, needs, &mut checkup).await {
            // It may have broken after its first answers.
            checkup.findings.retain(|finding| finding.check != "reachable");
            checkup.outcome(self.database, "reachable", Err(error));
        }
        checkup
    }

    async fn look(
        &self,
        url: &str,
        needs: Needs,
        checkup: &mut Checkup,
    ) -> Result<(), SchemaError> {
        let mut connection = self.connect(url).await?;
        let server = sqlx::query_as(LOOK).fetch_one(&mut connection).await;
        let server: Server = self.ok(server)?;
        checkup.outcome(self.database, "reachable", Ok("answers".to_owned()));
        checkup.outcome(self.database, "version", self.version(&server));
        checkup.outcome(self.database, "primary", self.primary(&server));
        match self.durability(&server) {
            // For a trial: it is said, and that is all.
            Err(error) if needs.durability == Durability::Waived => {
                let advice = "turn it on before its data is worth anything";
                checkup.add(Finding::warning(self.database, "durability", error.found(), advice));
            }
            durability => checkup.outcome(self.database, "durability", durability),
        }
        let migrations = self.compare(&mut connection).await;
        let migrations = migrations.map(|count| format!("is up to date ({count} migrations)"));
        checkup.outcome(self.database, "migrations", migrations);
        let ahead = ahead(&mut connection, needs.now).await;
        let ahead = self.ok(ahead)?;
        self.clock(ahead, checkup);
        self.connections(&server, needs, checkup);
        self.ok(connection.close().await)
    }

    fn version(&self, server: &Server) -> Result<String, SchemaError> {
        let (database, version) = (self.database, server.version_name.clone());
        match server.version < VERSION_MIN.0 {
            true => Err(SchemaError::TooOld { database, version }),
            false => Ok(format!("is on PostgreSQL {version}")),
        }
    }

    fn primary(&self, server: &Server) -> Result<String, SchemaError> {
        let (database, standby) = (self.database, server.standby);
        match standby || server.read_only {
            true => Err(SchemaError::ReadOnly { database, standby }),
            false => Ok("takes writes".to_owned()),
        }
    }

    fn durability(&self, server: &Server) -> Result<String, SchemaError> {
        let (database, settings) = (self.database, server.settings_off.clone());
        match settings.is_empty() {
            false => Err(SchemaError::Unsafe { database, settings }),
            true => Ok("keeps what it acknowledged: `fsync`, `full_page_writes` and \
                        `synchronous_commit` are on"
                .to_owned()),
        }
    }

    fn clock(&self, ahead: Duration, checkup: &mut Checkup) {
        let skewed = SchemaError::Skewed { database: self.database, ahead };
        if ahead.abs() > SKEW_MAX.0 {
            checkup.outcome(self.database, "clock", Err(skewed));
        } else if ahead.abs() > SKEW_WARNING {
            let found = skewed.found();
            checkup.add(Finding::warning(self.database, "clock", found, SKEW_MAX.1));
        } else {
            let found = "has this machine's time, to the second".to_owned();
            checkup.outcome(self.database, "clock", Ok(found));
        }
    }

    fn connections(&self, server: &Server, needs: Needs, checkup: &mut Checkup) {
        let (left, needed) = (server.connections_left.max(0), i64::from(needs.connections));
        let found =
            format!("has {left} connections left on its server; a node opens up to {needed}");
        checkup.add(match left < needed {
            true => Finding::warning(
                self.database,
                "connections",
                found,
                "raise `max_connections`, or let others have fewer",
            ),
            false => Finding::ok(self.database, "connections", found),
        });
    }
}

/// How far the database's clock is ahead of this machine's, at the least: what lies within the time
/// that the question took proves nothing.
async fn ahead(
    connection: &mut PgConnection,
    now: fn() -> OffsetDateTime,
) -> Result<Duration, sqlx::Error> {
    let before = now();
    let there: OffsetDateTime = sqlx::query_scalar(CLOCK).fetch_one(connection).await?;
    let after = now();
    Ok(clock::behind(before, there, after))
}
