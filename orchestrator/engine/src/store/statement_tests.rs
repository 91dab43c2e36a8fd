//! Every statement of the engine is prepared against a migrated database.

use sqlx::{Executor, SqlStr};

use super::operator_tests::database::Database;
use super::{inbox, lease, list, load, nodes, operate, partitions, query, record, start, verify};

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
    ("record again", record::RECORD_AGAIN),
    ("own keys", record::OWN_KEYS),
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
    ("leave", lease::LEAVE),
    ("shard count", partitions::SHARD_COUNT),
    ("partitions there", partitions::THERE),
    ("set shards", partitions::SET_SHARDS),
    ("make shards", partitions::MAKE_SHARDS),
    ("claim run", partitions::CLAIM_RUN),
];

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let Database { store } = Database::new().await;
    let mut connection = store.connection().await.unwrap();
    let (name, first) = ("record", record::RECORD.as_str());
    assert_eq!(first.matches("on conflict").count(), 1, "a start key is taken once: {first}");
    for (name, statement) in STATEMENTS.into_iter().chain([(name, first)]) {
        let prepared = (&mut connection).prepare(SqlStr::from_static(statement)).await;
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
}
