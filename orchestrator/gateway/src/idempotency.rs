//! `Idempotency-Key`: which key a request has, and what it stands for
//! (draft-ietf-httpapi-idempotency-key-header).

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::problem::{IDEMPOTENCY_KEY_INVALID, IDEMPOTENCY_KEY_MISSING, Problem};

/// The header's name.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The most characters a key may have.
pub const KEY_CHARS_MAX: usize = 255;

/// A request's key: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

impl IdempotencyKey {
    /// Reads the key, quoted (a structured field's string) or bare. `"a"` and `a` are the same key.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let value = values.next().ok_or_else(|| Problem::new(&IDEMPOTENCY_KEY_MISSING))?;
        if values.next().is_some() {
            return Err(invalid("it was sent more than once"));
        }
        let text = value.to_str().map_err(|_| invalid("it is not visible ASCII"))?.trim();
        let key = match text.strip_prefix('"') {
            Some(rest) => unquote(rest).ok_or_else(|| invalid("its quotes do not match"))?,
            None => text.to_owned(),
        };
        match key.len() {
            0 => Err(invalid("it is empty")),
            1..=KEY_CHARS_MAX if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Self(key)),
            1..=KEY_CHARS_MAX => Err(invalid("it has characters that are not visible ASCII")),
            chars => Err(invalid(&format!("it has {chars} characters, the most is 255"))),
        }
    }
}

/// What stands between quotes, if they end with the text (RFC 8941, 3.3.3).
fn unquote(rest: &str) -> Option<String> {
    let mut key = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => return chars.as_str().is_empty().then_some(key),
            '\\' => key.push(chars.next().filter(|char| matches!(char, '"' | '\\'))?),
            char => key.push(char),
        }
    }
    None
}

fn invalid(why: &str) -> Problem {
    let detail = format!("The Idempotency-Key must be 1 to 255 visible ASCII characters: {why}.");
    Problem::new(&IDEMPOTENCY_KEY_INVALID).detail(detail)
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::from_headers(&parts.headers)
    }
}

/// SHA-256 of the canonical JSON of `request`: members sorted by name, no spaces. Two bodies that
/// mean the same have the same one, however they were written.
pub fn fingerprint<T: Serialize>(request: &T) -> Result<[u8; 32], serde_json::Error> {
    let mut text = String::new();
    canonical(&serde_json::to_value(request)?, &mut text);
    Ok(Sha256::digest(text).into())
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (i, (name, value)) in members.into_iter().enumerate() {
                text.push_str(if i == 0 { "" } else { "," });
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i == 0 { "" } else { "," });
                canonical(item, text);
            }
            text.push(']');
        }
        leaf => text.push_str(&leaf.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(values: &[&str]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                IDEMPOTENCY_KEY,
                axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        IdempotencyKey::from_headers(&headers).map(|key| key.0).map_err(|p| p.code().name)
    }

    #[test]
    fn a_key_is_quoted_or_bare() {
        assert_eq!(read(&["abc"]), Ok("abc".to_owned()));
        assert_eq!(read(&["\"abc\""]), Ok("abc".to_owned()));
        assert_eq!(read(&["\"a\\\"b\\\\\""]), Ok("a\"b\\".to_owned()));
        assert_eq!(read(&["';drop/**/table--"]), Ok("';drop/**/table--".to_owned()));
        assert_eq!(read(&[&"k".repeat(255)]), Ok("k".repeat(255)));
    }

    #[test]
    fn a_key_that_can_not_be_one_is_refused() {
        assert_eq!(read(&[]), Err("idempotency_key_missing"));
        let invalid = ["", " ", "\"\"", "\"abc", "\"a\"b", "\"a\\x\"", "a b", "\"a b\"", "k\u{e9}"];
        for value in invalid {
            assert_eq!(read(&[value]), Err("idempotency_key_invalid"), "{value:?}");
        }
        assert_eq!(read(&["a", "a"]), Err("idempotency_key_invalid"));
        assert_eq!(read(&[&"k".repeat(256)]), Err("idempotency_key_invalid"));
    }

    #[test]
    fn the_same_request_has_the_same_fingerprint_however_it_is_written() {
        let one: Value = serde_json::from_str(r#"{"b":[1,{"y":null,"x":"q\""}],"a":1}"#).unwrap();
        let two: Value =
            serde_json::from_str(r#"{ "a" : 1, "b":[1,{"x":"q\"","y":null}]}"#).unwrap();
        assert_eq!(fingerprint(&one).unwrap(), fingerprint(&two).unwrap());
        assert_ne!(fingerprint(&one).unwrap(), fingerprint(&json!({"a":1,"b":[1]})).unwrap());
        assert_ne!(
            fingerprint(&json!(["a", "b"])).unwrap(),
            fingerprint(&json!(["b", "a"])).unwrap()
        );
        let mut text = String::new();
        canonical(&one, &mut text);
        assert_eq!(text, r#"{"a":1,"b":[1,{"x":"q\"","y":null}]}"#);
    }
}
