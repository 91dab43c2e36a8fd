//! The planted bug `new_key_per_attempt`: what a charge would be if no state stood behind its key.

use engine::{Attempt, Failure};

use crate::charge_payment::{ChargePayment, is_untouched};
use crate::payment_gateway::NewIntent;
use crate::payments::Payments;

impl ChargePayment {
    /// This charge, of an intent that nobody has tried to charge.
    pub(crate) async fn anew(
        &self,
        payments: &Payments,
        attempt: &Attempt,
    ) -> Result<Self, Failure> {
        let (gateway, mut anew) = (&payments.gateway, self.clone());
        if !is_untouched(&gateway.get_intent(&self.intent_id, attempt.deadline).await?) {
            let (order_id, saga_root) = (self.order_id.to_string(), attempt.root.to_string());
            let new = NewIntent {
                amount: self.amount.value,
                currency: self.amount.currency.code(),
                order_id: &order_id,
                saga_root: &saga_root,
            };
            anew.intent_id = gateway.create_intent(new, &attempt.key(), attempt.deadline).await?.id;
        }
        Ok(anew)
    }
}
