//! Stripe's event objects, and the last of them for `GET /v1/events`.

use std::collections::VecDeque;

use axum::body::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

/// How many events can be listed; older ones are forgotten. They do not survive a restart.
const KEPT_MAX: usize = 10_000;

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    /// Unix seconds.
    pub(crate) created: i64,
    /// The whole event object.
    pub(crate) body: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct Events {
    kept: VecDeque<Event>,
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    api_version: &'static str,
    created: i64,
    data: Data<'a>,
    livemode: bool,
    pending_webhooks: u8,
    request: Cause<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct Data<'a> {
    object: &'a RawValue,
}

/// The request behind an event; nulls for what happened by itself.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Cause<'a> {
    #[serde(rename = "id")]
    pub(crate) request: Option<&'a str>,
    pub(crate) idempotency_key: Option<&'a str>,
}

impl Event {
    pub(crate) fn new(
        id: String,
        kind: &'static str,
        created: i64,
        object: &RawValue,
        cause: Cause<'_>,
    ) -> Event {
        let body = Body {
            id: &id,
            object: "event",
            api_version: "2026-07-29.dahlia",
            created,
            data: Data { object },
            livemode: false,
            pending_webhooks: 1,
            request: cause,
            kind,
        };
        let body = Bytes::from(serde_json::to_vec(&body).unwrap_or_default());
        Event { id, kind, created, body }
    }
}

impl Events {
    pub(crate) fn keep(&mut self, event: &Event) {
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(event.clone());
    }

    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Event> {
        self.kept.iter().rev()
    }
}
