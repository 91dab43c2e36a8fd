//! Lists that read much.

use futures_util::future::join_all;

use super::database::{Database, seconds_ago};
use crate::error::StoreError;
use crate::id::SagaId;
use crate::store::{PAGE_CONNECTIONS_MAX, POOL_CONNECTIONS_MAX};
use crate::view::fixture::handlers;

#[tokio::test]
async fn lists_that_read_for_ever_keep_nobody_from_looking_at_one_saga() {
    let database = Database::new().await;
    let store = &database.store;
    let endless = (0..2 * POOL_CONNECTIONS_MAX).map(|_| {
        store.page(async |connection| {
            sqlx::query("select pg_sleep(600)").execute(connection).await.map(|_| ())
        })
    });
    let handlers = handlers();
    // The lists have their connections first, as many as they get.
    let (lists, view) = tokio::join!(
        join_all(endless),
        store.view(SagaId::new(1, seconds_ago(1.0)), &handlers, seconds_ago(0.0)),
    );
    assert!(view.unwrap().is_none());
    // Whoever got one is told that it reads too much, before the door gives the request up.
    let stopped = lists.into_iter().filter_map(Result::err).filter(StoreError::was_stopped);
    assert_eq!(stopped.count(), PAGE_CONNECTIONS_MAX as usize);
}
