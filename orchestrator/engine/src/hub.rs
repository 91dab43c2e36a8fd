//! Who waits for which saga to change or end, in this process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::id::SagaId;

/// The waiters of a node.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    /// So that a commit that nobody waits for costs one load.
    waiting: AtomicUsize,
    waiters: Mutex<HashMap<SagaId, Vec<Waiter>>>,
}

#[derive(Debug)]
struct Waiter {
    for_end: bool,
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
    pub(crate) fn wait(self: &Arc<Self>, id: SagaId, for_end: bool) -> Waiting {
        let woken = Arc::new(Notify::new());
        self.waiters().entry(id).or_default().push(Waiter { for_end, woken: woken.clone() });
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting { hub: self.clone(), id, woken }
    }

    /// A saga changed.
    pub(crate) fn changed(&self, id: SagaId, ended: bool) {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(waiters) = self.waiters().get(&id) {
            waiters.iter().filter(|waiter| ended || !waiter.for_end).for_each(|waiter| {
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
