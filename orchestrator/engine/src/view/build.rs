//! Puts a saga's view together from its row, its journal and what this node knows of activities.

use time::OffsetDateTime;

use super::effects::effects;
use super::steps::steps;
use super::story::Story;
use super::{Effect, SagaView, Summary, Why};
use crate::handler::Handlers;
use crate::journal::Entry;
use crate::payload::Payload;
use crate::summary::{Standing, standing};
use crate::why::{Owner, Seen, why};

/// What this node knows when it looks.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    /// The activities this node has.
    pub(crate) handlers: &'a Handlers,
    /// The owner of the saga's shard.
    pub(crate) owner: Owner,
    /// Now.
    pub(crate) now: OffsetDateTime,
}

impl SagaView {
    /// The view of the saga with this row, input and journal.
    pub(crate) fn of(row: Summary, input: Payload, entries: &[Entry], look: Look<'_>) -> Self {
        let mut story = Story::of(entries);
        let (summary, why, effects) = present(row, &story, look);
        Self {
            summary,
            input,
            result: story.result.take(),
            because: story.state.turned.as_ref().map(|turned| turned.because.clone()),
            why,
            past_pivot: story.state.pivot.is_some(),
            effects,
            steps: steps(story, look.handlers),
        }
    }
}

/// The row brought up to the journal's end, why it stands so, and what is in force.
pub(crate) fn present(
    row: Summary,
    story: &Story,
    look: Look<'_>,
) -> (Summary, Option<Why>, Vec<Effect>) {
    let moved_at = story.moved_at.unwrap_or(row.created_at);
    let at = story.paused_at.filter(|_| story.state.paused.is_some()).unwrap_or(moved_at);
    let standing = standing(&story.state, look.handlers, at);
    let effects = effects(story, look.handlers, look.now);
    let why = why(&Seen {
        state: &story.state,
        standing: &standing,
        workflow: &row.workflow,
        handlers: look.handlers,
        effects: &effects,
        owner: look.owner,
        moved_at,
        paused_at: story.paused_at,
        now: look.now,
    });
    (brought_up(row, standing, story.rev, moved_at), why, effects)
}

fn brought_up(row: Summary, standing: Standing, rev: i32, moved_at: OffsetDateTime) -> Summary {
    // What comes after the end changes nothing.
    let is_open = row.ending.is_none();
    let changed_at = if is_open && rev > row.rev { moved_at } else { row.changed_at };
    Summary {
        direction: standing.direction,
        phase: standing.phase,
        ending: standing.ending,
        step: standing.step,
        activity: standing.activity,
        attempt: standing.attempt,
        first_failed_at: standing.first_failed_at,
        next_at: standing.next_at,
        dependency: standing.dependency,
        error: standing.problem,
        attention: standing.attention,
        rev,
        changed_at,
        ..row
    }
}
