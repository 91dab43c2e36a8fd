//! `amends migrate`: brings all three databases up to date.

use engine::id::SHARDS_MAX;

use crate::databases::{DataDir, Databases};

/// How many shards a database gets unless something else is said.
pub(crate) const SHARDS: u16 = 32;

/// Bring the three databases up to date
///
/// Those of AMENDS_DATABASE_URL, INVENTORY_DATABASE_URL and ORDERS_DATABASE_URL, or those of the
/// private PostgreSQL server. Any number of programs may do so at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data_dir: DataDir,
    /// Into how many shards the engine's database is divided, the first time; it can not be changed
    /// afterwards. More nodes than shards are of no use
    #[arg(long, value_name = "N", default_value_t = SHARDS,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(SHARDS_MAX)))]
    shards: u16,
}

/// Runs it.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let databases = Databases::open(&arguments.data_dir.path()?).await?;
    databases.migrate(arguments.shards).await?;
    eprintln!("the amends, inventory and order databases are up to date");
    databases.close().await
}
