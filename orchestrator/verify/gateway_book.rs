//! What the payment gateway did with the money, order by order: from the simulator's ledger file or
//! from the gateway's own API.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use activities::OrderId;
use activities::payment_gateway::PaymentGateway;
use activities::payment_gateway::answer::GatewayFailure;
use activities::payment_gateway::intent::{Intent, RefundStatus};
use anyhow::{Context, anyhow, bail};
use futures_util::{StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio::time::Instant;

/// How many payments are asked for their refunds at once; the client's own limits come on top.
const ASKED_AT_ONCE: usize = 16;
/// How long one answer may take with all its waiting in line.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// How long the whole list may take: at a real gateway's rate it has many pages.
const LIST_WITHIN: Duration = Duration::from_mins(30);

/// What happened to one order's money at the gateway, in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charges {
    /// How many charges were captured.
    pub(crate) captures: u32,
    /// Taken.
    pub(crate) captured: i64,
    /// Given back of that.
    pub(crate) refunded: i64,
    /// ISO 4217, upper case. Empty: nothing moved.
    pub(crate) currency: String,
}

/// What the gateway took and gave back in one currency, in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) captured: i64,
    pub(crate) refunded: i64,
}

/// The gateway's book.
#[derive(Clone, Debug, Default)]
pub(crate) struct GatewayBook {
    /// By order. Only orders whose money moved.
    pub(crate) orders: BTreeMap<OrderId, Charges>,
    /// By currency.
    pub(crate) sums: BTreeMap<String, Sums>,
    /// Captured payments that say no order of ours.
    pub(crate) nameless: Vec<String>,
    /// Captured payments of others who use the same account.
    pub(crate) foreign: u64,
}

/// One line of the ledger file. What else stands there is of no use here.
#[derive(Deserialize)]
struct Line {
    event: String,
    intent: String,
    order_id: Option<String>,
    amount_minor: i64,
    currency: String,
}

impl GatewayBook {
    /// From a ledger file. A last line that is being written is left out.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the ledger {} can not be read", path.display()))?;
        Self::parse(&text).with_context(|| format!("the ledger {} is damaged", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut book = Self::default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (line, number) in whole.lines().zip(1..) {
            let line: Line =
                serde_json::from_str(line).with_context(|| format!("line {number}"))?;
            let order = line.order_id.as_deref();
            match line.event.as_str() {
                "captured" => {
                    book.add(order, &line.intent, &line.currency, (line.amount_minor, 0));
                }
                "refunded" => {
                    book.add(order, &line.intent, &line.currency, (0, line.amount_minor));
                }
                "authorized" | "voided" | "declined" => {}
                other => bail!("line {number}: there is no event `{other}`"),
            }
        }
        Ok(book)
    }

    /// From the gateway itself: every payment of the account, and the refunds of each captured one.
    pub(crate) async fn ask(gateway: &PaymentGateway) -> anyhow::Result<Self> {
        let seen = std::sync::Mutex::new(Vec::new());
        let keep = |intent: &Intent| {
            if let (true, Ok(mut seen)) = (intent.amount_received > 0, seen.lock()) {
                seen.push(intent.clone());
            }
            // Never the one that is looked for: the list goes on to its end.
            false
        };
        let deadline = Instant::now() + LIST_WITHIN;
        let listed = gateway.list_intents(.., keep, deadline).await;
        listed.map_err(said).context("the payment gateway did not list all its payments")?;
        let captured = seen.into_inner().unwrap_or_default();
        let (ours, foreign): (Vec<_>, Vec<_>) =
            captured.into_iter().partition(|intent| intent.metadata.contains_key("order_id"));
        let refunds = futures_util::stream::iter(ours.into_iter().map(|intent| async move {
            let refunds = gateway.list_refunds(&intent.id, Instant::now() + ANSWER_WITHIN).await?;
            let done = refunds.iter().filter(|refund| refund.status == RefundStatus::Succeeded);
            let refunded: i64 = done.map(|refund| refund.amount).sum();
            Ok::<_, GatewayFailure>((intent, refunded))
        }));
        let ours: Vec<_> = refunds
            .buffer_unordered(ASKED_AT_ONCE)
            .try_collect()
            .await
            .map_err(said)
            .context("the payment gateway did not list all its refunds")?;
        let mut book = Self { foreign: foreign.len() as u64, ..Self::default() };
        for (intent, refunded) in &ours {
            let order = intent.metadata.get("order_id").map(String::as_str);
            let moved = (intent.amount_received, *refunded);
            book.add(order, &intent.id, &intent.currency, moved);
        }
        Ok(book)
    }

    /// How many charges were captured.
    pub(crate) fn captures(&self) -> u64 {
        self.orders.values().map(|charges| u64::from(charges.captures)).sum()
    }

    fn add(
        &mut self,
        order: Option<&str>,
        intent: &str,
        currency: &str,
        (captured, refunded): (i64, i64),
    ) {
        let currency = currency.to_ascii_uppercase();
        let sums = self.sums.entry(currency.clone()).or_default();
        sums.captured += captured;
        sums.refunded += refunded;
        let Some(order_id) = order.and_then(|order| order.parse().ok()) else {
            if captured > 0 {
                self.nameless.push(intent.to_owned());
            }
            return;
        };
        let charges = self.orders.entry(order_id).or_default();
        charges.captures += u32::from(captured > 0);
        charges.captured += captured;
        charges.refunded += refunded;
        charges.currency = currency;
    }
}

/// The failure as an operator reads it.
fn said(failure: GatewayFailure) -> anyhow::Error {
    let trouble = failure.trouble();
    anyhow!("{}: {}", trouble.code, trouble.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "018f0000-0000-7000-8000-000000000001";

    fn line(event: &str, order: &str, amount: i64) -> String {
        format!(
            "{{\"at\":\"2026-01-01T00:00:00Z\",\"event\":\"{event}\",\"intent\":\"pi_1\",\
             \"charge\":\"ch_1\",\"order_id\":{order},\"amount_minor\":{amount},\
             \"currency\":\"usd\",\"idempotency_key\":null}}\n"
        )
    }

    #[test]
    fn a_ledger_adds_up_by_order_and_currency() {
        let order = format!("\"{ORDER}\"");
        let text = [
            line("authorized", &order, 500),
            line("captured", &order, 500),
            line("refunded", &order, 200),
            line("declined", &order, 900),
            line("captured", "null", 70),
        ];
        let book = GatewayBook::parse(&text.concat()).unwrap();
        let charges = Charges { captures: 1, captured: 500, refunded: 200, currency: "USD".into() };
        assert_eq!(book.orders, BTreeMap::from([(ORDER.parse().unwrap(), charges)]));
        assert_eq!(book.sums["USD"], Sums { captured: 570, refunded: 200 });
        assert_eq!(book.nameless, ["pi_1"]);
    }

    #[test]
    fn a_line_that_is_being_written_is_left_out_and_a_damaged_one_is_named() {
        let whole = line("captured", "null", 70);
        let torn = format!("{whole}{}", &whole[..20]);
        assert_eq!(GatewayBook::parse(&torn).unwrap().sums["USD"].captured, 70);
        assert!(GatewayBook::parse("").unwrap().sums.is_empty());
        for damaged in ["{}\n".to_owned(), format!("{whole}nonsense\n"), line("moved", "null", 1)] {
            let error = format!("{:#}", GatewayBook::parse(&damaged).unwrap_err());
            assert!(error.contains("line "), "{error}");
        }
    }
}
