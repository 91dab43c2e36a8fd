//! Whether the program lives and is ready, and its metrics.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;

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

/// What the program tells about itself.
#[derive(Clone)]
pub struct Health {
    ready: Ready,
    metrics: Render,
}

impl Health {
    /// `ready` answers what the program needs; `metrics` renders Prometheus' text format.
    pub fn new(
        ready: impl Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync + 'static,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self { ready: Arc::new(ready), metrics: Arc::new(metrics) }
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
    let checks = (health.ready)().await;
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
