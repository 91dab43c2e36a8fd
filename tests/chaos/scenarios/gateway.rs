//! F7: the payment gateway answers wrongly, late, twice or not at all.

use std::path::PathBuf;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

use super::{mixed, three_nodes};
use crate::report::Report;
use crate::run::{Run, Size};

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
        run.under_load(async { Ok(()) }).await?;
        for kind in KINDS {
            run.log.count(kind, run.cluster.simulator.injected(kind).await);
        }
        let mut report = run.finish().await?;
        report.needs(&KINDS);
        Ok(report)
    }
    .boxed_local()
}

/// Everything it can do wrong, often.
fn worst_day() -> Value {
    json!({
        "rules": [
            {"op": "confirm", "kind": "late_delivery", "millis": 1_000, "probability": 0.01, "attempts_max": 1},
            {"op": "confirm", "kind": "late_delivery", "millis": 15_000, "probability": 0.002, "attempts_max": 1},
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
