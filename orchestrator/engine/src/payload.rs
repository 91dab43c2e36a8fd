//! What an activity takes and gives, as the journal keeps it: one JSON text.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The most bytes one payload may have: an input, an output, a signal, a saga's start or result.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// A JSON text, kept exactly as it was first written: equal payloads are equal bytes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(Arc<RawValue>);

/// A value that does not fit the journal, or a journal text that does not fit the type.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The value has no JSON form (a map with keys that are not text, say).
    #[error("the value can not be written as JSON")]
    Encode(#[source] serde_json::Error),
    /// The text is JSON, but not of the type that is asked for.
    #[error("the recorded value does not have the expected shape")]
    Decode(#[source] serde_json::Error),
    /// Larger than [`PAYLOAD_BYTES_MAX`].
    #[error("the value has {bytes} bytes, the most is {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// The code of the type itself panicked: its `Serialize` or `Deserialize`.
    #[error("its own code panicked while it was written or read: {0}")]
    Panicked(String),
}

impl PayloadError {
    /// What a saga is parked with over it.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Encode(_) | Self::Decode(_) => "misfit",
            Self::TooLarge { .. } => "payload_too_large",
            Self::Panicked(_) => "panicked",
        }
    }
}

impl Payload {
    /// Writes `value` as JSON; refuses more than [`PAYLOAD_BYTES_MAX`] bytes.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        let raw =
            contained(|| serde_json::value::to_raw_value(value))?.map_err(PayloadError::Encode)?;
        match raw.get().len() {
            bytes if bytes > PAYLOAD_BYTES_MAX => Err(PayloadError::TooLarge { bytes }),
            _ => Ok(Self(raw.into())),
        }
    }

    /// JSON's `null`.
    pub fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    /// Takes a JSON text as it is.
    pub fn from_json(text: String) -> Result<Self, PayloadError> {
        if text.len() > PAYLOAD_BYTES_MAX {
            return Err(PayloadError::TooLarge { bytes: text.len() });
        }
        Ok(Self(RawValue::from_string(text).map_err(PayloadError::Decode)?.into()))
    }

    /// Reads the value back.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        contained(|| serde_json::from_str(self.0.get()))?.map_err(PayloadError::Decode)
    }

    /// The JSON text.
    pub fn json(&self) -> &str {
        self.0.get()
    }
}

/// Runs what an author may have written. Whoever reads or writes a value is in the middle of other things.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, PayloadError> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| PayloadError::Panicked(panic_text(panic.as_ref())))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
        .to_owned()
}

/// Reads a payload that is there, `null` too: what a workflow without a result returns.
pub(crate) fn even_null<'de, D>(from: D) -> Result<Option<Payload>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Payload::deserialize(from).map(Some)
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl Eq for Payload {}

impl Hash for Payload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.json().hash(state);
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserializer, Serializer};

    use super::*;

    #[derive(Debug)]
    struct Clumsy;

    impl Serialize for Clumsy {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("while it is written")
        }
    }

    impl<'de> Deserialize<'de> for Clumsy {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("while it is read")
        }
    }

    #[test]
    fn a_type_that_panics_is_an_error_of_its_value() {
        let written = Payload::encode(&Clumsy).unwrap_err();
        assert!(written.to_string().contains("while it is written"), "{written}");
        let read = Payload::null().decode::<Clumsy>().unwrap_err();
        assert!(read.to_string().contains("while it is read"), "{read}");
        assert_eq!(read.code(), "panicked");
    }
}
