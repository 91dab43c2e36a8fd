//! A customer of the shop, over HTTP.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::until;

/// A client; connections are its own and end with it.
pub(crate) fn http() -> Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    Client::builder().timeout(Duration::from_secs(45)).build().unwrap()
}

/// A customer whom a shop's back end speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) http: Client,
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) name: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Customer {
    /// A request of this customer.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        request.bearer_auth(&self.key).header("amends-customer", &self.name)
    }

    /// Asks for a checkout; does not wait for what becomes of it.
    pub(crate) async fn buy(&self, key: &str, items: &[(&str, u32)], card: &str) -> Answer {
        self.try_buy(key, &cart(items, card)).await.expect("the node answers")
    }

    /// The same; none, if nobody answers.
    pub(crate) async fn try_buy(&self, key: &str, cart: &Value) -> Option<Answer> {
        let request = self.request(Method::POST, "/v1/checkouts").header("idempotency-key", key);
        Answer::of(request.json(cart)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await.expect("the node answers")
    }

    pub(crate) async fn cancel(&self, id: &str) -> Answer {
        let path = format!("/v1/checkouts/{id}/cancel");
        Answer::of(self.request(Method::POST, &path)).await.expect("the node answers")
    }

    /// Waits until a checkout has a status of these.
    pub(crate) async fn sees(&self, id: &str, statuses: &[&str]) -> Value {
        until(&format!("checkout {id} is {statuses:?}"), async || {
            let request = self.request(Method::GET, &format!("/v1/checkouts/{id}"));
            let answer = Answer::of(request).await?;
            let status = answer.body["status"].as_str().unwrap_or_default();
            statuses.contains(&status).then_some(answer.body)
        })
        .await
    }

    /// Waits until a checkout is over, whatever became of it.
    pub(crate) async fn end(&self, id: &str) -> Value {
        self.sees(id, &["completed", "declined", "failed", "cancelled"]).await
    }
}

impl Answer {
    /// None, if nobody answers.
    pub(crate) async fn of(request: RequestBuilder) -> Option<Self> {
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.ok()?;
        Some(Self { status, headers, body: serde_json::from_str(&text).unwrap_or_default() })
    }

    /// The id of the checkout that was accepted.
    #[track_caller]
    pub(crate) fn id(&self) -> String {
        assert!(matches!(self.status, 200 | 202), "not accepted: {self:?}");
        self.text("/id")
    }

    /// The text at a place of the body.
    #[track_caller]
    pub(crate) fn text(&self, pointer: &str) -> String {
        let text = self.body.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("no text at {pointer}: {self:?}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The body of a checkout.
pub(crate) fn cart(items: &[(&str, u32)], card: &str) -> Value {
    let item = |(sku, quantity): &(&str, u32)| json!({"sku": sku, "quantity": quantity});
    let items: Vec<_> = items.iter().map(item).collect();
    json!({"items": items, "payment_method": card, "currency": "USD"})
}
