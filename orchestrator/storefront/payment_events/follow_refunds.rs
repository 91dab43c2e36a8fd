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
/// With these the gateway is asked for refunds of which it has not told anything for so long.
const QUIET_FOR: Duration = Duration::from_mins(10);

/// Goes on until the program stops. The events wait in the database, so that none is forgotten, and
/// a moment longer than an undo takes to write what it did by itself.
pub(in crate::storefront) async fn follow_refunds(
    shop: Arc<dyn Stores>,
    stopping: CancellationToken,
) {
    for times in (0..ALL_EVERY).cycle() {
        tokio::select! {
            () = once(&*shop, times == 0) => {}
            () = stopping.cancelled() => return,
        }
    }
}

async fn once(shop: &dyn Stores, all: bool) {
    let now = engine::now();
    let events = now - if all { ASK_FOR } else { TELL_AGAIN_FOR }..now - TELL_AGAIN_AFTER;
    let pending_since = all.then(|| now - QUIET_FOR);
    if let Err(error) = shop.follow_refunds(events, pending_since).await {
        tracing::debug!(%error, "kept events of refunds could not be read");
    }
    tokio::time::sleep(TELL_AGAIN_AFTER).await;
}
