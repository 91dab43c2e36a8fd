//! The table, row by row.

use super::*;
use crate::payment_gateway::intent::IntentStatus;

const POSTS: [Endpoint; 5] = [
    Endpoint::CreateIntent,
    Endpoint::Confirm,
    Endpoint::Capture,
    Endpoint::Cancel,
    Endpoint::Refund,
];
const READS: [Endpoint; 3] = [Endpoint::GetIntent, Endpoint::ListIntents, Endpoint::ListRefunds];

fn intent(status: &str) -> String {
    format!(
        r#"{{"id":"pi_1","object":"payment_intent","status":"{status}","amount":4200,
            "currency":"usd","latest_charge":null,"next_action":null,"metadata":{{}}}}"#
    )
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, body: body.as_bytes().to_vec(), ..Reply::default() }
}

fn error(kind: &str, code: &str, rest: &str) -> String {
    format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"because"{rest}}}}}"#)
}

fn ask(endpoint: Endpoint, reply: Reply) -> Result<Intent, GatewayFailure> {
    classify(endpoint, &Ok(reply))
}

fn confirm(reply: Reply) -> Result<Intent, GatewayFailure> {
    ask(Endpoint::Confirm, reply)
}

#[test]
fn a_200_gives_the_intent_with_its_state() {
    let states = [
        ("succeeded", IntentStatus::Succeeded),
        ("requires_capture", IntentStatus::RequiresCapture),
        ("requires_action", IntentStatus::RequiresAction),
        ("processing", IntentStatus::Processing),
        ("canceled", IntentStatus::Canceled),
        ("a_state_of_next_year", IntentStatus::Unrecognized),
    ];
    for (text, status) in states {
        assert_eq!(confirm(reply(200, &intent(text))).unwrap().status, status);
    }
}

#[test]
fn a_200_that_can_not_be_read_is_unknown() {
    for body in ["", "<html>", "{}", r#"{"id":"pi_1"}"#, &intent("succeeded")[..60]] {
        let answer = confirm(reply(200, body)).unwrap_err();
        assert!(matches!(answer, GatewayFailure::Unknown { is_stored: false, .. }), "{answer:?}");
        let answer = ask(Endpoint::GetIntent, reply(200, body)).unwrap_err();
        assert!(matches!(answer, GatewayFailure::Unanswered(_)), "{answer:?}");
    }
}

#[test]
fn a_402_is_the_cards_no() {
    let body = error("card_error", "card_declined", r#","decline_code":"insufficient_funds""#);
    let Err(GatewayFailure::Declined(error_)) = confirm(reply(402, &body)) else { panic!() };
    assert_eq!(error_.decline_code(), "insufficient_funds");
    let body = error("card_error", "expired_card", "");
    let Err(GatewayFailure::Declined(error_)) = confirm(reply(402, &body)) else { panic!() };
    assert_eq!(error_.decline_code(), "expired_card");
}

#[test]
fn a_stored_no_stays_no_even_if_told_to_retry() {
    let body = error("card_error", "card_declined", "");
    let reply = Reply { should_retry: Some(true), ..reply(402, &body) };
    assert!(matches!(confirm(reply), Err(GatewayFailure::Declined(_))));
}

#[test]
fn a_400_or_404_is_our_mistake() {
    for (status, code) in [(400, "parameter_missing"), (404, "resource_missing"), (402, "other")] {
        let answer = confirm(reply(status, &error("invalid_request_error", code, "")));
        let Err(GatewayFailure::Refused { code: found, .. }) = answer else { panic!() };
        assert_eq!(found, code);
    }
    let answer = confirm(reply(404, "<html>"));
    assert!(matches!(answer, Err(GatewayFailure::Refused { code, .. }) if code == "http_404"));
}

#[test]
fn an_unexpected_state_carries_the_intent() {
    for status in ["succeeded", "canceled"] {
        let rest = format!(r#","payment_intent":{}"#, intent(status));
        let body = error("invalid_request_error", "payment_intent_unexpected_state", &rest);
        let answer = ask(Endpoint::Cancel, reply(400, &body));
        let Err(GatewayFailure::UnexpectedState(found)) = answer else { panic!() };
        assert_eq!(found.id, "pi_1");
    }
    // Without the intent there is nothing to act on.
    let body = error("invalid_request_error", "payment_intent_unexpected_state", "");
    let answer = ask(Endpoint::Cancel, reply(400, &body));
    assert!(matches!(answer, Err(GatewayFailure::Refused { .. })));
}

#[test]
fn another_request_under_the_same_key_is_our_mistake() {
    let answer = confirm(reply(400, &error("idempotency_error", "", "")));
    assert!(matches!(answer, Err(GatewayFailure::KeyReused(_))));
}

#[test]
fn a_409_is_tried_again_under_the_same_key() {
    for kind in ["idempotency_error", "invalid_request_error"] {
        let body = error(kind, "idempotency_key_in_use", "");
        assert_eq!(confirm(reply(409, &body)), Err(GatewayFailure::Busy));
    }
}

#[test]
fn a_401_or_403_is_the_configuration() {
    for (status, endpoint) in [(401, Endpoint::Confirm), (403, Endpoint::GetIntent)] {
        let answer = ask(endpoint, reply(status, &error("invalid_request_error", "", "")));
        let Err(failure) = answer else { panic!() };
        assert!(matches!(failure, GatewayFailure::Unauthorized(_)));
        assert!(failure.trouble().not_executed);
    }
}

#[test]
fn a_429_was_not_executed_and_says_when_to_come_back() {
    let seconds = Duration::from_secs;
    let rows = [
        (None, None, seconds(1)),
        (Some(seconds(7)), None, seconds(7)),
        (Some(seconds(0)), Some(true), seconds(1)),
        (None, Some(false), seconds(10)),
        (Some(seconds(30)), Some(false), seconds(30)),
    ];
    for (retry_after, should_retry, after) in rows {
        let reply = Reply { retry_after, should_retry, ..reply(429, "") };
        let failure = confirm(reply).unwrap_err();
        assert_eq!(failure, GatewayFailure::Limited { after });
        assert!(!failure.is_outage(), "it must not open the breaker");
        let trouble = failure.trouble();
        assert!(trouble.not_executed);
        assert_eq!(trouble.after, Some(after));
    }
}

#[test]
fn what_was_not_sent_was_not_executed() {
    for endpoint in Endpoint::ALL {
        let sent = Err(TransportError::NotSent("connection refused".into()));
        let failure = classify::<Intent>(endpoint, &sent).unwrap_err();
        assert!(matches!(failure, GatewayFailure::NotSent(_)));
        assert!(failure.trouble().not_executed);
        assert!(failure.is_outage());
        assert!(matches!(Failure::from(failure), Failure::Retry(_)));
    }
}

#[test]
fn a_lost_answer_to_a_post_is_unknown() {
    for endpoint in POSTS {
        let sent = Err(TransportError::Lost("timed out".into()));
        let failure = classify::<Intent>(endpoint, &sent).unwrap_err();
        assert!(matches!(failure, GatewayFailure::Unknown { is_stored: false, .. }));
        assert!(failure.is_outage());
        let Failure::Unknown(trouble) = failure.into() else { panic!() };
        assert!(!trouble.not_executed);
    }
}

#[test]
fn a_fault_of_the_gateway_is_unknown_for_a_post() {
    for endpoint in POSTS {
        for status in [500, 502, 503, 504, 302, 100] {
            for should_retry in [None, Some(true), Some(false)] {
                let reply = Reply { should_retry, ..reply(status, "<html>") };
                let failure = ask(endpoint, reply).unwrap_err();
                assert!(matches!(failure, GatewayFailure::Unknown { .. }), "{status}");
                assert!(matches!(Failure::from(failure), Failure::Unknown(_)));
            }
        }
    }
}

#[test]
fn a_stored_fault_is_told_apart() {
    let stored = Reply { is_replay: true, ..reply(500, &error("api_error", "", "")) };
    let failure = confirm(stored).unwrap_err();
    assert!(matches!(failure, GatewayFailure::Unknown { is_stored: true, .. }));
}

#[test]
fn a_question_without_an_answer_is_asked_again() {
    for endpoint in READS {
        let lost = classify::<Intent>(endpoint, &Err(TransportError::Lost("reset".into())));
        let fault = ask(endpoint, reply(503, ""));
        for failure in [lost.unwrap_err(), fault.unwrap_err()] {
            assert!(matches!(failure, GatewayFailure::Unanswered(_)));
            assert!(failure.is_outage());
            assert!(matches!(Failure::from(failure), Failure::Retry(_)));
        }
    }
}

#[test]
fn the_gateway_overrides_our_guess() {
    let body = error("invalid_request_error", "lock_timeout", "");
    let told_to = Reply { should_retry: Some(true), ..reply(400, &body) };
    assert_eq!(confirm(told_to), Err(GatewayFailure::Busy));
    let told_not_to = Reply { should_retry: Some(false), ..reply(409, &body) };
    assert!(matches!(confirm(told_not_to), Err(GatewayFailure::Refused { .. })));
}

#[test]
fn an_open_breaker_parks_without_burning_an_attempt_and_says_until_when() {
    let until = time::macros::datetime!(2026-08-01 12:00:30.123 UTC);
    let remaining = Duration::from_secs(17);
    let trouble = GatewayFailure::Parked { remaining, until }.trouble();
    assert_eq!(trouble.code, "gateway_unavailable");
    assert!(trouble.not_executed && !trouble.counted);
    assert_eq!(trouble.after, Some(remaining));
    assert!(trouble.message.ends_with("until 2026-08-01T12:00:30Z"), "{}", trouble.message);
}

#[test]
fn after_an_effect_nothing_claims_that_nothing_happened() {
    let until = time::macros::datetime!(2026-08-01 12:00 UTC);
    let failures = [
        GatewayFailure::Parked { remaining: Duration::ZERO, until },
        GatewayFailure::NotSent(String::new()),
        GatewayFailure::Limited { after: Duration::ZERO },
        GatewayFailure::Unauthorized(String::new()),
    ];
    for failure in failures {
        let Failure::Unknown(trouble) = failure.after_effect() else { panic!("{failure}") };
        assert!(!trouble.not_executed);
    }
}

#[test]
fn a_long_message_is_cut() {
    let body = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(100_000));
    let Err(GatewayFailure::Refused { message, .. }) = confirm(reply(400, &body)) else { panic!() };
    assert_eq!(message.len(), 500);
}
