//! Every statement of the engine is prepared against a migrated database, and that of the lanes is run.

use sqlx::{AssertSqlSafe, Executor, PgConnection, SqlSafeStr};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::operator_tests::database::Database;
use super::partitions::Week;
use super::record::statement::{RECORD, RECORD_AGAIN, WeekStatement};
use super::record::{NewEntry, NewRow, NewSaga, OWN_KEYS, Record, Recorder};
use super::{Store, inbox, lease, list, load, nodes, operate, partitions, query, start, verify};
use crate::boundary::Marks;
use crate::clock;
use crate::id::SagaId;
use crate::state::State;
use crate::summary::standing;
use crate::view::fixture::handlers;

const STATEMENTS: [(&str, &str); 39] = [
    ("sagas", query::SAGAS),
    ("open", list::OPEN),
    ("attention", list::ATTENTION),
    ("failing", list::FAILING),
    ("history", list::HISTORY),
    ("clock", list::CLOCK),
    ("nodes", nodes::NODES),
    ("send", operate::SEND),
    ("is waiting", operate::IS_WAITING),
    ("audit", operate::AUDIT_OF_SAGA),
    ("sagas after", verify::SAGAS_AFTER),
    ("journals without saga", verify::JOURNALS_WITHOUT_SAGA),
    ("keys without saga", verify::KEYS_WITHOUT_SAGA),
    ("open count", verify::OPEN_COUNT),
    ("audit chain", verify::AUDIT_CHAIN),
    ("own keys", OWN_KEYS),
    ("start", start::START),
    ("find key", start::FIND_KEY),
    ("open sagas", load::OPEN),
    ("overdue", load::OVERDUE),
    ("rows", load::ROWS),
    ("entries", load::ENTRIES),
    ("claimed", load::CLAIMED),
    ("leave message", inbox::LEAVE),
    ("read messages", inbox::READ),
    ("messages of one", inbox::READ_OF),
    ("notify", inbox::NOTIFY),
    ("renew", lease::RENEW),
    ("shards", lease::SHARDS),
    ("live nodes", lease::LIVE_NODES),
    ("take", lease::TAKE),
    ("release", lease::RELEASE),
    ("leaving", lease::LEAVING),
    ("leave", lease::LEAVE),
    ("shard count", partitions::SHARD_COUNT),
    ("partitions there", partitions::THERE),
    ("set shards", partitions::SET_SHARDS),
    ("make shards", partitions::MAKE_SHARDS),
    ("claim run", partitions::CLAIM_RUN),
];

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let store = database_with_weeks().await;
    let mut connection = store.connection().await.unwrap();
    let week = WeekStatement::of(SagaId::new(1, clock::now()));
    let of_lanes = [
        ("record", RECORD.clone()),
        ("record again", RECORD_AGAIN.clone()),
        ("record, this week's", week.text(false)),
        ("record again, this week's", week.text(true)),
    ];
    let statements = STATEMENTS.map(|(name, statement)| (name, statement.into()));
    for (name, statement) in statements.into_iter().chain(of_lanes) {
        let prepared = (&mut connection).prepare(AssertSqlSafe(statement).into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
}

/// With the partitions that a node makes.
async fn database_with_weeks() -> Store {
    let database = Database::new().await;
    database
        .execute("drop table saga.saga_old, saga.saga_new, saga.entry_old, saga.entry_new")
        .await;
    database.store.make_partitions(clock::now()).await.unwrap();
    database.store
}

/// A recorder, a connection to look at what it does, and the fence of shard 1.
async fn recorder() -> (Recorder, PgConnection, Uuid) {
    let store = database_with_weeks().await;
    let recorder = Recorder::open(&store).await.unwrap();
    let mut connection = store.connection().await.unwrap();
    let fence = "select fence from saga.shard where shard_id = 1";
    let fence: Uuid = sqlx::query_scalar(fence).fetch_one(&mut connection).await.unwrap();
    (recorder, connection, fence)
}

#[tokio::test]
async fn what_started_in_two_weeks_is_written_in_one_commit() {
    let (mut recorder, mut connection, fence) = recorder().await;
    let now = clock::now();
    let week = Duration::weeks(1);
    // One week alone, two at once, and the other one alone.
    for weeks in [&[now][..], &[now, now + week], &[now + week]] {
        let records: Vec<Record> = weeks.iter().map(|at| starting(fence, *at)).collect();
        let records: Vec<&Record> = records.iter().collect();
        // Again, as after a commit whose answer was lost: nothing is written twice.
        for again in [false, true] {
            assert_eq!(recorder.record(&records, again).await.unwrap().held, [fence]);
        }
    }
    for at in [now, now + week] {
        for partition in Week::at(at).partitions() {
            let count = AssertSqlSafe(format!("select count(*) from {partition}"));
            let count: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
            assert_eq!(count, 2, "{partition}");
        }
    }
}

#[test]
fn a_week_begins_on_monday_and_its_statement_fits_no_other() {
    let monday = datetime!(2026-12-28 00:00 UTC);
    let ms = Duration::milliseconds(1);
    let fence = Uuid::nil();
    let [before, first, last, after] =
        [monday - ms, monday, monday + Duration::WEEK - ms, monday + Duration::WEEK]
            .map(|at| starting(fence, at));
    let statement = WeekStatement::of(last.saga_id);
    assert!(statement.fits(&[&first, &last]));
    assert!(!statement.fits(&[&first, &before]) && !statement.fits(&[&after, &first]));
    let text = statement.text(false);
    assert!(
        text.contains(" saga.saga_2026w53 ") && text.contains(" saga.entry_2026w53 "),
        "{text}"
    );
}

#[tokio::test]
async fn a_lane_comes_to_look_rows_up_by_key_also_if_there_were_none_when_it_began() {
    let (mut recorder, mut connection, fence) = recorder().await;
    connection.execute("vacuum (analyze)").await.unwrap();
    for batch in 0..3 {
        let records: Vec<Record> = (0..100).map(|_| starting(fence, clock::now())).collect();
        recorder.record(&records.iter().collect::<Vec<_>>(), false).await.unwrap();
        let plan = plan_kept(&mut recorder.connection).await;
        let reads_all = plan.contains("Join Filter: ((s_1.rev <= c.rev) AND (s_1.shard_id");
        assert_eq!(reads_all, batch == 0, "{plan}");
    }
}

/// The plan that a lane's session keeps for its statement.
async fn plan_kept(connection: &mut PgConnection) -> String {
    let name = "select name from pg_prepared_statements where statement like '%start_key%'";
    // Not kept itself: it speaks of that table too.
    let name = sqlx::query_scalar(name).persistent(false).fetch_one(&mut *connection);
    let name: String = name.await.unwrap();
    let none = vec!["'{}'"; 44].join(", ");
    let explain = AssertSqlSafe(format!("explain execute {name} ({none})"));
    let lines: Vec<String> =
        sqlx::query_scalar(explain).persistent(false).fetch_all(connection).await.unwrap();
    lines.join("\n")
}

/// A saga's first record, of a start at `at`.
fn starting(fence: Uuid, at: OffsetDateTime) -> Record {
    let saga_id = SagaId::new(1, at);
    let start = NewSaga {
        workflow: "place-order",
        root: saga_id.uuid(),
        business_key: None,
        subject: None,
        input: b"null".to_vec(),
        created_at: at,
        key: None,
    };
    let entry = NewEntry { seq: 1, at, fingerprint: None, body: b"[]".to_vec() };
    let standing = standing(&State::default(), &handlers(), at);
    Record {
        saga_id,
        fence,
        timeline: 0,
        start: Some(Box::new(start)),
        entry: Some(entry),
        row: Some(Box::new(NewRow { standing, rev: 1, changed_at: at })),
        taken: Vec::new(),
        marks: Marks::default(),
    }
}

#[test]
fn what_is_new_is_never_taken_for_what_is_there_but_for_start_keys() {
    let week = WeekStatement::of(SagaId::new(1, clock::now()));
    for first in [RECORD.clone(), week.text(false)] {
        assert_eq!(first.matches("on conflict").count(), 1, "{first}");
    }
}

#[test]
fn the_statement_of_a_week_names_no_table_of_many() {
    let week = WeekStatement::of(SagaId::new(1, clock::now()));
    for text in [week.text(false), week.text(true)] {
        let partitions = ["saga.saga_20", "saga.entry_20"].map(|name| text.matches(name).count());
        assert_eq!(partitions, [2, 1], "{text}");
        assert!(!text.contains(" saga.saga ") && !text.contains(" saga.entry "), "{text}");
    }
}
