//! Looking: lists, one saga, its journal, the nodes.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::query::Listing;
use super::{Engine, Id, no_such, operate_problem, store_problem};
use crate::etag;
use crate::problem::Problem;

/// `GET /admin/v1/sagas`
pub(super) async fn list(
    State(engine): State<Engine>,
    listing: Listing,
) -> Result<Response, Problem> {
    let Listing { filter, before, limit } = listing;
    let page = engine.list(filter, before, limit).await.map_err(|error| operate_problem(&error))?;
    Ok(axum::Json(page).into_response())
}

/// `GET /admin/v1/sagas/{id}`
pub(super) async fn one(
    State(engine): State<Engine>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = engine.view(id).await.map_err(|error| store_problem(&error))?;
    let view = view.ok_or_else(|| no_such(id))?;
    let tag = [(header::ETAG, etag::etag(view.summary.rev))];
    // Why an open saga waits changes with the time and with its owner, and no rev tells of it.
    match view.summary.ending.is_some() && etag::has(&headers, view.summary.rev) {
        true => Ok((StatusCode::NOT_MODIFIED, tag).into_response()),
        false => Ok((tag, axum::Json(view)).into_response()),
    }
}

/// `GET /admin/v1/sagas/{id}/history`
pub(super) async fn history(State(engine): State<Engine>, Id(id): Id) -> Result<Response, Problem> {
    let entries = engine.history(id).await.map_err(|error| store_problem(&error))?;
    let entries = entries.ok_or_else(|| no_such(id))?.into_iter().map(|entry| {
        let at = entry.at.format(&Rfc3339).unwrap_or_default();
        json!({"seq": entry.seq, "at": at, "facts": entry.facts})
    });
    Ok(axum::Json(json!({"id": id, "entries": entries.collect::<Vec<_>>()})).into_response())
}

/// `GET /admin/v1/nodes`
pub(super) async fn nodes(State(engine): State<Engine>) -> Result<Response, Problem> {
    let nodes = engine.nodes().await.map_err(|error| store_problem(&error))?;
    Ok(axum::Json(json!({"nodes": nodes})).into_response())
}
