//! The client of the payment gateway over real connections: what was sent, what was lost, and when
//! it stops asking.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use activities::payment_gateway::PaymentGateway;
use activities::payment_gateway::answer::GatewayFailure;
use activities::payment_gateway::intent::Intent;
use activities::payment_gateway::settings::Settings;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// What the far end does with a request.
#[derive(Clone, Debug)]
enum Then {
    Answer(u16, &'static str, String),
    Reset,
    Silence,
}

/// A far end that answers every request the same way and remembers what it was sent.
struct FarEnd {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    then: Arc<Mutex<Then>>,
}

impl FarEnd {
    async fn start(then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let then = Arc::new(Mutex::new(then));
        let (seen, does) = (requests.clone(), then.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone(), does.clone()));
            }
        });
        Self { url, requests, then }
    }

    fn gateway(&self) -> PaymentGateway {
        gateway(&self.url)
    }

    fn seen(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>, then: Arc<Mutex<Then>>) {
    while let Some(request) = read_request(&mut stream).await {
        seen.lock().unwrap().push(request);
        let then = then.lock().unwrap().clone();
        match then {
            Then::Reset => return,
            Then::Silence => std::future::pending().await,
            Then::Answer(status, headers, body) => {
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n{body}",
                    body.len()
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

fn gateway(url: &str) -> PaymentGateway {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings::from_values(Some(url), Some("sk_test_1"), Some("whsec_1"), None, None);
    let timeout = Duration::from_millis(500);
    PaymentGateway::new(Settings { timeout, ..settings.unwrap() }).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn confirm(gateway: &PaymentGateway) -> Result<Intent, GatewayFailure> {
    gateway.confirm("pi_1", "pm_card_visa", None, "key-1", soon()).await
}

fn intent(id: &str) -> String {
    format!(r#"{{"id":"{id}","status":"succeeded","amount":4200,"currency":"usd"}}"#)
}

#[tokio::test]
async fn a_request_is_stripes_form_with_key_and_version() {
    let far = FarEnd::start(Then::Answer(200, "", intent("pi_1"))).await;
    assert_eq!(confirm(&far.gateway()).await.unwrap().id, "pi_1");
    let request = far.seen().remove(0).to_lowercase();
    for part in [
        "post /v1/payment_intents/pi_1/confirm http/1.1",
        "authorization: bearer sk_test_1",
        "stripe-version: 2026-07-29.dahlia",
        "idempotency-key: key-1",
        "content-type: application/x-www-form-urlencoded",
        "\r\n\r\npayment_method=pm_card_visa",
    ] {
        assert!(request.contains(part), "{part} is not in {request}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_executed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = confirm(&gateway(&url)).await.unwrap_err();
    assert!(matches!(failure, GatewayFailure::NotSent(_)), "{failure:?}");
}

#[tokio::test]
async fn an_unknown_host_is_not_executed() {
    let failure = confirm(&gateway("https://gateway.invalid")).await.unwrap_err();
    assert!(matches!(failure, GatewayFailure::NotSent(_)), "{failure:?}");
}

#[tokio::test]
async fn a_reset_or_a_timeout_after_sending_is_unknown() {
    for then in [Then::Reset, Then::Silence] {
        let far = FarEnd::start(then.clone()).await;
        let gateway = far.gateway();
        let failure = confirm(&gateway).await.unwrap_err();
        assert!(matches!(failure, GatewayFailure::Unknown { .. }), "{then:?}: {failure:?}");
        assert_eq!(far.seen().len(), 1, "sent again by itself");
        let failure = gateway.get_intent("pi_1", soon()).await.unwrap_err();
        assert!(matches!(failure, GatewayFailure::Unanswered(_)), "{then:?}: {failure:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_short_too_long_or_about_something_else_is_unknown() {
    let long = format!("{}{}", intent("pi_1"), " ".repeat(600 * 1024));
    for body in [intent("pi_2"), long, "{".to_owned()] {
        let far = FarEnd::start(Then::Answer(200, "", body)).await;
        let failure = confirm(&far.gateway()).await.unwrap_err();
        assert!(matches!(failure, GatewayFailure::Unknown { .. }), "{failure:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let far = FarEnd::start(Then::Answer(307, "location: /elsewhere\r\n", String::new())).await;
    let failure = confirm(&far.gateway()).await.unwrap_err();
    assert!(matches!(failure, GatewayFailure::Unknown { .. }), "{failure:?}");
    assert_eq!(far.seen().len(), 1);
}

#[tokio::test]
async fn five_failures_in_a_row_stop_the_asking_and_say_until_when() {
    let far = FarEnd::start(Then::Answer(503, "", String::new())).await;
    let gateway = far.gateway();
    for _ in 0..5 {
        assert!(matches!(confirm(&gateway).await, Err(GatewayFailure::Unknown { .. })));
    }
    let failure = confirm(&gateway).await.unwrap_err();
    let GatewayFailure::Parked { remaining, .. } = &failure else { panic!("{failure:?}") };
    assert!(*remaining > Duration::from_secs(55), "{remaining:?}");
    assert_eq!(far.seen().len(), 5, "sent though the breaker is open");
    // Another endpoint of the same gateway.
    assert!(matches!(gateway.cancel("pi_1", soon()).await, Err(GatewayFailure::Parked { .. })));
}

#[tokio::test]
async fn a_card_that_is_declined_and_a_limit_that_is_hit_are_no_outage() {
    let declined = r#"{"error":{"type":"card_error","code":"card_declined"}}"#.to_owned();
    for (status, body) in [(402, declined), (429, String::new()), (409, String::new())] {
        let far = FarEnd::start(Then::Answer(status, "", body)).await;
        let gateway = far.gateway();
        for _ in 0..8 {
            let failure = confirm(&gateway).await.unwrap_err();
            assert!(!matches!(failure, GatewayFailure::Parked { .. }), "{status}");
        }
    }
}

#[tokio::test]
async fn a_429_says_when_to_come_back() {
    let far = FarEnd::start(Then::Answer(429, "retry-after: 7\r\n", String::new())).await;
    let failure = confirm(&far.gateway()).await.unwrap_err();
    assert_eq!(failure, GatewayFailure::Limited { after: Duration::from_secs(7) });
}

#[tokio::test]
async fn a_wrong_key_stops_everything_at_once() {
    let far = FarEnd::start(Then::Answer(401, "", String::new())).await;
    let gateway = far.gateway();
    assert!(matches!(confirm(&gateway).await, Err(GatewayFailure::Unauthorized(_))));
    assert!(matches!(gateway.get_intent("pi_1", soon()).await, Err(GatewayFailure::Parked { .. })));
    assert_eq!(far.seen().len(), 1);
}

#[tokio::test]
async fn a_failure_between_successes_opens_nothing() {
    let far = FarEnd::start(Then::Answer(500, "", String::new())).await;
    let gateway = far.gateway();
    for _ in 0..3 {
        *far.then.lock().unwrap() = Then::Answer(500, "", String::new());
        for _ in 0..4 {
            assert!(matches!(confirm(&gateway).await, Err(GatewayFailure::Unknown { .. })));
        }
        *far.then.lock().unwrap() = Then::Answer(200, "", intent("pi_1"));
        confirm(&gateway).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_an_id_never_gets_into_a_path() {
    let far = FarEnd::start(Then::Answer(200, "", intent("pi_1"))).await;
    for id in ["", "pi_", "pi_1/../../refunds", "pi_1?x=1", "ch_1", "pi_1%2f", "pi_\u{e9}"] {
        let failure = far.gateway().cancel(id, soon()).await.unwrap_err();
        assert!(matches!(failure, GatewayFailure::Refused { .. }), "{id}: {failure:?}");
    }
    assert!(far.seen().is_empty());
}

#[tokio::test]
async fn a_page_of_a_list_is_asked_for_again_where_it_failed() {
    let far_end = FarEnd::start(Then::Answer(503, "", "{}".to_owned())).await;
    let gateway = far_end.gateway();
    let search = gateway.list_intents(.., |_| true, soon());
    let mended = async {
        while far_end.seen().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let empty = r#"{"object":"list","data":[],"has_more":false}"#;
        *far_end.then.lock().unwrap() = Then::Answer(200, "", empty.to_owned());
    };
    let (found, ()) = tokio::join!(search, mended);
    assert!(found.unwrap().is_empty());

    *far_end.then.lock().unwrap() = Then::Answer(503, "", "{}".to_owned());
    let before = far_end.seen().len();
    let failed = gateway.list_intents(.., |_| true, soon()).await;
    assert!(matches!(failed, Err(GatewayFailure::Unanswered(_))), "{failed:?}");
    assert_eq!(far_end.seen().len() - before, 5, "not for ever");
}

#[tokio::test]
async fn a_long_list_is_read_to_its_end_or_its_deadline() {
    let page = |more: bool| format!(r#"{{"data":[{}],"has_more":{more}}}"#, intent("pi_1"));
    let far_end = FarEnd::start(Then::Answer(200, "", page(true))).await;
    let gateway = far_end.gateway();
    let since = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
    let window = since..since + Duration::from_secs(60);
    let search = gateway.list_intents(window, |_| false, Instant::now() + Duration::from_secs(60));
    let ended = async {
        while far_end.seen().len() < 300 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        *far_end.then.lock().unwrap() = Then::Answer(200, "", page(false));
    };
    let ended = tokio::time::timeout_at(soon(), ended);
    let (found, _) = tokio::join!(search, ended);
    assert_eq!(found, Ok(Vec::new()));
    let asked = far_end.seen().pop().unwrap();
    for part in ["gte%5D=1700000000&", "lt%5D=1700000060&", "starting_after=pi_1&"] {
        assert!(asked.contains(part), "{part}: {asked}");
    }

    *far_end.then.lock().unwrap() = Then::Answer(200, "", page(true));
    let deadline = Instant::now() + Duration::from_millis(800);
    let ended = gateway.list_intents(since.., |_| false, deadline).await;
    assert!(matches!(ended, Err(GatewayFailure::NotSent(_))), "{ended:?}");
}
