//! Writes what happened to a saga before anything is done about it.

use time::OffsetDateTime;

use super::{Driver, Left};
use crate::boundary::Marks;
use crate::hub::News;
use crate::journal::{Direction, Fact, encode};
use crate::lane::Written;
use crate::state::Status;
use crate::store::record::{NewEntry, NewRow, NewSaga, Record};
use crate::summary::{HORIZON, Standing, standing};
use crate::view::Phase;

impl Driver {
    /// Makes everything up to here durable, in one entry.
    pub(super) async fn commit(&mut self) -> Result<(), Left> {
        if self.shard.lost.is_cancelled() {
            return Err(Left::Fenced);
        }
        let Some(record) = self.record(None) else { return Ok(()) };
        let taken = std::mem::take(&mut self.taken);
        match self.shard.lane.write(record).await {
            Written::Yes => {
                self.shard.taken(&taken);
                self.committed();
                Ok(())
            }
            Written::Fenced | Written::KeyTaken => Err(Left::Fenced),
            // What is in memory can not be written: the saga is left as the database has it, open
            // and soon overdue, for a person to see.
            Written::Impossible(_) => {
                taken.iter().for_each(|message| self.shard.undelivered(*message));
                Err(Left::Done)
            }
            Written::Late => Err(Left::Broken),
        }
    }

    /// Tells whoever waits for a change of this saga.
    pub(crate) fn committed(&mut self) {
        self.marks.known();
        if let Some(moved) = self.moves.take() {
            // A trial that is over by its time does not hear of it.
            let _ = moved.send(());
        }
        match self.state.ending {
            // It is told when it has left the memory. What comes too late ends it no second time.
            Some(_) if self.ends => self.node.meters.ended.increment(1),
            Some(_) => {}
            None => {
                let waits = self.standing.as_ref().is_some_and(|row| row.phase == Phase::Waiting);
                let news = if waits { News::Waits } else { News::Changed };
                self.node.hub.tell(self.id, news);
            }
        }
    }

    /// What is to be written, if anything is. With `start` it is a saga's first.
    pub(crate) fn record(&mut self, start: Option<NewSaga>) -> Option<Record> {
        if self.facts.is_empty() && self.taken.is_empty() && start.is_none() {
            return None;
        }
        let facts = std::mem::take(&mut self.facts);
        let entry = (!facts.is_empty()).then(|| {
            self.seq += 1;
            NewEntry {
                seq: self.seq,
                at: self.at,
                fingerprint: facts.iter().find_map(fingerprint_of),
                body: encode(&facts),
            }
        });
        self.ends = facts.iter().any(|fact| matches!(fact, Fact::Ended { .. }));
        self.marks = Marks::of(&self.node.registry, self.id, &facts, &self.state);
        let standing = self.standing_to_write(start.is_some() || !facts.is_empty());
        let (rev, changed_at) = (self.seq, self.at);
        let row = standing.map(|standing| NewRow { standing, rev, changed_at });
        Some(Record {
            saga_id: self.id,
            fence: self.shard.fence,
            timeline: self.shard.timeline,
            start: start.map(Box::new),
            entry,
            row: row.map(Box::new),
            taken: self.taken.clone(),
            marks: self.marks.clone(),
        })
    }

    /// The row, if it would now say something else to a person. A saga that runs from step to step
    /// is running all the time: its row is touched only before it would look overdue.
    fn standing_to_write(&mut self, changed: bool) -> Option<Standing> {
        if !changed || (self.state.ending.is_some() && !self.ends) {
            return None;
        }
        if self.just_runs() && self.standing.as_ref().is_some_and(|row| looks_fresh(row, self.at)) {
            return None;
        }
        let now = standing(&self.state, self.node.handlers(), self.at);
        if self.standing.as_ref() == Some(&now) {
            return None;
        }
        self.standing = Some(now.clone());
        Some(now)
    }

    /// Nothing about it but which step it is at could be said.
    fn just_runs(&self) -> bool {
        let state = &self.state;
        state.ending.is_none()
            && state.turned.is_none()
            && state.held.is_none()
            && state.paused.is_none()
            && state.steps.iter().all(|step| {
                step.status != Status::Open
                    || (step.tries.problem.is_none()
                        && matches!(step.kind, crate::state::Kind::Activity { .. }))
            })
    }
}

/// Says "running", and will go on saying so long enough.
fn looks_fresh(row: &Standing, at: OffsetDateTime) -> bool {
    row.phase == Phase::Running
        && row.direction == Direction::Forward
        && row.next_at.is_some_and(|next_at| next_at > at + HORIZON / 2)
}

fn fingerprint_of(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Failed { problem, .. }
        | Fact::UndoFailed { problem, .. }
        | Fact::Held { problem, .. } => Some(problem.fingerprint.clone()),
        _ => None,
    }
}
