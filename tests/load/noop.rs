//! A saga of three steps that do nothing but are as durable as any.

use std::sync::atomic::{AtomicU64, Ordering};

use engine::client::StartKey;
use engine::{
    Abort, Activity, Attempt, Failure, Outcome, Saga, Undo, UndoFailure, Undoable, Workflow,
};
use serde::{Deserialize, Serialize};

use crate::load::Job;
use crate::nodes::Clients;

/// What there is to work with.
pub(crate) struct Nothing;

/// About what a real order's input weighs.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    order: String,
    customer: String,
    sku: String,
    quantity: u32,
    amount: u64,
    note: String,
}

impl Order {
    pub(crate) fn example() -> Self {
        Self {
            order: "o-123456".into(),
            customer: "c-123".into(),
            sku: "sku-77".into(),
            quantity: 1,
            amount: 1999,
            note: "x".repeat(110),
        }
    }
}

/// What a step gives.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answer {
    ok: bool,
    pad: String,
}

impl Answer {
    pub(crate) fn example() -> Self {
        Self { ok: true, pad: "y".repeat(60) }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Step {
    order: String,
    number: u32,
}

impl Step {
    pub(crate) fn first(order: &Order) -> Self {
        Self { order: order.order.clone(), number: 1 }
    }
}

impl Activity for Step {
    const NAME: &'static str = "step";
    const DEPENDENCY: &'static str = "nothing";
    type Services = Nothing;
    type Output = Answer;
    type Class = Undoable;

    async fn run(&self, _: &Nothing, _: &Attempt) -> Result<Answer, Failure> {
        Ok(Answer::example())
    }
}

impl Undo for Step {
    async fn undo(
        &self,
        _: &Nothing,
        _: &Attempt,
        _: Outcome<'_, Answer>,
    ) -> Result<(), UndoFailure> {
        Ok(())
    }
}

pub(crate) struct Noop;

impl Workflow for Noop {
    const NAME: &'static str = "noop";
    type Services = Nothing;
    type Input = Order;
    type Output = bool;
    type Activities = (Step,);

    async fn run(saga: &mut Saga<Self>, order: Order) -> Result<bool, Abort> {
        let mut ok = true;
        for number in 1..=3 {
            ok &= saga.step(Step { order: order.order.clone(), number }).await?.ok;
        }
        Ok(ok)
    }
}

/// Starts them, and waits for their end.
pub(crate) struct Sagas {
    clients: Clients,
    /// Each has a key of its own.
    keyed: bool,
    next: AtomicU64,
}

impl Sagas {
    pub(crate) fn new(clients: Clients, keyed: bool) -> Self {
        Self { clients, keyed, next: AtomicU64::new(0) }
    }
}

/// That of a saga with this number.
pub(crate) fn key(number: u64) -> StartKey {
    StartKey { scope: "load".into(), key: number.to_string(), fingerprint: [0; 32] }
}

impl Job for Sagas {
    async fn run(&self) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.clients.run::<Noop>(&Order::example(), self.keyed.then(|| key(number))).await
    }
}
