//! The fault plan's format, its checks, and the demo's plan.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Holding an answer longer than this is refused: it would look like a hang of the simulator itself.
const MILLIS_MAX: u64 = 600_000;

/// What is to go wrong, and how often. The README shows the JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultPlan {
    /// Tried in order for every request; in each group of kinds the first that hits wins.
    pub rules: Vec<Rule>,
    /// Windows in which nothing is executed, counted from when the plan was put in force.
    pub outages: Vec<Outage>,
    /// How 3-D Secure challenges complete by themselves; `None`: they wait to be asked.
    pub challenges: Option<Challenges>,
}

/// One thing that goes wrong with a share of the requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which calls.
    #[serde(default)]
    pub op: Operation,
    /// What happens to them.
    pub kind: FaultKind,
    /// The share of attempts, 0 to 1; 1 if left out.
    #[serde(default = "always")]
    pub probability: f64,
    /// For the kinds that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
    /// For `decline`: Stripe's decline code; `generic_decline` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Only the first so many attempts of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
}

/// A window of time in which the gateway is down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Seconds since the plan was put in force.
    pub from_seconds: f64,
    /// Seconds since the plan was put in force.
    pub to_seconds: f64,
    /// What callers see.
    pub answer: OutageAnswer,
}

/// What callers see during an outage. Nothing is executed either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutageAnswer {
    /// Status 503.
    #[serde(rename = "error_503")]
    Error503,
    /// The connection is closed unanswered.
    Refused,
}

/// How 3-D Secure challenges complete without anybody asking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenges {
    /// From the challenge to its completion.
    pub after_millis: u64,
    /// The share that fails, 0 to 1.
    #[serde(default)]
    pub fail_share: f64,
    /// The share that never completes, 0 to 1.
    #[serde(default)]
    pub abandon_share: f64,
}

/// The calls a rule can name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST /v1/payment_intents`
    Create,
    /// `POST .../confirm`
    Confirm,
    /// `POST .../capture`
    Capture,
    /// `POST .../cancel`
    Cancel,
    /// `POST /v1/refunds`
    Refund,
    /// Every `GET`.
    Get,
    /// A challenge's or a pending refund's completion: only the webhook kinds mean something.
    Authenticate,
    /// All of them.
    #[default]
    Any,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A good card is declined, with `code`.
    Decline,
    /// A good card asks for 3-D Secure.
    RequireAction,
    /// The answer is `processing`; the charge is decided after `millis`.
    Processing,
    /// The request is executed after `millis`; its key is in use meanwhile.
    Latency,
    /// Not executed; no answer for `millis`, then the connection is closed.
    TimeoutBefore,
    /// Executed; no answer for `millis`, then the connection is closed.
    TimeoutAfter,
    /// Executed; the connection is closed at once, unanswered.
    ResetAfter,
    /// The connection is closed at once, unanswered; executed after `millis`.
    LateDelivery,
    /// Executed; answered 500, and 500 is kept for the key.
    #[serde(rename = "error_500_committed")]
    Error500Committed,
    /// Not executed; answered 500, and 500 is kept for the key.
    #[serde(rename = "error_500_not_committed")]
    Error500NotCommitted,
    /// Not executed; answered 503, not kept.
    #[serde(rename = "error_503")]
    Error503,
    /// Not executed; answered 429 with Retry-After, not kept.
    #[serde(rename = "rate_limit_429")]
    RateLimit429,
    /// The request's events are never sent.
    DropWebhook,
    /// The request's events are sent twice.
    DuplicateWebhook,
    /// The request's events are sent before its answer.
    EarlyWebhook,
    /// The request's events are sent after `millis`, so that later ones overtake them.
    DelayWebhook,
}

/// The kinds of which one request suffers at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    TimeoutBefore,
    TimeoutAfter,
    ResetAfter,
    LateDelivery,
    Error500Committed,
    Error500NotCommitted,
    Error503,
    RateLimit429,
}

fn always() -> f64 {
    1.0
}

impl FaultPlan {
    /// Nothing goes wrong but what the test cards say.
    #[must_use]
    pub fn none() -> FaultPlan {
        FaultPlan::default()
    }

    /// The demo's mix: about one request in eight has something go wrong.
    #[must_use]
    pub fn demo() -> FaultPlan {
        use FaultKind as Kind;
        use Operation as Op;
        let rule = |op, kind, probability| Rule {
            op,
            kind,
            probability,
            millis: None,
            code: None,
            attempts_max: None,
        };
        let coded = |code: &str, probability| Rule {
            code: Some(code.to_owned()),
            ..rule(Op::Confirm, Kind::Decline, probability)
        };
        let timed = |op, kind, probability, millis| Rule {
            millis: Some(millis),
            ..rule(op, kind, probability)
        };
        let once = |rule| Rule { attempts_max: Some(1), ..rule };
        FaultPlan {
            rules: vec![
                coded("insufficient_funds", 0.02),
                coded("generic_decline", 0.01),
                coded("expired_card", 0.01),
                rule(Op::Confirm, Kind::RequireAction, 0.02),
                timed(Op::Any, Kind::Latency, 0.04, 250),
                once(timed(Op::Confirm, Kind::TimeoutAfter, 0.005, 30_000)),
                once(rule(Op::Confirm, Kind::ResetAfter, 0.005)),
                once(rule(Op::Confirm, Kind::Error500Committed, 0.01)),
                once(rule(Op::Confirm, Kind::Error500NotCommitted, 0.005)),
                rule(Op::Any, Kind::Error503, 0.01),
                rule(Op::Any, Kind::RateLimit429, 0.01),
                // Not of `authenticate`: a saga that is not told asks after a minute only.
                rule(Op::Confirm, Kind::DropWebhook, 0.02),
                rule(Op::Any, Kind::DuplicateWebhook, 0.03),
                rule(Op::Confirm, Kind::EarlyWebhook, 0.02),
            ],
            outages: Vec::new(),
            challenges: Some(Challenges { after_millis: 400, fail_share: 0.2, abandon_share: 0.0 }),
        }
    }

    /// Refuses what the types allow but nothing could mean.
    ///
    /// # Errors
    /// Says which rule, and what is wrong with it.
    pub fn check(&self) -> Result<(), Error> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        for (index, rule) in self.rules.iter().enumerate() {
            let wrong = |what: String| Err(Error::FaultPlan(format!("rule {}: {what}", index + 1)));
            if !share(rule.probability) {
                return wrong(format!("probability {} is not between 0 and 1", rule.probability));
            }
            if rule.millis.is_some_and(|millis| millis > MILLIS_MAX) {
                return wrong(format!("millis is above {MILLIS_MAX}"));
            }
            if rule.millis.is_some() && rule.kind.default_millis() == 0 {
                return wrong(format!("{} does not wait: leave millis out", rule.kind.name()));
            }
            if rule.code.is_some() && rule.kind != FaultKind::Decline {
                return wrong("code is for decline only".to_owned());
            }
            if rule.attempts_max == Some(0) {
                return wrong("attempts_max 0 would never hit".to_owned());
            }
        }
        for (index, outage) in self.outages.iter().enumerate() {
            let ordered = 0.0 <= outage.from_seconds && outage.from_seconds < outage.to_seconds;
            if !ordered || !outage.to_seconds.is_finite() {
                let what = "from_seconds must be 0 or more, and less than to_seconds";
                return Err(Error::FaultPlan(format!("outage {}: {what}", index + 1)));
            }
        }
        if let Some(c) = &self.challenges {
            let sum = share(c.fail_share)
                && share(c.abandon_share)
                && share(c.fail_share + c.abandon_share);
            if !sum || c.after_millis > MILLIS_MAX {
                let what =
                    "challenges: the shares must add up to at most 1, after_millis to at most";
                return Err(Error::FaultPlan(format!("{what} {MILLIS_MAX}")));
            }
        }
        Ok(())
    }
}

impl Rule {
    pub(crate) fn millis(&self) -> u64 {
        self.millis.unwrap_or_else(|| self.kind.default_millis())
    }
}

impl FaultKind {
    /// All kinds, in the order of their declaration.
    pub(crate) const ALL: [FaultKind; 16] = [
        FaultKind::Decline,
        FaultKind::RequireAction,
        FaultKind::Processing,
        FaultKind::Latency,
        FaultKind::TimeoutBefore,
        FaultKind::TimeoutAfter,
        FaultKind::ResetAfter,
        FaultKind::LateDelivery,
        FaultKind::Error500Committed,
        FaultKind::Error500NotCommitted,
        FaultKind::Error503,
        FaultKind::RateLimit429,
        FaultKind::DropWebhook,
        FaultKind::DuplicateWebhook,
        FaultKind::EarlyWebhook,
        FaultKind::DelayWebhook,
    ];

    /// The name in plans and counters.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FaultKind::Decline => "decline",
            FaultKind::RequireAction => "require_action",
            FaultKind::Processing => "processing",
            FaultKind::Latency => "latency",
            FaultKind::TimeoutBefore => "timeout_before",
            FaultKind::TimeoutAfter => "timeout_after",
            FaultKind::ResetAfter => "reset_after",
            FaultKind::LateDelivery => "late_delivery",
            FaultKind::Error500Committed => "error_500_committed",
            FaultKind::Error500NotCommitted => "error_500_not_committed",
            FaultKind::Error503 => "error_503",
            FaultKind::RateLimit429 => "rate_limit_429",
            FaultKind::DropWebhook => "drop_webhook",
            FaultKind::DuplicateWebhook => "duplicate_webhook",
            FaultKind::EarlyWebhook => "early_webhook",
            FaultKind::DelayWebhook => "delay_webhook",
        }
    }

    /// What a rule without `millis` waits; 0 for the kinds that do not wait.
    fn default_millis(self) -> u64 {
        match self {
            FaultKind::Latency => 250,
            FaultKind::Processing | FaultKind::LateDelivery | FaultKind::DelayWebhook => 1_000,
            FaultKind::TimeoutBefore | FaultKind::TimeoutAfter => 30_000,
            FaultKind::RateLimit429 => 1_000,
            _ => 0,
        }
    }
}

impl Break {
    pub(crate) fn of(kind: FaultKind) -> Option<Break> {
        Some(match kind {
            FaultKind::TimeoutBefore => Break::TimeoutBefore,
            FaultKind::TimeoutAfter => Break::TimeoutAfter,
            FaultKind::ResetAfter => Break::ResetAfter,
            FaultKind::LateDelivery => Break::LateDelivery,
            FaultKind::Error500Committed => Break::Error500Committed,
            FaultKind::Error500NotCommitted => Break::Error500NotCommitted,
            FaultKind::Error503 => Break::Error503,
            FaultKind::RateLimit429 => Break::RateLimit429,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_plans_nothing_could_mean() {
        assert!(FaultPlan::demo().check().is_ok());
        for text in [
            r#"{"rules":[{"kind":"latency","probability":1.5}]}"#,
            r#"{"rules":[{"kind":"latency","millis":99999999}]}"#,
            r#"{"rules":[{"kind":"error_503","millis":5}]}"#,
            r#"{"rules":[{"kind":"latency","code":"x"}]}"#,
            r#"{"outages":[{"from_seconds":3,"to_seconds":2,"answer":"refused"}]}"#,
            r#"{"challenges":{"after_millis":1,"fail_share":0.7,"abandon_share":0.7}}"#,
        ] {
            let plan: FaultPlan = serde_json::from_str(text).unwrap();
            assert!(plan.check().is_err(), "{text}");
        }
        for text in [r#"{"rule":[]}"#, r#"{"rules":[{"kind":"meteor"}]}"#] {
            assert!(serde_json::from_str::<FaultPlan>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_kind_has_the_name_it_is_written_with() {
        for (index, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
    }
}
