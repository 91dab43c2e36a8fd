//! What a journal adds up to with its payloads and times: the state, and what each step left.

use time::OffsetDateTime;

use crate::journal::{Direction, Entry, Fact, Problem};
use crate::payload::Payload;
use crate::state::{Kind, State};

/// A journal, read once.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// What it adds up to.
    pub(crate) state: State,
    /// The last entry's `seq`; 0: nothing has happened yet.
    pub(crate) rev: i32,
    /// When the last entry was written.
    pub(crate) moved_at: Option<OffsetDateTime>,
    /// When it was last paused.
    pub(crate) paused_at: Option<OffsetDateTime>,
    /// What its steps left, in their order.
    pub(crate) steps: Vec<StepStory>,
    /// The workflow's result.
    pub(crate) result: Option<Payload>,
    signals: Vec<Payload>,
}

/// What one step left in the journal besides its state.
#[derive(Debug, Default)]
pub(crate) struct StepStory {
    pub(crate) input: Option<Payload>,
    pub(crate) output: Option<Payload>,
    pub(crate) closed_at: Option<OffsetDateTime>,
    /// An operator said what became of it, so its outcome was not an attempt's.
    pub(crate) by_hand: bool,
    pub(crate) timed_out: bool,
    pub(crate) failures: Vec<FailedAttempt>,
}

/// One failed attempt of a step or of its undo.
#[derive(Debug)]
pub(crate) struct FailedAttempt {
    pub(crate) direction: Direction,
    pub(crate) attempt: u32,
    pub(crate) at: OffsetDateTime,
    pub(crate) problem: Problem,
    pub(crate) next_at: Option<OffsetDateTime>,
}

impl Story {
    /// Reads a journal.
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut story = Self::default();
        for entry in entries {
            for fact in &entry.facts {
                story.keep(fact, entry.at);
                story.state.apply(fact, entry.at);
                story.steps.resize_with(story.state.steps.len(), StepStory::default);
            }
            story.rev = entry.seq;
            story.moved_at = Some(entry.at);
        }
        story
    }

    /// Keeps what the state does not. Called before the fact is applied.
    fn keep(&mut self, fact: &Fact, at: OffsetDateTime) {
        match fact {
            Fact::Intent { step, input, .. } if *step as usize == self.steps.len() + 1 => {
                self.steps.push(StepStory { input: Some(input.clone()), ..StepStory::default() });
            }
            Fact::Done { step, output, by } => self.at(*step, |kept| {
                kept.output = Some(output.clone());
                kept.closed_at = Some(at);
                kept.by_hand = by.is_some();
            }),
            Fact::Rejected { step } | Fact::Woke { step } => {
                self.at(*step, |kept| kept.closed_at = Some(at));
            }
            Fact::TimedOut { step } => self.at(*step, |kept| {
                kept.closed_at = Some(at);
                kept.timed_out = true;
            }),
            Fact::Failed { step, attempt, problem, next_at, .. } => {
                self.failed(*step, Direction::Forward, *attempt, problem, *next_at, at);
            }
            Fact::UndoFailed { step, attempt, problem, next_at } => {
                self.failed(*step, Direction::Backward, *attempt, problem, *next_at, at);
            }
            Fact::Signal { payload, .. } => self.signals.push(payload.clone()),
            Fact::Signalled { step } => self.signalled(*step, at),
            Fact::Paused { .. } => self.paused_at = Some(at),
            Fact::Ended { output, .. } => self.result.clone_from(output),
            _ => {}
        }
    }

    fn at(&mut self, step: u32, change: impl FnOnce(&mut StepStory)) {
        if let Some(kept) = (step as usize).checked_sub(1).and_then(|at| self.steps.get_mut(at)) {
            change(kept);
        }
    }

    fn failed(
        &mut self,
        step: u32,
        direction: Direction,
        attempt: u32,
        problem: &Problem,
        next_at: Option<OffsetDateTime>,
        at: OffsetDateTime,
    ) {
        self.at(step, |kept| {
            if direction == Direction::Forward && next_at.is_none() {
                kept.closed_at = Some(at);
            }
            let problem = problem.clone();
            kept.failures.push(FailedAttempt { direction, attempt, at, problem, next_at });
        });
    }

    fn signalled(&mut self, step: u32, at: OffsetDateTime) {
        let Some(Kind::Await { signal, .. }) = self.state.step(step).map(|step| &step.kind) else {
            return;
        };
        // The state keeps its signals in the same order.
        let payload = self.state.kept_signal(signal).and_then(|kept| self.signals.get(kept));
        let payload = payload.cloned();
        self.at(step, |kept| {
            kept.output = payload;
            kept.closed_at = Some(at);
        });
    }
}
