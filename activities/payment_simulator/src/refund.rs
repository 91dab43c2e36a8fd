//! Refunds: what may be given back, and how a refund ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::StripeError;
use crate::intent::{Intent, Status};
use crate::methods::{RefundEnding, refund_ending};

/// How long a pending refund takes, or a failing one to fail.
const SETTLES_AFTER_MS: i64 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RefundStatus {
    Pending,
    Succeeded,
    Failed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) intent: String,
    pub(crate) charge: Option<String>,
    pub(crate) status: RefundStatus,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// The request's key, for the ledger line of a refund that settles later.
    pub(crate) idempotency_key: Option<String>,
    pub(crate) settles: Option<Settles>,
    #[serde(skip)]
    pub(crate) seq: u64,
}

/// What a refund becomes later.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settles {
    /// Unix milliseconds of the real clock.
    pub(crate) due_ms: i64,
    pub(crate) status: RefundStatus,
}

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    amount: i64,
    charge: Option<&'a str>,
    created: i64,
    currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<&'static str>,
    metadata: &'a BTreeMap<String, String>,
    payment_intent: &'a str,
    reason: Option<&'a str>,
    receipt_number: Option<()>,
    status: RefundStatus,
}

/// Parameters of `POST /v1/refunds`.
#[derive(Debug)]
pub(crate) struct RefundRequest {
    pub(crate) intent: String,
    pub(crate) amount: Option<i64>,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Refund {
    /// Makes a refund and reserves its amount on the intent.
    ///
    /// # Errors
    /// What Stripe answers when nothing was captured, or not that much is left.
    pub(crate) fn make(
        intent: &mut Intent,
        request: &RefundRequest,
        id: String,
        key: Option<&str>,
        now: i64,
        real_ms: i64,
    ) -> Result<Refund, StripeError> {
        if intent.status != Status::Succeeded {
            let message = format!(
                "This PaymentIntent ({}) does not have a successful charge to refund.",
                intent.id
            );
            return Err(StripeError::refused_refund("payment_intent_unexpected_state", message));
        }
        let left = intent.amount_received - intent.amount_refunded;
        let amount = request.amount.unwrap_or(left);
        if left == 0 {
            let message = format!(
                "Charge {} has already been refunded.",
                intent.charge.as_deref().unwrap_or_default()
            );
            return Err(StripeError::refused_refund("charge_already_refunded", message));
        }
        if amount < 1 {
            let message = "This value must be greater than or equal to 1.";
            return Err(StripeError::invalid("parameter_invalid_integer", "amount", message));
        }
        if amount > left {
            let message = format!(
                "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
            );
            return Err(StripeError::refused_refund("amount_too_large", message));
        }
        let later = |status| Some(Settles { due_ms: real_ms + SETTLES_AFTER_MS, status });
        let (status, settles) = match refund_ending(intent.payment_method.as_deref()) {
            RefundEnding::AtOnce => (RefundStatus::Succeeded, None),
            RefundEnding::PendingThenSucceeds => {
                (RefundStatus::Pending, later(RefundStatus::Succeeded))
            }
            RefundEnding::SucceedsThenFails => {
                (RefundStatus::Succeeded, later(RefundStatus::Failed))
            }
        };
        intent.amount_refunded += amount;
        Ok(Refund {
            id,
            created: now,
            amount,
            currency: intent.currency.clone(),
            intent: intent.id.clone(),
            charge: intent.charge.clone(),
            status,
            reason: request.reason.clone(),
            metadata: request.metadata.clone(),
            idempotency_key: key.map(str::to_owned),
            settles,
            seq: 0,
        })
    }

    /// Whether the money is really back. A refund that will fail never gave any.
    pub(crate) fn is_final_success(&self) -> bool {
        self.status == RefundStatus::Succeeded && self.settles.is_none()
    }

    /// Ends a refund that was to settle; false if there is nothing to end.
    pub(crate) fn settle(&mut self, intent: &mut Intent) -> bool {
        let Some(settles) = self.settles.take() else { return false };
        self.status = settles.status;
        if self.status == RefundStatus::Failed {
            intent.amount_refunded -= self.amount;
        }
        true
    }

    pub(crate) fn text(&self) -> String {
        let body = Body {
            id: &self.id,
            object: "refund",
            amount: self.amount,
            charge: self.charge.as_deref(),
            created: self.created,
            currency: &self.currency,
            failure_reason: (self.status == RefundStatus::Failed)
                .then_some("expired_or_canceled_card"),
            metadata: &self.metadata,
            payment_intent: &self.intent,
            reason: self.reason.as_deref(),
            receipt_number: None,
            status: self.status,
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}
