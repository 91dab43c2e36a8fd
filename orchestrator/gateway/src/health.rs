//! Whether the program lives and is ready, and its metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::request_id::Plain;
use crate::routes::{Access, Routes};

/// One thing the program needs.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What: "amends database".
    pub name: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// What is the matter, in words fit for anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

type Ready = Arc<dyn Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync>;
type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// When it was asked, and what the answer was.
type Answered = (Instant, Vec<Check>);

/// How long an answer holds. Anybody may ask as often as they like: the databases are asked so often.
const HOLDS: Duration = Duration::from_secs(1);

/// What the program tells about itself.
#[derive(Clone)]
pub struct Health {
    ready: Ready,
    /// The last answer. Locked while it is asked: one at a time.
    last: Arc<Mutex<Option<Answered>>>,
    metrics: Render,
}

impl Health {
    /// `ready` answers what the program needs; `metrics` renders Prometheus' text format.
    pub fn new(
        ready: impl Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync + 'static,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self { ready: Arc::new(ready), last: Arc::default(), metrics: Arc::new(metrics) }
    }

    async fn checks(&self) -> Vec<Check> {
        let mut last = self.last.lock().await;
        if let Some((at, checks)) = &*last
            && at.elapsed() < HOLDS
        {
            return checks.clone();
        }
        let checks = (self.ready)().await;
        *last = Some((Instant::now(), checks.clone()));
        checks
    }

    /// The routes of both doors.
    pub(crate) fn routes(self) -> Routes {
        let open = Access::Public("load balancers have no key; it says nothing of what is inside");
        let about = "200 when everything it needs is there, else 503 and what is missing";
        Routes::new()
            .get("/health/live", open, "200 while the program runs", live)
            .get("/health/ready", open, about, ready)
            .get("/health", open, about, ready)
            .get("/actuator/health", open, about, ready)
            .with_state(self)
    }

    /// The route of the operators' door.
    pub(crate) fn metrics_route(self) -> Routes {
        let open = Access::Public("on the operators' own listener; Prometheus has no key");
        Routes::new()
            .get("/metrics", open, "metrics in Prometheus' text format", metrics)
            .with_state(self)
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

async fn live() -> Response {
    axum::Json(json!({"status": "UP"})).into_response()
}

async fn ready(State(health): State<Health>) -> Response {
    let checks = health.checks().await;
    let up = checks.iter().all(|check| check.ok);
    let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"status": if up { "UP" } else { "DOWN" }, "checks": checks});
    // Not a problem: a probe reads the status, and the body is the same shape both ways.
    (status, Extension(Plain), axum::Json(body)).into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], (health.metrics)()).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_the_databases_are_asked_once_a_second() {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = asked.clone();
        let ready = move || -> BoxFuture<'static, Vec<Check>> {
            counter.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { vec![Check { name: "amends database", ok: true, detail: None }] })
        };
        let health = Health::new(ready, String::new);
        for times in 1..=3 {
            let answers = join_all((0..100).map(|_| health.checks())).await;
            assert!(answers.iter().all(|checks| checks.len() == 1 && checks[0].ok));
            assert_eq!(asked.load(Ordering::Relaxed), times);
            tokio::time::advance(HOLDS).await;
        }
    }
}
