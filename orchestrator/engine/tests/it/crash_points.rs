//! Between intent, attempt and outcome: what fails or loses its answer there is made good.

use engine::client::Told;
use engine::journal::{Direction, Ending, Entry};
use engine::operator::Action;
use engine::testing::{Boundary, BoundaryFault, BoundaryHarm, BoundaryWatch};
use engine::{Abort, Registry, Saga, Workflow};

use crate::harness::{database, ends, engine, start, with_key};
use crate::script::{Answer, Do, Script, Then, act, does, held, then};

/// Does `a`, then `b`.
struct Both;

impl Workflow for Both {
    const NAME: &'static str = "both";
    type Services = Script;
    type Input = ();
    type Output = ();
    type Activities = (Do, Then);

    async fn run(saga: &mut Saga<Self>, (): ()) -> Result<(), Abort> {
        saga.step(does("a")).await?;
        saga.step(does("b")).await?;
        saga.pivot().step(then("c")).await;
        Ok(())
    }
}

/// What a saga did and wrote down under a fault.
#[derive(Debug)]
struct Ran {
    log: Vec<String>,
    keys: Vec<String>,
    journal: Vec<Entry>,
}

/// How a saga ends under it: a step that is rejected or given up turns it back.
fn ending(fault: &BoundaryFault) -> Ending {
    match (fault.direction, fault.harm) {
        (Direction::Backward, _) | (_, BoundaryHarm::Reject | BoundaryHarm::GiveUp) => {
            Ending::Undone
        }
        _ => Ending::Completed,
    }
}

/// Runs one saga, which turns back at `b` when an undo is to be harmed.
async fn run(fault: BoundaryFault) -> Ran {
    let (database, script) = (database().await, Script::new());
    let backward = fault.direction == Direction::Backward;
    if backward {
        script.on("do b", [Answer::No]);
    }
    let watch = BoundaryWatch::new(fault.clone());
    let registry = Registry::new().workflow::<Both>(&script).with_boundary_watch(watch.clone());
    let engine = engine(&database, registry).await;
    let id = engine.client().start(with_key(start("both", &()), "key")).await.unwrap().id;
    if backward && fault.harm == BoundaryHarm::Reject {
        held(&engine.client(), id).await;
        assert_eq!(act(&engine, id, Action::Retry).await.told, Told::Taken);
    }
    ends(&engine.client(), id, ending(&fault)).await;
    assert!(watch.has_fired(), "the saga never came to {fault}");
    let again = engine.client().start(with_key(start("both", &()), "key")).await.unwrap();
    assert!(again.existing && again.id == id, "{fault}: {again:?}");
    let journal = engine.operator().history(id).await.unwrap().unwrap();
    let violations = engine.operator().verify().await.unwrap();
    assert!(violations.is_empty(), "{fault}: {violations:?}");
    engine.shutdown().await;
    Ran { log: script.log(), keys: script.keys(), journal }
}

fn faults(harm: BoundaryHarm) -> Vec<BoundaryFault> {
    let both = [Direction::Forward, Direction::Backward];
    let places = Boundary::ALL.into_iter().flat_map(|boundary| both.map(|way| (boundary, way)));
    let places = places.filter(|(boundary, way)| boundary.harms(*way).contains(&harm));
    let fault = |(boundary, direction)| BoundaryFault {
        boundary,
        direction,
        activity: "do".to_owned(),
        harm,
    };
    places.map(fault).collect()
}

/// What is asked of the world when nothing goes wrong.
fn usual(direction: Direction) -> Vec<&'static str> {
    match direction {
        Direction::Forward => vec!["do a", "do b", "do c"],
        Direction::Backward => vec!["do a", "do b", "undo a done"],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_at_a_boundary_is_done_after_all_and_once() {
    let faults = faults(BoundaryHarm::Error);
    assert_eq!(faults.len(), 6);
    for fault in faults {
        let Ran { log, journal, .. } = run(fault.clone()).await;
        let mut expected = usual(fault.direction);
        if (fault.boundary, fault.direction) == (Boundary::BeforeCall, Direction::Forward) {
            // It may have happened for all the engine knows, so it asks.
            expected.insert(0, "probe a");
        }
        assert_eq!(log, expected, "{fault}: {journal:#?}");
        let tried_again = fault.boundary == Boundary::BeforeCall;
        assert_eq!(format!("{journal:?}").contains("injected"), tried_again, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_at_a_boundary_is_made_good() {
    let faults = faults(BoundaryHarm::LoseAck);
    assert_eq!(faults.len(), 6);
    for fault in faults {
        let Ran { log, journal, .. } = run(fault.clone()).await;
        let mut expected = usual(fault.direction);
        match (fault.boundary, fault.direction) {
            (Boundary::AfterCall, Direction::Forward) => {
                expected.splice(1..1, ["probe a", "do a"]);
            }
            (Boundary::AfterCall, Direction::Backward) => expected.push("undo a done"),
            _ => {}
        }
        assert_eq!(log, expected, "{fault}: {journal:#?}");
        // What was committed is not committed a second time.
        let seqs: Vec<_> = journal.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, (1..=journal.len() as i32).collect::<Vec<_>>(), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_made_twice_under_one_key() {
    let faults = faults(BoundaryHarm::Twice);
    assert_eq!(faults.len(), 2);
    for fault in faults {
        let Ran { log, keys, journal } = run(fault.clone()).await;
        let mut expected = usual(fault.direction);
        match fault.direction {
            Direction::Forward => {
                expected.insert(0, "do a");
                assert_eq!(keys[0], keys[1], "{fault}");
            }
            Direction::Backward => expected.push("undo a done"),
        }
        assert_eq!(log, expected, "{fault}: {journal:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_rejected_or_given_up_turns_its_saga_back() {
    let faults = [faults(BoundaryHarm::Reject), faults(BoundaryHarm::GiveUp)].concat();
    assert_eq!(faults.len(), 4);
    for fault in faults {
        let Ran { log, journal, .. } = run(fault.clone()).await;
        let expected = match (fault.boundary, fault.direction, fault.harm) {
            // It is stuck until a person has it tried again.
            (_, Direction::Backward, _) => usual(Direction::Backward),
            (_, _, BoundaryHarm::Reject) => vec![],
            (Boundary::BeforeCall, ..) => vec!["undo a unknown"],
            _ => vec!["do a", "undo a unknown"],
        };
        assert_eq!(log, expected, "{fault}: {journal:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_faults_are_done_to_one_saga() {
    let (database, script) = (database().await, Script::new());
    let faults = ["after_call:forward:do:give_up", "before_call:backward:do:twice"];
    let watches = faults.map(|fault| BoundaryWatch::new(fault.parse().unwrap()));
    let registry = Registry::new().workflow::<Both>(&script);
    let registry = watches.iter().cloned().fold(registry, Registry::with_boundary_watch);
    let engine = engine(&database, registry).await;
    let id = engine.client().start(start("both", &())).await.unwrap().id;
    ends(&engine.client(), id, Ending::Undone).await;
    assert!(watches.iter().all(|watch| watch.has_fired()));
    assert_eq!(script.log(), ["do a", "undo a unknown", "undo a unknown"]);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_done_once() {
    let (database, script) = (database().await, Script::new());
    let fault = "after_call:forward:do:lose_ack".parse().unwrap();
    let watch = BoundaryWatch::new(fault);
    let registry = Registry::new().workflow::<Both>(&script).with_boundary_watch(watch);
    let engine = engine(&database, registry).await;
    for _ in 0..3 {
        let id = engine.client().start(start("both", &())).await.unwrap().id;
        ends(&engine.client(), id, Ending::Completed).await;
    }
    let again = script.log().iter().filter(|line| *line == "probe a").count();
    assert_eq!(again, 1, "{:?}", script.log());
    engine.shutdown().await;
}
