//! Restate's server: it keeps the sagas in a log of its own, not in PostgreSQL.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

/// How long it may take to start.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long a question may take to be answered meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long it may take to get to know the handlers.
const REGISTERS_WITHIN: Duration = Duration::from_secs(30);

/// A server on free ports of the loopback. Ends, with all that it kept, when this is dropped.
pub(crate) struct Server {
    pub(crate) admin: String,
    pub(crate) ingress: String,
    child: Child,
    _directory: TempDir,
}

impl Server {
    /// Starts the program that `RESTATE_SERVER` names. With one partition, which is faster here than its
    /// default of 24 and than two.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let program = std::env::var("RESTATE_SERVER").context("RESTATE_SERVER is not set")?;
        let directory = tempfile::tempdir()?;
        let [node, admin, ingress] = free_ports()?;
        let base = directory.path().display();
        let config = format!(
            "base-dir = \"{base}\"\n\
             listen-mode = \"tcp\"\n\
             bind-ip = \"127.0.0.1\"\n\
             bind-port = {node}\n\
             advertised-address = \"http://127.0.0.1:{node}\"\n\
             disable-telemetry = true\n\
             log-filter = \"warn\"\n\
             default-num-partitions = 1\n\
             [admin]\nbind-address = \"127.0.0.1:{admin}\"\n\
             [ingress]\nbind-address = \"127.0.0.1:{ingress}\"\n"
        );
        let file = directory.path().join("restate.toml");
        std::fs::write(&file, config)?;
        let mut command = Command::new(&program);
        command.arg("--no-logo").env("RESTATE_CONFIG", &file);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("can not start {program}"))?;
        let url = |port| format!("http://127.0.0.1:{port}");
        let mut server =
            Self { admin: url(admin), ingress: url(ingress), child, _directory: directory };
        server.answers().await?;
        Ok(server)
    }

    async fn answers(&mut self) -> anyhow::Result<()> {
        let (end, http) = (Instant::now() + STARTS_WITHIN, rust_peers::http()?);
        let admin = format!("{}/health", self.admin);
        let ingress = format!("{}/restate/health", self.ingress);
        for health in [admin, ingress] {
            let asked = || http.get(&health).timeout(ANSWERS_WITHIN).send();
            while !asked().await.is_ok_and(|answer| answer.status().is_success()) {
                if let Some(status) = self.child.try_wait()? {
                    bail!("it ended with {status}");
                }
                ensure!(Instant::now() < end, "{health} does not answer");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Tells it where the handlers are.
    pub(crate) async fn register(&self, handlers: &str) -> anyhow::Result<()> {
        let deployment = serde_json::json!({"uri": handlers, "force": true});
        let url = format!("{}/deployments", self.admin);
        let post = rust_peers::http()?.post(url).timeout(REGISTERS_WITHIN).json(&deployment);
        let answer = post.send().await.context("it does not get to know the handlers")?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What it kept is of no use any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
