//! Settings from flags and the environment, and what is said when one can not be used.

use std::net::SocketAddr;
use std::str::FromStr;

/// A setting that can not be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A variable that must be there.
    #[error("{variable} is not set: it must be {must_be}")]
    Missing {
        /// Which.
        variable: &'static str,
        /// What it should be, with an example.
        must_be: &'static str,
    },
    /// A variable that can not be read. Its value is not repeated: it may be a secret.
    #[error("{variable} can not be used: it must be {must_be}")]
    Invalid {
        /// Which.
        variable: &'static str,
        /// What it should be, with an example.
        must_be: &'static str,
    },
    /// Open to the network without keys.
    #[error("--insecure-dev lets everybody in, so it listens on loopback only, not on {0}")]
    InsecureListener(SocketAddr),
}

/// The variable's value, if it is set to more than white space.
pub fn optional(variable: &'static str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.trim().is_empty())
}

/// The variable's value as a `T`; none: it is not set.
pub fn parsed<T: FromStr>(
    variable: &'static str,
    must_be: &'static str,
) -> Result<Option<T>, ConfigError> {
    let parse = |value: String| value.trim().parse().ok();
    match optional(variable) {
        None => Ok(None),
        Some(value) => match parse(value) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::Invalid { variable, must_be }),
        },
    }
}

/// The variable's value, which must be there.
pub fn required(variable: &'static str, must_be: &'static str) -> Result<String, ConfigError> {
    optional(variable).ok_or(ConfigError::Missing { variable, must_be })
}

/// Reads a database's URL: `postgres://user:password@host:5432/name`.
pub fn database_url(variable: &'static str, value: &str) -> Result<String, ConfigError> {
    let must_be = "a URL like postgres://user:password@127.0.0.1:5432/amends";
    let scheme = value.split_once("://").map(|(scheme, rest)| (scheme, rest.is_empty()));
    match scheme {
        Some(("postgres" | "postgresql", false)) => Ok(value.to_owned()),
        _ => Err(ConfigError::Invalid { variable, must_be }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_can_not_be_used_says_which_and_what_it_should_be() {
        let error = database_url("AMENDS_DATABASE_URL", "mysql://root:hunter2@x").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("AMENDS_DATABASE_URL") && text.contains("postgres://"), "{text}");
        assert!(!text.contains("hunter2"));
        assert!(database_url("X", "postgresql://u@h/db").is_ok());
        for garbage in ["", "postgres", "postgres://", "localhost:5432"] {
            assert!(database_url("X", garbage).is_err(), "{garbage}");
        }
        let missing = required("AMENDS_NOT_SET_IN_ANY_TEST", "a number").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "AMENDS_NOT_SET_IN_ANY_TEST is not set: it must be a number"
        );
        assert_eq!(parsed::<u16>("AMENDS_NOT_SET_IN_ANY_TEST", "a number"), Ok(None));
    }
}
