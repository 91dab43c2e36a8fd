//! What a step did in a store, once: the only way to a transaction that writes.
//!
//! `Effects` opens the transaction, writes one row for each call and says which calls are new; the
//! store changes what it has to for those; `Effects::finish` commits both together. A repeat
//! answers what the first one answered. An undo (`Undoing`) shuts out its own action when that
//! has not run yet, and an action that comes after its undo is refused with [`SHUT_OUT`].

mod sql;

pub(crate) use sql::{EffectSql, effect_sql};

use std::collections::{HashMap, HashSet};

use engine::{Attempt, Failure, Rejection, Trouble, UndoFailure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{Database, DatabaseError, Transaction};

/// The code of an action that is refused because its undo came first.
pub const SHUT_OUT: &str = "undone_before_done";

/// The actions of a batch, in one open transaction: statements go through [`Effects::run`]. Dropped without
/// [`Effects::finish`], nothing happened.
pub(crate) struct Effects<T> {
    transaction: Transaction,
    sql: &'static EffectSql,
    keys: Vec<Key>,
    answers: Vec<Answer<T>>,
}

/// The undos of a batch, in one open transaction: statements go through [`Undoing::run`]. Dropped without
/// [`Undoing::finish`], nothing happened.
pub(crate) struct Undoing<T> {
    transaction: Transaction,
    sql: &'static EffectSql,
    keys: Vec<Key>,
    undos: Vec<Undo<T>>,
}

/// What an undo has to do.
enum Undo<T> {
    /// Take back what the action did; this is what it returned.
    TakeBack(T),
    /// Nothing: the action never ran (and now never will), was rejected, or is taken back already.
    Nothing,
    /// Whatever becomes of the same call earlier in the batch.
    Again,
    /// Not now, or not without a person.
    Failed(UndoFailure),
}

enum Answer<T> {
    Fresh(T),
    Repeated(Result<T, Failure>),
    Rejected(Rejection),
    Failed(Failure),
}

type Key = (Uuid, i32);

#[derive(Serialize, Deserialize)]
struct StoredRejection {
    code: String,
    reason: String,
    details: Option<serde_json::Value>,
}

impl<T: Serialize + DeserializeOwned> Effects<T> {
    /// Begins, and claims the action of each attempt. `outputs` is what each action returns when
    /// it succeeds, in the order of `attempts`.
    pub(crate) async fn begin(
        database: &Database,
        attempts: &[&Attempt],
        outputs: Vec<T>,
    ) -> Result<Self, DatabaseError> {
        assert_eq!(attempts.len(), outputs.len(), "an output for each attempt");
        let sql = database.effects;
        let mut transaction = database.begin().await?;
        let keys = keys(attempts);
        let texts: Vec<String> = outputs.iter().map(encode).collect();
        let claimed: Vec<Key> = {
            let (sagas, steps) = columns(&keys);
            let claim = sqlx::query_as(sql.claim).bind(sagas).bind(steps).bind(texts);
            transaction.run(async |connection| claim.fetch_all(connection).await).await?
        };
        let mut answers: Vec<_> = outputs.into_iter().map(Answer::Fresh).collect();
        if claimed.len() < keys.len() && !engine::planted!(NoEffectRows) {
            let mut claimed: HashSet<Key> = claimed.into_iter().collect();
            let mine = claimed.clone();
            let earlier = earlier(&mut transaction, sql, &keys).await?;
            for (key, answer) in keys.iter().zip(&mut answers) {
                if !claimed.remove(key) {
                    let row = earlier.get(key).filter(|_| !mine.contains(key));
                    *answer = Answer::Repeated(repeat(row));
                }
            }
        }
        Ok(Self { transaction, sql, keys, answers })
    }

    /// The calls that are new, by their place in the batch: carry out these and no other.
    pub(crate) fn fresh(&self) -> Vec<usize> {
        let is_fresh = |&i: &usize| matches!(self.answers[i], Answer::Fresh(_));
        (0..self.answers.len()).filter(is_fresh).collect()
    }

    /// Call `i` changed nothing, for good: a repeat gets the same answer.
    pub(crate) fn reject(&mut self, i: usize, rejection: Rejection) {
        self.answers[i] = Answer::Rejected(rejection);
    }

    /// Call `i` changed nothing, this time: a repeat is a first try again.
    pub(crate) fn fail(&mut self, i: usize, failure: Failure) {
        self.answers[i] = Answer::Failed(failure);
    }

    /// Commits, and answers each call in the order of the batch.
    pub(crate) async fn finish(mut self) -> Result<Vec<Result<T, Failure>>, DatabaseError> {
        let mut rejected = (Vec::new(), Vec::new());
        let mut failed = Vec::new();
        for (key, answer) in self.keys.iter().zip(&self.answers) {
            match answer {
                Answer::Rejected(rejection) => {
                    rejected.0.push(*key);
                    rejected.1.push(encode(&StoredRejection {
                        code: rejection.code.to_string(),
                        reason: rejection.reason.clone(),
                        details: rejection.details.clone(),
                    }));
                }
                Answer::Failed(_) => failed.push(*key),
                Answer::Fresh(_) | Answer::Repeated(_) => {}
            }
        }
        if !rejected.0.is_empty() {
            let (sagas, steps) = columns(&rejected.0);
            let query = sqlx::query(self.sql.reject).bind(sagas).bind(steps).bind(rejected.1);
            self.transaction.run(async |connection| query.execute(connection).await).await?;
        }
        withdraw(&mut self.transaction, self.sql, &failed, "do").await?;
        self.transaction.commit().await?;
        let answers = self.answers.into_iter().map(|answer| match answer {
            Answer::Fresh(output) => Ok(output),
            Answer::Repeated(result) => result,
            Answer::Rejected(rejection) => Err(Failure::Rejected(rejection)),
            Answer::Failed(failure) => Err(failure),
        });
        Ok(answers.collect())
    }
}

impl<T: DeserializeOwned> Undoing<T> {
    /// Begins, claims the undo of each attempt and shuts out the actions that have not run.
    pub(crate) async fn begin(
        database: &Database,
        attempts: &[&Attempt],
    ) -> Result<Self, DatabaseError> {
        let sql = database.effects;
        let mut transaction = database.begin().await?;
        let keys = keys(attempts);
        let (sagas, steps) = columns(&keys);
        let claim = sqlx::query_as(sql.claim_undo).bind(sagas).bind(steps);
        let claimed: Vec<(Uuid, i32, String)> =
            transaction.run(async |connection| claim.fetch_all(connection).await).await?;
        let claimed: HashSet<_> = claimed.into_iter().collect();
        let is_claimed = |key: &Key, kind: &str| claimed.contains(&(key.0, key.1, kind.to_owned()));

        let to_undo = |key: &Key| {
            (is_claimed(key, "undo") || engine::planted!(NoEffectRows)) && !is_claimed(key, "do")
        };
        let earlier = match keys.iter().any(to_undo) {
            true => earlier(&mut transaction, sql, &keys).await?,
            false => HashMap::new(),
        };
        let mut seen = HashSet::new();
        let undos = keys.iter().map(|key| match (to_undo(key), seen.insert(*key)) {
            (true, true) => take_back(earlier.get(key)),
            (true, false) => Undo::Again,
            (false, _) => Undo::Nothing,
        });
        let undos = undos.collect();
        Ok(Self { transaction, sql, keys, undos })
    }

    /// The calls whose action is to be taken back, by their place in the batch, with what the
    /// action returned: take back these and no other.
    pub(crate) fn to_take_back(&self) -> impl Iterator<Item = (usize, &T)> {
        self.undos.iter().enumerate().filter_map(|(i, undo)| match undo {
            Undo::TakeBack(output) => Some((i, output)),
            Undo::Nothing | Undo::Again | Undo::Failed(_) => None,
        })
    }

    /// Call `i` was not taken back: a repeat is a first try again.
    pub(crate) fn fail(&mut self, i: usize, failure: UndoFailure) {
        self.undos[i] = Undo::Failed(failure);
    }

    /// Commits, and answers each call in the order of the batch.
    pub(crate) async fn finish(mut self) -> Result<Vec<Result<(), UndoFailure>>, DatabaseError> {
        let undos = self.keys.iter().zip(&self.undos);
        let failed = undos.filter(|(_, undo)| matches!(undo, Undo::Failed(_)));
        let failed: Vec<Key> = failed.map(|(key, _)| *key).collect();
        withdraw(&mut self.transaction, self.sql, &failed, "undo").await?;
        self.transaction.commit().await?;
        let answers = self.keys.iter().zip(self.undos).map(|(key, undo)| match undo {
            Undo::Again if failed.contains(key) => Err(UndoFailure::Retry(Trouble::new(
                "effect_in_doubt",
                "the same undo is under way",
            ))),
            Undo::TakeBack(_) | Undo::Nothing | Undo::Again => Ok(()),
            Undo::Failed(failure) => Err(failure),
        });
        Ok(answers.collect())
    }
}

impl<T> Effects<T> {
    /// See [`Transaction::run`].
    pub(crate) async fn run<R>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<R, sqlx::Error>,
    ) -> Result<R, DatabaseError> {
        self.transaction.run(statement).await
    }
}

impl<T> Undoing<T> {
    /// See [`Transaction::run`].
    pub(crate) async fn run<R>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<R, sqlx::Error>,
    ) -> Result<R, DatabaseError> {
        self.transaction.run(statement).await
    }
}

/// What the rows of earlier actions say.
async fn earlier(
    transaction: &mut Transaction,
    sql: &EffectSql,
    keys: &[Key],
) -> Result<HashMap<Key, (String, Option<String>)>, DatabaseError> {
    let (sagas, steps) = columns(keys);
    let query = sqlx::query_as(sql.earlier).bind(sagas).bind(steps);
    let rows: Vec<(Uuid, i32, String, Option<String>)> =
        transaction.run(async |connection| query.fetch_all(connection).await).await?;
    Ok(rows.into_iter().map(|(saga, step, answer, out)| ((saga, step), (answer, out))).collect())
}

/// Removes claims that came to nothing.
async fn withdraw(
    transaction: &mut Transaction,
    sql: &EffectSql,
    keys: &[Key],
    kind: &str,
) -> Result<(), DatabaseError> {
    if keys.is_empty() {
        return Ok(());
    }
    let (sagas, steps) = columns(keys);
    let query = sqlx::query(sql.withdraw).bind(sagas).bind(steps).bind(kind);
    transaction.run(async |connection| query.execute(connection).await).await?;
    Ok(())
}

/// What a repeated action answers, by the row of the first one.
fn repeat<T: DeserializeOwned>(row: Option<&(String, Option<String>)>) -> Result<T, Failure> {
    match row {
        Some((answer, output)) if answer == "done" => decode(output).map_err(Failure::Retry),
        Some((answer, output)) if answer == "rejected" => {
            let stored: StoredRejection = decode(output).map_err(Failure::Retry)?;
            let StoredRejection { code, reason, details } = stored;
            Err(Failure::Rejected(Rejection { code: code.into(), reason, details }))
        }
        Some(_) => Err(engine::reject(SHUT_OUT, "it was taken back before it was done")),
        // Withdrawn just now, or a second time in the same batch.
        None => Err(Failure::Retry(
            Trouble::new("effect_in_doubt", "the same step is under way").not_executed(),
        )),
    }
}

/// What is to be taken back, by the row of the action.
fn take_back<T: DeserializeOwned>(row: Option<&(String, Option<String>)>) -> Undo<T> {
    match row {
        Some((answer, output)) if answer == "done" => match decode(output) {
            Ok(output) => Undo::TakeBack(output),
            Err(trouble) => Undo::Failed(UndoFailure::Stuck(trouble)),
        },
        Some(_) => Undo::Nothing,
        None => Undo::Failed(UndoFailure::Retry(Trouble::new(
            "effect_in_doubt",
            "the action is under way",
        ))),
    }
}

fn keys(attempts: &[&Attempt]) -> Vec<Key> {
    attempts.iter().map(|attempt| (attempt.saga_id.uuid(), attempt.step.cast_signed())).collect()
}

fn columns(keys: &[Key]) -> (Vec<Uuid>, Vec<i32>) {
    keys.iter().copied().unzip()
}

fn encode<T: Serialize>(value: &T) -> String {
    // Outputs are journalled as JSON by the engine anyway: one that has no JSON form is a bug that
    // every test of its activity meets.
    serde_json::to_string(value).expect("an output has a JSON form")
}

fn decode<T: DeserializeOwned>(text: &Option<String>) -> Result<T, Trouble> {
    let unreadable = |why: String| Trouble::new("effect_unreadable", why);
    let text = text.as_deref().unwrap_or("null");
    serde_json::from_str(text).map_err(|error| unreadable(format!("the stored output: {error}")))
}
