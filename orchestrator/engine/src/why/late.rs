//! Nobody gets it on: its shard has no owner, its owner lacks its code, or its time has long passed.

use time::{Duration, OffsetDateTime};

use super::words::{span, time_of_day};
use super::{Finding, Seen};
use crate::state::Kind;
use crate::view::Phase;

/// How long after its time a saga counts as overdue.
const OVERDUE_AFTER: Duration = Duration::seconds(30);
/// How long a shard may be without an owner before it is worth a word: a takeover takes seconds.
const TAKEOVER_WITHIN: Duration = Duration::seconds(5);

impl Seen<'_> {
    /// No living node owns its shard.
    pub(super) fn unowned(&self) -> Option<Finding> {
        let since = self.owner.silent_since;
        if self.owner.alive || since.is_some_and(|since| self.now - since < TAKEOVER_WITHIN) {
            return None;
        }
        let since_when = since.map_or_else(String::new, |since| {
            format!(" since {} ({})", time_of_day(since), span(self.now - since))
        });
        let sentence =
            format!("Nobody owns its shard{since_when}; it goes on when a node takes it over.");
        let since = since.unwrap_or(self.moved_at);
        Some(Finding {
            code: "no_owner".into(),
            stuck: true,
            since,
            sentence,
            unblocked_by: "deploy",
        })
    }

    /// Its owner does not have its workflow. A wait goes on without it, and so do most undos.
    pub(super) fn unoffered(&self) -> Option<Finding> {
        let stuck = self.overdue_since().is_some();
        let needs_code =
            !self.is_backward() && matches!(self.standing.phase, Phase::Running | Phase::Retrying);
        if !self.owner.alive || self.owner.offers || !(stuck || needs_code) {
            return None;
        }
        let (workflow, age) = (self.workflow, span(self.now - self.moved_at));
        Some(Finding {
            code: "no_workflow".into(),
            stuck,
            since: self.moved_at,
            sentence: format!(
                "No node that owns it has the workflow {workflow}: left open for {age}, it goes on when one that has it takes over."
            ),
            unblocked_by: "deploy",
        })
    }

    /// Since when its time has long passed, if it has.
    fn overdue_since(&self) -> Option<OffsetDateTime> {
        let (due, slack) = match self.standing.phase {
            // The attempt that was due may be under way.
            Phase::Retrying => (self.next_try(), self.timeout() + OVERDUE_AFTER),
            Phase::Running | Phase::Waiting => (self.standing.next_at, OVERDUE_AFTER),
            Phase::Held | Phase::Ended => return None,
        };
        due.filter(|due| self.now - *due > slack)
    }

    /// Its time has long passed.
    pub(super) fn overdue(&self) -> Option<Finding> {
        let standing = self.standing;
        let next_at = self.overdue_since()?;
        let timeout = self.timeout();
        let late = span(self.now - next_at);
        let what = self.doing();
        let sentence = match (standing.phase, self.kind()) {
            (Phase::Retrying, _) => format!("Overdue: the next try of {what} was due {late} ago."),
            (_, Some(Kind::Sleep { .. })) => {
                format!("Overdue: its sleep should have ended {late} ago.")
            }
            (_, Some(Kind::Await { signal, .. })) => {
                format!("Overdue: its wait for the signal {signal} should have ended {late} ago.")
            }
            (_, None) => {
                let age = span(self.now - self.moved_at);
                format!("Overdue: accepted {age} ago and not begun.")
            }
            (_, Some(Kind::Activity { .. })) => {
                let age = span(self.now - self.begun_at());
                let timeout = span(timeout);
                format!("Overdue: {what} began {age} ago; one attempt may take {timeout}.")
            }
        };
        let code = "overdue".to_owned();
        Some(Finding { code, stuck: true, since: next_at, sentence, unblocked_by: "operator" })
    }
}
