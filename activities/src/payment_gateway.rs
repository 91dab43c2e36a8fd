//! The client of the payment gateway: Stripe's HTTP API, guarded by a breaker and rate limits.
//!
//! It knows what an answer means for the money ([`answer::classify`]); what a saga does with it is
//! the activities' business.

use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use reqwest::{Method, Url};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use tokio::time::Instant;

use answer::{Endpoint, GatewayFailure, TransportError};
use breaker::{Breaker, Open, Pass};
use intent::{Intent, Page, Refund, is_id};
use limits::Limits;
use settings::{Settings, SettingsError};
use signature::{Event, EventError};
use transport::{Request, Transport};

pub mod answer;
pub mod breaker;
pub mod intent;
mod limits;
pub mod settings;
pub mod signature;
mod transport;

pub use breaker::OPEN_FOR;

/// A page of a list: as much as the gateway gives at once.
const PAGE: usize = 100;
/// So often one is asked for. A search that began anew at each fault would not get to the end
/// of a long list.
const PAGE_TRIES: u32 = 5;
/// The first wait between two tries; each is twice as long as the one before.
const PAGE_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// With less time than this left before its deadline a call is not sent: its answer would be lost.
const TIMEOUT_MIN: Duration = Duration::from_secs(2);

/// Speaks to one payment gateway. Shared by all sagas of a node.
#[derive(Debug)]
pub struct PaymentGateway {
    transport: Transport,
    breaker: Breaker,
    limits: Limits,
    timeout: Duration,
    webhook_secret: SecretString,
    return_url: Option<Url>,
}

/// What an intent is created with.
#[derive(Clone, Copy, Debug)]
pub struct NewIntent<'a> {
    /// Minor units.
    pub amount: i64,
    /// ISO 4217, in either case.
    pub currency: &'a str,
    /// For `metadata[order_id]`.
    pub order_id: &'a str,
    /// For `metadata[saga_root]`: what the saga's keys derive from.
    pub saga_root: &'a str,
}

/// What is given back.
#[derive(Clone, Copy, Debug)]
pub struct NewRefund<'a> {
    /// The captured intent.
    pub intent_id: &'a str,
    /// Minor units.
    pub amount: i64,
    /// ISO 4217, in either case.
    pub currency: &'a str,
    /// For `metadata[order_id]`.
    pub order_id: &'a str,
}

impl PaymentGateway {
    /// A client. The process must have a TLS provider installed (`rustls::crypto::ring`), also for
    /// a gateway on loopback.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            transport: Transport::new(&settings)?,
            breaker: Breaker::default(),
            limits: Limits::new(settings.rate, settings.concurrency_max),
            timeout: settings.timeout,
            webhook_secret: settings.webhook_secret,
            return_url: settings.return_url,
        })
    }

    /// Creates an intent; no money moves.
    pub async fn create_intent(
        &self,
        new: NewIntent<'_>,
        key: &str,
        deadline: Instant,
    ) -> Result<Intent, GatewayFailure> {
        let (amount, currency) = (new.amount.to_string(), new.currency.to_ascii_lowercase());
        let fields = [
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("capture_method", "automatic"),
            ("payment_method_types[]", "card"),
            ("metadata[order_id]", new.order_id),
            ("metadata[saga_root]", new.saga_root),
        ];
        let call = Call::post(Endpoint::CreateIntent, "/v1/payment_intents", &fields, Some(key));
        let intent: Intent = self.call(call, deadline).await?;
        // A replay can be an intent that has moved on, but never one of another amount.
        let is_it = is_id(&intent.id, "pi_")
            && intent.amount == new.amount
            && intent.currency.eq_ignore_ascii_case(new.currency);
        checked(is_it, intent, || {
            format!("it is not the intent of {} {}", new.amount, new.currency)
        })
    }

    /// Where customers come back to who authenticate from now on.
    pub fn return_url(&self) -> Option<&str> {
        self.return_url.as_ref().map(Url::as_str)
    }

    /// Charges `payment_method`: money may move. A customer who has to authenticate comes back to
    /// `return_url`; without one the gateway does not say where to send them.
    pub async fn confirm(
        &self,
        intent_id: &str,
        payment_method: &str,
        return_url: Option<&str>,
        key: &str,
        deadline: Instant,
    ) -> Result<Intent, GatewayFailure> {
        let mut fields = vec![("payment_method", payment_method)];
        fields.extend(return_url.map(|url| ("return_url", url)));
        self.act(Endpoint::Confirm, intent_id, "/confirm", &fields, Some(key), deadline).await
    }

    /// Takes the whole of an authorized amount: money moves.
    pub async fn capture(
        &self,
        intent_id: &str,
        key: &str,
        deadline: Instant,
    ) -> Result<Intent, GatewayFailure> {
        self.act(Endpoint::Capture, intent_id, "/capture", &[], Some(key), deadline).await
    }

    /// Cancels an intent: no money can move afterwards. Without a key: its state alone makes a
    /// repeat harmless, and a stored 500 must not stand in the way of a repeat.
    pub async fn cancel(
        &self,
        intent_id: &str,
        deadline: Instant,
    ) -> Result<Intent, GatewayFailure> {
        let fields = [("cancellation_reason", "abandoned")];
        self.act(Endpoint::Cancel, intent_id, "/cancel", &fields, None, deadline).await
    }

    /// Where an intent stands.
    pub async fn get_intent(
        &self,
        intent_id: &str,
        deadline: Instant,
    ) -> Result<Intent, GatewayFailure> {
        self.act(Endpoint::GetIntent, intent_id, "", &[], None, deadline).await
    }

    /// The intents created in this time (in whole seconds, without its end), newest first, up to the
    /// first page on which one is `wanted`. However many there are: its deadline ends it.
    pub async fn list_intents(
        &self,
        created: impl RangeBounds<OffsetDateTime>,
        wanted: impl Fn(&Intent) -> bool,
        deadline: Instant,
    ) -> Result<Vec<Intent>, GatewayFailure> {
        let seconds = |bound: Bound<&OffsetDateTime>| match bound {
            Bound::Included(at) | Bound::Excluded(at) => Some(at.unix_timestamp().to_string()),
            Bound::Unbounded => None,
        };
        let (begin, end) = (seconds(created.start_bound()), seconds(created.end_bound()));
        let limit = PAGE.to_string();
        let mut after: Option<String> = None;
        loop {
            let given =
                [("created[gte]", &begin), ("created[lt]", &end), ("starting_after", &after)];
            let given = given.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
            let fields: Vec<_> = given.chain([("limit", limit.as_str())]).collect();
            let page = self.page_of_intents(&fields, deadline).await?;
            after = page.data.last().map(|intent| intent.id.clone());
            let found: Vec<_> = page.data.into_iter().filter(|intent| wanted(intent)).collect();
            if !found.is_empty() || !page.has_more || after.is_none() {
                return Ok(found);
            }
        }
    }

    async fn page_of_intents(
        &self,
        fields: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Page<Intent>, GatewayFailure> {
        for doublings in 0..PAGE_TRIES - 1 {
            let call = Call::get(Endpoint::ListIntents, "/v1/payment_intents", fields);
            let again_after = match self.call(call, deadline).await {
                Err(GatewayFailure::Unanswered(_)) => PAGE_AGAIN_AFTER * 2_u32.pow(doublings),
                Err(GatewayFailure::Limited { after }) => after,
                answer => return answer,
            };
            tokio::time::sleep_until(deadline.min(Instant::now() + again_after)).await;
        }
        let call = Call::get(Endpoint::ListIntents, "/v1/payment_intents", fields);
        self.call(call, deadline).await
    }

    /// Gives money back.
    pub async fn refund(
        &self,
        new: NewRefund<'_>,
        key: &str,
        deadline: Instant,
    ) -> Result<Refund, GatewayFailure> {
        let amount = new.amount.to_string();
        let fields = [
            ("payment_intent", new.intent_id),
            ("amount", &amount),
            ("reason", "requested_by_customer"),
            ("metadata[order_id]", new.order_id),
        ];
        let call = Call::post(Endpoint::Refund, "/v1/refunds", &fields, Some(key));
        let refund: Refund = self.call(call, deadline).await?;
        let is_it = is_id(&refund.id, "re_")
            && refund.amount == new.amount
            && refund.currency.eq_ignore_ascii_case(new.currency);
        checked(is_it, refund, || format!("it is not the refund of {}", new.intent_id))
    }

    /// The refunds of an intent. More than a page of them is not looked for: an order is given back
    /// in a few parts.
    pub async fn list_refunds(
        &self,
        intent_id: &str,
        deadline: Instant,
    ) -> Result<Vec<Refund>, GatewayFailure> {
        let limit = PAGE.to_string();
        let fields = [("payment_intent", intent_id), ("limit", &limit)];
        let call = Call::get(Endpoint::ListRefunds, "/v1/refunds", &fields);
        let page: Page<Refund> = self.call(call, deadline).await?;
        Ok(page.data)
    }

    /// Checks a webhook's signature (the value of `Stripe-Signature`) over its raw body and reads
    /// it.
    pub fn verified_event(
        &self,
        header: &str,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<Event, EventError> {
        signature::verified_event(&self.webhook_secret, header, body, now)
    }

    async fn act(
        &self,
        endpoint: Endpoint,
        intent_id: &str,
        verb: &str,
        fields: &[(&str, &str)],
        key: Option<&str>,
        deadline: Instant,
    ) -> Result<Intent, GatewayFailure> {
        if !is_id(intent_id, "pi_") {
            let message = format!("{intent_id:?} is not the id of an intent");
            let code = "invalid_intent_id".to_owned();
            return Err(GatewayFailure::Refused { code, param: None, message });
        }
        let path = format!("/v1/payment_intents/{intent_id}{verb}");
        let call = match endpoint.is_read() {
            true => Call::get(endpoint, &path, fields),
            false => Call::post(endpoint, &path, fields, key),
        };
        let intent: Intent = self.call(call, deadline).await?;
        checked(intent.id == intent_id, intent, || format!("it is not about {intent_id}"))
    }

    /// One call: its turn, the breaker, the wire, the meaning.
    #[tracing::instrument(name = "payment gateway", level = "debug", skip_all,
        fields(endpoint = call.endpoint.name(), path = call.path))]
    async fn call<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        deadline: Instant,
    ) -> Result<T, GatewayFailure> {
        self.breaker.check(Instant::now()).map_err(parked)?;
        let late = |_| GatewayFailure::NotSent("no turn before the deadline".into());
        let _turn = self.limits.enter(call.endpoint, deadline).await.map_err(late)?;
        let timeout = self.timeout.min(deadline.saturating_duration_since(Instant::now()));
        if timeout < TIMEOUT_MIN.min(self.timeout) {
            return Err(late(limits::TooLate));
        }
        let pass = self.breaker.enter(Instant::now()).map_err(parked)?;
        let started = Instant::now();
        let sent = self.transport.send(call.request(timeout)).await;
        let answer = answer::classify(call.endpoint, &sent);
        observe(call.endpoint, &sent, &answer, started.elapsed());
        report(pass, &answer);
        answer
    }
}

#[derive(Clone, Copy, Debug)]
struct Call<'a> {
    endpoint: Endpoint,
    path: &'a str,
    fields: &'a [(&'a str, &'a str)],
    key: Option<&'a str>,
}

impl<'a> Call<'a> {
    fn get(endpoint: Endpoint, path: &'a str, fields: &'a [(&'a str, &'a str)]) -> Self {
        Self { endpoint, path, fields, key: None }
    }

    fn post(
        endpoint: Endpoint,
        path: &'a str,
        fields: &'a [(&'a str, &'a str)],
        key: Option<&'a str>,
    ) -> Self {
        Self { endpoint, path, fields, key }
    }

    fn request(self, timeout: Duration) -> Request<'a> {
        let Self { endpoint, path, fields, key } = self;
        let method = if endpoint.is_read() { Method::GET } else { Method::POST };
        Request { method, path, fields, key, timeout }
    }
}

/// An answer that is not about what was asked tells nothing: what was asked may have happened.
fn checked<T>(is_it: bool, answer: T, what: impl FnOnce() -> String) -> Result<T, GatewayFailure> {
    if is_it {
        return Ok(answer);
    }
    let message = what();
    tracing::error!(message, "the payment gateway answers something else than was asked");
    Err(GatewayFailure::Unknown { message, is_stored: false })
}

fn parked(open: Open) -> GatewayFailure {
    let until = engine::now() + open.remaining;
    GatewayFailure::Parked { remaining: open.remaining, until }
}

fn report<T>(pass: Pass<'_>, answer: &Result<T, GatewayFailure>) {
    let now = Instant::now();
    match answer {
        Err(failure @ GatewayFailure::Unauthorized(_)) => {
            if pass.tripped(now) {
                tracing::error!(error = %failure, "nothing is sent to the payment gateway");
            }
        }
        Err(failure) if failure.is_outage() => {
            if pass.failed(now) {
                tracing::warn!(error = %failure, "the payment gateway is down");
            }
        }
        // It neither works nor fails: the next call finds out.
        Err(GatewayFailure::Limited { .. }) => drop(pass),
        Ok(_) | Err(_) => pass.succeeded(),
    }
}

fn observe<T>(
    endpoint: Endpoint,
    sent: &Result<answer::Reply, TransportError>,
    answer: &Result<T, GatewayFailure>,
    took: Duration,
) {
    let status = sent.as_ref().map_or(0, |reply| reply.status);
    let request_id = sent.as_ref().ok().and_then(|reply| reply.request_id.as_deref());
    match answer {
        Ok(_) => tracing::debug!(status, request_id, "answered"),
        Err(failure) => tracing::info!(
            endpoint = endpoint.name(),
            status,
            request_id,
            outcome = %failure,
            "the payment gateway did not do it"
        ),
    }
    let labels = [("endpoint", endpoint.name().to_owned()), ("status", status.to_string())];
    metrics::counter!("payment_gateway_calls_total", &labels).increment(1);
    metrics::histogram!("payment_gateway_call_seconds", "endpoint" => endpoint.name())
        .record(took.as_secs_f64());
}
