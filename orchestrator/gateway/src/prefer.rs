//! `Prefer: wait=N` (RFC 7240) and its alias `?wait=N`: how long a caller would wait for an outcome.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::problem::{FieldError, INVALID_HEADER, INVALID_QUERY, Problem};

/// The longest wait: more is cut down to it, and `Preference-Applied` says so.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a caller would wait; none: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait(pub Option<Duration>);

impl Wait {
    /// Reads both; the query's wins.
    pub fn from_request(headers: &HeaderMap, uri: &Uri) -> Result<Self, Problem> {
        if let Some(text) = in_query(uri.query().unwrap_or_default()) {
            return seconds(text.strip_suffix('s').unwrap_or(text)).ok_or_else(|| {
                let detail = "must be a number of seconds, 0 to 30".to_owned();
                let error =
                    FieldError { pointer: "?wait".to_owned(), code: "out_of_range", detail };
                Problem::new(&INVALID_QUERY).errors(vec![error])
            });
        }
        match in_headers(headers) {
            Some(text) => seconds(text).ok_or_else(|| {
                Problem::new(&INVALID_HEADER)
                    .detail("Prefer: wait must be a number of seconds, as in `Prefer: wait=10`.")
            }),
            None => Ok(Self(None)),
        }
    }

    /// How long, if at all.
    pub fn duration(self) -> Duration {
        self.0.unwrap_or_default()
    }

    /// The header that says what was made of it.
    pub fn applied(self) -> Option<(HeaderName, HeaderValue)> {
        let value = format!("wait={}", self.0?.as_secs());
        let value = HeaderValue::from_str(&value).ok()?;
        Some((HeaderName::from_static("preference-applied"), value))
    }
}

fn seconds(text: &str) -> Option<Wait> {
    // Digits only (delta-seconds): no sign, and any number of them.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = text.parse().map_or(WAIT_MAX, Duration::from_secs);
    Some(Wait(Some(seconds.min(WAIT_MAX))))
}

fn in_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| match pair.split_once('=') {
        Some(("wait", value)) => Some(value),
        None if pair == "wait" => Some(""),
        _ => None,
    })
}

/// The first `wait` of all `Prefer` headers; other preferences are for others.
fn in_headers(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"'))
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Wait {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::from_request(&parts.headers, &parts.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prefer: &[&str], uri: &str) -> Result<Option<u64>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in prefer {
            headers.append("prefer", HeaderValue::from_str(value).unwrap());
        }
        let wait = Wait::from_request(&headers, &uri.parse().unwrap());
        wait.map(|wait| wait.0.map(|wait| wait.as_secs())).map_err(|p| p.code().name)
    }

    #[test]
    fn a_wait_is_read_from_the_header_or_the_query() {
        assert_eq!(read(&[], "/"), Ok(None));
        assert_eq!(read(&["wait=10"], "/"), Ok(Some(10)));
        assert_eq!(read(&["respond-async, Wait = \"5\"; x=1"], "/"), Ok(Some(5)));
        assert_eq!(read(&["return=minimal", "wait=7"], "/"), Ok(Some(7)));
        assert_eq!(read(&["respond-async"], "/"), Ok(None));
        assert_eq!(read(&["wait=1"], "/?a=1&wait=2"), Ok(Some(2)));
        assert_eq!(read(&[], "/?wait=10s"), Ok(Some(10)));
        assert_eq!(read(&["wait=0"], "/"), Ok(Some(0)));
    }

    #[test]
    fn a_wait_is_at_most_half_a_minute() {
        assert_eq!(read(&["wait=31"], "/"), Ok(Some(30)));
        assert_eq!(read(&["wait=99999999999999999999999"], "/"), Ok(Some(30)));
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in ["wait", "wait=", "wait=-1", "wait=abc", "wait=1.5", "wait=+1"] {
            assert_eq!(read(&[garbage], "/"), Err("invalid_header"), "{garbage}");
        }
        for garbage in ["/?wait", "/?wait=", "/?wait=-1", "/?wait=x", "/?wait=1ss"] {
            assert_eq!(read(&[], garbage), Err("invalid_query"), "{garbage}");
        }
    }
}
