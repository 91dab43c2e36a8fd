//! What the gateway answers with: the fields of Stripe's objects that we read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A PaymentIntent: one payment, whose state guards it for ever (docs.stripe.com/api, version
/// 2026-07-29.dahlia).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Intent {
    /// `pi_..`
    pub id: String,
    /// Where it stands.
    pub status: IntentStatus,
    /// Minor units.
    pub amount: i64,
    /// Minor units captured so far.
    #[serde(default)]
    pub amount_received: i64,
    /// Lower case.
    pub currency: String,
    /// `ch_..` of the newest charge.
    #[serde(default)]
    pub latest_charge: Option<String>,
    /// What the customer must do.
    #[serde(default)]
    pub next_action: Option<NextAction>,
    /// Why the last confirmation failed.
    #[serde(default)]
    pub last_payment_error: Option<CardError>,
    /// What we gave it: `order_id`, `saga_root`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// The states of a PaymentIntent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    /// New, or declined: no money moved.
    RequiresPaymentMethod,
    /// Has a method, was not confirmed.
    RequiresConfirmation,
    /// The customer must authenticate.
    RequiresAction,
    /// On its way; nobody can tell yet.
    Processing,
    /// Authorized: the money is held.
    RequiresCapture,
    /// Captured.
    Succeeded,
    /// No money can move any more.
    Canceled,
    /// A state that this program does not know.
    #[serde(other)]
    Unrecognized,
}

/// What the customer must do before the payment can go on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NextAction {
    /// `redirect_to_url`, `use_stripe_sdk`, ..
    #[serde(rename = "type")]
    pub kind: String,
    /// Where to send the customer.
    #[serde(default)]
    pub redirect_to_url: Option<Redirect>,
}

/// Where to send the customer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Redirect {
    /// The page on which the customer authenticates.
    #[serde(default)]
    pub url: Option<String>,
}

/// A card's "no".
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CardError {
    /// `card_declined`, `expired_card`, ..
    #[serde(default)]
    pub code: Option<String>,
    /// The bank's reason: `insufficient_funds`.
    #[serde(default)]
    pub decline_code: Option<String>,
    /// For the customer.
    #[serde(default)]
    pub message: Option<String>,
}

/// Money given back.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refund {
    /// `re_..`
    pub id: String,
    /// Minor units.
    pub amount: i64,
    /// Lower case.
    pub currency: String,
    /// Where it stands.
    pub status: RefundStatus,
    /// The intent it gives back.
    #[serde(default)]
    pub payment_intent: Option<String>,
}

/// The states of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// On its way.
    Pending,
    /// The customer must do something to get it.
    RequiresAction,
    /// Given back.
    Succeeded,
    /// Came back to us.
    Failed,
    /// Called off.
    Canceled,
    /// A state that this program does not know.
    #[serde(other)]
    Unrecognized,
}

impl RefundStatus {
    /// Whether the money is with us again. A state that nobody knows says nothing of the kind.
    pub fn came_back(self) -> bool {
        matches!(self, Self::Failed | Self::Canceled)
    }

    /// As our books call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending | Self::RequiresAction | Self::Unrecognized => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl CardError {
    /// The bank's reason, or the gateway's, or `unknown`.
    pub fn decline_code(&self) -> &str {
        self.decline_code.as_deref().or(self.code.as_deref()).unwrap_or("unknown")
    }
}

impl Intent {
    /// Whether a charge of it was ever tried.
    pub fn was_charged(&self) -> bool {
        self.latest_charge.is_some() || self.last_payment_error.is_some()
    }

    /// The page on which the customer authenticates, if there is one.
    pub fn action_url(&self) -> Option<&str> {
        self.next_action.as_ref()?.redirect_to_url.as_ref()?.url.as_deref()
    }
}

/// One page of a list, newest first.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Page<T> {
    /// What is on it.
    pub data: Vec<T>,
    /// Whether older ones follow.
    #[serde(default)]
    pub has_more: bool,
}

/// Whether `id` is one of the gateway's (`pi_`, `re_`, ..), so that it can stand in a path.
pub fn is_id(id: &str, prefix: &str) -> bool {
    id.len() <= 255
        && id.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
}
