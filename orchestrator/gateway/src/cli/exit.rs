//! What a command's exit code means.

use std::process::ExitCode;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done; `why`: the saga completed.
    Ok = 0,
    /// Something that should not happen.
    Unexpected = 1,
    /// It was not said right, or must be confirmed and there is no terminal.
    Usage = 2,
    /// No key, or one that may not do this.
    NotAllowed = 3,
    /// There is no such thing.
    NotFound = 4,
    /// It moved on, or is in the wrong state: nothing was done.
    MovedOn = 5,
    /// Of several, some failed.
    SomeFailed = 6,
    /// It was not done in time; it may be yet.
    TimedOut = 7,
    /// The server, or the database, does not answer.
    Unreachable = 8,
    /// `why`: everything was undone.
    Undone = 20,
    /// `why`: it was cancelled.
    Cancelled = 21,
    /// `why`: it needs a person.
    NeedsAPerson = 22,
    /// `why`: it is not over.
    Open = 23,
}

impl Exit {
    /// What an HTTP status means for a command.
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Ok,
            400 | 413 | 415 | 422 | 431 => Self::Usage,
            401 | 403 => Self::NotAllowed,
            404 => Self::NotFound,
            409 | 412 => Self::MovedOn,
            504 => Self::TimedOut,
            502 | 503 => Self::Unreachable,
            _ => Self::Unexpected,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
