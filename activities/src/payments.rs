//! What the payment steps work with, and how a payment is ended so that no money can move
//! afterwards: cancelled, or given back.

use std::time::Duration;

use engine::{Attempt, Failure, Rejection, Trouble, UndoFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::inventory_store::Inventory;
use crate::money::Money;
use crate::order::OrderId;
use crate::payment_gateway::answer::GatewayFailure;
use crate::payment_gateway::intent::{Intent, IntentStatus, Refund};
use crate::payment_gateway::{NewRefund, PaymentGateway};
use crate::payment_store::{PaymentChange, PaymentStatus, PaymentStore, RefundRow};

mod refunds;

/// What an operator reads: "waiting for the payment gateway".
pub const DEPENDENCY: &str = "payment gateway";

/// The gateway forgets an idempotency key after 24 hours, and a request sent again after that is a
/// new one. From an hour before, it is asked first.
const RESEND_FOR: Duration = Duration::from_secs(23 * 3600);

/// The keys of one request. The next is used only when a stored fault of the gateway (a 500, which
/// it replays for ever) stands under the one before and the state says that nothing happened; each
/// request is guarded by a state as well: of the intent, or of what is left to give back.
const KEYS_MAX: u32 = 4;

/// The service of the payment steps. Shared by all sagas of a node.
#[derive(Debug)]
pub struct Payments {
    /// The gateway.
    pub gateway: PaymentGateway,
    /// Our book of the money.
    pub store: PaymentStore,
    /// For the pin: a reservation whose payment begins does not run out.
    pub inventory: Inventory,
}

/// How a payment ended.
#[derive(Debug)]
pub(crate) enum Settled {
    /// No money moved, and none can.
    Voided(Intent),
    /// The money moved before anybody could stop it.
    Captured(Intent),
}

impl Payments {
    /// Ends an intent. The one call that decides: whatever is under way at the gateway comes before
    /// it and shows in its answer, or after it and is refused.
    pub(crate) async fn settle(
        &self,
        intent_id: &str,
        deadline: Instant,
    ) -> Result<Settled, GatewayFailure> {
        let intent = match self.gateway.cancel(intent_id, deadline).await {
            Ok(intent) => intent,
            Err(GatewayFailure::UnexpectedState(intent)) if intent.id == intent_id => *intent,
            Err(failure) => return Err(failure),
        };
        match intent.status {
            IntentStatus::Canceled => Ok(Settled::Voided(intent)),
            IntentStatus::Succeeded => Ok(Settled::Captured(intent)),
            status => Err(GatewayFailure::Unknown {
                message: format!("payment {intent_id} can not be cancelled, it is {status:?}"),
                is_stored: false,
            }),
        }
    }

    /// Takes a payment back whatever became of it, and writes down how. A repeat changes nothing.
    pub(crate) async fn take_back(
        &self,
        attempt: &Attempt,
        order_id: OrderId,
        intent_id: &str,
        amount: Money,
    ) -> Result<(), UndoFailure> {
        if engine::planted!(LookupThenCompensate) {
            let intent = self.gateway.get_intent(intent_id, attempt.deadline).await?;
            if intent.status != IntentStatus::Succeeded {
                return Ok(());
            }
        }
        let (payment, refunds) = match self.settle(intent_id, attempt.deadline).await? {
            Settled::Voided(_) => {
                let voided = PaymentStatus::Voided;
                (PaymentChange::new(order_id, intent_id, amount, voided), Vec::new())
            }
            Settled::Captured(intent) => {
                let refunds = self.give_back(order_id, &intent, attempt.deadline).await?;
                (PaymentChange::captured(order_id, &intent, amount), refunds)
            }
        };
        let refunds = refunds.iter().map(|refund| RefundRow::new(order_id, refund)).collect();
        self.store.record_undo(attempt, Some(payment), refunds).await
    }

    /// Gives back what is left of a captured payment. All who do this for one order use the same
    /// key; the gateway is asked first each time, because a key is forgotten and a refund is not.
    async fn give_back(
        &self,
        order_id: OrderId,
        intent: &Intent,
        deadline: Instant,
    ) -> Result<Vec<Refund>, UndoFailure> {
        let order = order_id.to_string();
        for n in 1..=KEYS_MAX {
            let mut refunds = match engine::planted!(RefundWithoutKey) {
                true => Vec::new(),
                false => self.gateway.list_refunds(&intent.id, deadline).await?,
            };
            let came_back = refunds.iter().find(|refund| refund.status.came_back());
            if let Some(refund) = came_back {
                let why = format!("refund {} of order {order_id} did not go through", refund.id);
                tracing::error!(%order_id, refund_id = refund.id, "a refund did not go through");
                return Err(UndoFailure::Stuck(Trouble::new("refund_failed", why)));
            }
            let given_back: i64 = refunds.iter().map(|refund| refund.amount).sum();
            let left = intent.amount_received - given_back;
            if left <= 0 {
                return Ok(refunds);
            }
            let new = NewRefund {
                intent_id: &intent.id,
                amount: left,
                currency: &intent.currency,
                order_id: &order,
            };
            let key = match engine::planted!(RefundWithoutKey) {
                true => uuid::Uuid::new_v4().to_string(),
                false => nth_key(&format!("{order_id}/refund"), n),
            };
            match self.gateway.refund(new, &key, deadline).await {
                Ok(refund) => {
                    refunds.push(refund);
                    return Ok(refunds);
                }
                // The list will tell.
                Err(GatewayFailure::Unknown { is_stored: true, .. }) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(UndoFailure::Retry(out_of_keys("refund")))
    }

    /// Writes what a step found, with its answer. A step that was shut out by its own undo gets
    /// that rejection.
    pub(crate) async fn record<T: Serialize + DeserializeOwned>(
        &self,
        attempt: &Attempt,
        payment: PaymentChange,
        answer: Result<T, Rejection>,
    ) -> Result<T, Failure> {
        self.store.record(attempt, payment, answer).await
    }

    /// Writes a state that is no answer yet. Nobody depends on it: a failure is only logged.
    pub(crate) async fn note(&self, payment: PaymentChange) {
        let order_id = payment.order_id;
        if let Err(error) = self.store.note(payment).await {
            tracing::info!(%order_id, %error, "the state of a payment was not noted");
        }
    }
}

/// Whether a request that was first sent under this step may be sent again without asking.
pub(crate) fn may_resend(attempt: &Attempt) -> bool {
    engine::now() - attempt.intended_at < RESEND_FOR
}

/// `key`, `key/2`, ..
pub(crate) fn nth_key(key: &str, n: u32) -> String {
    if n == 1 { key.to_owned() } else { format!("{key}/{n}") }
}

/// All of [`keys`].
pub(crate) fn keys(key: &str) -> impl Iterator<Item = String> {
    (1..=KEYS_MAX).map(move |n| nth_key(key, n))
}

/// Each key has a stored fault under it: they are forgotten after a day.
pub(crate) fn out_of_keys(what: &str) -> Trouble {
    let why = format!("the gateway answers each {what} with a fault of its own that it keeps");
    Trouble::new("gateway_unknown", why).after(Duration::from_secs(60))
}

/// Whether `intent` is for what was asked; if not, somebody must look.
pub(crate) fn is_for(intent: &Intent, amount: Money) -> Result<(), Trouble> {
    let is_captured = intent.status == IntentStatus::Succeeded;
    if intent.amount == amount.value
        && intent.currency.eq_ignore_ascii_case(amount.currency.code())
        && (!is_captured || intent.amount_received == amount.value)
    {
        return Ok(());
    }
    let why = format!(
        "payment {} is of {} {} and took {}, not {amount}",
        intent.id, intent.amount, intent.currency, intent.amount_received
    );
    tracing::error!(intent_id = intent.id, "the gateway has another amount than was asked");
    Err(Trouble::new("payment_of_another_amount", why))
}
