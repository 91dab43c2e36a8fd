//! Reserve: all lines of a basket or none, for many baskets in one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use engine::{Attempt, Failure, Rejection};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Inventory;
use crate::database::DatabaseError;
use crate::effect::Effects;
use crate::order::{Line, OrderId, quantities};

pub(super) const STATEMENTS: [&str; 3] = [HOLD_ORDERS, LOCK, HOLD_LINES];

/// How long a reservation is held before it runs out, unless it is pinned.
pub const HOLD: Duration = Duration::from_secs(15 * 60);

/// One basket of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Reserve<'a> {
    /// Which attempt of which step asks.
    pub attempt: &'a Attempt,
    /// For which order: at most one reservation each.
    pub order_id: OrderId,
    /// What is wanted. A sku that is named twice is wanted twice.
    pub lines: &'a [Line],
}

/// Stock that is put aside for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// For which order.
    pub order_id: OrderId,
    /// When it runs out, unless it is pinned.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// $1 orders, $2 when they run out. Answers the orders that had no reservation yet; the others are
/// left as they were. First, so that a basket that gets nothing takes nothing from those after it.
const HOLD_ORDERS: &str = "
    insert into inventory.reservation (order_id, state, expires_at)
    select order_id, 'held', $2
    from unnest($1::uuid[]) as asked (order_id)
    order by order_id
    on conflict (order_id) do nothing
    returning order_id";

/// The rows every basket of the batch decides by, locked until the end.
const LOCK: &str = "
    select sku, on_hand - reserved
    from inventory.stock
    where sku = any($1)
    order by sku
    for update";

/// $1..$3 the lines of the orders that get what they want, $4 the orders that do not.
const HOLD_LINES: &str = "
    with line as (
        insert into inventory.reservation_line (order_id, sku, quantity)
        select line.order_id, line.sku, line.quantity
        from unnest($1::uuid[], $2::text[], $3::bigint[]) as line (order_id, sku, quantity)
        returning sku, quantity
    ), taken as (
        select sku, sum(quantity)::bigint as quantity from line group by sku
    ), reserved as (
        update inventory.stock
        set reserved = stock.reserved + taken.quantity, updated_at = now()
        from taken
        where stock.sku = taken.sku
    )
    delete from inventory.reservation where order_id = any($4)";

impl Inventory {
    /// Puts stock aside for each basket, in their order: all lines or none, each basket by itself.
    ///
    /// Rejects with `out_of_stock` and `{"items": [{"sku", "requested", "available"}]}`, with
    /// `order_already_reserved`, and with `invalid_lines` (no line, or one of quantity 0). A sku
    /// that nobody knows has 0 available.
    pub async fn reserve(
        &self,
        baskets: &[Reserve<'_>],
    ) -> Result<Vec<Result<Reservation, Failure>>, DatabaseError> {
        let attempts: Vec<_> = baskets.iter().map(|basket| basket.attempt).collect();
        let expires_at = engine::now() + HOLD;
        let reservation =
            |basket: &Reserve<'_>| Reservation { order_id: basket.order_id, expires_at };
        let reservations = baskets.iter().map(reservation).collect();
        let mut effects = Effects::begin(&self.database, &attempts, reservations).await?;

        let mut wanted: BTreeMap<usize, BTreeMap<&str, i64>> = BTreeMap::new();
        let mut order_ids = HashSet::new();
        for i in effects.fresh() {
            let basket = &baskets[i];
            if basket.lines.is_empty() || basket.lines.iter().any(|line| line.quantity == 0) {
                effects.reject(i, invalid_lines());
            } else if !order_ids.insert(basket.order_id) {
                effects.reject(i, already_reserved(basket.order_id));
            } else {
                wanted.insert(i, quantities(basket.lines));
            }
        }
        if !wanted.is_empty() {
            let short = hold(&mut effects, baskets, &mut wanted, expires_at).await?;
            short.into_iter().for_each(|(i, rejection)| effects.reject(i, rejection));
        }
        effects.finish().await
    }
}

/// Decides each wanted basket by what is left after those before it, and writes the accepted ones.
/// Answers the others.
async fn hold(
    effects: &mut Effects<Reservation>,
    baskets: &[Reserve<'_>],
    wanted: &mut BTreeMap<usize, BTreeMap<&str, i64>>,
    expires_at: OffsetDateTime,
) -> Result<Vec<(usize, Rejection)>, DatabaseError> {
    let mut rejections = Vec::new();
    let ids: Vec<Uuid> = wanted.keys().map(|i| baskets[*i].order_id.0).collect();
    let query = sqlx::query_scalar(HOLD_ORDERS).bind(ids).bind(expires_at);
    let held = effects.run(async |connection| query.fetch_all(connection).await).await?;
    let held: HashSet<Uuid> = held.into_iter().collect();
    wanted.retain(|i, _| {
        let order_id = baskets[*i].order_id;
        let is_held = held.contains(&order_id.0);
        if !is_held {
            rejections.push((*i, already_reserved(order_id)));
        }
        is_held
    });
    if wanted.is_empty() {
        return Ok(rejections);
    }
    let mut available = lock(effects, wanted).await?;
    let (mut ids, mut skus, mut counts, mut short) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, lines) in wanted.iter() {
        let order_id = baskets[*i].order_id.0;
        if let Err(rejection) = take(&mut available, lines) {
            rejections.push((*i, rejection));
            short.push(order_id);
            continue;
        }
        for (sku, quantity) in lines {
            ids.push(order_id);
            skus.push(*sku);
            counts.push(*quantity);
        }
    }
    let query = match engine::planted!(ReadThenWriteStock) {
        true => sqlx::query(AssertSqlSafe(as_a_number(&available))),
        false => sqlx::query(HOLD_LINES),
    };
    let query = query.bind(ids).bind(skus).bind(counts).bind(short);
    effects.run(async |connection| query.execute(connection).await).await?;
    Ok(rejections)
}

/// Locks what any of the baskets names, and says how many of each are left.
async fn lock(
    effects: &mut Effects<Reservation>,
    wanted: &BTreeMap<usize, BTreeMap<&str, i64>>,
) -> Result<HashMap<String, i64>, DatabaseError> {
    let skus: HashSet<&str> = wanted.values().flat_map(BTreeMap::keys).copied().collect();
    // PostgreSQL refuses text with a NUL; no sku has one, so it is unknown without asking.
    let skus: Vec<&str> = skus.into_iter().filter(|sku| !sku.contains('\0')).collect();
    let lock = match engine::planted!(ReadThenWriteStock) {
        true => sqlx::query_as(AssertSqlSafe(LOCK.replace("for update", ""))),
        false => sqlx::query_as(LOCK),
    };
    let lock = lock.bind(skus);
    let rows: Vec<(String, i64)> =
        effects.run(async |connection| lock.fetch_all(connection).await).await?;
    Ok(rows.into_iter().collect())
}

/// [`HOLD_LINES`] as the planted bug `read_then_write_stock` has it: what is reserved is what was on
/// hand less what was seen to be left.
fn as_a_number(left: &HashMap<String, i64>) -> String {
    let cases = left.iter().map(|(sku, left)| {
        format!("when '{}' then stock.on_hand - {left}", sku.replace('\'', "''"))
    });
    let cases = cases.collect::<Vec<_>>().join(" ");
    HOLD_LINES.replace("stock.reserved + taken.quantity", &format!("case stock.sku {cases} end"))
}

/// Takes all that one basket wants, or nothing and says what is short.
fn take(
    available: &mut HashMap<String, i64>,
    wanted: &BTreeMap<&str, i64>,
) -> Result<(), Rejection> {
    let left = |sku: &str| available.get(sku).copied().unwrap_or(0);
    let short: Vec<_> = wanted.iter().filter(|(sku, quantity)| left(sku) < **quantity).collect();
    if !short.is_empty() {
        let skus: Vec<_> = short.iter().map(|(sku, _)| **sku).collect();
        let item = |(sku, quantity): &(&&str, &i64)| json!({ "sku": sku, "requested": quantity, "available": left(sku) });
        let items: Vec<_> = short.iter().map(item).collect();
        return Err(Rejection {
            code: "out_of_stock".into(),
            reason: format!("not enough in stock: {}", skus.join(", ")),
            details: Some(json!({ "items": items })),
        });
    }
    for (sku, quantity) in wanted {
        if let Some(left) = available.get_mut(*sku) {
            *left -= quantity;
        }
    }
    Ok(())
}

fn already_reserved(order_id: OrderId) -> Rejection {
    Rejection {
        code: "order_already_reserved".into(),
        reason: format!("order {order_id} has a reservation of another saga"),
        details: None,
    }
}

fn invalid_lines() -> Rejection {
    Rejection {
        code: "invalid_lines".into(),
        reason: "an order needs at least one line, and each line at least one unit".to_owned(),
        details: None,
    }
}
