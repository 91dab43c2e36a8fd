//! A saga in its customer's words. Pure: the same view is the same answer, and nothing of the engine's
//! inside is in it.

mod failure;
mod money;

pub(super) use money::{Money, in_books, needs_books};

use activities::{Charge, ChargePayment, CommitInventory, ConfirmOrder, CreateOrder};
use activities::{PreparePayment, ReserveInventory};
use engine::journal::{Direction, Ending};
use engine::view::{Phase, SagaView, StepKind, StepState, StepView};
use engine::{Activity, SagaId};

use serde::Serialize;
use serde_json::{Value, json};
use workflows::Checkout;

use failure::Failure;

/// The signal that tells a saga to look at its payment again.
pub(super) const PAYMENT_EVENT: &str = "payment-event";

/// How far a checkout is. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Processing,
    ActionRequired,
    Completed,
    Declined,
    Failed,
    Cancelling,
    Cancelled,
}

impl Status {
    pub(super) fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Declined | Self::Failed | Self::Cancelled => true,
            Self::Processing | Self::ActionRequired | Self::Cancelling => false,
        }
    }

    /// Whether it is our turn, and a customer can but wait.
    pub(super) fn is_ours(self) -> bool {
        !self.is_final() && self != Self::ActionRequired
    }

    /// When it pays to ask again, in milliseconds.
    fn poll_after_ms(self) -> Option<u32> {
        match self {
            Self::Processing | Self::Cancelling => Some(800),
            Self::ActionRequired => Some(2_000),
            Self::Completed | Self::Declined | Self::Failed | Self::Cancelled => None,
        }
    }
}

/// A part of a checkout, as a customer thinks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Stock,
    Order,
    Payment,
    Confirmation,
}

/// How far a part is. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum PartState {
    Running,
    /// For the customer.
    Waiting,
    Done,
    Failed,
    Undoing,
    Undone,
}

/// A checkout that was accepted, before anything is seen of it.
pub(super) fn accepted(id: SagaId, money: Money) -> Value {
    let status = Status::Processing;
    json!({
        "id": id,
        "status": status,
        "money": money,
        "progress": [],
        "poll_after_ms": status.poll_after_ms(),
        "cancellable": true,
        "customer_message": "We are working on your order.",
        "order": null,
        "failure": null,
        "next_action": null,
        "links": links(id, None, true),
    })
}

/// A checkout as it stands. `books`: the money by our books, where [`needs_books`] asks for it.
pub(super) fn body(view: &SagaView, books: Option<Money>) -> Value {
    let (status, money) = (status(view), money::of(view, books));
    let failure = failure::of(view);
    let cancellable = is_cancellable(view);
    let order = order(view, status);
    let id = view.summary.id;
    json!({
        "id": id,
        "status": status,
        "money": money,
        "progress": progress(view),
        "poll_after_ms": status.poll_after_ms(),
        "cancellable": cancellable,
        "customer_message": message(view, status, money, failure.as_ref()),
        "links": links(id, order.as_ref(), cancellable),
        "order": order,
        "failure": failure.map(|failure| failure.json(money)),
        "next_action": next_action(view, status),
    })
}

/// How far it is.
pub(super) fn status(view: &SagaView) -> Status {
    let because = view.because.as_ref();
    match (view.summary.ending, view.summary.direction) {
        (Some(Ending::Completed), _) => Status::Completed,
        (Some(Ending::Cancelled), _) => Status::Cancelled,
        (Some(Ending::Undone), _) if because.is_some_and(|b| failure::is_decline(&b.code)) => {
            Status::Declined
        }
        (Some(Ending::Undone | Ending::ClosedWithResidue), _) => Status::Failed,
        (None, Direction::Backward) if because.is_some_and(failure::is_cancel) => {
            Status::Cancelling
        }
        (None, Direction::Forward) if action(view).is_some() => Status::ActionRequired,
        (None, Direction::Forward | Direction::Backward) => Status::Processing,
    }
}

/// What the charge asks of the customer, while the saga waits for it.
fn action(view: &SagaView) -> Option<Charge> {
    let charge = charges(view).next_back().filter(|_| view.summary.phase == Phase::Waiting)?;
    decoded(charge).filter(|charge| matches!(charge, Charge::RequiresAction { .. }))
}

/// The charge's steps: the charge, and what came after the customer's authentication.
fn charges(view: &SagaView) -> impl DoubleEndedIterator<Item = &StepView> {
    view.steps.iter().filter(|step| step.name == ChargePayment::NAME)
}

fn decoded(charge: &StepView) -> Option<Charge> {
    charge.output.as_ref()?.decode().ok()
}

fn next_action(view: &SagaView, status: Status) -> Option<Value> {
    match action(view).filter(|_| status == Status::ActionRequired)? {
        Charge::RequiresAction { url } => Some(json!({"type": "redirect_to_url", "url": url})),
        Charge::Captured { .. } => None,
    }
}

fn is_cancellable(view: &SagaView) -> bool {
    view.summary.ending.is_none()
        && view.summary.direction == Direction::Forward
        && !view.past_pivot
}

/// The order, once it is written: before that nobody finds it.
fn order(view: &SagaView, status: Status) -> Option<Value> {
    let is_written = view.steps.iter().any(|step| {
        step.name == CreateOrder::NAME
            && matches!(step.state, StepState::Done | StepState::Undoing | StepState::Undone)
            && step.output.is_some()
    });
    let checkout: Checkout = view.input.decode().ok().filter(|_| is_written)?;
    let mut order = json!({"id": checkout.order_id, "total": checkout.total});
    if status == Status::Completed {
        order["lines"] = json!(checkout.lines);
    }
    Some(order)
}

fn links(id: SagaId, order: Option<&Value>, cancellable: bool) -> Value {
    let mut links = json!({
        "self": format!("/v1/checkouts/{id}"),
        "events": format!("/v1/checkouts/{id}/events"),
    });
    if cancellable {
        links["cancel"] = json!(format!("/v1/checkouts/{id}/cancel"));
    }
    if let Some(order) = order.and_then(|order| order["id"].as_str()) {
        links["order"] = json!(format!("/v1/orders/{order}"));
    }
    links
}

fn progress(view: &SagaView) -> Vec<Value> {
    let parts = [Part::Stock, Part::Order, Part::Payment, Part::Confirmation];
    let line = |part| Some(json!({"step": part, "state": part_state(view, part)?}));
    parts.into_iter().filter_map(line).collect()
}

fn part_of(step: &StepView) -> Option<Part> {
    match (step.kind, step.name.as_str()) {
        (StepKind::Signal, PAYMENT_EVENT) => Some(Part::Payment),
        (StepKind::Activity, name) => match name {
            ReserveInventory::NAME => Some(Part::Stock),
            CreateOrder::NAME => Some(Part::Order),
            PreparePayment::NAME | ChargePayment::NAME => Some(Part::Payment),
            CommitInventory::NAME | ConfirmOrder::NAME => Some(Part::Confirmation),
            _ => None,
        },
        (StepKind::Signal | StepKind::Sleep, _) => None,
    }
}

/// Of all steps of a part: what goes on wins over what is over.
fn part_state(view: &SagaView, part: Part) -> Option<PartState> {
    let steps: Vec<_> = view.steps.iter().filter(|step| part_of(step) == Some(part)).collect();
    let any = |wanted: &[StepState]| steps.iter().any(|step| wanted.contains(&step.state));
    if steps.is_empty() {
        None
    } else if any(&[StepState::Undoing]) {
        Some(PartState::Undoing)
    } else if steps.iter().any(|step| has_failed(step)) {
        Some(PartState::Failed)
    } else if any(&[StepState::Undone]) {
        Some(PartState::Undone)
    } else if any(&[StepState::Waiting]) || (part == Part::Payment && action(view).is_some()) {
        Some(PartState::Waiting)
    } else if any(&[StepState::Running, StepState::Retrying]) || !is_whole(part, &steps) {
        Some(PartState::Running)
    } else {
        Some(PartState::Done)
    }
}

/// A wait that was given up is no failure: the saga turned back.
fn has_failed(step: &StepView) -> bool {
    step.kind == StepKind::Activity
        && matches!(step.state, StepState::Rejected | StepState::GivenUp)
}

/// Whether the last step of a part was begun: the payment is not done when it is prepared.
fn is_whole(part: Part, steps: &[&StepView]) -> bool {
    match part {
        Part::Stock | Part::Order => true,
        Part::Payment => {
            steps.iter().any(|step| matches!(decoded(step), Some(Charge::Captured { .. })))
        }
        Part::Confirmation => steps.iter().any(|step| step.name == ConfirmOrder::NAME),
    }
}

fn message(view: &SagaView, status: Status, money: Money, failure: Option<&Failure>) -> String {
    if let Some(failure) = failure {
        return failure.message(money);
    }
    let text = match status {
        Status::Processing if view.summary.attention.is_some() => "We are checking your payment.",
        Status::Processing if view.summary.phase == Phase::Retrying => {
            "Order processing delayed. We keep trying; you need not do anything."
        }
        Status::Processing if money == Money::Checking => "We are confirming your payment.",
        Status::Processing if money == Money::Charged => {
            "Your payment went through. We are confirming your order."
        }
        Status::Processing => "We are working on your order.",
        Status::ActionRequired => "Your bank asks you to confirm this payment.",
        Status::Completed => "Thank you. Your order is confirmed.",
        Status::Declined | Status::Failed => "Your order could not be placed.",
        Status::Cancelling => "We are cancelling your order.",
        Status::Cancelled => "Your order was cancelled.",
    };
    match status {
        Status::Cancelling | Status::Cancelled => format!("{text} {}", money.sentence()),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests;
