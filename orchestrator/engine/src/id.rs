//! The name of a saga, which also says where it lives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// A shard: sagas live in a fixed number of them, each written by one node at a time.
pub type ShardId = i16;

/// The most shards a database can be made with: the id carries the shard in 12 bits.
pub const SHARDS_MAX: u16 = 4096;

/// A UUIDv7 (RFC 9562) whose 12 `rand_a` bits carry the shard, so that any id says where the saga
/// lives and ids stay ordered by the time of their start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct SagaId(Uuid);

impl SagaId {
    /// A new id on `shard`, at `at` (milliseconds count; the rest of the id is random).
    pub fn new(shard: ShardId, at: OffsetDateTime) -> Self {
        let millis = (at.unix_timestamp_nanos() / 1_000_000).clamp(0, (1 << 48) - 1) as u64;
        let mut bytes = *Uuid::new_v4().as_bytes();
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        let shard = shard.unsigned_abs() % SHARDS_MAX;
        bytes[6] = 0x70 | (shard >> 8) as u8;
        bytes[7] = (shard & 0xff) as u8;
        Self(Uuid::from_bytes(bytes))
    }

    /// The smallest id of the instant `at`: a bound for ranges of ids by time.
    pub fn floor(at: OffsetDateTime) -> Self {
        let millis = (at.unix_timestamp_nanos() / 1_000_000).clamp(0, (1 << 48) - 1) as u64;
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        Self(Uuid::from_bytes(bytes))
    }

    /// The shard the saga lives on.
    pub fn shard(self) -> ShardId {
        let bytes = self.0.as_bytes();
        (i16::from(bytes[6] & 0x0f) << 8) | i16::from(bytes[7])
    }

    /// When the saga was started, to the millisecond.
    pub fn started_at(self) -> OffsetDateTime {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0.as_bytes()[..6]);
        OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(i64::from_be_bytes(millis))
    }

    /// The id as a plain UUID.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for SagaId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl FromStr for SagaId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_its_shard_and_its_time() {
        let at = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        for shard in [0, 1, 31, 4095] {
            let id = SagaId::new(shard, at);
            assert_eq!(id.shard(), shard);
            assert_eq!(id.started_at(), at);
            assert_eq!(id.uuid().get_version_num(), 7);
            assert!(SagaId::floor(at) <= id);
        }
    }

    #[test]
    fn ids_are_ordered_by_time() {
        let at = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let later = at + time::Duration::milliseconds(1);
        assert!(SagaId::new(4095, at) < SagaId::new(0, later));
    }
}
