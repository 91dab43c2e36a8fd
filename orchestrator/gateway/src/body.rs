//! A strict JSON body: at most 64 KiB, no member twice, no card numbers.

pub mod card_number;
pub mod fields;

use std::fmt;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::problem::{
    BAD_REQUEST, BODY_TOO_LARGE, CARD_NUMBER_REFUSED, INVALID_JSON, Problem, UNSUPPORTED_MEDIA_TYPE,
};

/// The most bytes a body may have.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// What is larger than it may be is read to here all the same, and thrown away: a connection that is
/// closed while its client still sends is reset, and the client never reads why.
const DISCARDED_BYTES_MAX: usize = 1024 * 1024;

/// A request's JSON, in a loose shape: [`fields`] says what it must be.
#[derive(Clone, Debug)]
pub struct Json(pub Value);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        json(request, &[]).await.map(Self)
    }
}

/// Reads a request's JSON. At the places of `no_cards` a text may look like a card number, as in
/// [`card_number::is_in`].
pub async fn json(request: Request, no_cards: &[&str]) -> Result<Value, Problem> {
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        return Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE));
    }
    parse_but(&read(&parts.headers, body, BODY_BYTES_MAX).await?, no_cards)
}

/// Reads a body of at most `bytes_max` bytes.
pub async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("The body may have at most {bytes_max} bytes. Nothing was started.");
        Problem::new(&BODY_TOO_LARGE).detail(detail)
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if declared.is_some_and(|declared: usize| declared > DISCARDED_BYTES_MAX) {
        return Err(too_large());
    }
    let (mut chunks, mut bytes, mut seen) = (body.into_data_stream(), Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::new(&BAD_REQUEST))?;
        seen += chunk.len();
        match seen {
            _ if seen <= bytes_max => bytes.extend_from_slice(&chunk),
            _ if seen <= DISCARDED_BYTES_MAX => bytes.clear(),
            _ => break,
        }
    }
    if seen <= bytes_max { Ok(bytes.into()) } else { Err(too_large()) }
}

/// Reads one JSON value, strictly.
pub fn parse(body: &[u8]) -> Result<Value, Problem> {
    parse_but(body, &[])
}

fn parse_but(body: &[u8], no_cards: &[&str]) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Strict::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let Strict(value) = value.map_err(|error| {
        // serde_json's message may quote what was sent, which may be a card's number.
        let (line, column) = (error.line(), error.column());
        let what = match error.classify() {
            serde_json::error::Category::Eof => "the body ends in the middle of a value",
            serde_json::error::Category::Data => "an object names a member twice",
            _ => "the body is not JSON",
        };
        Problem::new(&INVALID_JSON).detail(format!("{what}: line {line}, column {column}"))
    })?;
    match card_number::is_in(&value, no_cards) {
        true => Err(Problem::new(&CARD_NUMBER_REFUSED)),
        false => Ok(value),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// JSON without an object that names a member twice: what is checked is what is used.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, _>()? {
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("a member twice"));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> &'static str {
        parse(body.as_bytes()).unwrap_err().code().name
    }

    #[test]
    fn a_body_is_one_json_value() {
        assert_eq!(parse(br#" {"a":[1,null,true,"x",1.5]} "#).unwrap()["a"][3], "x");
        for garbage in ["", "{", "{} {}", "nonsense", "{'a':1}", "{\"a\":1,}", "\u{0}"] {
            assert_eq!(refused(garbage), "invalid_json", "{garbage}");
        }
        assert_eq!(refused(&"[".repeat(10_000)), "invalid_json");
        assert_eq!(parse(b"{\"a\":\"\xff\"}").unwrap_err().code().name, "invalid_json");
    }

    #[test]
    fn a_member_given_twice_is_refused() {
        assert_eq!(refused(r#"{"a":1,"b":{"c":1,"c":2}}"#), "invalid_json");
        assert_eq!(refused(r#"{"a":"4242424242424242","a":1}"#), "invalid_json");
    }

    #[test]
    fn a_refusal_does_not_repeat_what_was_sent() {
        let problem = parse(b"{\"a\": 4242424242424242x}").unwrap_err();
        assert!(!problem.body("r").to_string().contains("4242"));
        let problem = parse(b"{\"a\": \"4242424242424242\"}").unwrap_err();
        assert!(!problem.body("r").to_string().contains("4242"));
        assert_eq!(problem.code().name, "card_number_refused");
    }
}
