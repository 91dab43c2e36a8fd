//! Actions on sagas, one after the other.

use std::path::PathBuf;

use clap::Args;
use engine::SagaId;
use serde_json::{Value, json};

use super::confirm::confirm;
use super::http::{Failure, Server};
use super::{Exit, Format, ids, output};

/// On which sagas, and why.
#[derive(Clone, Debug, Args)]
pub struct ActArgs {
    /// The sagas, or `-` to read ids from stdin
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    why: WhyArgs,
}

/// What became of a step.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("verdict").required(true))]
pub struct ResolveArgs {
    /// The saga
    id: String,
    /// The step: its number, or its activity
    step: String,
    /// It happened, with the output in this JSON file
    #[arg(long, value_name = "OUTPUT.json", group = "verdict")]
    happened: Option<PathBuf>,
    /// It did not happen: it is tried again without asking
    #[arg(long, group = "verdict")]
    did_not_happen: bool,
    /// Its undo is done
    #[arg(long, group = "verdict")]
    compensated: bool,
    #[command(flatten)]
    why: WhyArgs,
}

#[derive(Clone, Debug, Args)]
struct WhyArgs {
    /// Why; it is kept in the audit
    #[arg(long)]
    reason: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Only if the saga is still at this rev
    #[arg(long, value_name = "REV")]
    if_rev: Option<u32>,
}

impl WhyArgs {
    fn reason(&self) -> Result<&str, Failure> {
        match self.reason.trim() {
            "" => {
                Err(Failure::usage("a reason is required").help("--reason \"the gateway is back\""))
            }
            reason => Ok(reason),
        }
    }
}

pub(super) async fn act(
    server: &Server,
    verb: &str,
    args: &ActArgs,
    format: Format,
) -> Result<Exit, Failure> {
    let reason = args.why.reason()?;
    let ids = ids::many(&args.ids)?;
    if args.why.if_rev.is_some() && ids.len() > 1 {
        return Err(Failure::usage("--if-rev is for one saga"));
    }
    let what = match &ids[..] {
        [id] => format!("{verb} saga {id}?"),
        ids => format!("{verb} {} sagas?", ids.len()),
    };
    confirm(&what, args.why.yes)?;
    let body = json!({"reason": reason});
    let mut exits = Vec::with_capacity(ids.len());
    for id in &ids {
        let sent = send(server, verb, *id, &body, args.why.if_rev, format).await;
        exits.push(match sent {
            Ok(exit) => exit,
            Err(failure) if ids.len() == 1 => return Err(failure),
            Err(failure) => {
                eprint!("{id}: ");
                failure.explain();
                if failure.exit == Exit::Unreachable || failure.exit == Exit::NotAllowed {
                    return Ok(failure.exit);
                }
                failure.exit
            }
        });
    }
    Ok(overall(&exits))
}

fn overall(exits: &[Exit]) -> Exit {
    match exits {
        [exit] => *exit,
        exits if exits.iter().all(|exit| *exit == Exit::Ok) => Exit::Ok,
        _ => Exit::SomeFailed,
    }
}

pub(super) async fn resolve(
    server: &Server,
    args: &ResolveArgs,
    format: Format,
) -> Result<Exit, Failure> {
    let reason = args.why.reason()?;
    let id = ids::one(&args.id)?;
    let (verdict, words) = match &args.happened {
        Some(path) => (json!({"happened": read_output(path)?}), "happened"),
        None if args.did_not_happen => (json!("did_not_happen"), "did not happen"),
        None => (json!("compensated"), "is undone"),
    };
    let step = match args.step.parse::<u32>() {
        Ok(number) => json!(number),
        Err(_) => json!(args.step),
    };
    let question = format!("resolve saga {id}: say that step {} {words}?", args.step);
    confirm(&question, args.why.yes)?;
    let body = json!({"reason": reason, "step": step, "verdict": verdict});
    send(server, "resolve", id, &body, args.why.if_rev, format).await
}

fn read_output(path: &PathBuf) -> Result<Value, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("{} can not be used: {why}", path.display()))
            .help("it must hold the step's output as JSON, as `amends history` shows it for others")
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))
}

async fn send(
    server: &Server,
    verb: &str,
    id: SagaId,
    body: &Value,
    if_rev: Option<u32>,
    format: Format,
) -> Result<Exit, Failure> {
    let path = format!("/admin/v1/sagas/{id}/{verb}");
    let (_, answer) = server.post(&path, body, if_rev).await?;
    let audit = answer["audit_id"].as_str().unwrap_or_default();
    match format {
        Format::Json => output::json(&answer),
        Format::Ndjson => output::line(&answer.to_string()),
        Format::Ids => output::line(&id.to_string()),
        Format::Table => {
            output::line(&format!("{id}: {}", output::sentence(&answer["saga"])));
        }
    }
    match answer["told"].as_str() {
        Some("pending") => {
            eprintln!("{verb}: sent, but not taken yet; it is in the saga's inbox (audit {audit})");
            Ok(Exit::TimedOut)
        }
        _ => {
            eprintln!("{verb}: taken (audit {audit})");
            Ok(Exit::Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_among_many_is_said() {
        assert_eq!(overall(&[Exit::Ok, Exit::Ok]), Exit::Ok);
        assert_eq!(overall(&[Exit::Ok, Exit::MovedOn]), Exit::SomeFailed);
        assert_eq!(overall(&[Exit::MovedOn]), Exit::MovedOn);
    }
}
