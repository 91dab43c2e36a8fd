//! Lets our book follow the refunds that kept events tell of: a refund may end, or come back, days
//! after the saga that made it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::tell::{TELL_AGAIN_AFTER, TELL_AGAIN_FOR};
use crate::storefront::Stores;

/// How long the gateway is asked about what an event told, and after how many times of looking at
/// the newest events all of these are looked at: at first, and then every ten minutes.
const ASK_FOR: Duration = Duration::from_hours(7 * 24);
const ALL_EVERY: u32 = 120;

/// Goes on until the program stops. The events wait in the database, so that none is forgotten, and
/// a moment longer than an undo takes to write what it did by itself.
pub(in crate::storefront) async fn follow_refunds(
    shop: Arc<dyn Stores>,
    stopping: CancellationToken,
) {
    for times in (0..ALL_EVERY).cycle() {
        tokio::select! {
            () = once(&*shop, if times == 0 { ASK_FOR } else { TELL_AGAIN_FOR }) => {}
            () = stopping.cancelled() => return,
        }
    }
}

async fn once(shop: &dyn Stores, ask_for: Duration) {
    let now = engine::now();
    if let Err(error) = shop.follow_refunds(now - ask_for..now - TELL_AGAIN_AFTER).await {
        tracing::debug!(%error, "kept events of refunds could not be read");
    }
    tokio::time::sleep(TELL_AGAIN_AFTER).await;
}
