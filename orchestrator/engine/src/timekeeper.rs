//! Wakes the sagas that rest in the database when their time has come.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::node::Node;

/// Sagas woken at once a shard.
const WAKE_MAX: usize = 500;
/// A saga rests only if it is due later than this, so nothing is missed by looking this often.
/// Looking costs no statement.
const TICK: Duration = Duration::from_secs(1);

/// Wakes what is due until stopped.
pub(crate) async fn run(node: Arc<Node>, stopped: CancellationToken) {
    loop {
        let now = clock::now();
        let mut pause = TICK;
        for shard in node.owned().into_iter().filter(|shard| shard.is_open()) {
            let due = shard.due(now, WAKE_MAX);
            if due.len() == WAKE_MAX {
                pause = Duration::ZERO;
            }
            node.bring(&shard, due.into_iter().map(|id| (id, None)).collect(), false);
            if let Some(next) = shard.next_due() {
                pause = pause.min(Duration::try_from(next - now).unwrap_or_default());
            }
        }
        tokio::select! {
            () = stopped.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
