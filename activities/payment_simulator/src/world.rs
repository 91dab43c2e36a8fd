//! Everything the gateway knows. One lock guards it; nothing waits while holding it.

mod change;
mod read;

use std::collections::HashMap;

use axum::body::Bytes;
use serde_json::value::RawValue;

use crate::error::StripeError;
use crate::events::{Cause, Event, Events};
use crate::fault_plan::{Break, FaultKind};
use crate::faults::{Draw, Faults};
use crate::idempotency::{Fingerprint, Keys, SavedAnswer};
use crate::intent::{Fact, Intent};
use crate::intent_body;
use crate::ledger::{LedgerEvent, Line, Totals, timestamp};
use crate::log::{Log, Record, RecordRef, Synced};
use crate::refund::{Refund, RefundStatus};

pub(crate) struct World {
    intents: Table<Intent>,
    refunds: Table<Refund>,
    pub(crate) keys: Keys,
    events: Events,
    pub(crate) totals: Totals,
    log: Log,
    /// The last change's place in the log.
    seq: u64,
    base_url: String,
}

/// Rows in the order of their creation.
struct Table<T> {
    rows: Vec<T>,
    index: HashMap<String, usize>,
}

/// What surrounds one change.
pub(crate) struct Context<'a> {
    /// The key and what it was first used for.
    pub(crate) key: Option<(&'a str, &'a Fingerprint)>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) draw: &'a Draw,
    pub(crate) faults: &'a Faults,
    /// The simulator's clock.
    pub(crate) now_ms: i64,
    pub(crate) real_ms: i64,
}

/// What one request did, before it is written down.
struct Change {
    status: u16,
    body: String,
    intent: Option<usize>,
    refund: Option<usize>,
    fact: Option<Fact>,
}

/// What one request did; to be answered once it is synced.
pub(crate) struct Applied {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// `None`: there was nothing to write.
    pub(crate) synced: Option<Synced>,
    pub(crate) events: Vec<Event>,
    pub(crate) due: Option<Due>,
}

/// Something that completes by itself, at unix milliseconds of the real clock.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Due {
    Intent(String, i64),
    Refund(String, i64),
}

impl World {
    pub(crate) fn new(log: Log, base_url: String) -> World {
        World {
            intents: Table { rows: Vec::new(), index: HashMap::new() },
            refunds: Table { rows: Vec::new(), index: HashMap::new() },
            keys: Keys::default(),
            events: Events::default(),
            totals: Totals::default(),
            log,
            seq: 0,
            base_url,
        }
    }

    /// Takes in what an earlier run wrote. Returns the clock's offset, in seconds.
    pub(crate) fn restore(&mut self, records: Vec<Record>) -> i64 {
        let mut offset_seconds = 0;
        for record in records {
            if let Some(intent) = record.intent {
                self.intents.put(intent.id.clone(), intent);
            }
            if let Some(refund) = record.refund {
                self.refunds.put(refund.id.clone(), refund);
            }
            if let Some(answer) = record.answer {
                let body = Bytes::from(answer.body.get().to_owned());
                self.keys.keep(&answer, body, 0);
            }
            if let Some(line) = record.ledger {
                self.totals.add(&line);
            }
            offset_seconds = record.clock_offset_seconds.unwrap_or(offset_seconds);
        }
        offset_seconds
    }

    /// The last change's place in the log.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// What waits to complete by itself.
    pub(crate) fn all_due(&self) -> Vec<Due> {
        let intents = self.intents.rows.iter().filter_map(due_of_intent);
        intents.chain(self.refunds.rows.iter().filter_map(due_of_refund)).collect()
    }

    /// Writes down that the clock was moved, and forgets the keys that are now too old.
    pub(crate) fn clock_moved(&mut self, offset_seconds: i64, now_ms: i64) -> Synced {
        self.keys.expire(now_ms);
        self.seq += 1;
        let clock_offset_seconds = Some(offset_seconds);
        self.log.append(self.seq, &RecordRef { clock_offset_seconds, ..RecordRef::default() })
    }

    /// Keeps an answer for the key without executing anything.
    fn refuse(&mut self, mut error: StripeError, cx: &Context<'_>) -> Applied {
        let body = error.body(cx.request_id.unwrap_or_default());
        let body = String::from_utf8(body).unwrap_or_default();
        let status = error.status.as_u16();
        self.commit(Change { status, body, intent: None, refund: None, fact: None }, cx)
    }

    /// Hands a change to the log and makes its events. The caller answers when it is synced.
    fn commit(&mut self, change: Change, cx: &Context<'_>) -> Applied {
        let Change { mut status, mut body, intent, refund, fact } = change;
        let touched = intent.is_some();
        let written = touched || cx.key.is_some();
        self.seq += u64::from(written);
        if touched && matches!(cx.draw.breaks, Some((Break::Error500Committed, _))) {
            cx.faults.count(FaultKind::Error500Committed);
            let mut error = StripeError::broken(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
            status = error.status.as_u16();
            body = String::from_utf8(error.body(cx.request_id.unwrap_or_default()))
                .unwrap_or_default();
        }
        let answer = cx.key.map(|(key, fingerprint)| SavedAnswer {
            key: key.to_owned(),
            fingerprint: fingerprint.clone(),
            status,
            body: RawValue::from_string(body.clone()).unwrap_or_default(),
            at_ms: cx.now_ms,
        });
        let body = Bytes::from(body);
        if let Some(answer) = &answer {
            self.keys.keep(answer, body.clone(), self.seq);
        }
        if let Some(index) = intent {
            self.intents.rows[index].seq = self.seq;
        }
        if let Some(index) = refund {
            self.refunds.rows[index].seq = self.seq;
        }
        let intent = intent.map(|index| &self.intents.rows[index]);
        let refund = refund.map(|index| &self.refunds.rows[index]);
        let line = intent.and_then(|intent| line(intent, refund, fact, cx));
        let synced = written.then(|| {
            let (answer, ledger) = (answer.as_ref(), line.as_ref());
            let record = RecordRef { intent, refund, answer, ledger, clock_offset_seconds: None };
            self.log.append(self.seq, &record)
        });
        if let Some(line) = &line {
            self.totals.add(line);
        }
        let due = refund.and_then(due_of_refund).or_else(|| intent.and_then(due_of_intent));
        let events = intent.map(|intent| events(intent, refund, fact, &self.base_url, cx));
        let events = events.unwrap_or_default();
        events.iter().for_each(|event| self.events.keep(event));
        Applied { status, body, synced, events, due }
    }
}

/// The ledger line of a change, if it is about money.
fn line<'a>(
    intent: &'a Intent,
    refund: Option<&'a Refund>,
    fact: Option<Fact>,
    cx: &Context<'a>,
) -> Option<Line<'a>> {
    let (event, amount_minor) = match (refund, fact) {
        (Some(refund), _) if refund.is_final_success() => (LedgerEvent::Refunded, refund.amount),
        (Some(_), _) | (None, None) => return None,
        (None, Some(Fact::Authorized)) => (LedgerEvent::Authorized, intent.amount_capturable),
        (None, Some(Fact::Captured)) => (LedgerEvent::Captured, intent.amount_received),
        (None, Some(Fact::Declined)) => (LedgerEvent::Declined, intent.amount),
        (None, Some(Fact::Canceled(held))) => (LedgerEvent::Voided, held?),
        (None, Some(Fact::ActionRequired | Fact::Processing)) => return None,
    };
    let of_refund = refund.and_then(|refund| refund.idempotency_key.as_deref());
    let key = cx.key.map(|(key, _)| key).or(of_refund);
    Some(Line {
        at: timestamp(cx.now_ms).into(),
        event,
        intent: intent.id.as_str().into(),
        charge: intent.charge.as_deref().map(Into::into),
        order_id: intent.order_id().map(Into::into),
        amount_minor,
        currency: intent.currency.as_str().into(),
        idempotency_key: key.map(Into::into),
    })
}

/// The events of a change, in the order Stripe makes them.
fn events(
    intent: &Intent,
    refund: Option<&Refund>,
    fact: Option<Fact>,
    base_url: &str,
    cx: &Context<'_>,
) -> Vec<Event> {
    let mut events = Vec::new();
    let mut add = |kind, object: String| {
        let Ok(object) = RawValue::from_string(object) else { return };
        let cause = Cause { request: cx.request_id, idempotency_key: cx.key.map(|(key, _)| key) };
        events.push(Event::new(new_id("evt"), kind, cx.now_ms / 1_000, &object, cause));
    };
    if let Some(kind) = fact.map(event_kind) {
        add(kind, intent_body::text(intent, base_url, false));
    }
    if let Some(refund) = refund {
        // A request made it; without one it settles.
        if cx.request_id.is_some() {
            add("refund.created", refund.text());
            add("charge.refunded", intent_body::charge_text(intent).unwrap_or_default());
        } else {
            add("refund.updated", refund.text());
        }
        if refund.status == RefundStatus::Failed {
            add("refund.failed", refund.text());
        }
    }
    events
}

fn event_kind(fact: Fact) -> &'static str {
    match fact {
        Fact::Authorized => "payment_intent.amount_capturable_updated",
        Fact::Captured => "payment_intent.succeeded",
        Fact::Declined => "payment_intent.payment_failed",
        Fact::ActionRequired => "payment_intent.requires_action",
        Fact::Processing => "payment_intent.processing",
        Fact::Canceled(_) => "payment_intent.canceled",
    }
}

fn due_of_intent(intent: &Intent) -> Option<Due> {
    let due_ms = intent.pending.as_ref()?.due_ms?;
    Some(Due::Intent(intent.id.clone(), due_ms))
}

fn due_of_refund(refund: &Refund) -> Option<Due> {
    Some(Due::Refund(refund.id.clone(), refund.settles?.due_ms))
}

/// An id in Stripe's form.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

impl<T> Table<T> {
    fn find(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    fn put(&mut self, id: String, row: T) -> usize {
        if let Some(&at) = self.index.get(&id) {
            self.rows[at] = row;
            return at;
        }
        self.index.insert(id, self.rows.len());
        self.rows.push(row);
        self.rows.len() - 1
    }
}
