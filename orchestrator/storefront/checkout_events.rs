//! Follow a checkout by server-sent events (WHATWG HTML, 9.2): each has the journal's `rev` as its id,
//! the last one is `done`.

use std::convert::Infallible;
use std::time::Duration;

use async_stream::stream;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use engine::client::WaitFor;
use engine::view::SagaView;
use futures_util::Stream;
use gateway::problem::BUSY;
use gateway::{Customer, Problem};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Storefront;
use super::checkout_view;
use super::checkouts::CheckoutId;

/// A comment is sent so often, so that nothing in between takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts before its client has to open it again.
const STREAM_TIME_MAX: Duration = Duration::from_secs(600);
/// How soon a client opens it again.
const RETRY: Duration = Duration::from_secs(2);

/// `GET /v1/checkouts/{id}/events`
pub(super) async fn follow(
    State(shop): State<Storefront>,
    Customer(customer): Customer,
    CheckoutId(id): CheckoutId,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = shop.own(&customer, id).await?;
    let place = shop.streams.clone().try_acquire_owned().map_err(|_| Problem::new(&BUSY))?;
    // Garbage is an id that was never sent: it begins with what is now.
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let events = Sse::new(events(shop, view, seen, place));
    Ok(events.keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

fn events(
    shop: Storefront,
    mut view: SagaView,
    seen: Option<i32>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let until = Instant::now() + STREAM_TIME_MAX;
    stream! {
        let _place = place;
        yield Ok(Event::default().retry(RETRY));
        let mut seen = seen;
        loop {
            let is_done = view.summary.ending.is_some();
            if is_done || seen.is_none_or(|seen| seen != view.summary.rev) {
                yield Ok(event(&shop, &view).await);
            }
            seen = Some(view.summary.rev);
            if is_done || shop.stopping.is_cancelled() || Instant::now() >= until {
                return;
            }
            let (id, change) = (view.summary.id, WaitFor::Change(view.summary.rev));
            match shop.wait(id, change, HEARTBEAT).await {
                Ok(Some(now)) => view = now,
                // The client opens it again, and goes on after the last event it has.
                Ok(None) | Err(_) => return,
            }
        }
    }
}

async fn event(shop: &Storefront, view: &SagaView) -> Event {
    let name = if checkout_view::status(view).is_final() { "done" } else { "progress" };
    let event = Event::default().id(view.summary.rev.to_string()).event(name);
    event.data(shop.body(view).await.to_string())
}
