//! Which sagas to list: words like `is:stuck step:charge-payment`, or flags that say the same.

use clap::Args;

use super::http::{Failure, encode};
use super::ids;

const KNOWN: &str = "is:open is:ended is:any is:stuck is:attention is:completed is:undone \
     is:cancelled is:running is:waiting is:retrying is:held is:forward is:backward \
     workflow:NAME step:ACTIVITY dep:NAME err:FINGERPRINT";

/// Which sagas to list; open ones, unless something else is said.
#[derive(Clone, Debug, Default, Args)]
pub struct ListArgs {
    /// Words: is:stuck is:held is:ended is:any .. workflow:NAME step:ACTIVITY dep:NAME err:FINGERPRINT
    #[arg(value_name = "QUERY")]
    words: Vec<String>,
    /// Of this workflow
    #[arg(long)]
    workflow: Option<String>,
    /// At this activity
    #[arg(long)]
    step: Option<String>,
    /// Waiting for this dependency
    #[arg(long)]
    dependency: Option<String>,
    /// With this failure
    #[arg(long)]
    fingerprint: Option<String>,
    /// Only what is stuck
    #[arg(long)]
    stuck: bool,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Older than this saga: the next page
    #[arg(long)]
    before: Option<String>,
}

impl ListArgs {
    /// The path and query of the list.
    pub(super) fn path(&self) -> Result<String, Failure> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let mut is_any = false;
        for word in &self.words {
            match pair(word)? {
                Some(pair) => pairs.push(pair),
                None => is_any = true,
            }
        }
        let flags = [
            ("workflow", &self.workflow),
            ("step", &self.step),
            ("dependency", &self.dependency),
            ("fingerprint", &self.fingerprint),
        ];
        for (name, value) in flags {
            pairs.extend(value.clone().map(|value| (name, value)));
        }
        if self.stuck {
            pairs.push(("stuck", "true".to_owned()));
        }
        let says = |names: &[&str]| pairs.iter().any(|(name, _)| names.contains(name));
        if !is_any && !says(&["open", "ending"]) {
            pairs.push(("open", "true".to_owned()));
        }
        if let Some(before) = &self.before {
            pairs.push(("before", ids::one(before)?.to_string()));
        }
        let mut path = format!("/admin/v1/sagas?limit={}", self.limit);
        for (name, value) in pairs {
            path.push_str(&format!("&{name}={}", encode(&value)));
        }
        Ok(path)
    }
}

/// A filter; none: `is:any`.
fn pair(word: &str) -> Result<Option<(&'static str, String)>, Failure> {
    let unknown =
        || Failure::usage(format!("`{word}` is no filter")).help(format!("known are: {KNOWN}"));
    let (name, value) = word.split_once(':').ok_or_else(unknown)?;
    if value.is_empty() {
        return Err(unknown());
    }
    let value = value.to_owned();
    let pair = match (name, value.as_str()) {
        ("is", "any") => return Ok(None),
        ("is", "open") => ("open", "true".to_owned()),
        ("is", "ended") => ("open", "false".to_owned()),
        ("is", "stuck" | "attention") => {
            (if value == "stuck" { "stuck" } else { "attention" }, "true".to_owned())
        }
        ("is", "completed" | "undone" | "cancelled" | "closed_with_residue") => ("ending", value),
        ("is", "running" | "waiting" | "retrying" | "held") => ("phase", value),
        ("is", "forward" | "backward") => ("direction", value),
        ("workflow", _) => ("workflow", value),
        ("step", _) => ("step", value),
        ("dep" | "dependency", _) => ("dependency", value),
        ("err" | "fingerprint", _) => ("fingerprint", value),
        _ => return Err(unknown()),
    };
    Ok(Some(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(words: &[&str]) -> String {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        ListArgs { words, limit: 50, ..ListArgs::default() }.path().unwrap()
    }

    #[test]
    fn words_become_filters() {
        let base = "/admin/v1/sagas?limit=50";
        assert_eq!(path(&[]), format!("{base}&open=true"));
        assert_eq!(path(&["is:any"]), base);
        assert_eq!(path(&["is:completed"]), format!("{base}&ending=completed"));
        assert_eq!(path(&["is:ended"]), format!("{base}&open=false"));
        assert_eq!(
            path(&["is:stuck", "step:charge-payment", "dep:payment gateway"]),
            format!("{base}&stuck=true&step=charge-payment&dependency=payment%20gateway&open=true")
        );
    }

    #[test]
    fn a_word_that_is_no_filter_gets_the_list_of_those_that_are() {
        for garbage in ["stuck", "is:", "is:nonsense", ":x", "since:1h", "&open=true"] {
            let words = vec![garbage.to_owned()];
            let error = ListArgs { words, ..ListArgs::default() }.path().unwrap_err();
            assert!(error.help[0].contains("is:stuck"), "{garbage}");
        }
    }
}
