//! A node that believes it owns the saga's shard: what it holds in memory, what it has under way,
//! and what it makes of an answer.

use engine::event::Event;
use engine::journal::Fact;
use engine::state::{State, Todo};

use crate::mistake::Mistake;
use crate::saga::{self, CHARGE, CONFIRM, RESERVE, advance, happen};
use crate::shared::Shared;
use crate::world::{Answer, Call, Key, Request};

/// One ownership of the shard. A node that took the shard over twice is two of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    /// The fence it took; the latest is the database's.
    pub(crate) fence: u8,
    /// The saga in memory, with what is not written yet.
    pub(crate) state: Shared<State>,
    /// How long it believes the journal is.
    pub(crate) seq: usize,
    /// What it has to write before it goes on.
    pub(crate) facts: Shared<Vec<Fact>>,
    /// The cancel was read for it.
    pub(crate) took_cancel: bool,
    /// It saw its fence in the database, for this write.
    pub(crate) saw_fence: bool,
    pub(crate) flight: Option<Flight>,
}

/// An attempt under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) step: u32,
    pub(crate) is_undo: bool,
    pub(crate) request: Request,
    /// On its way back, or here and not looked at.
    pub(crate) answer: Option<Answer>,
}

/// What an attempt does next.
pub(crate) enum Next {
    /// It is over.
    Land(Event),
    /// It has something else to ask.
    Ask(Call),
}

impl Owner {
    /// Takes over: the journal as it is, and the code run over it.
    pub(crate) fn load(fence: u8, saga: &State, seq: usize) -> Self {
        let mut state = saga.clone();
        state.reloaded();
        let facts = advance(&mut state);
        let (state, facts) = (Shared::new(state), Shared::new(facts));
        Self { fence, state, seq, facts, took_cancel: false, saw_fence: false, flight: None }
    }

    pub(crate) fn happen(&mut self, event: Event) {
        let mut state = State::clone(&self.state);
        let new = happen(&mut state, event);
        if !new.is_empty() {
            let facts = self.facts.iter().cloned().chain(new).collect();
            (self.state, self.facts) = (Shared::new(state), Shared::new(facts));
        }
    }

    /// Whether it has in memory what the journal adds up to. Only of what is in doubt it may know
    /// more: a take-over doubts each open step.
    pub(crate) fn agrees_with(&self, saga: &State) -> bool {
        let without_doubt = |state: &State| {
            let mut state = state.clone();
            state.steps.iter_mut().for_each(|step| step.unsure = false);
            state
        };
        State::eq(&self.state, saga) || without_doubt(&self.state) == without_doubt(saga)
    }

    pub(crate) fn has_to_write(&self) -> bool {
        !self.facts.is_empty()
    }

    /// What it would start now: the first thing due, once nothing else is under way. An undo waits
    /// for its own action to land.
    pub(crate) fn due(&self, mistake: Option<Mistake>) -> Option<Todo> {
        let may_start = !self.has_to_write() || mistake == Some(Mistake::AttemptBeforeIntent);
        if !may_start || self.flight.is_some() {
            return None;
        }
        self.state.todo().into_iter().next()
    }

    /// Starts what is due.
    pub(crate) fn launch(&mut self, todo: &Todo, mistake: Option<Mistake>) -> Call {
        let (step, number, is_undo, call) = match *todo {
            Todo::Attempt { step, number, probe, .. } => {
                (step, number, false, forward(step, key(number, mistake), probe))
            }
            Todo::Undo { step, number, .. } => {
                // An undo knows only of the attempts that ended.
                let last = self.state.step(CHARGE).map_or(0, |step| step.tries.attempts).max(1);
                (step, number, true, backward(step, key(last, mistake), mistake))
            }
            Todo::Timer { .. } => panic!("the workflow has no timer"),
        };
        let request = Request { fence: self.fence, number, call };
        self.flight = Some(Flight { step, is_undo, request, answer: None });
        call
    }

    /// Nobody answered.
    pub(crate) fn time_out(&mut self, gives_up: bool, mistake: Option<Mistake>) {
        let Some(flight) = self.flight.take() else { return };
        self.happen(match (flight.is_undo, mistake) {
            (true, _) => saga::undo_failed(flight.step),
            (false, Some(Mistake::TimeoutIsFailure)) if flight.step == CHARGE => {
                saga::failed(flight.step, false, true)
            }
            (false, _) => saga::failed(flight.step, true, gives_up),
        });
    }
}

impl Flight {
    /// What follows from the answer.
    pub(crate) fn next(&self, answer: Answer, mistake: Option<Mistake>) -> Next {
        match self.is_undo {
            false => self.next_forward(answer, mistake),
            true => self.next_backward(answer),
        }
    }

    fn next_forward(&self, answer: Answer, mistake: Option<Mistake>) -> Next {
        let settles = mistake != Some(Mistake::DeclineWithoutSettling);
        match (self.request.call, answer) {
            (_, Answer::Done | Answer::Captured { .. }) => Next::Land(saga::done(self.step)),
            // Only asked for, in case it happened.
            (Call::LookUp(key), _) => Next::Ask(Call::Charge(key)),
            // Settled before it fails: money that moved meanwhile did not fail.
            (Call::Charge(key), Answer::Declined) if settles => Next::Ask(Call::Cancel(key)),
            (_, Answer::Declined | Answer::Canceled | Answer::ShutOut | Answer::Open) => {
                Next::Land(saga::rejected(self.step))
            }
        }
    }

    fn next_backward(&self, answer: Answer) -> Next {
        match (self.request.call, answer) {
            (Call::LookUp(key) | Call::Cancel(key), Answer::Captured { given_back: false }) => {
                Next::Ask(Call::Refund(key))
            }
            _ => Next::Land(Event::Undone { step: self.step }),
        }
    }
}

/// The idempotency key of the charge.
fn key(number: u32, mistake: Option<Mistake>) -> Key {
    if mistake == Some(Mistake::NewKeyEachAttempt) { number } else { 0 }
}

fn forward(step: u32, key: Key, probe: bool) -> Call {
    match step {
        RESERVE => Call::Reserve,
        CHARGE if probe => Call::LookUp(key),
        CHARGE => Call::Charge(key),
        CONFIRM => Call::Confirm,
        _ => panic!("the workflow has three steps"),
    }
}

fn backward(step: u32, key: Key, mistake: Option<Mistake>) -> Call {
    match step {
        RESERVE => Call::Release,
        CHARGE if mistake == Some(Mistake::LookUpThenCompensate) => Call::LookUp(key),
        CHARGE => Call::Cancel(key),
        _ => panic!("nothing else is undone"),
    }
}
