//! One request over HTTP: sent or not, answered or lost.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response, Url, redirect};
use secrecy::{ExposeSecret, SecretString};

use super::answer::{Reply, TransportError};
use super::settings::{Settings, SettingsError};

/// The version of the API this program was written against.
const STRIPE_VERSION: &str = "2026-07-29.dahlia";
/// A page of 100 intents is about 300 KB.
const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Sends requests to one gateway.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: Client,
    url: Url,
    key: SecretString,
}

/// One request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// `/v1/..`, of checked parts only.
    pub(super) path: &'a str,
    /// Form fields of a POST, or the query of a GET, always in the same order: a repeat under a key
    /// must be the same bytes.
    pub(super) fields: &'a [(&'a str, &'a str)],
    pub(super) key: Option<&'a str>,
    pub(super) timeout: Duration,
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let mut headers = HeaderMap::new();
        headers.insert("stripe-version", HeaderValue::from_static(STRIPE_VERSION));
        let client = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("amends/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the key elsewhere, and a POST twice.
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .pool_max_idle_per_host(settings.concurrency_max)
            .build()
            .map_err(SettingsError::Client)?;
        Ok(Self { client, url: settings.url.clone(), key: settings.key.clone() })
    }

    pub(super) async fn send(&self, request: Request<'_>) -> Result<Reply, TransportError> {
        let mut url = self.url.clone();
        url.set_path(request.path);
        let is_get = request.method == Method::GET;
        let mut builder = self
            .client
            .request(request.method, url)
            .bearer_auth(self.key.expose_secret())
            .timeout(request.timeout);
        builder = match is_get {
            true => builder.query(request.fields),
            false => builder.form(request.fields),
        };
        if let Some(key) = request.key {
            builder = builder.header("idempotency-key", key);
        }
        let response = builder.send().await.map_err(|error| transport_error(&error))?;
        read(response).await
    }
}

async fn read(mut response: Response) -> Result<Reply, TransportError> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let mut reply = Reply {
        status: response.status().as_u16(),
        retry_after: header("retry-after")
            .and_then(|text| text.trim().parse().ok())
            // Some hours at most: a wrong header must not park a saga for ever.
            .map(|seconds: u32| Duration::from_secs(u64::from(seconds.min(4 * 3600)))),
        should_retry: header("stripe-should-retry").and_then(|text| text.trim().parse().ok()),
        is_replay: header("idempotent-replayed").is_some_and(|text| text.trim() == "true"),
        request_id: header("request-id").map(str::to_owned),
        body: Vec::new(),
    };
    while let Some(chunk) = response.chunk().await.map_err(|error| transport_error(&error))? {
        if reply.body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(TransportError::Lost(format!("answer above {ANSWER_BYTES_MAX} bytes")));
        }
        reply.body.extend_from_slice(&chunk);
    }
    Ok(reply)
}

/// Only what failed while connecting (refused, no such host, TLS, connect timeout) or while the
/// request was built was certainly not sent.
fn transport_error(error: &reqwest::Error) -> TransportError {
    use std::error::Error;
    let mut message = String::new();
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = if message.is_empty() { text } else { format!("{message}: {text}") };
        }
        cause = error.source();
    }
    match error.is_connect() || error.is_builder() {
        true => TransportError::NotSent(message),
        false => TransportError::Lost(message),
    }
}
