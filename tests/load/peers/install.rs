//! Gets the peers from the package registries, once, into the build's folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::{System, sources};

/// What npm knows of a package.
#[derive(Deserialize)]
struct Package {
    version: String,
}

/// The peers' programs, with what they need.
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Beside this program.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let folder = program.ancestors().nth(2).context("this program is in no build folder")?;
        Ok(Self { folder: folder.join("peers") })
    }

    /// Gets what `system` needs, if it is not there yet.
    pub(crate) async fn install(&self, system: System) -> anyhow::Result<()> {
        match system {
            System::Amends => Ok(()),
            System::OpenWorkflow | System::DbosTypescript => self.node().await,
            System::DbosPython => self.python().await,
            // Its schema is made by a program in Python.
            System::Absurd => {
                self.node().await?;
                self.python().await
            }
            // Its server is a package for Node.
            System::Restate => {
                self.node().await?;
                self.rust().await
            }
            System::DbosRust | System::Durare => self.rust().await,
        }
    }

    /// What must be in the database before its program starts.
    pub(crate) async fn prepare(&self, system: System, sagas_url: &str) -> anyhow::Result<()> {
        match system {
            System::Absurd => {
                let mut init = Command::new(self.folder.join("python/venv/bin/absurdctl"));
                run(init.args(["init", "-d", sagas_url]).stdout(Stdio::null())).await
            }
            _ => Ok(()),
        }
    }

    /// Its program.
    pub(crate) fn command(&self, system: System) -> anyhow::Result<Command> {
        let node = |program: &str| {
            let mut command = Command::new("node");
            // What DBOS does with its driver will be deprecated some day: nothing about the measurement.
            command.arg("--no-deprecation").arg(self.folder.join("node").join(program));
            command
        };
        let rust = |program: &str| Command::new(self.folder.join("rust/release").join(program));
        Ok(match system {
            System::Amends => bail!("Amends is this program"),
            System::DbosRust => rust("dbos"),
            System::Durare => rust("durare"),
            System::OpenWorkflow => node("openworkflow.mjs"),
            System::Absurd => node("absurd.mjs"),
            System::DbosTypescript => node("dbos.mjs"),
            System::DbosPython => {
                let mut command = Command::new(self.folder.join("python/venv/bin/python"));
                command.arg(self.folder.join("python/dbos_peer.py"));
                command
            }
            System::Restate => {
                let mut command = rust("restate");
                command
                    .env("RESTATE_SERVER", self.restate_server()?)
                    .env("RESTATE_VERSION", self.restate_version()?);
                command
            }
        })
    }

    async fn node(&self) -> anyhow::Result<()> {
        let folder = self.folder.join("node");
        once(&sources().join("node"), &folder, async || {
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]);
            run(npm.arg("--loglevel=error").stdout(Stdio::null()).current_dir(&folder)).await
        })
        .await
    }

    async fn python(&self) -> anyhow::Result<()> {
        let folder = self.folder.join("python");
        once(&sources().join("python"), &folder, async || {
            run(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(&folder)).await?;
            let mut pip = Command::new(folder.join("venv/bin/pip"));
            run(pip.args(["install", "-q", "-r", "requirements.txt"]).current_dir(&folder)).await
        })
        .await
    }

    async fn rust(&self) -> anyhow::Result<()> {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--locked", "--quiet", "--target-dir"]);
        run(cargo.arg(self.folder.join("rust")).current_dir(sources().join("rust"))).await
    }

    /// The package has one for each kind of machine, and installs the one that fits.
    fn restate_server(&self) -> anyhow::Result<PathBuf> {
        let packages = self.folder.join("node/node_modules/@restatedev");
        let found = std::fs::read_dir(&packages)?.flatten().find_map(|package| {
            let program = package.path().join("bin/restate-server");
            program.exists().then_some(program)
        });
        found.with_context(|| format!("no restate-server in {}", packages.display()))
    }

    fn restate_version(&self) -> anyhow::Result<String> {
        let package = "node/node_modules/@restatedev/restate-server/package.json";
        let about: Package = serde_json::from_slice(&std::fs::read(self.folder.join(package))?)?;
        Ok(about.version)
    }
}

/// Copies the files of a folder and installs what they need, unless that was done with the same files before.
async fn once(
    from: &Path,
    to: &Path,
    install: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    let done = to.join("installed");
    for file in std::fs::read_dir(from)? {
        let file = file?;
        // What somebody's tools have left there is none of the program.
        if !file.file_type()?.is_file() {
            continue;
        }
        let (text, copy) = (std::fs::read(file.path())?, to.join(file.file_name()));
        if std::fs::read(&copy).ok().as_ref() != Some(&text) {
            // First of all: whatever fails from here on is done again.
            if done.exists() {
                std::fs::remove_file(&done)?;
            }
            std::fs::write(copy, text)?;
        }
    }
    if !done.exists() {
        install().await?;
        std::fs::write(done, "")?;
    }
    Ok(())
}

/// To its end; it ends when this is not waited for any more.
async fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let running = command.kill_on_drop(true).status();
    let status = running.await.with_context(|| format!("can not run {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}
