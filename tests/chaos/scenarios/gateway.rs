//! F7: the payment gateway answers wrongly, late, twice or not at all.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{mixed, three_nodes};
use crate::harness::http;
use crate::report::Report;
use crate::run::{Run, Size};

/// How soon an event is in the book: one that gets lost is sent again.
const KEPT_WITHIN: Duration = Duration::from_secs(30);

const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

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
    let end = Instant::now() + KEPT_WITHIN;
    let intent = loop {
        let new = [("amount", "500"), ("currency", "usd")];
        match asked(http().post(&gateway).form(&new)).await {
            Ok(intent) => break intent,
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => tokio::time::sleep(ASK_AGAIN_AFTER).await,
        }
    };
    let id = intent["id"].as_str().context("an intent without an id")?.to_owned();
    let url = format!("{gateway}/{id}");
    // A cancellation whose answer was lost is refused when it is sent again: what counts is how it stands.
    let is_cancelled = async || -> anyhow::Result<bool> {
        let _ = asked(http().post(format!("{url}/cancel"))).await;
        Ok(asked(http().get(&url)).await?["status"] == "canceled")
    };
    while !is_cancelled().await.unwrap_or(false) {
        ensure!(Instant::now() < end, "{id} can not be cancelled");
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
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

/// What the gateway answers, if it does.
async fn asked(request: RequestBuilder) -> anyhow::Result<Value> {
    let request = request.bearer_auth("sk_test_simulator").timeout(KEPT_WITHIN);
    Ok(request.send().await?.error_for_status()?.json().await?)
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
