//! The text of a lane's statement, for the partitions of one week or for all.

use std::sync::{Arc, LazyLock};

use super::Record;
use crate::id::SagaId;
use crate::store::partitions::Week;

/// For records that may be there already.
pub(crate) static RECORD_AGAIN: LazyLock<Arc<str>> =
    LazyLock::new(|| include_str!("record.sql").into());

/// For records that are new: a row that is there already is an error.
pub(crate) static RECORD: LazyLock<Arc<str>> =
    LazyLock::new(|| RECORD_AGAIN.replace("on conflict do nothing -- again\n", "\n").into());

/// What the statement calls the tables that are partitioned, in the order of [`Week::partitions`].
const TABLES: [&str; 2] = [" saga.saga ", " saga.entry "];

/// The statement for sagas that all started in one week, as most that share a commit did. It names that
/// week's partitions: by the name of the table PostgreSQL opens each partition there is, and looks for that
/// of each row.
#[derive(Debug)]
pub(crate) struct WeekStatement {
    from: SagaId,
    until: SagaId,
    first: Arc<str>,
    again: Arc<str>,
}

impl WeekStatement {
    /// For the week in which `saga` started.
    pub(crate) fn of(saga: SagaId) -> Self {
        let week = Week::at(saga.started_at());
        let named = |text: &str| {
            let pairs = TABLES.into_iter().zip(week.partitions());
            let named = pairs.fold(text.to_owned(), |text, (table, partition)| {
                text.replace(table, &format!(" {partition} "))
            });
            Arc::from(named)
        };
        let (from, until) = (SagaId::floor(week.begins()), SagaId::floor(week.ends()));
        Self { from, until, first: named(&RECORD), again: named(&RECORD_AGAIN) }
    }

    /// Whether all of them started in its week.
    pub(crate) fn fits(&self, records: &[&Record]) -> bool {
        records.iter().all(|record| (self.from..self.until).contains(&record.saga_id))
    }

    pub(crate) fn text(&self, again: bool) -> Arc<str> {
        if again { self.again.clone() } else { self.first.clone() }
    }
}

/// [`RECORD_AGAIN`] as the planted bugs have it: whatever the fence is, it holds; and an older row
/// replaces a newer one.
pub(crate) fn unfenced() -> String {
    let wrong = [
        ("select s.fence\n", "select f.fence\n"),
        ("and s.fence = f.fence", ""),
        ("for share of s", ""),
        ("and s.rev <= c.rev", ""),
    ];
    wrong.iter().fold(RECORD_AGAIN.to_string(), |sql, (right, wrong)| sql.replace(right, wrong))
}
