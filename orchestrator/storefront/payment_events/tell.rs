//! Tells sagas of payment events that are kept, unless they know already.

use std::sync::Arc;
use std::time::Duration;

use activities::payment_store::Book;
use engine::SagaId;
use engine::client::{Signal, Told};
use engine::payload::Payload;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::storefront::checkout_view::PAYMENT_EVENT;
use crate::storefront::{Sagas, Stores};

/// The most events that are told at once.
const TELL_MAX: usize = 256;

/// How long an event is kept before it counts as not told, and how often that is looked at.
pub(super) const TELL_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long it is told again and again. Its saga has asked the gateway by itself by then.
pub(super) const TELL_AGAIN_FOR: Duration = Duration::from_mins(20);

/// What message ids derive from: the same event twice is one message.
const EVENTS: Uuid = Uuid::from_bytes(*b"amends\0gw-events");

/// How long a request of ours that is under way gets to bring the same news by itself, as nearly all
/// do: its answer and the event leave the gateway together.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// An event that is kept and belongs to a saga.
pub(in crate::storefront) struct Kept {
    saga: SagaId,
    event: String,
    news: News,
}

/// Whether the saga is to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    /// It knows, or it is nothing to it.
    None,
    /// Its own request may bring it.
    Perhaps,
    /// It is.
    Yes,
}

/// Tells sagas of kept events, all that wait in one go, until the last sender is gone. What can not
/// be told stays in the queue of reconciliation.
pub(in crate::storefront) async fn tell(
    sagas: Arc<dyn Sagas>,
    shop: Arc<dyn Stores>,
    mut queue: mpsc::Receiver<Kept>,
) {
    let mut batch = Vec::new();
    // In the order of their time.
    let mut later: Vec<(Instant, Kept)> = Vec::new();
    loop {
        let next = later.first().map(|(at, _)| *at);
        tokio::select! {
            received = queue.recv_many(&mut batch, TELL_MAX) => if received == 0 { return },
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let now = Instant::now();
                let due = later.partition_point(|(at, _)| *at <= now).min(TELL_MAX);
                let due = later.drain(..due).map(|(_, kept)| kept).collect();
                batch.extend(looked_at_again(&*shop, due).await);
            }
        }
        let at = Instant::now() + ANSWER_WAIT;
        let perhaps = batch.extract_if(.., |kept| kept.news == News::Perhaps);
        later.extend(perhaps.map(|kept| (at, kept)));
        tell_now(&*sagas, &*shop, std::mem::take(&mut batch)).await;
    }
}

/// What our book says of them by now.
async fn looked_at_again(shop: &dyn Stores, mut events: Vec<Kept>) -> Vec<Kept> {
    let ids = events.iter().map(|kept| kept.event.clone()).collect();
    let agreed = shop.events_agreed(ids).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the book of payments could not be asked");
        Vec::new()
    });
    for kept in &mut events {
        kept.news = if agreed.contains(&kept.event) { News::None } else { News::Yes };
    }
    events
}

async fn tell_now(sagas: &dyn Sagas, shop: &dyn Stores, events: Vec<Kept>) {
    let (news, mut processed): (Vec<Kept>, Vec<Kept>) =
        events.into_iter().partition(|kept| kept.news == News::Yes);
    if !news.is_empty() {
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
    }
    if processed.is_empty() {
        return;
    }
    let events: Vec<String> = processed.into_iter().map(|kept| kept.event).collect();
    if let Err(error) = shop.events_processed(events).await {
        tracing::info!(%error, "payment events were told, but stay in the queue");
    }
}

/// Tells sagas again of what was kept and could not be told: their database was away, or the program
/// ended in between. Goes on until the last sender is gone.
pub(in crate::storefront) async fn tell_again(
    shop: Arc<dyn Stores>,
    queue: mpsc::WeakSender<Kept>,
) {
    loop {
        tokio::time::sleep(TELL_AGAIN_AFTER).await;
        let Some(queue) = queue.upgrade() else { return };
        let now = engine::now();
        let waiting = shop.events_unprocessed(now - TELL_AGAIN_FOR..now - TELL_AGAIN_AFTER).await;
        match waiting {
            Ok(events) => {
                for event in events {
                    let Some(saga) = event.saga_id.map(SagaId::from) else { continue };
                    // As when it came: the task that takes them ends with the program only.
                    let kept = Kept::new(saga, event.id, &event.kind, Book::Asking);
                    let _ = queue.send(kept).await;
                }
            }
            Err(error) => tracing::debug!(%error, "kept payment events could not be read"),
        }
    }
}

impl Kept {
    pub(in crate::storefront) fn new(saga: SagaId, event: String, kind: &str, book: Book) -> Self {
        let news = match book {
            _ if !may_change_a_saga(kind) => News::None,
            Book::Agrees => News::None,
            Book::Asking => News::Perhaps,
            Book::Differs => News::Yes,
        };
        Self { saga, event, news }
    }

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
