//! F15: more customers than goods, who name what they want in any order.

use std::path::PathBuf;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::{good_day, three_nodes};
use crate::cluster::Setup;
use crate::customers::Habits;
use crate::report::Report;
use crate::run::{Run, Size};

const SKUS: [&str; 3] = ["tea", "cup", "pot"];
/// How many customers there are for each piece of one product. They want more than one.
const CUSTOMERS_A_PIECE: usize = 10;

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let each = (size.sagas / CUSTOMERS_A_PIECE) as u32;
        let (stock, all) = (SKUS.map(|sku| (sku, each)), i64::from(each) * SKUS.len() as i64);
        let setup = Setup { stock: &stock, ..three_nodes(good_day()) };
        let habits = Habits {
            skus: SKUS.to_vec(),
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
        run.must("sold out", left * 20 < all, || format!("{left} of {all} are left"));
        run.log.count("sold", (all - left).unsigned_abs());
        let mut report = run.finish().await?;
        report.needs(&["sold"]);
        Ok(report)
    }
    .boxed_local()
}
