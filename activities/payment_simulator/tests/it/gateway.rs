//! A simulator of one's own, and a client for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use payment_simulator::{FaultPlan, Options, Simulator};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const KEY: &str = "sk_test_its_own";
pub(crate) const SECRET: &str = "whsec_its_own";

pub(crate) struct Gateway {
    pub(crate) simulator: Simulator,
    pub(crate) client: Client,
    pub(crate) folder: TempDir,
}

/// An answer, read whole.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Value,
}

pub(crate) fn plan(json: &str) -> FaultPlan {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn options(folder: &TempDir, faults: FaultPlan) -> Options {
    Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        api_key: KEY.to_owned(),
        ledger: folder.path().join("ledger.jsonl"),
        webhook_url: None,
        webhook_secret: SECRET.to_owned(),
        faults,
        seed: 1,
    }
}

pub(crate) fn client() -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}

impl Gateway {
    pub(crate) async fn start() -> Gateway {
        Gateway::with(FaultPlan::none()).await
    }

    pub(crate) async fn with(faults: FaultPlan) -> Gateway {
        let folder = TempDir::new().unwrap();
        let simulator = Simulator::start(options(&folder, faults)).await.unwrap();
        Gateway { simulator, client: client(), folder }
    }

    pub(crate) async fn restart(self) -> Gateway {
        let Gateway { simulator, folder, .. } = self;
        simulator.stop().await;
        let simulator = Simulator::start(options(&folder, FaultPlan::none())).await.unwrap();
        Gateway { simulator, client: client(), folder }
    }

    pub(crate) fn request(&self, path: &str, key: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let request = self.client.post(self.simulator.url() + path).bearer_auth(KEY).form(form);
        if key.is_empty() { request } else { request.header("Idempotency-Key", key) }
    }

    pub(crate) async fn post(&self, path: &str, key: &str, form: &[(&str, &str)]) -> Answer {
        read(self.request(path, key, form).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.client.get(self.simulator.url() + path).bearer_auth(KEY);
        read(request.send().await.unwrap()).await
    }

    /// Puts another fault plan in force.
    pub(crate) async fn faults(&self, plan: &str) {
        self.control("/_sim/faults", plan).await;
    }

    pub(crate) async fn control(&self, path: &str, body: &str) -> Value {
        let request = self.client.post(self.simulator.url() + path).body(body.to_owned());
        let answer = read(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Creates an intent of $5.00 and returns its id.
    pub(crate) async fn create(&self, order: &str) -> String {
        self.create_with(order, "automatic").await
    }

    pub(crate) async fn create_with(&self, order: &str, capture_method: &str) -> String {
        let form = [
            ("amount", "500"),
            ("currency", "usd"),
            ("capture_method", capture_method),
            ("payment_method_types[]", "card"),
            ("metadata[order_id]", order),
        ];
        let answer = self.post("/v1/payment_intents", &format!("o/{order}/create"), &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn confirm(&self, id: &str, key: &str, card: &str) -> Answer {
        self.post(&confirm_path(id), key, &[("payment_method", card)]).await
    }

    pub(crate) async fn intent(&self, id: &str) -> Value {
        self.get(&format!("/v1/payment_intents/{id}")).await.body
    }

    pub(crate) async fn until_status(&self, id: &str, status: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let intent = self.intent(id).await;
            if intent["status"] == status {
                return intent;
            }
            assert!(Instant::now() < deadline, "never {status}: {intent}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The ledger file's lines; the one being written is not one yet.
    pub(crate) fn ledger(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("ledger.jsonl")).unwrap();
        let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        complete.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Lines of one event about one intent.
    pub(crate) fn ledger_lines(&self, event: &str, intent: &str) -> Vec<Value> {
        let mut lines = self.ledger();
        lines.retain(|line| line["event"] == event && line["intent"] == intent);
        lines
    }

    pub(crate) async fn injected(&self, kind: &str) -> u64 {
        self.get("/_sim/faults").await.body["injected"][kind].as_u64().unwrap()
    }
}

pub(crate) fn confirm_path(id: &str) -> String {
    format!("/v1/payment_intents/{id}/confirm")
}

pub(crate) async fn read(response: Response) -> Answer {
    let header =
        |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (replayed, retry_after) = (header("idempotent-replayed").is_some(), header("retry-after"));
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, replayed, retry_after, body }
}
