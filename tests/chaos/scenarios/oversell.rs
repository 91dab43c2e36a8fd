//! F15: more customers than goods, who name what they want in any order.

use std::path::PathBuf;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::{good_day, three_nodes};
use crate::cluster::Setup;
use crate::customers::Habits;
use crate::report::Report;
use crate::run::{Run, Size};

/// Three products, and so much of each.
const STOCK: [(&str, u32); 3] = [("tea", 1_000), ("cup", 1_000), ("pot", 1_000)];

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let setup = Setup { stock: &STOCK, ..three_nodes(good_day()) };
        let habits = Habits {
            skus: vec!["tea", "cup", "pot"],
            cards: vec![("pm_card_visa", 95), ("pm_card_visa_chargeDeclined", 5)],
            cancels_one_in: None,
            follow: true,
        };
        let mut run = Run::open(name, seed, size, &logs, &setup, habits).await?;
        run.in_flight = 128;
        run.under_load(async { Ok(()) }).await?;
        let left = "select coalesce(sum(on_hand), 0)::bigint from inventory.stock";
        let left = run.cluster.number(&run.cluster.databases.inventory, left).await?;
        // Only who was declined late can leave something behind: the last few baskets.
        run.must("sold out", left < 150, || format!("{left} of 3,000 are left"));
        run.log.count("sold", 3_000 - left.unsigned_abs());
        let mut report = run.finish().await?;
        report.needs(&["sold"]);
        Ok(report)
    }
    .boxed_local()
}
