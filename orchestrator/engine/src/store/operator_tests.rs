//! The operator's side on a real database.

use std::sync::Arc;

use sqlx::SqlSafeStr;

use super::{Store, list, load, operate, query, verify};
use crate::client::Told;
use crate::event::Verdict;
use crate::id::SagaId;
use crate::journal::{Ending, Fact};
use crate::operator::{Action, Filter, OperateError, Operator, Poke, Who};
use crate::summary::properties::{event, journal_of};
use crate::summary::standing;
use crate::view::fixture::{
    at, done, failed, handlers, held, intent, refused, row, turned_back, undo_failed,
};
use crate::view::{EffectState, Phase, Summary};

mod audit;
pub(super) mod database;
mod lists;

use database::{Database, owner, seconds_ago};

fn operator(store: &Store, poke: Poke) -> Operator {
    Operator::new(store.clone(), Arc::new(handlers()), poke)
}

fn idle() -> Poke {
    Arc::new(|_| {})
}

fn charging() -> Fact {
    intent(1, "charge-payment", "EUR 42.00")
}

fn who(reason: &str) -> Who {
    Who { actor: "admin:anna".into(), reason: reason.into(), request_id: Some("req_1".into()) }
}

/// The plan of a statement for these parameters, which are written as SQL in parentheses.
async fn plan_of(store: &Store, statement: &str, parameters: &str) -> String {
    let mut connection = store.connection().await.unwrap();
    let prepare = sqlx::AssertSqlSafe(format!("prepare hot as {statement}")).into_sql_str();
    sqlx::raw_sql(prepare).execute(&mut connection).await.unwrap();
    let explain = sqlx::AssertSqlSafe(format!("explain execute hot{parameters}")).into_sql_str();
    let lines: Vec<String> =
        sqlx::query_scalar(explain).persistent(false).fetch_all(&mut connection).await.unwrap();
    lines.join("\n")
}

#[tokio::test]
async fn hot_statements_use_their_index_however_long_the_history_is() {
    let database = Database::new().await;
    database.fill_history(20_000, 300).await;
    let all = "'ffffffff-ffff-ffff-ffff-ffffffffffff'";
    let rest = "null, null, null, null, null";
    let one = SagaId::new(1, seconds_ago(1.0));
    let cases = [
        (query::SAGAS, format!("('{{{{1}}}}', '{{{{{one}}}}}')"), "_pkey"),
        (list::OPEN, format!("({all}, {rest}, null, null, null, 51)"), "_shard_id_next_at_"),
        (
            list::ATTENTION,
            format!("({all}, {rest}, null, null, null, 51)"),
            "_attention_saga_id_idx",
        ),
        (
            list::FAILING,
            format!("({all}, {rest}, null, null, 'f1', 51)"),
            "_fingerprint_saga_id_idx",
        ),
        (list::HISTORY, format!("({all}, null, null, null, false, 51)"), "_pkey"),
        (verify::SAGAS_AFTER, format!("(1, {all}, 500)"), "_pkey"),
        (
            load::OPEN,
            format!("(1, '-infinity', '{one}', 500, '{{place-order}}', '{{}}')"),
            "_shard_id_next_at_",
        ),
        (
            load::OVERDUE,
            format!("('{{1, 2}}', now(), 500, '{{place-order}}', '{{}}', '-infinity', '{one}')"),
            "_shard_id_next_at_",
        ),
        (verify::OPEN_COUNT, String::new(), "_shard_id_next_at_"),
        (operate::AUDIT_OF_SAGA, format!("('{one}')"), "audit_saga"),
        (operate::IS_WAITING, format!("(1, '{one}')"), "inbox_pkey"),
    ];
    for (statement, parameters, index) in cases {
        let plan = plan_of(&database.store, statement, &parameters).await;
        assert!(plan.contains(index), "{statement}\n{plan}");
        assert!(!plan.contains("Seq Scan on saga_"), "{statement}\n{plan}");
        assert!(!plan.contains("Seq Scan on entry_"), "{statement}\n{plan}");
    }
}

#[tokio::test]
async fn pages_hold_every_saga_once_the_newest_first() {
    let database = Database::new().await;
    let mut ids = Vec::new();
    for number in 0..25_i16 {
        let id = SagaId::new(number % 4, seconds_ago(f64::from(number)));
        let ended = Fact::Ended { ending: Ending::Completed, output: None };
        let facts = if number % 3 == 0 { vec![charging(), ended] } else { vec![charging()] };
        database.put(id, &[(0.0, &facts)]).await;
        ids.push((id, number % 3 == 0));
    }
    ids.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    let operator = operator(&database.store, idle());
    for (filter, wanted) in [
        (Filter::default(), None),
        (Filter { open: Some(true), ..Filter::default() }, Some(false)),
        (Filter { open: Some(false), ..Filter::default() }, Some(true)),
        (Filter { ending: Some(Ending::Completed), ..Filter::default() }, Some(true)),
        (Filter { step: Some("charge-payment".into()), ..Filter::default() }, Some(false)),
    ] {
        let mut listed = Vec::new();
        let mut before = None;
        loop {
            let page = operator.list(&filter, before, 4).await.unwrap();
            assert!(page.sagas.len() <= 4);
            assert!(
                page.sagas
                    .iter()
                    .all(|line| { line.why.is_none() == (line.summary.phase == Phase::Ended) })
            );
            listed.extend(page.sagas.iter().map(|line| line.summary.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let wanted: Vec<_> = ids
            .iter()
            .filter(|(_, ended)| wanted.is_none_or(|wanted| wanted == *ended))
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(listed, wanted, "{filter:?}");
    }
}

#[tokio::test]
async fn filters_find_what_they_say() {
    let database = Database::new().await;
    let ago = |seconds: f64| -seconds;
    let ids: Vec<_> = (0..7_i16)
        .map(|number| SagaId::new(number % 4, seconds_ago(f64::from(1_000 - number))))
        .collect();
    let id = |number: usize| ids[number];
    let charge = [charging()];
    let back = [charging(), done(1, "ch_3"), turned_back(&[(1, "charge-payment", true)])];
    let sleep = [Fact::Sleep { step: 1, until: seconds_ago(-60.0) }];
    let poison = [charging(), held(Some(1), "poison", "p")];
    // 0 runs, 1 is overdue, 2 retries, 3 has retried for long, 4 sleeps, 5 is held, 6 is undone.
    database.put(id(0), &[(ago(1.0), &charge)]).await;
    database.put(id(1), &[(ago(90.0), &charge)]).await;
    database.put_retrying(id(2), ago(10.0), 5.0).await;
    database.put_retrying(id(3), ago(130.0), 5.0).await;
    database.put(id(4), &[(ago(5.0), &sleep)]).await;
    database.put(id(5), &[(ago(5.0), &poison)]).await;
    database.put(id(6), &[(ago(5.0), &back)]).await;

    let fingerprint = crate::problem::fingerprint(&["gateway_unavailable"]);
    let none = Filter::default();
    let cases = [
        (Filter { stuck: Some(true), ..none.clone() }, vec![5, 3, 1]),
        (Filter { stuck: Some(false), ..none.clone() }, vec![6, 4, 2, 0]),
        (Filter { attention: Some(true), ..none.clone() }, vec![5]),
        (Filter { attention: Some(false), stuck: Some(true), ..none.clone() }, vec![3, 1]),
        (Filter { phase: Some(Phase::Retrying), ..none.clone() }, vec![3, 2]),
        (Filter { phase: Some(Phase::Waiting), ..none.clone() }, vec![4]),
        (Filter { fingerprint: Some(fingerprint), ..none.clone() }, vec![3, 2]),
        (
            Filter { dependency: Some("payment gateway".into()), ..none.clone() },
            vec![6, 5, 3, 2, 1, 0],
        ),
        (Filter { direction: Some(crate::journal::Direction::Backward), ..none.clone() }, vec![6]),
        (Filter { workflow: Some("other".into()), ..none.clone() }, vec![]),
    ];
    let operator = operator(&database.store, idle());
    for (filter, wanted) in cases {
        let page = operator.list(&filter, None, 200).await.unwrap();
        let listed: Vec<_> = page.sagas.iter().map(|line| line.summary.id).collect();
        assert_eq!(listed, wanted.into_iter().map(id).collect::<Vec<_>>(), "{filter:?}");
        for line in page.sagas {
            let stuck = line.why.is_some_and(|why| why.stuck);
            assert!(filter.stuck.is_none_or(|wanted| wanted == stuck), "{filter:?}");
        }
    }
    let refused = Filter { open: Some(false), phase: Some(Phase::Held), ..none };
    let error = operator.list(&refused, None, 10).await.unwrap_err();
    assert!(error.to_string().starts_with("phase, step, dependency"), "{error}");
}

#[tokio::test]
async fn a_view_and_a_list_say_the_same() {
    let database = Database::new().await;
    let id = SagaId::new(1, seconds_ago(20.0));
    database.put(id, &[(-20.0, &[charging()]), (-10.0, &[failed(1, 1, "503", Some(1e9))])]).await;
    let operator = operator(&database.store, idle());
    let view = operator.view(id).await.unwrap().unwrap();
    let page = operator.list(&Filter::default(), None, 1).await.unwrap();
    assert_eq!(page.sagas[0].summary, view.summary);
    assert_eq!(page.sagas[0].why.as_ref().unwrap().code, view.why.unwrap().code);
    assert_eq!((view.summary.rev, view.effects[0].state), (2, EffectState::Unknown));
    assert_eq!(operator.history(id).await.unwrap().unwrap().len(), 2);

    let nobody = SagaId::new(1, seconds_ago(5.0));
    assert!(operator.view(nobody).await.unwrap().is_none());
    assert!(operator.history(nobody).await.unwrap().is_none());
}

#[tokio::test]
async fn a_shard_that_nobody_owns_is_said() {
    let database = Database::new().await;
    // The fixture's node owns shards 0 to 2, a dead one owned shard 3.
    let id = SagaId::new(3, seconds_ago(2.0));
    database.put(id, &[(-2.0, &[charging()])]).await;
    let view = operator(&database.store, idle()).view(id).await.unwrap().unwrap();
    let why = view.why.unwrap();
    assert_eq!(why.code, "no_owner");
    assert!(why.sentence.starts_with("Nobody owns its shard since "), "{}", why.sentence);
}

#[tokio::test]
async fn one_unreadable_journal_does_not_hide_the_others() {
    let database = Database::new().await;
    let (bad, good) = (SagaId::new(0, seconds_ago(2.0)), SagaId::new(1, seconds_ago(1.0)));
    database.put(bad, &[(-2.0, &[charging()])]).await;
    database.put(good, &[(-1.0, &[charging()])]).await;
    database.execute("update saga.entry set codec = 9 where shard_id = 0").await;
    let operator = operator(&database.store, idle());
    let page = operator.list(&Filter::default(), None, 10).await.unwrap();
    let codes: Vec<_> = page.sagas.into_iter().map(|line| line.why.unwrap().code).collect();
    assert_eq!(codes, ["running", "unreadable"]);
    assert!(operator.view(bad).await.is_err());
}

#[tokio::test]
async fn an_action_is_recorded_with_its_reason_and_answered() {
    let database = Database::new().await;
    let id = SagaId::new(1, seconds_ago(20.0));
    database.put(id, &[(-20.0, &[charging()])]).await;
    let operator = operator(&database.store, owner(&database.store));
    let pause = operator.act(id, Action::Pause, who("status page red"), Some(1)).await.unwrap();
    assert_eq!(pause.told, Told::Taken);
    let why = pause.view.why.unwrap();
    assert!(why.sentence.starts_with("Paused by admin:anna "), "{}", why.sentence);

    let again = operator.act(id, Action::Pause, who("again"), None).await.unwrap();
    assert_eq!(again.told, Told::Refused("already_paused".into()));
    let verdict = Verdict::Happened(serde_json::json!("ch_3"));
    let resolved =
        operator.act(id, Action::Resolve { step: 1, verdict }, who("seen"), None).await.unwrap();
    assert_eq!(resolved.told, Told::Taken);
    assert_eq!(resolved.view.effects[0].state, EffectState::InForce);

    let audit = operator.audit(id).await.unwrap();
    let rows: Vec<_> = audit.iter().map(|row| (&*row.action, &*row.reason)).collect();
    assert_eq!(rows, [("resolve", "seen"), ("pause", "again"), ("pause", "status page red")]);
    assert_eq!(audit[2].audit_id, pause.audit_id);
    assert_eq!((&*audit[2].actor, audit[2].request_id.as_deref()), ("admin:anna", Some("req_1")));
    assert_eq!(audit[2].detail["rev"], 1);
    assert_eq!(audit[0].detail["action"]["verdict"]["happened"], "ch_3");
    assert!(audit[0].detail["message_id"].is_string());
}

#[tokio::test]
async fn an_action_that_is_not_sent_leaves_nothing() {
    let database = Database::new().await;
    let id = SagaId::new(1, seconds_ago(20.0));
    database.put(id, &[(-20.0, &[charging()])]).await;
    let operator = operator(&database.store, idle());
    let blank = operator.act(id, Action::Retry, who(" \n"), None).await;
    assert!(matches!(blank, Err(OperateError::ReasonMissing)), "{blank:?}");
    let stale = operator.act(id, Action::Retry, who("r"), Some(7)).await;
    assert!(matches!(stale, Err(OperateError::Stale { now: 1, seen: 7 })), "{stale:?}");
    let nobody = SagaId::new(1, seconds_ago(5.0));
    let missing = operator.act(nobody, Action::Retry, who("r"), None).await;
    assert!(matches!(missing, Err(OperateError::NoSuchSaga(id)) if id == nobody), "{missing:?}");
    assert_eq!(database.count("saga.inbox").await, 0);
    assert_eq!(database.count("saga.audit").await, 0);

    let unheard = operator.act(id, Action::Retry, who("r"), Some(1)).await.unwrap();
    assert_eq!(unheard.told, Told::Pending, "no owner took it");
    assert_eq!((database.count("saga.inbox").await, database.count("saga.audit").await), (1, 1));
}

#[tokio::test]
async fn nodes_are_shown_with_their_shards() {
    let database = Database::new().await;
    let nodes = operator(&database.store, idle()).nodes().await.unwrap();
    let seen: Vec<_> = nodes.iter().map(|node| (&*node.name, node.alive, &*node.shards)).collect();
    assert_eq!(seen, [("dead", false, &[3_i16][..]), ("alive", true, &[0, 1, 2])]);
    assert_eq!(nodes[1].workflows, ["place-order"]);
}

proptest::proptest! {
    #[test]
    fn verify_believes_every_journal_that_the_rules_write(
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let (state, entries) = journal_of(events);
        let standing = standing(&state, &handlers(), at(0.0));
        let (direction, phase, ending) = (standing.direction, standing.phase, standing.ending);
        let row = Summary { direction, phase, ending, ..row() };
        proptest::prop_assert_eq!(verify::folds_to_row(&row, &entries), []);
    }
}

#[tokio::test]
async fn verify_finds_each_kind_of_damage_and_nothing_else() {
    let database = Database::new().await;
    let undone = Fact::Undone { step: 1, by: None };
    let end = Fact::Ended { ending: Ending::Cancelled, output: None };
    let back = [done(1, "ch_3"), turned_back(&[(1, "charge-payment", true)])];
    let stuck = [undo_failed(1, 1, "busy", Some(1.0))];
    let charge = [charging()];
    let entries: [(f64, &[Fact]); 4] =
        [(-9.0, &charge), (-8.0, &back), (-7.0, &stuck), (-6.0, &[undone, end])];
    let mut ids = Vec::new();
    for number in 0..9_i16 {
        let id = SagaId::new(number % 3, seconds_ago(f64::from(20 - number)));
        database.put(id, &entries).await;
        ids.push(id);
    }
    let open = SagaId::new(3, seconds_ago(1.0));
    database.put(open, &[(-1.0, &charge), (0.0, &[refused(1, 1, Some(5.0))])]).await;
    let operator = operator(&database.store, idle());
    assert_eq!(operator.verify().await.unwrap(), []);
    assert_eq!(operator.open_count().await.unwrap(), 1);

    let of = |id: SagaId| format!("where saga_id = '{id}'");
    let entry = |id, seq| format!("{} and seq = {seq}", of(id));
    let damage = [
        (format!("delete from saga.entry {}", entry(ids[0], 3)), ids[0], "journal_gap_free"),
        (format!("delete from saga.entry {}", entry(ids[1], 4)), ids[1], "journal_folds_to_ending"),
        (
            format!(
                "update saga.entry set body = convert_to(replace(convert_from(body, 'UTF8'), '\"digest\":\"', '\"digest\":\"0'), 'UTF8') {}",
                entry(ids[2], 2)
            ),
            ids[2],
            "plan_digest",
        ),
        (
            format!(
                "update saga.saga set ending = 'completed', direction = 'forward' {}",
                of(ids[3])
            ),
            ids[3],
            "journal_folds_to_direction",
        ),
        (
            format!("update saga.entry set body = '{{' {}", entry(ids[4], 1)),
            ids[4],
            "journal_readable",
        ),
        (
            format!(
                "update saga.entry set body = convert_to('[{{\"ended\":{{\"ending\":\"cancelled\"}}}}]', 'UTF8') {}",
                entry(ids[5], 4)
            ),
            ids[5],
            "ended_means_undone",
        ),
        (format!("update saga.saga set rev = 9 {}", of(ids[6])), ids[6], "rev_within_journal"),
        (format!("delete from saga.saga {}", of(ids[7])), ids[7], "journal_has_a_saga"),
        (format!("update saga.saga set shard_id = 3 {}", of(ids[8])), ids[8], "id_says_the_shard"),
    ];
    for (statement, ..) in &damage {
        database.execute(statement).await;
    }
    let found = operator.verify().await.unwrap();
    for (_, id, invariant) in &damage {
        let hit = |found: &&crate::operator::Violation| {
            found.invariant == *invariant && found.id == id.to_string()
        };
        assert!(found.iter().any(|one| hit(&one)), "{invariant} not in {found:#?}");
    }
    assert!(found.iter().all(|one| one.id != open.to_string()), "{found:#?}");
}
