//! The customer's own orders.

use activities::OrderId;
use activities::order_store::{Cursor, Order, OrderSummary};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use gateway::problem::{FieldError, INVALID_QUERY};
use gateway::{Customer, Problem};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Storefront;
use super::checkout_view::in_books;
use super::problems::{ORDER_NOT_FOUND, of_store};

/// The most orders of a page, and how many there are unless something else is said.
const LIMIT_MAX: u32 = 200;
const LIMIT: u32 = 20;

/// `GET /v1/orders?limit=&after=`
pub(super) async fn list(
    State(shop): State<Storefront>,
    Customer(customer): Customer,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let (after, limit) = page(query)?;
    // One more than asked for, to know whether there is a next page.
    let orders = shop.shop.orders(&customer, after, limit + 1).await;
    let mut orders = orders.map_err(|error| of_store(&error))?;
    let more = orders.len() > limit as usize;
    orders.truncate(limit as usize);
    let next = orders.last().filter(|_| more).map(|last| write_cursor(last.cursor()));
    let orders: Vec<_> = orders.iter().map(line).collect();
    Ok(axum::Json(json!({"orders": orders, "next": next})).into_response())
}

/// `GET /v1/orders/{id}`
pub(super) async fn one(
    State(shop): State<Storefront>,
    Customer(customer): Customer,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let not_found = || Problem::new(&ORDER_NOT_FOUND);
    let id: OrderId = id.parse().map_err(|_| not_found())?;
    let order = shop.shop.order(id, &customer).await.map_err(|error| of_store(&error))?;
    Ok(axum::Json(whole(&order.ok_or_else(not_found)?)).into_response())
}

fn line(order: &OrderSummary) -> Value {
    json!({
        "id": order.order_id,
        "status": order.status,
        "total": order.total,
        "created_at": rfc3339(order.created_at),
        "links": links(order.order_id, order.saga_id),
    })
}

fn whole(order: &Order) -> Value {
    json!({
        "id": order.order_id,
        "status": order.status,
        "cancel_reason": order.cancel_reason,
        "total": order.total,
        "money": in_books(order.payment.as_ref()),
        "created_at": rfc3339(order.created_at),
        "lines": order.lines,
        "links": links(order.order_id, order.saga_id),
    })
}

fn links(order: OrderId, saga: uuid::Uuid) -> Value {
    json!({"self": format!("/v1/orders/{order}"), "checkout": format!("/v1/checkouts/{saga}")})
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

fn page(query: Vec<(String, String)>) -> Result<(Option<Cursor>, u32), Problem> {
    let (mut after, mut limit, mut errors) = (None, LIMIT, Vec::new());
    let mut seen = Vec::new();
    let mut wrong = |name: &str, code, detail: String| {
        errors.push(FieldError { pointer: format!("?{name}"), code, detail });
    };
    for (name, value) in query {
        match name.as_str() {
            _ if seen.contains(&name) => wrong(&name, "twice", "is given twice".to_owned()),
            "limit" => match value.parse() {
                Ok(number) if (1..=LIMIT_MAX).contains(&number) => limit = number,
                _ => wrong(&name, "out_of_range", format!("must be 1 to {LIMIT_MAX}")),
            },
            "after" => match read_cursor(&value) {
                Some(cursor) => after = Some(cursor),
                None => wrong(&name, "wrong_type", "must be `next` of the page before".to_owned()),
            },
            _ => wrong(&name, "unknown_field", "is not known; known: limit, after".to_owned()),
        }
        seen.push(name);
    }
    match errors.is_empty() {
        true => Ok((after, limit)),
        false => Err(Problem::new(&INVALID_QUERY).errors(errors)),
    }
}

/// `<microseconds since 1970>.<order id>`; opaque to clients.
fn write_cursor(cursor: Cursor) -> String {
    let micros = cursor.created_at.unix_timestamp_nanos() / 1_000;
    format!("{micros}.{}", cursor.order_id)
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let (micros, order_id) = text.split_once('.')?;
    let micros: i64 = micros.parse().ok()?;
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()?;
    Some(Cursor { created_at: at, order_id: order_id.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_000).unwrap();
        let cursor = Cursor { created_at: at, order_id: OrderId(uuid::Uuid::from_u128(7)) };
        assert_eq!(read_cursor(&write_cursor(cursor)), Some(cursor));
        for garbage in
            ["", ".", "1.", "x.y", "9223372036854775807.00000000-0000-0000-0000-000000000007"]
        {
            assert_eq!(read_cursor(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_page_is_bounded() {
        let read = |name: &str, value: &str| page(vec![(name.to_owned(), value.to_owned())]);
        assert_eq!(read("limit", "200").unwrap().1, 200);
        for (name, value) in
            [("limit", "201"), ("limit", "0"), ("limit", "x"), ("offset", "1"), ("after", "x")]
        {
            assert_eq!(
                read(name, value).unwrap_err().code().name,
                "invalid_query",
                "{name}={value}"
            );
        }
    }
}
