//! Workflows as data, and what becomes of each of their steps: enough to run one, to run it again
//! over its journal, and to say how it must end.

use engine::activity::ClassKind;
use engine::event::Ask;
use engine::payload::Payload;
use proptest::prelude::*;

use crate::events::at;

/// A workflow.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    before: Vec<Op>,
    /// What comes after the pivot, if there is one.
    after: Option<Vec<Use>>,
}

#[derive(Clone, Debug)]
enum Op {
    Step(Use),
    Join(Vec<Use>),
    /// The first, if what was given so far adds up to an even number.
    Branch(Vec<Op>, Vec<Op>),
    Signal(u8),
    Sleep,
}

/// A use of an activity.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) class: ClassKind,
    /// How its first attempts fail.
    pub(crate) fails: Vec<Fails>,
    /// How all others end.
    pub(crate) ends: Ends,
    /// How its first undos fail; all others succeed.
    pub(crate) undo_fails: Vec<UndoFails>,
}

/// When an effect happens of which nobody heard.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Never,
    Now,
    Later,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fails {
    NotExecuted,
    Unknown(When),
    Panics(When),
    /// Only past the pivot, where it is no reason to turn back.
    SaysNo,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ends {
    Done(u8),
    Rejected,
    /// Its attempts are used up.
    GivenUp(When),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum UndoFails {
    Retry,
    Stuck,
    Panics,
}

/// What a program asks for, in order, as far as it gets; and how it uses each activity.
#[derive(Debug, Default)]
pub(crate) struct Walk<'a> {
    pub(crate) asks: Vec<(Ask, Option<&'a Use>)>,
    pub(crate) returned: bool,
    /// How many positions it claimed, and what was given so far.
    claimed: u32,
    sum: u64,
}

/// What a position gave, if it has its outcome.
type Answers<'a> = &'a dyn Fn(u32, Option<&Use>) -> Option<u64>;

impl Program {
    /// Runs it over these answers, from its start.
    pub(crate) fn walk(&self, answers: Answers<'_>) -> Walk<'_> {
        let mut walk = Walk::default();
        walk.returned = walk.all(self, answers).is_some();
        walk
    }
}

impl<'a> Walk<'a> {
    /// How the activity at a position is used.
    pub(crate) fn used_at(&self, position: u32) -> Option<&'a Use> {
        let claims = self.asks.iter().filter(|(ask, _)| *ask != Ask::Pivot);
        claims.map(|(_, used)| *used).nth(position as usize - 1)?
    }

    fn all(&mut self, program: &'a Program, answers: Answers<'_>) -> Option<()> {
        self.ops(&program.before, answers)?;
        if let Some(after) = &program.after {
            self.asks.push((Ask::Pivot, None));
            for used in after {
                let position = self.step(used, None);
                self.take(position, Some(used), answers)?;
            }
        }
        Some(())
    }

    fn ops(&mut self, ops: &'a [Op], answers: Answers<'_>) -> Option<()> {
        for op in ops {
            match op {
                Op::Step(used) => {
                    let position = self.step(used, None);
                    self.take(position, Some(used), answers)?;
                }
                Op::Join(all) => {
                    let leader = self.claimed + 1;
                    let claim = |used| (self.step(used, Some(leader)), used);
                    let positions: Vec<_> = all.iter().map(claim).collect();
                    for (position, used) in positions {
                        self.take(position, Some(used), answers)?;
                    }
                }
                Op::Branch(even, odd) => {
                    let way = if self.sum.is_multiple_of(2) { even } else { odd };
                    self.ops(way, answers)?;
                }
                Op::Signal(name) => {
                    let until = at(50 * i64::from(self.claimed + 1));
                    let name = format!("signal-{name}").into();
                    self.wait(Ask::Signal { name, until }, answers)?;
                }
                Op::Sleep => {
                    let until = at(20 * i64::from(self.claimed + 1));
                    self.wait(Ask::Sleep { until }, answers)?;
                }
            }
        }
        Some(())
    }

    fn step(&mut self, used: &'a Use, with: Option<u32>) -> u32 {
        self.claimed += 1;
        let name = format!("activity-{}", self.claimed % 3).into();
        let input = Payload::encode(&(self.claimed, self.sum)).unwrap();
        let ask = Ask::Step { name, class: used.class, with, input };
        self.asks.push((ask, Some(used)));
        self.claimed
    }

    fn wait(&mut self, ask: Ask, answers: Answers<'_>) -> Option<()> {
        self.claimed += 1;
        self.asks.push((ask, None));
        self.take(self.claimed, None, answers)
    }

    fn take(&mut self, position: u32, used: Option<&Use>, answers: Answers<'_>) -> Option<()> {
        self.sum += answers(position, used)?;
        Some(())
    }
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![Just(When::Never), Just(When::Now), Just(When::Later)]
}

fn used(class: impl Strategy<Value = ClassKind>) -> impl Strategy<Value = Use> {
    let fails = prop_oneof![
        2 => Just(Fails::NotExecuted),
        3 => when().prop_map(Fails::Unknown),
        1 => when().prop_map(Fails::Panics),
    ];
    let ends = prop_oneof![
        10 => any::<u8>().prop_map(Ends::Done),
        1 => Just(Ends::Rejected),
        1 => when().prop_map(Ends::GivenUp),
    ];
    let undo_fails = prop_oneof![3 => Just(UndoFails::Retry), 1 => Just(UndoFails::Stuck), 1 => Just(UndoFails::Panics)];
    (class, prop::collection::vec(fails, 0..3), ends, prop::collection::vec(undo_fails, 0..3))
        .prop_map(|(class, fails, ends, undo_fails)| Use { class, fails, ends, undo_fails })
}

fn op() -> impl Strategy<Value = Op> {
    let class = || prop_oneof![5 => Just(ClassKind::Undoable), 1 => Just(ClassKind::NoUndo)];
    let plain = prop_oneof![
        6 => used(class()).prop_map(Op::Step),
        2 => prop::collection::vec(used(class()), 2..=4).prop_map(Op::Join),
        1 => (0..2u8).prop_map(Op::Signal),
        1 => Just(Op::Sleep),
    ];
    plain.prop_recursive(2, 8, 3, |op| {
        let ops = || prop::collection::vec(op.clone(), 0..3);
        (ops(), ops()).prop_map(|(even, odd)| Op::Branch(even, odd))
    })
}

pub(crate) fn program() -> impl Strategy<Value = Program> {
    let forward = (used(Just(ClassKind::ForwardOnly)), any::<u8>(), any::<bool>());
    let after = prop::collection::vec(forward, 0..3).prop_map(|all| {
        let forward = |(used, output, says_no): (Use, u8, bool)| {
            let no = says_no.then_some(Fails::SaysNo);
            let fails = used.fails.into_iter().chain(no).collect();
            Use { fails, ends: Ends::Done(output), ..used }
        };
        all.into_iter().map(forward).collect()
    });
    (prop::collection::vec(op(), 0..6), prop::option::of(after))
        .prop_map(|(before, after)| Program { before, after })
}
