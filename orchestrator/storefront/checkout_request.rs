//! What a client sends to start a checkout: sku and quantity, never a price.

use std::collections::BTreeMap;

use activities::{Currency, Line, Money};
use gateway::Problem;
use gateway::body::fields::{Errors, Field, Fields};
use serde::Serialize;
use serde_json::Value;

const LINES_MAX: usize = 100;
const SKU_CHARS_MAX: usize = 64;
const QUANTITY_MAX: i64 = 999;

/// Where a text may look like a card number: one in ten of the numbers on goods (EAN-13) does.
pub(super) const NO_CARDS: [&str; 1] = ["/items/*/sku"];

/// A checkout as it was asked for. Its fingerprint is what the idempotency key stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CheckoutRequest {
    pub(super) items: Vec<Line>,
    pub(super) payment_method: String,
    pub(super) currency: Currency,
    pub(super) expected_total: Option<Money>,
}

impl CheckoutRequest {
    /// Reads it, or says everything that is wrong with it.
    pub(super) fn read(body: &Value) -> Result<Self, Problem> {
        let mut errors = Errors::default();
        let request = Self::fields(body, &mut errors);
        errors.problem()?;
        request.ok_or_else(|| Problem::new(&gateway::problem::INVALID_REQUEST))
    }

    fn fields(body: &Value, errors: &mut Errors) -> Option<Self> {
        let mut fields = Fields::of(body, errors)?;
        let items = fields.required("items", errors).and_then(|f| items(&f, errors));
        let payment_method =
            fields.required("payment_method", errors).and_then(|f| payment_method(&f, errors));
        let currency = fields.required("currency", errors).and_then(|f| read_currency(&f, errors));
        let expected_total =
            fields.optional("expected_total").map(|f| expected_total(f, currency, errors));
        fields.end(errors);
        Some(Self {
            items: items?,
            payment_method: payment_method?,
            currency: currency?,
            expected_total: expected_total.unwrap_or_default(),
        })
    }

    /// Each sku once, in the order of the sku: a basket may name one twice.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines: BTreeMap<&str, u32> = BTreeMap::new();
        for item in &self.items {
            *lines.entry(&item.sku).or_default() += item.quantity;
        }
        let line = |(sku, quantity): (&str, u32)| Line { sku: sku.to_owned(), quantity };
        lines.into_iter().map(line).collect()
    }

    /// An error for each item whose sku is one of these.
    pub(super) fn unknown_skus(&self, skus: &[String]) -> Errors {
        let mut errors = Errors::default();
        for (i, _) in self.items.iter().enumerate().filter(|(_, item)| skus.contains(&item.sku)) {
            // Without the sku: it may be a card number after all.
            let detail = format!("is no product that is sold in {}", self.currency);
            errors.push(format!("/items/{i}/sku"), "unknown_sku", detail);
        }
        errors
    }
}

fn items(field: &Field<'_>, errors: &mut Errors) -> Option<Vec<Line>> {
    let fields = field.list(1..=LINES_MAX, errors)?;
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    let mut lines = Vec::with_capacity(fields.len());
    for field in fields {
        let pointer = field.pointer().to_owned();
        let Some(mut item) = field.object(errors) else { continue };
        let sku = item.required("sku", errors).and_then(|f| f.word(1..=SKU_CHARS_MAX, errors));
        let quantity =
            item.required("quantity", errors).and_then(|f| f.integer(1..=QUANTITY_MAX, errors));
        item.end(errors);
        let (Some(sku), Some(quantity)) = (sku, quantity) else { continue };
        let sum = sums.entry(sku.to_owned()).or_default();
        *sum += quantity;
        if *sum > QUANTITY_MAX {
            let detail = format!("all lines of a sku together may have {QUANTITY_MAX}, has {sum}");
            errors.push(format!("{pointer}/quantity"), "out_of_range", detail);
        }
        lines.push(Line { sku: sku.to_owned(), quantity: u32::try_from(quantity).unwrap_or(0) });
    }
    Some(lines)
}

fn payment_method(field: &Field<'_>, errors: &mut Errors) -> Option<String> {
    let text = field.word(1..=255, errors)?;
    let is_token = text.strip_prefix("pm_").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    match is_token {
        true => Some(text.to_owned()),
        false => field.wrong("invalid_format", "must be a token of the gateway: pm_..", errors),
    }
}

fn read_currency(field: &Field<'_>, errors: &mut Errors) -> Option<Currency> {
    let text = field.text(1..=64, errors)?;
    text.parse().ok().or_else(|| {
        let codes = Currency::ALL.map(Currency::code).join(", ");
        field.wrong("unsupported_currency", format!("must be one of {codes}"), errors)
    })
}

fn expected_total(field: Field<'_>, of: Option<Currency>, errors: &mut Errors) -> Option<Money> {
    let mut fields = field.object(errors)?;
    let value = fields.required("value", errors).and_then(|f| f.integer(0..=i64::MAX, errors));
    let currency = fields.required("currency", errors).and_then(|f| {
        let currency = read_currency(&f, errors)?;
        match of.is_none_or(|of| of == currency) {
            true => Some(currency),
            false => f.wrong("currency_mismatch", "must be the checkout's currency", errors),
        }
    });
    fields.end(errors);
    Some(Money::new(value?, currency?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "items": [{"sku": "1095275", "quantity": 1}],
            "payment_method": "pm_card_visa",
            "currency": "USD",
            "expected_total": {"value": 429, "currency": "USD"},
        })
    }

    fn wrong(body: &Value) -> Vec<String> {
        let problem = CheckoutRequest::read(body).unwrap_err();
        assert_eq!(problem.code().name, "invalid_request");
        let body = problem.body("");
        let text = |e: &Value, name: &str| e[name].as_str().unwrap().to_owned();
        let errors = body["errors"].as_array().unwrap().iter();
        errors.map(|e| text(e, "pointer") + " " + &text(e, "code")).collect()
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut body = good();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    }

    #[test]
    fn a_good_request_is_read() {
        let request = CheckoutRequest::read(&good()).unwrap();
        assert_eq!(request.expected_total, Some(Money::new(429, Currency::Usd)));
        assert_eq!(request.lines(), [Line { sku: "1095275".to_owned(), quantity: 1 }]);
        let mut without = good();
        without.as_object_mut().unwrap().remove("expected_total");
        assert_eq!(CheckoutRequest::read(&without).unwrap().expected_total, None);
    }

    #[test]
    fn a_sku_that_is_named_twice_is_summed() {
        let items =
            json!([{"sku":"b","quantity":2},{"sku":"a","quantity":1},{"sku":"b","quantity":3}]);
        let lines = CheckoutRequest::read(&with("/items", items)).unwrap().lines();
        let line = |sku: &str, quantity| Line { sku: sku.to_owned(), quantity };
        assert_eq!(lines, [line("a", 1), line("b", 5)]);
        let items = json!([{"sku":"b","quantity":999},{"sku":"b","quantity":1}]);
        assert_eq!(wrong(&with("/items", items)), ["/items/1/quantity out_of_range"]);
    }

    #[test]
    fn price_status_and_customer_are_never_taken_from_the_client() {
        for name in ["price", "status", "customer_id", "customer", "total"] {
            let mut body = good();
            body[name] = json!(1);
            assert_eq!(wrong(&body), [format!("/{name} unknown_field")]);
        }
        let items = json!([{"sku": "a", "quantity": 1, "unit_price": 1}]);
        assert_eq!(wrong(&with("/items", items)), ["/items/0/unit_price unknown_field"]);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let body = json!({
            "items": [{"sku": "", "quantity": 0}, {"sku": "a b", "quantity": 1000}, {"quantity": "2"}, 7],
            "payment_method": "4242",
            "currency": "XXX",
            "expected_total": {"value": -1, "currency": "usd", "x": 1},
        });
        let expected = [
            "/items/0/sku out_of_range",
            "/items/0/quantity out_of_range",
            "/items/1/sku invalid_characters",
            "/items/1/quantity out_of_range",
            "/items/2/sku missing",
            "/items/2/quantity wrong_type",
            "/items/3 wrong_type",
            "/payment_method invalid_format",
            "/currency unsupported_currency",
            "/expected_total/value out_of_range",
            "/expected_total/currency unsupported_currency",
            "/expected_total/x unknown_field",
        ];
        assert_eq!(wrong(&body), expected);
        assert_eq!(
            wrong(&json!({})),
            ["/items missing", "/payment_method missing", "/currency missing"]
        );
        assert_eq!(wrong(&json!([])), [" wrong_type"]);
        let too_many = vec![json!({"sku": "a", "quantity": 1}); 101];
        assert_eq!(wrong(&with("/items", json!(too_many))), ["/items out_of_range"]);
        assert_eq!(wrong(&with("/items", json!([]))), ["/items out_of_range"]);
        assert_eq!(
            wrong(&with("/expected_total/currency", json!("EUR"))),
            ["/expected_total/currency currency_mismatch"]
        );
        for method in ["pm_", "card_1", "pm_a b", "pm_\u{e9}", &format!("pm_{}", "a".repeat(253))] {
            assert_eq!(wrong(&with("/payment_method", json!(method))).len(), 1, "{method}");
        }
    }

    #[test]
    fn every_item_of_an_unknown_sku_is_pointed_at() {
        let items =
            json!([{"sku":"b","quantity":2},{"sku":"a","quantity":1},{"sku":"b","quantity":3}]);
        let request = CheckoutRequest::read(&with("/items", items)).unwrap();
        let body = request.unknown_skus(&["b".to_owned()]).problem().unwrap_err().body("");
        assert_eq!(body["status"], 422);
        assert_eq!(body["errors"][0]["pointer"], "/items/0/sku");
        assert_eq!(body["errors"][1]["pointer"], "/items/2/sku");
        assert_eq!(body["errors"][1]["code"], "unknown_sku");
    }
}
