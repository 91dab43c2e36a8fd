//! Requests to the operator API, and what is said when one fails.

use std::time::Duration;

use reqwest::{Client, Method, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{Exit, Global};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The operators' door of a node.
pub(super) struct Server {
    client: Client,
    url: String,
    key: Option<SecretString>,
}

/// A command that failed: what is said about it, and its exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) message: String,
    /// What to do about it, a line each.
    pub(super) help: Vec<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: Vec::new() }
    }

    pub(super) fn help(mut self, line: impl Into<String>) -> Self {
        self.help.push(line.into());
        self
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(super) fn explain(&self) {
        eprintln!("error: {}", self.message);
        for line in &self.help {
            eprintln!("  {line}");
        }
    }

    /// What a problem (RFC 9457) says to a person.
    fn of_problem(status: u16, problem: &Value) -> Self {
        let text = |name: &str| problem[name].as_str().map(str::to_owned);
        let title = text("title").unwrap_or_else(|| format!("the server answered {status}"));
        let mut failure = Self::new(Exit::of_status(status), title);
        failure.help.extend(text("detail"));
        for error in problem["errors"].as_array().into_iter().flatten() {
            let (at, detail) = (error["pointer"].as_str(), error["detail"].as_str());
            failure.help.push(format!("{} {}", at.unwrap_or_default(), detail.unwrap_or_default()));
        }
        failure.help.extend(text("request_id").map(|id| format!("request {id}")));
        failure
    }
}

impl Server {
    pub(super) fn new(global: &Global) -> Result<Self, Failure> {
        let url = global.server.trim_end_matches('/').to_owned();
        let is_http = url.starts_with("http://") || url.starts_with("https://");
        if !is_http || url.parse::<reqwest::Url>().is_err() {
            return Err(Failure::usage(format!("`{url}` is not the URL of a server"))
                .help("--server (AMENDS_URL) is like http://127.0.0.1:8081"));
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .build()
            .map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
        Ok(Self { client, url, key: global.key.clone() })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.send(Method::GET, path, None, None).await?.1)
    }

    /// The status and the body.
    pub(super) async fn post(
        &self,
        path: &str,
        body: &Value,
        if_rev: Option<u32>,
    ) -> Result<(u16, Value), Failure> {
        self.send(Method::POST, path, Some(body), if_rev).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_rev: Option<u32>,
    ) -> Result<(u16, Value), Failure> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        if let Some(rev) = if_rev {
            request = request.header("if-match", format!("\"{rev}\""));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        match (status.is_success(), answer) {
            (true, Some(answer)) => Ok((status.as_u16(), answer)),
            (true, None) => {
                Err(Failure::new(Exit::Unexpected, "the server did not answer in JSON")
                    .help(format!("is {} the operators' listener of amends?", self.url)))
            }
            (false, answer) => {
                let problem = answer.unwrap_or_default();
                Err(Failure::of_problem(status.as_u16(), &problem))
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut why = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            why = inner.to_string();
            source = inner.source();
        }
        let exit = if error.is_timeout() { Exit::TimedOut } else { Exit::Unreachable };
        Failure::new(exit, format!("{} does not answer: {why}", self.url))
            .help("is `amends serve` running? --server (AMENDS_URL) says where")
    }
}

/// A query's value, so that it can stand in a URL (RFC 3986, 2.1).
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
