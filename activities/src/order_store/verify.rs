//! Which rows of the orders and their payments break a promise.

use super::Orders;
use crate::database::DatabaseError;
use crate::verify::{Moment, VIOLATIONS_MAX, Violation};

pub(super) const STATEMENTS: [&str; 8] = [
    SUBTOTAL_IS_SUM_OF_LINES,
    MONEY_IN_BOUNDS,
    PAYMENT_IS_OF_THE_TOTAL,
    REFUNDED_IS_SUM_OF_REFUNDS,
    CONFIRMED_IS_CAPTURED,
    CANCELLED_HOLDS_NO_MONEY,
    NO_ORDER_HALF_WAY,
    NO_PAYMENT_HALF_WAY,
];

/// Both ways: lines without an order count too.
const SUBTOTAL_IS_SUM_OF_LINES: &str = "
    select 'subtotal_is_sum_of_lines' as invariant, coalesce(id, line.order_id)::text as id,
           format('subtotal %s, lines %s', subtotal, coalesce(line.sum, 0)) as detail
    from orders.orders
    full join (
        select order_id, sum(line_total) as sum from orders.order_line group by order_id
    ) as line on line.order_id = orders.id
    where subtotal is distinct from coalesce(line.sum, 0)
    limit $1";

/// A check of the table too; asked again, in case somebody dropped it.
const MONEY_IN_BOUNDS: &str = "
    select 'refunded_captured_authorized_amount' as invariant, order_id::text as id,
           format('refunded %s, captured %s, authorized %s, amount %s',
                  refunded, captured, authorized, amount) as detail
    from orders.payment
    where not (0 <= refunded and refunded <= captured and captured <= authorized
               and authorized <= amount)
    limit $1";

const PAYMENT_IS_OF_THE_TOTAL: &str = "
    select 'payment_is_of_the_total' as invariant, id::text,
           format('total %s %s, payment %s %s', orders.currency, total, payment.currency, amount)
               as detail
    from orders.orders
    join orders.payment on payment.order_id = orders.id
    where (orders.currency, total) <> (payment.currency, amount)
    limit $1";

const REFUNDED_IS_SUM_OF_REFUNDS: &str = "
    select 'refunded_is_sum_of_refunds' as invariant, payment.order_id::text as id,
           format('refunded %s, refunds %s', refunded, coalesce(returned.sum, 0)) as detail
    from orders.payment
    left join (
        select order_id, sum(amount) as sum
        from orders.refund
        where status = 'succeeded'
        group by order_id
    ) as returned using (order_id)
    where refunded <> coalesce(returned.sum, 0)
    limit $1";

const CONFIRMED_IS_CAPTURED: &str = "
    select 'confirmed_is_captured' as invariant, id::text,
           format('total %s, captured %s', total, coalesce(captured, 0)) as detail
    from orders.orders
    left join orders.payment on payment.order_id = orders.id
    where orders.status = 'confirmed' and total <> coalesce(captured, 0)
    limit $1";

const CANCELLED_HOLDS_NO_MONEY: &str = "
    select 'cancelled_holds_no_money' as invariant, id::text,
           format('captured %s, refunded %s', captured, refunded) as detail
    from orders.orders
    join orders.payment on payment.order_id = orders.id
    where orders.status = 'cancelled' and captured <> refunded and not exists (
        select from orders.refund
        where refund.order_id = orders.id and refund.status in ('requested', 'pending')
    )
    limit $1";

const NO_ORDER_HALF_WAY: &str = "
    select 'no_order_half_way' as invariant, id::text, status as detail
    from orders.orders
    where status = 'pending'
    limit $1";

const NO_PAYMENT_HALF_WAY: &str = "
    select 'no_payment_half_way' as invariant, order_id::text as id, status as detail
    from orders.payment
    where status in ('created', 'requires_action', 'processing', 'authorized', 'unknown')
    limit $1";

impl Orders {
    /// The promises that are broken now: at most [`VIOLATIONS_MAX`] of each kind. Empty is good.
    pub async fn verify(&self, moment: Moment) -> Result<Vec<Violation>, DatabaseError> {
        let statements: &[&'static str] = match moment {
            Moment::Always => &STATEMENTS[..6],
            Moment::AtRest => &STATEMENTS,
        };
        let mut violations = Vec::new();
        for statement in statements {
            let query = sqlx::query_as(*statement).bind(VIOLATIONS_MAX);
            violations.extend(self.database.scan::<Violation>(query).await?);
        }
        Ok(violations)
    }
}
