//! `amends doctor`: looks at everything that a node needs, and says what to do about what is wrong.

use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use engine::Operator;
use engine::checkup::{Checkup, Finding, Level};
use gateway::cli::Format;
use serde_json::json;

use crate::databases::{DataDir, Databases};
use crate::payment_settings;
use crate::platform::LANES;

/// Look whether a node could run here, and say what to do about what is wrong
///
/// Asks the three databases and reads the payment gateway's settings as `serve` does, and changes
/// nothing. Exits with 0 when nothing would keep a node from starting, else with 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data_dir: DataDir,
    /// How many connections a node would commit with
    #[arg(long, value_name = "N", default_value_t = LANES,
          value_parser = clap::value_parser!(u8).range(1..=64))]
    lanes: u8,
}

/// Runs it.
pub(crate) async fn run(arguments: Arguments, output: Format) -> anyhow::Result<ExitCode> {
    let databases = Databases::open_existing(&arguments.data_dir.path()?).await?;
    let findings = examine(&databases, arguments.lanes).await;
    databases.close().await?;
    match output {
        Format::Table => println!("{}\n\n{}", table(&findings).trim_fmt(), summary(&findings)),
        Format::Json => println!("{}", json(&findings)),
        Format::Ndjson => findings.iter().for_each(|finding| println!("{}", json!(finding))),
        Format::Ids => wrong(&findings).for_each(|finding| println!("{}", finding.check)),
    }
    Ok(ExitCode::from(u8::from(count(&findings, Level::Refused) > 0)))
}

async fn examine(databases: &Databases, lanes: u8) -> Vec<Finding> {
    let mut checkups = databases.examine(false, lanes).await;
    if databases.are_private() {
        checkups.iter_mut().for_each(Checkup::will_be_migrated);
    }
    let is_usable = checkups.first().is_some_and(|checkup| checkup.refusal.is_none());
    let mut findings: Vec<_> = checkups.into_iter().flat_map(|checkup| checkup.findings).collect();
    // Its tables can be looked at only when they are there.
    if is_usable {
        findings.extend(tables(&databases.urls.amends).await);
    }
    findings.extend(payment_settings::examine());
    findings
}

async fn tables(url: &str) -> Vec<Finding> {
    let looked = match Operator::connect(url).await {
        Ok(operator) => operator.examine().await,
        Err(error) => Err(error),
    };
    looked.unwrap_or_else(|error| {
        let found = format!("could not be looked into: {:#}", anyhow::Error::new(error));
        vec![Finding::refused("amends database", "tables", found, None)]
    })
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

fn wrong(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| finding.level != Level::Ok)
}

/// For people.
fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["", "of", "check", "found", "what to do"]);
    for Finding { of, check, level, found, advice } in findings {
        let sign = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Refused => "REFUSED",
        };
        table.add_row([sign, of, check, found, advice.as_deref().unwrap_or_default()]);
    }
    table
}

fn summary(findings: &[Finding]) -> String {
    let warnings = count(findings, Level::Warning);
    match count(findings, Level::Refused) {
        0 => format!("a node can start here; {warnings} warnings"),
        refused => format!("no node starts here: {refused} refused, {warnings} warnings"),
    }
}

/// For programs.
fn json(findings: &[Finding]) -> serde_json::Value {
    let refused = count(findings, Level::Refused);
    json!({
        "ok": refused == 0,
        "refused": refused,
        "warnings": count(findings, Level::Warning),
        "checks": findings,
    })
}
