//! What steps and undos write: a batch of each in one transaction with their effect rows.

use std::collections::BTreeSet;

use engine::{Attempt, Failure, Rejection, Trouble, UndoFailure};
use serde_json::Value;

use super::change::{PaymentChange, RefundRow, change, refund};
use crate::database::{Database, DatabaseError};
use crate::effect::{Effects, Undoing};

/// A step that came to an answer.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(super) attempt: Attempt,
    pub(super) payment: PaymentChange,
    pub(super) answer: Result<Value, Rejection>,
}

/// An undo that came to its end.
#[derive(Clone, Debug)]
pub(crate) struct Undone {
    pub(super) attempt: Attempt,
    pub(super) payment: Option<PaymentChange>,
    pub(super) refunds: Vec<RefundRow>,
}

pub(super) async fn done(
    database: Database,
    calls: Vec<Done>,
) -> Result<Vec<Result<Value, Failure>>, Trouble> {
    match done_all(&database, &calls).await {
        // One row that the database refuses must not take the others with it.
        Err(DatabaseError::Refused { .. }) if calls.len() > 1 => {
            let mut answers = Vec::with_capacity(calls.len());
            for call in &calls {
                let answer = done_all(&database, std::slice::from_ref(call)).await;
                answers.push(
                    answer.map_err(|error| Failure::Unknown(in_doubt(&error))).and_then(only),
                );
            }
            Ok(answers)
        }
        answers => answers.map_err(|error| in_doubt(&error)),
    }
}

pub(super) async fn undone(
    database: Database,
    calls: Vec<Undone>,
) -> Result<Vec<Result<(), UndoFailure>>, Trouble> {
    match undone_all(&database, &calls).await {
        Err(DatabaseError::Refused { .. }) if calls.len() > 1 => {
            let mut answers = Vec::with_capacity(calls.len());
            for call in &calls {
                let answer = undone_all(&database, std::slice::from_ref(call)).await;
                let answer = answer.map_err(|error| UndoFailure::Retry(in_doubt(&error)));
                answers.push(answer.and_then(|answers| answers.into_iter().collect()));
            }
            Ok(answers)
        }
        answers => answers.map_err(|error| in_doubt(&error)),
    }
}

async fn done_all(
    database: &Database,
    calls: &[Done],
) -> Result<Vec<Result<Value, Failure>>, DatabaseError> {
    let attempts: Vec<_> = calls.iter().map(|call| &call.attempt).collect();
    let outputs = calls.iter().map(|call| call.answer.clone().unwrap_or_default()).collect();
    let mut effects = Effects::begin(database, &attempts, outputs).await?;
    let mut seen = BTreeSet::new();
    let mut payments = Vec::new();
    for i in effects.fresh() {
        let payment = &calls[i].payment;
        // One statement changes a row once.
        if !seen.insert(payment.order_id) {
            effects.fail(i, Failure::Unknown(same_order()));
            continue;
        }
        payments.push((i, payment));
        if let Err(rejection) = &calls[i].answer {
            effects.reject(i, rejection.clone());
        }
    }
    if !payments.is_empty() {
        let rows: Vec<_> = payments.iter().map(|(_, payment)| *payment).collect();
        let written = effects.run(async |connection| change(connection, &rows).await).await?;
        for (i, payment) in payments {
            if payment.is_new() && !written.contains(&payment.order_id) {
                effects.fail(i, Failure::Unknown(order_missing(payment)));
            }
        }
    }
    effects.finish().await
}

async fn undone_all(
    database: &Database,
    calls: &[Undone],
) -> Result<Vec<Result<(), UndoFailure>>, DatabaseError> {
    let attempts: Vec<_> = calls.iter().map(|call| &call.attempt).collect();
    let mut undoing = Undoing::<Value>::begin(database, &attempts).await?;
    // Each of them, also where the step wrote nothing: the gateway was asked, and this is what it
    // said.
    let mut seen = BTreeSet::new();
    let (mut payments, mut refunds) = (Vec::new(), Vec::new());
    for (i, call) in calls.iter().enumerate() {
        let Some(payment) = &call.payment else { continue };
        if !seen.insert(payment.order_id) {
            undoing.fail(i, UndoFailure::Retry(same_order()));
            continue;
        }
        payments.push(payment);
        refunds.extend(&call.refunds);
    }
    if !payments.is_empty() {
        undoing.run(async |connection| change(connection, &payments).await).await?;
    }
    if !refunds.is_empty() {
        undoing.run(async |connection| refund(connection, &refunds).await).await?;
    }
    undoing.finish().await
}

fn only(answers: Vec<Result<Value, Failure>>) -> Result<Value, Failure> {
    answers
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map(|mut answers| answers.pop().unwrap_or_default())
}

/// The gateway has acted already, so nothing here says that nothing happened.
fn in_doubt(error: &DatabaseError) -> Trouble {
    Trouble { not_executed: false, ..error.trouble() }
}

fn same_order() -> Trouble {
    Trouble::new("effect_in_doubt", "another step of the same order is being written")
}

fn order_missing(payment: &PaymentChange) -> Trouble {
    let why = format!("there is no order {} to write a payment for", payment.order_id);
    Trouble::new("order_missing", why)
}
