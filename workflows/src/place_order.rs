//! place-order: reserve the stock, write the order, take the money; if one fails, none remain.

use std::time::Duration;

use activities::{
    Charge, ChargePayment, ChargeStage, CommitInventory, ConfirmOrder, CreateOrder, Money, OrderId,
    PreparePayment, PreparedPayment, ReserveInventory, Shop,
};
use engine::{Abort, Saga, Workflow};
use serde::{Deserialize, Serialize};

use crate::checkout::Checkout;

/// The signal that the gateway said something about the saga's payment. It carries nothing that is
/// believed: the payment is asked for again.
pub const PAYMENT_EVENT: &str = "payment-event";

/// How long a customer has to authenticate (3-D Secure), from when they are asked to.
const ACTION_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long the gateway has to say what came of that before it is asked, and twice as long each time
/// after: what it sends may be lost.
const FIRST_ASKED_AFTER: Duration = Duration::from_secs(60);

/// Turns a cart into a confirmed, paid order, or leaves nothing behind.
#[derive(Debug)]
pub struct PlaceOrder;

/// An order that was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The order.
    pub order_id: OrderId,
    /// What was charged.
    pub amount: Money,
    /// The charge at the gateway: `ch_..`
    pub charge_id: Option<String>,
}

impl Workflow for PlaceOrder {
    const NAME: &'static str = "place-order";
    type Services = Shop;
    type Input = Checkout;
    type Output = Receipt;
    type Activities = (
        ReserveInventory,
        CreateOrder,
        PreparePayment,
        ChargePayment,
        CommitInventory,
        ConfirmOrder,
    );

    async fn run(saga: &mut Saga<Self>, checkout: Checkout) -> Result<Receipt, Abort> {
        let order_id = checkout.order_id;
        saga.step(ReserveInventory { order_id, lines: checkout.unpriced() }).await?;
        saga.step(CreateOrder {
            order_id,
            customer_id: checkout.customer_id.clone(),
            currency: checkout.currency,
            lines: checkout.lines.clone(),
        })
        .await?;
        let payment = saga.step(PreparePayment { order_id, amount: checkout.total }).await?;
        let charge_id = charge(saga, &checkout, &payment).await?;

        // The money is ours: from here forward only.
        let mut saga = saga.pivot();
        saga.step(CommitInventory { order_id }).await;
        saga.step(ConfirmOrder { order_id }).await;
        Ok(Receipt { order_id, amount: checkout.total, charge_id })
    }
}

/// Charges, and waits for the customer's bank where it asks to. Ends with the money captured, or
/// with the step that says no.
async fn charge(
    saga: &mut Saga<PlaceOrder>,
    checkout: &Checkout,
    payment: &PreparedPayment,
) -> Result<Option<String>, Abort> {
    let mut gives_up_at = None;
    let mut stage = ChargeStage::Confirm;
    let mut asked_after = FIRST_ASKED_AFTER;
    loop {
        let step = ChargePayment {
            order_id: checkout.order_id,
            intent_id: payment.intent_id.clone(),
            return_url: payment.return_url.clone(),
            payment_method: checkout.payment_method.clone(),
            amount: checkout.total,
            stage,
        };
        if let Charge::Captured { charge_id, .. } = saga.step(step).await? {
            return Ok(charge_id);
        }
        let gives_up_at = *gives_up_at.get_or_insert_with(|| saga.now() + ACTION_TIMEOUT);
        let left = Duration::try_from(gives_up_at - saga.now()).unwrap_or_default();
        let heard: Option<serde_json::Value> =
            saga.signal(PAYMENT_EVENT, left.min(asked_after)).await?;
        if heard.is_none() {
            asked_after *= 2;
        }
        let is_over = saga.now() >= gives_up_at;
        stage = if is_over { ChargeStage::GiveUp } else { ChargeStage::AfterAction };
    }
}
