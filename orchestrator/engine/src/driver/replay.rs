//! Runs a saga's code over its journal, and beyond it.

use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Driver, StepPayloads};
use crate::boundary::Marks;
use crate::decide::decide;
use crate::event::{Ask, Event};
use crate::id::SagaId;
use crate::journal::{Entry, Fact};
use crate::node::Node;
use crate::payload::{Payload, PayloadError};
use crate::program::Polled;
use crate::saga::{Abort, Answer, SharedLink};
use crate::shard::{Mailbox, Shard};
use crate::state::{Kind, State, Status, Step};
use crate::store::load::Loaded;

/// What a saga begins with.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    pub(crate) id: SagaId,
    pub(crate) workflow: String,
    pub(crate) root: Uuid,
    pub(crate) input: Payload,
    pub(crate) created_at: OffsetDateTime,
}

impl Driver {
    /// A saga before its first entry, its code run up to where it first waits.
    pub(crate) fn begin(
        node: Arc<Node>,
        shard: Arc<Shard>,
        mailbox: Arc<Mailbox>,
        saga: &Beginning,
    ) -> Result<Box<Self>, PayloadError> {
        let mut driver = Self::bare(node, shard, mailbox, saga);
        driver.make_program(saga).transpose()?;
        driver.advance();
        Ok(driver)
    }

    /// A saga with its journal. Whatever is wrong with it parks it alone.
    pub(crate) fn resume(
        node: Arc<Node>,
        shard: Arc<Shard>,
        mailbox: Arc<Mailbox>,
        saga: &Loaded,
    ) -> Box<Self> {
        let beginning = saga.beginning();
        let mut driver = Self::bare(node, shard, mailbox, &beginning);
        driver.replay(&beginning, saga.journal());
        driver
    }

    /// A saga with its journal, for one whose code must not run.
    pub(crate) fn without_code(
        node: Arc<Node>,
        shard: Arc<Shard>,
        mailbox: Arc<Mailbox>,
        saga: &Loaded,
    ) -> Box<Self> {
        let mut driver = Self::bare(node, shard, mailbox, &saga.beginning());
        for entry in saga.journal() {
            (driver.seq, driver.at) = (entry.seq, entry.at);
            driver.apply_recorded(&entry.facts);
        }
        driver.state.reloaded();
        driver
    }

    /// In a place of its own, which it keeps: it is large, and passed on a few times.
    fn bare(
        node: Arc<Node>,
        shard: Arc<Shard>,
        mailbox: Arc<Mailbox>,
        saga: &Beginning,
    ) -> Box<Self> {
        Box::new(Self {
            node,
            shard,
            mailbox,
            id: saga.id,
            root: saga.root,
            state: State::default(),
            payloads: Vec::new(),
            signals: Vec::new(),
            seq: 0,
            at: saga.created_at,
            facts: Vec::new(),
            taken: Vec::new(),
            standing: None,
            marks: Marks::default(),
            program: None,
            is_foreign: false,
            asked: 0,
            ends: false,
            returned: None,
            flights: FuturesUnordered::new(),
            flying: Vec::new(),
            moves: None,
        })
    }

    /// None: this node has no such workflow.
    fn make_program(&mut self, saga: &Beginning) -> Option<Result<(), PayloadError>> {
        let link = SharedLink::new(saga.root, saga.created_at);
        let program = self.node.registry.program(&saga.workflow, link, &saga.input)?;
        Some(program.map(|program| self.program = Some(program)))
    }

    /// Feeds the journal entry by entry, as it was written: the code sees the same outcomes in the
    /// same order and at the same times.
    fn replay(&mut self, saga: &Beginning, entries: &[Entry]) {
        let unmade = match self.make_program(saga) {
            Some(Ok(())) => None,
            Some(Err(error)) => Some((error.code(), format!("input: {error}"))),
            None => {
                self.is_foreign = true;
                None
            }
        };
        let mut asks = Vec::new();
        let mut broken = self.poll_into(&mut asks);
        for entry in entries {
            (self.seq, self.at) = (entry.seq, entry.at);
            let closed = self.apply_recorded(&entry.facts);
            if self.state.turned.is_some() || self.state.ending.is_some() {
                self.program = None;
            }
            if closed && broken.is_none() {
                broken = self.poll_into(&mut asks);
            }
        }
        self.state.reloaded();
        if self.state.turned.is_some() || self.state.ending.is_some() {
            return;
        }
        if self.state.held.is_some() {
            // Whatever parked it, its code is run again when somebody says so.
            self.program = None;
            return;
        }
        if self.is_foreign {
            return;
        }
        // Only now: an unwinding needs no code.
        if let Some((code, message)) = unmade {
            return self.park(None, code, message);
        }
        self.take_asks(asks);
        match broken {
            None => self.compare_ends(),
            Some((code, message)) if self.state.held.is_none() => {
                return self.park(None, code, message);
            }
            Some(_) => {}
        }
        self.advance();
    }

    fn apply_recorded(&mut self, facts: &[Fact]) -> bool {
        let mut closed = false;
        for fact in facts {
            closed |= self.keep(fact);
            self.state.apply(fact, self.at);
        }
        closed
    }

    /// Polls the code and notes what it asks for, without comparing it yet.
    fn poll_into(&mut self, asks: &mut Vec<Ask>) -> Option<(&'static str, String)> {
        let program = self.program.as_mut()?;
        program.link.set_now(self.at);
        let polled = program.poll();
        let misfit = program.link.take_broken();
        asks.extend(program.link.take_asks());
        if let Some(error) = misfit {
            return Some((error.code(), error.to_string()));
        }
        match polled {
            Polled::Waiting => None,
            Polled::Returned(output) => {
                self.returned = Some(output);
                self.program = None;
                None
            }
            Polled::Aborted => {
                self.program = None;
                None
            }
            Polled::Broken(code, message) => Some((code, message)),
        }
    }

    /// A journal that goes on where the code does not has diverged too.
    fn compare_ends(&mut self) {
        if self.state.held.is_none() && (self.asked as usize) < self.state.steps.len() {
            let number = self.asked + 1;
            let recorded = self.state.step(number).map(describe_step).unwrap_or_default();
            let message =
                format!("step {number}: the journal has {recorded}, the code has nothing");
            self.park(Some(number), "diverged", message);
        }
    }

    /// Runs the code as far as it gets; what it asks for beyond the journal becomes facts.
    pub(super) fn advance(&mut self) {
        loop {
            let before = self.facts.len();
            let mut asks = Vec::new();
            let had_program = self.program.is_some();
            let broken = self.poll_into(&mut asks);
            self.take_asks(asks);
            // Only a wait that found its signal kept can go on at once.
            let woke =
                self.facts[before..].iter().any(|fact| matches!(fact, Fact::Signalled { .. }));
            if self.state.turned.is_some() {
                self.program = None;
            } else if let Some((code, message)) = broken {
                return self.park(None, code, message);
            } else if let Some(output) = self.returned.clone() {
                let facts = decide(&self.state, Event::Returned(output));
                self.absorb(facts);
                return;
            } else if had_program && !woke && self.is_stalled() {
                let message = "the code waits for something that is not its saga's";
                return self.park(None, "stalled", message);
            }
            if !woke || self.program.is_none() {
                return;
            }
        }
    }

    /// The code waits although nothing it asked for is open.
    fn is_stalled(&self) -> bool {
        self.state.held.is_none()
            && self.program.is_some()
            && self.state.steps.iter().all(|step| step.status != Status::Open)
    }

    /// Compares what the code asks for with the journal, position by position; what lies beyond the
    /// journal is new.
    fn take_asks(&mut self, asks: Vec<Ask>) {
        for ask in asks {
            if self.state.held.is_some() && self.program.is_none() {
                return;
            }
            if let Err((step, message)) = self.take_ask(ask) {
                return self.park(Some(step), "diverged", message);
            }
        }
    }

    fn take_ask(&mut self, ask: Ask) -> Result<(), (u32, String)> {
        let claimed = self.state.steps.len() as u32;
        if ask == Ask::Pivot {
            if self.state.pivot.is_some_and(|pivot| pivot >= self.asked) {
                return Ok(());
            }
            if self.asked < claimed {
                let recorded = self.state.step(self.asked + 1).map(describe_step);
                let recorded = recorded.unwrap_or_default();
                let message = format!(
                    "step {}: the journal has {recorded}, the code a pivot",
                    self.asked + 1
                );
                return Err((self.asked + 1, message));
            }
        } else {
            self.asked += 1;
            if let (Some(step), Some(payloads)) =
                (self.state.step(self.asked), self.payloads.get(self.asked as usize - 1))
            {
                return matches(step, payloads, &ask).map_err(|message| (self.asked, message));
            }
        }
        let facts = decide(&self.state, Event::Asked(ask));
        self.absorb(facts);
        Ok(())
    }

    /// Adds facts to the state, the payloads and the entry that is being made, and gives the code
    /// the answers they hold.
    pub(super) fn absorb(&mut self, facts: Vec<Fact>) {
        for fact in facts {
            self.keep(&fact);
            self.state.apply(&fact, self.at);
            self.facts.push(fact);
        }
    }

    /// Keeps the payloads of a fact that is about to be applied, and answers the code. True: it
    /// closed a step.
    fn keep(&mut self, fact: &Fact) -> bool {
        let nothing = || StepPayloads { input: Payload::null(), output: None };
        match fact {
            Fact::Intent { input, .. } => {
                self.payloads.push(StepPayloads { input: input.clone(), output: None });
            }
            Fact::Sleep { .. } | Fact::Await { .. } => self.payloads.push(nothing()),
            Fact::Signal { payload, .. } => self.signals.push(payload.clone()),
            Fact::Done { step, output, .. } => {
                self.answer(*step, Answer::Value(output.clone()));
                return true;
            }
            Fact::Signalled { step } => {
                if let Some(payload) = self.kept_for(*step) {
                    self.answer(*step, Answer::Value(payload));
                }
                return true;
            }
            Fact::TimedOut { step } => {
                self.answer(*step, Answer::NoSignal);
                return true;
            }
            Fact::Woke { step } => {
                self.answer(*step, Answer::Awake);
                return true;
            }
            Fact::TurnedBack { because, .. } => {
                if let Some(step) = because.step {
                    self.answer(step, Answer::Abort(Abort::new(because.into())));
                }
            }
            _ => {}
        }
        false
    }

    fn answer(&mut self, step: u32, answer: Answer) {
        if let (Answer::Value(value), Some(payloads)) =
            (&answer, self.payloads.get_mut(step as usize - 1))
        {
            payloads.output = Some(value.clone());
        }
        if let Some(program) = &self.program {
            program.link.answer(step, answer);
        }
    }

    /// The payload of the earliest kept signal that the wait `step` is for.
    fn kept_for(&self, step: u32) -> Option<Payload> {
        let Kind::Await { signal, .. } = &self.state.step(step)?.kind else { return None };
        self.signals.get(self.state.kept_signal(signal)?).cloned()
    }
}

fn matches(step: &Step, payloads: &StepPayloads, ask: &Ask) -> Result<(), String> {
    let same = match (&step.kind, ask) {
        (Kind::Activity { name, .. }, Ask::Step { name: asked, input, .. }) => {
            name == asked && *input == payloads.input
        }
        (Kind::Sleep { .. }, Ask::Sleep { .. }) => true,
        (Kind::Await { signal, .. }, Ask::Signal { name, .. }) => signal == name,
        _ => false,
    };
    if same {
        return Ok(());
    }
    let input = match &step.kind {
        Kind::Activity { .. } => format!(" {}", payloads.input.json()),
        Kind::Sleep { .. } | Kind::Await { .. } => String::new(),
    };
    let asked = match ask {
        Ask::Step { name, input, .. } => format!("{name} {}", input.json()),
        Ask::Sleep { .. } => "a sleep".to_owned(),
        Ask::Signal { name, .. } => format!("a wait for `{name}`"),
        Ask::Pivot => "a pivot".to_owned(),
    };
    Err(format!("the journal has {}{input}, the code asks for {asked}", describe_step(step)))
}

fn describe_step(step: &Step) -> String {
    match &step.kind {
        Kind::Activity { name, .. } => name.to_string(),
        Kind::Sleep { .. } => "a sleep".to_owned(),
        Kind::Await { signal, .. } => format!("a wait for `{signal}`"),
    }
}
