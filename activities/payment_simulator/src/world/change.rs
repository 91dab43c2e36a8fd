//! The calls that change something.

use axum::http::StatusCode;

use crate::error::{ErrorFields, StripeError};
use crate::fault_plan::{Break, FaultKind};
use crate::intent::{Attempt, Fact, Intent, Pending, Status};
use crate::intent_body;
use crate::methods::{Decline, Method, Outcome};
use crate::refund::{Refund, RefundRequest};
use crate::request::{ConfirmRequest, CreateRequest, Request};

use super::{Applied, Change, Context, Due, World, new_id};

impl World {
    /// Executes a request. An error of this kind is not kept for the key; kept ones are answers.
    pub(crate) fn apply(
        &mut self,
        request: &Request,
        cx: &Context<'_>,
    ) -> Result<Applied, StripeError> {
        if matches!(cx.draw.breaks, Some((Break::Error500NotCommitted, _))) {
            cx.faults.count(FaultKind::Error500NotCommitted);
            return Ok(self.refuse(StripeError::broken(StatusCode::INTERNAL_SERVER_ERROR), cx));
        }
        let change = match request {
            Request::Create(create) => self.create(create, cx),
            Request::Confirm(id, confirm) => {
                self.find(id).and_then(|at| self.confirm(at, confirm, cx))
            }
            Request::Capture(id, amount) => {
                self.find(id).and_then(|at| self.step(at, cx, |intent, _| intent.capture(*amount)))
            }
            Request::Cancel(id, reason) => self
                .find(id)
                .and_then(|at| self.step(at, cx, |intent, now| intent.cancel(reason.clone(), now))),
            Request::Refund(refund) => self.refund(refund, cx),
        };
        match change {
            Ok(change) => Ok(self.commit(change, cx)),
            Err(error) if error.saved => Ok(self.refuse(error, cx)),
            Err(error) => Err(error),
        }
    }

    /// The customer answers a challenge, through `/_sim`.
    pub(crate) fn authenticate(
        &mut self,
        id: &str,
        passed: bool,
        cx: &Context<'_>,
    ) -> Result<Applied, StripeError> {
        let at = self.find(id)?;
        let intent = &mut self.intents.rows[at];
        if intent.status != Status::RequiresAction {
            return Err(intent.refuse("This PaymentIntent has no challenge to answer."));
        }
        let fact = intent.complete(passed, new_id("ch"));
        let change = self.changed(at, fact);
        Ok(self.commit(change, cx))
    }

    /// Completes what is due, if it is still the same thing that waits.
    pub(crate) fn complete(&mut self, due: &Due, cx: &Context<'_>) -> Option<Applied> {
        match due {
            Due::Intent(id, due_ms) => {
                let at = self.intents.find(id)?;
                let intent = &mut self.intents.rows[at];
                let pending = intent.pending.as_ref()?;
                if pending.due_ms != Some(*due_ms) {
                    return None;
                }
                let passes = pending.passes;
                let fact = intent.complete(passes, new_id("ch"))?;
                let change = self.changed(at, Some(fact));
                Some(self.commit(change, cx))
            }
            Due::Refund(id, _) => {
                let refund_at = self.refunds.find(id)?;
                let refund = &mut self.refunds.rows[refund_at];
                let at = self.intents.find(&refund.intent)?;
                if !refund.settle(&mut self.intents.rows[at]) {
                    return None;
                }
                let change = Change { refund: Some(refund_at), ..self.changed(at, None) };
                Some(self.commit(change, cx))
            }
        }
    }

    fn find(&self, id: &str) -> Result<usize, StripeError> {
        let missing =
            || StripeError::missing(StatusCode::NOT_FOUND, "payment_intent", id, "intent");
        self.intents.find(id).ok_or_else(missing)
    }

    fn create(&mut self, create: &CreateRequest, cx: &Context<'_>) -> Result<Change, StripeError> {
        let id = new_id("pi");
        let now = cx.now_ms / 1_000;
        // Lists end at the first intent that is too old, so a clock that steps back must not show.
        let created = self.intents.rows.last().map_or(now, |last| last.created.max(now));
        let method = create.details.payment_method.as_ref();
        let intent = Intent {
            client_secret: format!("{id}_secret_{}", uuid::Uuid::new_v4().simple()),
            id: id.clone(),
            created,
            amount: create.amount,
            currency: create.currency.clone(),
            capture_method: create.capture_method,
            status: if method.is_some() {
                Status::RequiresConfirmation
            } else {
                Status::RequiresPaymentMethod
            },
            amount_received: 0,
            amount_capturable: 0,
            amount_refunded: 0,
            payment_method: method.map(|method| method.id.clone()),
            payment_method_types: create.payment_method_types.clone(),
            charge: None,
            last_decline: None,
            metadata: create.metadata.clone(),
            description: create.description.clone(),
            customer: create.customer.clone(),
            return_url: None,
            canceled_at: None,
            cancellation_reason: None,
            pending: None,
            seq: 0,
        };
        let at = self.intents.put(id, intent);
        if create.confirm {
            self.confirm(at, &create.details, cx)
        } else {
            Ok(self.changed(at, None))
        }
    }

    fn confirm(
        &mut self,
        at: usize,
        request: &ConfirmRequest,
        cx: &Context<'_>,
    ) -> Result<Change, StripeError> {
        let intent = &mut self.intents.rows[at];
        // After a decline the card is detached: the caller has to name one again.
        let attached = intent
            .payment_method
            .as_deref()
            .filter(|_| intent.status != Status::RequiresPaymentMethod)
            .and_then(|id| Method::find(id).ok());
        let method = match request.payment_method.clone().or(attached) {
            Some(method) => method,
            None => return Err(intent.refuse(
                "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment method.",
            )),
        };
        let (attempt, fault) = attempt(&method, request, cx);
        let fact = intent.confirm(&method, attempt, new_id("ch"))?;
        if let Some(fault) = fault {
            cx.faults.count(fault);
        }
        if request.return_url.is_some() {
            intent.return_url.clone_from(&request.return_url);
        }
        let mut change = self.changed(at, Some(fact));
        if fact == Fact::Declined {
            change.status = StatusCode::PAYMENT_REQUIRED.as_u16();
            change.body = self.decline_body(at, cx);
        }
        Ok(change)
    }

    fn decline_body(&self, at: usize, cx: &Context<'_>) -> String {
        let intent = &self.intents.rows[at];
        let decline = intent.last_decline.as_ref();
        let shown = intent_body::text(intent, &self.base_url, false);
        let fields = ErrorFields {
            kind: "card_error",
            code: decline.map(|decline| decline.code.clone()),
            decline_code: decline.and_then(|decline| decline.decline_code.clone()),
            message: decline.map(Decline::message).unwrap_or_default().to_owned(),
            charge: intent.charge.clone(),
            payment_intent: serde_json::value::RawValue::from_string(shown).ok(),
            ..ErrorFields::default()
        };
        let status = StatusCode::PAYMENT_REQUIRED;
        let mut error = StripeError { status, saved: true, fields: Box::new(fields) };
        String::from_utf8(error.body(cx.request_id.unwrap_or_default())).unwrap_or_default()
    }

    fn step(
        &mut self,
        at: usize,
        cx: &Context<'_>,
        step: impl FnOnce(&mut Intent, i64) -> Result<Fact, StripeError>,
    ) -> Result<Change, StripeError> {
        let fact = step(&mut self.intents.rows[at], cx.now_ms / 1_000)?;
        Ok(self.changed(at, Some(fact)))
    }

    fn refund(&mut self, request: &RefundRequest, cx: &Context<'_>) -> Result<Change, StripeError> {
        let missing = || {
            let status = StatusCode::BAD_REQUEST;
            StripeError::missing(status, "payment_intent", &request.intent, "payment_intent")
        };
        let at = self.intents.find(&request.intent).ok_or_else(missing)?;
        let key = cx.key.map(|(key, _)| key);
        let intent = &mut self.intents.rows[at];
        let now = cx.now_ms / 1_000;
        let refund = Refund::make(intent, request, new_id("re"), key, now, cx.real_ms)?;
        let body = refund.text();
        let refund = Some(self.refunds.put(refund.id.clone(), refund));
        Ok(Change { status: 200, body, intent: Some(at), refund, fact: None })
    }

    fn changed(&self, at: usize, fact: Option<Fact>) -> Change {
        let body = intent_body::text(&self.intents.rows[at], &self.base_url, false);
        Change { status: 200, body, intent: Some(at), refund: None, fact }
    }
}

/// How a charge is to go: what the card says, unless the card is good and the fault plan says otherwise.
fn attempt(
    method: &Method,
    request: &ConfirmRequest,
    cx: &Context<'_>,
) -> (Attempt, Option<FaultKind>) {
    let good = method.outcome == Outcome::Succeeds && !method.challenge;
    if let (true, Some(decline)) = (good, &cx.draw.decline) {
        let outcome = Outcome::Declines(decline.clone());
        return (Attempt::Decided(outcome), Some(FaultKind::Decline));
    }
    let injected = good && cx.draw.require_action;
    let fault = injected.then_some(FaultKind::RequireAction);
    let after = |millis: u64| cx.real_ms + i64::try_from(millis).unwrap_or_default();
    if method.challenge || injected {
        if request.error_on_requires_action {
            let outcome = Outcome::Declines(Decline::of("authentication_required"));
            return (Attempt::Decided(outcome), fault);
        }
        let due_ms = cx.draw.challenge.map(|(millis, _)| after(millis));
        let passes = cx.draw.challenge.is_some_and(|(_, passes)| passes);
        let pending = Pending { outcome: method.outcome.clone(), due_ms, passes };
        return (Attempt::Challenge(pending), fault);
    }
    if let (true, Some(millis)) = (good, cx.draw.processing_ms) {
        let pending =
            Pending { outcome: Outcome::Succeeds, due_ms: Some(after(millis)), passes: true };
        return (Attempt::Processing(pending), Some(FaultKind::Processing));
    }
    (Attempt::Decided(method.outcome.clone()), None)
}
