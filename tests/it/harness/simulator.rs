//! The payment gateway's simulator as a process, and its ledger: the witness of what the money did.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Program, free_port, http, until};

/// A simulator.
#[derive(Debug)]
pub(crate) struct Simulator {
    pub(crate) url: String,
    pub(crate) ledger: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    program: Option<Program>,
}

impl Simulator {
    /// Starts one that does what `faults` say and tells `webhooks` of it.
    pub(crate) async fn start(directory: &Path, faults: &Value, webhooks: Option<&str>) -> Self {
        let (ledger, plan) = (directory.join("gateway.jsonl"), directory.join("faults.json"));
        std::fs::write(&plan, faults.to_string()).unwrap();
        let port = free_port();
        let mut arguments: Vec<String> = vec!["simulate-gateway".into()];
        let mut option = |name: &str, value: &str| {
            arguments.extend([name.to_owned(), value.to_owned()]);
        };
        option("--port", &port.to_string());
        option("--ledger", ledger.to_str().unwrap());
        option("--faults", plan.to_str().unwrap());
        option("--seed", "7");
        if let Some(url) = webhooks {
            option("--webhook-url", url);
        }
        let (url, log) = (format!("http://127.0.0.1:{port}"), directory.join("gateway.log"));
        let mut simulator = Self { url, ledger, arguments, log, program: None };
        simulator.open().await;
        simulator
    }

    /// Starts it again, with what it remembers.
    pub(crate) async fn open(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let mut program = Program::spawn(&arguments, &[], &self.log);
        until("the gateway answers", async || {
            assert_eq!(program.ended(), None, "{}", program.log());
            http().get(format!("{}/_sim/ledger", self.url)).send().await.ok()
        })
        .await;
        self.program = Some(program);
    }

    /// It is gone: connections are refused.
    pub(crate) fn shut(&mut self) {
        self.program = None;
    }

    /// The lines of its ledger that are of this event.
    pub(crate) fn lines(&self, event: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.ledger).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == event).collect()
    }

    /// Other faults from now on.
    pub(crate) async fn set_faults(&self, faults: &Value) {
        let url = format!("{}/_sim/faults", self.url);
        let answer = http().post(url).json(faults).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// How often a kind of fault was injected.
    pub(crate) async fn injected(&self, kind: &str) -> u64 {
        let url = format!("{}/_sim/faults", self.url);
        let answer: Value = http().get(url).send().await.unwrap().json().await.unwrap();
        answer["injected"][kind].as_u64().unwrap_or_default()
    }

    /// The customer answers the bank's question at `url`.
    pub(crate) async fn authenticate(&self, url: &str, outcome: &str) {
        let query = [("outcome", outcome)];
        let answer = http().post(url).query(&query).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}
