//! What goes to stdout, and how a saga is said in a line.

use std::io::{IsTerminal, Write, stdout};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

/// Whether colour is wanted: on a terminal, unless `NO_COLOR` (no-color.org) says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    color: bool,
}

impl Style {
    pub(super) fn detect() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { color: stdout().is_terminal() && !no_color }
    }

    pub(super) fn cell(self, text: impl ToString, color: Option<Color>) -> Cell {
        match color.filter(|_| self.color) {
            Some(color) => Cell::new(text).fg(color),
            None => Cell::new(text),
        }
    }
}

/// A line on stdout. Whoever reads it may have seen enough: that is no error.
pub(super) fn line(text: &str) {
    let _ = writeln!(stdout().lock(), "{text}");
}

pub(super) fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().copied());
    table
}

pub(super) fn print(table: &Table) {
    line(&table.trim_fmt());
}

/// A text of a JSON value that is one, else a dash.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// Why a saga is where it is, or how it ended.
pub(super) fn sentence(saga: &Value) -> String {
    match (saga["why"]["sentence"].as_str(), saga["ending"].as_str()) {
        (Some(sentence), _) => sentence.to_owned(),
        (None, Some("completed")) => "Completed.".to_owned(),
        (None, Some(ending)) => {
            let how = match ending {
                "cancelled" => "Cancelled, and everything was undone",
                "undone" => "Turned back, and everything was undone",
                _ => "Closed by an admin although something stays in force",
            };
            let reason =
                saga["because"]["reason"].as_str().or_else(|| saga["error"]["message"].as_str());
            reason.map_or_else(|| format!("{how}."), |reason| format!("{how}: {reason}."))
        }
        (None, None) => format!("{}.", text(&saga["phase"])),
    }
}

/// A sign for how it is, different in shape and not only in colour.
pub(super) fn sign(saga: &Value) -> (&'static str, Option<Color>) {
    if saga["attention"].is_string() {
        return ("!!", Some(Color::Red));
    }
    match (saga["ending"].as_str(), saga["phase"].as_str(), saga["direction"].as_str()) {
        (Some("completed"), _, _) => ("ok", Some(Color::Green)),
        (Some("cancelled"), _, _) => ("x", None),
        (Some(_), _, _) => ("<-", None),
        (None, Some("retrying"), _) => ("~", Some(Color::Yellow)),
        (None, Some("held"), _) => ("||", Some(Color::Yellow)),
        (None, Some("waiting"), _) => ("..", None),
        (None, _, Some("backward")) => ("<", None),
        (None, _, _) => (">", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_saga_is_said_in_a_sentence() {
        let say = |saga: Value| sentence(&saga);
        assert_eq!(say(json!({"why": {"sentence": "Waiting 4 m."}})), "Waiting 4 m.");
        assert_eq!(say(json!({"ending": "completed"})), "Completed.");
        let undone = json!({"ending": "undone", "because": {"reason": "out of stock"}});
        assert_eq!(say(undone), "Turned back, and everything was undone: out of stock.");
        assert_eq!(say(json!({"phase": "running"})), "running.");
    }
}
