//! What the gateway said about an intent, and how that changes our row of it.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use uuid::Uuid;

use super::PaymentStore;
use crate::database::DatabaseError;
use crate::money::Money;
use crate::order::OrderId;
use crate::payment_gateway::intent::{Intent, Refund};

pub(super) const STATEMENTS: [&str; 3] = [CHANGE, REFUND, SUM_REFUNDS];

/// Writes a row or moves it along, for many orders at once; never backwards, and never the row of
/// another intent. Rows are locked in the order of the order's id. An order that does not exist has
/// no payment.
const CHANGE: &str = "
    insert into orders.payment as payment
        (order_id, intent_id, status, currency, amount, authorized, captured, decline_code,
         next_action)
    select change.order_id, change.intent_id, change.status, change.currency, change.amount,
           change.authorized, change.captured, change.decline_code, change.next_action::jsonb
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                $7::bigint[], $8::text[], $9::text[])
        as change (order_id, intent_id, status, currency, amount, authorized, captured,
                   decline_code, next_action)
    join orders.orders on orders.id = change.order_id
    order by change.order_id
    on conflict (order_id) do update
    set status = excluded.status,
        authorized = greatest(payment.authorized, excluded.authorized),
        captured = excluded.captured,
        decline_code = coalesce(excluded.decline_code, payment.decline_code),
        next_action = excluded.next_action,
        updated_at = now()
    where payment.intent_id = excluded.intent_id
      and case payment.status
              when 'captured' then false
              when 'voided' then false
              when 'authorized' then excluded.status in ('captured', 'voided', 'unknown')
              else excluded.status <> 'created'
          end
    returning order_id";

/// By the gateway's id: a refund that is seen again has another status at most, and never one that
/// came before: whoever asked earlier may write later. Answers those that are new or changed.
const REFUND: &str = "
    insert into orders.refund as refund (id, order_id, amount, reason, status, gateway_refund_id)
    select gen_random_uuid(), seen.order_id, seen.amount, seen.reason, seen.status,
           seen.gateway_refund_id
    from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[])
        as seen (order_id, amount, reason, status, gateway_refund_id)
    join orders.payment using (order_id)
    order by seen.gateway_refund_id
    on conflict (gateway_refund_id) do update
    set status = excluded.status, updated_at = now()
    where case refund.status
              when 'failed' then false
              when 'canceled' then false
              when 'succeeded' then excluded.status in ('failed', 'canceled')
              else refund.status <> excluded.status
          end
    returning gateway_refund_id, status";

const SUM_REFUNDS: &str = "
    update orders.payment
    set refunded = (
            select coalesce(sum(amount), 0)
            from orders.refund
            where refund.order_id = payment.order_id and refund.status = 'succeeded'
        ),
        updated_at = now()
    where order_id = any($1)";

/// Where a payment stands, as the migration describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PaymentStatus {
    Created,
    RequiresAction,
    Processing,
    Captured,
    Declined,
    Voided,
    Unknown,
}

/// A row of `orders.payment` as it should be now.
#[derive(Clone, Debug)]
pub(crate) struct PaymentChange {
    pub(crate) order_id: OrderId,
    pub(crate) intent_id: String,
    pub(crate) status: PaymentStatus,
    pub(crate) amount: Money,
    pub(crate) captured: i64,
    pub(crate) decline_code: Option<String>,
    /// Where the customer authenticates.
    pub(crate) action_url: Option<String>,
}

/// A row of `orders.refund`.
#[derive(Clone, Debug)]
pub(crate) struct RefundRow {
    order_id: OrderId,
    amount: i64,
    reason: &'static str,
    status: &'static str,
    gateway_refund_id: String,
}

impl PaymentChange {
    pub(crate) fn new(
        order_id: OrderId,
        intent_id: &str,
        amount: Money,
        status: PaymentStatus,
    ) -> Self {
        let intent_id = intent_id.to_owned();
        let (decline_code, action_url) = (None, None);
        Self { order_id, intent_id, status, amount, captured: 0, decline_code, action_url }
    }

    /// Whether the row must be written now: without it no money may move.
    pub(super) fn is_new(&self) -> bool {
        self.status == PaymentStatus::Created
    }

    /// All of what `intent` received.
    pub(crate) fn captured(order_id: OrderId, intent: &Intent, amount: Money) -> Self {
        let change = Self::new(order_id, &intent.id, amount, PaymentStatus::Captured);
        Self { captured: intent.amount_received, ..change }
    }
}

impl RefundRow {
    /// One that takes a checkout back.
    pub(crate) fn new(order_id: OrderId, refund: &Refund) -> Self {
        Self {
            order_id,
            amount: refund.amount,
            reason: "checkout_undone",
            status: refund.status.name(),
            gateway_refund_id: refund.id.clone(),
        }
    }

    /// One that the gateway tells of. If it is new to our book, somebody made it there.
    pub(super) fn seen(order_id: OrderId, refund: &Refund) -> Self {
        Self { reason: "made_at_gateway", ..Self::new(order_id, refund) }
    }
}

impl PaymentStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::RequiresAction => "requires_action",
            Self::Processing => "processing",
            Self::Captured => "captured",
            Self::Declined => "declined",
            Self::Voided => "voided",
            Self::Unknown => "unknown",
        }
    }
}

impl PaymentStore {
    /// Writes a state that is not the end of a step (`processing`, `unknown`), so that people and
    /// reconciliation see it.
    pub(crate) async fn note(&self, payment: PaymentChange) -> Result<(), DatabaseError> {
        let payments = [&payment];
        let columns = Columns::of(&payments);
        self.database.fetch_all::<(Uuid,)>(bind(&columns)).await?;
        Ok(())
    }
}

/// Moves rows along; answers the orders whose row is written. At most one change an order.
pub(super) async fn change(
    connection: &mut PgConnection,
    payments: &[&PaymentChange],
) -> Result<BTreeSet<OrderId>, sqlx::Error> {
    let columns = Columns::of(payments);
    let rows = bind(&columns).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(order_id,): (Uuid,)| OrderId(order_id)).collect())
}

/// Writes refunds and sums them up; answers the ids and states of those that are new or changed.
pub(super) async fn refund(
    connection: &mut PgConnection,
    refunds: &[&RefundRow],
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let order_ids: Vec<Uuid> = refunds.iter().map(|refund| refund.order_id.0).collect();
    let changed = sqlx::query_as(REFUND)
        .bind(&order_ids)
        .bind(refunds.iter().map(|refund| refund.amount).collect::<Vec<_>>())
        .bind(refunds.iter().map(|refund| refund.reason).collect::<Vec<_>>())
        .bind(refunds.iter().map(|refund| refund.status).collect::<Vec<_>>())
        .bind(refunds.iter().map(|refund| refund.gateway_refund_id.as_str()).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
    sqlx::query(SUM_REFUNDS).bind(order_ids).execute(connection).await?;
    Ok(changed)
}

struct Columns<'a> {
    order_ids: Vec<Uuid>,
    intent_ids: Vec<&'a str>,
    statuses: Vec<&'static str>,
    currencies: Vec<&'static str>,
    amounts: Vec<i64>,
    authorized: Vec<i64>,
    captured: Vec<i64>,
    decline_codes: Vec<Option<&'a str>>,
    next_actions: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn of(payments: &[&'a PaymentChange]) -> Self {
        let action = |payment: &PaymentChange| {
            let url = payment.action_url.as_deref()?;
            Some(serde_json::json!({ "redirect_to_url": url }).to_string())
        };
        Self {
            order_ids: payments.iter().map(|payment| payment.order_id.0).collect(),
            intent_ids: payments.iter().map(|payment| payment.intent_id.as_str()).collect(),
            statuses: payments.iter().map(|payment| payment.status.name()).collect(),
            currencies: payments.iter().map(|payment| payment.amount.currency.code()).collect(),
            amounts: payments.iter().map(|payment| payment.amount.value).collect(),
            // A charge is authorized and captured in one.
            authorized: payments.iter().map(|payment| payment.captured).collect(),
            captured: payments.iter().map(|payment| payment.captured).collect(),
            decline_codes: payments.iter().map(|p| p.decline_code.as_deref()).collect(),
            next_actions: payments.iter().map(|payment| action(payment)).collect(),
        }
    }
}

fn bind<'q>(
    columns: &'q Columns<'_>,
) -> sqlx::query::QueryAs<'q, sqlx::Postgres, (Uuid,), sqlx::postgres::PgArguments> {
    sqlx::query_as(CHANGE)
        .bind(&columns.order_ids)
        .bind(&columns.intent_ids)
        .bind(&columns.statuses)
        .bind(&columns.currencies)
        .bind(&columns.amounts)
        .bind(&columns.authorized)
        .bind(&columns.captured)
        .bind(&columns.decline_codes)
        .bind(&columns.next_actions)
}
