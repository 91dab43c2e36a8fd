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
    let mut charges: Vec<_> = charges(view).collect();
    if let Some(captured) = charges.iter().find(|charge| is_captured(charge)) {
        return match (captured.state, view.summary.direction, view.summary.ending) {
            (StepState::Undone, _, _) => Money::Refunded,
            (StepState::Undoing, _, _) | (_, Direction::Backward, None) => Money::Refunding,
            _ => Money::Charged,
        };
    }
    let Some(last) = charges.pop() else { return Money::NotCharged };
    match last.state {
        // A charge fails only once its intent is cancelled.
        StepState::Rejected => Money::NotCharged,
        // Undone without anybody having seen its outcome: cancelled, or given back.
        StepState::Undone => books.unwrap_or(Money::Checking),
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
    let last = charges(view).next_back();
    last.is_some_and(|last| last.state == StepState::Undone) && !charges(view).any(is_captured)
}

/// Where the money is by our books. `None`: no payment was ever prepared.
pub(in crate::storefront) fn in_books(payment: Option<&OrderPayment>) -> Money {
    let Some(payment) = payment else { return Money::NotCharged };
    match (payment.captured.value, payment.refunded.value, payment.status.as_str()) {
        (0, _, "created" | "declined" | "voided") => Money::NotCharged,
        (0, _, _) => Money::Checking,
        (captured, refunded, _) if refunded >= captured => Money::Refunded,
        (_, 1.., _) => Money::Refunding,
        _ => Money::Charged,
    }
}

fn is_captured(charge: &StepView) -> bool {
    matches!(decoded(charge), Some(Charge::Captured { .. }))
}
