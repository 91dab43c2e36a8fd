//! A workflow without its type: the future of one saga's code, polled by its driver alone.

use std::any::TypeId;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::handler::{Handler, Handlers};
use crate::payload::{Payload, PayloadError, panic_text};
use crate::saga::{Abort, Saga, SharedLink};
use crate::workflow::{ActivitySet, Workflow};

type Running = Pin<Box<dyn Future<Output = Result<Result<Payload, PayloadError>, Abort>> + Send>>;

/// Makes the future of a workflow over an input.
type Make = fn(SharedLink, &Payload) -> Result<Running, PayloadError>;

/// The code of one saga, running.
pub(crate) struct Program {
    pub(crate) link: SharedLink,
    running: Running,
}

impl Drop for Program {
    /// What the code holds may panic when it is let go. That is not its saga's trouble any more.
    fn drop(&mut self) {
        let running = std::mem::replace(&mut self.running, Box::pin(std::future::pending()));
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(running)));
    }
}

/// What a poll of the code led to.
pub(crate) enum Polled {
    /// It waits for what it asked for.
    Waiting,
    /// It returned.
    Returned(Payload),
    /// It passed on that the saga turns back.
    Aborted,
    /// It panicked, or its result can not be written.
    Broken(&'static str, String),
}

impl Program {
    /// Runs the code up to where it waits. It is polled only when there is something new for it,
    /// so no waker is needed; code that waits for anything but its saga never goes on.
    pub(crate) fn poll(&mut self) -> Polled {
        let mut context = Context::from_waker(Waker::noop());
        let running = self.running.as_mut();
        match std::panic::catch_unwind(AssertUnwindSafe(|| running.poll(&mut context))) {
            Ok(Poll::Pending) => Polled::Waiting,
            Ok(Poll::Ready(Ok(Ok(output)))) => Polled::Returned(output),
            Ok(Poll::Ready(Ok(Err(error)))) => {
                Polled::Broken(error.code(), format!("result: {error}"))
            }
            Ok(Poll::Ready(Err(_))) => Polled::Aborted,
            Err(panic) => Polled::Broken("panicked", panic_text(panic.as_ref())),
        }
    }
}

/// The workflows of a node, by name, with the activities they use.
#[derive(Clone, Default)]
pub struct Registry {
    workflows: HashMap<&'static str, Make>,
    pub(crate) handlers: Handlers,
    types: HashMap<&'static str, TypeId>,
    clash: Option<String>,
    #[cfg(feature = "testing")]
    pub(crate) faults: Option<Arc<dyn crate::testing::Faults>>,
    #[cfg(feature = "testing")]
    pub(crate) watches: Vec<Arc<crate::testing::BoundaryWatch>>,
}

impl Registry {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a workflow with the services its activities work with.
    #[must_use]
    pub fn workflow<W: Workflow>(mut self, services: &Arc<W::Services>) -> Self {
        if self.workflows.insert(W::NAME, make::<W>).is_some() {
            self.clash = Some(format!("two workflows are named `{}`", W::NAME));
        }
        for (handler, type_id) in W::Activities::handlers(services) {
            self.activity(handler, type_id);
        }
        self
    }

    /// Has every attempt of a node with this registry ask `faults` what is to happen to it, and
    /// shortens the waits between attempts. For tests.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn crate::testing::Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Has `watch` do its harm to a saga of a node with this registry. For tests.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_boundary_watch(mut self, watch: Arc<crate::testing::BoundaryWatch>) -> Self {
        self.watches.push(watch);
        self
    }

    fn activity(&mut self, handler: Arc<dyn Handler>, type_id: TypeId) {
        let name = handler.describe_self().name;
        match self.types.insert(name, type_id) {
            Some(other) if other != type_id => {
                self.clash = Some(format!("two activities are named `{name}`"));
            }
            _ => {
                self.handlers.insert(name, handler);
            }
        }
    }

    /// The names of the workflows.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.workflows.keys().copied().collect();
        names.sort_unstable();
        names
    }

    /// Two that can not be told apart by name, if there are.
    pub(crate) fn clash(&self) -> Option<&str> {
        self.clash.as_deref()
    }

    /// The name with the lifetime of the program, if a workflow has it.
    pub(crate) fn name(&self, workflow: &str) -> Option<&'static str> {
        self.workflows.get_key_value(workflow).map(|(name, _)| *name)
    }

    /// The code of a saga over its input; none: no workflow of that name.
    pub(crate) fn program(
        &self,
        workflow: &str,
        link: SharedLink,
        input: &Payload,
    ) -> Option<Result<Program, PayloadError>> {
        let make = self.workflows.get(workflow)?;
        Some(make(link.clone(), input).map(|running| Program { link, running }))
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("workflows", &self.names()).finish_non_exhaustive()
    }
}

fn make<W: Workflow>(link: SharedLink, input: &Payload) -> Result<Running, PayloadError> {
    let input: W::Input = input.decode()?;
    Ok(Box::pin(async move {
        let mut saga = Saga::<W>::new(link);
        let output = W::run(&mut saga, input).await?;
        Ok(Payload::encode(&output))
    }))
}
