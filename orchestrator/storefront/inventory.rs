//! How many of a product can be had.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use gateway::Problem;
use serde_json::json;

use super::Storefront;
use super::problems::{PRODUCT_NOT_FOUND, of_store};

/// `GET /v1/inventory/{sku}`: a hint. Only a checkout reserves anything.
pub(super) async fn availability(
    State(shop): State<Storefront>,
    Path(sku): Path<String>,
) -> Result<Response, Problem> {
    let stock = shop.shop.availability(&sku).await.map_err(|error| of_store(&error))?;
    let stock = stock.ok_or_else(|| Problem::new(&PRODUCT_NOT_FOUND))?;
    let fresh = [(header::CACHE_CONTROL, "private, max-age=300")];
    let body = json!({"sku": stock.sku, "available": stock.available.max(0)});
    Ok((fresh, axum::Json(body)).into_response())
}
