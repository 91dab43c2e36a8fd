//! The operator API, `/admin/v1`: behind the command line and scripts alike.

mod act;
mod look;
mod query;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use engine::SagaId;
use engine::error::StoreError;
use engine::operator::OperateError;

use crate::auth::Role;
use crate::operations::Operations;
use crate::problem::{
    FieldError, INTERNAL, INVALID_QUERY, INVALID_REQUEST, Problem, SAGA_NOT_FOUND, STALE,
    UNAVAILABLE,
};
use crate::routes::{Access, Routes};

type Engine = Arc<dyn Operations>;

const LOOK: Access = Access::Roles(&[Role::Operator, Role::Admin, Role::Ops]);
const ACT: Access = Access::Roles(&[Role::Operator, Role::Admin]);

/// The routes.
pub(crate) fn routes(operations: Engine) -> Routes {
    Routes::new()
        .get("/admin/v1/sagas", LOOK, "a page of sagas, newest first", look::list)
        .get("/admin/v1/sagas/{id}", LOOK, "one saga, as of now", look::one)
        .get("/admin/v1/sagas/{id}/history", LOOK, "a saga's whole journal", look::history)
        .get("/admin/v1/nodes", LOOK, "the nodes, alive or not", look::nodes)
        .post("/admin/v1/sagas/{id}/retry", ACT, "try now what waits", act::retry)
        .post("/admin/v1/sagas/{id}/cancel", ACT, "undo everything", act::cancel)
        .post("/admin/v1/sagas/{id}/pause", ACT, "start nothing new", act::pause)
        .post("/admin/v1/sagas/{id}/resume", ACT, "go on", act::resume)
        .post("/admin/v1/sagas/{id}/resolve", ACT, "say what became of a step", act::resolve)
        .with_state(operations)
}

/// The saga in the path. What is not an id is the id of no saga.
struct Id(SagaId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let id = id.ok().and_then(|id| id.0.parse().ok());
        id.map(Self).ok_or_else(|| {
            Problem::new(&SAGA_NOT_FOUND).detail("A saga's id is a UUID; this is none.")
        })
    }
}

fn no_such(id: SagaId) -> Problem {
    Problem::new(&SAGA_NOT_FOUND).detail(format!("There is no saga {id}."))
}

/// What a caller reads when the engine's database did not do what it was asked.
pub fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(_) => Problem::new(&UNAVAILABLE).caused_by(error),
        StoreError::Refused(_) | StoreError::Unreadable(_) => {
            Problem::new(&INTERNAL).caused_by(error)
        }
    }
}

fn operate_problem(error: &OperateError) -> Problem {
    let wrong = |pointer: &str, code, detail: String| {
        vec![FieldError { pointer: pointer.to_owned(), code, detail }]
    };
    match error {
        OperateError::ReasonMissing => Problem::new(&INVALID_REQUEST).errors(wrong(
            "/reason",
            "missing",
            "is required".to_owned(),
        )),
        OperateError::NoSuchSaga(id) => no_such(*id),
        OperateError::Stale { now, seen } => Problem::new(&STALE)
            .detail(format!("It is at rev {now}, you looked at {seen}. Nothing was done."))
            .with("rev", *now),
        OperateError::Misfit(why) => Problem::new(&INVALID_REQUEST).errors(wrong(
            "/verdict/happened",
            "wrong_type",
            why.clone(),
        )),
        OperateError::Filter(why) => Problem::new(&INVALID_QUERY).detail(why).errors(wrong(
            "?",
            "not_served_together",
            why.clone(),
        )),
        OperateError::Store(error) => store_problem(error),
    }
}
