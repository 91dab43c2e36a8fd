//! Who waits for which saga to change or end, in this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::id::SagaId;

/// What became of a saga; who waits for one of them hears of those below it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// Something was written.
    Changed,
    /// It waits: for a signal, or for a time.
    Waits,
    /// It ended.
    Ended,
}

/// The waiters of a node.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    /// So that a commit that nobody waits for costs one load.
    waiting: AtomicUsize,
    waiters: Mutex<HashMap<SagaId, Vec<Waiter>>>,
}

#[derive(Debug)]
struct Waiter {
    least: News,
    woken: Arc<Notify>,
}

/// One who waits. Dropped, it waits no more.
#[derive(Debug)]
pub(crate) struct Waiting {
    hub: Arc<Hub>,
    id: SagaId,
    woken: Arc<Notify>,
}

impl Hub {
    fn waiters(&self) -> MutexGuard<'_, HashMap<SagaId, Vec<Waiter>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers interest. Do it before looking, so that no change is missed in between.
    pub(crate) fn wait(self: &Arc<Self>, id: SagaId, least: News) -> Waiting {
        let woken = Arc::new(Notify::new());
        self.waiters().entry(id).or_default().push(Waiter { least, woken: woken.clone() });
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting { hub: self.clone(), id, woken }
    }

    /// Tells whoever waits for such news of a saga.
    pub(crate) fn tell(&self, id: SagaId, news: News) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(waiters) = self.waiters().get(&id) {
            waiters.iter().filter(|waiter| waiter.least <= news).for_each(|waiter| {
                waiter.woken.notify_one();
            });
        }
    }
}

impl Waiting {
    /// Waits for the next change since this was made or last returned.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiters = self.hub.waiters();
        if let Some(of_saga) = waiters.get_mut(&self.id) {
            of_saga.retain(|waiter| !Arc::ptr_eq(&waiter.woken, &self.woken));
            if of_saga.is_empty() {
                waiters.remove(&self.id);
            }
        }
        self.hub.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_less_hears_of_more_and_of_nothing_else() {
        let hub = Arc::new(Hub::default());
        let [id, other] = [1, 2].map(|shard| SagaId::new(shard, crate::clock::now()));
        let all = [News::Changed, News::Waits, News::Ended];
        for news in all {
            let waiting = all.map(|least| hub.wait(id, least));
            hub.tell(other, News::Ended);
            assert!(waiting.iter().all(|waiting| waiting.woken().now_or_never().is_none()));
            hub.tell(id, news);
            for (waiting, least) in waiting.iter().zip(all) {
                let hears = waiting.woken().now_or_never().is_some();
                assert_eq!(hears, least <= news, "{least:?} {news:?}");
            }
        }
        assert!(hub.waiters().is_empty());
    }
}
