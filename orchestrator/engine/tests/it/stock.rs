//! A store in memory that keeps the rules of a real one: an action under one key happens once, and
//! never after its undo.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{
    Abort, Activity, Attempt, Failure, Outcome, Registry, Saga, Undo, UndoFailure, Undoable,
    Workflow, reject,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// What was taken, by key.
#[derive(Debug)]
pub(crate) struct Stock {
    taken: Mutex<HashMap<String, u32>>,
    undone: Mutex<HashSet<String>>,
    /// How often an action was called, repeats included.
    pub(crate) calls: Mutex<u32>,
    /// Actions wait while this is false.
    pub(crate) gate: watch::Sender<bool>,
}

impl Stock {
    pub(crate) fn open() -> Arc<Self> {
        Self::new(true)
    }

    pub(crate) fn closed() -> Arc<Self> {
        Self::new(false)
    }

    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            undone: Mutex::default(),
            calls: Mutex::default(),
            gate: watch::Sender::new(open),
        })
    }

    /// How many things are taken, and how many distinct actions took them.
    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Waits until actions have been called `calls` times.
    pub(crate) async fn called(&self, calls: u32) {
        let deadline = tokio::time::Instant::now() + crate::harness::SOON;
        while *self.calls.lock().unwrap() < calls {
            assert!(tokio::time::Instant::now() < deadline, "never called {calls} times");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Take {
    pub(crate) number: u32,
    pub(crate) refuse: bool,
}

impl Activity for Take {
    const NAME: &'static str = "take";
    const DEPENDENCY: &'static str = "stock";
    type Services = Stock;
    type Output = u32;
    type Class = Undoable;

    async fn run(&self, stock: &Stock, attempt: &Attempt) -> Result<u32, Failure> {
        *stock.calls.lock().unwrap() += 1;
        let mut gate = stock.gate.subscribe();
        // The gate's sender lives as long as the stock.
        let _ = gate.wait_for(|open| *open).await;
        if self.refuse {
            return Err(reject("refused", "told to"));
        }
        let key = attempt.key();
        if stock.undone.lock().unwrap().contains(&key) {
            return Err(reject("undone_before_done", "its undo came first"));
        }
        *stock.taken.lock().unwrap().entry(key).or_default() += 1;
        Ok(self.number)
    }
}

impl Undo for Take {
    async fn undo(
        &self,
        stock: &Stock,
        attempt: &Attempt,
        _: Outcome<'_, u32>,
    ) -> Result<(), UndoFailure> {
        let key = attempt.key();
        stock.undone.lock().unwrap().insert(key.clone());
        stock.taken.lock().unwrap().remove(&key);
        Ok(())
    }
}

/// Takes `steps` things, and is refused the last one if told to.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) steps: u32,
    pub(crate) refused: bool,
    pub(crate) pause_ms: u64,
}

impl Order {
    pub(crate) fn of(steps: u32) -> Self {
        Self { steps, refused: false, pause_ms: 0 }
    }
}

pub(crate) struct TakeMany;

impl Workflow for TakeMany {
    const NAME: &'static str = "take-many";
    type Services = Stock;
    type Input = Order;
    type Output = u32;
    type Activities = (Take,);

    async fn run(saga: &mut Saga<Self>, order: Order) -> Result<u32, Abort> {
        let mut taken = 0;
        if order.pause_ms > 0 {
            saga.sleep(Duration::from_millis(order.pause_ms)).await?;
        }
        for number in 1..=order.steps {
            let refuse = order.refused && number == order.steps;
            taken += saga.step(Take { number, refuse }).await?;
        }
        Ok(taken)
    }
}

pub(crate) fn registry(stock: &Arc<Stock>) -> Registry {
    Registry::new().workflow::<TakeMany>(stock)
}
