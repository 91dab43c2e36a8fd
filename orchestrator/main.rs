//! The program `amends`: joins the engine and its doors with this shop's workflows. No SQL, no
//! business rules.

mod catalog;
mod databases;
mod demo;
mod doctor;
mod log;
mod migrate;
mod payment_settings;
mod platform;
mod receive;
mod serve;
mod signals;
mod storefront;
mod text_file;
mod usage;
mod verify;

use std::process::ExitCode;

use access::KeysCommand;
use clap::{Parser, Subcommand};
use databases::{DataDir, Databases};
use gateway::cli::Global;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Under which heading the options of all commands stand.
const GLOBAL: &str = "Options of every command";

/// A durable saga orchestrator on PostgreSQL, and the order platform that runs on it.
#[derive(Parser)]
#[command(name = "amends", version, arg_required_else_help = true)]
struct Program {
    /// How log lines look: text or json. RUST_LOG says which there are
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT",
          help_heading = GLOBAL, hide_possible_values = true)]
    log_format: log::Format,
    #[command(flatten, next_help_heading = GLOBAL)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Serve(serve::Arguments),
    Migrate(migrate::Arguments),
    Receive(receive::Arguments),
    Doctor(doctor::Arguments),
    Verify(verify::Arguments),
    SimulateGateway(payment_simulator::Arguments),
    /// Make, list and revoke API keys, in the database itself
    Keys {
        #[command(flatten)]
        data_dir: DataDir,
        #[command(subcommand)]
        command: KeysCommand,
    },
    #[command(flatten)]
    Operate(gateway::cli::Command),
}

fn main() -> ExitCode {
    let program = Program::parse();
    match start(program) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            usage::exit_code(&error).into()
        }
    }
}

fn start(program: Program) -> anyhow::Result<ExitCode> {
    log::start(program.log_format, program.command.log_default())?;
    // The only cryptography there is; it was not installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(program.command, program.global))
}

async fn run(command: Command, global: Global) -> anyhow::Result<ExitCode> {
    match command {
        Command::Migrate(arguments) => migrate::run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Receive(arguments) => receive::run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Doctor(arguments) => doctor::run(arguments, global.output).await,
        Command::Verify(arguments) => verify::run(arguments, global.output).await,
        Command::Demo(arguments) => demo::run(arguments, global.output).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::SimulateGateway(arguments) => {
            arguments.run().await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Keys { data_dir, command } => {
            let databases = Databases::open_existing(&data_dir.path()?).await?;
            if databases.are_private() {
                databases.migrate(migrate::SHARDS).await?;
            }
            databases.check_migrations().await?;
            let code = command.run(&databases.urls.amends).await;
            databases.close().await?;
            Ok(code)
        }
        Command::Operate(command) => Ok(command.run(global).await),
    }
}

impl Command {
    /// What is logged unless `RUST_LOG` says something else.
    fn log_default(&self) -> &'static str {
        match self {
            // These two tell of every detail.
            Self::Serve(_) | Self::SimulateGateway(_) => "info,sqlx=warn,tokio_cron_scheduler=warn",
            // Where a person looks at progress and results.
            _ => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
    }
}
