//! A saga as a node drives it: in memory, in the journal, and from the one to the other and back.

use std::collections::BTreeMap;

use engine::activity::ClassKind;
use engine::decide::decide;
use engine::event::{Ask, Event, Message};
use engine::journal::{CODEC_JSON, Fact, decode, encode};
use engine::payload::Payload;
use engine::state::{Kind, State, Status, Todo};
use time::OffsetDateTime;
use uuid::Uuid;

use super::program::{Ends, Program, Walk};
use super::world::World;
use crate::check;
use crate::events::at;

/// A signal that did not come.
const NO_SIGNAL: u64 = 1_000;

/// What is in memory: a crash loses it.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) state: State,
    /// What each position gave.
    answers: BTreeMap<u32, u64>,
    signals: Vec<u64>,
    /// How much of what the program asks for is in the state.
    asked: usize,
    /// What is to be written, and the time it carries: the first of it.
    facts: Vec<Fact>,
    at: i64,
    /// How many messages led to it.
    taken: usize,
    /// What is under way, and whether it is an undo.
    flying: BTreeMap<u32, bool>,
}

/// A saga and all that is kept of it.
pub(crate) struct Saga<'a> {
    program: &'a Program,
    pub(crate) world: World,
    pub(crate) memory: Memory,
    journal: Vec<(OffsetDateTime, Vec<u8>)>,
    inbox: Vec<(Uuid, Message)>,
    sent: u128,
    pub(crate) now: i64,
}

impl<'a> Saga<'a> {
    pub(crate) fn start(program: &'a Program) -> Self {
        let (world, memory) = (World::default(), Memory::default());
        let (journal, inbox) = (Vec::new(), Vec::new());
        let mut saga = Self { program, world, memory, journal, inbox, sent: 0, now: 0 };
        saga.advance();
        saga.commit();
        saga
    }

    /// Everything that was written, as it is read back.
    pub(crate) fn written(&self) -> Vec<(OffsetDateTime, Vec<Fact>)> {
        let read = |(seq, (at, body)): (usize, &(OffsetDateTime, Vec<u8>))| {
            (*at, decode(seq as i32 + 1, CODEC_JSON, body).unwrap())
        };
        self.journal.iter().enumerate().map(read).collect()
    }

    /// What the program asks for, by what it was answered.
    pub(crate) fn walk(&self) -> Walk<'a> {
        walk(self.program, &self.memory.answers)
    }

    /// What the program would ask for if every step ended as it is bound to, and waits as they did.
    pub(crate) fn bound_to(&self) -> Walk<'a> {
        self.program.walk(&|position, used| match used {
            None => self.memory.answers.get(&position).copied(),
            Some(used) => match used.ends {
                Ends::Done(output) => Some(output.into()),
                _ => None,
            },
        })
    }

    pub(crate) fn tell(&mut self, message: Message) {
        self.sent += 1;
        self.inbox.push((Uuid::from_u128(self.sent), message));
    }

    pub(crate) fn read(&mut self) {
        for (id, message) in self.inbox.split_off(self.memory.taken) {
            self.inbox.push((id, message.clone()));
            self.memory.taken += 1;
            self.happen(Event::Message { id, message });
        }
    }

    pub(crate) fn has_mail(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Takes in an event, and runs the program as far as it gets with it.
    fn happen(&mut self, event: Event) {
        if self.decided(event) {
            self.advance();
        }
    }

    fn decided(&mut self, event: Event) -> bool {
        let before = self.memory.state.clone();
        let facts = decide(&before, event.clone());
        if self.memory.facts.is_empty() {
            self.memory.at = self.now;
        }
        for fact in &facts {
            self.memory.keep(fact, at(self.memory.at));
        }
        check::step(&before, &event, &facts, &self.memory.state);
        check::state(&self.memory.state);
        let changed = !facts.is_empty();
        self.memory.facts.extend(facts);
        changed
    }

    fn advance(&mut self) {
        while self.memory.state.turned.is_none() && self.memory.state.ending.is_none() {
            let walk = self.walk();
            if let Some((ask, _)) = walk.asks.get(self.memory.asked) {
                self.memory.asked += 1;
                assert!(self.decided(Event::Asked(ask.clone())), "{ask:?} was dropped");
            } else {
                if walk.returned {
                    self.decided(Event::Returned(Payload::null()));
                }
                return;
            }
        }
    }

    /// Writes what is to be written. What is written is what is known.
    pub(crate) fn commit(&mut self) {
        self.inbox.drain(..std::mem::take(&mut self.memory.taken));
        if !self.memory.facts.is_empty() {
            let facts = std::mem::take(&mut self.memory.facts);
            self.journal.push((at(self.memory.at), encode(&facts)));
            let replayed = self.replay();
            let (live, replayed) = (&self.memory.state, &replayed.state);
            assert_eq!(less_doubt(replayed), less_doubt(live), "a replay differs");
        }
    }

    /// The node dies, and another one takes over.
    pub(crate) fn crash(&mut self) {
        let attempts = self.memory.flying.iter().filter(|(_, is_undo)| !**is_undo);
        attempts.for_each(|(step, _)| self.world.is_cut_off(*step));
        self.memory = self.replay();
        self.memory.state.reloaded();
        check::state(&self.memory.state);
        self.advance();
        let complete = self.journal.is_empty() || self.memory.facts.is_empty();
        assert!(complete, "an outcome without what follows: {:?}", self.memory.facts);
        self.commit();
    }

    fn replay(&self) -> Memory {
        let mut memory = Memory::default();
        let mut recorded = Vec::new();
        for (at, facts) in self.written() {
            for fact in &facts {
                recorded.extend(ask_of(fact));
                memory.keep(fact, at);
            }
        }
        memory.asked = recorded.len();
        let asks = walk(self.program, &memory.answers).asks;
        let asks: Vec<Ask> = asks.into_iter().map(|(ask, _)| ask).collect();
        assert!(recorded.is_empty() || asks == recorded, "{asks:?} is not {recorded:?}");
        memory
    }

    /// What could start now.
    fn due(&self) -> Vec<Todo> {
        if !self.memory.facts.is_empty() || self.memory.taken > 0 {
            return Vec::new();
        }
        let mut due = self.memory.state.todo();
        due.retain(|todo| match todo {
            Todo::Attempt { step, not_before, .. } | Todo::Undo { step, not_before, .. } => {
                not_before.is_none_or(|time| time <= at(self.now))
                    && !self.memory.flying.contains_key(step)
            }
            Todo::Timer { .. } => false,
        });
        due
    }

    pub(crate) fn launch(&mut self, pick: usize) -> bool {
        let due = self.due();
        let Some(todo) = due.get(pick % due.len().max(1)) else { return false };
        match *todo {
            Todo::Attempt { step, .. } => self.memory.flying.insert(step, false),
            Todo::Undo { step, done, .. } => {
                assert_eq!(done, self.memory.answers.contains_key(&step), "step {step}");
                self.memory.flying.insert(step, true)
            }
            Todo::Timer { .. } => None,
        };
        true
    }

    /// Something under way ends.
    pub(crate) fn land(&mut self, pick: usize) -> bool {
        let flying: Vec<_> = self.memory.flying.iter().map(|(step, undo)| (*step, *undo)).collect();
        let waits = !self.memory.facts.is_empty() || self.memory.taken > 0;
        let Some(&(step, is_undo)) = flying.get(pick % flying.len().max(1)).filter(|_| !waits)
        else {
            return false;
        };
        self.memory.flying.remove(&step);
        let used = self.walk().used_at(step).unwrap();
        let event = match is_undo {
            false => self.world.attempt(step, used, self.now),
            true => self.world.undo(step, used, self.now),
        };
        // What broke after it was given up is left to its undo.
        let is_late = |state: &State| {
            let open = state.step(step).is_some_and(|step| step.status == Status::Open);
            !is_undo && (state.turned.is_some() || !open)
        };
        if !(matches!(event, Event::Broken { .. }) && is_late(&self.memory.state)) {
            self.happen(event);
        }
        true
    }

    pub(crate) fn time_passes(&mut self, seconds: i64) {
        self.now += seconds;
        if self.memory.facts.is_empty() && self.memory.taken == 0 {
            self.happen(Event::Due { now: at(self.now) });
        }
    }
}

impl Memory {
    fn keep(&mut self, fact: &Fact, at: OffsetDateTime) {
        let answer = match fact {
            Fact::Signal { payload, .. } => {
                self.signals.push(payload.decode().unwrap());
                None
            }
            Fact::Done { step, output, .. } => Some((*step, output.decode().unwrap())),
            Fact::Signalled { step } => Some((*step, self.kept_for(*step))),
            Fact::TimedOut { step } => Some((*step, NO_SIGNAL)),
            Fact::Woke { step } => Some((*step, 0)),
            _ => None,
        };
        if let Some((step, answer)) = answer {
            assert!(self.answers.insert(step, answer).is_none(), "step {step} ends twice");
        }
        self.state.apply(fact, at);
    }

    fn kept_for(&self, step: u32) -> u64 {
        let Kind::Await { signal, .. } = &self.state.step(step).unwrap().kind else {
            panic!("step {step} waits for no signal");
        };
        self.signals[self.state.kept_signal(signal).unwrap()]
    }
}

fn walk<'a>(program: &'a Program, answers: &BTreeMap<u32, u64>) -> Walk<'a> {
    program.walk(&|position, _| answers.get(&position).copied())
}

fn ask_of(fact: &Fact) -> Option<Ask> {
    Some(match fact.clone() {
        Fact::Intent { name, class, with, input, .. } => Ask::Step { name, class, with, input },
        Fact::Sleep { until, .. } => Ask::Sleep { until },
        Fact::Await { signal, until, .. } => Ask::Signal { name: signal, until },
        Fact::Pivot => Ask::Pivot,
        _ => return None,
    })
}

/// A take-over doubts each open step, and the journal does not say so. It does once it matters: in the
/// plan, of what is undone.
fn less_doubt(state: &State) -> State {
    let mut state = state.clone();
    for step in &mut state.steps {
        let undoable = matches!(step.kind, Kind::Activity { class: ClassKind::Undoable, .. });
        let closed = matches!(step.status, Status::Rejected | Status::GivenUp);
        step.unsure &= undoable && closed;
    }
    state
}
