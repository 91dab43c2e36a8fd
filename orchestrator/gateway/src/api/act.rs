//! Acting on a saga: always with a reason, always audited, on the rev that was looked at if one is
//! named.

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::client::Told;
use engine::event::Verdict;
use engine::operator::{Acted, Action, Who};
use engine::view::SagaView;
use serde_json::{Value, json};

use super::{Engine, Id, no_such, operate_problem, store_problem};
use crate::auth::Caller;
use crate::body::Json;
use crate::body::fields::{Errors, Field, Fields};
use crate::etag;
use crate::problem::{self, ACTION_REFUSED, FieldError, Problem};
use crate::request_id::RequestId;

/// What every action needs to know of its request.
pub(super) struct Asked {
    caller: Caller,
    request_id: RequestId,
    if_rev: Option<i32>,
    body: Value,
}

impl<S: Send + Sync> axum::extract::FromRequest<S> for Asked {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        use axum::extract::FromRequestParts;
        let (mut parts, body) = request.into_parts();
        no_query(&parts.uri)?;
        let caller = Caller::from_request_parts(&mut parts, state).await?;
        let Extension(request_id) = Extension::<RequestId>::from_request_parts(&mut parts, state)
            .await
            .map_err(|_| Problem::new(&problem::INTERNAL))?;
        let if_rev = etag::if_match(&parts.headers)?;
        let request = axum::extract::Request::from_parts(parts, body);
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Self { caller, request_id, if_rev, body })
    }
}

/// An action takes none: one that asks for something else, such as a mere plan, is not done as if it had not.
fn no_query(uri: &Uri) -> Result<(), Problem> {
    let names = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let unknown = |pair: &str| {
        let name = pair.split('=').next().unwrap_or(pair);
        let detail = "is not known: an action has a body only".to_owned();
        FieldError { pointer: format!("?{name}"), code: "unknown_field", detail }
    };
    let errors: Vec<_> = names.map(unknown).collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Problem::new(&problem::INVALID_QUERY).errors(errors)),
    }
}

/// `POST /admin/v1/sagas/{id}/retry`
pub(super) async fn retry(
    engine: State<Engine>,
    id: Id,
    asked: Asked,
) -> Result<Response, Problem> {
    plain(engine, id, asked, Action::Retry).await
}

/// `POST /admin/v1/sagas/{id}/cancel`
pub(super) async fn cancel(
    engine: State<Engine>,
    id: Id,
    asked: Asked,
) -> Result<Response, Problem> {
    plain(engine, id, asked, Action::Cancel).await
}

/// `POST /admin/v1/sagas/{id}/pause`
pub(super) async fn pause(
    engine: State<Engine>,
    id: Id,
    asked: Asked,
) -> Result<Response, Problem> {
    plain(engine, id, asked, Action::Pause).await
}

/// `POST /admin/v1/sagas/{id}/resume`
pub(super) async fn resume(
    engine: State<Engine>,
    id: Id,
    asked: Asked,
) -> Result<Response, Problem> {
    plain(engine, id, asked, Action::Resume).await
}

async fn plain(
    State(engine): State<Engine>,
    Id(id): Id,
    asked: Asked,
    action: Action,
) -> Result<Response, Problem> {
    let mut errors = Errors::default();
    let reason = Fields::of(&asked.body, &mut errors).and_then(|mut fields| {
        let reason = reason(&mut fields, &mut errors);
        fields.end(&mut errors);
        reason
    });
    errors.problem()?;
    let who = who(&asked, reason.unwrap_or_default());
    answer(engine.act(id, action, who, asked.if_rev).await.map_err(|e| operate_problem(&e))?)
}

/// `POST /admin/v1/sagas/{id}/resolve`: `{"reason", "step": 4 or "charge-payment", "verdict":
/// {"happened": output} or "did_not_happen" or "compensated"}`
pub(super) async fn resolve(
    State(engine): State<Engine>,
    Id(id): Id,
    asked: Asked,
) -> Result<Response, Problem> {
    let mut errors = Errors::default();
    let (mut why, mut what, mut verdict) = (None, None, None);
    if let Some(mut fields) = Fields::of(&asked.body, &mut errors) {
        why = reason(&mut fields, &mut errors);
        what = fields.required("step", &mut errors);
        verdict =
            fields.required("verdict", &mut errors).and_then(|v| read_verdict(&v, &mut errors));
        fields.end(&mut errors);
    }
    let step = match what {
        Some(step) => find_step(&engine, id, &step, &mut errors).await?,
        None => None,
    };
    errors.problem()?;
    let (Some(step), Some(verdict)) = (step, verdict) else {
        return Err(Problem::new(&problem::INVALID_REQUEST));
    };
    let who = who(&asked, why.unwrap_or_default());
    let action = Action::Resolve { step, verdict };
    answer(engine.act(id, action, who, asked.if_rev).await.map_err(|e| operate_problem(&e))?)
}

fn reason(fields: &mut Fields<'_>, errors: &mut Errors) -> Option<String> {
    let reason = fields.required("reason", errors)?;
    reason.text(1..=1_000, errors).map(str::to_owned)
}

fn who(asked: &Asked, reason: String) -> Who {
    let request_id = Some(asked.request_id.as_str().to_owned());
    Who { actor: asked.caller.to_string(), reason, request_id }
}

fn read_verdict(field: &Field<'_>, errors: &mut Errors) -> Option<Verdict> {
    serde_json::from_value(field.json().clone()).ok().or_else(|| {
        let detail = "must be {\"happened\": <its output>}, \"did_not_happen\" or \"compensated\"";
        field.wrong("wrong_type", detail, errors)
    })
}

/// A step by its number, or by its activity's name if only one step has it.
async fn find_step(
    engine: &Engine,
    id: engine::SagaId,
    field: &Field<'_>,
    errors: &mut Errors,
) -> Result<Option<u32>, Problem> {
    let Some(name) = field.json().as_str() else {
        let number = field.integer(1..=i64::from(u32::MAX), errors);
        return Ok(number.and_then(|number| u32::try_from(number).ok()));
    };
    let view = engine.view(id).await.map_err(|error| store_problem(&error))?;
    let view = view.ok_or_else(|| no_such(id))?;
    let named: Vec<_> = view.steps.iter().filter(|step| step.name == name).collect();
    Ok(match named[..] {
        [step] => Some(step.number),
        [] => field.wrong("unknown_step", format!("must be one of: {}", step_names(&view)), errors),
        _ => field.wrong("ambiguous", "several steps have this name; give its number", errors),
    })
}

fn step_names(view: &SagaView) -> String {
    let names: Vec<_> = view.steps.iter().map(|s| format!("{} {}", s.number, s.name)).collect();
    names.join(", ")
}

fn answer(acted: Acted) -> Result<Response, Problem> {
    let (status, told) = match acted.told {
        Told::Taken => (StatusCode::OK, "taken"),
        Told::Pending => (StatusCode::ACCEPTED, "pending"),
        Told::NoSuchSaga => return Err(no_such(acted.view.summary.id)),
        Told::Refused(code) => return Err(refused(&code).with("audit_id", json!(acted.audit_id))),
    };
    let tag = [(header::ETAG, etag::etag(acted.view.summary.rev))];
    let body = json!({"audit_id": acted.audit_id, "told": told, "saga": acted.view});
    Ok((status, HeaderMap::from_iter(tag), axum::Json(body)).into_response())
}

fn refused(code: &str) -> Problem {
    match problem::find(code) {
        Some(code) => Problem::new(code),
        None => Problem::new(&ACTION_REFUSED)
            .detail(format!("The saga refused: {code}."))
            .with("refused", code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_of_the_engine_has_a_page() {
        let codes = [
            "already_ended",
            "already_turning_back",
            "too_late_to_cancel",
            "already_paused",
            "not_paused",
            "too_many_signals",
            "payload_too_large",
            "no_such_step",
            "not_an_activity",
            "output_misfit",
            "step_is_not_open",
            "step_is_not_being_undone",
        ];
        for code in codes {
            assert_eq!(refused(code).code().name, code);
            assert_eq!(refused(code).code().status, 409, "{code}");
        }
        assert_eq!(refused("a_new_one").code().name, "action_refused");
    }
}
