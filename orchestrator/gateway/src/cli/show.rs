//! Looking: lists, one saga, its journal, the nodes.

use comfy_table::Color;
use serde_json::Value;
use time::OffsetDateTime;

use super::filter::ListArgs;
use super::http::{Failure, Server};
use super::output::{self, Style, text};
use super::{Exit, Format, ids, words};

pub(super) async fn list(
    server: &Server,
    args: &ListArgs,
    format: Format,
) -> Result<Exit, Failure> {
    let page = server.get(&args.path()?).await?;
    let sagas = page["sagas"].as_array().map(Vec::as_slice).unwrap_or_default();
    match format {
        Format::Json => output::json(&page),
        Format::Ndjson => sagas.iter().for_each(|saga| output::line(&saga.to_string())),
        Format::Ids => sagas.iter().for_each(|saga| output::line(text(&saga["id"]))),
        Format::Table if sagas.is_empty() => eprintln!("no saga fits"),
        Format::Table => print_list(sagas),
    }
    if let Some(next) = page["next"].as_str() {
        eprintln!("more: the same with --before {next}");
    }
    Ok(Exit::Ok)
}

fn print_list(sagas: &[Value]) {
    let (style, now) = (Style::detect(), engine::now());
    let mut table = output::table(&["", "SAGA", "WORKFLOW", "WHY", "ATT", "NEXT", "AGE"]);
    for saga in sagas {
        let (sign, color) = output::sign(saga);
        let attempt = saga["attempt"].as_u64().unwrap_or_default().to_string();
        table.add_row([
            style.cell(sign, color),
            style.cell(text(&saga["id"]), None),
            style.cell(text(&saga["workflow"]), None),
            style.cell(output::sentence(saga), color),
            style.cell(attempt, None),
            style.cell(words::until(saga["next_at"].as_str(), now), None),
            style.cell(words::between(saga["created_at"].as_str(), now), None),
        ]);
    }
    output::print(&table);
}

async fn fetch(server: &Server, id: &str) -> Result<Value, Failure> {
    server.get(&format!("/admin/v1/sagas/{}", ids::one(id)?)).await
}

pub(super) async fn get(server: &Server, id: &str, format: Format) -> Result<Exit, Failure> {
    let saga = fetch(server, id).await?;
    match format {
        Format::Json => output::json(&saga),
        Format::Ndjson => output::line(&saga.to_string()),
        Format::Ids => output::line(text(&saga["id"])),
        Format::Table => print_saga(&saga),
    }
    Ok(Exit::Ok)
}

fn print_saga(saga: &Value) {
    let (style, now) = (Style::detect(), engine::now());
    output::line(&output::sentence(saga));
    output::line("");
    let rev = saga["rev"].as_i64().unwrap_or_default();
    let age = words::between(saga["created_at"].as_str(), now);
    output::line(&format!("saga      {}  rev {rev}, started {age} ago", text(&saga["id"])));
    let facts = [
        ("workflow ", &saga["workflow"]),
        ("order    ", &saga["business_key"]),
        ("customer ", &saga["subject"]),
        ("direction", &saga["direction"]),
        ("phase    ", &saga["phase"]),
        ("ending   ", &saga["ending"]),
        ("attention", &saga["attention"]),
        ("because  ", &saga["because"]["reason"]),
    ];
    for (name, value) in facts {
        if let Some(value) = value.as_str() {
            output::line(&format!("{name} {value}"));
        }
    }
    let effects = saga["effects"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !effects.is_empty() {
        output::line("\nEFFECTS");
        let mut table = output::table(&["STATE", "STEP", "WHAT"]);
        for effect in effects {
            let color = match effect["state"].as_str() {
                Some("unknown") => Some(Color::Red),
                Some("in_force") => Some(Color::Green),
                _ => None,
            };
            table.add_row([
                style.cell(text(&effect["state"]), color),
                style.cell(text(&effect["activity"]), None),
                style.cell(text(&effect["description"]), None),
            ]);
        }
        output::print(&table);
    }
    print_steps(saga, style, now);
}

fn print_steps(saga: &Value, style: Style, now: OffsetDateTime) {
    let steps = saga["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    if steps.is_empty() {
        return;
    }
    output::line("\nSTEPS");
    let mut table = output::table(&["#", "STEP", "STATE", "ATTEMPTS", "BEGUN"]);
    for step in steps {
        let number = step["number"].as_u64().unwrap_or_default();
        let attempts = step["attempts"].as_u64().unwrap_or_default();
        table.add_row([
            style.cell(number, None),
            style.cell(text(&step["name"]), None),
            style.cell(text(&step["state"]), None),
            style.cell(attempts, None),
            style.cell(words::between(step["intended_at"].as_str(), now) + " ago", None),
        ]);
    }
    output::print(&table);
    let mut failures = output::table(&["STEP", "ATTEMPT", "WHEN", "ERROR", "WHAT"]);
    for step in steps {
        for failure in step["failures"].as_array().into_iter().flatten() {
            let undo = if failure["direction"] == "backward" { "undo " } else { "" };
            let problem = &failure["problem"];
            failures.add_row([
                style.cell(format!("{undo}{}", text(&step["name"])), None),
                style.cell(failure["attempt"].as_u64().unwrap_or_default(), None),
                style.cell(words::between(failure["at"].as_str(), now) + " ago", None),
                style.cell(text(&problem["fingerprint"]), None),
                style.cell(text(&problem["message"]), None),
            ]);
        }
    }
    if failures.row_count() > 0 {
        output::line("\nFAILURES");
        output::print(&failures);
    }
}

pub(super) async fn why(server: &Server, id: &str, format: Format) -> Result<Exit, Failure> {
    let saga = fetch(server, id).await?;
    match format {
        Format::Json => output::json(&saga["why"]),
        Format::Ndjson => output::line(&saga["why"].to_string()),
        Format::Ids => output::line(text(&saga["id"])),
        Format::Table => output::line(&output::sentence(&saga)),
    }
    Ok(exit_of(&saga))
}

pub(super) fn exit_of(saga: &Value) -> Exit {
    match saga["ending"].as_str() {
        Some("completed") => Exit::Ok,
        Some("cancelled") => Exit::Cancelled,
        Some(_) => Exit::Undone,
        None if saga["attention"].is_string() => Exit::NeedsAPerson,
        None => Exit::Open,
    }
}

pub(super) async fn history(server: &Server, id: &str, format: Format) -> Result<Exit, Failure> {
    let path = format!("/admin/v1/sagas/{}/history", ids::one(id)?);
    let history = server.get(&path).await?;
    let entries = history["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    match format {
        Format::Json => output::json(&history),
        Format::Ndjson => entries.iter().for_each(|entry| output::line(&entry.to_string())),
        Format::Ids => output::line(text(&history["id"])),
        Format::Table => {
            let mut table = output::table(&["SEQ", "AT", "FACT", "DETAIL"]);
            for entry in entries {
                for fact in entry["facts"].as_array().into_iter().flatten() {
                    let (name, detail) = fact_words(fact);
                    let seq = entry["seq"].as_i64().unwrap_or_default().to_string();
                    table.add_row([seq, text(&entry["at"]).to_owned(), name, detail]);
                }
            }
            output::print(&table);
        }
    }
    Ok(Exit::Ok)
}

/// A fact is its name, or an object of its name and what it says.
fn fact_words(fact: &Value) -> (String, String) {
    match fact.as_object().and_then(|fact| fact.iter().next()) {
        Some((name, detail)) => (name.clone(), detail.to_string()),
        None => (text(fact).to_owned(), String::new()),
    }
}

pub(super) async fn nodes(server: &Server, format: Format) -> Result<Exit, Failure> {
    let answer = server.get("/admin/v1/nodes").await?;
    let nodes = answer["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    match format {
        Format::Json => output::json(&answer),
        Format::Ndjson => nodes.iter().for_each(|node| output::line(&node.to_string())),
        Format::Ids => nodes.iter().for_each(|node| output::line(text(&node["id"]))),
        Format::Table => {
            let now = engine::now();
            let mut table =
                output::table(&["NODE", "ALIVE", "VERSION", "SHARDS", "WORKFLOWS", "UP"]);
            for node in nodes {
                let list =
                    |name: &str| node[name].as_array().map(Vec::as_slice).unwrap_or_default();
                let workflows: Vec<_> = list("workflows").iter().map(text).collect();
                table.add_row([
                    text(&node["name"]).to_owned(),
                    if node["alive"] == true { "yes" } else { "no" }.to_owned(),
                    text(&node["version"]).to_owned(),
                    list("shards").len().to_string(),
                    workflows.join(", "),
                    words::between(node["started_at"].as_str(), now),
                ]);
            }
            output::print(&table);
        }
    }
    Ok(Exit::Ok)
}
