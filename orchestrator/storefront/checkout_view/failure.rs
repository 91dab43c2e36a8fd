//! Why a checkout did not become an order, and what the customer can do.

use engine::journal::{Because, Ending};
use engine::view::SagaView;
use serde::Serialize;
use serde_json::{Value, json};

use super::Money;

/// What the customer can do: which screen to show. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Do {
    NewPaymentMethod,
    ChangeCart,
    TryAgain,
    ContactSupport,
}

/// One kind of failure.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    /// What the steps call it.
    codes: &'static [&'static str],
    /// What the customer's program reads.
    code: &'static str,
    is_decline: bool,
    /// What to do.
    next: Do,
    /// What happened, and what to do.
    text: &'static str,
    advice: &'static str,
}

const KINDS: [Kind; 7] = [
    Kind {
        codes: &["card_declined"],
        code: "card_declined",
        is_decline: true,
        next: Do::NewPaymentMethod,
        text: "Your card was declined.",
        advice: "Please try another card.",
    },
    Kind {
        codes: &["invalid_payment_method"],
        code: "invalid_payment_method",
        is_decline: true,
        next: Do::NewPaymentMethod,
        text: "This payment method can not be used.",
        advice: "Please try another one.",
    },
    Kind {
        codes: &["authentication_timeout"],
        code: "authentication_timeout",
        is_decline: true,
        next: Do::TryAgain,
        text: "Your bank got no confirmation from you in time.",
        advice: "Please try again.",
    },
    Kind {
        codes: &["out_of_stock"],
        code: "out_of_stock",
        is_decline: false,
        next: Do::ChangeCart,
        text: "Some items are not in stock any more.",
        advice: "Please change your cart.",
    },
    Kind {
        codes: &["amount_too_small"],
        code: "amount_too_small",
        is_decline: false,
        next: Do::ChangeCart,
        text: "The total is too small to be paid by card.",
        advice: "Please add something to your cart.",
    },
    Kind {
        codes: &[
            "payment_canceled",
            "reservation_expired",
            "reservation_released",
            "retries_exhausted",
        ],
        code: "not_completed",
        is_decline: false,
        next: Do::TryAgain,
        text: "Your order could not be completed.",
        advice: "Please try again.",
    },
    OTHER,
];

/// What a customer can not act on: a rule of ours, a request of ours that was wrong.
const OTHER: Kind = Kind {
    codes: &[],
    code: "internal",
    is_decline: false,
    next: Do::ContactSupport,
    text: "Your order could not be completed.",
    advice: "Please contact us.",
};

/// A checkout that did not become an order.
pub(super) struct Failure {
    kind: &'static Kind,
    /// The bank's own word: `insufficient_funds`.
    reason: Option<String>,
    /// What is short: `[{"sku", "available"}]`.
    items: Option<Value>,
}

/// Why it turned back; none when it did not, or when that was what its customer wanted.
pub(super) fn of(view: &SagaView) -> Option<Failure> {
    match &view.because {
        Some(because) if !is_cancel(because) => Some(Failure::of(because)),
        None if view.summary.ending == Some(Ending::ClosedWithResidue) => {
            Some(Failure { kind: &OTHER, reason: None, items: None })
        }
        _ => None,
    }
}

/// Whether somebody asked for it.
pub(super) fn is_cancel(because: &Because) -> bool {
    because.code == "cancelled"
}

/// Whether the customer's means of payment was refused.
pub(super) fn is_decline(code: &str) -> bool {
    kind(code).is_decline
}

fn kind(code: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.codes.contains(&code)).unwrap_or(&OTHER)
}

impl Failure {
    fn of(because: &Because) -> Self {
        let details: Value =
            because.details.as_ref().and_then(|d| d.decode().ok()).unwrap_or_default();
        let reason = details["decline_code"].as_str().map(str::to_owned);
        let items = details["items"].as_array().map(|items| {
            let item = |item: &Value| json!({"sku": item["sku"], "available": item["available"]});
            items.iter().map(item).collect()
        });
        let kind = kind(&because.code);
        let is_stock = kind.code == "out_of_stock";
        Self { kind, reason: reason.filter(|_| kind.is_decline), items: items.filter(|_| is_stock) }
    }

    /// Two sentences about what happened, one about the money.
    pub(super) fn message(&self, money: Money) -> String {
        format!("{} {} {}", self.kind.text, money.sentence(), self.kind.advice)
    }

    pub(super) fn json(&self, money: Money) -> Value {
        let mut json = json!({
            "code": self.kind.code,
            "reason": self.reason,
            "do": self.kind.next,
            "customer_message": self.message(money),
        });
        if let Some(items) = &self.items {
            json["items"] = items.clone();
        }
        json
    }
}
