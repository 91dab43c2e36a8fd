//! What the operators' door can do: exactly what the engine offers operators.

use engine::SagaId;
use engine::error::StoreError;
use engine::journal::Entry;
use engine::operator::{Acted, Action, Filter, NodeView, OperateError, Operator, Page, Who};
use engine::view::SagaView;
use futures_util::future::BoxFuture;

/// [`Operator`]'s methods; a seam for tests without a database.
pub trait Operations: Send + Sync {
    /// A page of sagas, newest first.
    fn list(
        &self,
        filter: Filter,
        before: Option<SagaId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Page, OperateError>>;
    /// One saga.
    fn view(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaView>, StoreError>>;
    /// Its journal.
    fn history(&self, id: SagaId) -> BoxFuture<'_, Result<Option<Vec<Entry>>, StoreError>>;
    /// Does something to it.
    fn act(
        &self,
        id: SagaId,
        action: Action,
        who: Who,
        if_rev: Option<i32>,
    ) -> BoxFuture<'_, Result<Acted, OperateError>>;
    /// All nodes.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeView>, StoreError>>;
}

impl Operations for Operator {
    fn list(
        &self,
        filter: Filter,
        before: Option<SagaId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Page, OperateError>> {
        Box::pin(async move { self.list(&filter, before, limit).await })
    }

    fn view(&self, id: SagaId) -> BoxFuture<'_, Result<Option<SagaView>, StoreError>> {
        Box::pin(self.view(id))
    }

    fn history(&self, id: SagaId) -> BoxFuture<'_, Result<Option<Vec<Entry>>, StoreError>> {
        Box::pin(self.history(id))
    }

    fn act(
        &self,
        id: SagaId,
        action: Action,
        who: Who,
        if_rev: Option<i32>,
    ) -> BoxFuture<'_, Result<Acted, OperateError>> {
        Box::pin(self.act(id, action, who, if_rev))
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeView>, StoreError>> {
        Box::pin(self.nodes())
    }
}
