//! Reads sagas again that could not be read: as often as it takes, nobody else knows that their owner died
//! over them. Fewer at a time whenever it fails: all together may be more than can be read in time.

use std::sync::Arc;
use std::time::Duration;

use crate::id::SagaId;
use crate::node::Node;
use crate::shard::{Mailbox, Shard};

/// How soon they are read again, at first and when nothing of them can be read for long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);

/// Brings `sagas` to memory, unless their shard goes away before.
pub(crate) async fn run(
    node: Arc<Node>,
    shard: Arc<Shard>,
    sagas: Vec<(SagaId, Arc<Mailbox>)>,
    abandoned: bool,
) {
    // All of them together have failed already.
    let mut parts = Parts { together: sagas.len(), left: sagas };
    parts.failed();
    let mut pause = AGAIN_AFTER;
    while shard.while_open(tokio::time::sleep(pause)).await.is_some() {
        pause = (pause * 2).min(AGAIN_AFTER_MAX);
        while let Some(part) = parts.next().filter(|_| shard.is_open()) {
            if let Err(error) = node.load(&shard, part, abandoned).await {
                match part {
                    [(id, _)] => tracing::warn!(saga = %id, %error, "a saga can not be read"),
                    _ => tracing::debug!(shard = shard.id, sagas = part.len(), %error,
                        "sagas can not be read together"),
                }
                parts.failed();
                break;
            }
            parts.done();
            pause = AGAIN_AFTER;
        }
        if parts.left.is_empty() {
            return;
        }
    }
    parts.left.iter().for_each(|(id, _)| shard.forget(*id));
}

/// What is to be done, and how much of it together: half as much whenever it failed, twice as much whenever
/// it did not.
struct Parts<T> {
    left: Vec<T>,
    together: usize,
}

impl<T> Parts<T> {
    /// How many are next.
    fn size(&self) -> usize {
        self.together.min(self.left.len())
    }

    /// The next ones; none: all are done.
    fn next(&self) -> Option<&[T]> {
        Some(&self.left[..self.size()]).filter(|part| !part.is_empty())
    }

    fn done(&mut self) {
        self.left.drain(..self.size());
        self.together *= 2;
    }

    /// What failed alone goes to the end: it keeps nobody waiting.
    fn failed(&mut self) {
        let tried = self.size();
        if tried == 1 {
            self.left.rotate_left(1);
        }
        self.together = tried.div_ceil(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what of `0..20` can be done, in at most so many goes.
    fn done(goes: usize, can_be: impl Fn(&[u32]) -> bool) -> Vec<u32> {
        let mut parts = Parts { left: (0..20).collect(), together: 20 };
        let mut done = Vec::new();
        for _ in 0..goes {
            let Some(part) = parts.next() else { break };
            if can_be(part) {
                done.extend_from_slice(part);
                parts.done();
            } else {
                parts.failed();
            }
        }
        done
    }

    #[test]
    fn what_is_too_much_to_be_read_together_is_read_in_parts() {
        // Together they may have four in length, and 13 has it alone.
        let fits = |part: &[u32]| part.len() + if part.contains(&13) { 3 } else { 0 } <= 4;
        let mut done = done(40, fits);
        done.sort_unstable();
        assert_eq!(done, (0..20).collect::<Vec<_>>(), "each once");
    }

    #[test]
    fn what_can_not_be_read_even_alone_keeps_nobody_waiting() {
        let mut done = done(60, |part: &[u32]| !part.contains(&7));
        done.sort_unstable();
        assert_eq!(done, (0..20).filter(|item| *item != 7).collect::<Vec<_>>());
    }
}
