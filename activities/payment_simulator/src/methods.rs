//! The test payment methods Stripe documents, and what a charge with each comes to.

use serde::{Deserialize, Serialize};

use crate::error::StripeError;

/// What a charge comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Succeeds,
    Declines(Decline),
}

/// Why a card was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decline {
    pub(crate) code: String,
    pub(crate) decline_code: Option<String>,
}

/// How refunds of a charge end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RefundEnding {
    AtOnce,
    PendingThenSucceeds,
    SucceedsThenFails,
}

/// A test card.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Method {
    pub(crate) id: String,
    /// The card asks its holder first (3-D Secure).
    pub(crate) challenge: bool,
    pub(crate) outcome: Outcome,
}

impl Decline {
    /// The decline for a code of the fault plan or of a test card.
    pub(crate) fn of(reason: &str) -> Decline {
        // Stripe gives these a code of their own; every other reason is a `decline_code`.
        let own = [
            "expired_card",
            "incorrect_cvc",
            "processing_error",
            "authentication_required",
            "payment_intent_authentication_failure",
        ];
        let code = if own.contains(&reason) { reason } else { "card_declined" };
        let decline_code =
            (reason != "payment_intent_authentication_failure").then(|| reason.to_owned());
        Decline { code: code.to_owned(), decline_code }
    }

    pub(crate) fn message(&self) -> &'static str {
        match (self.code.as_str(), self.decline_code.as_deref()) {
            ("expired_card", _) => "Your card has expired.",
            ("incorrect_cvc", _) => "Your card's security code is incorrect.",
            ("processing_error", _) => {
                "An error occurred while processing your card. Try again in a little bit."
            }
            ("authentication_required", _) => {
                "Your card was declined. This transaction requires authentication."
            }
            ("payment_intent_authentication_failure", _) => {
                "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again."
            }
            (_, Some("insufficient_funds")) => "Your card has insufficient funds.",
            (_, Some("card_velocity_exceeded")) => {
                "Your card was declined for making repeated attempts too frequently or exceeding its amount limit."
            }
            _ => "Your card was declined.",
        }
    }
}

impl Method {
    /// Looks a test payment method up; `pm_card_X` and `pm_card_visa_X` mean the same.
    pub(crate) fn find(id: &str) -> Result<Method, StripeError> {
        let unknown = || {
            let status = axum::http::StatusCode::BAD_REQUEST;
            StripeError::missing(status, "PaymentMethod", id, "payment_method")
        };
        let name = id.strip_prefix("pm_card_").ok_or_else(unknown)?;
        let (challenge, outcome) = behaviour(brandless(name)).ok_or_else(unknown)?;
        Ok(Method { id: id.to_owned(), challenge, outcome })
    }
}

/// How refunds of a charge made with this payment method end.
pub(crate) fn refund_ending(method: Option<&str>) -> RefundEnding {
    match method.and_then(|id| id.strip_prefix("pm_card_")).map(brandless) {
        Some("pendingRefund") => RefundEnding::PendingThenSucceeds,
        Some("refundFail") => RefundEnding::SucceedsThenFails,
        _ => RefundEnding::AtOnce,
    }
}

fn brandless(name: &str) -> &str {
    match name.strip_prefix("visa_") {
        Some(rest) if rest != "debit" => rest,
        _ => name,
    }
}

fn behaviour(name: &str) -> Option<(bool, Outcome)> {
    let reason = match name {
        "visa" | "visa_debit" | "mastercard" | "mastercard_debit" | "mastercard_prepaid"
        | "amex" | "discover" | "diners" | "jcb" | "unionpay" | "pendingRefund" | "refundFail"
        | "riskLevelElevated" => return Some((false, Outcome::Succeeds)),
        "authenticationRequired" | "threeDSecure2Required" | "threeDSecureRequired" => {
            return Some((true, Outcome::Succeeds));
        }
        "threeDSecureRequiredChargeDeclined" => {
            return Some((true, Outcome::Declines(Decline::of("generic_decline"))));
        }
        "chargeDeclined" => "generic_decline",
        "chargeDeclinedInsufficientFunds" => "insufficient_funds",
        "chargeDeclinedLostCard" => "lost_card",
        "chargeDeclinedStolenCard" => "stolen_card",
        "chargeDeclinedVelocityLimitExceeded" => "card_velocity_exceeded",
        "chargeDeclinedExpiredCard" => "expired_card",
        "chargeDeclinedIncorrectCvc" => "incorrect_cvc",
        "chargeDeclinedProcessingError" => "processing_error",
        "chargeDeclinedFraudulent" | "radarBlock" | "riskLevelHighest" => "fraudulent",
        _ => return None,
    };
    Some((false, Outcome::Declines(Decline::of(reason))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_both_forms_of_a_name() {
        for id in ["pm_card_chargeDeclinedLostCard", "pm_card_visa_chargeDeclinedLostCard"] {
            let declines = Outcome::Declines(Decline::of("lost_card"));
            assert_eq!(Method::find(id).unwrap().outcome, declines);
        }
        for id in ["pm_card_visa", "pm_card_visa_debit", "pm_card_amex", "pm_card_refundFail"] {
            assert_eq!(Method::find(id).unwrap().outcome, Outcome::Succeeds, "{id}");
        }
        assert!(Method::find("pm_card_nobody").is_err());
        assert!(Method::find("4242424242424242").is_err());
    }
}
