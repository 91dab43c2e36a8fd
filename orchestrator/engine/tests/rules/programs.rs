//! Whole workflows, with nodes that die at any moment: what is in memory, what is in the journal and
//! what is in the world agree, and at the end the world is as the workflow left it or as it found it.

mod node;
mod program;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use engine::activity::ClassKind;
use engine::event::{Ask, Message};
use engine::journal::{Ending, Fact, Plan};
use engine::state::Kind;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use node::Saga;
use program::{Program, program};

/// What happens next, if it can.
#[derive(Clone, Debug)]
enum Move {
    Launch(usize),
    Land(usize),
    Commit,
    Read,
    TimePasses(i64),
    Arrives(usize),
    Tell(Told),
    /// The node dies, with what it had not written.
    Crash,
}

#[derive(Clone, Copy, Debug)]
enum Told {
    Cancel,
    Pause,
    Resume,
    RetryNow,
    Signal(u8),
}

fn next() -> impl Strategy<Value = Move> {
    let told = prop_oneof![
        2 => Just(Told::Cancel),
        2 => Just(Told::Pause),
        3 => Just(Told::Resume),
        4 => Just(Told::RetryNow),
        4 => (0..2u8).prop_map(Told::Signal),
    ];
    prop_oneof![
        20 => any::<usize>().prop_map(Move::Launch),
        20 => any::<usize>().prop_map(Move::Land),
        16 => Just(Move::Commit),
        4 => Just(Move::Read),
        8 => (1..30i64).prop_map(Move::TimePasses),
        2 => any::<usize>().prop_map(Move::Arrives),
        2 => told.prop_map(Move::Tell),
        4 => Just(Move::Crash),
    ]
}

fn message(told: Told) -> Message {
    let (by, reason) = ("operator".to_owned(), "because".to_owned());
    match told {
        Told::Cancel => Message::Cancel { by, reason },
        Told::Pause => Message::Pause { by, reason },
        Told::Resume => Message::Resume { by },
        Told::RetryNow => Message::RetryNow { by },
        Told::Signal(name) => Message::Signal {
            name: format!("signal-{name}").into(),
            payload: serde_json::json!(u64::from(name) + 1),
        },
    }
}

fn make(saga: &mut Saga<'_>, next: &Move) {
    match *next {
        Move::Launch(pick) => drop(saga.launch(pick)),
        Move::Land(pick) => drop(saga.land(pick)),
        Move::Commit => saga.commit(),
        Move::Read => saga.read(),
        Move::TimePasses(seconds) => saga.time_passes(seconds),
        Move::Arrives(pick) => saga.world.arrives(pick),
        Move::Tell(told) => saga.tell(message(told)),
        Move::Crash => saga.crash(),
    }
}

/// Time passes, everything under way ends, and an operator lets go what waits for him. An open saga
/// gets nearer to its end by that, or it would never have.
fn settle(saga: &mut Saga<'_>) {
    for _ in 0..300 {
        saga.read();
        saga.commit();
        if saga.memory.state.ending.is_some() && !saga.has_mail() {
            return;
        }
        if saga.memory.state.paused.is_some() {
            saga.tell(message(Told::Resume));
            continue;
        }
        if saga.memory.state.held.is_some() {
            saga.tell(message(Told::RetryNow));
        }
        saga.time_passes(1_000);
        saga.commit();
        while saga.launch(0) {}
        while saga.land(0) {
            saga.commit();
        }
    }
    panic!("it never ends: {:#?}", saga.memory.state);
}

/// The end is the one the program was bound to have, and the world is as it should be.
fn check_end(saga: &mut Saga<'_>) -> Ending {
    saga.world.all_arrive();
    let state = &saga.memory.state;
    let (ending, walk) = (state.ending.unwrap(), saga.walk());
    let bound = saga.bound_to();
    let asked: Vec<&Ask> = walk.asks.iter().map(|(ask, _)| ask).collect();
    let of_class = |class: ClassKind| {
        let is =
            move |kind: &Kind| matches!(kind, Kind::Activity { class: own, .. } if *own == class);
        let steps = (1u32..).zip(&state.steps);
        steps.filter(move |(_, step)| is(&step.kind)).map(|(number, _)| number)
    };
    match ending {
        Ending::Completed => {
            assert!(bound.returned, "a step that can not be done was done");
            assert_eq!(asked, bound.asks.iter().map(|(ask, _)| ask).collect::<Vec<_>>());
            for class in [ClassKind::Undoable, ClassKind::NoUndo, ClassKind::ForwardOnly] {
                for step in of_class(class) {
                    assert!(saga.world.in_force.contains(&step), "step {step} was not done");
                }
            }
        }
        Ending::Undone | Ending::Cancelled => {
            let because = &state.turned.as_ref().unwrap().because;
            assert_eq!(ending == Ending::Cancelled, because.by.is_some());
            assert!(ending == Ending::Cancelled || !bound.returned, "it was bound to complete");
            for step in of_class(ClassKind::Undoable) {
                assert!(!saga.world.in_force.contains(&step), "step {step} is still in force");
            }
        }
        Ending::ClosedWithResidue => panic!("nobody closed it"),
    }
    ending
}

/// The journal of an end: each done and undoable step is undone once, the later before the earlier,
/// those of a join in any order; each message is taken in once.
fn check_journal(saga: &Saga<'_>) {
    let facts: Vec<Fact> = saga.written().into_iter().flat_map(|(_, facts)| facts).collect();
    let (mut leaders, mut done) = (BTreeMap::new(), BTreeSet::new());
    let (mut undone, mut refused): (Vec<u32>, _) = (Vec::new(), BTreeSet::new());
    let mut turned: Option<&Plan> = None;
    for fact in &facts {
        match fact {
            Fact::Intent { step, class: ClassKind::Undoable, with, .. } => {
                leaders.insert(*step, with.unwrap_or(*step));
            }
            Fact::Done { step, .. } => drop(done.insert(*step)),
            Fact::TurnedBack { plan, .. } => {
                assert!(turned.replace(plan).is_none(), "it turned back twice");
            }
            Fact::Undone { step, .. } => undone.push(*step),
            Fact::Refused { message, .. } => assert!(refused.insert(*message), "told twice"),
            _ => {}
        }
    }
    let Some(plan) = turned else {
        return assert!(undone.is_empty(), "undone without a plan: {undone:?}");
    };
    let groups: Vec<u32> = undone.iter().map(|step| leaders[step]).collect();
    assert!(groups.is_sorted_by(|a, b| a >= b), "undone out of order: {undone:?}");
    let once: BTreeSet<u32> = undone.iter().copied().collect();
    assert_eq!(once.len(), undone.len(), "undone twice: {undone:?}");
    let planned: BTreeSet<u32> = plan.groups.iter().flatten().map(|undo| undo.step).collect();
    assert_eq!(once, planned);
    let undoable = |step: &&u32| leaders.contains_key(step);
    assert!(done.iter().filter(undoable).all(|step| once.contains(step)), "done, not undone");
}

/// Runs a program through what happens, and to its end.
fn run(program: &Program, moves: &[Move]) -> Ending {
    let mut saga = Saga::start(program);
    for next in moves {
        make(&mut saga, next);
    }
    settle(&mut saga);
    check_journal(&saga);
    check_end(&mut saga)
}

#[test]
fn every_program_ends_as_it_is_bound_to_whatever_crashes() {
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    let strategy = (program(), prop::collection::vec(next(), 0..80));
    let endings = std::cell::RefCell::new(BTreeMap::<&str, u32>::new());
    let ran = TestRunner::new(config).run(&strategy, |(program, moves)| {
        let ending = run(&program, &moves);
        *endings.borrow_mut().entry(ending.name()).or_default() += 1;
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
    let endings = endings.into_inner();
    let often = |ending: &str| endings.get(ending).is_some_and(|count| *count >= 50);
    assert!(["completed", "undone", "cancelled"].into_iter().all(often), "{endings:?}");
}
