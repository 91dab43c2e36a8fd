//! From what a store answers to what an activity answers.

use engine::Failure;

use crate::database::DatabaseError;

type Answers<T> = Result<Vec<Result<T, Failure>>, DatabaseError>;

/// The answer of a batch of one.
pub(crate) fn alone<T>(answers: Answers<T>) -> Result<T, Failure> {
    let [answer] = <[_; 1]>::try_from(together(1, answers))
        .unwrap_or_else(|answers| unreachable!("{} answers to one call", answers.len()));
    answer
}

/// The answers of a batch of `calls`: what happened to the transaction happened to each.
pub(crate) fn together<T>(calls: usize, answers: Answers<T>) -> Vec<Result<T, Failure>> {
    answers.unwrap_or_else(|error| {
        let trouble = error.trouble();
        (0..calls).map(|_| Err(Failure::Retry(trouble.clone()))).collect()
    })
}
