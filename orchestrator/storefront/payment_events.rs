//! The payment gateway's webhook: checked, kept, answered, and only then told to the saga, which asks
//! the gateway itself. An event is a hint, never a fact.

use std::sync::Arc;
use std::time::Duration;

use activities::payment_gateway::signature::EventError;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::SagaId;
use engine::client::{Signal, Told};
use engine::payload::Payload;
use gateway::Problem;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Storefront;
use super::checkout_view::PAYMENT_EVENT;
use super::problems::{SIGNATURE_INVALID, of_trouble};
use super::{Sagas, Stores};

/// Stripe's events hold a whole object; the largest are some tens of KiB.
const EVENT_BYTES_MAX: usize = 256 * 1024;

/// The most events that are told at once.
const TELL_MAX: usize = 256;

/// How long an event is kept before it counts as not told, and how often that is looked at.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long it is told again and again. Its saga has asked the gateway by itself by then.
const TELL_AGAIN_FOR: Duration = Duration::from_mins(20);

/// What message ids derive from: the same event twice is one message.
const EVENTS: Uuid = Uuid::from_bytes(*b"amends\0gw-events");

/// `POST /v1/payment-events`
pub(super) async fn take(
    State(shop): State<Storefront>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = gateway::body::read(&parts.headers, body, EVENT_BYTES_MAX).await?;
    let signature = parts.headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let event = shop.shop.verified_event(signature.unwrap_or_default(), &body).map_err(refused)?;
    let (id, is_news) = (event.id.clone(), may_change_a_saga(&event.kind));
    let kept = shop.shop.record_event(event).await.map_err(|trouble| of_trouble(&trouble))?;
    match kept.whose {
        Some((_, saga)) => {
            // The task that takes them ends with the program only.
            let _ = shop.kept_events.send(Kept { saga, event: id, is_news }).await;
        }
        None => tracing::info!(event = id, "a payment event that belongs to no saga is kept"),
    }
    Ok((StatusCode::OK, axum::Json(json!({"received": true}))).into_response())
}

/// Whether somebody else than the saga's own calls may have caused it: the customer who authenticated,
/// the bank that decided later, a person at the gateway's dashboard.
fn may_change_a_saga(kind: &str) -> bool {
    matches!(
        kind,
        "payment_intent.succeeded"
            | "payment_intent.payment_failed"
            | "payment_intent.canceled"
            | "payment_intent.processing"
            | "payment_intent.amount_capturable_updated"
    )
}

/// An event that is kept and belongs to a saga.
pub(super) struct Kept {
    saga: SagaId,
    event: String,
    is_news: bool,
}

/// Tells sagas of kept events, all that wait in one go, until the last sender is gone. What can not
/// be told stays in the queue of reconciliation.
pub(super) async fn tell(
    sagas: Arc<dyn Sagas>,
    shop: Arc<dyn Stores>,
    mut queue: mpsc::Receiver<Kept>,
) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, TELL_MAX).await > 0 {
        let (news, mut processed): (Vec<Kept>, Vec<Kept>) =
            batch.drain(..).partition(|kept| kept.is_news);
        let signals = news.iter().map(Kept::signal).collect();
        match sagas.signal(signals).await {
            Ok(told) => processed.extend(news.into_iter().zip(told).filter_map(|(kept, told)| {
                let Kept { saga, event, .. } = &kept;
                let is_told = matches!(told, Told::Pending | Told::Taken);
                if !is_told {
                    tracing::debug!(%saga, event, ?told, "a payment event waits for reconciliation");
                }
                is_told.then_some(kept)
            })),
            Err(error) => {
                tracing::warn!(%error, events = news.len(), "payment events could not be told");
            }
        }
        let events: Vec<String> = processed.into_iter().map(|kept| kept.event).collect();
        if let Err(error) = shop.events_processed(events).await {
            tracing::info!(%error, "payment events were told, but stay in the queue");
        }
    }
}

/// Tells sagas again of what was kept and could not be told: their database was away, or the program
/// ended in between. Goes on until the last sender is gone.
pub(super) async fn tell_again(shop: Arc<dyn Stores>, queue: mpsc::WeakSender<Kept>) {
    loop {
        tokio::time::sleep(TELL_AGAIN_AFTER).await;
        let Some(queue) = queue.upgrade() else { return };
        let now = OffsetDateTime::now_utc();
        let waiting = shop.events_unprocessed(now - TELL_AGAIN_FOR..now - TELL_AGAIN_AFTER).await;
        match waiting {
            Ok(events) => {
                for event in events {
                    let Some(saga) = event.saga_id.map(SagaId::from) else { continue };
                    let is_news = may_change_a_saga(&event.kind);
                    // As above.
                    let _ = queue.send(Kept { saga, event: event.id, is_news }).await;
                }
            }
            Err(error) => tracing::debug!(%error, "kept payment events could not be read"),
        }
    }
}

impl Kept {
    fn signal(&self) -> Signal {
        let payload = Payload::encode(&json!({"event": self.event}));
        Signal {
            saga: self.saga,
            message_id: Uuid::new_v5(&EVENTS, self.event.as_bytes()),
            name: PAYMENT_EVENT.to_owned(),
            payload: payload.unwrap_or_else(|_| Payload::null()),
        }
    }
}

fn refused(error: EventError) -> Problem {
    let detail = match &error {
        EventError::Body(_) => "The body is signed, but it is no event.".to_owned(),
        EventError::Header | EventError::Stale | EventError::Mismatch => format!("{error}."),
    };
    Problem::new(&SIGNATURE_INVALID).detail(detail)
}
