//! Why something failed, as the journal and the row keep it.

use serde::{Deserialize, Serialize};

/// As much is kept of a message as a person reads.
const MESSAGE_BYTES_MAX: usize = 16 * 1_024;

/// A failure of one attempt, as kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// Stable, `snake_case`.
    pub code: String,
    /// For a person.
    pub message: String,
    /// Eight hexadecimal digits: the same for the same failure of the same step of any saga.
    pub fingerprint: String,
}

impl Problem {
    /// With as much of `message` as is kept.
    pub(crate) fn new(code: String, message: String, fingerprint: String) -> Self {
        Self { code, message: shortened(message), fingerprint }
    }

    /// A failure the engine itself found: the code alone tells it apart.
    pub fn own(code: &str, message: impl Into<String>) -> Self {
        Self::new(code.into(), message.into(), fingerprint(&[code]))
    }
}

/// As much of a text as is kept.
pub(crate) fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
        text.push('\u{2026}');
    }
    text
}

/// Eight hexadecimal digits that are equal for equal parts: FNV-1a folded to 32 bits, so that it
/// stays the same across builds.
pub(crate) fn fingerprint(parts: &[&str]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{:08x}", (hash >> 32) as u32 ^ hash as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_message_as_much_is_kept_as_a_person_reads() {
        assert_eq!(shortened("short".into()), "short");
        let long = shortened("\u{e9}".repeat(MESSAGE_BYTES_MAX));
        assert!(
            (MESSAGE_BYTES_MAX - 1..MESSAGE_BYTES_MAX + 4).contains(&long.len()),
            "{}",
            long.len()
        );
        assert!(long.ends_with("\u{e9}\u{2026}"));
    }
}
