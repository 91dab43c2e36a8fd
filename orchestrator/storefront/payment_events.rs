//! The payment gateway's webhook: checked, kept, answered, and only then told to the saga, which asks
//! the gateway itself. An event is a hint, never a fact.

mod follow_refunds;
mod tell;

pub(super) use follow_refunds::follow_refunds;
pub(super) use tell::{Kept, tell, tell_again};

use activities::payment_gateway::signature::EventError;
use activities::payment_store::REFUND_EVENTS;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gateway::Problem;
use serde_json::json;

use super::Storefront;
use super::problems::{SIGNATURE_INVALID, of_trouble};

/// Stripe's events hold a whole object; the largest are some tens of KiB.
const EVENT_BYTES_MAX: usize = 256 * 1024;

/// `POST /v1/payment-events`
pub(super) async fn take(
    State(shop): State<Storefront>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = gateway::body::read(&parts.headers, body, EVENT_BYTES_MAX).await?;
    let signature = parts.headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let event = shop.shop.verified_event(signature.unwrap_or_default(), &body).map_err(refused)?;
    let (id, kind) = (event.id.clone(), event.kind.clone());
    let kept = shop.shop.record_event(event).await.map_err(|trouble| of_trouble(&trouble))?;
    match kept.whose {
        // Our book follows it, whatever its saga is at, and long after.
        Some(_) if REFUND_EVENTS.contains(&kind.as_str()) => {}
        Some((_, saga)) => {
            // The task that takes them ends with the program only.
            let _ = shop.kept_events.send(Kept::new(saga, id, &kind, kept.book)).await;
        }
        None => tracing::info!(event = id, "a payment event that belongs to no saga is kept"),
    }
    Ok((StatusCode::OK, axum::Json(json!({"received": true}))).into_response())
}

fn refused(error: EventError) -> Problem {
    let detail = match &error {
        EventError::Body(_) => "The body is signed, but it is no event.".to_owned(),
        EventError::Header | EventError::Stale | EventError::Mismatch => format!("{error}."),
    };
    Problem::new(&SIGNATURE_INVALID).detail(detail)
}
