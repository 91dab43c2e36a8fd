//! What can go wrong between the engine and its database, sorted by what to do about it.

use std::sync::Arc;

/// A statement that did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, busy or restarting: the same statement may succeed later. It may also
    /// have succeeded already, with only the answer lost.
    #[error("the amends database is unavailable")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// The statement itself is wrong, or the schema is not the one this build expects.
    #[error("the amends database refused a statement")]
    Refused(#[source] Arc<sqlx::Error>),
    /// A row that this build can not read.
    #[error("the amends database holds something this build can not read: {0}")]
    Unreadable(String),
}

/// SQLSTATEs after which the same statement may succeed: serialization and deadlock, lock and
/// statement time-outs, connection trouble, shutdown and recovery, exhausted resources.
const PASSING: [&str; 6] = ["40001", "40P01", "55P03", "57014", "57P05", "25006"];
const PASSING_CLASSES: [&str; 3] = ["08", "53", "57P0"];

/// Whether the same statement may succeed later: the one classifier of SQLSTATEs.
pub fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            PASSING.contains(&&*code) || PASSING_CLASSES.iter().any(|class| code.starts_with(class))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Whether it says that the connection is of no use any more, and those made before it hardly are.
pub(crate) fn is_broken(error: &sqlx::Error) -> bool {
    let says_so = |code: &str| code.starts_with("08") || code.starts_with("57P0");
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| says_so(&code)),
        error => is_passing(error),
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) { Self::unavailable(error) } else { Self::Refused(Arc::new(error)) }
    }
}

impl StoreError {
    pub(crate) fn unavailable(error: sqlx::Error) -> Self {
        Self::Unavailable(Arc::new(error))
    }

    /// Whether the server stopped the statement for taking too long.
    pub(crate) fn was_stopped(&self) -> bool {
        self.has_code("57014")
    }

    /// Whether the server stopped it for waiting too long for what another session holds.
    pub(crate) fn was_held_up(&self) -> bool {
        self.has_code("55P03")
    }

    fn has_code(&self, code: &str) -> bool {
        let Self::Unavailable(error) = self else { return false };
        error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
    }

    /// Whether a row of that key was there already.
    pub(crate) fn is_duplicate(&self) -> bool {
        match self {
            Self::Refused(error) => {
                error.as_database_error().is_some_and(|error| error.is_unique_violation())
            }
            _ => false,
        }
    }
}
