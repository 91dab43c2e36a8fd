//! What runs: one request from its key to its answer, and what completes by itself.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, real_ms};
use crate::error::StripeError;
use crate::fault_plan::{Break, FaultKind, Operation, OutageAnswer};
use crate::faults::{Draw, Faults, WebhookFault};
use crate::form::Form;
use crate::idempotency::{Fingerprint, Lookup};
use crate::log::Log;
use crate::request::Request;
use crate::route::Route;
use crate::webhooks::Webhooks;
use crate::world::{Applied, Context, Due, World, new_id};

pub(crate) struct App {
    pub(crate) world: Mutex<World>,
    pub(crate) log: Log,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// One request, decoded as far as every call needs it.
pub(crate) struct Call {
    pub(crate) method: axum::http::Method,
    pub(crate) path: String,
    pub(crate) form: Form,
    /// Checked for its form.
    pub(crate) key: Option<String>,
    pub(crate) request_id: String,
}

/// What the caller gets.
pub(crate) enum Reply {
    Answer {
        status: u16,
        body: Bytes,
        replayed: bool,
        retry_after_seconds: Option<u64>,
    },
    /// The connection is cut without an answer.
    Nothing,
}

/// Why a request got no further.
enum Stopped {
    With(StripeError),
    /// The log is gone, or the simulator stops: no answer is the only true one.
    Silent,
}

impl App {
    /// Serves one call. Runs on its own task, so that a caller who hangs up does not undo it.
    pub(crate) async fn serve(self: Arc<Self>, call: Call) -> Reply {
        let Some(route) = Route::find(&call.method, &call.path) else {
            return error(StripeError::unknown_route(call.method.as_str(), &call.path), &call);
        };
        let draw = self.faults.draw(route.operation(), call.key.as_deref().unwrap_or(&call.path));
        match self.faults.outage() {
            Some(OutageAnswer::Refused) => return Reply::Nothing,
            Some(OutageAnswer::Error503) => return unavailable(&call),
            None => {}
        }
        let (breaks, millis) = draw.breaks.unzip();
        let millis = millis.unwrap_or_default();
        match breaks {
            Some(Break::RateLimit429) => {
                self.faults.count(FaultKind::RateLimit429);
                let mut reply = error(StripeError::rate_limited(), &call);
                if let Reply::Answer { retry_after_seconds, .. } = &mut reply {
                    *retry_after_seconds = Some(millis.div_ceil(1_000));
                }
                reply
            }
            Some(Break::Error503) => {
                self.faults.count(FaultKind::Error503);
                unavailable(&call)
            }
            Some(Break::TimeoutBefore) => {
                self.faults.count(FaultKind::TimeoutBefore);
                self.pause(millis).await;
                Reply::Nothing
            }
            Some(Break::LateDelivery) => {
                self.faults.count(FaultKind::LateDelivery);
                self.deliver_late(call, draw, millis);
                Reply::Nothing
            }
            _ => self.answer(&call, &draw).await,
        }
    }

    async fn answer(self: &Arc<Self>, call: &Call, draw: &Draw) -> Reply {
        let Some(route) = Route::find(&call.method, &call.path) else { return Reply::Nothing };
        let outcome = if route.operation() == Operation::Get {
            self.read(&route, call, draw).await
        } else {
            self.write(&route, call, draw).await
        };
        let reply = match outcome {
            Ok(reply) => reply,
            Err(Stopped::With(stripe)) => error(stripe, call),
            Err(Stopped::Silent) => return Reply::Nothing,
        };
        match draw.breaks {
            Some((Break::TimeoutAfter, millis)) => {
                self.faults.count(FaultKind::TimeoutAfter);
                self.pause(millis).await;
                Reply::Nothing
            }
            Some((Break::ResetAfter, _)) => {
                self.faults.count(FaultKind::ResetAfter);
                Reply::Nothing
            }
            _ => reply,
        }
    }

    /// A lost request that arrives after all. By then its key may be used, or its intent canceled.
    fn deliver_late(self: &Arc<Self>, call: Call, draw: Draw, millis: u64) {
        let app = Arc::clone(self);
        self.tasks.spawn(async move {
            if app.pause(millis).await {
                let draw = Draw { breaks: None, ..draw };
                app.answer(&call, &draw).await;
            }
        });
    }

    async fn read(&self, route: &Route<'_>, call: &Call, draw: &Draw) -> Result<Reply, Stopped> {
        if let Some(millis) = draw.latency_ms {
            self.faults.count(FaultKind::Latency);
            self.pause(millis).await;
        }
        let (body, seq) = self.lock().read(route, &call.form)?;
        self.log.wait(seq).await?;
        if let Some((Break::Error500Committed | Break::Error500NotCommitted, _)) = draw.breaks {
            self.faults.count(FaultKind::Error500NotCommitted);
            return Err(StripeError::broken(StatusCode::INTERNAL_SERVER_ERROR).into());
        }
        Ok(answered(200, body.into(), false))
    }

    async fn write(
        self: &Arc<Self>,
        route: &Route<'_>,
        call: &Call,
        draw: &Draw,
    ) -> Result<Reply, Stopped> {
        let print = call.key.as_ref().map(|_| Fingerprint::of(&call.path, &call.form));
        let key = call.key.as_deref().zip(print.as_ref());
        let request = Request::parse(route, &call.form);
        if let Some(millis) = draw.latency_ms {
            if let Some(reply) = self.replay(key, true).await? {
                return Ok(reply);
            }
            self.faults.count(FaultKind::Latency);
            let goes_on = self.pause(millis).await;
            if let Some((key, _)) = key {
                self.lock().keys.end(key);
            }
            if !goes_on {
                return Err(Stopped::Silent);
            }
        }
        let applied = self.execute(key, request, call, draw);
        let applied = match applied? {
            Some(applied) => applied,
            None => return self.replay(key, false).await?.ok_or(Stopped::Silent),
        };
        let (status, body) = (applied.status, applied.body.clone());
        self.finish(applied, draw.webhook).await?;
        Ok(answered(status, body, false))
    }

    /// Looks the key up and executes, under one lock; `None`: there is an answer already.
    fn execute(
        &self,
        key: Option<(&str, &Fingerprint)>,
        request: Result<Option<Request>, StripeError>,
        call: &Call,
        draw: &Draw,
    ) -> Result<Option<Applied>, Stopped> {
        let mut world = self.lock();
        let now_ms = self.clock.now_ms();
        if let Some((key, fingerprint)) = key
            && let Lookup::Replay(..) = world.keys.look_up(key, fingerprint, now_ms)?
        {
            return Ok(None);
        }
        let request = request?.ok_or(Stopped::Silent)?;
        let (request_id, faults) = (Some(call.request_id.as_str()), &self.faults);
        let cx = Context { key, request_id, draw, faults, now_ms, real_ms: real_ms() };
        Ok(Some(world.apply(&request, &cx)?))
    }

    /// The kept answer, if there is one; with `begin`, a fresh key is marked as in use.
    async fn replay(
        &self,
        key: Option<(&str, &Fingerprint)>,
        begin: bool,
    ) -> Result<Option<Reply>, Stopped> {
        let Some((key, fingerprint)) = key else { return Ok(None) };
        let found = {
            let mut world = self.lock();
            let found = world.keys.look_up(key, fingerprint, self.clock.now_ms())?;
            if begin && matches!(found, Lookup::Fresh) {
                world.keys.begin(key, fingerprint);
            }
            found
        };
        let Lookup::Replay(status, body, seq) = found else { return Ok(None) };
        self.log.wait(seq).await?;
        Ok(Some(answered(status, body, true)))
    }

    /// Waits for the sync, then sends the events and sets the timer. Only then may it be answered.
    async fn finish(
        self: &Arc<Self>,
        applied: Applied,
        fault: WebhookFault,
    ) -> Result<(), Stopped> {
        if let Some(synced) = applied.synced {
            synced.await?;
        }
        if let Some(due) = applied.due {
            self.schedule(due);
        }
        self.webhooks.send(applied.events, fault, &self.faults).await;
        Ok(())
    }

    /// The customer's answer to a challenge.
    pub(crate) async fn authenticate(self: &Arc<Self>, id: &str, passed: bool) -> Reply {
        let call_id = new_id("req");
        let draw = self.faults.draw(Operation::Authenticate, id);
        let applied = {
            let mut world = self.lock();
            world.authenticate(id, passed, &self.context(&draw))
        };
        let applied = match applied {
            Ok(applied) => applied,
            Err(mut error) => {
                let body = error.body(&call_id).into();
                return answered(error.status.as_u16(), body, false);
            }
        };
        let (status, body) = (applied.status, applied.body.clone());
        match self.finish(applied, draw.webhook).await {
            Ok(()) => answered(status, body, false),
            Err(_) => Reply::Nothing,
        }
    }

    /// Completes a challenge, a processing charge or a refund when its time has come.
    pub(crate) fn schedule(self: &Arc<Self>, due: Due) {
        let app = Arc::clone(self);
        self.tasks.spawn(async move {
            let (Due::Intent(id, due_ms) | Due::Refund(id, due_ms)) = &due;
            let millis = u64::try_from(due_ms - real_ms()).unwrap_or(0);
            if !app.pause(millis).await {
                return;
            }
            let draw = app.faults.draw(Operation::Authenticate, id);
            let applied = app.lock().complete(&due, &app.context(&draw));
            if let Some(applied) = applied {
                let _ = app.finish(applied, draw.webhook).await;
            }
        });
    }

    fn context<'a>(&'a self, draw: &'a Draw) -> Context<'a> {
        let (now_ms, real_ms) = (self.clock.now_ms(), real_ms());
        Context { key: None, request_id: None, draw, faults: &self.faults, now_ms, real_ms }
    }

    /// False if the simulator stopped meanwhile.
    async fn pause(&self, millis: u64) -> bool {
        let sleep = tokio::time::sleep(Duration::from_millis(millis));
        self.stop.run_until_cancelled(sleep).await.is_some()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("a panic in the middle of a change leaves nothing to go on with")
    }
}

fn answered(status: u16, body: Bytes, replayed: bool) -> Reply {
    Reply::Answer { status, body, replayed, retry_after_seconds: None }
}

fn error(mut error: StripeError, call: &Call) -> Reply {
    answered(error.status.as_u16(), error.body(&call.request_id).into(), false)
}

fn unavailable(call: &Call) -> Reply {
    error(StripeError::broken(StatusCode::SERVICE_UNAVAILABLE), call)
}

impl From<StripeError> for Stopped {
    fn from(error: StripeError) -> Self {
        Stopped::With(error)
    }
}

impl From<tokio::sync::oneshot::error::RecvError> for Stopped {
    fn from(_: tokio::sync::oneshot::error::RecvError) -> Self {
        Stopped::Silent
    }
}
