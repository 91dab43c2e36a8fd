//! The same calls made by a plain program: no orchestrator, nothing durable around them, one transaction
//! a call. Killed in the middle it would leave stock reserved, orders pending and money taken.

use std::time::Duration;

use activities::payment_gateway::answer::GatewayFailure;
use activities::payment_gateway::intent::IntentStatus;
use activities::payment_gateway::{NewIntent, PaymentGateway};
use anyhow::{Context, ensure};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::Instant;
use uuid::Uuid;
use workflows::Checkout;

use crate::load::Job;
use crate::shop::Shop;

/// What such a program would have.
const CONNECTIONS: u32 = 16;
/// How long a call to the gateway may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The rows of stock are locked in their order, so that two baskets do not wait for each other; one that can
/// not be had breaks the table's constraint.
const HOLD: &str = "
    with locked as materialized (
        select stock.sku, line.quantity
        from unnest($2::text[], $3::bigint[]) as line (sku, quantity) join inventory.stock using (sku)
        order by sku
        for update of stock
    ), held as (
        insert into inventory.reservation (order_id, state, expires_at)
        values ($1, 'held', now() + interval '15 minutes')
    ), line as (
        insert into inventory.reservation_line (order_id, sku, quantity)
        select $1, sku, quantity from unnest($2::text[], $3::bigint[]) as line (sku, quantity)
    )
    update inventory.stock set reserved = reserved + locked.quantity, updated_at = now()
    from locked where stock.sku = locked.sku";
const SELL: &str = "
    with locked as materialized (
        select stock.sku, line.quantity
        from unnest($2::text[], $3::bigint[]) as line (sku, quantity) join inventory.stock using (sku)
        order by sku
        for update of stock
    ), sold as (
        update inventory.stock
        set on_hand = on_hand - locked.quantity, reserved = reserved - locked.quantity,
            updated_at = now()
        from locked where stock.sku = locked.sku
    ), booked as (
        insert into inventory.stock_movement (sku, delta, kind, ref)
        select sku, -quantity, 'sale', $1::text
        from unnest($2::text[], $3::bigint[]) as line (sku, quantity)
    )
    update inventory.reservation set state = 'committed', expires_at = null, closed_at = now()
    where order_id = $1";
const CREATE: &str = "
    with made as (
        insert into orders.orders (id, customer_id, saga_id, status, currency, subtotal)
        values ($1, $2, $1, 'pending', $3, $4)
    ), line as (
        insert into orders.order_line (order_id, sku, name, quantity, unit_price)
        select $1, sku, name, quantity, unit_price
        from unnest($5::text[], $6::text[], $7::bigint[], $8::bigint[])
            as line (sku, name, quantity, unit_price)
    )
    insert into orders.order_event (order_id, seq, type, actor) values ($1, 1, 'created', 'plain')";
const PREPARED: &str = "
    insert into orders.payment (order_id, intent_id, status, currency, amount)
    values ($1, $2, 'created', $3, $4)";
const CAPTURED: &str = "
    update orders.payment
    set status = 'captured', authorized = amount, captured = amount, updated_at = now()
    where order_id = $1";
const CONFIRM: &str = "
    with confirmed as (
        update orders.orders set status = 'confirmed', confirmed_at = now() where id = $1
    )
    insert into orders.order_event (order_id, seq, type, actor) values ($1, 2, 'confirmed', 'plain')";

/// Places orders.
pub(crate) struct Plain {
    shop: Shop,
    inventory: PgPool,
    orders: PgPool,
    gateway: PaymentGateway,
}

impl Plain {
    pub(crate) async fn open(shop: Shop) -> anyhow::Result<Self> {
        let pool = || {
            let options = PgPoolOptions::new().max_connections(CONNECTIONS);
            options.min_connections(CONNECTIONS).test_before_acquire(false)
        };
        let inventory = pool().connect(&shop.inventory_url).await?;
        let orders = pool().connect(&shop.orders_url).await?;
        Ok(Self { gateway: shop.gateway()?, inventory, orders, shop })
    }

    async fn reserve(&self, order: Uuid, lines: &Lines) -> anyhow::Result<()> {
        let hold = sqlx::query(HOLD).bind(order).bind(&lines.skus).bind(&lines.quantities);
        let held = hold.execute(&self.inventory).await?.rows_affected();
        ensure!(held == lines.skus.len() as u64, "a sku is not known");
        Ok(())
    }

    async fn create(&self, checkout: &Checkout, lines: &Lines) -> anyhow::Result<()> {
        let create = sqlx::query(CREATE)
            .bind(checkout.order_id.0)
            .bind(&checkout.customer_id)
            .bind(checkout.currency.code())
            .bind(checkout.total.value)
            .bind(&lines.skus)
            .bind(&lines.names)
            .bind(&lines.quantities)
            .bind(&lines.prices);
        create.execute(&self.orders).await?;
        Ok(())
    }

    async fn pay(&self, checkout: &Checkout) -> anyhow::Result<()> {
        let order = checkout.order_id.to_string();
        let (amount, currency) = (checkout.total.value, checkout.currency.code());
        let new = NewIntent { amount, currency, order_id: &order, saga_root: &order };
        let (create, confirm) = (format!("{order}/create"), format!("{order}/confirm"));
        let within = || Instant::now() + CALL_TIMEOUT;
        let intent = self.gateway.create_intent(new, &create, within()).await.map_err(failed)?;
        let prepared = sqlx::query(PREPARED).bind(checkout.order_id.0).bind(&intent.id);
        prepared.bind(currency).bind(amount).execute(&self.orders).await?;
        let method = &checkout.payment_method;
        let intent = self.gateway.confirm(&intent.id, method, None, &confirm, within()).await;
        let intent = intent.map_err(failed)?;
        ensure!(intent.status == IntentStatus::Succeeded, "{intent:?}");
        sqlx::query(CAPTURED).bind(checkout.order_id.0).execute(&self.orders).await?;
        Ok(())
    }

    async fn sell(&self, order: Uuid, lines: &Lines) -> anyhow::Result<()> {
        let sell = sqlx::query(SELL).bind(order).bind(&lines.skus).bind(&lines.quantities);
        sell.execute(&self.inventory).await?;
        Ok(())
    }
}

fn failed(failure: GatewayFailure) -> anyhow::Error {
    anyhow::anyhow!("{failure:?}")
}

impl Job for Plain {
    async fn run(&self) -> anyhow::Result<()> {
        let checkout = self.shop.checkout();
        let (order, lines) = (checkout.order_id.0, Lines::of(&checkout));
        self.reserve(order, &lines).await.context("reserve")?;
        self.create(&checkout, &lines).await.context("create")?;
        self.pay(&checkout).await.context("pay")?;
        self.sell(order, &lines).await.context("sell")?;
        sqlx::query(CONFIRM).bind(order).execute(&self.orders).await.context("confirm")?;
        Ok(())
    }
}

/// The columns of a basket. No cart names a sku twice.
struct Lines {
    skus: Vec<String>,
    names: Vec<String>,
    quantities: Vec<i64>,
    prices: Vec<i64>,
}

impl Lines {
    fn of(checkout: &Checkout) -> Self {
        let lines = &checkout.lines;
        Self {
            skus: lines.iter().map(|line| line.sku.clone()).collect(),
            names: lines.iter().map(|line| line.name.clone()).collect(),
            quantities: lines.iter().map(|line| line.quantity.into()).collect(),
            prices: lines.iter().map(|line| line.unit_price).collect(),
        }
    }
}
