//! What the demo prints at its end.

use std::fmt::Write;
use std::path::Path;

use activities::{Currency, Money};
use comfy_table::{Table, presets};
use serde_json::json;

use super::tally::Tally;
use crate::verify::Verdict;

/// What came of a run.
pub(super) struct Report {
    pub(super) tally: Tally,
    pub(super) verdict: Verdict,
}

/// What the person at the terminal can go on with.
pub(super) struct Next<'a> {
    pub(super) url: String,
    pub(super) operators_url: String,
    pub(super) simulator_url: String,
    pub(super) shop_key: &'a str,
    pub(super) operator_key: &'a str,
    pub(super) sku: &'a str,
    pub(super) currency: Currency,
    pub(super) data_dir: &'a Path,
    pub(super) ledger: &'a Path,
    pub(super) are_databases_private: bool,
}

impl Report {
    /// Whether everything ended and every promise holds.
    pub(super) fn is_verified(&self) -> bool {
        self.verdict.is_clean() && self.verdict.at_rest
    }

    /// For programs: one object.
    pub(super) fn json(&self) -> serde_json::Value {
        let counts = self.tally.counts();
        json!({
            "carts": counts.carts,
            "completed": counts.completed,
            "declined": counts.declined,
            "out_of_stock": counts.out_of_stock,
            "cancelled": counts.cancelled,
            "failed": counts.failed.values().sum::<usize>(),
            "open": self.verdict.open,
            "seconds": (self.tally.within(1.0).0.as_secs_f64() * 100.0).round() / 100.0,
            "p50_ms": self.tally.answer_ms(0.5),
            "p99_ms": self.tally.answer_ms(0.99),
            "captured_minor": self.verdict.captured_minor(),
            "gateway_captured_minor": self.verdict.gateway_captured_minor(),
            "verified": self.is_verified(),
            "violations": self.verdict.violations,
        })
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let counts = self.tally.counts();
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["carts", &counts.carts.to_string()]);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("completed", counts.completed.to_string());
        row("declined", counts.declined.to_string());
        row("out of stock", counts.out_of_stock.to_string());
        row("cancelled", counts.cancelled.to_string());
        for (code, count) in &counts.failed {
            row(&format!("failed: {code}"), count.to_string());
        }
        row("open", counts.open.to_string());
        let quantiles =
            |of: &dyn Fn(f64) -> f64| format!("p50 {} ms, p99 {} ms", of(0.5), of(0.99));
        row("the API answers", quantiles(&|q| self.tally.answer_ms(q)));
        row("an order takes", quantiles(&|q| self.tally.flow_ms(q)));
        let (most, count) = self.tally.within(0.99);
        let rate = count as f64 / most.as_secs_f64().max(0.001);
        row("99 % ended", format!("within {:.1} s: {rate:.0} orders/s", most.as_secs_f64()));
        row("all ended", format!("within {:.1} s", self.tally.within(1.0).0.as_secs_f64()));
        for line in self.money() {
            row(&line.0, line.1);
        }
        table.trim_fmt()
    }

    fn money(&self) -> Vec<(String, String)> {
        let text = |code: &str, captured: i64, refunded: i64| match code.parse::<Currency>() {
            Ok(currency) => format!(
                "{} captured, {} given back",
                Money::new(captured, currency),
                Money::new(refunded, currency)
            ),
            Err(_) => format!("{code} {captured} captured, {refunded} given back (minor units)"),
        };
        let ours = self.verdict.books.iter().map(|book| {
            let text = text(&book.currency, book.captured, book.refunded);
            ("our books".to_owned(), text)
        });
        let theirs = self.verdict.sums.iter().map(|(currency, sums)| {
            let text = text(currency, sums.captured, sums.refunded);
            ("the gateway's ledger".to_owned(), text)
        });
        ours.chain(theirs).collect()
    }
}

impl Next<'_> {
    /// Lines to paste.
    pub(super) fn text(&self) -> String {
        let Self { url, operators_url, simulator_url, shop_key, operator_key, sku, .. } = self;
        let (currency, ledger) = (self.currency, self.ledger.display());
        // As it is here: it may not be on the path.
        let program = std::env::current_exe()
            .map_or_else(|_| "amends".to_owned(), |path| path.display().to_string());
        let mut text = String::from("Serving until Ctrl-C. Try:\n\n");
        // Writing to a String can not fail.
        let _ = write!(
            text,
            "  curl -s {url}/v1/checkouts -H 'Authorization: Bearer {shop_key}' \\\n    \
             -H 'Amends-Customer: me' -H 'Idempotency-Key: my-first' -H 'Prefer: wait=10' \\\n    \
             -H 'Content-Type: application/json' \\\n    \
             -d '{{\"items\":[{{\"sku\":\"{sku}\",\"quantity\":1}}],\"payment_method\":\"pm_card_visa\",\
             \"currency\":\"{currency}\"}}'\n\
             \x20 curl -s {url}/v1/orders -H 'Authorization: Bearer {shop_key}' \
             -H 'Amends-Customer: me'\n\
             \x20 export AMENDS_URL={operators_url} AMENDS_KEY={operator_key}\n\
             \x20 {program} list is:any --limit 10\n\
             \x20 curl -s {operators_url}/metrics\n\
             \x20 curl -s {simulator_url}/_sim/faults\n"
        );
        let data_dir = match self.are_databases_private {
            true => format!("--data-dir {} ", self.data_dir.display()),
            false => String::new(),
        };
        let _ = write!(text, "  {program} verify {data_dir}--ledger {ledger}");
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use activities::order_store::Books;
    use activities::verify::Violation;

    use super::*;
    use crate::verify::gateway_book::Sums;

    fn report(open: u64, violations: Vec<Violation>) -> Report {
        let books =
            Books { currency: "USD".to_owned(), captured: 7_000, refunded: 50, confirmed: 6_950 };
        let verdict = Verdict {
            at_rest: open == 0,
            open,
            orders: 1,
            reservations: 1,
            charges: 1,
            foreign: 0,
            books: vec![books],
            sums: BTreeMap::from([("USD".to_owned(), Sums { captured: 7_000, refunded: 50 })]),
            violations,
        };
        Report { tally: Tally::new().unwrap(), verdict }
    }

    #[test]
    fn the_object_has_what_scripts_look_for() {
        let json = report(0, Vec::new()).json();
        let keys = [
            "carts",
            "completed",
            "declined",
            "out_of_stock",
            "cancelled",
            "open",
            "seconds",
            "p50_ms",
            "p99_ms",
            "captured_minor",
            "gateway_captured_minor",
            "verified",
            "violations",
        ];
        assert!(keys.iter().all(|key| json.get(key).is_some()), "{json}");
        assert_eq!(json["captured_minor"], json["gateway_captured_minor"]);
        assert_eq!(json["verified"], true);
    }

    #[test]
    fn what_is_still_open_is_not_verified() {
        assert!(!report(1, Vec::new()).is_verified());
        let broken = Violation {
            invariant: "charged_once".to_owned(),
            id: "1".to_owned(),
            detail: String::new(),
        };
        assert!(!report(0, vec![broken]).is_verified());
    }

    #[test]
    fn money_is_shown_to_the_cent() {
        let table = report(0, Vec::new()).table();
        assert!(table.contains("USD 70.00 captured, USD 0.50 given back"), "{table}");
    }
}
