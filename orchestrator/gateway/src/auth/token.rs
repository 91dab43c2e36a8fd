//! The secret of a key: 256 random bits.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const PREFIX: &str = "amk_";

/// A key's token: `amk_` and 64 hexadecimal digits.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// A new one, of 256 bits from the system's generator.
    pub fn random() -> Self {
        // Each UUIDv4 has 122 random bits; the digest of three is 256 bits that nobody can guess.
        let ids = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
        let digest =
            ids.iter().fold(Sha256::new(), |digest, id| digest.chain_update(id.as_bytes()));
        Self(format!("{PREFIX}{}", hex::encode(digest.finalize())).into())
    }

    /// Reads one; none: it has not the shape of one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let fits = digits.len() == 64
            && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        fits.then(|| Self(text.to_owned().into()))
    }

    /// The token itself, to be shown once.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        hash(self.expose())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("amk_..")
    }
}

/// What is kept of a token: its SHA-256.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_text_and_never_shown_by_accident() {
        let token = Token::random();
        assert_eq!(Token::parse(token.expose()).unwrap().hash(), token.hash());
        assert_ne!(Token::random().hash(), token.hash());
        assert_eq!(format!("{token:?}"), "amk_..");
        for garbage in ["", "amk_", "amk_00", "sk_test", &token.expose().to_uppercase()] {
            assert!(Token::parse(garbage).is_none(), "{garbage}");
        }
    }
}
