//! Charge a payment: money moves here, and nowhere else. A doubt is settled by asking for the
//! intent; a failure is recorded only when the intent is cancelled.

use std::time::Duration;

use engine::{
    Activity, Attempt, Failure, Outcome, Probe, Rejection, RetryPolicy, Trouble, Undo, UndoFailure,
    Undoable,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::money::Money;
use crate::order::OrderId;
use crate::payment_gateway::answer::GatewayFailure;
use crate::payment_gateway::intent::{CardError, Intent, IntentStatus};
use crate::payment_store::{PaymentChange, PaymentStatus};
use crate::payments::{DEPENDENCY, Payments, Settled, is_for, keys, may_resend, out_of_keys};

/// How soon to ask again for a payment that the bank is still deciding on.
const PROCESSING_WAIT: Duration = Duration::from_secs(2);

/// One step on the way from a prepared payment to a captured one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChargePayment {
    /// The order that is paid.
    pub order_id: OrderId,
    /// The prepared payment.
    pub intent_id: String,
    /// Where the customer comes back to from their bank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
    /// The customer's payment method at the gateway: `pm_..`
    pub payment_method: String,
    /// What is charged.
    pub amount: Money,
    /// What is to be done.
    pub stage: ChargeStage,
}

/// Which step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStage {
    /// Charge.
    Confirm,
    /// The customer has authenticated, or not: see what came of it.
    AfterAction,
    /// The customer did not authenticate in time: see that nothing comes of it.
    GiveUp,
}

/// What came of a charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Charge {
    /// The money is ours.
    Captured {
        /// `ch_..`
        charge_id: Option<String>,
        /// How much.
        amount: Money,
    },
    /// The customer must authenticate (3-D Secure).
    RequiresAction {
        /// Where, if the gateway says so.
        url: Option<String>,
    },
}

impl Activity for ChargePayment {
    const NAME: &'static str = "charge-payment";
    const DEPENDENCY: &'static str = DEPENDENCY;
    type Services = Payments;
    type Output = Charge;
    type Class = Undoable;

    async fn run(&self, payments: &Payments, attempt: &Attempt) -> Result<Charge, Failure> {
        match self.stage {
            #[cfg(feature = "testing")]
            ChargeStage::Confirm if engine::planted!(NewKeyPerAttempt) => {
                self.anew(payments, attempt).await?.confirm(payments, attempt).await
            }
            ChargeStage::Confirm => self.confirm(payments, attempt).await,
            ChargeStage::AfterAction => {
                let intent = payments.gateway.get_intent(&self.intent_id, attempt.deadline).await?;
                self.conclude(payments, attempt, intent).await
            }
            ChargeStage::GiveUp => self.fail(payments, attempt, authentication_timeout()).await,
        }
    }

    /// The intent by its id settles any doubt that can be settled by asking. As long as it could
    /// still be charged - by a request that is under way, say - the answer is that nobody can tell.
    async fn probe(
        &self,
        payments: &Payments,
        attempt: &Attempt,
    ) -> Result<Probe<Charge>, Failure> {
        let intent = payments.gateway.get_intent(&self.intent_id, attempt.deadline).await?;
        match (intent.status, self.stage) {
            _ if engine::planted!(NewKeyPerAttempt) => Ok(Probe::CanNotTell),
            (IntentStatus::Succeeded, _)
            | (IntentStatus::RequiresAction, ChargeStage::Confirm | ChargeStage::AfterAction) => {
                Ok(Probe::Happened(self.conclude(payments, attempt, intent).await?))
            }
            (IntentStatus::Canceled, ChargeStage::Confirm | ChargeStage::AfterAction) => {
                Ok(Probe::DidNotHappen)
            }
            _ => Ok(Probe::CanNotTell),
        }
    }

    fn retry() -> RetryPolicy {
        // An order waits for a gateway that is down; its customer can cancel it meanwhile.
        RetryPolicy { first: Duration::from_millis(300), ..RetryPolicy::FOREVER }
    }

    fn timeout() -> Duration {
        Duration::from_secs(60)
    }

    fn describe(&self, output: Option<&Charge>) -> String {
        match output {
            Some(Charge::RequiresAction { .. }) => {
                format!("{} waits for the customer to authenticate", self.amount)
            }
            Some(Charge::Captured { .. }) | None => format!("{} charged to the card", self.amount),
        }
    }
}

impl Undo for ChargePayment {
    /// Cancels the intent, or gives the money back when it moved already.
    async fn undo(
        &self,
        payments: &Payments,
        attempt: &Attempt,
        _: Outcome<'_, Charge>,
    ) -> Result<(), UndoFailure> {
        payments.take_back(attempt, self.order_id, &self.intent_id, self.amount).await
    }
}

impl ChargePayment {
    async fn confirm(&self, payments: &Payments, attempt: &Attempt) -> Result<Charge, Failure> {
        let (gateway, deadline) = (&payments.gateway, attempt.deadline);
        let (id, method) = (&self.intent_id, &self.payment_method);
        let return_url = self.return_url.as_deref();
        if !may_resend(attempt) {
            let intent = gateway.get_intent(id, deadline).await?;
            if !is_untouched(&intent) {
                return self.conclude(payments, attempt, intent).await;
            }
        }
        for key in keys(&attempt.key()) {
            match gateway.confirm(id, method, return_url, &key, deadline).await {
                Ok(intent) => return self.conclude_now(payments, attempt, intent).await,
                Err(GatewayFailure::Unknown { is_stored: true, .. }) => {}
                Err(failure) => return self.failed(payments, attempt, failure).await,
            }
            // A repeat gets the same fault for ever, so only the state can tell; and the state
            // guards the next key.
            let intent = gateway.get_intent(id, deadline).await;
            let intent = intent.map_err(|failure| failure.after_effect())?;
            if !is_untouched(&intent) {
                return self.conclude(payments, attempt, intent).await;
            }
        }
        Err(Failure::Unknown(out_of_keys("confirm")))
    }

    /// A confirm that did not give an intent.
    async fn failed(
        &self,
        payments: &Payments,
        attempt: &Attempt,
        failure: GatewayFailure,
    ) -> Result<Charge, Failure> {
        match failure {
            GatewayFailure::Declined(error) => {
                self.fail(payments, attempt, card_declined(&error)).await
            }
            GatewayFailure::UnexpectedState(intent) if intent.id == self.intent_id => {
                self.conclude_now(payments, attempt, *intent).await
            }
            GatewayFailure::Refused { code, param, message } => {
                let rejection = refused(&code, param.as_deref(), message);
                self.fail(payments, attempt, rejection).await
            }
            GatewayFailure::Unknown { .. } if engine::planted!(TimeoutIsFailure) => {
                Err(Failure::Rejected(card_declined(&CardError::default())))
            }
            GatewayFailure::Unknown { .. } => {
                payments.note(self.row(PaymentStatus::Unknown)).await;
                Err(failure.into())
            }
            GatewayFailure::KeyReused(_) => {
                tracing::error!(order_id = %self.order_id, error = %failure, "a payment is held");
                Err(failure.into())
            }
            failure => Err(failure.into()),
        }
    }

    /// Acts on where the intent stands now. The answer to a confirm may be the one that is kept
    /// under its key, with the intent as it was then: what can have changed since is asked for.
    async fn conclude_now(
        &self,
        payments: &Payments,
        attempt: &Attempt,
        intent: Intent,
    ) -> Result<Charge, Failure> {
        let intent = match intent.status {
            IntentStatus::Succeeded | IntentStatus::Canceled | IntentStatus::RequiresCapture => {
                intent
            }
            _ => {
                let now = payments.gateway.get_intent(&self.intent_id, attempt.deadline).await;
                now.map_err(|failure| failure.after_effect())?
            }
        };
        self.conclude(payments, attempt, intent).await
    }

    /// Acts on where the intent stands.
    async fn conclude(
        &self,
        payments: &Payments,
        attempt: &Attempt,
        intent: Intent,
    ) -> Result<Charge, Failure> {
        match intent.status {
            IntentStatus::Succeeded => self.captured(payments, attempt, &intent).await,
            IntentStatus::RequiresCapture => self.capture(payments, attempt).await,
            IntentStatus::RequiresAction => {
                let url = intent.action_url().map(str::to_owned);
                let action_url = url.clone();
                let row = PaymentChange { action_url, ..self.row(PaymentStatus::RequiresAction) };
                payments.record(attempt, row, Ok(Charge::RequiresAction { url })).await
            }
            IntentStatus::Canceled => {
                let rejection = self.why_canceled(&intent);
                self.reject(payments, attempt, PaymentStatus::Voided, rejection).await
            }
            IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation => {
                let error = intent.last_payment_error.unwrap_or_default();
                self.fail(payments, attempt, card_declined(&error)).await
            }
            IntentStatus::Processing | IntentStatus::Unrecognized => {
                payments.note(self.row(PaymentStatus::Processing)).await;
                let why = format!("the bank is still deciding on payment {}", self.intent_id);
                let trouble = Trouble::new("payment_processing", why).after(PROCESSING_WAIT);
                Err(Failure::Unknown(trouble))
            }
        }
    }

    async fn captured(
        &self,
        payments: &Payments,
        attempt: &Attempt,
        intent: &Intent,
    ) -> Result<Charge, Failure> {
        is_for(intent, self.amount).map_err(Failure::Unknown)?;
        let charge_id = intent.latest_charge.clone();
        let captured = Charge::Captured { charge_id, amount: self.amount };
        let row = PaymentChange::captured(self.order_id, intent, self.amount);
        payments.record(attempt, row, Ok(captured)).await
    }

    /// An authorized payment is captured at once. Its intent's state guards the repeat.
    async fn capture(&self, payments: &Payments, attempt: &Attempt) -> Result<Charge, Failure> {
        let (gateway, deadline) = (&payments.gateway, attempt.deadline);
        for key in keys(&format!("{}/capture", attempt.key())) {
            let intent = match gateway.capture(&self.intent_id, &key, deadline).await {
                Ok(intent) => intent,
                Err(GatewayFailure::UnexpectedState(intent)) if intent.id == self.intent_id => {
                    *intent
                }
                Err(GatewayFailure::Unknown { is_stored: true, .. }) => {
                    let intent = gateway.get_intent(&self.intent_id, deadline).await;
                    intent.map_err(|failure| failure.after_effect())?
                }
                Err(GatewayFailure::Refused { code, param, message }) => {
                    let rejection = refused(&code, param.as_deref(), message);
                    return self.fail(payments, attempt, rejection).await;
                }
                Err(failure) => return Err(failure.after_effect()),
            };
            match intent.status {
                IntentStatus::Succeeded => return self.captured(payments, attempt, &intent).await,
                IntentStatus::Canceled => {
                    let rejection = self.why_canceled(&intent);
                    return self.reject(payments, attempt, PaymentStatus::Voided, rejection).await;
                }
                _ => {}
            }
        }
        Err(Failure::Unknown(out_of_keys("capture")))
    }

    /// Settles before it fails: only when the intent is cancelled is the failure recorded. When the
    /// money moved meanwhile, it did not fail.
    async fn fail(
        &self,
        payments: &Payments,
        attempt: &Attempt,
        rejection: Rejection,
    ) -> Result<Charge, Failure> {
        let settled = payments.settle(&self.intent_id, attempt.deadline).await;
        match settled.map_err(|failure| failure.after_effect())? {
            Settled::Captured(intent) => self.captured(payments, attempt, &intent).await,
            Settled::Voided(intent) if rejection.code == TIMED_OUT => {
                let rejection = match &intent.last_payment_error {
                    Some(error) => card_declined(error),
                    None => rejection,
                };
                self.reject(payments, attempt, PaymentStatus::Declined, rejection).await
            }
            Settled::Voided(_) => {
                self.reject(payments, attempt, PaymentStatus::Declined, rejection).await
            }
        }
    }

    async fn reject(
        &self,
        payments: &Payments,
        attempt: &Attempt,
        status: PaymentStatus,
        rejection: Rejection,
    ) -> Result<Charge, Failure> {
        let decline_code =
            rejection.details.as_ref().and_then(|details| details["decline_code"].as_str());
        let decline_code = decline_code.unwrap_or(&rejection.code).to_owned();
        let row = PaymentChange { decline_code: Some(decline_code), ..self.row(status) };
        payments.record(attempt, row, Err(rejection)).await
    }

    /// Somebody cancelled it: an earlier attempt of ours that was declined, or an undo.
    fn why_canceled(&self, intent: &Intent) -> Rejection {
        if let Some(error) = &intent.last_payment_error {
            return card_declined(error);
        }
        Rejection {
            code: "payment_canceled".into(),
            reason: format!("payment {} was cancelled", self.intent_id),
            details: None,
        }
    }

    fn row(&self, status: PaymentStatus) -> PaymentChange {
        PaymentChange::new(self.order_id, &self.intent_id, self.amount, status)
    }
}

/// Nobody has tried to charge it.
pub(crate) fn is_untouched(intent: &Intent) -> bool {
    matches!(
        intent.status,
        IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation
    ) && !intent.was_charged()
}

const TIMED_OUT: &str = "authentication_timeout";

fn authentication_timeout() -> Rejection {
    Rejection {
        code: TIMED_OUT.into(),
        reason: "the customer did not authenticate in time".to_owned(),
        details: None,
    }
}

fn card_declined(error: &CardError) -> Rejection {
    let decline_code = error.decline_code();
    Rejection {
        code: "card_declined".into(),
        reason: error
            .message
            .clone()
            .unwrap_or_else(|| format!("the card was declined: {decline_code}")),
        details: Some(json!({ "decline_code": decline_code })),
    }
}

/// The customer's payment method is not one, or our request is wrong: then somebody must look.
fn refused(code: &str, param: Option<&str>, message: String) -> Rejection {
    if param == Some("payment_method") {
        return Rejection { code: "invalid_payment_method".into(), reason: message, details: None };
    }
    tracing::error!(code, message, "the payment gateway refuses our request");
    Rejection {
        code: "gateway_refused_request".into(),
        reason: format!("{code}: {message}"),
        details: None,
    }
}
