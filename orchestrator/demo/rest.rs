//! Waits until no saga is open.

use std::time::Duration;

use engine::client::Signal;
use engine::operator::Filter;
use engine::view::Phase;
use engine::{Client, Operator, Payload};
use tokio::time::Instant;
use uuid::Uuid;
use workflows::place_order::PAYMENT_EVENT;

/// How long what is open may take. Longer than the gateway's breaker stays open.
const REST_WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How long a saga waits for word of its payment before the word counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// The most sagas of a list.
const PAGE: u32 = 200;

/// Waits until no saga is open, but not for ever. Answers how many are.
pub(super) async fn wait(operator: &Operator) -> anyhow::Result<u64> {
    let began = Instant::now();
    let mut say_at = began + SAY_EVERY;
    loop {
        let open = operator.open_count().await?;
        if open == 0 || began.elapsed() > REST_WITHIN {
            return Ok(open);
        }
        if Instant::now() > say_at {
            say_at += SAY_EVERY;
            eprintln!("waiting for {open} open checkouts (`amends list` says why)");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Tells again, for ever, what was lost: a gateway sends its events for days until they are taken,
/// but the simulator's are gone when it is killed. A saga that is told asks the gateway itself.
pub(super) async fn redeliver(operator: Operator, client: Client) {
    loop {
        tokio::time::sleep(LOST_AFTER).await;
        if let Err(error) = redeliver_once(&operator, &client).await {
            tracing::debug!(%error, "the lost events were not told again");
        }
    }
}

async fn redeliver_once(operator: &Operator, client: &Client) -> anyhow::Result<()> {
    let waiting = Filter { open: Some(true), phase: Some(Phase::Waiting), ..Filter::default() };
    let page = operator.list(&waiting, None, PAGE).await?;
    let lost_before = engine::now() - LOST_AFTER;
    let lost = page.sagas.iter().filter(|line| line.summary.changed_at < lost_before);
    let again = lost.map(|line| Signal {
        saga: line.summary.id,
        message_id: Uuid::now_v7(),
        name: PAYMENT_EVENT.to_owned(),
        payload: Payload::null(),
    });
    client.signal(again.collect()).await?;
    Ok(())
}
