//! `amends receive`: takes in a delivery: what its products are called, what they cost, how many came.

use std::path::PathBuf;

use activities::{Inventory, Orders};
use anyhow::Context;

use crate::databases::{DataDir, Databases};
use crate::usage::Usage;
use crate::{catalog, text_file};

/// One statement after the other.
const CONNECTIONS_MAX: u32 = 1;
/// The catalogue's column of how many came.
const UNITS: &str = "units";

/// Take in a delivery: what its products are called, what they cost, and how many came
///
/// A product is booked once under a delivery's name: the same file given again brings no stock, and sets names
/// and prices only. With 0 units it only does that.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data_dir: DataDir,
    /// CSV with the columns sku, name, currency, price_minor and units, plain or gzipped
    #[arg(value_name = "FILE.csv[.gz]")]
    file: PathBuf,
    /// What names the delivery, such as the number of its note
    #[arg(long, value_name = "NAME", value_parser = name)]
    delivery: String,
}

/// Runs it.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let products = text_file::read(&arguments.file)
        .and_then(|text| catalog::read(&text, UNITS))
        .context("the delivery can not be used")
        .map_err(Usage)?;
    let databases = Databases::open_existing(&arguments.data_dir.path()?).await?;
    databases.check_migrations().await?;
    let inventory = Inventory::connect(&databases.urls.inventory, CONNECTIONS_MAX)?;
    let orders = Orders::connect(&databases.urls.orders, CONNECTIONS_MAX)?;
    let delivery = &arguments.delivery;
    let booked = catalog::load(&products, 1.0, delivery, &inventory, &orders).await?;
    eprintln!(
        "{delivery}: {} products have their names and prices, {booked} came in",
        products.len()
    );
    databases.close().await
}

fn name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=200 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err("a delivery's name has 1 to 200 characters".to_owned()),
    }
}
