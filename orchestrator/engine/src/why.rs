//! Why a saga is where it is: one honest sentence for people, and the same as data.

use time::{Duration, OffsetDateTime};

use crate::handler::{Description, Handlers};
use crate::journal::{Direction, JournalError};
use crate::state::{Held, Kind, State};
use crate::summary::{HORIZON, Standing, describe, name_of, tries};
use crate::view::{Effect, Phase, Summary, Why};

mod late;
mod words;

use words::{ago, attempts, clause, effect_line, span};

/// From then on a retry is a long one.
const RETRYING_LONG: Duration = Duration::minutes(2);
const RETRYING_LONG_ATTEMPTS: u32 = 5;

/// The owner of a saga's shard, by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its lease holds.
    pub(crate) alive: bool,
    /// It has the saga's workflow.
    pub(crate) offers: bool,
    /// When the last owner's lease ended, if that is known.
    pub(crate) silent_since: Option<OffsetDateTime>,
}

/// All that the sentence is made from.
pub(crate) struct Seen<'a> {
    /// What the journal adds up to.
    pub(crate) state: &'a State,
    /// How it stands.
    pub(crate) standing: &'a Standing,
    /// Its workflow's name.
    pub(crate) workflow: &'a str,
    /// What this node knows of activities.
    pub(crate) handlers: &'a Handlers,
    /// What is in force.
    pub(crate) effects: &'a [Effect],
    /// Who owns its shard.
    pub(crate) owner: Owner,
    /// When its journal last grew, or when it was accepted.
    pub(crate) moved_at: OffsetDateTime,
    /// When it was last paused.
    pub(crate) paused_at: Option<OffsetDateTime>,
    /// Now.
    pub(crate) now: OffsetDateTime,
}

/// What a rule found.
struct Finding {
    code: String,
    stuck: bool,
    since: OffsetDateTime,
    sentence: String,
    unblocked_by: &'static str,
}

/// Why the saga is where it is; none once it ended. The first rule that fits wins: held, needs a
/// person although it goes on, no owner, an owner without its code, overdue, retrying for long,
/// retrying, waiting, paused, running.
pub(crate) fn why(seen: &Seen<'_>) -> Option<Why> {
    let standing = seen.standing;
    if standing.ending.is_some() {
        return None;
    }
    let held = seen.state.held.as_ref().map(|held| seen.held(held));
    let found = held
        .or_else(|| seen.failing())
        .or_else(|| seen.unowned())
        .or_else(|| seen.unoffered())
        .or_else(|| seen.overdue())
        .or_else(|| seen.retrying())
        .or_else(|| seen.waiting())
        .or_else(|| seen.paused())
        .unwrap_or_else(|| seen.running());
    Some(Why {
        code: found.code,
        stuck: found.stuck,
        since: found.since,
        sentence: found.sentence,
        dependency: standing.dependency.clone(),
        step: standing.activity.clone(),
        direction: standing.direction,
        attempt: standing.attempt,
        max_attempts: seen.attempts_max(),
        next_attempt_at: seen.next_try().filter(|_| standing.phase == Phase::Retrying),
        error: standing.problem.clone(),
        unblocked_by: found.unblocked_by,
    })
}

/// What is said of a saga whose journal this build can not read.
pub(crate) fn unreadable(row: &Summary, error: &JournalError) -> Why {
    Why {
        code: "unreadable".into(),
        stuck: true,
        since: row.changed_at,
        sentence: format!("This build can not read its journal: {error}. Deploy one that can."),
        dependency: row.dependency.clone(),
        step: row.activity.clone(),
        direction: row.direction,
        attempt: row.attempt,
        max_attempts: None,
        next_attempt_at: None,
        error: row.error.clone(),
        unblocked_by: "deploy",
    }
}

impl Seen<'_> {
    /// Parked for a person.
    fn held(&self, held: &Held) -> Finding {
        let stopped = format!("Stopped {}", ago(self.now - held.since));
        let message = clause(&held.problem.message);
        let step = held.step.and_then(|number| self.state.step(number));
        let who = step.map_or("the workflow", |step| name_of(&step.kind));
        let tries = attempts(self.standing.attempt);
        let dependency = self.dependency();
        let (code, sentence, unblocked_by) = match &*held.problem.code {
            "poison" => {
                let line = format!(
                    "{stopped}: it was taken over again and again without getting any further: {message}. Find out why, then retry."
                );
                ("poison", line, "operator")
            }
            code @ ("stalled" | "unknown_activity") => {
                let line =
                    format!("{stopped}: {message}. Deploy a build that can go on, then retry.");
                (code, line, "deploy")
            }
            _ if self.is_backward() => {
                let force = self.in_force();
                let line = format!("{stopped}: could not undo {who}: {message} ({tries}).{force}");
                ("undo_failed", line, "operator")
            }
            "exhausted" | "retries_exhausted" => {
                let line = format!(
                    "{stopped}: {dependency} failed {tries} of {who} ({message}). Retry it or resolve it by hand."
                );
                ("exhausted", line, "operator")
            }
            "diverged" => {
                let line = format!(
                    "{stopped}: this build's workflow does not do what its journal says: {message}. Deploy the build it was started with."
                );
                ("diverged", line, "deploy")
            }
            "panicked" => {
                let line =
                    format!("{stopped}: {who} panicked: {message}. Deploy a fix, then retry.");
                ("panicked", line, "deploy")
            }
            code @ ("misfit" | "batch_misfit") => {
                let line = format!(
                    "{stopped}: recorded data and {who} do not fit: {message}. Deploy a fix, then retry."
                );
                (code, line, "deploy")
            }
            code @ ("too_many_steps" | "payload_too_large") => {
                let line = format!("{stopped}: {message}. Deploy a fix, then retry.");
                (code, line, "deploy")
            }
            code if self.state.pivot.is_some() => {
                let line = format!(
                    "{stopped}: {who} said no past the point of no return: {message}. Retry it or resolve it by hand."
                );
                (code, line, "operator")
            }
            code => {
                let line =
                    format!("{stopped} at {who}: {message}. Retry it or resolve it by hand.");
                (code, line, "operator")
            }
        };
        let code = code.to_owned();
        Finding { code, stuck: true, since: held.since, sentence, unblocked_by }
    }

    /// Still tried, and yet a person should look.
    fn failing(&self) -> Option<Finding> {
        if self.standing.phase != Phase::Retrying {
            return None;
        }
        let code = self.standing.attention.clone()?;
        let since = self.failing_since();
        let age = span(self.now - since);
        let (failure, step) = (self.failure(), self.step());
        let sentence = match &*code {
            "undo_failed" => {
                format!("Could not undo {step} for {age}: {failure}.{}", self.in_force())
            }
            "unknown_effect" => {
                let effect = self.effect().map_or(step, |effect| &effect.description);
                format!("Not known for {age} whether it happened: {effect} ({failure}).")
            }
            _ => {
                let dependency = self.dependency();
                format!(
                    "Waiting {age} for {dependency}: {failure}. Past the point of no return it is tried until it succeeds."
                )
            }
        };
        Some(Finding { code, stuck: true, since, sentence, unblocked_by: "operator" })
    }

    fn retrying(&self) -> Option<Finding> {
        if self.standing.phase != Phase::Retrying {
            return None;
        }
        let since = self.failing_since();
        let age = self.now - since;
        let long = self.standing.attempt >= RETRYING_LONG_ATTEMPTS || age > RETRYING_LONG;
        let waiting = format!("{} for {}: {}", span(age), self.dependency(), self.failure());
        let sentence = match self.is_backward() {
            true => format!("Undoing {}: waiting {waiting}.", self.step()),
            false => format!("Waiting {waiting}."),
        };
        let code = if long { "retrying_long" } else { "retrying" }.to_owned();
        Some(Finding { code, stuck: long, since, sentence, unblocked_by: "dependency" })
    }

    fn waiting(&self) -> Option<Finding> {
        if self.standing.phase != Phase::Waiting {
            return None;
        }
        let step = self.state.step(self.standing.step)?;
        let (sentence, unblocked_by) = match &step.kind {
            Kind::Await { signal, until } => {
                let (age, limit) = (span(self.now - step.at), span(*until - step.at));
                (format!("Waiting {age} for the signal {signal}, up to {limit}."), "customer")
            }
            Kind::Sleep { until } => {
                (format!("Sleeping for another {}.", span(*until - self.now)), "nobody")
            }
            Kind::Activity { .. } => return None,
        };
        let code = "waiting".to_owned();
        Some(Finding { code, stuck: false, since: step.at, sentence, unblocked_by })
    }

    fn paused(&self) -> Option<Finding> {
        let (by, reason) = self.state.paused.as_ref()?;
        let since = self.paused_at.unwrap_or(self.moved_at);
        let sentence =
            format!("Paused by {by} {}: \u{201c}{reason}\u{201d}.", ago(self.now - since));
        let code = "paused".to_owned();
        Some(Finding { code, stuck: true, since, sentence, unblocked_by: "operator" })
    }

    fn running(&self) -> Finding {
        let since = self.begun_at();
        let age = self.now - since;
        let sentence = match self.state.step(self.standing.step) {
            None => format!("Accepted {}, about to begin.", ago(age)),
            Some(_) if self.standing.attempt == 0 => {
                format!("Going on after {} for {}.", self.step(), span(age))
            }
            Some(_) => {
                let verb = if self.is_backward() { "Undoing" } else { "Running" };
                let (step, attempt) = (self.step(), self.standing.attempt);
                format!("{verb} {step} for {}, attempt {attempt}.", span(age))
            }
        };
        Finding { code: "running".into(), stuck: false, since, sentence, unblocked_by: "nobody" }
    }

    fn is_backward(&self) -> bool {
        self.standing.direction == Direction::Backward
    }

    fn kind(&self) -> Option<&Kind> {
        self.state.step(self.standing.step).map(|step| &step.kind)
    }

    fn step(&self) -> &str {
        self.standing.activity.as_deref().unwrap_or("the workflow")
    }

    /// The step, or its undo.
    fn doing(&self) -> String {
        let step = self.step();
        if self.is_backward() { format!("the undo of {step}") } else { step.to_owned() }
    }

    fn description(&self) -> Option<Description> {
        describe(self.handlers, self.standing.activity.as_deref()?)
    }

    /// After how many failures the step is given up: never backward, nor past the pivot.
    fn attempts_max(&self) -> Option<u32> {
        let forward = !self.is_backward() && self.state.pivot.is_none();
        self.description().filter(|_| forward)?.retry.attempts_max
    }

    fn timeout(&self) -> Duration {
        let timeout = self.description().and_then(|known| known.timeout.try_into().ok());
        timeout.unwrap_or(HORIZON)
    }

    fn dependency(&self) -> String {
        self.standing
            .dependency
            .as_deref()
            .map_or_else(|| "it".into(), |name| format!("the {name}"))
    }

    /// "503 Service Unavailable, attempt 6 of 12, next try in 31 s".
    fn failure(&self) -> String {
        let problem = self.standing.problem.as_ref();
        let message = problem.map_or("no answer", |problem| clause(&problem.message));
        let attempt = self.standing.attempt;
        let of = self.attempts_max().map_or_else(String::new, |max| format!(" of {max}"));
        let next = match self.next_try().map(|next| next - self.now) {
            Some(wait) if wait.is_positive() => format!("in {}", span(wait)),
            _ => "now".to_owned(),
        };
        format!("{message}, attempt {attempt}{of}, next try {next}")
    }

    /// When this very step is tried again: another one that is open may come first.
    fn next_try(&self) -> Option<OffsetDateTime> {
        tries(self.state, self.standing.step)?.next_at
    }

    fn failing_since(&self) -> OffsetDateTime {
        self.standing.first_failed_at.unwrap_or(self.moved_at)
    }

    /// When the present attempt began: a first one with its intent, a later one with the last entry.
    fn begun_at(&self) -> OffsetDateTime {
        let step = self.state.step(self.standing.step);
        let first = step.filter(|_| self.standing.attempt == 1 && !self.is_backward());
        first.map_or(self.moved_at, |step| step.at)
    }

    fn effect(&self) -> Option<&Effect> {
        self.effects.iter().find(|effect| effect.step == self.standing.step)
    }

    fn in_force(&self) -> String {
        self.effect().map_or_else(String::new, effect_line)
    }
}

#[cfg(test)]
mod tests;
