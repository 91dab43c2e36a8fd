//! Drives one saga of an owned shard: runs its code, attempts its steps, undoes them, and writes
//! each transition before it acts on it.

mod attempt;
mod commit;
#[cfg(feature = "testing")]
mod inject;
mod replay;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::boundary::Marks;
use crate::clock;
use crate::decide::decide;
use crate::error::StoreError;
use crate::event::{Event, Message, STALE};
use crate::hub::News;
use crate::id::SagaId;
use crate::journal::{Fact, Problem};
use crate::node::Node;
use crate::payload::Payload;
use crate::program::Program;
use crate::shard::{Mailbox, Shard};
use crate::state::{Kind, State, Todo};
use crate::summary::Standing;

use attempt::{Flight, Landed};
pub(crate) use replay::Beginning;

/// How long a saga that waits stays in memory, in case what it waits for comes soon.
const LINGER: Duration = Duration::from_secs(1);

/// One saga in memory. It lives in a task of its own, until it ends, rests, or its shard goes.
pub(crate) struct Driver {
    node: Arc<Node>,
    shard: Arc<Shard>,
    mailbox: Arc<Mailbox>,
    pub(crate) id: SagaId,
    root: Uuid,
    state: State,
    /// The payloads of the steps, which the rules do not look at.
    payloads: Vec<StepPayloads>,
    signals: Vec<Payload>,
    /// The journal's length, as written.
    seq: i32,
    /// The time of the entry that is being made.
    at: OffsetDateTime,
    /// What happened since the last commit.
    facts: Vec<Fact>,
    /// The messages that led to it.
    taken: Vec<Uuid>,
    /// The row, as written.
    standing: Option<Standing>,
    /// What a test waits for in the commit that is under way.
    marks: Marks,
    program: Option<Program>,
    /// This node does not have its workflow: what needs its code another node does.
    is_foreign: bool,
    /// How many positions the code claimed so far.
    asked: u32,
    /// Whether the saga ends with the commit that is under way.
    ends: bool,
    /// What the code returned, while a step it did not wait for is still open.
    returned: Option<Payload>,
    flights: FuturesUnordered<Flight>,
    /// The steps with a flight under way.
    flying: Vec<u32>,
    /// Who tries it as a suspect: waits for its first commit, or for its end in this task.
    moves: Option<oneshot::Sender<()>>,
}

struct StepPayloads {
    input: Payload,
    output: Option<Payload>,
}

/// Why a driver left its saga.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// The saga is over, rests, or its shard is handed over.
    Done,
    /// It must be read again: its code is to be tried anew.
    Reload,
    /// Another node owns its shard.
    Fenced,
    /// What it did can not be written now: it is read again later.
    Broken,
}

impl Driver {
    /// Drives the saga until it is left.
    pub(crate) async fn run(mut self: Box<Self>) {
        let guard = Guard { node: self.node.clone(), shard: self.shard.clone(), id: self.id };
        self.node.meters.active.increment(1.0);
        let left = self.drive().await;
        drop(guard);
        let Self { node, shard, mailbox, id, .. } = *self;
        match left {
            Left::Done | Left::Broken | Left::Fenced => {}
            Left::Reload => {
                shard.forget(id);
                // What came meanwhile is read again from the inbox.
                for (message, _) in mailbox.take() {
                    shard.undelivered(message);
                }
                node.bring(&shard, vec![(id, None)], false);
                node.inbox_poke.notify_one();
            }
        }
    }

    async fn drive(&mut self) -> Left {
        // Also a saga that is over answers what it is told.
        self.read_messages();
        loop {
            if let Err(left) = self.commit().await {
                match left {
                    Left::Broken => self.shard.broke(self.id),
                    Left::Fenced => {
                        // First: it must not come to memory again by this shard.
                        self.node.shard_lost(&self.shard);
                        self.shard.forget(self.id);
                    }
                    // Once: it may be brought to memory again from here on.
                    _ => self.shard.forget(self.id),
                }
                return left;
            }
            if self.state.ending.is_some() {
                if self.shard.rest(self.id, None) {
                    // Only now: whoever finds it in memory has registered before, and is told.
                    self.node.hub.tell(self.id, News::Ended);
                    return Left::Done;
                }
                // What came too late is told so.
                self.read_messages();
                continue;
            }
            if self.waits_for_another_node() {
                if self.shard.rest(self.id, None) {
                    return Left::Done;
                }
                // What it is told it takes note of all the same.
                self.read_messages();
                continue;
            }
            if self.lacks_its_code() {
                return Left::Reload;
            }
            // Watched before looking: a renewal in between wakes.
            let renewals = self.node.lease.watch();
            self.start_due();
            // Lost: what is under way is dropped where it is. Handed over: it may finish.
            let is_over = self.shard.lost.is_cancelled();
            if is_over || (!self.shard.is_open() && self.flights.is_empty()) {
                self.shard.forget(self.id);
                return Left::Done;
            }
            if !self.facts.is_empty() {
                // What was due can not even be started here.
                continue;
            }
            if !self.wait(renewals).await {
                return Left::Done;
            }
        }
    }

    /// Waits for whatever comes next and takes it in. False: nothing will come soon, and the saga
    /// rests in the database.
    async fn wait(&mut self, mut renewals: watch::Receiver<()>) -> bool {
        // Most attempts of a busy node are done by the time anybody looks.
        if let Some(Some(landed)) = self.flights.next().now_or_never() {
            self.landed(landed);
            return true;
        }
        let wake_at = self.wake_at();
        let now = clock::now();
        let linger = self.flights.is_empty();
        let pause = wake_at.map_or(LINGER, |at| until(at, now));
        // Something is due and may not start: the lease is in doubt, or the shard handed over.
        let is_held_back = self.is_held_back(now);
        let rests = linger && !is_held_back && (wake_at.is_none() || pause > LINGER);
        let pause = match (is_held_back, linger) {
            (true, _) => LINGER,
            (false, true) => pause.min(LINGER),
            (false, false) => pause,
        };
        let (shard, mailbox) = (self.shard.clone(), self.mailbox.clone());
        tokio::select! {
            biased;
            () = shard.lost.cancelled() => {}
            Some(landed) = self.flights.next(), if !self.flights.is_empty() => {
                self.landed(landed);
            }
            () = mailbox.arrived.notified() => self.read_messages(),
            // A lease that can be relied on again lets held-back attempts start.
            Ok(()) = renewals.changed(), if is_held_back => {}
            () = tokio::time::sleep(pause), if linger || is_held_back || wake_at.is_some() => {
                if rests && self.shard.is_open() {
                    return !self.shard.rest(self.id, wake_at);
                }
                self.due().await;
            }
        }
        true
    }

    /// Ends sleeps and waits whose time has come.
    async fn due(&mut self) {
        let now = clock::now();
        if self.awaits_until(now) {
            // A signal that came in time wins, be it read already or not: after a takeover, say.
            if let Err(error) = self.read_inbox().await {
                tracing::warn!(saga = %self.id, %error, "a wait is not ended: its signal may be there");
                return tokio::time::sleep(LINGER).await;
            }
        }
        self.happen([Event::Due { now }]);
    }

    /// Whether a wait for a signal ends by `now`.
    fn awaits_until(&self, now: OffsetDateTime) -> bool {
        self.state.todo().iter().any(|todo| match todo {
            Todo::Timer { step, at } if *at <= now => {
                let step = self.state.step(*step);
                step.is_some_and(|step| matches!(step.kind, Kind::Await { .. }))
            }
            _ => false,
        })
    }

    async fn read_inbox(&mut self) -> Result<(), StoreError> {
        for kept in self.node.store.messages_of(self.id).await? {
            if let Some(message) = kept.message() {
                // It is in memory, so what is new goes to its mailbox.
                if let Some((id, _)) = self.shard.deliver(self.id, kept.message_id, message) {
                    self.shard.undelivered(id);
                }
            }
        }
        self.read_messages();
        Ok(())
    }

    /// Whether something is due that is not under way.
    fn is_held_back(&self, now: OffsetDateTime) -> bool {
        self.state.todo().iter().any(|todo| match todo {
            Todo::Attempt { step, not_before, .. } | Todo::Undo { step, not_before, .. } => {
                not_before.is_none_or(|at| at <= now) && !self.flying.contains(step)
            }
            Todo::Timer { .. } => false,
        })
    }

    /// What comes next this node has no code for. Its next owner may.
    fn waits_for_another_node(&self) -> bool {
        let lacks = |todo: &Todo| match todo {
            Todo::Attempt { step, .. } | Todo::Undo { step, .. } => self.has_no_activity(*step),
            Todo::Timer { .. } => false,
        };
        self.is_foreign
            && self.flights.is_empty()
            && (self.lacks_its_code() || self.state.todo().iter().any(lacks))
    }

    fn has_no_activity(&self, step: u32) -> bool {
        match self.state.step(step).map(|step| &step.kind) {
            Some(Kind::Activity { name, .. }) => self.node.activity(name).is_none(),
            _ => false,
        }
    }

    /// It was parked without its code and is let go: its code is run again over the journal.
    fn lacks_its_code(&self) -> bool {
        let goes_on = self.state.turned.is_none() && self.state.held.is_none();
        goes_on && self.program.is_none() && self.returned.is_none()
    }

    /// The earliest time something is due that is not under way.
    fn wake_at(&self) -> Option<OffsetDateTime> {
        let todos = self.state.todo().into_iter();
        let times = todos.filter_map(|todo| match todo {
            Todo::Attempt { step, not_before, .. } | Todo::Undo { step, not_before, .. } => {
                not_before.filter(|_| !self.flying.contains(&step))
            }
            Todo::Timer { at, .. } => Some(at),
        });
        times.min()
    }

    fn landed(&mut self, landed: Landed) {
        self.node.meters.attempts.increment(1);
        self.flying.retain(|step| *step != landed.step);
        let event = self.event_of(landed);
        self.happen([event]);
    }

    pub(crate) fn read_messages(&mut self) {
        for (id, message) in self.mailbox.take() {
            self.taken.push(id);
            let refused = match &message {
                Message::IfAt { rev, .. } if !self.is_at(*rev) => Some(STALE),
                message if self.says_a_misfit(message.said()) => Some("output_misfit"),
                _ => None,
            };
            self.happen([match refused {
                Some(code) => Event::Refused { id, code },
                None => Event::Message { id, message },
            }]);
        }
    }

    /// Nothing has happened to it since its entry `rev`.
    fn is_at(&self, rev: i32) -> bool {
        self.seq == rev && self.facts.is_empty()
    }

    /// An operator says of an open step that it gave what its activity never gives.
    fn says_a_misfit(&self, message: &Message) -> bool {
        let Message::Resolve { step, verdict, .. } = message else { return false };
        self.is_open(*step) && verdict.misfit(&self.state, *step, self.node.handlers()).is_some()
    }

    /// Takes in what happened, and runs the code as far as it gets with it.
    fn happen(&mut self, events: impl IntoIterator<Item = Event>) {
        // One time an entry: a replay sees all of it at that time.
        if self.facts.is_empty() {
            self.at = clock::now().max(self.at);
        }
        let before = self.facts.len();
        for event in events {
            let facts = decide(&self.state, event);
            self.absorb(facts);
        }
        if self.facts.len() > before {
            self.advance();
        }
    }

    /// Parks the saga: it alone, and until somebody acts.
    fn park(&mut self, step: Option<u32>, code: &str, message: impl Into<String>) {
        // Nor does it end with what code that does not fit has returned.
        (self.program, self.returned) = (None, None);
        if self.facts.is_empty() {
            self.at = clock::now().max(self.at);
        }
        let problem = Problem::own(code, message);
        tracing::error!(saga = %self.id, code, message = problem.message, "a saga is parked");
        let facts = decide(&self.state, Event::Broken { step, problem });
        self.absorb(facts);
    }

    /// Something is wrong with it that a person must look at.
    pub(crate) fn is_parked(&self) -> bool {
        self.state.held.is_some()
    }

    /// Tells `moved` of its first commit; dropped when it is left without one.
    pub(crate) fn tells_when_it_moves(&mut self, moved: oneshot::Sender<()>) {
        self.moves = Some(moved);
    }

    /// Parks a saga over which owner after owner died, the last ones with it alone.
    pub(crate) fn poison(&mut self, claims: i16) {
        self.at = clock::now().max(self.at);
        let message = format!("{claims} nodes took it over and died before it moved");
        self.park(None, "poison", message);
    }
}

/// Takes a saga out of memory when its driver panics, which is a bug of the engine, and has it read again.
struct Guard {
    node: Arc<Node>,
    shard: Arc<Shard>,
    id: SagaId,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.node.meters.active.decrement(1.0);
        if std::thread::panicking() {
            self.shard.broke(self.id);
        }
    }
}

/// The time from `now` until `at`; nothing if it has passed.
fn until(at: OffsetDateTime, now: OffsetDateTime) -> Duration {
    Duration::try_from(at - now).unwrap_or(Duration::ZERO)
}
