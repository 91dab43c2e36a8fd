//! What an answer of the gateway means: the whole table, in one pure function.
//!
//! Sources: docs.stripe.com "Error handling", "Advanced error handling", "Idempotent requests" and
//! "Rate limits", API version 2026-07-29.dahlia.

use std::fmt;
use std::time::Duration;

use engine::{Failure, Trouble, UndoFailure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::intent::{CardError, Intent};

#[cfg(test)]
mod tests;

/// What is asked of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /v1/payment_intents`
    CreateIntent,
    /// `POST /v1/payment_intents/{id}/confirm`
    Confirm,
    /// `POST /v1/payment_intents/{id}/capture`
    Capture,
    /// `POST /v1/payment_intents/{id}/cancel`
    Cancel,
    /// `GET /v1/payment_intents/{id}`
    GetIntent,
    /// `GET /v1/payment_intents`
    ListIntents,
    /// `POST /v1/refunds`
    Refund,
    /// `GET /v1/refunds`
    ListRefunds,
}

impl Endpoint {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::CreateIntent,
        Self::Confirm,
        Self::Capture,
        Self::Cancel,
        Self::GetIntent,
        Self::ListIntents,
        Self::Refund,
        Self::ListRefunds,
    ];

    /// A question: it changes nothing at the gateway, so it can be lost without a doubt.
    pub fn is_read(self) -> bool {
        matches!(self, Self::GetIntent | Self::ListIntents | Self::ListRefunds)
    }

    /// For messages and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateIntent => "create",
            Self::Confirm => "confirm",
            Self::Capture => "capture",
            Self::Cancel => "cancel",
            Self::GetIntent => "get",
            Self::ListIntents => "list",
            Self::Refund => "refund",
            Self::ListRefunds => "list-refunds",
        }
    }
}

/// An answer as it came over the wire.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, if in seconds.
    pub retry_after: Option<Duration>,
    /// `Stripe-Should-Retry`.
    pub should_retry: Option<bool>,
    /// `Idempotent-Replayed`: the stored answer to an earlier request with this key.
    pub is_replay: bool,
    /// `Request-Id`, for the gateway's support.
    pub request_id: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// No answer came.
#[derive(Clone, Debug)]
pub enum TransportError {
    /// Nothing was sent: connection refused, no such host, TLS.
    NotSent(String),
    /// It was sent, or part of it, and the answer was lost: a timeout, a reset.
    Lost(String),
}

/// Why a call did not give what was asked for, by what it means for the money.
///
/// Not an [`std::error::Error`] on purpose: `?` must keep "it may have happened" apart from "try
/// again", so it converts by [`From`] below and not by the engine's rule for any error.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayFailure {
    /// The card's "no". The intent must be settled (cancelled) before this is recorded.
    Declined(CardError),
    /// The intent is in another state than the call needs; here it is.
    UnexpectedState(Box<Intent>),
    /// The gateway refuses the request as such: our mistake, or an amount it does not take.
    Refused {
        /// `parameter_missing`, `amount_too_small`, ..
        code: String,
        /// Which parameter it does not like, if it says so.
        param: Option<String>,
        /// The gateway's words.
        message: String,
    },
    /// The key was used for another request: our mistake. Never minted anew.
    KeyReused(String),
    /// Another request with the same key is in flight.
    Busy,
    /// The key is not accepted (401, 403): nothing can be sent until somebody acts.
    Unauthorized(String),
    /// Too many requests; certainly not executed.
    Limited {
        /// When to come back.
        after: Duration,
    },
    /// It certainly did not reach the gateway.
    NotSent(String),
    /// A question that was not answered.
    Unanswered(String),
    /// It may have happened.
    Unknown {
        /// What came instead of an answer.
        message: String,
        /// A stored 500: a repeat under this key gets the same again, so only the state can tell.
        is_stored: bool,
    },
    /// Not sent: the breaker is open.
    Parked {
        /// For how long.
        remaining: Duration,
        /// Until when.
        until: OffsetDateTime,
    },
}

/// Without `Retry-After`.
const LIMITED_WAIT: Duration = Duration::from_secs(1);
/// When the gateway asks not to be retried, a later retry is a new question.
const LIMITED_WAIT_LONG: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct ErrorBody {
    error: WireError,
}

#[derive(Default, Deserialize)]
struct WireError {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    param: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    payment_intent: Option<Intent>,
}

/// What `outcome` of a call to `endpoint` means.
pub fn classify<T: DeserializeOwned>(
    endpoint: Endpoint,
    outcome: &Result<Reply, TransportError>,
) -> Result<T, GatewayFailure> {
    let reply = match outcome {
        Ok(reply) => reply,
        Err(TransportError::NotSent(message)) => {
            return Err(GatewayFailure::NotSent(message.clone()));
        }
        Err(TransportError::Lost(message)) => return Err(doubt(endpoint, message.clone(), false)),
    };
    match reply.status {
        200..300 => serde_json::from_slice(&reply.body).map_err(|error| {
            doubt(endpoint, format!("answer {} can not be read: {error}", reply.status), false)
        }),
        401 | 403 => Err(GatewayFailure::Unauthorized(error_of(reply).text())),
        429 => Err(limited(reply)),
        400..500 => Err(refusal(reply)),
        status => {
            let message = format!("answer {status} {}", error_of(reply).text());
            Err(doubt(endpoint, message, reply.is_replay))
        }
    }
}

/// Lost after it was sent, or a fault of the gateway. 500s are stored and replayed for their key,
/// and may have moved money.
fn doubt(endpoint: Endpoint, message: String, is_stored: bool) -> GatewayFailure {
    if endpoint.is_read() {
        GatewayFailure::Unanswered(message)
    } else {
        GatewayFailure::Unknown { message, is_stored }
    }
}

/// The limiters run before anything else, so a 429 was not executed whatever else it says.
fn limited(reply: &Reply) -> GatewayFailure {
    let least = match reply.should_retry {
        Some(false) => LIMITED_WAIT_LONG,
        _ => LIMITED_WAIT,
    };
    GatewayFailure::Limited { after: reply.retry_after.unwrap_or(least).max(least) }
}

fn refusal(reply: &Reply) -> GatewayFailure {
    let error = error_of(reply);
    // A card's "no" is stored under its key: no repeat gets another answer.
    if error.kind == "card_error" {
        let WireError { code, decline_code, message, .. } = error;
        return GatewayFailure::Declined(CardError { code, decline_code, message });
    }
    // The gateway knows best whether a repeat can help.
    if reply.should_retry.unwrap_or(reply.status == 409) {
        return GatewayFailure::Busy;
    }
    if error.kind == "idempotency_error" {
        return GatewayFailure::KeyReused(error.text());
    }
    let code = error.code.clone().unwrap_or_else(|| format!("http_{}", reply.status));
    let message = error.text();
    match error.payment_intent {
        Some(intent) if code == "payment_intent_unexpected_state" => {
            GatewayFailure::UnexpectedState(Box::new(intent))
        }
        _ => GatewayFailure::Refused { code, param: error.param, message },
    }
}

fn error_of(reply: &Reply) -> WireError {
    serde_json::from_slice::<ErrorBody>(&reply.body).map(|body| body.error).unwrap_or_default()
}

impl WireError {
    fn text(&self) -> String {
        let parts = [Some(self.kind.as_str()), self.code.as_deref(), self.message.as_deref()];
        let parts: Vec<_> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        // A gateway in trouble may answer anything at any length.
        parts.join(": ").chars().take(500).collect()
    }
}

impl GatewayFailure {
    /// Whether it says that the gateway is in trouble, which is what the breaker counts.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Unanswered(_) | Self::Unknown { .. })
    }

    /// As a technical failure. What did not reach the gateway certainly did nothing.
    pub fn trouble(&self) -> Trouble {
        let message = self.to_string();
        match self {
            Self::Declined(_) => Trouble::new("card_declined", message),
            Self::UnexpectedState(_) => Trouble::new("payment_unexpected_state", message),
            Self::Refused { .. } => Trouble::new("gateway_refused_request", message),
            Self::KeyReused(_) => Trouble::new("gateway_key_reused", message),
            Self::Busy => Trouble::new("gateway_busy", message),
            Self::Unauthorized(_) => {
                Trouble::new("gateway_unauthorized", message).uncounted().after(super::OPEN_FOR)
            }
            Self::Limited { after } => {
                Trouble::new("gateway_rate_limited", message).not_executed().after(*after)
            }
            Self::NotSent(_) => Trouble::new("gateway_unreachable", message).not_executed(),
            Self::Unanswered(_) => Trouble::new("gateway_unanswered", message),
            Self::Unknown { .. } => Trouble::new("gateway_unknown", message),
            Self::Parked { remaining, .. } => {
                Trouble::new("gateway_unavailable", message).uncounted().after(*remaining)
            }
        }
    }

    /// As the failure of an attempt that already did something before this call failed: never "not
    /// executed".
    pub fn after_effect(&self) -> Failure {
        Failure::Unknown(Trouble { not_executed: false, ..self.trouble() })
    }
}

impl From<GatewayFailure> for Failure {
    fn from(failure: GatewayFailure) -> Self {
        match failure {
            GatewayFailure::Unknown { .. } => Self::Unknown(failure.trouble()),
            _ => Self::Retry(failure.trouble()),
        }
    }
}

impl From<GatewayFailure> for UndoFailure {
    fn from(failure: GatewayFailure) -> Self {
        match failure {
            // A repeat gets the same answer: somebody must look.
            GatewayFailure::KeyReused(_) | GatewayFailure::Refused { .. } => {
                tracing::error!(error = %failure, "an undo of a payment needs a person");
                Self::Stuck(failure.trouble())
            }
            _ => Self::Retry(failure.trouble()),
        }
    }
}

impl fmt::Display for GatewayFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declined(error) => write!(f, "the card was declined: {}", error.decline_code()),
            Self::UnexpectedState(intent) => {
                write!(f, "payment {} is {:?}", intent.id, intent.status)
            }
            Self::Refused { message, .. } => {
                write!(f, "the gateway refuses the request: {message}")
            }
            Self::KeyReused(message) => {
                write!(f, "the idempotency key was used for another request: {message}")
            }
            Self::Busy => f.write_str("the same request is in flight at the gateway"),
            Self::Unauthorized(message) => {
                write!(f, "the gateway does not accept PAYMENT_GATEWAY_KEY: {message}")
            }
            Self::Limited { .. } => f.write_str("the gateway asks for fewer requests"),
            Self::NotSent(message) => write!(f, "the gateway was not reached: {message}"),
            Self::Unanswered(message) => write!(f, "the gateway did not answer: {message}"),
            Self::Unknown { message, .. } => {
                write!(f, "the gateway's answer is unknown: {message}")
            }
            Self::Parked { until, .. } => {
                let until = until.replace_nanosecond(0).unwrap_or(*until);
                let until = until.format(&time::format_description::well_known::Rfc3339);
                let until = until.unwrap_or_default();
                write!(f, "the gateway is down: nothing is sent until {until}")
            }
        }
    }
}
