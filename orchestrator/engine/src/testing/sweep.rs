//! Runs a workflow under every fault, each in a world of its own.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use super::fault::{Fault, Seen, all, seen};
use super::injector::{Injector, Turn};
use super::trial::{Ended, Trial};
use crate::client::Start;
use crate::journal::{Ending, Entry};
use crate::program::Registry;
use crate::view::SagaView;

/// What one run needs: nothing of it may be shared with another run.
#[derive(Debug)]
pub struct Stage<C> {
    /// A migrated `amends` database of its own.
    pub database_url: String,
    /// The workflow with its activities, at work on `world`.
    pub registry: Registry,
    /// What is started.
    pub start: Start,
    /// What the activities act upon, for whoever judges it.
    pub world: C,
}

/// A sweep over one workflow with one input.
#[derive(Debug)]
pub struct Sweep<M> {
    stage: M,
    deadline: Duration,
    at_once: usize,
}

/// What a sweep found.
#[derive(Debug, Default)]
#[must_use = "a sweep that found something fails nothing by itself"]
pub struct Report {
    /// Every fault that was tried, in order.
    pub tried: Vec<Fault>,
    /// What went wrong.
    pub broken: Vec<Broken>,
}

/// A run that did not end as it should, or left its world unclean.
#[derive(Debug)]
pub struct Broken {
    /// The fault; none: nothing was done to it.
    pub fault: Option<Fault>,
    /// What is wrong.
    pub what: String,
    /// The saga, if it started.
    pub view: Option<Box<SagaView>>,
    /// Its journal.
    pub journal: Vec<Entry>,
}

impl<M, C> Sweep<M>
where
    M: AsyncFn() -> Stage<C>,
{
    /// A sweep that makes a new stage for each run.
    pub fn new(stage: M) -> Self {
        Self { stage, deadline: Duration::from_secs(30), at_once: 4 }
    }

    /// How long one run may take; 30 s unless said otherwise.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How many runs go on at once; 4 unless said otherwise. Most of their time is waiting for the
    /// leases of killed engines.
    #[must_use]
    pub fn at_once(self, at_once: usize) -> Self {
        Self { at_once: at_once.max(1), ..self }
    }

    /// Runs the workflow undisturbed, then under every fault. `clean` says what is wrong with the
    /// world once the saga has ended, if anything is.
    pub async fn run(
        &self,
        clean: impl AsyncFn(&C, &SagaView, Option<&Fault>) -> Result<(), String>,
    ) -> Report {
        println!("nothing goes wrong");
        let (steps, usual, policies) = match self.undisturbed(&clean).await {
            Ok(found) => found,
            Err(broken) => return Report { tried: Vec::new(), broken: vec![*broken] },
        };
        // The latest step that has an undo: all that is done by then is undone.
        let turns_at =
            steps.iter().rfind(|seen| seen.can_be_undone()).map(|seen| {
                match attempts_max(&policies, seen) {
                    Some(_) => Turn::GivenUp(seen.step),
                    None => Turn::Cancelled(seen.step),
                }
            });
        let faults = all(&steps);
        let trials = faults.iter().map(|fault| {
            let seen = steps.iter().find(|seen| seen.step == fault.step);
            let most = seen.and_then(|seen| attempts_max(&policies, seen));
            self.tried(fault, turns_at, most, usual, &clean)
        });
        let broken: Vec<Option<Broken>> =
            stream::iter(trials).buffered(self.at_once).collect().await;
        Report { broken: broken.into_iter().flatten().collect(), tried: faults }
    }

    async fn undisturbed(
        &self,
        clean: &impl AsyncFn(&C, &SagaView, Option<&Fault>) -> Result<(), String>,
    ) -> Result<(Vec<Seen>, Ending, Registry), Box<Broken>> {
        let stage = (self.stage)().await;
        let injector = Injector::new(None, None, None);
        let deadline = self.deadline;
        let trial = Trial { stage: &stage, fault: None, injector, deadline, usual: None };
        let ended = judged(trial.run().await, &stage.world, None, clean).await;
        let Ended { verdict, view, journal } = ended;
        let usual = view.as_ref().and_then(|view| view.summary.ending);
        match (verdict, usual) {
            (Ok(()), Some(usual)) => Ok((seen(&journal), usual, stage.registry)),
            (verdict, _) => Err(Box::new(Broken {
                fault: None,
                what: verdict.err().unwrap_or_else(|| "it did not end".to_owned()),
                view: view.map(Box::new),
                journal,
            })),
        }
    }

    async fn tried(
        &self,
        fault: &Fault,
        turns_at: Option<Turn>,
        attempts_max: Option<u32>,
        usual: Ending,
        clean: &impl AsyncFn(&C, &SagaView, Option<&Fault>) -> Result<(), String>,
    ) -> Option<Broken> {
        let stage = (self.stage)().await;
        let injector = Injector::new(Some(fault.clone()), turns_at, attempts_max);
        let (deadline, usual) = (self.deadline, Some(usual));
        let trial = Trial { stage: &stage, fault: Some(fault), injector, deadline, usual };
        let ended = judged(trial.run().await, &stage.world, Some(fault), clean).await;
        let Ended { verdict, view, journal } = ended;
        println!("{fault}: {}", if verdict.is_ok() { "clean" } else { "NOT CLEAN" });
        let (fault, view) = (Some(fault.clone()), view.map(Box::new));
        verdict.err().map(|what| Broken { fault, what, view, journal })
    }
}

impl Report {
    /// Panics with everything that was found, if anything was.
    #[track_caller]
    pub fn expect_clean(&self) {
        assert!(self.broken.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tried, broken) = (self.tried.len(), self.broken.len());
        writeln!(f, "{tried} faults were tried, {broken} runs were not clean")?;
        self.broken.iter().try_for_each(|broken| write!(f, "\n{broken}"))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Some(fault) => writeln!(f, "{fault}: {}", self.what)?,
            None => writeln!(f, "nothing goes wrong: {}", self.what)?,
        }
        if let Some(why) = self.view.as_ref().and_then(|view| view.why.as_ref()) {
            writeln!(f, "  why: {}", why.sentence)?;
        }
        for entry in &self.journal {
            writeln!(f, "  {:>3} {} {:?}", entry.seq, entry.at, entry.facts)?;
        }
        Ok(())
    }
}

async fn judged<C>(
    mut ended: Ended,
    world: &C,
    fault: Option<&Fault>,
    clean: &impl AsyncFn(&C, &SagaView, Option<&Fault>) -> Result<(), String>,
) -> Ended {
    if let (Ok(()), Some(view)) = (&ended.verdict, &ended.view) {
        ended.verdict = clean(world, view, fault).await;
    }
    ended
}

/// After how many attempts a step is given up.
fn attempts_max(registry: &Registry, seen: &Seen) -> Option<u32> {
    registry.handlers.get(&*seen.activity)?.describe_self().retry.attempts_max
}
