//! One run of a workflow with one fault, to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fault::{Fault, Harm};
use super::injector::Injector;
use super::sweep::Stage;
use crate::client::{Told, WaitFor};
use crate::engine::{Engine, Settings};
use crate::id::SagaId;
use crate::journal::{Direction, Ending, Entry};
use crate::operator::{Action, Who};
use crate::view::{Phase, SagaView};

/// How long a killed engine keeps its shards.
const LEASE_TTL: Duration = Duration::from_secs(1);
/// How often a trial looks at its saga.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A saga under one fault.
pub(super) struct Trial<'a, C> {
    pub(super) stage: &'a Stage<C>,
    pub(super) fault: Option<&'a Fault>,
    pub(super) injector: Arc<Injector>,
    pub(super) deadline: Duration,
    /// How it ends undisturbed; none: this is that run.
    pub(super) usual: Option<Ending>,
}

/// How a trial ended.
pub(super) struct Ended {
    /// What is wrong already, before anybody looked at the world.
    pub(super) verdict: Result<(), String>,
    pub(super) view: Option<SagaView>,
    pub(super) journal: Vec<Entry>,
}

impl<C> Trial<'_, C> {
    /// Runs it to its end, or to the deadline.
    pub(super) async fn run(&self) -> Ended {
        let mut ended = Ended { verdict: Ok(()), view: None, journal: Vec::new() };
        let engine = match self.engine().await {
            Ok(engine) => engine,
            Err(message) => return Ended { verdict: Err(message), ..ended },
        };
        let id = match engine.client().start(self.stage.start.clone()).await {
            Ok(started) => started.id,
            Err(error) => {
                return Ended { verdict: Err(format!("it does not start: {error}")), ..ended };
            }
        };
        let engine = match self.drive(engine, id).await {
            Ok((engine, verdict)) => {
                ended.verdict = verdict;
                engine
            }
            Err(message) => return Ended { verdict: Err(message), ..ended },
        };
        self.injector.stray.arrive().await;
        ended.view = engine.operator().view(id).await.ok().flatten();
        ended.journal = engine.operator().history(id).await.ok().flatten().unwrap_or_default();
        engine.shutdown().await;
        if ended.verdict.is_ok() {
            ended.verdict = self.judge(ended.view.as_ref());
        }
        ended
    }

    async fn engine(&self) -> Result<Engine, String> {
        let mut settings = Settings::new(&self.stage.database_url);
        settings.lease_ttl = LEASE_TTL;
        let registry = self.stage.registry.clone().with_faults(self.injector.clone());
        let engine = Engine::start(settings, registry).await;
        engine.map_err(|error| format!("the engine does not start: {error}"))
    }

    /// Does to the saga what the fault asks for, until it ended or something is wrong.
    async fn drive(
        &self,
        mut engine: Engine,
        id: SagaId,
    ) -> Result<(Engine, Result<(), String>), String> {
        let until = Instant::now() + self.deadline;
        loop {
            let client = engine.client();
            tokio::select! {
                () = self.injector.cut.notified() => {
                    engine.crash();
                    engine = self.engine().await?;
                }
                () = self.injector.reached.notified() => {
                    let told = client.cancel(id, "customer", "a test cancels", self.deadline).await;
                    self.injector.gate.notify_one();
                    if let Err(message) = self.judge_answer(told.map_err(|error| error.to_string())) {
                        return Ok((engine, Err(message)));
                    }
                }
                view = client.wait(id, WaitFor::End, LOOK_EVERY) => {
                    let view = view.map_err(|error| error.to_string())?;
                    let Some(view) = view else { return Ok((engine, Err("it is gone".into()))) };
                    if view.summary.ending.is_some() {
                        return Ok((engine, Ok(())));
                    }
                    if view.summary.phase == Phase::Held {
                        if let Err(message) = self.help(&engine, id).await {
                            return Ok((engine, Err(message)));
                        }
                    } else if Instant::now() > until {
                        let message = format!("it did not end within {:?}", self.deadline);
                        return Ok((engine, Err(message)));
                    } else if view.summary.phase == Phase::Retrying {
                        // Nobody waits here for what an outage would take.
                        let _ = self.retry(&engine, id).await;
                    }
                }
            }
        }
    }

    /// What an operator does about a saga that is held: try it again.
    async fn help(&self, engine: &Engine, id: SagaId) -> Result<(), String> {
        if !self.fault.is_some_and(Fault::needs_a_person) {
            return Err("it is held although nothing about the fault asks for that".to_owned());
        }
        self.retry(engine, id).await
    }

    async fn retry(&self, engine: &Engine, id: SagaId) -> Result<(), String> {
        let (actor, reason) = ("operator".to_owned(), "a test does not wait".to_owned());
        let who = Who { actor, reason, request_id: None };
        let acted = engine.operator().act(id, Action::Retry, who, None).await;
        acted.map(drop).map_err(|error| format!("the retry of an operator failed: {error}"))
    }

    fn judge_answer(&self, told: Result<Told, String>) -> Result<(), String> {
        let told = told?;
        let before_pivot = self.fault.is_some_and(|fault| fault.before_pivot);
        let expected = match before_pivot {
            true => Told::Taken,
            false => Told::Refused("too_late_to_cancel".to_owned()),
        };
        if told == expected {
            return Ok(());
        }
        Err(format!("a cancel was answered {told:?}, not {expected:?}"))
    }

    /// Whether it ended as it must.
    fn judge(&self, view: Option<&SagaView>) -> Result<(), String> {
        if self.fault.is_some() && !self.injector.came_to_it() {
            return Err("the saga never came to this point".to_owned());
        }
        let Some(usual) = self.usual else { return Ok(()) };
        let expected = match self.fault {
            _ if self.injector.is_cancelled() => Ending::Cancelled,
            // It goes on trying until it works.
            Some(Fault { harm: Harm::Exhaust, direction: Direction::Forward, .. })
                if !self.injector.gives_up() =>
            {
                usual
            }
            fault => fault.and_then(Fault::ending).unwrap_or(usual),
        };
        // What is given up after it ran may be found done by a probe, and then nothing is undone.
        let found = self.fault.is_some_and(|fault| fault.harm == Harm::ArriveLate);
        match view.and_then(|view| view.summary.ending) {
            Some(ending) if ending == expected || (found && ending == usual) => Ok(()),
            ending => Err(format!("it ended {ending:?}, not {expected:?}")),
        }
    }
}
