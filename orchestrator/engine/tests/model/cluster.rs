//! One shard with one saga: the database, whoever believes to own the shard, and every order in
//! which things can happen to them.
//!
//! A crash is an owner that does nothing any more, a lease that ends is a take-over at any time, a
//! lost answer is a time-out just before the request arrives, a lost request one that arrives after
//! everything else. Each is among the orders that are tried, so none has an action of its own.

use std::collections::BTreeSet;

use engine::journal::Fact;
use engine::state::State;
use stateright::{Model, Property};

use crate::mistake::Mistake;
use crate::owner::{Flight, Next, Owner};
use crate::properties::properties;
use crate::saga::{NOW, cancel};
use crate::shared::Shared;
use crate::world::{Answer, Call, Request, World};

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster {
    /// How often somebody takes the shard, at first and from whoever has it.
    pub(crate) owners: u8,
    /// How often the network does wrong: a time-out, a request twice, a commit without an answer.
    pub(crate) faults: u8,
    /// What the implementation gets wrong.
    pub(crate) mistake: Option<Mistake>,
}

/// What the database has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    /// Who owns the shard: the latest who took it.
    pub(crate) fence: u8,
    pub(crate) journal: Vec<Shared<Vec<Fact>>>,
    /// What the journal adds up to.
    pub(crate) saga: Shared<State>,
    /// A cancel lies in the inbox.
    pub(crate) inbox: bool,
    /// An entry was acknowledged where another one stands.
    pub(crate) lost_an_entry: bool,
    /// What the journal adds up to was not what its owner had in memory.
    pub(crate) differed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Whole {
    pub(crate) database: Database,
    pub(crate) owners: Vec<Owner>,
    pub(crate) world: World,
    /// Requests that have not arrived yet.
    pub(crate) network: BTreeSet<Request>,
    has_asked_to_cancel: bool,
    faults: u8,
}

/// Something that happens. Owners go by their place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The customer cancels.
    Cancel,
    /// A node finds the lease ended, rightly or not.
    TakeOver,
    /// An owner reads its inbox.
    Read(usize),
    /// An owner looks whether the shard is its own still.
    SeeFence(usize),
    /// An owner writes what it has to write, and may not hear that it did.
    Write { owner: usize, hears: bool },
    /// An owner starts what is due.
    Launch(usize),
    /// A request arrives, perhaps not for the last time.
    Arrive { request: Request, pays: bool, again: bool },
    /// An owner waits no longer.
    TimeOut { owner: usize, gives_up: bool },
    /// An owner looks at the answer it got.
    Land(usize),
}

impl Model for Cluster {
    type State = Whole;
    type Action = Step;

    fn init_states(&self) -> Vec<Whole> {
        vec![Whole::default()]
    }

    fn actions(&self, whole: &Whole, steps: &mut Vec<Step>) {
        let database = &whole.database;
        if !whole.has_asked_to_cancel && database.fence > 0 {
            steps.push(Step::Cancel);
        }
        let is_open = database.saga.ending.is_none() || database.inbox;
        if database.fence < self.owners && is_open {
            steps.push(Step::TakeOver);
        }
        let may_fail = whole.faults < self.faults;
        for (number, owner) in whole.owners.iter().enumerate() {
            self.steps_of(number, owner, database, may_fail, steps);
        }
        for &request in &whole.network {
            let asks_the_bank = whole.world.is_open_to_the_bank(request.call);
            for pays in [true, false].into_iter().filter(|pays| *pays || asks_the_bank) {
                steps.push(Step::Arrive { request, pays, again: false });
                if may_fail {
                    steps.push(Step::Arrive { request, pays, again: true });
                }
            }
        }
    }

    fn next_state(&self, whole: &Whole, step: Step) -> Option<Whole> {
        let mut whole = whole.clone();
        let mistake = self.mistake;
        match step {
            Step::Cancel => {
                (whole.has_asked_to_cancel, whole.database.inbox) = (true, true);
            }
            Step::TakeOver => {
                let database = &mut whole.database;
                database.fence += 1;
                let owner = Owner::load(database.fence, &database.saga, database.journal.len());
                whole.owners.push(owner);
            }
            Step::Read(owner) => {
                let owner = &mut whole.owners[owner];
                owner.happen(cancel());
                owner.took_cancel = true;
            }
            Step::SeeFence(owner) => self.see_fence(&mut whole, owner),
            Step::Write { owner, hears } => self.write(&mut whole, owner, hears),
            Step::Launch(number) => {
                let owner = &mut whole.owners[number];
                let todo = owner.due(mistake)?;
                let call = owner.launch(&todo, mistake);
                whole.send(number, call, mistake);
            }
            Step::Arrive { request, pays, again } => {
                if again {
                    whole.faults += 1;
                } else {
                    whole.network.remove(&request);
                }
                let answer = whole.world.carry_out(request.call, pays, mistake);
                whole.answer(request, answer);
            }
            Step::TimeOut { owner, gives_up } => {
                whole.faults += 1;
                whole.owners[owner].time_out(gives_up, mistake);
            }
            Step::Land(number) => {
                let flight = whole.owners[number].flight.take()?;
                match flight.next(flight.answer?, mistake) {
                    Next::Land(event) => whole.owners[number].happen(event),
                    Next::Ask(call) => {
                        let request = Request { call, ..flight.request };
                        let flight = Flight { request, answer: None, ..flight };
                        whole.owners[number].flight = Some(flight);
                        whole.send(number, call, mistake);
                    }
                }
            }
        }
        Some(whole)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}

impl Cluster {
    fn steps_of(
        &self,
        number: usize,
        owner: &Owner,
        database: &Database,
        may_fail: bool,
        steps: &mut Vec<Step>,
    ) {
        let only_reads_it = self.mistake == Some(Mistake::FenceOnlyRead);
        if owner.has_to_write() && only_reads_it && !owner.saw_fence {
            steps.push(Step::SeeFence(number));
        } else if owner.has_to_write() {
            steps.push(Step::Write { owner: number, hears: true });
            // What is there already is not written a second time.
            if may_fail && self.lets_in(owner, database) && database.journal.len() == owner.seq {
                steps.push(Step::Write { owner: number, hears: false });
            }
        } else if database.inbox {
            steps.push(Step::Read(number));
        }
        if owner.due(self.mistake).is_some() {
            steps.push(Step::Launch(number));
        }
        match &owner.flight {
            // An owner that waits for its commit looks at nothing else.
            _ if owner.has_to_write() => {}
            Some(flight) if flight.answer.is_some() => steps.push(Step::Land(number)),
            Some(_) if may_fail => {
                steps.push(Step::TimeOut { owner: number, gives_up: false });
                steps.push(Step::TimeOut { owner: number, gives_up: true });
            }
            _ => {}
        }
    }

    fn lets_in(&self, owner: &Owner, database: &Database) -> bool {
        match self.mistake {
            Some(Mistake::NoFence | Mistake::FenceOnlyRead) => true,
            _ => owner.fence == database.fence,
        }
    }

    fn see_fence(&self, whole: &mut Whole, owner: usize) {
        if whole.owners[owner].fence == whole.database.fence {
            whole.owners[owner].saw_fence = true;
        } else {
            whole.owners.remove(owner);
        }
    }

    /// One statement: the fence, the entry, the message that led to it. An entry that is there
    /// already counts as the owner's own.
    fn write(&self, whole: &mut Whole, number: usize, hears: bool) {
        let (owner, database) = (&mut whole.owners[number], &mut whole.database);
        if !self.lets_in(owner, database) {
            whole.owners.remove(number);
            return;
        }
        match database.journal.get(owner.seq) {
            Some(entry) => database.lost_an_entry |= *entry != owner.facts,
            None => {
                let mut saga = State::clone(&database.saga);
                saga.apply_all(&owner.facts, NOW);
                database.saga = Shared::new(saga);
                database.journal.push(owner.facts.clone());
            }
        }
        database.inbox &= !owner.took_cancel;
        if !hears {
            whole.faults += 1;
            return;
        }
        database.differed |= !owner.agrees_with(&database.saga);
        owner.seq += 1;
        owner.facts = Shared::default();
        (owner.took_cancel, owner.saw_fence) = (false, false);
    }
}

impl Whole {
    /// A look at the gateway's book takes no time of its own; all else is under way for as long as
    /// it takes.
    fn send(&mut self, owner: usize, call: Call, mistake: Option<Mistake>) {
        let Some(flight) = &mut self.owners[owner].flight else { return };
        match call {
            Call::LookUp(_) => flight.answer = Some(self.world.carry_out(call, true, mistake)),
            _ => {
                self.network.insert(flight.request);
            }
        }
    }

    /// To whoever waits for it still.
    fn answer(&mut self, request: Request, answer: Answer) {
        let flights = self.owners.iter_mut().filter_map(|owner| owner.flight.as_mut());
        for flight in flights.filter(|flight| flight.request == request) {
            flight.answer.get_or_insert(answer);
        }
    }
}
