//! `/_sim`: what a test or a person does to the gateway that no customer of Stripe could.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{Response, StatusCode};
use axum::response::Html;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::fault_plan::FaultPlan;
use crate::server::{Door, respond, response};
use crate::wire::Scissors;
use crate::world::new_id;

/// The clock moves forward by at most ten years at a time.
const ADVANCE_SECONDS_MAX: u32 = 10 * 365 * 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Challenge {
    outcome: ChallengeOutcome,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum ChallengeOutcome {
    Succeeded,
    Failed,
}

#[derive(Serialize)]
struct InForce {
    plan: FaultPlan,
    injected: BTreeMap<&'static str, u64>,
}

pub(crate) fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/_sim/ledger", get(ledger))
        .route("/_sim/faults", get(faults).post(replace_faults))
        .route("/_sim/clock", post(advance_clock))
        .route("/_sim/payment_intents/{id}/authenticate", get(challenge_page).post(authenticate))
}

async fn ledger(
    State(door): State<Arc<Door>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
) -> Response<Body> {
    let (body, seq) = {
        let world = door.app.lock();
        (json(&world.totals.body()), world.seq())
    };
    synced(door.app.log.wait(seq).await.is_ok(), body, &scissors)
}

async fn faults(State(door): State<Arc<Door>>) -> Response<Body> {
    let faults = &door.app.faults;
    let body = json(&InForce { plan: faults.plan(), injected: faults.injected() });
    response(StatusCode::OK, body, "")
}

async fn replace_faults(State(door): State<Arc<Door>>, body: Bytes) -> Response<Body> {
    let plan = serde_json::from_slice::<FaultPlan>(&body);
    let plan = plan.map_err(|error| Error::FaultPlan(error.to_string()));
    match plan.and_then(|plan| plan.check().map(|()| plan)) {
        Ok(plan) => {
            door.app.faults.replace(plan);
            faults(State(door)).await
        }
        Err(error) => refused(&error.to_string()),
    }
}

async fn advance_clock(
    State(door): State<Arc<Door>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    body: Bytes,
) -> Response<Body> {
    let advance = match serde_json::from_slice::<Advance>(&body) {
        Ok(advance) if advance.advance_seconds <= ADVANCE_SECONDS_MAX => advance,
        Ok(_) => return refused(&format!("advance_seconds is above {ADVANCE_SECONDS_MAX}")),
        Err(error) => return refused(&error.to_string()),
    };
    let app = &door.app;
    let (written, now_ms) = {
        let mut world = app.lock();
        let offset_seconds = app.clock.advance(i64::from(advance.advance_seconds));
        let now_ms = app.clock.now_ms();
        (world.clock_moved(offset_seconds, now_ms), now_ms)
    };
    let body = Body::from(format!(r#"{{"now":{}}}"#, now_ms / 1_000));
    synced(written.await.is_ok(), body, &scissors)
}

async fn authenticate(
    State(door): State<Arc<Door>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    Path(id): Path<String>,
    Query(challenge): Query<Challenge>,
) -> Response<Body> {
    let passed = challenge.outcome == ChallengeOutcome::Succeeded;
    respond(door.app.authenticate(&id, passed).await, &scissors, &new_id("req"))
}

/// Where `next_action` sends the customer: the bank's question, with two buttons.
async fn challenge_page() -> Html<&'static str> {
    Html(
        "<!doctype html><title>3-D Secure (simulated)</title><h1>Your bank asks: was it you?</h1>\
         <form method=post action='?outcome=succeeded'><button>Yes, pay</button></form>\
         <form method=post action='?outcome=failed'><button>No</button></form>",
    )
}

fn synced(synced: bool, body: Body, scissors: &Scissors) -> Response<Body> {
    if !synced {
        scissors.cut();
    }
    response(StatusCode::OK, body, "")
}

fn refused(message: &str) -> Response<Body> {
    let body = serde_json::json!({ "error": { "message": message } });
    response(StatusCode::BAD_REQUEST, json(&body), "")
}

fn json(value: &impl Serialize) -> Body {
    Body::from(serde_json::to_vec(value).unwrap_or_default())
}
