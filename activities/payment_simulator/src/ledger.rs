//! The ledger's lines, and the sums over them: what the money did, whatever anybody was told.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What happened to money, or could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LedgerEvent {
    Authorized,
    Captured,
    Voided,
    Refunded,
    Declined,
}

/// One line of the ledger file. Its fields are a contract with every test that reads the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line<'a> {
    /// RFC 3339, UTC, on the simulator's clock.
    pub(crate) at: Cow<'a, str>,
    pub(crate) event: LedgerEvent,
    pub(crate) intent: Cow<'a, str>,
    pub(crate) charge: Option<Cow<'a, str>>,
    /// The intent's `metadata[order_id]`.
    pub(crate) order_id: Option<Cow<'a, str>>,
    pub(crate) amount_minor: i64,
    pub(crate) currency: Cow<'a, str>,
    /// Of the request that caused it; null for what happened by itself.
    pub(crate) idempotency_key: Option<Cow<'a, str>>,
}

/// Captured and refunded, by order and in all. Minor units, whatever the currency.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    orders: HashMap<String, Sums>,
    all: Sums,
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Sums {
    captured: i64,
    refunded: i64,
}

/// The answer of `GET /_sim/ledger`.
#[derive(Serialize)]
pub(crate) struct TotalsBody<'a> {
    orders: BTreeMap<&'a str, Sums>,
    captured_minor: i64,
    refunded_minor: i64,
}

impl Sums {
    fn add(&mut self, line: &Line<'_>) {
        match line.event {
            LedgerEvent::Captured => self.captured += line.amount_minor,
            LedgerEvent::Refunded => self.refunded += line.amount_minor,
            LedgerEvent::Authorized | LedgerEvent::Voided | LedgerEvent::Declined => {}
        }
    }
}

impl Totals {
    pub(crate) fn add(&mut self, line: &Line<'_>) {
        self.all.add(line);
        let moves = matches!(line.event, LedgerEvent::Captured | LedgerEvent::Refunded);
        if let (true, Some(order)) = (moves, &line.order_id) {
            self.orders.entry(order.to_string()).or_default().add(line);
        }
    }

    pub(crate) fn body(&self) -> TotalsBody<'_> {
        TotalsBody {
            orders: self.orders.iter().map(|(id, sums)| (id.as_str(), *sums)).collect(),
            captured_minor: self.all.captured,
            refunded_minor: self.all.refunded,
        }
    }
}

/// A moment as the ledger writes it.
pub(crate) fn timestamp(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}
