//! What is said of a database that can not be used: what was found, and what to do.

use std::error::Error;
use std::fmt;

use super::SchemaError;
use super::examine::{SKEW_MAX, VERSION_MIN};

impl SchemaError {
    /// Which database.
    pub fn database(&self) -> &'static str {
        match self {
            Self::Database { database, .. }
            | Self::Migration { database, .. }
            | Self::Locked { database, .. }
            | Self::NotMigrated { database, .. }
            | Self::Newer { database, .. }
            | Self::Different { database, .. }
            | Self::TooOld { database, .. }
            | Self::ReadOnly { database, .. }
            | Self::Unsafe { database, .. }
            | Self::Skewed { database, .. } => database,
        }
    }

    /// What was found, to be read after the database's name.
    pub fn found(&self) -> String {
        match self {
            Self::Database { .. } => "does not answer as it should".to_owned(),
            Self::Migration { .. } => "could not be migrated".to_owned(),
            Self::Locked { waited_s, .. } => {
                format!("is being migrated by another program for more than {waited_s} s")
            }
            Self::NotMigrated { missing, .. } => {
                format!("is not up to date (migration {missing} is missing)")
            }
            Self::Newer { unknown, .. } => {
                format!("was migrated by a newer program (it has migration {unknown})")
            }
            Self::Different { different, .. } => format!(
                "was migrated by a different program (its migration {different} is another one)"
            ),
            Self::TooOld { version, .. } => format!("is on PostgreSQL {version}"),
            Self::ReadOnly { standby: true, .. } => "is on a standby, which takes no writes".into(),
            Self::ReadOnly { standby: false, .. } => "is set to read only".to_owned(),
            Self::Unsafe { settings, .. } => format!(
                "is on a server with `{}` off, which can lose acknowledged orders",
                settings.join("`, `")
            ),
            Self::Skewed { ahead, .. } => {
                let side = if ahead.is_negative() { "behind" } else { "ahead of" };
                let ahead = ahead.abs().as_seconds_f32();
                format!("has a clock that is {ahead:.1} s {side} this machine's")
            }
        }
    }

    /// What to do about it, if that is known.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NotMigrated { .. } => Some("run `amends migrate`"),
            Self::Newer { .. } => Some("use that program"),
            Self::Different { .. } => Some("use the program it was migrated by"),
            Self::TooOld { .. } => Some(VERSION_MIN.1),
            Self::ReadOnly { standby: true, .. } => Some("name the primary"),
            Self::ReadOnly { standby: false, .. } => {
                Some("take away `default_transaction_read_only`")
            }
            Self::Unsafe { .. } => Some("turn it on"),
            Self::Skewed { .. } => Some(SKEW_MAX.1),
            Self::Database { .. } | Self::Migration { .. } | Self::Locked { .. } => None,
        }
    }

    /// What was found, and everything that caused it, on one line.
    pub(crate) fn found_with_causes(&self) -> String {
        let mut found = self.found();
        let mut cause = self.source();
        while let Some(error) = cause {
            found = format!("{found}: {error}");
            cause = error.source();
        }
        found
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {}", self.database(), self.found())?;
        self.advice().iter().try_for_each(|advice| write!(f, ": {advice}"))
    }
}
