//! The audit can only grow, and whoever changes it all the same is found out.

use futures_util::future::join_all;
use uuid::Uuid;

use super::*;
use crate::error::StoreError;

#[tokio::test]
async fn the_audit_is_append_only() {
    let database = Database::new().await;
    let id = SagaId::new(1, seconds_ago(20.0));
    database.put(id, &[(-20.0, &[charging()])]).await;
    let operator = operator(&database.store, idle());
    operator.act(id, Action::Retry, who("r"), None).await.unwrap();
    for statement in
        ["update saga.audit set reason = 'x'", "delete from saga.audit", "truncate saga.audit"]
    {
        let changing = async |connection: &mut _| sqlx::query(statement).execute(connection).await;
        let StoreError::Refused(error) = database.store.with(changing).await.unwrap_err() else {
            panic!("{statement} may be tried again")
        };
        assert!(error.to_string().contains("the audit is append-only"), "{statement}: {error}");
    }
    assert_eq!(database.count("saga.audit").await, 1);
}

#[tokio::test]
async fn actions_at_the_same_time_are_one_chain_and_verify_names_the_row_that_was_changed() {
    let database = Database::new().await;
    let id = SagaId::new(1, seconds_ago(20.0));
    database.put(id, &[(-20.0, &[charging()])]).await;
    let operator = operator(&database.store, idle());
    let acts = (0..8).map(|n| {
        let (operator, reason) = (&operator, format!("reason {n}"));
        async move { operator.act(id, Action::Retry, who(&reason), None).await.unwrap() }
    });
    join_all(acts).await;
    assert_eq!(operator.verify().await.unwrap(), []);

    let disguised = async |statement: &str| {
        database.execute("alter table saga.audit disable trigger audit_is_kept").await;
        database.execute(statement).await;
        let found = operator.verify().await.unwrap();
        let audit = found.iter().filter(|one| one.invariant == "audit_chain");
        audit.map(|one| (one.id.clone(), one.detail.clone())).collect::<Vec<_>>()
    };
    let ids = sqlx::query_scalar("select audit_id from saga.audit order by seq");
    let rows: Vec<Uuid> =
        database.store.with(async |connection| ids.fetch_all(connection).await).await.unwrap();
    let at = |seq: usize, detail: &str| (rows[seq - 1].to_string(), detail.to_owned());
    let changed = "row 2 of the audit is not what was written";
    assert_eq!(
        disguised("update saga.audit set actor = 'nobody' where seq = 2").await,
        [at(2, changed)]
    );
    let missing = "rows 4 to 5 of the audit are missing";
    assert_eq!(
        disguised("delete from saga.audit where seq in (4, 5)").await,
        [at(2, changed), at(6, missing)]
    );
    let end = ("audit".to_owned(), "the audit ends at row 7, its head says 8".to_owned());
    assert_eq!(
        disguised("delete from saga.audit where seq = 8").await,
        [at(2, changed), at(6, missing), end]
    );
}
