//! What must be true of the engine's own database, checked from its rows alone.

use futures_util::TryStreamExt;
use sqlx::FromRow;
use uuid::Uuid;

use crate::error::StoreError;
use crate::id::SagaId;
use crate::journal::{Ending, Entry, Fact, Plan};
use crate::operator::Violation;
use crate::plan;
use crate::state::State;
use crate::store::Store;
use crate::store::query::{Stored, columns, journal, owner};
use crate::view::{Phase, Summary};

/// How many sagas one statement reads.
const PAGE_SAGAS: i64 = 500;
/// How many violations are reported; a database that has more has one cause.
const VIOLATIONS_MAX: usize = 1_000;

/// Row and journal in one statement: a saga that moves meanwhile is still seen as of one moment.
pub(super) const SAGAS_AFTER: &str = concat!(
    "
with page as materialized (
  select s.shard_id, s.saga_id
    from saga.saga s
   where (s.shard_id, s.saga_id) > ($1, $2)
   order by s.shard_id, s.saga_id
   limit $3
)
select ",
    columns!(),
    ",
       s.shard_id, j.seqs, j.ats, j.codecs, j.bodies
  from page
 cross join lateral (
       select * from saga.saga k
        where k.shard_id = page.shard_id and k.saga_id = page.saga_id limit 1
       ) s
  ",
    owner!(),
    "
 ",
    journal!(""),
    "
 order by s.shard_id, s.saga_id"
);

pub(super) const JOURNALS_WITHOUT_SAGA: &str = "
select e.saga_id
  from saga.entry e
 where e.seq = 1
   and not exists (select from saga.saga s where s.shard_id = e.shard_id and s.saga_id = e.saga_id)
 limit 100";

pub(super) const KEYS_WITHOUT_SAGA: &str = "
select k.saga_id
  from saga.start_key k
 where not exists (select from saga.saga s where s.shard_id = k.shard_id and s.saga_id = k.saga_id)
 limit 100";

/// The rows of the audit that do not follow from the row before, and what is missing at its end.
pub(super) const AUDIT_CHAIN: &str = "
with chain as (
  select a as written, a.audit_id, a.seq, a.hash,
         lag(a.hash, 1, sha256('')) over (order by a.seq) as before,
         lag(a.seq, 1, 0::bigint) over (order by a.seq) as last_seq
    from saga.audit a
), broken as (
  select seq, audit_id::text as id,
         case when seq <> last_seq + 1
              then format('rows %s to %s of the audit are missing', last_seq + 1, seq - 1)
              else format('row %s of the audit is not what was written', seq) end as detail
    from chain
   where seq <> last_seq + 1 or hash <> saga.audit_hash(before, written)
), head as (
  select h.seq, 'audit' as id,
         format('the audit ends at row %s, its head says %s', coalesce(e.seq, 0), h.seq) as detail
    from saga.audit_head h
    left join (select seq, hash from saga.audit order by seq desc limit 1) e on true
   where (h.seq, h.hash) is distinct from (coalesce(e.seq, 0), coalesce(e.hash, sha256('')))
)
select id, detail from (select * from broken union all select * from head) wrong
 order by seq limit 100";

pub(super) const OPEN_COUNT: &str = "select count(*) from saga.saga where phase <> 'ended'";

impl Store {
    /// Every violation of what must be true of the engine's own database, at most 1,000.
    pub(crate) async fn verify(&self) -> Result<Vec<Violation>, StoreError> {
        let mut violations = Vec::new();
        let mut after = (-1_i16, Uuid::nil());
        loop {
            let query = sqlx::query(SAGAS_AFTER).bind(after.0).bind(after.1).bind(PAGE_SAGAS);
            // Row by row, so that no more than one journal is in memory.
            let read = self.scan(async |connection| {
                let (mut rows, mut read) = (query.fetch(connection), 0);
                while let Some(row) = rows.try_next().await? {
                    let stored = Stored::from_row(&row)?;
                    after = (sqlx::Row::try_get(&row, "shard_id")?, stored.row.id.uuid());
                    read += 1;
                    violations.extend(check(&stored, after.0));
                }
                Ok(read)
            });
            let read = read.await?;
            if read < PAGE_SAGAS || violations.len() >= VIOLATIONS_MAX {
                break;
            }
        }
        for (statement, invariant, detail) in [
            (JOURNALS_WITHOUT_SAGA, "journal_has_a_saga", "a journal without its saga's row"),
            (KEYS_WITHOUT_SAGA, "start_key_has_a_saga", "a start key without its saga's row"),
        ] {
            let ids: Vec<Uuid> = self
                .scan(async |connection| sqlx::query_scalar(statement).fetch_all(connection).await)
                .await?;
            violations
                .extend(ids.into_iter().map(|id| violation(invariant, id, detail.to_owned())));
        }
        let broken: Vec<(String, String)> = self
            .scan(async |connection| sqlx::query_as(AUDIT_CHAIN).fetch_all(connection).await)
            .await?;
        let broken = broken.into_iter();
        violations.extend(broken.map(|(id, detail)| violation("audit_chain", id, detail)));
        violations.truncate(VIOLATIONS_MAX);
        Ok(violations)
    }

    /// How many sagas are open.
    pub(crate) async fn open_count(&self) -> Result<u64, StoreError> {
        let count: i64 = self
            .scan(async |connection| sqlx::query_scalar(OPEN_COUNT).fetch_one(connection).await)
            .await?;
        Ok(count.unsigned_abs())
    }
}

fn violation(invariant: &'static str, id: impl ToString, detail: String) -> Violation {
    Violation { invariant, id: id.to_string(), detail }
}

/// What is wrong with one saga.
fn check(stored: &Stored, shard: i16) -> Vec<Violation> {
    let row = &stored.row;
    let entries = match &stored.entries {
        Ok(entries) => entries,
        Err(error) => return vec![violation("journal_readable", row.id, error.to_string())],
    };
    let mut wrong = Vec::new();
    let mut must = |invariant, holds: bool, detail: &dyn Fn() -> String| {
        if !holds {
            wrong.push(violation(invariant, row.id, detail()));
        }
    };
    must("id_says_the_shard", row.id.shard() == shard, &|| {
        format!("its row is on shard {shard}, its id says {}", row.id.shard())
    });
    let gap = entries.iter().zip(1..).find(|(entry, seq)| entry.seq != *seq);
    must("journal_gap_free", gap.is_none(), &|| {
        format!(
            "after entry {} comes {:?}",
            gap.map_or(0, |gap| gap.1 - 1),
            gap.map(|gap| gap.0.seq)
        )
    });
    let length = entries.last().map_or(0, |entry| entry.seq);
    must("rev_within_journal", row.rev <= length, &|| {
        format!("its row is of rev {}, its journal ends at {length}", row.rev)
    });
    must("open_has_a_next_time", (row.phase == Phase::Ended) == row.next_at.is_none(), &|| {
        format!("phase {:?}, next at {:?}", row.phase, row.next_at)
    });
    wrong.extend(folds_to_row(row, entries));
    wrong
}

/// The journal, read from its start, leads to the row; plans are what was frozen, and carried out.
pub(super) fn folds_to_row(row: &Summary, entries: &[Entry]) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut state = State::default();
    for entry in entries {
        for fact in &entry.facts {
            if state.ending.is_some() && !matches!(fact, Fact::Refused { .. }) {
                let detail = format!("entry {} goes on after the end", entry.seq);
                wrong.push(violation("nothing_after_the_end", row.id, detail));
            }
            if let Fact::TurnedBack { plan, .. } = fact {
                wrong.extend(plan_holds(row.id, &state, plan));
            }
            state.apply(fact, entry.at);
        }
    }
    let mut same = |invariant, holds: bool, detail: String| {
        if !holds {
            wrong.push(violation(invariant, row.id, detail));
        }
    };
    same(
        "journal_folds_to_direction",
        state.direction() == row.direction,
        format!("the row goes {:?}, the journal {:?}", row.direction, state.direction()),
    );
    same(
        "journal_folds_to_ending",
        state.ending == row.ending && state.ending.is_some() == (row.phase == Phase::Ended),
        format!("the row: {:?} {:?}, the journal: {:?}", row.phase, row.ending, state.ending),
    );
    let left = state.turned.iter().flat_map(|turned| turned.plan.groups.iter().flatten());
    let left: Vec<u32> = left
        .map(|undo| undo.step)
        .filter(|number| state.step(*number).is_none_or(|step| !step.undone))
        .collect();
    let clean = !matches!(state.ending, Some(Ending::Undone | Ending::Cancelled));
    same("ended_means_undone", clean || left.is_empty(), format!("steps {left:?} are not undone"));
    wrong
}

/// The frozen plan has the digest of what it says, and leaves out nothing that was done.
fn plan_holds(id: SagaId, before: &State, frozen: &Plan) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let digest = plan::digest(&frozen.groups);
    if digest != frozen.digest {
        let detail = format!("it says {}, its steps give {digest}", frozen.digest);
        wrong.push(violation("plan_digest", id, detail));
    }
    // What a crash cut off may be in the plan besides, as a step that may have happened.
    let planned = |step| frozen.groups.iter().flatten().any(|undo| undo.step == step);
    let due = Plan::of(before).groups;
    let missing: Vec<u32> =
        due.iter().flatten().map(|undo| undo.step).filter(|step| !planned(*step)).collect();
    if !missing.is_empty() {
        let detail = format!("steps {missing:?} took effect and are not in the plan");
        wrong.push(violation("plan_is_complete", id, detail));
    }
    wrong
}
