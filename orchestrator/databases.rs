//! Which databases the program works with: those that the variables name, or those of a private
//! PostgreSQL server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use activities::migrate::{INVENTORY, ORDERS};
use anyhow::{Context, bail};
use engine::checkup::{Checkup, Level};
use engine::schema::{Durability, Needs, SAGA, Schema};
use futures_util::future::join3;
use local_postgres::LocalPostgres;
use sqlx::migrate::MigrateDatabase;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Error as SqlxError, Postgres};

use crate::platform;
use crate::usage::Usage;

const VARIABLES: [(&str, &str); 3] = [
    ("AMENDS_DATABASE_URL", "amends"),
    ("INVENTORY_DATABASE_URL", "inventory"),
    ("ORDERS_DATABASE_URL", "orders"),
];

/// Three databases share one log, and a disk syncs it some hundred times a second: a commit that sees
/// others under way waits a millisecond for them to share its sync. The rest keeps checkpoints, after
/// which each page is logged whole, apart.
const PRIVATE_SETTINGS: [(&str, &str); 4] = [
    ("commit_delay", "1000"),
    ("commit_siblings", "3"),
    ("max_wal_size", "4GB"),
    ("wal_compression", "on"),
];

/// Where the private server keeps its data.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DataDir {
    /// Where the private PostgreSQL server keeps its data [default: /var/lib/amends as root, else
    /// ~/.local/share/amends; the demo's: demo in it]
    ///
    /// There is no private server when AMENDS_DATABASE_URL, INVENTORY_DATABASE_URL and
    /// ORDERS_DATABASE_URL are set.
    #[arg(long, env = "AMENDS_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// The URLs of the three databases. They hold passwords: never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Urls {
    pub(crate) amends: String,
    pub(crate) inventory: String,
    pub(crate) orders: String,
}

/// The three databases, and the private server they are on if there is one.
#[derive(Debug)]
pub(crate) struct Databases {
    pub(crate) urls: Urls,
    server: Option<LocalPostgres>,
}

impl DataDir {
    /// The directory that was asked for, or the usual one.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        match &self.data_dir {
            Some(path) => Ok(path.clone()),
            None => Ok(local_postgres::default_data_dir()?),
        }
    }

    /// The directory that was asked for, or `name` in the usual one.
    pub(crate) fn path_or_within(&self, name: &str) -> anyhow::Result<PathBuf> {
        match &self.data_dir {
            Some(path) => Ok(path.clone()),
            None => Ok(local_postgres::default_data_dir()?.join(name)),
        }
    }
}

impl Databases {
    /// The databases of the variables; without any, those of the private server in `data_dir`,
    /// which is started, or shared if it runs.
    pub(crate) async fn open(data_dir: &Path) -> anyhow::Result<Self> {
        if let Some(urls) = Urls::of_environment()? {
            return Ok(Self { urls, server: None });
        }
        let mut options = local_postgres::Options::new(data_dir);
        let settings = PRIVATE_SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        options.settings.extend(settings);
        let starting = tokio::task::spawn_blocking(move || LocalPostgres::start(&options)).await?;
        let server = starting.context("the private PostgreSQL server does not start")?;
        let urls = Urls {
            amends: server.url("amends"),
            inventory: server.url("inventory"),
            orders: server.url("orders"),
        };
        for url in [&urls.amends, &urls.inventory, &urls.orders] {
            create(url).await.context("the private PostgreSQL server has no room for databases")?;
        }
        Ok(Self { urls, server: Some(server) })
    }

    /// The same, but nothing is made: a private server must have been there before.
    pub(crate) async fn open_existing(data_dir: &Path) -> anyhow::Result<Self> {
        let are_named = Urls::of_environment()?.is_some();
        if !are_named && !data_dir.exists() {
            let directory = data_dir.display();
            bail!(
                "there are no databases in {directory}: name the directory of a demo or a server \
                 with --data-dir, or set AMENDS_DATABASE_URL, INVENTORY_DATABASE_URL and \
                 ORDERS_DATABASE_URL"
            );
        }
        Self::open(data_dir).await
    }

    /// Whether they are on a server of our own.
    pub(crate) fn are_private(&self) -> bool {
        self.server.is_some()
    }

    /// Brings all three up to date. The first time, the engine's gets so many shards.
    pub(crate) async fn migrate(&self, shards: u16) -> anyhow::Result<()> {
        engine::migrate(&self.urls.amends, shards).await?;
        INVENTORY.migrate(&self.urls.inventory).await?;
        ORDERS.migrate(&self.urls.orders).await?;
        Ok(())
    }

    /// Refuses databases on which no node can run, and tells the log of what a person should look at.
    pub(crate) async fn check(&self, allow_data_loss: bool, lanes: u8) -> anyhow::Result<()> {
        for checkup in self.examine(allow_data_loss, lanes).await {
            for finding in checkup.findings.iter().filter(|found| found.level == Level::Warning) {
                tracing::warn!("{finding}");
            }
            checkup.accepted()?;
        }
        Ok(())
    }

    /// What is to be said of each before a node runs on them; the engine's own comes first.
    pub(crate) async fn examine(&self, allow_data_loss: bool, lanes: u8) -> [Checkup; 3] {
        let durability = if allow_data_loss { Durability::Waived } else { Durability::Required };
        let of = self.each(lanes);
        let needs = |url: &str| {
            // What lies on one server shares its connections.
            let neighbours = of.iter().filter(|(_, other, _)| server_of(other) == server_of(url));
            let connections = neighbours.map(|(_, _, connections)| connections).sum();
            Needs { connections, ..Needs::new(durability) }
        };
        let [saga, inventory, orders] =
            of.each_ref().map(|(schema, url, _)| schema.examine(url, needs(url)));
        join3(saga, inventory, orders).await.into()
    }

    /// Refuses databases that are not up to date, for a command that is no node.
    pub(crate) async fn check_migrations(&self) -> anyhow::Result<()> {
        for (schema, url, _) in self.each(0) {
            schema.check_migrations(url).await?;
        }
        Ok(())
    }

    /// All three, each with how many connections a node opens to it.
    fn each(&self, lanes: u8) -> [(Schema, &str, u32); 3] {
        let Urls { amends, inventory, orders } = &self.urls;
        [
            (SAGA, amends, platform::engine_connections_max(lanes)),
            (INVENTORY, inventory, platform::STORE_CONNECTIONS_MAX),
            (ORDERS, orders, platform::STORE_CONNECTIONS_MAX),
        ]
    }

    /// Stops the private server, if it is ours.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        let Some(server) = self.server else { return Ok(()) };
        tokio::task::spawn_blocking(move || server.stop()).await??;
        Ok(())
    }
}

impl Urls {
    fn of_environment() -> anyhow::Result<Option<Self>> {
        Self::from_variables(|name| std::env::var_os(name)).map_err(|wrong| Usage(wrong).into())
    }

    /// All three variables, or none of them.
    fn from_variables(
        read: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> anyhow::Result<Option<Self>> {
        let mut urls = Vec::new();
        let mut missing = Vec::new();
        for (variable, database) in VARIABLES {
            match read(variable).filter(|value| !value.is_empty()) {
                Some(value) => urls.push(check_url(variable, database, value)?),
                None => missing.push(variable),
            }
        }
        match <[String; 3]>::try_from(urls) {
            Ok([amends, inventory, orders]) => Ok(Some(Self { amends, inventory, orders })),
            Err(urls) if urls.is_empty() => Ok(None),
            Err(_) => bail!(
                "{} missing: set all of AMENDS_DATABASE_URL, INVENTORY_DATABASE_URL and \
                 ORDERS_DATABASE_URL, or none of them to use a private PostgreSQL server",
                list(&missing)
            ),
        }
    }
}

/// Where it is, and who else is there.
fn server_of(url: &str) -> Option<(String, u16)> {
    let options = PgConnectOptions::from_str(url).ok()?;
    Some((options.get_host().to_owned(), options.get_port()))
}

/// `A is` or `A and B are`.
fn list(missing: &[&str]) -> String {
    match missing {
        [one] => format!("{one} is"),
        several => format!("{} are", several.join(" and ")),
    }
}

impl fmt::Debug for Urls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Urls").finish_non_exhaustive()
    }
}

/// The value is never repeated: it may hold a password.
fn check_url(variable: &str, database: &str, value: std::ffi::OsString) -> anyhow::Result<String> {
    let should_be =
        || format!("{variable} should be like postgres://user:password@127.0.0.1:5432/{database}");
    let Ok(url) = value.into_string() else { bail!("{}; it is not UTF-8", should_be()) };
    let url = url.trim().to_owned();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        bail!("{}; it does not begin with postgres://", should_be());
    }
    let options = PgConnectOptions::from_str(&url).with_context(should_be)?;
    if options.get_database().is_none_or(str::is_empty) {
        bail!("{}; it names no database", should_be());
    }
    Ok(url)
}

/// Creates the database if it is not there.
async fn create(url: &str) -> Result<(), SqlxError> {
    if Postgres::database_exists(url).await? {
        return Ok(());
    }
    match Postgres::create_database(url).await {
        // Another program was faster.
        Err(_) if Postgres::database_exists(url).await? => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: [&str; 3]) -> Result<Option<Urls>, String> {
        let value = |name: &str| {
            let place = VARIABLES.iter().position(|(variable, _)| *variable == name)?;
            Some(values[place].into())
        };
        Urls::from_variables(value).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn all_three_variables_or_none() {
        let (a, b, c) = ("postgres://u:p@h/a", "postgresql://u:p@h:1/b", "postgres://h/c");
        assert_eq!(read(["", "", ""]), Ok(None));
        let urls = read([a, b, c]).unwrap().unwrap();
        assert_eq!((&*urls.amends, &*urls.inventory, &*urls.orders), (a, b, c));
        let error = read([a, "", c]).unwrap_err();
        assert!(error.starts_with("INVENTORY_DATABASE_URL is missing"), "{error}");
        let error = read(["", b, ""]).unwrap_err();
        assert!(error.starts_with("AMENDS_DATABASE_URL and ORDERS_DATABASE_URL are"), "{error}");
    }

    #[test]
    fn a_url_that_can_not_be_used_is_named_and_its_password_is_not() {
        for garbage in [
            "nonsense",
            "mysql://u:hunter2@h/orders",
            "postgres://u:hunter2@h:port/orders",
            "postgres://u:hunter2@h:5432",
            "postgres://",
        ] {
            let error = read(["postgres://h/a", "postgres://h/b", garbage]).unwrap_err();
            assert!(error.contains("ORDERS_DATABASE_URL should be like postgres://"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
