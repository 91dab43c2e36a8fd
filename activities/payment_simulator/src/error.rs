//! What can go wrong: `Error` for whoever starts the simulator, `StripeError` for whoever calls it.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

/// Why the simulator did not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The listen address is reachable from other machines.
    #[error(
        "the payment simulator listens on loopback only, and {0} is not a loopback address: use 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// The port is taken, or not allowed.
    #[error("the payment simulator can not listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The key is empty, or a real one.
    #[error("the API key {0}")]
    ApiKey(&'static str),
    /// Webhooks go to `http://` on loopback, and nowhere else.
    #[error("the webhook URL `{url}` {problem}")]
    WebhookUrl {
        /// The URL given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The ledger or state file can not be opened, read or written.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another simulator has the ledger open.
    #[error("the ledger {} is in use by another simulator", .0.display())]
    LedgerInUse(PathBuf),
    /// The state file holds a line that is not ours, and not a torn last one.
    #[error("{} line {line} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The ledger says something the state file knows nothing of.
    #[error(
        "{} line {line} does not match the state file beside it: the two belong together, move or restore both",
        path.display()
    )]
    LedgerMismatch {
        /// The ledger.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The fault plan is not valid.
    #[error("fault plan: {0}")]
    FaultPlan(String),
    /// The fault plan's file can not be read.
    #[error("the fault plan {} can not be read", path.display())]
    FaultPlanFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The HTTP client for webhooks could not be made.
    #[error("the webhook client can not be made: {0}")]
    WebhookClient(String),
    /// The log's writer failed while it served: a full disk, most often. Nothing unsynced was answered.
    #[error(
        "the ledger can not be written any more; nothing that was not synced has been answered"
    )]
    LedgerLost,
}

/// The error object of Stripe's API, with its status.
#[derive(Debug)]
pub(crate) struct StripeError {
    pub(crate) status: StatusCode,
    /// True once execution began: the answer is then kept for its idempotency key.
    pub(crate) saved: bool,
    pub(crate) fields: Box<ErrorFields>,
}

/// The fields of `{"error": {...}}`, in Stripe's names.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ErrorFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) charge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decline_code: Option<String>,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) param: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payment_intent: Option<Box<RawValue>>,
    pub(crate) request_log_url: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a ErrorFields,
}

impl StripeError {
    fn new(status: StatusCode, kind: &'static str, code: Option<&str>, message: String) -> Self {
        let code = code.map(str::to_owned);
        let fields = ErrorFields { kind, code, message, ..ErrorFields::default() };
        StripeError { status, saved: false, fields: Box::new(fields) }
    }

    /// A 400 about one parameter. Never kept for the key: execution did not begin.
    pub(crate) fn invalid(code: &str, param: &str, message: impl Into<String>) -> Self {
        let mut error =
            Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", Some(code), message.into());
        error.fields.param = Some(param.to_owned());
        error
    }

    /// An id nobody knows: 404 in a path, 400 in a parameter.
    pub(crate) fn missing(status: StatusCode, what: &str, id: &str, param: &str) -> Self {
        let mut error = Self::invalid("resource_missing", param, format!("No such {what}: '{id}'"));
        error.status = status;
        error
    }

    /// The intent is not in a state that allows the call; the answer carries it.
    pub(crate) fn unexpected_state(message: String, intent: Box<RawValue>) -> Self {
        let mut error = Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            Some("payment_intent_unexpected_state"),
            message,
        );
        error.fields.payment_intent = Some(intent);
        error.saved = true;
        error
    }

    /// A refund that the charge's state forbids.
    pub(crate) fn refused_refund(code: &str, message: String) -> Self {
        let mut error =
            Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", Some(code), message);
        error.saved = true;
        error
    }

    pub(crate) fn other_parameters(key: &str, same_endpoint: bool) -> Self {
        let scope = if same_endpoint {
            "with the same parameters they were first used with"
        } else {
            "for the same endpoint they were first used for"
        };
        Self::new(
            StatusCode::BAD_REQUEST,
            "idempotency_error",
            None,
            format!(
                "Keys for idempotent requests can only be used {scope}. Try using a key other than '{key}' if you meant to execute a different request."
            ),
        )
    }

    pub(crate) fn key_in_use(key: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "idempotency_error",
            Some("idempotency_key_in_use"),
            format!(
                "There is currently another in-progress request using this Idempotent Key '{key}' (that probably means you submitted twice, and the other request is still going through)."
            ),
        )
    }

    pub(crate) fn bad_key(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", None, message.to_owned())
    }

    pub(crate) fn unauthorized(given: bool) -> Self {
        let message = if given {
            "Invalid API Key provided."
        } else {
            "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        };
        Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", None, message.to_owned())
    }

    pub(crate) fn unknown_route(method: &str, path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            None,
            format!("Unrecognized request URL ({method}: {path})."),
        )
    }

    /// 500 and 503: something broke on the gateway's side, as far as the caller can tell.
    pub(crate) fn broken(status: StatusCode) -> Self {
        let message = "Something went wrong on the payment gateway's end.";
        Self::new(status, "api_error", None, message.to_owned())
    }

    pub(crate) fn rate_limited() -> Self {
        let message = "Too many requests hit the API too quickly.";
        let (status, kind) = (StatusCode::TOO_MANY_REQUESTS, "invalid_request_error");
        Self::new(status, kind, Some("rate_limit"), message.to_owned())
    }

    /// The body: `{"error": {...}}`.
    pub(crate) fn body(&mut self, request_id: &str) -> Vec<u8> {
        self.fields.request_log_url =
            format!("https://dashboard.stripe.com/test/logs/{request_id}");
        serde_json::to_vec(&Envelope { error: &self.fields }).unwrap_or_default()
    }
}
