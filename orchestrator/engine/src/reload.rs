//! Reads sagas again that could not be read: as often as it takes, nobody else knows that their owner died
//! over them. Fewer at a time whenever it fails: all together may be more than can be read in time.

use std::sync::Arc;
use std::time::Duration;

use crate::id::SagaId;
use crate::node::Node;
use crate::shard::{Mailbox, Shard};

/// How soon they are read again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Brings `sagas` to memory, unless their shard goes away before.
pub(crate) async fn run(
    node: Arc<Node>,
    shard: Arc<Shard>,
    sagas: Vec<(SagaId, Arc<Mailbox>)>,
    abandoned: bool,
) {
    // All of them together have failed already.
    let mut parts = Parts { left: &sagas, together: sagas.len() };
    parts.failed();
    while shard.while_open(tokio::time::sleep(AGAIN_AFTER)).await.is_some() {
        while let Some(part) = parts.next() {
            if let Err(error) = node.load(&shard, part, abandoned).await {
                let sagas = part.len();
                tracing::debug!(shard = shard.id, sagas, %error, "sagas could not be read");
                parts.failed();
                break;
            }
            parts.done();
        }
        if parts.left.is_empty() {
            return;
        }
    }
    parts.left.iter().for_each(|(id, _)| shard.forget(*id));
}

/// What is to be done, and how much of it together: half as much whenever it failed, twice as much whenever
/// it did not.
struct Parts<'a, T> {
    left: &'a [T],
    together: usize,
}

impl<'a, T> Parts<'a, T> {
    /// The first ones; none: all are done.
    fn next(&self) -> Option<&'a [T]> {
        let next = &self.left[..self.together.min(self.left.len())];
        (!next.is_empty()).then_some(next)
    }

    fn done(&mut self) {
        self.left = &self.left[self.together.min(self.left.len())..];
        self.together *= 2;
    }

    fn failed(&mut self) {
        self.together = self.together.min(self.left.len()).div_ceil(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_to_be_read_together_is_read_in_parts() {
        let items: Vec<u32> = (0..20).collect();
        let mut parts = Parts { left: &items, together: items.len() };
        let (mut read, mut failed) = (Vec::new(), 0);
        while let Some(part) = parts.next() {
            // Together they may have four in length, and 13 has it alone.
            if part.len() + if part.contains(&13) { 3 } else { 0 } <= 4 {
                read.extend_from_slice(part);
                parts.done();
            } else {
                failed += 1;
                parts.failed();
            }
        }
        assert_eq!(read, items, "each once, in their order");
        assert!(failed < 20, "{failed}");
    }

    #[test]
    fn what_can_not_be_read_even_alone_is_asked_for_again() {
        let mut parts = Parts { left: &["the only one"], together: 1 };
        for _ in 0..5 {
            parts.failed();
            assert_eq!(parts.next(), Some(&["the only one"][..]));
        }
    }
}
