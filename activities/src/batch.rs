//! From what a store answers to what an activity answers.

use engine::Failure;

use crate::database::DatabaseError;

type Answers<T> = Result<Vec<Result<T, Failure>>, DatabaseError>;

/// The answer of a batch of one.
pub(crate) fn alone<T>(answers: Answers<T>) -> Result<T, Failure> {
    let [answer] = <[_; 1]>::try_from(each(1, answers))
        .unwrap_or_else(|answers| unreachable!("{} answers to one call", answers.len()));
    answer
}

/// The answers of a batch, which `write` puts into one transaction. If the database refuses a row of it, each
/// call has a transaction of its own: whose row that is pays for it alone.
pub(crate) async fn together<'a, C, T, Writing: Future<Output = Answers<T>>>(
    calls: &'a [C],
    write: impl Fn(&'a [C]) -> Writing,
) -> Vec<Result<T, Failure>> {
    match write(calls).await {
        Err(DatabaseError::Refused { .. }) if calls.len() > 1 => {
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                answers.push(alone(write(std::slice::from_ref(call)).await));
            }
            answers
        }
        answers => each(calls.len(), answers),
    }
}

/// What happened to the transaction happened to each of `calls`.
fn each<T>(calls: usize, answers: Answers<T>) -> Vec<Result<T, Failure>> {
    answers.unwrap_or_else(|error| {
        let trouble = error.trouble();
        (0..calls).map(|_| Err(Failure::Retry(trouble.clone()))).collect()
    })
}
