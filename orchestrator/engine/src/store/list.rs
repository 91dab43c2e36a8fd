//! Lists sagas, newest first, a page at a time, by what an index serves.

use futures_util::{StreamExt, TryStreamExt};
use serde::Serialize;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::StoreError;
use crate::handler::Handlers;
use crate::id::SagaId;
use crate::operator::{Filter, Line, OperateError, Page};
use crate::store::Store;
use crate::store::query::{Stored, columns, journal, owner};
use crate::view::{Look, Phase, Story, present};
use crate::why::unreadable;

/// The most lines of a page.
const PAGE_LINES_MAX: u32 = 200;

/// The rows of a page of keys. `limit 1` keeps the planner to one index lookup a key; the journals
/// of ended sagas are not needed.
macro_rules! page {
    ($keys:expr) => {
        concat!(
            "with page as materialized (",
            $keys,
            ")
select ",
            columns!(),
            ",
       j.seqs, j.ats, j.codecs, j.bodies
  from page
 cross join lateral (
       select * from saga.saga k
        where k.shard_id = page.shard_id and k.saga_id = page.saga_id limit 1
       ) s
  ",
            owner!(),
            "
 ",
            journal!(" and s.phase <> 'ended'"),
            "
 order by s.saga_id desc"
        )
    };
}

/// The filters on open sagas. Stuck: a person is needed, or its time is long past, or it has been
/// failing for long.
macro_rules! open {
    ($served_by:literal) => {
        page!(concat!(
            "
  select s.shard_id, s.saga_id
    from saga.saga s
   where s.phase <> 'ended' and ",
            $served_by,
            "
     and s.saga_id < $1
     and ($2::text is null or s.workflow = $2)
     and ($3::text is null or s.phase = $3)
     and ($4::text is null or s.direction = $4)
     and ($5::text is null or s.activity = $5)
     and ($6::text is null or s.dependency = $6)
     and ($7::boolean is null or $7 = (
             s.attention is not null
          or s.next_at < clock_timestamp() - interval '30 seconds'
          or (s.phase = 'retrying'
              and (s.attempt >= 5 or s.first_failed_at < clock_timestamp() - interval '2 minutes'))
         ))
     and ($8::boolean is null or $8 = (s.attention is not null))
     and ($9::text is null or s.fingerprint = $9)
   order by s.saga_id desc
   limit $10"
        ))
    };
}

/// Open sagas, by `saga_open`.
pub(super) const OPEN: &str = open!("s.next_at is not null");
/// Those that need a person, by `saga_attention`.
pub(super) const ATTENTION: &str = open!("s.attention is not null");
/// Those with one failure, by `saga_failing`.
pub(super) const FAILING: &str = open!("s.fingerprint = $9");

/// All sagas or all that ended, by the primary key: a few of each shard, then the newest of them.
pub(super) const HISTORY: &str = page!(
    "
  select p.shard_id, p.saga_id
    from saga.shard h
   cross join lateral (
         select s.shard_id, s.saga_id
           from saga.saga s
          where s.shard_id = h.shard_id and s.saga_id < $1
            and ($2::text is null or s.workflow = $2)
            and ($3::text is null or s.ending = $3)
            and ($4::text is null or s.direction = $4)
            and (not $5::boolean or s.phase = 'ended')
          order by s.saga_id desc
          limit $6
         ) p
   order by p.saga_id desc
   limit $6"
);

pub(super) const CLOCK: &str = "select clock_timestamp()";

/// Which statement serves a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Open,
    Attention,
    Failing,
    History { ended: bool },
}

impl Store {
    /// A page of sagas, newest first: those before `before`, at most `limit`.
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        before: Option<SagaId>,
        limit: u32,
        handlers: &Handlers,
    ) -> Result<Page, OperateError> {
        let route = route(filter).map_err(|reason| OperateError::Filter(reason.to_owned()))?;
        let limit = limit.clamp(1, PAGE_LINES_MAX);
        let (as_of,): (OffsetDateTime,) =
            self.page(async |connection| sqlx::query_as(CLOCK).fetch_one(connection).await).await?;
        let before = before.map_or(Uuid::max(), SagaId::uuid);
        // One more than asked for says whether there is a next page.
        let rows = i64::from(limit) + 1;
        let query = match route {
            Route::History { ended } => sqlx::query(HISTORY)
                .bind(before)
                .bind(&filter.workflow)
                .bind(filter.ending.map(text))
                .bind(filter.direction.map(text))
                .bind(ended)
                .bind(rows),
            Route::Open | Route::Attention | Route::Failing => sqlx::query(match route {
                Route::Attention => ATTENTION,
                Route::Failing => FAILING,
                Route::Open | Route::History { .. } => OPEN,
            })
            .bind(before)
            .bind(&filter.workflow)
            .bind(filter.phase.map(text))
            .bind(filter.direction.map(text))
            .bind(&filter.step)
            .bind(&filter.dependency)
            .bind(filter.stuck)
            .bind(filter.attention)
            .bind(&filter.fingerprint)
            .bind(rows),
        };
        // Row by row, so that no more than one journal is in memory.
        let reading = self.page(async |connection| {
            let lines = query.fetch(connection).map(|row| Stored::from_row(&row?));
            lines.map_ok(|stored| line(stored, handlers, as_of)).try_collect().await
        });
        let mut sagas: Vec<Line> = reading.await.map_err(too_long)?;
        let more = sagas.len() > limit as usize;
        sagas.truncate(limit as usize);
        let next = sagas.last().filter(|_| more).map(|line| line.summary.id);
        Ok(Page { sagas, next, as_of })
    }
}

fn line(stored: Stored, handlers: &Handlers, now: OffsetDateTime) -> Line {
    let Stored { row, owner, entries } = stored;
    if row.phase == Phase::Ended {
        return Line { summary: row, why: None };
    }
    match entries {
        Ok(entries) => {
            let story = Story::of(&entries);
            let (summary, why, _) = present(row, &story, Look { handlers, owner, now });
            Line { summary, why }
        }
        // One saga that can not be read does not hide the others.
        Err(error) => {
            let why = Some(unreadable(&row, &error));
            Line { summary: row, why }
        }
    }
}

/// The statement that serves `filter`, or why none does.
fn route(filter: &Filter) -> Result<Route, &'static str> {
    let ended =
        filter.open == Some(false) || filter.phase == Some(Phase::Ended) || filter.ending.is_some();
    let only_open = filter.phase.is_some_and(|phase| phase != Phase::Ended)
        || filter.step.is_some()
        || filter.dependency.is_some()
        || filter.fingerprint.is_some()
        || filter.attention.is_some()
        || filter.stuck.is_some();
    if ended && filter.open == Some(true) {
        return Err("an open saga has no ending: leave out `open`, or the ending");
    }
    if ended && only_open {
        return Err("phase, step, dependency, fingerprint, attention and stuck are kept for open \
             sagas only: leave them out, or ask for open sagas");
    }
    Ok(match filter {
        _ if ended => Route::History { ended },
        Filter { fingerprint: Some(_), .. } => Route::Failing,
        Filter { attention: Some(true), .. } => Route::Attention,
        Filter { open: Some(true), .. } => Route::Open,
        _ if only_open => Route::Open,
        _ => Route::History { ended },
    })
}

/// The word of a column with a CHECK.
fn text<T: Serialize>(word: T) -> String {
    match serde_json::to_value(word) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("a word: {other:?}"),
    }
}

/// A statement that was stopped for taking too long is the filter's fault.
fn too_long(error: StoreError) -> OperateError {
    if error.was_stopped() {
        let reason = "this filter reads too many sagas and was stopped; ask for open sagas only";
        return OperateError::Filter(reason.to_owned());
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Direction, Ending};

    #[test]
    fn each_filter_has_its_index_or_is_refused() {
        let all = Filter::default();
        let cases = [
            (all.clone(), Ok(Route::History { ended: false })),
            (
                Filter { direction: Some(Direction::Backward), ..all.clone() },
                Ok(Route::History { ended: false }),
            ),
            (
                Filter { workflow: Some("w".into()), ..all.clone() },
                Ok(Route::History { ended: false }),
            ),
            (Filter { open: Some(false), ..all.clone() }, Ok(Route::History { ended: true })),
            (
                Filter { phase: Some(Phase::Ended), ..all.clone() },
                Ok(Route::History { ended: true }),
            ),
            (
                Filter { ending: Some(Ending::Undone), ..all.clone() },
                Ok(Route::History { ended: true }),
            ),
            (Filter { open: Some(true), ..all.clone() }, Ok(Route::Open)),
            (Filter { step: Some("s".into()), ..all.clone() }, Ok(Route::Open)),
            (Filter { stuck: Some(true), ..all.clone() }, Ok(Route::Open)),
            (Filter { attention: Some(false), ..all.clone() }, Ok(Route::Open)),
            (Filter { attention: Some(true), ..all.clone() }, Ok(Route::Attention)),
            (
                Filter { fingerprint: Some("f".into()), attention: Some(true), ..all.clone() },
                Ok(Route::Failing),
            ),
            (Filter { open: Some(true), ending: Some(Ending::Undone), ..all.clone() }, Err(())),
            (Filter { open: Some(true), phase: Some(Phase::Ended), ..all.clone() }, Err(())),
            (Filter { open: Some(false), step: Some("s".into()), ..all.clone() }, Err(())),
            (Filter { open: Some(false), dependency: Some("d".into()), ..all.clone() }, Err(())),
            (Filter { open: Some(false), phase: Some(Phase::Held), ..all.clone() }, Err(())),
            (Filter { ending: Some(Ending::Undone), stuck: Some(true), ..all }, Err(())),
        ];
        for (filter, expected) in cases {
            assert_eq!(route(&filter).map_err(|_| ()), expected, "{filter:?}");
        }
    }
}
