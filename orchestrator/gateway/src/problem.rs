//! What a caller reads when a request is not answered: RFC 9457 problems, each with a stable code.

mod codes;
pub(crate) mod pages;

pub use codes::*;
pub use pages::Pages;

use std::error::Error;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One kind of problem. Made by [`codes!`](crate::codes) only, which puts each into a table, so that
/// none exists without its page.
#[derive(Debug)]
pub struct Code {
    /// Stable, `snake_case`.
    pub name: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// A few words, the same each time.
    pub title: &'static str,
    /// What it means.
    pub explanation: &'static str,
    /// What to do.
    pub action: &'static str,
    /// Whether to send it again.
    pub retry: Retry,
}

/// Whether to send a request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// It can succeed, once what the problem names is put right.
    pub allowed: bool,
    /// With the same `Idempotency-Key`.
    pub same_key: bool,
    /// Not before so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

impl Retry {
    /// It will fail again.
    pub const NO: Self = Self { allowed: false, same_key: false, after_ms: None };
    /// Send it again, with the same key.
    pub const SAME_KEY: Self = Self { allowed: true, same_key: true, after_ms: None };
    /// Send it again, with a new key.
    pub const NEW_KEY: Self = Self { allowed: true, same_key: false, after_ms: None };

    /// Send the same again after a while.
    pub const fn after(after_ms: u64) -> Self {
        Self { allowed: true, same_key: true, after_ms: Some(after_ms) }
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901) into the body, or `?name` for a query parameter.
    pub pointer: String,
    /// Stable: `missing`, `unknown_field`, `wrong_type`, `out_of_range`, ..
    pub code: &'static str,
    /// For a person.
    pub detail: String,
}

/// A request that was not answered, and why.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: &'static Code,
    retry: Retry,
    detail: Option<String>,
    errors: Vec<FieldError>,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log only.
    cause: Option<Arc<str>>,
}

impl Problem {
    /// A problem of the kind `code`.
    pub fn new(code: &'static Code) -> Self {
        let (retry, detail, errors, more) = (code.retry, None, Vec::new(), Map::new());
        Self(Box::new(Parts {
            code,
            retry,
            detail,
            errors,
            more,
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// What is particular about this one. Never holds SQL, paths, or what the caller sent as a secret.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// All that is wrong with the request's fields.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// A further member of the body.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    /// A header of the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// What went wrong behind it, with its sources: for the log, never for the caller.
    #[must_use]
    pub fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        self.0.cause = Some(text.into());
        self
    }

    /// Its kind.
    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    /// The body, as JSON.
    pub fn body(&self, request_id: &str) -> Value {
        let parts = &self.0;
        let mut body = json!({
            "type": format!("/problems/{}", parts.code.name),
            "title": parts.code.title,
            "status": parts.code.status,
            "code": parts.code.name,
            "detail": parts.detail.as_deref().unwrap_or(parts.code.explanation),
            "request_id": request_id,
            "retry": parts.retry,
        });
        if let Some(body) = body.as_object_mut() {
            if !parts.errors.is_empty() {
                body.insert("errors".to_owned(), json!(parts.errors));
            }
            body.extend(parts.more.clone());
        }
        body
    }

    /// The answer with its body, and a line in the log if somebody should read one.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let Parts { code, retry, headers, cause, .. } = &*self.0;
        if code.status == 500 {
            tracing::error!(code = code.name, cause = cause.as_deref(), "a request failed");
        } else if let Some(cause) = cause {
            tracing::warn!(code = code.name, %cause, "a request was not answered");
        }
        let mut response = (self.status(), self.body(request_id).to_string()).into_response();
        let fields = response.headers_mut();
        let content_type = HeaderValue::from_static("application/problem+json");
        fields.insert(header::CONTENT_TYPE, content_type);
        if let Some(after_ms) = retry.after_ms {
            fields.insert(header::RETRY_AFTER, after_ms.div_ceil(1000).max(1).into());
        }
        for (name, value) in headers {
            fields.insert(name.clone(), value.clone());
        }
        response
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The body follows in `request_id::finish`, which knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_to_do_and_hides_its_cause() {
        let cause = std::io::Error::other("select * from secret");
        let problem = Problem::new(&UNAVAILABLE).detail("Wait.").with("more", 1).caused_by(&cause);
        let body = problem.body("req_1");
        assert_eq!(body["type"], "/problems/unavailable");
        assert_eq!(body["code"], "unavailable");
        assert_eq!(body["status"], 503);
        assert_eq!(body["detail"], "Wait.");
        assert_eq!(body["request_id"], "req_1");
        assert_eq!(body["more"], 1);
        assert_eq!(body["retry"]["same_key"], true);
        assert!(!body.to_string().contains("select"));
        assert_eq!(problem.render("req_1").headers()["retry-after"], "1");
    }
}
