//! What an activity takes and gives, as the journal keeps it: one JSON text.

use std::fmt;
use std::hash::{Hash, Hasher};
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
}

impl Payload {
    /// Writes `value` as JSON; refuses more than [`PAYLOAD_BYTES_MAX`] bytes.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        let raw = serde_json::value::to_raw_value(value).map_err(PayloadError::Encode)?;
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
        serde_json::from_str(self.0.get()).map_err(PayloadError::Decode)
    }

    /// The JSON text.
    pub fn json(&self) -> &str {
        self.0.get()
    }
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
