//! What `amends verify` prints.

use std::collections::BTreeSet;
use std::fmt::Write;

use activities::verify::Violation;
use comfy_table::{Table, presets};
use serde_json::json;

use super::Verdict;
use super::invariants::{ALL, Invariant};

/// How many of the violations of one promise people are shown.
const SHOWN_MAX: usize = 20;

/// For people: every promise, and the summary.
pub(super) fn table(verdict: &Verdict) -> String {
    format!("{}\n\n{}", promises(verdict).trim_fmt(), summary(verdict))
}

/// For people: what was compared, and what is wrong if anything is.
pub(super) fn summary(verdict: &Verdict) -> String {
    // Writing to a String can not fail.
    let mut text = String::new();
    let Verdict { orders, reservations, charges, foreign, open, .. } = verdict;
    let _ = writeln!(
        text,
        "compared {orders} orders, {reservations} reservations and {charges} charges"
    );
    if *foreign > 0 {
        let _ =
            writeln!(text, "left out {foreign} charges of the gateway's account that say no order");
    }
    if !verdict.at_rest {
        let _ = writeln!(
            text,
            "{open} sagas are open: what must be true at rest was not checked (--at-rest insists)"
        );
    }
    let names = ALL.iter().map(|invariant| invariant.name);
    for name in names.chain(unlisted(verdict)) {
        let broken = of(verdict, name);
        for Violation { id, detail, .. } in broken.iter().take(SHOWN_MAX) {
            let _ = writeln!(text, "  {name} {id}: {detail}");
        }
        if broken.len() > SHOWN_MAX {
            let _ = writeln!(text, "  {name}: {} more", broken.len() - SHOWN_MAX);
        }
    }
    let checked = ALL.iter().filter(|invariant| is_checked(verdict, invariant)).count();
    text + &match verdict.violations.len() {
        0 => format!("verified: {checked} promises across engine, stores and gateway hold"),
        violations => format!("NOT verified: {violations} violations"),
    }
}

/// For programs.
pub(super) fn json(verdict: &Verdict) -> serde_json::Value {
    let invariants: Vec<_> = ALL
        .iter()
        .map(|invariant| {
            json!({
                "invariant": invariant.name,
                "book": invariant.book,
                "checked": is_checked(verdict, invariant),
                "violations": of(verdict, invariant.name).len(),
            })
        })
        .collect();
    json!({
        "verified": verdict.is_clean(),
        "at_rest": verdict.at_rest,
        "open": verdict.open,
        "orders": verdict.orders,
        "reservations": verdict.reservations,
        "charges": verdict.charges,
        "captured_minor": verdict.captured_minor(),
        "gateway_captured_minor": verdict.gateway_captured_minor(),
        "invariants": invariants,
        "violations": verdict.violations,
    })
}

fn promises(verdict: &Verdict) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["promise", "book", "what must be true", "result"]);
    for invariant in ALL {
        let result = match (is_checked(verdict, invariant), of(verdict, invariant.name).len()) {
            (false, _) => "not checked".to_owned(),
            (true, 0) => "OK".to_owned(),
            (true, violations) => format!("VIOLATED {violations}"),
        };
        table.add_row([invariant.name, invariant.book, invariant.promise, &result]);
    }
    table
}

fn is_checked(verdict: &Verdict, invariant: &Invariant) -> bool {
    !invariant.at_rest || verdict.at_rest
}

fn of<'a>(verdict: &'a Verdict, invariant: &str) -> Vec<&'a Violation> {
    verdict.violations.iter().filter(|violation| violation.invariant == invariant).collect()
}

/// Promises that are broken and not in the list here: shown all the same.
fn unlisted(verdict: &Verdict) -> BTreeSet<&str> {
    let is_listed = |name: &str| ALL.iter().any(|invariant| invariant.name == name);
    let names = verdict.violations.iter().map(|violation| violation.invariant.as_str());
    names.filter(|name| !is_listed(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn verdict(violations: Vec<Violation>, at_rest: bool) -> Verdict {
        Verdict {
            at_rest,
            open: u64::from(!at_rest),
            orders: 1,
            reservations: 1,
            charges: 1,
            foreign: 0,
            books: Vec::new(),
            sums: BTreeMap::new(),
            violations,
        }
    }

    #[test]
    fn a_violation_is_named_with_its_id() {
        let violation = |invariant: &str| Violation {
            invariant: invariant.to_owned(),
            id: "018f-1".to_owned(),
            detail: "2 charges".to_owned(),
        };
        let verdict = verdict(vec![violation("charged_once"), violation("brand_new")], true);
        let text = table(&verdict);
        for expected in ["VIOLATED 1", "charged_once 018f-1: 2 charges", "brand_new 018f-1"] {
            assert!(text.contains(expected), "{text}");
        }
        assert!(text.ends_with("NOT verified: 2 violations"));
        assert_eq!(json(&verdict)["violations"][0]["id"], "018f-1");
        assert_eq!(json(&verdict)["verified"], false);
    }

    #[test]
    fn what_was_not_checked_is_not_called_ok() {
        let text = table(&verdict(Vec::new(), false));
        assert!(text.contains("not checked") && text.contains("1 sagas are open"), "{text}");
        let text = table(&verdict(Vec::new(), true));
        assert!(!text.contains("not checked") && text.contains("verified: 38"), "{text}");
    }
}
