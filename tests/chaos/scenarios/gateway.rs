//! F7: the payment gateway answers wrongly, late, twice or not at all.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{mixed, three_nodes};
use crate::harness::http;
use crate::report::Report;
use crate::run::{Run, Size};

/// How soon an event is in the book: one that gets lost is sent again.
const KEPT_WITHIN: Duration = Duration::from_secs(30);

/// What must have happened.
const KINDS: [&str; 13] = [
    "error_500_committed",
    "error_500_not_committed",
    "error_503",
    "rate_limit_429",
    "timeout_after",
    "timeout_before",
    "reset_after",
    "late_delivery",
    "latency",
    "duplicate_webhook",
    "early_webhook",
    "delay_webhook",
    "drop_webhook",
];

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let mut run =
            Run::open(name, seed, size, &logs, &three_nodes(worst_day()), mixed()).await?;
        run.in_flight = 128;
        run.under_load(event_of_a_stranger(&run)).await?;
        for kind in KINDS {
            run.log.count(kind, run.cluster.simulator.injected(kind).await);
        }
        let mut report = run.finish().await?;
        report.needs(&KINDS);
        Ok(report)
    }
    .boxed_local()
}

/// An event of an intent that nobody here knows is kept for reconciliation, as is any other.
async fn event_of_a_stranger(run: &Run) -> anyhow::Result<()> {
    let gateway = format!("{}/v1/payment_intents", run.cluster.simulator.url);
    let post = async |url: &str, form: &[(&str, &str)]| -> anyhow::Result<Value> {
        let end = Instant::now() + KEPT_WITHIN;
        loop {
            let post = http().post(url).bearer_auth("sk_test_simulator").form(form);
            match post.timeout(KEPT_WITHIN).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer.json().await?),
                answer if Instant::now() > end => bail!("the gateway answers {answer:?}"),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let intent = post(&gateway, &[("amount", "500"), ("currency", "usd")]).await?;
    let id = intent["id"].as_str().context("an intent without an id")?.to_owned();
    post(&format!("{gateway}/{id}/cancel"), &[]).await?;
    let kept = format!("select count(*) from orders.gateway_event where intent_id = '{id}'");
    let end = Instant::now() + KEPT_WITHIN;
    while run.cluster.number(&run.cluster.databases.orders, &kept).await? == 0 {
        if Instant::now() > end {
            run.must("unknown events are kept", false, || format!("none of {id} is"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Everything it can do wrong, often.
fn worst_day() -> Value {
    json!({
        "rules": [
            {"op": "confirm", "kind": "late_delivery", "millis": 1_000, "probability": 0.01, "attempts_max": 1},
            {"op": "confirm", "kind": "late_delivery", "millis": 15_000, "probability": 0.002, "attempts_max": 1},
            {"op": "refund", "kind": "reset_after", "probability": 0.3, "attempts_max": 1},
            {"op": "refund", "kind": "late_delivery", "millis": 2_000, "probability": 0.1, "attempts_max": 1},
            {"op": "confirm", "kind": "timeout_after", "millis": 2_000, "probability": 0.01, "attempts_max": 1},
            {"op": "confirm", "kind": "timeout_before", "millis": 2_000, "probability": 0.005, "attempts_max": 1},
            {"op": "confirm", "kind": "reset_after", "probability": 0.02, "attempts_max": 1},
            {"op": "create", "kind": "reset_after", "probability": 0.02, "attempts_max": 1},
            {"op": "any", "kind": "error_500_committed", "probability": 0.01, "attempts_max": 1},
            {"op": "any", "kind": "error_500_not_committed", "probability": 0.01, "attempts_max": 1},
            {"op": "any", "kind": "error_503", "probability": 0.02},
            {"op": "any", "kind": "rate_limit_429", "probability": 0.02},
            {"op": "any", "kind": "latency", "millis": 150, "probability": 0.05},
            {"op": "confirm", "kind": "drop_webhook", "probability": 0.02},
            {"op": "any", "kind": "duplicate_webhook", "probability": 0.05},
            {"op": "confirm", "kind": "early_webhook", "probability": 0.05},
            {"op": "confirm", "kind": "delay_webhook", "millis": 3_000, "probability": 0.03}
        ],
        "challenges": {"after_millis": 300, "fail_share": 0.2}
    })
}
