//! What an operator may do: list, look, and act with a reason.

mod examine;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::checkup::Finding;
use crate::client::Told;
use crate::clock;
use crate::error::StoreError;
use crate::event::{Message, STALE, Verdict};
use crate::handler::Handlers;
use crate::id::{SagaId, ShardId};
use crate::journal::{Direction, Ending, Entry};
use crate::store::Store;
use crate::store::operate::{Sending, Sent};
use crate::store::query::{Loaded, unreadable};
use crate::view::{Look, Phase, SagaView, Story, Summary, Why};

pub(crate) use examine::no_shards;

/// The operator's side of the engine. Cheap to clone.
#[derive(Clone)]
pub struct Operator {
    store: Store,
    handlers: Arc<Handlers>,
    poke: Poke,
}

/// Which sagas to list. Everything but `workflow` and `ending` is indexed for open sagas only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Open sagas only, or ended ones only; none: both.
    pub open: Option<bool>,
    /// Of this workflow.
    pub workflow: Option<String>,
    /// Ended so.
    pub ending: Option<Ending>,
    /// In this phase.
    pub phase: Option<Phase>,
    /// Going this way.
    pub direction: Option<Direction>,
    /// At this activity.
    pub step: Option<String>,
    /// Waiting for this dependency.
    pub dependency: Option<String>,
    /// With this failure.
    pub fingerprint: Option<String>,
    /// Only those that need a person.
    pub attention: Option<bool>,
    /// Only those that are stuck: need a person, or are overdue, or have been retrying for long.
    pub stuck: Option<bool>,
}

/// One line of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The row.
    #[serde(flatten)]
    pub summary: Summary,
    /// Why it is where it is; none once it ended.
    pub why: Option<Why>,
}

/// A page of a list, newest first.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// The lines.
    pub sagas: Vec<Line>,
    /// The id to list before for the next page; none: that was all.
    pub next: Option<SagaId>,
    /// As of this time of the database.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
}

/// Who acts, and why.
#[derive(Clone, Debug)]
pub struct Who {
    /// The caller: "admin:key-name".
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// The request it came with.
    pub request_id: Option<String>,
}

/// What an operator can do to a saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Try now what waits for its next attempt or is held.
    Retry,
    /// Undo everything, if the pivot has not passed.
    Cancel,
    /// Start nothing new.
    Pause,
    /// Go on.
    Resume,
    /// Say what became of a step.
    Resolve {
        /// The step.
        step: u32,
        /// What became of it.
        verdict: Verdict,
    },
}

/// What became of an action.
#[derive(Clone, Debug)]
pub struct Acted {
    /// Its audit row, written in the same commit as the message to the saga.
    pub audit_id: Uuid,
    /// What the saga made of it.
    pub told: Told,
    /// The saga after it.
    pub view: SagaView,
}

/// Why an action was not sent.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// Every action needs one.
    #[error("a reason is required")]
    ReasonMissing,
    /// No such saga.
    #[error("there is no saga {0}")]
    NoSuchSaga(SagaId),
    /// It moved on since it was looked at; nothing was done.
    #[error("the saga moved on: it is at rev {now}, you looked at {seen}")]
    Stale {
        /// Where it is.
        now: i32,
        /// What the caller saw.
        seen: i32,
    },
    /// An output that the step's activity never gives; nothing was done.
    #[error("the output {0}")]
    Misfit(String),
    /// Filters that no index serves together.
    #[error("{0}")]
    Filter(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node, alive or not.
#[derive(Clone, Debug, Serialize)]
pub struct NodeView {
    /// Its id.
    pub id: Uuid,
    /// Its name: host and process.
    pub name: String,
    /// Its build.
    pub version: String,
    /// The workflows it runs.
    pub workflows: Vec<String>,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Until when its lease holds.
    #[serde(with = "time::serde::rfc3339")]
    pub lease_until: OffsetDateTime,
    /// Whether it does, by the database's clock.
    pub alive: bool,
    /// The shards it owns.
    pub shards: Vec<ShardId>,
}

/// One row of the audit: who did what to which saga, and why.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct AuditRow {
    /// Its id.
    pub audit_id: Uuid,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who.
    pub actor: String,
    /// What: `retry`, `cancel`, `pause`, `resume`, `resolve`.
    pub action: String,
    /// To which saga.
    pub saga_id: Option<Uuid>,
    /// Why.
    pub reason: String,
    /// The request it came with.
    pub request_id: Option<String>,
    /// The action as it was asked for, the `rev` it met, and the message it became.
    pub detail: serde_json::Value,
}

/// Something that must be true of the database and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Stable: `journal_gap_free`, `journal_folds_to_ending`, `plan_digest`, ..
    pub invariant: &'static str,
    /// The saga.
    pub id: String,
    /// What is there instead.
    pub detail: String,
}

/// Wakes the owner of a shard if it lives in this process.
pub(crate) type Poke = Arc<dyn Fn(ShardId) + Send + Sync>;

/// How long an action waits for what the saga makes of it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl Operator {
    pub(crate) fn new(store: Store, handlers: Arc<Handlers>, poke: Poke) -> Self {
        Self { store, handlers, poke }
    }

    /// An operator without an engine, for a program that looks and verifies: it runs no sagas, so it
    /// knows steps by their names only, and the owner of a saga finds what it sends by itself.
    pub async fn connect(database_url: &str) -> Result<Self, StoreError> {
        let store = Store::connect(database_url).await?;
        Ok(Self::new(store, Arc::default(), Arc::new(|_| ())))
    }

    /// A page of sagas, newest first: those before `before`, at most `limit` (1 to 200).
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<SagaId>,
        limit: u32,
    ) -> Result<Page, OperateError> {
        self.store.list(filter, before, limit, &self.handlers).await
    }

    /// One saga, as of now.
    pub async fn view(&self, id: SagaId) -> Result<Option<SagaView>, StoreError> {
        let Some(Loaded { stored, input, as_of }) = self.store.load_one(id).await? else {
            return Ok(None);
        };
        let entries = stored.entries.map_err(unreadable)?;
        let look = Look { handlers: &self.handlers, owner: stored.owner, now: as_of };
        Ok(Some(SagaView::of(stored.row, input, &entries, look)))
    }

    /// Its whole journal; none: no such saga.
    pub async fn history(&self, id: SagaId) -> Result<Option<Vec<Entry>>, StoreError> {
        let Some(loaded) = self.store.load_one(id).await? else { return Ok(None) };
        loaded.stored.entries.map(Some).map_err(unreadable)
    }

    /// Sends an action with its audit row, and waits a moment for what the saga makes of it.
    /// `if_rev`: only if the journal has not grown since.
    pub async fn act(
        &self,
        id: SagaId,
        action: Action,
        who: Who,
        if_rev: Option<i32>,
    ) -> Result<Acted, OperateError> {
        if who.reason.trim().is_empty() {
            return Err(OperateError::ReasonMissing);
        }
        if let Action::Resolve { step, verdict } = &action {
            self.fits(id, *step, verdict).await?;
        }
        let (message_id, audit_id) = (clock::new_id(), clock::new_id());
        let detail = serde_json::to_value(&action)
            .unwrap_or_else(|error| unreachable!("actions are JSON: {error}"));
        let (name, message) = action.message(&who);
        let message = match if_rev {
            Some(rev) => Message::IfAt { rev, message: Box::new(message) },
            None => message,
        };
        let sending = Sending {
            id,
            message_id,
            audit_id,
            at: clock::now(),
            message: &message,
            action: name,
            detail,
            who: &who,
            if_rev,
        };
        match self.store.send_audited(&sending).await? {
            Sent::Yes => (self.poke)(id.shard()),
            Sent::NoSuchSaga => return Err(OperateError::NoSuchSaga(id)),
            Sent::Stale(now) => {
                return Err(OperateError::Stale { now, seen: if_rev.unwrap_or(now) });
            }
        }
        let told = self.store.told(id, message_id, ANSWER_WITHIN).await?;
        let view = self.view(id).await?.ok_or(OperateError::NoSuchSaga(id))?;
        if let (Told::Refused(code), Some(seen)) = (&told, if_rev)
            && code == STALE
        {
            return Err(OperateError::Stale { now: view.summary.rev, seen });
        }
        Ok(Acted { audit_id, told, view })
    }

    /// Refuses an output that the step's activity never gives, with the reason. A node that lacks the
    /// activity leaves that to the saga's owner.
    async fn fits(&self, id: SagaId, step: u32, verdict: &Verdict) -> Result<(), OperateError> {
        let loaded = self.store.load_one(id).await?.ok_or(OperateError::NoSuchSaga(id))?;
        let entries = loaded.stored.entries.map_err(unreadable)?;
        let misfit = verdict.misfit(&Story::of(&entries).state, step, &self.handlers);
        misfit.map_or(Ok(()), |misfit| Err(OperateError::Misfit(misfit)))
    }

    /// What operators did to one saga, the latest first; at most 1,000 rows.
    pub async fn audit(&self, id: SagaId) -> Result<Vec<AuditRow>, StoreError> {
        self.store.audit(id).await
    }

    /// All nodes whose lease ended less than a day ago.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, StoreError> {
        self.store.nodes().await
    }

    /// What is to be said of the engine's own tables: who runs the sagas, and whether there is room
    /// for those of the coming weeks.
    pub async fn examine(&self) -> Result<Vec<Finding>, StoreError> {
        examine::examine(&self.store).await
    }

    /// How many sagas are open.
    pub async fn open_count(&self) -> Result<u64, StoreError> {
        self.store.open_count().await
    }

    /// What is wrong with the engine's own database, at most 1,000 violations: journals without
    /// gaps that lead to their rows, plans that were carried out. It reads every saga, in bounded
    /// pages, and may run while the engine does.
    pub async fn verify(&self) -> Result<Vec<Violation>, StoreError> {
        self.store.verify().await
    }
}

impl Action {
    /// Its name in the audit, and what the saga is told.
    fn message(self, who: &Who) -> (&'static str, Message) {
        let (by, reason) = (who.actor.clone(), who.reason.clone());
        match self {
            Self::Retry => ("retry", Message::RetryNow { by }),
            Self::Cancel => ("cancel", Message::Cancel { by, reason }),
            Self::Pause => ("pause", Message::Pause { by, reason }),
            Self::Resume => ("resume", Message::Resume { by }),
            Self::Resolve { step, verdict } => ("resolve", Message::Resolve { by, step, verdict }),
        }
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").finish_non_exhaustive()
    }
}
