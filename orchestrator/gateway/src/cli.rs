//! The command line of operators. It speaks to the operator API and can do nothing that scripts can
//! not. Data goes to stdout, everything else to stderr.

mod act;
mod confirm;
mod exit;
mod filter;
mod http;
mod ids;
mod output;
mod show;
mod words;

pub use exit::Exit;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use secrecy::SecretString;

use act::{ActArgs, ResolveArgs};
use filter::ListArgs;
use http::{Failure, Server};

/// Where to, as whom, and how to print.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The operators' listener of a node
    #[arg(long, env = "AMENDS_URL", default_value = "http://127.0.0.1:8081", global = true)]
    pub server: String,
    /// The API key: of the role ops to look, operator or admin to act
    #[arg(long, env = "AMENDS_KEY", hide_env_values = true, global = true)]
    pub key: Option<SecretString>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub output: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON value
    Json,
    /// One JSON value a line
    Ndjson,
    /// Ids only, one a line
    Ids,
}

/// What an operator can ask for.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List sagas, the newest first
    List(ListArgs),
    /// Everything about one saga: why it is where it is, effects, steps, failures
    Get {
        /// The saga
        id: String,
    },
    /// Why a saga is where it is, in one sentence; exits with 0 completed, 20 undone, 21 cancelled,
    /// 22 needs a person, 23 open
    Why {
        /// The saga
        id: String,
    },
    /// The whole journal of a saga
    History {
        /// The saga
        id: String,
    },
    /// Try now what waits for its next attempt or is held
    Retry(ActArgs),
    /// Undo everything, if the point of no return has not passed
    Cancel(ActArgs),
    /// Start nothing new
    Pause(ActArgs),
    /// Let a paused saga go on
    Resume(ActArgs),
    /// Say what became of a step that nobody can find out about
    Resolve(ResolveArgs),
    /// The nodes, alive or not
    Nodes,
}

impl Command {
    /// Does it; the exit code says how it went.
    pub async fn run(self, global: Global) -> ExitCode {
        let result = match Server::new(&global) {
            Ok(server) => self.on(&server, global.output).await,
            Err(failure) => Err(failure),
        };
        let exit = result.unwrap_or_else(|failure| {
            failure.explain();
            failure.exit
        });
        exit.into()
    }

    async fn on(self, server: &Server, format: Format) -> Result<Exit, Failure> {
        match self {
            Self::List(list) => show::list(server, &list, format).await,
            Self::Get { id } => show::get(server, &id, format).await,
            Self::Why { id } => show::why(server, &id, format).await,
            Self::History { id } => show::history(server, &id, format).await,
            Self::Nodes => show::nodes(server, format).await,
            Self::Retry(act) => act::act(server, "retry", &act, format).await,
            Self::Cancel(act) => act::act(server, "cancel", &act, format).await,
            Self::Pause(act) => act::act(server, "pause", &act, format).await,
            Self::Resume(act) => act::act(server, "resume", &act, format).await,
            Self::Resolve(resolve) => act::resolve(server, &resolve, format).await,
        }
    }
}

#[cfg(test)]
mod tests;
