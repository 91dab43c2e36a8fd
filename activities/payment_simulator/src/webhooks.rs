//! Webhooks: signed, sent after the effect is synced, tried again when they are not taken.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::real_ms;
use crate::error::Error;
use crate::events::Event;
use crate::fault_plan::FaultKind;
use crate::faults::{Faults, WebhookFault};

/// How long an event that is not taken is sent again (Stripe: three days), and the wait after the first
/// try, which doubles up to the longest.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3_600);
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Posts in flight at once.
const POSTS_MAX: usize = 64;
/// Events on their way, waiting ones too. One more is dropped, as a webhook may be.
const UNDER_WAY_MAX: usize = 20_000;
const POST_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Webhooks {
    client: reqwest::Client,
    secret: String,
    url: RwLock<Option<Url>>,
    posts: Semaphore,
    under_way: AtomicUsize,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Accepts `http://` on loopback only: events would tell a stranger about orders.
pub(crate) fn check_url(text: &str) -> Result<Url, Error> {
    let wrong = |problem: String| Error::WebhookUrl { url: text.to_owned(), problem };
    let url = Url::parse(text).map_err(|error| wrong(format!("is not a URL: {error}")))?;
    if url.scheme() != "http" {
        return Err(wrong("does not start with http://".to_owned()));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !loopback && host != "localhost" {
        return Err(wrong(format!("points at {host}, which is not loopback")));
    }
    Ok(url)
}

impl Webhooks {
    pub(crate) fn new(
        url: Option<Url>,
        secret: String,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Result<Webhooks, Error> {
        Ok(Webhooks {
            client: client()?,
            secret,
            url: RwLock::new(url),
            posts: Semaphore::new(POSTS_MAX),
            under_way: AtomicUsize::new(0),
            stop,
            tasks,
        })
    }

    pub(crate) fn set_url(&self, url: Option<Url>) {
        *self.url.write().unwrap_or_else(PoisonError::into_inner) = url;
    }

    /// Sends events as the faults say. Returns once the early ones were posted, at once otherwise.
    pub(crate) async fn send(
        self: &Arc<Self>,
        events: Vec<Event>,
        fault: WebhookFault,
        faults: &Faults,
    ) {
        let Some(url) = self.url.read().unwrap_or_else(PoisonError::into_inner).clone() else {
            return;
        };
        if events.is_empty() {
            return;
        }
        if fault.drop {
            return faults.count(FaultKind::DropWebhook);
        }
        for event in events {
            if fault.duplicate {
                faults.count(FaultKind::DuplicateWebhook);
                self.start(&url, event.body.clone(), 0);
            }
            if fault.early {
                faults.count(FaultKind::EarlyWebhook);
                if self.post(&url, &event.body).await {
                    continue;
                }
            }
            if fault.delay_ms.is_some() {
                faults.count(FaultKind::DelayWebhook);
            }
            self.start(&url, event.body, fault.delay_ms.unwrap_or(0));
        }
    }

    fn start(self: &Arc<Self>, url: &Url, body: Bytes, delay_ms: u64) {
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= UNDER_WAY_MAX {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!("webhook dropped: {UNDER_WAY_MAX} are under way already");
            return;
        }
        let (webhooks, url) = (Arc::clone(self), url.clone());
        self.tasks.spawn(async move {
            let delivery = webhooks.deliver(&url, &body, Duration::from_millis(delay_ms));
            webhooks.stop.run_until_cancelled(delivery).await;
            webhooks.under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }

    async fn deliver(&self, url: &Url, body: &Bytes, delay: Duration) {
        tokio::time::sleep(delay).await;
        let (began, mut wait) = (Instant::now(), FIRST_WAIT);
        while !self.post(url, body).await {
            if began.elapsed() > GIVEN_UP_AFTER {
                tracing::warn!(%url, after = ?GIVEN_UP_AFTER, "webhook given up");
                return;
            }
            tokio::time::sleep(wait).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// True if the receiver took it: any 2xx.
    async fn post(&self, url: &Url, body: &Bytes) -> bool {
        let Ok(_permit) = self.posts.acquire().await else { return false };
        let request = self
            .client
            .post(url.clone())
            .header("content-type", "application/json; charset=utf-8")
            .header("stripe-signature", self.signature(body))
            .body(body.clone());
        match request.send().await {
            Ok(response) => response.status().is_success(),
            Err(error) => {
                tracing::debug!(%error, "webhook not delivered");
                false
            }
        }
    }

    /// `t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`
    fn signature(&self, body: &[u8]) -> String {
        let at = real_ms() / 1_000;
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) else {
            return String::new();
        };
        mac.update(format!("{at}.").as_bytes());
        mac.update(body);
        format!("t={at},v1={}", hex::encode(mac.finalize().into_bytes()))
    }
}

/// A client for loopback. reqwest wants a TLS configuration even so: this one trusts nobody, and is
/// given, not installed for the whole process.
fn client() -> Result<reqwest::Client, Error> {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(|error| Error::WebhookClient(error.to_string()))?
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(POST_TIMEOUT)
        .build()
        .map_err(|error| Error::WebhookClient(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_to_loopback_only() {
        for url in ["http://127.0.0.1:1/v1/payment-events", "http://[::1]:1/", "http://localhost/"]
        {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in ["https://127.0.0.1/", "http://10.0.0.1/", "http://example.com/", "here", ""] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}
