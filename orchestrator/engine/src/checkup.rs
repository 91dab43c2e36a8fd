//! What is found when somebody looks whether a node can run: for `doctor`, which shows all of it, and
//! for a start-up, which is refused over it, the same words.

use serde::Serialize;

use crate::schema::SchemaError;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// A node runs, and a person should look.
    Warning,
    /// No node starts.
    Refused,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What of: "amends database".
    pub of: &'static str,
    /// Stable: `migrations`.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is there, to be read after what it is of: "is up to date".
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// What was found of one database, and the first thing that is refused, as an error.
#[derive(Debug, Default)]
pub struct Checkup {
    /// All of it, in the order it was looked at.
    pub findings: Vec<Finding>,
    /// Why no node starts, if so.
    pub refusal: Option<SchemaError>,
}

impl Finding {
    /// As it should be.
    pub fn ok(of: &'static str, check: &'static str, found: impl Into<String>) -> Self {
        Self { of, check, level: Level::Ok, found: found.into(), advice: None }
    }

    /// Worth a look.
    pub fn warning(
        of: &'static str,
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(advice.into());
        Self { of, check, level: Level::Warning, found: found.into(), advice }
    }

    /// No node starts with it.
    pub fn refused(
        of: &'static str,
        check: &'static str,
        found: impl Into<String>,
        advice: Option<String>,
    ) -> Self {
        Self { of, check, level: Level::Refused, found: found.into(), advice }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the {} {}", self.of, self.found)?;
        self.advice.iter().try_for_each(|advice| write!(f, ": {advice}"))
    }
}

impl Checkup {
    /// Adds what is as it should be, or worth a look.
    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds the outcome of a check that can refuse: what is found when it does not.
    pub(crate) fn outcome(
        &mut self,
        of: &'static str,
        check: &'static str,
        outcome: Result<String, SchemaError>,
    ) {
        match outcome {
            Ok(found) => self.add(Finding::ok(of, check, found)),
            Err(error) => {
                let advice = error.advice().map(str::to_owned);
                self.add(Finding::refused(of, check, error.found_with_causes(), advice));
                self.refusal.get_or_insert(error);
            }
        }
    }

    /// Says of migrations that are missing that the start itself brings them.
    pub fn will_be_migrated(&mut self) {
        if !matches!(self.refusal, Some(SchemaError::NotMigrated { .. })) {
            return;
        }
        for finding in self.findings.iter_mut().filter(|finding| finding.check == "migrations") {
            finding.level = Level::Warning;
            finding.advice = Some("nothing: `amends serve` brings it up to date".to_owned());
        }
    }

    /// Nothing, or the first thing that is refused.
    pub fn accepted(self) -> Result<(), SchemaError> {
        self.refusal.map_or(Ok(()), Err)
    }
}
