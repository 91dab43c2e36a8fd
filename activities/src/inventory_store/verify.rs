//! Which rows of the inventory break a promise.

use super::Inventory;
use crate::database::DatabaseError;
use crate::verify::{Moment, VIOLATIONS_MAX, Violation};

pub(super) const STATEMENTS: [&str; 4] =
    [STOCK_IN_BOUNDS, RESERVED_IS_SUM_OF_LINES, ON_HAND_IS_SUM_OF_MOVEMENTS, NOTHING_HALF_WAY];

/// A check of the table too; asked again, in case somebody dropped it.
const STOCK_IN_BOUNDS: &str = "
    select 'stock_in_bounds' as invariant, sku as id,
           format('on hand %s, reserved %s', on_hand, reserved) as detail
    from inventory.stock
    where reserved < 0 or reserved > on_hand
    limit $1";

/// Both ways: a line of a sku that has no stock row, or of a reservation that is not there, counts too.
const RESERVED_IS_SUM_OF_LINES: &str = "
    select 'reserved_is_sum_of_lines' as invariant, sku as id,
           format('reserved %s, open lines %s', coalesce(stock.reserved, 0), coalesce(line.sum, 0))
               as detail
    from inventory.stock
    full join (
        select sku, sum(quantity) as sum
        from inventory.reservation_line
        left join inventory.reservation using (order_id)
        where state is null or state in ('held', 'pinned')
        group by sku
    ) as line using (sku)
    where coalesce(stock.reserved, 0) <> coalesce(line.sum, 0)
    limit $1";

const ON_HAND_IS_SUM_OF_MOVEMENTS: &str = "
    select 'on_hand_is_sum_of_movements' as invariant, sku as id,
           format('on hand %s, movements %s', coalesce(stock.on_hand, 0), coalesce(moved.sum, 0))
               as detail
    from inventory.stock
    full join (
        select sku, sum(delta) as sum from inventory.stock_movement group by sku
    ) as moved using (sku)
    where coalesce(stock.on_hand, 0) <> coalesce(moved.sum, 0)
    limit $1";

const NOTHING_HALF_WAY: &str = "
    select 'no_reservation_half_way' as invariant, order_id::text as id, state as detail
    from inventory.reservation
    where state in ('held', 'pinned')
    limit $1";

impl Inventory {
    /// The promises that are broken now: at most [`VIOLATIONS_MAX`] of each kind. Empty is good.
    pub async fn verify(&self, moment: Moment) -> Result<Vec<Violation>, DatabaseError> {
        let statements: &[&'static str] = match moment {
            Moment::Always => &STATEMENTS[..3],
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
