//! `amends keys ..`: make, list and revoke keys.

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::{Table, presets};
use gateway::Role;
use gateway::auth::{Gate, Key, Keys, NewKey};
use gateway::cli::Exit;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::keys::{AccessError, AccessKeys};

/// Make, list and revoke API keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key; its token is printed once, on stdout
    Create {
        /// What it may do: shop, customer, operator, admin or ops
        #[arg(long)]
        role: Role,
        /// What people call it; it is in the audit of what it does
        #[arg(long)]
        name: Option<String>,
        /// The customer that a key of the role customer speaks for
        #[arg(long)]
        subject: Option<String>,
    },
    /// List all keys, without their tokens
    List,
    /// Revoke a key
    Revoke {
        /// Its id, as `list` shows it
        id: Uuid,
    },
}

impl KeysCommand {
    /// Does it on the `amends` database at `url`; exit codes as of every command.
    pub async fn run(self, url: &str) -> ExitCode {
        match self.on(url).await {
            Ok(exit) => exit.into(),
            Err(error) => {
                eprintln!("error: {}", with_sources(&error));
                exit_of(&error).into()
            }
        }
    }

    async fn on(self, url: &str) -> Result<Exit, AccessError> {
        let keys = AccessKeys::connect(url)?;
        match self {
            Self::Create { role, name, subject } => {
                let name = name.unwrap_or_else(|| role.name().to_owned());
                let (key, token) = keys.issue(NewKey { name, role, subject }).await?;
                eprintln!("Key {} ({}), shown only now:", key.id, key.role);
                println!("{}", token.expose());
            }
            Self::List => print_keys(&keys.list().await.map_err(unboxed)?),
            Self::Revoke { id } => {
                if !keys.revoke(id).await.map_err(unboxed)? {
                    eprintln!("error: there is no key {id} in use; `amends keys list` shows them");
                    return Ok(Exit::NotFound);
                }
                eprintln!("Revoked {id}; it works for {} s more at most.", Gate::REMEMBERED_S);
            }
        }
        Ok(Exit::Ok)
    }
}

fn exit_of(error: &AccessError) -> Exit {
    match error {
        AccessError::Invalid(_) => Exit::Usage,
        AccessError::TimedOut
        | AccessError::Database(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut) => {
            Exit::Unreachable
        }
        AccessError::Database(_) | AccessError::Role(_) => Exit::Unexpected,
    }
}

fn unboxed(error: gateway::auth::KeysError) -> AccessError {
    let other = |error| AccessError::Database(sqlx::Error::Decode(error));
    error.0.downcast::<AccessError>().map_or_else(other, |error| *error)
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn print_keys(keys: &[Key]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "ROLE", "NAME", "SUBJECT", "CREATED", "REVOKED"]);
    for key in keys {
        let at = |time: time::OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
        table.add_row([
            key.id.to_string(),
            key.role.to_string(),
            key.name.clone(),
            key.subject.clone().unwrap_or_else(|| "-".to_owned()),
            at(key.created_at),
            key.revoked_at.map_or_else(|| "-".to_owned(), at),
        ]);
    }
    println!("{}", table.trim_fmt());
}
