//! The payment intent's state machine: pure, no clock and no files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::StripeError;
use crate::intent_body;
use crate::methods::{Decline, Method, Outcome};

/// Stripe's statuses of a payment intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Succeeded,
    Canceled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CaptureMethod {
    #[serde(alias = "automatic_async")]
    Automatic,
    Manual,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) client_secret: String,
    /// Unix seconds.
    pub(crate) created: i64,
    /// Minor units, as all amounts here.
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) capture_method: CaptureMethod,
    pub(crate) status: Status,
    #[serde(default)]
    pub(crate) amount_received: i64,
    #[serde(default)]
    pub(crate) amount_capturable: i64,
    #[serde(default)]
    pub(crate) amount_refunded: i64,
    pub(crate) payment_method: Option<String>,
    pub(crate) payment_method_types: Vec<String>,
    /// The latest charge; a declined attempt makes one too.
    pub(crate) charge: Option<String>,
    pub(crate) last_decline: Option<Decline>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) description: Option<String>,
    pub(crate) customer: Option<String>,
    pub(crate) return_url: Option<String>,
    pub(crate) canceled_at: Option<i64>,
    pub(crate) cancellation_reason: Option<String>,
    /// What a challenge or a processing charge comes to.
    pub(crate) pending: Option<Pending>,
    /// Where its latest change stands in the log. An answer that shows the intent waits for that.
    #[serde(skip)]
    pub(crate) seq: u64,
}

/// A charge that is not decided yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) outcome: Outcome,
    /// When it completes by itself, in unix milliseconds of the real clock; `None`: only when asked.
    pub(crate) due_ms: Option<i64>,
    /// Whether the challenge is passed when it completes by itself.
    pub(crate) passes: bool,
}

/// How a charge is to go, made from the test card and the fault plan.
#[derive(Debug, Clone)]
pub(crate) enum Attempt {
    Decided(Outcome),
    Challenge(Pending),
    Processing(Pending),
}

/// What a transition did. Each is at most one line in the ledger and one event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fact {
    Authorized,
    Captured,
    Declined,
    ActionRequired,
    Processing,
    /// Holds the authorized amount that was let go, if there was one.
    Canceled(Option<i64>),
}

impl Intent {
    /// Tries to charge. A decline is a fact, not an error: the intent changed.
    pub(crate) fn confirm(
        &mut self,
        method: &Method,
        attempt: Attempt,
        charge: String,
    ) -> Result<Fact, StripeError> {
        match self.status {
            Status::RequiresPaymentMethod
            | Status::RequiresConfirmation
            | Status::RequiresAction => {}
            Status::Succeeded => return Err(self.refuse(
                "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.",
            )),
            _ => return Err(self.refuse(&format!(
                "You cannot confirm this PaymentIntent because it has a status of {}.",
                self.status.name()
            ))),
        }
        self.payment_method = Some(method.id.clone());
        self.pending = None;
        Ok(match attempt {
            Attempt::Decided(outcome) => self.charge(outcome, charge),
            Attempt::Challenge(pending) => {
                self.pending = Some(pending);
                self.status = Status::RequiresAction;
                Fact::ActionRequired
            }
            Attempt::Processing(pending) => {
                self.pending = Some(pending);
                self.status = Status::Processing;
                Fact::Processing
            }
        })
    }

    /// Ends a challenge or a processing charge; `None` if there is none to end.
    pub(crate) fn complete(&mut self, passed: bool, charge: String) -> Option<Fact> {
        if !matches!(self.status, Status::RequiresAction | Status::Processing) {
            return None;
        }
        let pending = self.pending.take()?;
        let failed = || Outcome::Declines(Decline::of("payment_intent_authentication_failure"));
        let outcome = if passed { pending.outcome } else { failed() };
        Some(self.charge(outcome, charge))
    }

    fn charge(&mut self, outcome: Outcome, charge: String) -> Fact {
        self.charge = Some(charge);
        match outcome {
            Outcome::Declines(decline) => {
                self.last_decline = Some(decline);
                self.status = Status::RequiresPaymentMethod;
                Fact::Declined
            }
            Outcome::Succeeds => {
                self.last_decline = None;
                if self.capture_method == CaptureMethod::Manual {
                    self.amount_capturable = self.amount;
                    self.status = Status::RequiresCapture;
                    return Fact::Authorized;
                }
                self.amount_received = self.amount;
                self.status = Status::Succeeded;
                Fact::Captured
            }
        }
    }

    /// Takes the money of an authorization, all of it or a part; the rest is let go.
    pub(crate) fn capture(&mut self, amount: Option<i64>) -> Result<Fact, StripeError> {
        if self.status != Status::RequiresCapture {
            return Err(self.refuse(&format!(
                "This PaymentIntent could not be captured because it has a status of {}. Only a PaymentIntent with one of the following statuses may be captured: requires_capture.",
                self.status.name()
            )));
        }
        let amount = amount.unwrap_or(self.amount_capturable);
        if amount < 1 {
            let message = "This value must be greater than or equal to 1.";
            return Err(StripeError::invalid(
                "parameter_invalid_integer",
                "amount_to_capture",
                message,
            ));
        }
        if amount > self.amount_capturable {
            let message = format!(
                "The requested capture amount is greater than the amount you can capture for this charge, {}.",
                self.amount_capturable
            );
            return Err(StripeError::invalid("amount_too_large", "amount_to_capture", message));
        }
        self.amount_received = amount;
        self.amount_capturable = 0;
        self.status = Status::Succeeded;
        Ok(Fact::Captured)
    }

    /// Ends the intent: no money can move afterwards.
    pub(crate) fn cancel(&mut self, reason: Option<String>, now: i64) -> Result<Fact, StripeError> {
        if matches!(self.status, Status::Succeeded | Status::Canceled | Status::Processing) {
            return Err(self.refuse(&format!(
                "You cannot cancel this PaymentIntent because it has a status of {}. Only a PaymentIntent with one of the following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, requires_action.",
                self.status.name()
            )));
        }
        let held = (self.status == Status::RequiresCapture).then_some(self.amount_capturable);
        self.amount_capturable = 0;
        self.pending = None;
        self.status = Status::Canceled;
        self.canceled_at = Some(now);
        self.cancellation_reason = reason;
        Ok(Fact::Canceled(held))
    }

    pub(crate) fn order_id(&self) -> Option<&str> {
        self.metadata.get("order_id").map(String::as_str)
    }

    /// The error that says: not in this state. It carries the intent.
    pub(crate) fn refuse(&self, message: &str) -> StripeError {
        let body = intent_body::text(self, "", false);
        let body = RawValue::from_string(body).unwrap_or_default();
        StripeError::unexpected_state(message.to_owned(), body)
    }
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::RequiresPaymentMethod => "requires_payment_method",
            Status::RequiresConfirmation => "requires_confirmation",
            Status::RequiresAction => "requires_action",
            Status::Processing => "processing",
            Status::RequiresCapture => "requires_capture",
            Status::Succeeded => "succeeded",
            Status::Canceled => "canceled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(capture_method: CaptureMethod) -> Intent {
        let text = r#"{"id":"pi_1","client_secret":"s","created":1,"amount":500,"currency":"usd",
            "capture_method":"automatic","status":"requires_confirmation",
            "payment_method_types":["card"],"metadata":{}}"#;
        Intent { capture_method, ..serde_json::from_str(text).unwrap() }
    }

    fn try_card(intent: &mut Intent, card: &str) -> Result<Fact, StripeError> {
        let method = Method::find(card).unwrap();
        let attempt = Attempt::Decided(method.outcome.clone());
        intent.confirm(&method, attempt, "ch_1".to_owned())
    }

    #[test]
    fn a_decline_does_not_stick_to_the_intent() {
        let mut intent = intent(CaptureMethod::Automatic);
        assert_eq!(try_card(&mut intent, "pm_card_chargeDeclined").unwrap(), Fact::Declined);
        assert_eq!(intent.status, Status::RequiresPaymentMethod);
        assert_eq!(try_card(&mut intent, "pm_card_visa").unwrap(), Fact::Captured);
        assert_eq!(intent.amount_received, 500);
    }

    #[test]
    fn a_canceled_or_succeeded_intent_moves_no_money() {
        let mut intent = intent(CaptureMethod::Manual);
        assert_eq!(try_card(&mut intent, "pm_card_visa").unwrap(), Fact::Authorized);
        assert!(try_card(&mut intent, "pm_card_visa").is_err(), "confirmed twice");
        assert_eq!(intent.cancel(None, 8).unwrap(), Fact::Canceled(Some(500)));
        assert!(try_card(&mut intent, "pm_card_visa").is_err());
        assert!(intent.capture(None).is_err());
        assert!(intent.cancel(None, 9).unwrap_err().fields.payment_intent.is_some());
    }

    #[test]
    fn a_capture_takes_no_more_than_was_authorized() {
        let mut intent = intent(CaptureMethod::Manual);
        assert!(intent.capture(None).is_err(), "nothing was authorized yet");
        try_card(&mut intent, "pm_card_visa").unwrap();
        assert!(intent.capture(Some(501)).is_err());
        assert!(intent.capture(Some(0)).is_err());
        assert_eq!(intent.capture(Some(300)).unwrap(), Fact::Captured);
        assert_eq!((intent.amount_received, intent.amount_capturable), (300, 0));
    }
}
