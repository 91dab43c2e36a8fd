//! Why an attempt did not succeed: the business "no", trouble, or nobody knows.

use std::borrow::Cow;
use std::time::Duration;

/// Why an attempt did not succeed. `?` on any error makes a [`Failure::Retry`].
#[derive(Debug)]
pub enum Failure {
    /// The business "no": the saga turns back. Make it with [`reject`].
    Rejected(Rejection),
    /// Try again. It does not claim that nothing happened, unless
    /// [`Trouble::not_executed`] says so.
    Retry(Trouble),
    /// It may have happened: settled before anything else. Make it with [`unknown`].
    Unknown(Trouble),
}

/// Why an undo did not succeed. It can not be rejected.
#[derive(Debug)]
pub enum UndoFailure {
    /// Try again, for ever.
    Retry(Trouble),
    /// No repeat can help: wait for a person.
    Stuck(Trouble),
}

/// The business "no".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Stable, `snake_case`: `out_of_stock`.
    pub code: Cow<'static, str>,
    /// For a person.
    pub reason: String,
    /// What a program needs to act on it, such as what is short.
    pub details: Option<serde_json::Value>,
}

/// A technical failure of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Stable, `snake_case`: `gateway_unavailable`. `error` when nothing better is known.
    pub code: Cow<'static, str>,
    /// For a person, with its causes.
    pub message: String,
    /// The attempt certainly did nothing: a refused connection, say.
    pub not_executed: bool,
    /// Not before this long from now, whatever the retry policy says.
    pub after: Option<Duration>,
    /// Whether it uses up one of the policy's attempts. An open circuit breaker does not.
    pub counted: bool,
}

impl Trouble {
    /// A counted failure that may have done something.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (code, message) = (code.into(), message.into());
        Self { code, message, not_executed: false, after: None, counted: true }
    }

    /// Says that the attempt certainly did nothing.
    #[must_use]
    pub fn not_executed(mut self) -> Self {
        self.not_executed = true;
        self
    }

    /// Asks for a wait of at least `after`.
    #[must_use]
    pub fn after(mut self, after: Duration) -> Self {
        self.after = Some(after);
        self
    }

    /// Does not use up an attempt; implies [`Trouble::not_executed`].
    #[must_use]
    pub fn uncounted(mut self) -> Self {
        self.counted = false;
        self.not_executed()
    }
}

/// The business "no": `return Err(reject("out_of_stock", "2 of sku 77 are left"))`.
pub fn reject(code: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Failure {
    Failure::Rejected(Rejection { code: code.into(), reason: reason.into(), details: None })
}

/// The business "no" with what a program needs to act on it.
pub fn reject_with(
    code: impl Into<Cow<'static, str>>,
    reason: impl Into<String>,
    details: serde_json::Value,
) -> Failure {
    let (code, reason) = (code.into(), reason.into());
    Failure::Rejected(Rejection { code, reason, details: Some(details) })
}

/// "It may have happened."
pub fn unknown(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Failure {
    Failure::Unknown(Trouble::new(code, message))
}

/// The error and everything that caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Retry(Trouble::new("error", with_causes(&error)))
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for UndoFailure {
    fn from(error: E) -> Self {
        Self::Retry(Trouble::new("error", with_causes(&error)))
    }
}
