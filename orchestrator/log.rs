//! What the program says of itself, on stderr.

use std::io::IsTerminal;

use anyhow::anyhow;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::usage::Usage;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Starts to log what `RUST_LOG` asks for, or `default`.
pub(crate) fn start(format: Format, default: &str) -> anyhow::Result<()> {
    let asked = std::env::var("RUST_LOG").ok().filter(|text| !text.trim().is_empty());
    let text = asked.as_deref().unwrap_or(default);
    let Ok(filter) = EnvFilter::builder().parse(text) else {
        let wrong = "it should be a level, or like info,engine=debug";
        return Err(Usage(anyhow!("RUST_LOG is `{text}`: {wrong}")).into());
    };
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !is_plain);
    match format {
        Format::Text => lines.init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
