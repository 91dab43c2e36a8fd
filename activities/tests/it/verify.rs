//! `verify` finds what is broken, by name. A check that can not find anything is worth nothing: each
//! promise is broken here on purpose, around the tables' own checks.

use activities::OrderId;
use activities::verify::{Moment, Violation};

use crate::support::{attempt, capture, create, inventory_with, orders, reserve};

/// Exactly these, whatever the detail says.
fn assert_found(violations: &[Violation], expected: &[(&str, &str)]) {
    let found: Vec<_> = violations.iter().map(|v| (v.invariant.as_str(), v.id.as_str())).collect();
    assert_eq!(found, expected, "{violations:#?}");
}

#[tokio::test]
async fn verify_finds_stock_out_of_bounds() {
    let (inventory, database) = inventory_with(&[("a", 5), ("b", 5)]).await;
    database
        .execute(
            "alter table inventory.stock drop constraint stock_never_oversold;
             update inventory.stock set reserved = 6 where sku = 'b'",
        )
        .await;
    let found = inventory.verify(Moment::Always).await.unwrap();
    assert_found(&found, &[("stock_in_bounds", "b"), ("reserved_is_sum_of_lines", "b")]);
    assert_eq!(found[0].detail, "on hand 5, reserved 6");
}

#[tokio::test]
async fn verify_finds_reserved_that_nobody_holds_and_lines_of_nothing() {
    let (inventory, database) = inventory_with(&[("a", 5), ("b", 5)]).await;
    let order_id = OrderId::random();
    reserve(&inventory, &attempt(), order_id, &[("a", 2)]).await.unwrap();
    assert_found(&inventory.verify(Moment::Always).await.unwrap(), &[]);
    let half_way = [("no_reservation_half_way", order_id.to_string())];
    let half_way = [(half_way[0].0, half_way[0].1.as_str())];
    assert_found(&inventory.verify(Moment::AtRest).await.unwrap(), &half_way);

    database.execute("update inventory.stock set reserved = 1 where sku = 'a'").await;
    let found = inventory.verify(Moment::Always).await.unwrap();
    assert_found(&found, &[("reserved_is_sum_of_lines", "a")]);
    database.execute("update inventory.reservation_line set sku = 'ghost'").await;
    let found = inventory.verify(Moment::Always).await.unwrap();
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[tokio::test]
async fn verify_finds_stock_that_nobody_booked() {
    let (inventory, database) = inventory_with(&[("a", 5), ("b", 5)]).await;
    database.execute("update inventory.stock set on_hand = 4 where sku = 'a'").await;
    database.execute("delete from inventory.stock where sku = 'b'").await;
    let found = inventory.verify(Moment::Always).await.unwrap();
    let name = "on_hand_is_sum_of_movements";
    let mut ids: Vec<_> = found.iter().map(|v| (v.invariant.as_str(), v.id.as_str())).collect();
    ids.sort();
    assert_eq!(ids, [(name, "a"), (name, "b")]);
}

#[tokio::test]
async fn verify_finds_each_way_money_can_be_wrong() {
    let drop_checks = "alter table orders.payment drop constraint payment_never_more_than_agreed,
                       drop constraint payment_captured_has_money";
    let cases: [(&str, &str); 6] = [
        ("subtotal_is_sum_of_lines", "update orders.order_line set quantity = 7"),
        ("refunded_captured_authorized_amount", "update orders.payment set authorized = 200"),
        ("payment_is_of_the_total", "update orders.payment set amount = 300"),
        (
            "refunded_is_sum_of_refunds",
            "insert into orders.refund (id, order_id, amount, reason, status)
             select gen_random_uuid(), order_id, 1, 'gift', 'succeeded' from orders.payment",
        ),
        (
            "confirmed_is_captured",
            "update orders.payment set captured = 249;
             update orders.orders set status = 'confirmed', confirmed_at = now()",
        ),
        (
            "cancelled_holds_no_money",
            "update orders.orders
             set status = 'cancelled', cancelled_at = now(), cancel_reason = 'admin'",
        ),
    ];
    for (invariant, sql) in cases {
        let (orders, database) = orders().await;
        let order_id = OrderId::random();
        create(&orders, &attempt(), order_id).await.unwrap();
        capture(&database, order_id, 250).await;
        assert_found(&orders.verify(Moment::Always).await.unwrap(), &[]);
        database.execute(drop_checks).await;
        database.execute(sql).await;
        let found = orders.verify(Moment::Always).await.unwrap();
        assert_found(&found, &[(invariant, &order_id.to_string())]);
    }
}

#[tokio::test]
async fn verify_finds_what_is_half_way_at_rest() {
    let (orders, database) = orders().await;
    let order_id = OrderId::random();
    create(&orders, &attempt(), order_id).await.unwrap();
    database
        .execute(&format!(
            "insert into orders.payment (order_id, intent_id, status, currency, amount)
             values ('{order_id}', 'pi_1', 'unknown', 'USD', 250)"
        ))
        .await;
    assert_found(&orders.verify(Moment::Always).await.unwrap(), &[]);
    let id = order_id.to_string();
    let expected = [("no_order_half_way", id.as_str()), ("no_payment_half_way", id.as_str())];
    assert_found(&orders.verify(Moment::AtRest).await.unwrap(), &expected);
}

#[tokio::test]
async fn the_tables_refuse_what_verify_looks_for() {
    let (_, database) = inventory_with(&[("a", 5)]).await;
    let mut connection = database.connect().await;
    for (constraint, sql) in [
        ("stock_never_oversold", "update inventory.stock set reserved = 6"),
        ("stock_never_oversold", "update inventory.stock set reserved = -1"),
        (
            "stock_movement_goes_its_way",
            "insert into inventory.stock_movement (sku, delta, kind, ref) values ('a', 1, 'sale', 'x')",
        ),
        (
            "reservation_expires_while_held",
            "insert into inventory.reservation (order_id, state) values (gen_random_uuid(), 'held')",
        ),
    ] {
        let error = sqlx::query(sql).execute(&mut connection).await.unwrap_err();
        let named = error.as_database_error().and_then(|error| error.constraint());
        assert_eq!(named, Some(constraint), "{sql}");
    }
}
