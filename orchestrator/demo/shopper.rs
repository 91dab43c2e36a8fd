//! A shop's back end, as the demo plays it: places an order over HTTP and follows it to its end.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::plan::Checkout;

/// How long a shopper follows one order. What is not over then is open.
const FOLLOW_FOR: Duration = Duration::from_secs(120);
/// What one request asks to wait: less than what a request may take.
const WAIT_S: u64 = 20;
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// How long the same request is sent again when there is no answer.
const RETRY_FOR: Duration = Duration::from_secs(60);
/// How long to wait before that.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Speaks to the API with a shop's key. Cheap to clone.
#[derive(Clone)]
pub(super) struct Shopper {
    http: Client,
    url: String,
    token: String,
}

/// How an order ended, for its customer. The later ones are the worse ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Completed,
    Cancelled,
    OutOfStock,
    Declined,
    /// With the API's code.
    Failed(String),
    /// Not over yet.
    Open,
}

/// What became of a checkout.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) checkout: Checkout,
    pub(super) outcome: Outcome,
    /// How long the API took to accept it.
    pub(super) answer: Duration,
    /// How long it took to its end.
    pub(super) flow: Duration,
    /// When that was.
    pub(super) ended_at: Instant,
}

impl Shopper {
    /// Against the API at `url`: `http://127.0.0.1:8080`. At most so many connections stay open.
    pub(super) fn new(url: String, token: String, connections_max: usize) -> anyhow::Result<Self> {
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(connections_max)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .context("the HTTP client can not be made")?;
        Ok(Self { http, url, token })
    }

    /// Places an order, cancels it if that is planned, and follows it to its end.
    pub(super) async fn place(self, checkout: Checkout) -> anyhow::Result<Placed> {
        let began = Instant::now();
        let post = self
            .request(self.http.post(format!("{}/v1/checkouts", self.url)), &checkout)
            .header("idempotency-key", &checkout.key)
            .json(&checkout.body);
        let (response, answer) = answered(&post).await?;
        let status = response.status();
        let mut body: Value = response.json().await.context("the API answered no JSON")?;
        let outcome = if status.is_success() {
            let Some(id) = body["id"].as_str().map(str::to_owned) else {
                bail!("the API accepted {} and told no id", checkout.key);
            };
            if checkout.is_cancelled && outcome(&body) == Outcome::Open {
                self.cancel(&checkout, &id).await?;
            }
            while outcome(&body) == Outcome::Open && began.elapsed() < FOLLOW_FOR {
                body = self.follow(&checkout, &id).await?;
            }
            outcome(&body)
        } else {
            tracing::warn!(key = checkout.key, %status, %body, "the API refused a checkout");
            Outcome::Failed(body["code"].as_str().unwrap_or("refused").to_owned())
        };
        let flow = began.elapsed();
        Ok(Placed { checkout, outcome, answer, flow, ended_at: Instant::now() })
    }

    /// It may be too late for that, or over already: both are answers.
    async fn cancel(&self, checkout: &Checkout, id: &str) -> anyhow::Result<()> {
        let url = format!("{}/v1/checkouts/{id}/cancel", self.url);
        answered(&self.request(self.http.post(url), checkout)).await?;
        Ok(())
    }

    /// Waits a while for its end, and says how it stands then.
    async fn follow(&self, checkout: &Checkout, id: &str) -> anyhow::Result<Value> {
        let get = self.http.get(format!("{}/v1/checkouts/{id}", self.url));
        let get = self.request(get, checkout).header("prefer", format!("wait={WAIT_S}"));
        let (response, _) = answered(&get).await?;
        if response.status() != StatusCode::OK {
            bail!("the API does not show checkout {id}: {}", response.status());
        }
        response.json().await.context("the API answered no JSON")
    }

    fn request(&self, request: RequestBuilder, checkout: &Checkout) -> RequestBuilder {
        request.bearer_auth(&self.token).header("amends-customer", &checkout.customer)
    }
}

/// Sends a request until it is answered: the same again after no answer, a 5xx or a 429, which is
/// what the API asks for. And how long the answer took.
async fn answered(request: &RequestBuilder) -> anyhow::Result<(Response, Duration)> {
    let give_up = Instant::now() + RETRY_FOR;
    loop {
        let began = Instant::now();
        let request = request.try_clone().context("a request can not be sent twice")?;
        let why = match request.send().await {
            Ok(response) if !is_passing(response.status()) => {
                return Ok((response, began.elapsed()));
            }
            Ok(response) => anyhow::anyhow!("the API answers {}", response.status()),
            Err(error) => anyhow::Error::new(error).context("the API does not answer"),
        };
        if Instant::now() > give_up {
            return Err(why);
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// What the API's words mean.
fn outcome(body: &Value) -> Outcome {
    let code = body["failure"]["code"].as_str().unwrap_or_default();
    match (body["status"].as_str().unwrap_or_default(), code) {
        ("completed", _) => Outcome::Completed,
        ("cancelled", _) => Outcome::Cancelled,
        ("declined", _) => Outcome::Declined,
        ("failed", "out_of_stock") => Outcome::OutOfStock,
        ("failed", code) => Outcome::Failed(code.to_owned()),
        _ => Outcome::Open,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_status_of_the_api_is_understood() {
        let of = |status: &str, code: &str| {
            outcome(&json!({"status": status, "failure": {"code": code}}))
        };
        assert_eq!(of("completed", ""), Outcome::Completed);
        assert_eq!(of("declined", "card_declined"), Outcome::Declined);
        assert_eq!(of("failed", "out_of_stock"), Outcome::OutOfStock);
        assert_eq!(of("failed", "amount_too_small"), Outcome::Failed("amount_too_small".into()));
        assert_eq!(of("cancelled", ""), Outcome::Cancelled);
        for open in ["processing", "action_required", "cancelling"] {
            assert_eq!(of(open, ""), Outcome::Open, "{open}");
        }
        assert!(Outcome::Open > Outcome::Failed(String::new()));
    }
}
