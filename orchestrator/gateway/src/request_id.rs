//! Every answer has a `Request-Id`, which is also in the log; none is taken from a caller. What is not
//! answered gets its body here.

use std::fmt;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

use crate::problem::{self, Problem};

/// The header.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The name of one request. In the request's extensions for whoever handles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    fn random() -> Self {
        Self(format!("req_{}", Uuid::new_v4().simple()).into())
    }

    /// `req_` and 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Marks an answer that is no problem although its status says so: a probe's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

/// Gives the request its id and the answer its header.
pub(crate) async fn assign(mut request: Request, next: Next) -> Response {
    let id = RequestId::random();
    let value = HeaderValue::from_str(id.as_str());
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    if let Ok(value) = value {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The span of one request: its id, method and route. Never its query or its headers.
pub(crate) fn span(request: &Request) -> tracing::Span {
    let id = request.extensions().get::<RequestId>().map(RequestId::as_str);
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    tracing::info_span!("request", request_id = id, method = %request.method(), route)
}

/// Writes the problem's body, and makes a problem of every other refusal: a library's own words
/// never reach a caller.
pub(crate) async fn finish(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or_else(RequestId::random);
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let mut response = match problem {
        Some(problem) => carry(problem.render(id.as_str()), &response),
        None if response.status().as_u16() >= 400
            && response.extensions().get::<Plain>().is_none() =>
        {
            let problem = Problem::new(by_status(response.status()));
            carry(problem.render(id.as_str()), &response)
        }
        None => response,
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The headers that a refusal needs from the answer it replaces.
fn carry(mut to: Response, from: &Response) -> Response {
    for name in [header::ALLOW, header::ETAG] {
        if let Some(value) = from.headers().get(&name) {
            to.headers_mut().insert(name, value.clone());
        }
    }
    to
}

fn by_status(status: StatusCode) -> &'static problem::Code {
    match status {
        StatusCode::NOT_FOUND => &problem::ROUTE_NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => &problem::METHOD_NOT_ALLOWED,
        StatusCode::PAYLOAD_TOO_LARGE => &problem::BODY_TOO_LARGE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => &problem::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => &problem::TIMED_OUT,
        status if status.is_client_error() => &problem::BAD_REQUEST,
        _ => &problem::INTERNAL,
    }
}
