//! Activities that answer as a test tells them to, and note what they were asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::client::{Told, WaitFor};
use engine::journal::Ending;
use engine::operator::{Acted, Action, Who};
use engine::view::{Phase, SagaView};
use engine::{
    Activity, Attempt, Client, Engine, Failure, ForwardOnly, Outcome, Probe, RetryPolicy, SagaId,
    Trouble, Undo, UndoFailure, Undoable, reject, unknown,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::harness::{SOON, ends};

/// What a call answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Yes,
    No,
    Retry,
    NotExecuted,
    /// As an open breaker does.
    Uncounted,
    Unknown,
    Panic,
    /// More than the journal takes.
    Big,
    /// Yes, once the gate is open.
    After(Arc<Notify>),
    Stuck,
    Happened,
    DidNotHappen,
}

/// What the activities of a test do, and what they did.
#[derive(Debug, Default)]
pub(crate) struct Script {
    log: Mutex<Vec<String>>,
    keys: Mutex<Vec<String>>,
    answers: Mutex<HashMap<String, VecDeque<Answer>>>,
}

impl Script {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The answers of `call` (`do a`, `undo a`, `probe a`), one after the other; then yes.
    pub(crate) fn on(&self, call: &str, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().entry(call.into()).or_default().extend(answers);
    }

    /// Makes `call` wait until the gate is opened with `notify_one`.
    pub(crate) fn gate(&self, call: &str) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        self.on(call, [Answer::After(gate.clone())]);
        gate
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.log().iter().any(|noted| noted == line)
    }

    /// The keys under which things were done.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap().clone()
    }

    /// Waits until something was noted.
    pub(crate) async fn seen(&self, line: &str) {
        let look = async {
            while !self.has(line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(SOON, look).await;
        assert!(seen.is_ok(), "{line} was never seen: {:?}", self.log());
    }

    fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    async fn answer(&self, call: &str) -> Option<Answer> {
        let answer = self.answers.lock().unwrap().get_mut(call).and_then(VecDeque::pop_front);
        match answer {
            Some(Answer::After(gate)) => {
                gate.notified().await;
                Some(Answer::Yes)
            }
            Some(Answer::Panic) => panic!("the script says so"),
            answer => answer,
        }
    }

    async fn act(&self, what: &str, attempt: &Attempt) -> Result<String, Failure> {
        let call = format!("do {what}");
        self.note(call.clone());
        self.keys.lock().unwrap().push(attempt.key());
        let trouble = || Trouble::new("shaky", "it shakes");
        match self.answer(&call).await {
            None | Some(Answer::Yes) => Ok(what.to_owned()),
            Some(Answer::No) => Err(reject("no", format!("{what} says no"))),
            Some(Answer::Retry) => Err(Failure::Retry(trouble())),
            Some(Answer::NotExecuted) => Err(Failure::Retry(trouble().not_executed())),
            Some(Answer::Uncounted) => Err(Failure::Retry(trouble().uncounted())),
            Some(Answer::Unknown) => Err(unknown("lost", "no reply")),
            Some(Answer::Big) => Ok("x".repeat(engine::payload::PAYLOAD_BYTES_MAX)),
            Some(other) => panic!("{call} can not answer {other:?}"),
        }
    }
}

const SHORT: RetryPolicy = RetryPolicy {
    first: Duration::from_millis(5),
    factor: 1.0,
    cap: Duration::from_millis(20),
    attempts_max: Some(3),
};

/// Something that can be undone.
#[derive(Serialize, Deserialize)]
pub(crate) struct Do(pub(crate) String);

pub(crate) fn does(what: &str) -> Do {
    Do(what.to_owned())
}

impl Activity for Do {
    const NAME: &'static str = "do";
    const DEPENDENCY: &'static str = "script";
    type Services = Script;
    type Output = String;
    type Class = Undoable;

    async fn run(&self, script: &Script, attempt: &Attempt) -> Result<String, Failure> {
        script.act(&self.0, attempt).await
    }

    async fn probe(&self, script: &Script, _: &Attempt) -> Result<Probe<String>, Failure> {
        let call = format!("probe {}", self.0);
        script.note(call.clone());
        Ok(match script.answer(&call).await {
            Some(Answer::Happened) => Probe::Happened(format!("{} after all", self.0)),
            Some(Answer::DidNotHappen) => Probe::DidNotHappen,
            _ => Probe::CanNotTell,
        })
    }

    fn retry() -> RetryPolicy {
        SHORT
    }
}

impl Undo for Do {
    async fn undo(
        &self,
        script: &Script,
        _: &Attempt,
        outcome: Outcome<'_, String>,
    ) -> Result<(), UndoFailure> {
        let known = if matches!(outcome, Outcome::Done(_)) { "done" } else { "unknown" };
        script.note(format!("undo {} {known}", self.0));
        let trouble = || Trouble::new("shaky", "it shakes");
        match script.answer(&format!("undo {}", self.0)).await {
            None | Some(Answer::Yes) => Ok(()),
            Some(Answer::Retry) => Err(UndoFailure::Retry(trouble())),
            Some(Answer::Stuck) => Err(UndoFailure::Stuck(trouble())),
            Some(other) => panic!("an undo can not answer {other:?}"),
        }
    }

    fn undo_retry() -> RetryPolicy {
        RetryPolicy { attempts_max: None, ..SHORT }
    }
}

/// Something that can only go forward.
#[derive(Serialize, Deserialize)]
pub(crate) struct Then(pub(crate) String);

pub(crate) fn then(what: &str) -> Then {
    Then(what.to_owned())
}

impl Activity for Then {
    const NAME: &'static str = "then";
    const DEPENDENCY: &'static str = "script";
    type Services = Script;
    type Output = String;
    type Class = ForwardOnly;

    async fn run(&self, script: &Script, attempt: &Attempt) -> Result<String, Failure> {
        script.act(&self.0, attempt).await
    }

    fn retry() -> RetryPolicy {
        RetryPolicy { attempts_max: Some(1), ..SHORT }
    }
}

/// The saga once it is as `is` says.
pub(crate) async fn until(client: &Client, id: SagaId, is: impl Fn(&SagaView) -> bool) -> SagaView {
    let look = async {
        let mut rev = 0;
        loop {
            let wait = client.wait(id, WaitFor::Change(rev), Duration::from_millis(100));
            let view = wait.await.unwrap().unwrap();
            if is(&view) {
                return view;
            }
            rev = view.summary.rev;
        }
    };
    match tokio::time::timeout(SOON, look).await {
        Ok(view) => view,
        Err(_) => panic!("it never got there: {:#?}", client.view(id).await),
    }
}

pub(crate) async fn held(client: &Client, id: SagaId) -> SagaView {
    until(client, id, |view| view.summary.phase == Phase::Held).await
}

pub(crate) async fn act(engine: &Engine, id: SagaId, action: Action) -> Acted {
    let who = Who { actor: "operator:test".into(), reason: "a test".into(), request_id: None };
    engine.operator().act(id, action, who, None).await.unwrap()
}

/// What is wrong with a saga: code and message.
pub(crate) fn problem(view: &SagaView) -> (&str, &str) {
    let error = view.summary.error.as_ref().unwrap();
    (&error.code, &error.message)
}

/// It is let go, and completes.
pub(crate) async fn goes_on(engine: &Engine, id: SagaId) {
    assert_eq!(act(engine, id, Action::Retry).await.told, Told::Taken);
    ends(&engine.client(), id, Ending::Completed).await;
}
