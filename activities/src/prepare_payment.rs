//! Prepare a payment: the reservation is pinned and the gateway's intent made and written down,
//! before any money can move.

use std::time::Duration;

use engine::{
    Activity, Attempt, Failure, Outcome, RetryPolicy, Undo, UndoFailure, Undoable, reject,
};
use serde::{Deserialize, Serialize};

use crate::effect::SHUT_OUT;
use crate::money::Money;
use crate::order::OrderId;
use crate::payment_gateway::NewIntent;
use crate::payment_gateway::answer::GatewayFailure;
use crate::payment_gateway::intent::{Intent, IntentStatus};
use crate::payment_store::{PaymentChange, PaymentStatus};
use crate::payments::{DEPENDENCY, Payments, is_for, keys, may_resend, out_of_keys};

/// How far the gateway's clock may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
/// How soon after its step was intended an intent is made, unless the gateway was away.
const MADE_WITHIN: Duration = Duration::from_hours(1);

/// Makes the intent that will be charged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreparePayment {
    /// The order that is paid.
    pub order_id: OrderId,
    /// What it costs.
    pub amount: Money,
}

/// A payment that can be charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedPayment {
    /// `pi_..`
    pub intent_id: String,
    /// Where the customer comes back to from their bank. Recorded, because it is sent under the
    /// charge's key, and the setting may be another by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
}

impl Activity for PreparePayment {
    const NAME: &'static str = "prepare-payment";
    const DEPENDENCY: &'static str = DEPENDENCY;
    type Services = Payments;
    type Output = PreparedPayment;
    type Class = Undoable;

    async fn run(
        &self,
        payments: &Payments,
        attempt: &Attempt,
    ) -> Result<PreparedPayment, Failure> {
        if self.amount.value <= 0 {
            let why = format!("{} is nothing to pay", self.amount);
            return Err(reject("amount_too_small", why));
        }
        payments.inventory.pin(self.order_id).await?;
        let intent = match self.intent(payments, attempt).await {
            Ok(intent) => intent,
            Err(GatewayFailure::Refused { code, message, .. }) => {
                return Err(rejection(&code, message));
            }
            Err(failure @ GatewayFailure::KeyReused(_)) => {
                tracing::error!(order_id = %self.order_id, error = %failure, "a payment is held");
                return Err(failure.into());
            }
            Err(failure) => return Err(failure.into()),
        };
        is_for(&intent, self.amount).map_err(Failure::Retry)?;
        let return_url = payments.gateway.return_url().map(str::to_owned);
        let prepared = PreparedPayment { intent_id: intent.id.clone(), return_url };
        let created = PaymentStatus::Created;
        let row = PaymentChange::new(self.order_id, &intent.id, self.amount, created);
        match payments.record(attempt, row, Ok(prepared)).await {
            Err(Failure::Rejected(rejection)) if rejection.code == SHUT_OUT => {
                // The undo came first and has cancelled what it found; this may be another one.
                let settled = payments.settle(&intent.id, attempt.deadline).await;
                settled.map_err(|failure| failure.after_effect())?;
                Err(Failure::Rejected(rejection))
            }
            answer => answer,
        }
    }

    fn retry() -> RetryPolicy {
        // An order waits for a gateway that is down; its customer can cancel it meanwhile.
        RetryPolicy { first: Duration::from_millis(200), ..RetryPolicy::FOREVER }
    }

    fn timeout() -> Duration {
        Duration::from_secs(60)
    }

    fn describe(&self, _: Option<&PreparedPayment>) -> String {
        format!("payment of {} prepared", self.amount)
    }
}

impl Undo for PreparePayment {
    /// Cancels the intent: a tombstone, no money can move afterwards. Money that moved already is
    /// given back.
    async fn undo(
        &self,
        payments: &Payments,
        attempt: &Attempt,
        outcome: Outcome<'_, PreparedPayment>,
    ) -> Result<(), UndoFailure> {
        if engine::planted!(TimeoutIsFailure) {
            return payments.store.record_undo(attempt, None, Vec::new()).await;
        }
        if let Outcome::Done(prepared) = outcome {
            let id = &prepared.intent_id;
            return payments.take_back(attempt, self.order_id, id, self.amount).await;
        }
        let mut intents = self.intents_to_end(payments, attempt).await?;
        // All but one end here; the one that is written down as the order's, at last.
        let Some(last) = intents.pop() else {
            return payments.store.record_undo(attempt, None, Vec::new()).await;
        };
        for intent in intents {
            payments.settle(&intent.id, attempt.deadline).await?;
        }
        payments.take_back(attempt, self.order_id, &last.id, self.amount).await
    }
}

impl PreparePayment {
    /// The intent of this step: made, or found when it was made before.
    async fn intent(
        &self,
        payments: &Payments,
        attempt: &Attempt,
    ) -> Result<Intent, GatewayFailure> {
        if !may_resend(attempt)
            && let Some(intent) = self.find(payments, attempt).await?.pop()
        {
            return Ok(intent);
        }
        for key in keys(&attempt.key()) {
            match self.create(payments, attempt, &key).await {
                // Sent by a build that writes it otherwise, or lost: it may be there.
                Err(
                    failure @ (GatewayFailure::Unknown { is_stored: true, .. }
                    | GatewayFailure::KeyReused(_)),
                ) => {
                    if let Some(intent) = self.find(payments, attempt).await?.pop() {
                        return Ok(intent);
                    }
                    if matches!(failure, GatewayFailure::KeyReused(_)) {
                        return Err(failure);
                    }
                }
                answer => return answer,
            }
        }
        Err(GatewayFailure::Unknown { message: out_of_keys("create").message, is_stored: false })
    }

    /// All intents that this step may have made. While the gateway knows its key, the create is
    /// repeated under it: that answers with the intent that was made, and makes one where a create
    /// that is still under way would.
    async fn intents_to_end(
        &self,
        payments: &Payments,
        attempt: &Attempt,
    ) -> Result<Vec<Intent>, UndoFailure> {
        if may_resend(attempt) && self.amount.value > 0 {
            match self.create(payments, attempt, &attempt.key()).await {
                Ok(intent) => return Ok(vec![intent]),
                // Under this key there is, and will be, no intent; perhaps under another.
                Err(
                    GatewayFailure::Unknown { is_stored: true, .. }
                    | GatewayFailure::Refused { .. },
                ) => {}
                Err(failure @ GatewayFailure::KeyReused(_)) => {
                    let found = self.find(payments, attempt).await?;
                    return if found.is_empty() { Err(failure.into()) } else { Ok(found) };
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(self.find(payments, attempt).await?)
    }

    async fn create(
        &self,
        payments: &Payments,
        attempt: &Attempt,
        key: &str,
    ) -> Result<Intent, GatewayFailure> {
        // Nothing that is another after a start was lost and sent again: its key is the same then.
        let (order_id, saga_root) = (self.order_id.to_string(), attempt.root.to_string());
        let new = NewIntent {
            amount: self.amount.value,
            currency: self.amount.currency.code(),
            order_id: &order_id,
            saga_root: &saga_root,
        };
        payments.gateway.create_intent(new, key, attempt.deadline).await
    }

    /// The intents of this order that the gateway has; those that are cancelled come first. Looked for
    /// where they should be, and only then in all the time since, which may be days of a busy shop.
    async fn find(
        &self,
        payments: &Payments,
        attempt: &Attempt,
    ) -> Result<Vec<Intent>, GatewayFailure> {
        let order_id = self.order_id.to_string();
        let is_ours = |intent: &Intent| intent.metadata.get("order_id") == Some(&order_id);
        let (gateway, deadline) = (&payments.gateway, attempt.deadline);
        let soon = attempt.intended_at + MADE_WITHIN;
        let since = attempt.intended_at - CLOCK_SKEW;
        let mut intents = gateway.list_intents(since..soon, &is_ours, deadline).await?;
        if intents.is_empty() {
            intents = gateway.list_intents(soon.., &is_ours, deadline).await?;
        }
        intents.sort_by_key(|intent| intent.status != IntentStatus::Canceled);
        Ok(intents)
    }
}

/// Refused before money could move: the order is turned back, and somebody must look at why.
fn rejection(code: &str, message: String) -> Failure {
    if code == "amount_too_small" {
        return reject("amount_too_small", message);
    }
    tracing::error!(code, message, "the payment gateway refuses our request");
    reject("gateway_refused_request", format!("{code}: {message}"))
}
