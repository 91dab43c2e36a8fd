//! Webhooks: whether they come from the gateway, and what they say.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use time::OffsetDateTime;

/// How far the signature's time may be from ours, either way (Stripe's default).
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// More signatures than this are not looked at: Stripe sends one for each secret in use.
const SIGNATURES_MAX: usize = 16;

/// What a webhook said. Only a hint: events come twice, out of order, and before the answer to the
/// call that caused them. Whoever acts on one reads the intent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `evt_..`: the same at each delivery.
    pub id: String,
    /// `payment_intent.succeeded`, ...
    pub kind: String,
    /// The intent it is about, if any: the object itself, or the one that a charge or a refund
    /// belongs to.
    pub intent_id: Option<String>,
    /// When it happened, at the gateway.
    pub created: OffsetDateTime,
    /// The event as it came.
    pub payload: serde_json::Value,
}

/// Why a webhook is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EventError {
    /// The header is not `t=<unix time>,v1=<hex>[,v1=<hex>]`.
    #[error("the Stripe-Signature header can not be read")]
    Header,
    /// Too old or too new: a replay, or a clock that is wrong.
    #[error("the signature's time is more than 300 s from ours")]
    Stale,
    /// Signed with another secret, or changed on its way.
    #[error("no signature matches")]
    Mismatch,
    /// Signed, but not an event.
    #[error("not an event: {0}")]
    Body(String),
}

/// Checks `header` (the value of `Stripe-Signature`) over the raw `body` at `now`, then reads the
/// event.
pub fn verified_event(
    secret: &SecretString,
    header: &str,
    body: &[u8],
    now: OffsetDateTime,
) -> Result<Event, EventError> {
    let (timestamp, signatures) = parse_header(header)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        // HMAC takes keys of any length.
        .map_err(|_| EventError::Mismatch)?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let expected = mac.finalize().into_bytes();
    let any = signatures
        .iter()
        .fold(Choice::from(0), |any, signature| any | expected.as_slice().ct_eq(signature));
    if !bool::from(any) {
        return Err(EventError::Mismatch);
    }
    // After the signature: whoever can not sign learns nothing about the clock.
    let at: i64 = timestamp.parse().map_err(|_| EventError::Header)?;
    if now.unix_timestamp().abs_diff(at) > TOLERANCE.as_secs() {
        return Err(EventError::Stale);
    }
    parse_event(body)
}

/// The header's `t` as it was signed, and its `v1` signatures.
fn parse_header(header: &str) -> Result<(&str, Vec<Vec<u8>>), EventError> {
    let mut timestamp = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", value)) => timestamp = Some(value),
            Some(("v1", value)) if signatures.len() < SIGNATURES_MAX => {
                signatures.push(hex::decode(value).map_err(|_| EventError::Header)?);
            }
            // Other schemes (v0) are not for us.
            _ => {}
        }
    }
    match timestamp {
        Some(timestamp) if !signatures.is_empty() => Ok((timestamp, signatures)),
        _ => Err(EventError::Header),
    }
}

fn parse_event(body: &[u8]) -> Result<Event, EventError> {
    #[derive(Deserialize)]
    struct Wire {
        id: String,
        #[serde(rename = "type")]
        kind: String,
        created: i64,
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        object: Object,
    }
    #[derive(Deserialize)]
    struct Object {
        object: Option<String>,
        id: Option<String>,
        payment_intent: Option<String>,
    }
    let body_error = |error: serde_json::Error| EventError::Body(error.to_string());
    let payload: serde_json::Value = serde_json::from_slice(body).map_err(body_error)?;
    let event = Wire::deserialize(&payload).map_err(body_error)?;
    let created = OffsetDateTime::from_unix_timestamp(event.created)
        .map_err(|error| EventError::Body(error.to_string()))?;
    let object = event.data.object;
    let intent_id = match object.object.as_deref() {
        Some("payment_intent") => object.id,
        _ => object.payment_intent,
    };
    Ok(Event { id: event.id, kind: event.kind, intent_id, created, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"id":"evt_1","object":"event","type":"payment_intent.succeeded",
        "created":1700000000,"data":{"object":{"id":"pi_1","object":"payment_intent"}}}"#;

    fn at(unix: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(unix).unwrap()
    }

    fn sign(secret: &str, timestamp: i64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{timestamp}.{body}").as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    fn verify(header: &str, body: &str, now: i64) -> Result<Event, EventError> {
        verified_event(&SecretString::from("whsec_1"), header, body.as_bytes(), at(now))
    }

    #[test]
    fn a_signed_event_is_read() {
        let header = format!("t=1700000010,v1={}", sign("whsec_1", 1_700_000_010, BODY));
        let event = verify(&header, BODY, 1_700_000_020).unwrap();
        assert_eq!((event.id.as_str(), event.kind.as_str()), ("evt_1", "payment_intent.succeeded"));
        assert_eq!(event.intent_id.as_deref(), Some("pi_1"));
        assert_eq!(event.created, at(1_700_000_000));
    }

    /// Against a value that was not computed by this code: `printf '1700000010.{}' | openssl dgst
    /// -sha256 -hmac whsec_1`.
    #[test]
    fn the_signature_is_the_one_openssl_computes() {
        let header = format!("t=1700000010,v1={OPENSSL}");
        assert!(matches!(verify(&header, "{}", 1_700_000_010), Err(EventError::Body(_))));
    }
    const OPENSSL: &str = "1da8a28cf3c47c02311f0223afa3ca048c582e28576dfc603ce6bbfd3a838572";

    #[test]
    fn any_of_several_signatures_will_do() {
        let good = sign("whsec_1", 1_700_000_010, BODY);
        let other = sign("whsec_2", 1_700_000_010, BODY);
        let header = format!("t=1700000010,v0=zz,v1={other},v1={good}");
        verify(&header, BODY, 1_700_000_010).unwrap();
    }

    #[test]
    fn another_secret_another_body_another_time_are_refused() {
        let good = sign("whsec_1", 1_700_000_010, BODY);
        let header = |t: i64, v1: &str| format!("t={t},v1={v1}");
        let other = sign("whsec_2", 1_700_000_010, BODY);
        let now = 1_700_000_010;
        assert_eq!(verify(&header(now, &other), BODY, now), Err(EventError::Mismatch));
        assert_eq!(verify(&header(now, &good[..32]), BODY, now), Err(EventError::Mismatch));
        assert_eq!(verify(&header(now + 1, &good), BODY, now), Err(EventError::Mismatch));
        let changed = BODY.replace("pi_1", "pi_2");
        assert_eq!(verify(&header(now, &good), &changed, now), Err(EventError::Mismatch));
        verify(&header(now, &good), BODY, now + 300).unwrap();
        assert_eq!(verify(&header(now, &good), BODY, now + 301), Err(EventError::Stale));
        assert_eq!(verify(&header(now, &good), BODY, now - 301), Err(EventError::Stale));
    }

    #[test]
    fn garbage_in_the_header_is_refused() {
        for header in ["", "t=1", "v1=00", "t=1,v1=zz", "t=,v1=", ",,,=", "v1=00,t=x"] {
            assert!(verify(header, BODY, 1_700_000_010).is_err(), "{header}");
        }
        let header = format!("t=x,v1={}", "00".repeat(32));
        assert_eq!(verify(&header, BODY, 1_700_000_010), Err(EventError::Mismatch));
    }

    #[test]
    fn an_event_about_a_charge_names_the_charges_intent() {
        let body = r#"{"id":"evt_2","type":"charge.refunded","created":1700000000,
            "data":{"object":{"id":"ch_1","object":"charge","payment_intent":"pi_9"}}}"#;
        let header = format!("t=1700000010,v1={}", sign("whsec_1", 1_700_000_010, body));
        let event = verify(&header, body, 1_700_000_010).unwrap();
        assert_eq!(event.intent_id.as_deref(), Some("pi_9"));
    }
}
