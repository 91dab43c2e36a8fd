//! Keys that were found good a moment ago, so that a request costs no query.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Gate, Key};

/// The most keys that are remembered.
const KEYS_MAX: usize = 10_000;

/// Keys by the hash of their token.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<[u8; 32], Remembered>>);

/// The end of its time, and the key.
type Remembered = (Instant, Arc<Key>);

impl Known {
    pub(crate) fn get(&self, hash: &[u8; 32]) -> Option<Arc<Key>> {
        self.get_at(hash, Instant::now())
    }

    pub(crate) fn put(&self, hash: [u8; 32], key: Arc<Key>) {
        self.put_at(hash, key, Instant::now());
    }

    fn get_at(&self, hash: &[u8; 32], now: Instant) -> Option<Arc<Key>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, key) = known.get(hash)?;
        (now < *until).then(|| key.clone())
    }

    fn put_at(&self, hash: [u8; 32], key: Arc<Key>, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEYS_MAX {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() < KEYS_MAX {
            known.insert(hash, (now + Duration::from_secs(Gate::REMEMBERED_S), key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;

    #[test]
    fn a_key_is_forgotten_after_its_time() {
        let key = Arc::new(Key {
            id: uuid::Uuid::nil(),
            name: "k".to_owned(),
            role: Role::Ops,
            subject: None,
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            revoked_at: None,
        });
        let (known, now) = (Known::default(), Instant::now());
        assert!(known.get_at(&[1; 32], now).is_none());
        known.put_at([1; 32], key, now);
        assert!(known.get_at(&[1; 32], now).is_some());
        assert!(known.get_at(&[2; 32], now).is_none());
        assert!(known.get_at(&[1; 32], now + Duration::from_secs(Gate::REMEMBERED_S)).is_none());
    }
}
