//! The rules hold whatever happens in whatever order: properties of the pure core, over random
//! sequences of events.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod check;
mod events;
mod programs;

use engine::decide::decide;
use engine::event::{Event, Message};
use engine::journal::{Ending, Fact, Problem};
use engine::state::{State, Todo};
use proptest::prelude::*;
use time::OffsetDateTime;
use uuid::Uuid;

use events::{Happening, at, event_of, happening};

/// A saga and everything that became of it.
#[derive(Default)]
struct Saga {
    state: State,
    entries: Vec<(OffsetDateTime, Vec<Fact>)>,
    /// What the next position of the workflow is joined with.
    leader: Option<u32>,
}

impl Saga {
    /// Takes an event in, as a driver does, and checks every rule that must hold before and after.
    fn happen(&mut self, event: Event) {
        let now = at(self.entries.len() as i64);
        let before = self.state.clone();
        let facts = decide(&self.state, event.clone());
        self.state.apply_all(&facts, now);
        check::step(&before, &event, &facts, &self.state);
        check::state(&self.state);
        if !facts.is_empty() {
            self.entries.push((now, facts));
        }
    }

    fn replayed(&self) -> State {
        let mut state = State::default();
        for (at, facts) in &self.entries {
            state.apply_all(facts, *at);
        }
        state
    }
}

fn run(happenings: &[Happening]) -> Saga {
    let mut saga = Saga::default();
    for happening in happenings {
        if let Some(event) = event_of(&saga.state, &mut saga.leader, happening) {
            saga.happen(event);
        }
    }
    saga
}

/// Lets every undo succeed; an operator lets go what is held or paused.
fn unwind(saga: &mut Saga) {
    let by = || "operator".to_owned();
    for number in 0..1_000 {
        if saga.state.ending.is_some() {
            return;
        }
        let id = Uuid::from_u128(1 << 64 | number);
        if saga.state.paused.is_some() {
            saga.happen(Event::Message { id, message: Message::Resume { by: by() } });
        } else if saga.state.held.is_some() {
            saga.happen(Event::Message { id, message: Message::RetryNow { by: by() } });
        }
        for todo in saga.state.todo() {
            let Todo::Undo { step, .. } = todo else { panic!("backward, and {todo:?} is due") };
            saga.happen(Event::Undone { step });
        }
    }
    panic!("it never ends: {:#?}", saga.state);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        max_global_rejects: 100_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_rule_holds_after_every_event(happenings in prop::collection::vec(happening(), 0..40)) {
        run(&happenings);
    }

    #[test]
    fn a_replay_of_the_facts_leads_to_the_same_state(
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let saga = run(&happenings);
        prop_assert_eq!(saga.replayed(), saga.state);
    }

    #[test]
    fn what_is_written_is_read_back(happenings in prop::collection::vec(happening(), 0..40)) {
        for (_, facts) in run(&happenings).entries {
            let body = engine::journal::encode(&facts);
            prop_assert_eq!(engine::journal::decode(1, 0, &body).unwrap(), facts);
        }
    }

    #[test]
    fn a_cancel_before_the_pivot_always_leads_to_an_end(
        happenings in prop::collection::vec(happening(), 0..25),
    ) {
        let mut saga = run(&happenings);
        prop_assume!(saga.state.ending.is_none() && saga.state.pivot.is_none());
        let message = Message::Cancel { by: "customer".into(), reason: "changed my mind".into() };
        let turned_before = saga.state.turned.is_some();
        saga.happen(Event::Message { id: Uuid::from_u128(7), message });
        unwind(&mut saga);
        let ending = saga.state.ending.unwrap();
        prop_assert!(turned_before || ending == Ending::Cancelled);
        prop_assert!(matches!(ending, Ending::Cancelled | Ending::Undone));
    }

    #[test]
    fn whatever_turned_back_ends_once_its_undos_succeed(
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let mut saga = run(&happenings);
        prop_assume!(saga.state.turned.is_some());
        unwind(&mut saga);
        let planned = saga.state.turned.as_ref().unwrap().plan.groups.iter().flatten();
        for undo in planned {
            prop_assert!(saga.state.step(undo.step).unwrap().undone);
        }
    }

    #[test]
    fn a_reload_changes_nothing_but_what_is_asked_first(
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let saga = run(&happenings);
        let mut reloaded = saga.state.clone();
        reloaded.reloaded();
        let kept = |todo: &Todo| match todo.clone() {
            Todo::Attempt { step, number, not_before, .. } => {
                Todo::Attempt { step, number, not_before, probe: true }
            }
            other => other,
        };
        let before: Vec<_> = saga.state.todo().iter().map(kept).collect();
        let after: Vec<_> = reloaded.todo().iter().map(kept).collect();
        prop_assert_eq!(before, after);
    }
}

#[test]
fn an_undo_that_is_stuck_stays_so_when_its_neighbour_is_undone() {
    let mut saga = Saga::default();
    for with in [Some(1), Some(1)] {
        saga.happen(events::asked_step("put", engine::activity::ClassKind::Undoable, with));
    }
    saga.happen(events::done(1));
    saga.happen(events::done(2));
    let message = Message::Cancel { by: "customer".into(), reason: "no".into() };
    saga.happen(Event::Message { id: Uuid::nil(), message });
    let problem = Problem::own("stuck", "no way");
    saga.happen(Event::UndoFailed { step: 2, problem, next_at: None });
    saga.happen(Event::Undone { step: 1 });
    assert!(saga.state.held.is_some(), "only a person lets it go");
    assert_eq!(saga.state.todo(), []);
    unwind(&mut saga);
    assert_eq!(saga.state.ending, Some(Ending::Cancelled));
}

#[test]
fn a_replay_doubts_what_the_plan_doubts() {
    let mut saga = Saga::default();
    saga.happen(events::asked_step("put", engine::activity::ClassKind::Undoable, None));
    // A crash cuts an attempt off; the next one says no.
    saga.state.reloaded();
    let (code, reason) = ("no".to_owned(), "no".to_owned());
    saga.happen(Event::Rejected { step: 1, code, reason, details: None });
    assert_eq!(saga.state.todo().len(), 1, "what may have happened is undone");
    assert_eq!(saga.replayed(), saga.state);
}
