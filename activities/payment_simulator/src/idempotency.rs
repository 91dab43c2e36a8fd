//! Idempotency keys: what was answered for each, for 24 hours.

use std::collections::HashMap;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::error::StripeError;
use crate::form::Form;

/// Stripe keeps keys for at least 24 hours; this gateway for exactly that.
const KEPT_FOR_MS: i64 = 24 * 60 * 60 * 1000;
/// Stripe's limit, in characters.
const KEY_LENGTH_MAX: usize = 255;

/// Who asked for what under a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    path: String,
    parameters: String,
}

/// The answer kept for a key, as the state file holds it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedAnswer {
    pub(crate) key: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) status: u16,
    pub(crate) body: Box<RawValue>,
    /// Unix milliseconds of the simulator's clock.
    pub(crate) at_ms: i64,
}

#[derive(Default)]
pub(crate) struct Keys {
    entries: HashMap<String, Entry>,
}

struct Entry {
    fingerprint: Fingerprint,
    /// `None` while the first request is still going on.
    done: Option<Done>,
}

struct Done {
    status: u16,
    body: Bytes,
    at_ms: i64,
    seq: u64,
}

/// What is known of a key.
pub(crate) enum Lookup {
    Fresh,
    /// The answer, and where it stands in the log.
    Replay(u16, Bytes, u64),
}

impl Fingerprint {
    pub(crate) fn of(path: &str, form: &Form) -> Fingerprint {
        let mut hash = Sha256::new();
        for (name, value) in form.sorted() {
            for part in [name, value] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        let digest = hash.finalize();
        Fingerprint { path: path.to_owned(), parameters: hex::encode(&digest[..16]) }
    }
}

/// Checks a key's form.
///
/// # Errors
/// 400 for an empty or overlong key.
pub(crate) fn check_key(key: &str) -> Result<(), StripeError> {
    if key.trim().is_empty() {
        return Err(StripeError::bad_key("The Idempotency-Key header is empty."));
    }
    if key.chars().count() > KEY_LENGTH_MAX {
        return Err(StripeError::bad_key(
            "Idempotency keys are limited to 255 characters in length.",
        ));
    }
    Ok(())
}

impl Keys {
    /// # Errors
    /// 400 if the key was used for something else, 409 while its first request goes on.
    pub(crate) fn look_up(
        &self,
        key: &str,
        fingerprint: &Fingerprint,
        now_ms: i64,
    ) -> Result<Lookup, StripeError> {
        let Some(entry) = self.entries.get(key) else { return Ok(Lookup::Fresh) };
        if entry.done.as_ref().is_some_and(|done| now_ms - done.at_ms >= KEPT_FOR_MS) {
            return Ok(Lookup::Fresh);
        }
        if entry.fingerprint != *fingerprint {
            let same_endpoint = entry.fingerprint.path == fingerprint.path;
            return Err(StripeError::other_parameters(key, same_endpoint));
        }
        match &entry.done {
            Some(done) => Ok(Lookup::Replay(done.status, done.body.clone(), done.seq)),
            None => Err(StripeError::key_in_use(key)),
        }
    }

    /// Marks the key as in use by a request that takes its time.
    pub(crate) fn begin(&mut self, key: &str, fingerprint: &Fingerprint) {
        let entry = Entry { fingerprint: fingerprint.clone(), done: None };
        self.entries.insert(key.to_owned(), entry);
    }

    /// Ends what `begin` began; the key is free again until an answer is kept.
    pub(crate) fn end(&mut self, key: &str) {
        if self.entries.get(key).is_some_and(|entry| entry.done.is_none()) {
            self.entries.remove(key);
        }
    }

    pub(crate) fn keep(&mut self, answer: &SavedAnswer, body: Bytes, seq: u64) {
        let done = Done { status: answer.status, body, at_ms: answer.at_ms, seq };
        let entry = Entry { fingerprint: answer.fingerprint.clone(), done: Some(done) };
        self.entries.insert(answer.key.clone(), entry);
    }

    /// Forgets what is older than 24 hours.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        let young = |done: &Done| now_ms - done.at_ms < KEPT_FOR_MS;
        self.entries.retain(|_, entry| entry.done.as_ref().is_none_or(young));
    }
}
