//! What the shop asks of the engine: exactly what its client offers.

use std::time::Duration;

use engine::SagaId;
use engine::client::{Client, Signal, Start, StartError, StartKey, Started, Told, WaitFor};
use engine::error::StoreError;
use engine::view::SagaView;
use futures_util::future::BoxFuture;

/// [`Client`]'s methods; a seam for tests without a database.
pub(crate) trait Sagas: Send + Sync {
    fn start(&self, start: Start) -> BoxFuture<'_, Result<Started, StartError>>;
    /// The saga that this very request started before, if it did.
    fn find(&self, key: StartKey) -> BoxFuture<'_, Result<Option<SagaId>, StoreError>>;
    fn view(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaView>, StoreError>>;
    fn wait(
        &self,
        id: SagaId,
        what: WaitFor,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Option<SagaView>, StoreError>>;
    fn signal(&self, signals: Vec<Signal>) -> BoxFuture<'_, Result<Vec<Told>, StoreError>>;
    fn cancel(
        &self,
        id: SagaId,
        by: String,
        reason: String,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Told, StoreError>>;
}

impl Sagas for Client {
    fn start(&self, start: Start) -> BoxFuture<'_, Result<Started, StartError>> {
        Box::pin(self.start(start))
    }

    fn find(&self, key: StartKey) -> BoxFuture<'_, Result<Option<SagaId>, StoreError>> {
        Box::pin(async move { self.find(&key).await })
    }

    fn view(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaView>, StoreError>> {
        Box::pin(self.view(id))
    }

    fn wait(
        &self,
        id: SagaId,
        what: WaitFor,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Option<SagaView>, StoreError>> {
        Box::pin(self.wait(id, what, timeout))
    }

    fn signal(&self, signals: Vec<Signal>) -> BoxFuture<'_, Result<Vec<Told>, StoreError>> {
        Box::pin(self.signal(signals))
    }

    fn cancel(
        &self,
        id: SagaId,
        by: String,
        reason: String,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Told, StoreError>> {
        Box::pin(async move { self.cancel(id, &by, &reason, timeout).await })
    }
}
