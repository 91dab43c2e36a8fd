//! Receive: stock that comes in, booked once by its reference.

use sqlx::PgConnection;

use crate::database::DatabaseError;
use crate::order::{Line, quantities};

use super::Inventory;

pub(super) const STATEMENTS: [&str; 3] = [KNOW, LOCK, BOOK];

/// How many products one transaction takes.
const LINES_MAX: usize = 1000;

/// A product is known from its first delivery on, even one of nothing.
const KNOW: &str = "
    insert into inventory.stock (sku, on_hand)
    select sku, 0 from unnest($1::text[]) as line (sku)
    order by sku
    on conflict (sku) do nothing";

const LOCK: &str = "
    select sku from inventory.stock where sku = any($1) order by sku for update";

/// What was booked under the same reference before is left as it is.
const BOOK: &str = "
    with moved as (
        insert into inventory.stock_movement (sku, delta, kind, ref)
        select line.sku, line.quantity, $3, $4
        from unnest($1::text[], $2::bigint[]) as line (sku, quantity)
        where line.quantity > 0
        on conflict (kind, ref, sku) do nothing
        returning sku, delta
    )
    update inventory.stock
    set on_hand = stock.on_hand + moved.delta, updated_at = now()
    from moved
    where stock.sku = moved.sku";

/// Stock that comes in.
#[derive(Clone, Copy, Debug)]
pub struct Receipt<'a> {
    /// Why.
    pub kind: ReceiptKind,
    /// What names the delivery: a product is booked once under it.
    pub reference: &'a str,
    /// How many of each; a quantity of 0 makes a product known.
    pub lines: &'a [Line],
}

/// Why stock comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// The first count.
    Initial,
    /// A delivery.
    Receipt,
}

impl Inventory {
    /// Books what came in, some products at a time. A repeat under the same reference books what the
    /// first one left out and nothing else. Answers how many products were booked.
    pub async fn receive(&self, receipt: Receipt<'_>) -> Result<u64, DatabaseError> {
        let lines: Vec<_> = quantities(receipt.lines).into_iter().collect();
        let mut booked = 0;
        for lines in lines.chunks(LINES_MAX) {
            let (skus, counts): (Vec<&str>, Vec<i64>) = lines.iter().copied().unzip();
            let mut transaction = self.database.begin().await?;
            booked += transaction
                .run(async |connection| book(connection, &receipt, &skus, &counts).await)
                .await?;
            transaction.commit().await?;
        }
        Ok(booked)
    }
}

async fn book(
    connection: &mut PgConnection,
    receipt: &Receipt<'_>,
    skus: &[&str],
    counts: &[i64],
) -> Result<u64, sqlx::Error> {
    let kind = match receipt.kind {
        ReceiptKind::Initial => "initial",
        ReceiptKind::Receipt => "receipt",
    };
    sqlx::query(KNOW).bind(skus).execute(&mut *connection).await?;
    sqlx::query(LOCK).bind(skus).execute(&mut *connection).await?;
    let query = sqlx::query(BOOK).bind(skus).bind(counts).bind(kind).bind(receipt.reference);
    Ok(query.execute(&mut *connection).await?.rows_affected())
}
