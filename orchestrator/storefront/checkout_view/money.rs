//! Where the customer's money is, told by what became of the charge.

use activities::Charge;
use activities::order_store::OrderPayment;
use engine::journal::Direction;
use engine::view::{SagaView, StepState, StepView};
use serde::Serialize;

use super::{charges, decoded};

/// Where the money is. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::storefront) enum Money {
    /// With the customer, and it stays there.
    NotCharged,
    /// With the shop.
    Charged,
    /// On its way back.
    Refunding,
    /// Back with the customer.
    Refunded,
    /// A charge was sent, and its outcome is not known yet.
    Checking,
}

impl Money {
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::NotCharged => "You have not been charged.",
            Self::Charged => "You have been charged.",
            Self::Refunding => "Your money is on its way back to you.",
            Self::Refunded => "Your money was returned to you.",
            Self::Checking => "We are checking your payment.",
        }
    }
}

/// Where the money is. Never `not_charged` from the moment a charge is sent until its outcome is
/// known: what nobody can tell is `checking`.
pub(super) fn of(view: &SagaView, books: Option<Money>) -> Money {
    let Some(charge) = decisive(view) else { return Money::NotCharged };
    match charge.state {
        // Cancelled, or given back: on its way, with the customer, or come back to us.
        StepState::Undone => books.unwrap_or(Money::Checking),
        StepState::Undoing if is_captured(charge) => Money::Refunding,
        _ if is_captured(charge) => match (view.summary.direction, view.summary.ending) {
            (Direction::Backward, None) => Money::Refunding,
            _ => Money::Charged,
        },
        // A charge fails only once its intent is cancelled.
        StepState::Rejected => Money::NotCharged,
        StepState::Running
        | StepState::Waiting
        | StepState::Retrying
        // Done, and not captured: with the bank, or with a customer who may be confirming it now.
        | StepState::Done
        | StepState::TimedOut
        | StepState::GivenUp
        | StepState::Undoing => Money::Checking,
    }
}

/// Whether only our books can tell.
pub(in crate::storefront) fn needs_books(view: &SagaView) -> bool {
    decisive(view).is_some_and(|charge| charge.state == StepState::Undone)
}

/// The charge that took the money, else the last.
fn decisive(view: &SagaView) -> Option<&StepView> {
    charges(view).find(|charge| is_captured(charge)).or_else(|| charges(view).next_back())
}

/// Where the money is by our books. `None`: no payment was ever prepared.
pub(in crate::storefront) fn in_books(payment: Option<&OrderPayment>) -> Money {
    let Some(payment) = payment else { return Money::NotCharged };
    let (refunded, refunding) = (payment.refunded.value, payment.refunding.value);
    match (payment.captured.value, payment.status.as_str()) {
        (0, "created" | "declined" | "voided") => Money::NotCharged,
        (0, _) => Money::Checking,
        (captured, _) if refunded >= captured => Money::Refunded,
        _ if refunding > 0 => Money::Refunding,
        // Also if somebody gave a part of it back.
        _ => Money::Charged,
    }
}

fn is_captured(charge: &StepView) -> bool {
    matches!(decoded(charge), Some(Charge::Captured { .. }))
}
