//! The door: from HTTP to a call, and from a reply back to HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};

use crate::app::{App, Call, Reply};
use crate::control;
use crate::error::StripeError;
use crate::form::Form;
use crate::idempotency::check_key;
use crate::wire::Scissors;
use crate::world::new_id;

const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a request must show: `Authorization`, as bearer key or as the user of basic authentication.
pub(crate) struct Credentials {
    bearer: String,
    basic: String,
}

pub(crate) struct Door {
    pub(crate) app: Arc<App>,
    pub(crate) credentials: Credentials,
}

pub(crate) fn router(door: Arc<Door>) -> Router {
    control::routes().fallback(serve).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(door)
}

impl Credentials {
    pub(crate) fn new(api_key: &str) -> Credentials {
        let bearer = format!("Bearer {api_key}");
        Credentials { bearer, basic: format!("Basic {}", base64(format!("{api_key}:").as_bytes())) }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), StripeError> {
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        match given {
            Some(given) if given == self.bearer.as_bytes() => Ok(()),
            Some(given) if given == self.basic.as_bytes() => Ok(()),
            given => Err(StripeError::unauthorized(given.is_some())),
        }
    }
}

async fn serve(
    State(door): State<Arc<Door>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let request_id = new_id("req");
    let call = match call(&door, method, &uri, &headers, &body, &request_id) {
        Ok(call) => call,
        Err(mut error) => {
            let body = error.body(&request_id);
            return response(error.status, Body::from(body), &request_id);
        }
    };
    let running = door.app.tasks.spawn(Arc::clone(&door.app).serve(call));
    // A panic in there leaves the caller without an answer, as a crash would.
    let reply = running.await.unwrap_or(Reply::Nothing);
    respond(reply, &scissors, &request_id)
}

fn call(
    door: &Door,
    method: Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
    request_id: &str,
) -> Result<Call, StripeError> {
    door.credentials.check(headers)?;
    let raw = if method == Method::GET { uri.query().unwrap_or_default().as_bytes() } else { body };
    let key = match headers.get("idempotency-key").filter(|_| method == Method::POST) {
        Some(key) => {
            let unreadable = |_| StripeError::bad_key("The Idempotency-Key is not readable text.");
            let key = key.to_str().map_err(unreadable)?;
            check_key(key)?;
            Some(key.to_owned())
        }
        None => None,
    };
    Ok(Call {
        path: uri.path().to_owned(),
        form: Form::parse(raw)?,
        method,
        key,
        request_id: request_id.to_owned(),
    })
}

/// Turns a reply into a response, or cuts the connection and lets the response go nowhere.
pub(crate) fn respond(reply: Reply, scissors: &Scissors, request_id: &str) -> Response<Body> {
    let Reply::Answer { status, body, replayed, retry_after_seconds } = reply else {
        scissors.cut();
        return Response::new(Body::empty());
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(status, Body::from(body), request_id);
    let headers = response.headers_mut();
    if replayed {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    if let Some(seconds) = retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(crate) fn response(status: StatusCode, body: Body, request_id: &str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("request-id", id);
    }
    response
}

/// Standard base64 with padding: once, for one header.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standard_one() {
        // RFC 4648, section 10.
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
