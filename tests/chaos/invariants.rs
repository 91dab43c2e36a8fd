//! What must hold when all harm is over, looked at from outside only: the three databases, the payment
//! gateway's ledger, and the customers' own books.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use crate::cluster::{Cluster, connect};
use crate::customers::Customers;
use crate::harness::amends;

/// A promise that does not hold.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Violation {
    /// `I1` to `I10`.
    pub(crate) invariant: String,
    pub(crate) detail: String,
}

/// What a run ended with.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Findings {
    pub(crate) violations: Vec<Violation>,
    /// How many sagas ended how.
    pub(crate) endings: BTreeMap<String, i64>,
    pub(crate) sagas: i64,
    /// From the end of all harm to the end of the last saga.
    pub(crate) drained_s: f64,
}

impl Findings {
    pub(crate) fn must(&mut self, invariant: &str, holds: bool, detail: impl FnOnce() -> String) {
        if !holds {
            let (invariant, detail) = (invariant.to_owned(), detail());
            self.violations.push(Violation { invariant, detail });
        }
    }
}

/// Waits `within` a time until all sagas ended or are parked, then checks everything. `parked` are meant to be.
pub(crate) async fn check(
    cluster: &Cluster,
    customers: &Customers,
    parked: &BTreeSet<String>,
    calm_since: Instant,
    within: Duration,
) -> anyhow::Result<Findings> {
    let mut found = Findings::default();
    drain(cluster, within, &mut found).await?;
    found.drained_s = calm_since.elapsed().as_secs_f64();
    customers.ask_again(parked).await;
    ended(cluster, parked, &mut found).await?;
    at_rest(cluster, &mut found).await?;
    verified(cluster, parked.is_empty(), &mut found);
    accepted(cluster, customers, &mut found).await?;
    money(cluster, &mut found).await?;
    for complaint in customers.complaints() {
        found.must("I8", false, || complaint);
    }
    Ok(found)
}

/// Those that are neither over nor wait for a person.
const MOVING: &str = "select count(*) from saga.saga where ending is null and phase <> 'held'";

async fn drain(cluster: &Cluster, within: Duration, found: &mut Findings) -> anyhow::Result<()> {
    let end = Instant::now() + within;
    loop {
        let moving = cluster.number(&cluster.databases.amends, MOVING).await?;
        if moving == 0 {
            return Ok(());
        }
        if Instant::now() > end {
            found.must("I3", false, || format!("{moving} sagas do not end"));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A few of those that are open, as their rows have them.
async fn stuck(amends: &mut PgConnection) -> anyhow::Result<String> {
    let rows: Vec<String> = sqlx::query_scalar(
        "select concat_ws(' ', saga_id, shard_id, direction, phase, 'step', step, activity, attention,
                          error_code, 'rev', rev, 'next_at', next_at)
           from saga.saga where ending is null order by next_at limit 5",
    )
    .fetch_all(amends)
    .await?;
    Ok(rows.join("; "))
}

/// I3: no saga is open but those that are meant to be parked, and all of these are.
async fn ended(
    cluster: &Cluster,
    parked: &BTreeSet<String>,
    found: &mut Findings,
) -> anyhow::Result<()> {
    let mut amends = cluster.amends().await?;
    let endings: Vec<(Option<String>, i64)> =
        sqlx::query_as("select ending, count(*) from saga.saga group by 1")
            .fetch_all(&mut amends)
            .await?;
    found.sagas = endings.iter().map(|(_, count)| count).sum();
    found.endings = endings
        .into_iter()
        .map(|(ending, count)| (ending.unwrap_or_else(|| "open".to_owned()), count))
        .collect();
    let open: Vec<String> =
        sqlx::query_scalar("select saga_id::text from saga.saga where ending is null")
            .fetch_all(&mut amends)
            .await?;
    let open: BTreeSet<String> = open.into_iter().collect();
    if open != *parked {
        let why = stuck(&mut amends).await?;
        found.must("I3", false, || {
            let (open, parked) = (open.len(), parked.len());
            format!("{open} sagas are open, {parked} were meant to be parked: {why}")
        });
    }
    Ok(())
}

/// I1, I2, I3: stock adds up, and nothing is held and no order pending but for a saga that is open.
async fn at_rest(cluster: &Cluster, found: &mut Findings) -> anyhow::Result<()> {
    let databases = &cluster.databases;
    let open = "select business_key::uuid from saga.saga where ending is null";
    let open: Vec<Uuid> = sqlx::query_scalar(open).fetch_all(&mut cluster.amends().await?).await?;
    let held = "select count(*) from inventory.reservation
                 where state in ('held', 'pinned') and order_id <> all($1)";
    let held = but_for(&databases.inventory, held, &open).await?;
    found.must("I3", held == 0, || format!("{held} reservations are held"));
    let pending = "select count(*) from orders.orders where status = 'pending' and id <> all($1)";
    let pending = but_for(&databases.orders, pending, &open).await?;
    found.must("I3", pending == 0, || format!("{pending} orders are pending"));
    let oversold = "select count(*) from inventory.stock where reserved < 0 or reserved > on_hand";
    let oversold = cluster.number(&databases.inventory, oversold).await?;
    found.must("I2", oversold == 0, || format!("{oversold} products are oversold"));
    let stock = "select count(*) from inventory.stock s
                  where s.on_hand <> (select coalesce(sum(delta), 0) from inventory.stock_movement m
                                       where m.sku = s.sku)
                     or s.reserved <> (select coalesce(sum(quantity), 0)
                                         from inventory.reservation_line
                                         join inventory.reservation using (order_id)
                                        where sku = s.sku and state in ('held', 'pinned'))";
    let stock = cluster.number(&databases.inventory, stock).await?;
    found.must("I1", stock == 0, || format!("the stock of {stock} products does not add up"));
    Ok(())
}

/// A number that is in a database, without the orders of these.
async fn but_for(url: &str, sql: &'static str, orders: &[Uuid]) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar(sql).bind(orders).fetch_one(&mut connect(url).await?).await?)
}

/// What `amends verify` finds, a process of its own.
fn verified(cluster: &Cluster, at_rest: bool, found: &mut Findings) {
    let ledger = cluster.simulator.ledger.to_string_lossy();
    let mut arguments = vec!["verify", "-o", "json", "--ledger", &*ledger];
    if at_rest {
        arguments.push("--at-rest");
    }
    let ended = tokio::task::block_in_place(|| amends(&arguments, &cluster.databases.variables()));
    let verdict: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    if verdict["verified"] == true && ended.code == Some(0) {
        return;
    }
    let violations = verdict["violations"].as_array().cloned().unwrap_or_default();
    found.must("I5", !violations.is_empty(), || {
        format!("verify: {:?} {} {}", ended.code, ended.stdout, ended.stderr)
    });
    for violation in violations.iter().take(10) {
        found.must(invariant_of(violation), false, || format!("verify: {violation}"));
    }
}

/// Under which number design and reports know a promise of `verify`.
fn invariant_of(violation: &Value) -> &'static str {
    match violation["invariant"].as_str().unwrap_or_default() {
        name if name.contains("stock") || name.contains("reservation") => "I1",
        "audit_chain" => "I9",
        name if name.contains("journal") || name.contains("saga") => "I7",
        name if name.contains("captured") || name.contains("refund") => "I6",
        _ => "I5",
    }
}

/// I4: every request that was accepted has one saga, and no saga has no request.
async fn accepted(
    cluster: &Cluster,
    customers: &Customers,
    found: &mut Findings,
) -> anyhow::Result<()> {
    let mut amends = cluster.amends().await?;
    let sagas: Vec<Uuid> =
        sqlx::query_scalar("select saga_id from saga.saga").fetch_all(&mut amends).await?;
    let sagas: BTreeSet<String> = sagas.iter().map(Uuid::to_string).collect();
    let told: BTreeSet<String> =
        customers.ledger().into_values().filter_map(|told| told.id).collect();
    let ids: Vec<Option<String>> =
        sqlx::query_scalar("select business_key from saga.saga").fetch_all(&mut amends).await?;
    let keys: BTreeSet<String> = ids.into_iter().flatten().collect();
    let is_known = |id: &&String| sagas.contains(*id) || keys.contains(*id);
    let lost: Vec<&String> = told.iter().filter(|id| !is_known(id)).take(5).collect();
    found.must("I4", lost.is_empty(), || format!("accepted, and lost: {lost:?}"));
    found.must("I4", told.len() == sagas.len(), || {
        format!("{} were accepted, {} sagas are there", told.len(), sagas.len())
    });
    Ok(())
}

/// I5 and I6 by the gateway's ledger alone, against the orders.
async fn money(cluster: &Cluster, found: &mut Findings) -> anyhow::Result<()> {
    let mut captured: BTreeMap<String, i64> = BTreeMap::new();
    let mut refunded: BTreeMap<String, i64> = BTreeMap::new();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for line in cluster.simulator.lines("captured") {
        let order = order_of(&line);
        *captured.entry(order.clone()).or_default() += line["amount_minor"].as_i64().unwrap_or(0);
        *times.entry(order).or_default() += 1;
    }
    for line in cluster.simulator.lines("refunded") {
        *refunded.entry(order_of(&line)).or_default() += line["amount_minor"].as_i64().unwrap_or(0);
    }
    for (order, times) in &times {
        found.must("I6", *times == 1, || format!("order {order} was charged {times} times"));
    }
    for (order, amount) in &refunded {
        let captured = captured.get(order).copied().unwrap_or(0);
        found.must("I6", *amount <= captured, || {
            format!("order {order}: {captured} captured, {amount} refunded")
        });
    }
    let mut orders = connect(&cluster.databases.orders).await?;
    let rows: Vec<(Uuid, String, i64)> =
        sqlx::query_as("select id, status, subtotal from orders.orders")
            .fetch_all(&mut orders)
            .await?;
    for (id, status, subtotal) in rows {
        let id = id.to_string();
        let net = captured.remove(&id).unwrap_or(0) - refunded.get(&id).copied().unwrap_or(0);
        let due = if status == "confirmed" { subtotal } else { 0 };
        found.must("I5", net == due, || format!("order {id} is {status}: {net} kept of {due}"));
    }
    let stray: i64 =
        captured.iter().map(|(id, amount)| amount - refunded.get(id).unwrap_or(&0)).sum();
    found.must("I5", stray == 0, || format!("{stray} captured for orders that are not there"));
    orders.close().await?;
    Ok(())
}

fn order_of(line: &Value) -> String {
    let order = line.get("order_id").or_else(|| line.get("order"));
    order.and_then(Value::as_str).unwrap_or_default().to_owned()
}
