//! What goes wrong on purpose, and how often: seeded, so that a run can be had again.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use crate::fault_plan::{Break, FaultKind, FaultPlan, Operation, OutageAnswer, Rule};
use crate::methods::Decline;

/// Attempts are counted for this many keys; beyond it the counting starts again.
const COUNTED_KEYS_MAX: usize = 1 << 20;

/// The plan in force, and what it has done so far.
pub(crate) struct Faults {
    seed: u64,
    active: RwLock<Arc<Active>>,
    attempts: Mutex<HashMap<u64, u32>>,
    counters: [AtomicU64; FaultKind::ALL.len() + 1],
}

struct Active {
    plan: FaultPlan,
    since: Instant,
}

/// What is to go wrong with one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Draw {
    pub(crate) latency_ms: Option<u64>,
    pub(crate) breaks: Option<(Break, u64)>,
    pub(crate) decline: Option<Decline>,
    pub(crate) require_action: bool,
    pub(crate) processing_ms: Option<u64>,
    pub(crate) webhook: WebhookFault,
    /// How a challenge that this request raises completes by itself: after milliseconds, passing or not.
    pub(crate) challenge: Option<(u64, bool)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct WebhookFault {
    pub(crate) drop: bool,
    pub(crate) duplicate: bool,
    pub(crate) early: bool,
    pub(crate) delay_ms: Option<u64>,
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan, seed: u64) -> Faults {
        Faults {
            seed,
            active: RwLock::new(Arc::new(Active { plan, since: Instant::now() })),
            attempts: Mutex::default(),
            counters: Default::default(),
        }
    }

    /// Puts another plan in force; outage windows count from now.
    pub(crate) fn replace(&self, plan: FaultPlan) {
        let active = Arc::new(Active { plan, since: Instant::now() });
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = active;
    }

    pub(crate) fn plan(&self) -> FaultPlan {
        self.active().plan.clone()
    }

    /// Injected so far, by kind; `outage` is one of them.
    pub(crate) fn injected(&self) -> BTreeMap<&'static str, u64> {
        let names = FaultKind::ALL.iter().map(|kind| kind.name()).chain(["outage"]);
        names.zip(self.counters.iter().map(|counter| counter.load(Ordering::Relaxed))).collect()
    }

    pub(crate) fn count(&self, kind: FaultKind) {
        self.counters[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The outage that is on now, if one is.
    pub(crate) fn outage(&self) -> Option<OutageAnswer> {
        let active = self.active();
        if active.plan.outages.is_empty() {
            return None;
        }
        let at = active.since.elapsed().as_secs_f64();
        let on =
            active.plan.outages.iter().find(|o| (o.from_seconds..o.to_seconds).contains(&at))?;
        self.counters[FaultKind::ALL.len()].fetch_add(1, Ordering::Relaxed);
        Some(on.answer)
    }

    /// Draws for the next attempt of this key.
    pub(crate) fn draw(&self, operation: Operation, key: &str) -> Draw {
        let active = self.active();
        if active.plan.rules.is_empty() && active.plan.challenges.is_none() {
            return Draw::default();
        }
        let identity = hash(self.seed, &[&[operation as u8], key.as_bytes()]);
        let attempt = {
            let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
            if attempts.len() >= COUNTED_KEYS_MAX {
                attempts.clear();
            }
            let attempt = attempts.entry(identity).or_insert(0);
            *attempt += 1;
            *attempt
        };
        draw(&active.plan, identity, operation, attempt)
    }

    fn active(&self) -> Arc<Active> {
        Arc::clone(&self.active.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Pure: the same plan, identity and attempt draw the same. In each group the first rule that hits wins.
fn draw(plan: &FaultPlan, identity: u64, operation: Operation, attempt: u32) -> Draw {
    let mut draw = Draw::default();
    for (index, rule) in plan.rules.iter().enumerate() {
        let applies = rule.op == Operation::Any || rule.op == operation;
        if applies
            && rule.attempts_max.is_none_or(|max| attempt <= max)
            && chance(identity, index, attempt) < rule.probability
        {
            draw.add(rule);
        }
    }
    if let Some(challenges) = &plan.challenges {
        let share = chance(identity, usize::MAX, attempt);
        if share >= challenges.abandon_share {
            let passes = share >= challenges.abandon_share + challenges.fail_share;
            draw.challenge = Some((challenges.after_millis, passes));
        }
    }
    draw
}

impl Draw {
    fn add(&mut self, rule: &Rule) {
        let millis = rule.millis();
        match rule.kind {
            FaultKind::Latency => self.latency_ms = self.latency_ms.or(Some(millis)),
            FaultKind::Processing => self.processing_ms = self.processing_ms.or(Some(millis)),
            FaultKind::RequireAction => self.require_action = true,
            FaultKind::DropWebhook => self.webhook.drop = true,
            FaultKind::DuplicateWebhook => self.webhook.duplicate = true,
            FaultKind::EarlyWebhook => self.webhook.early = true,
            FaultKind::DelayWebhook => {
                self.webhook.delay_ms = self.webhook.delay_ms.or(Some(millis));
            }
            FaultKind::Decline => {
                let code = rule.code.as_deref().unwrap_or("generic_decline");
                self.decline.get_or_insert_with(|| Decline::of(code));
            }
            kind => {
                if let (None, Some(breaks)) = (&self.breaks, Break::of(kind)) {
                    self.breaks = Some((breaks, millis));
                }
            }
        }
    }
}

/// A number in 0..1 that only these three decide.
fn chance(identity: u64, rule: usize, attempt: u32) -> f64 {
    let mixed = hash(identity, &[&(rule as u64).to_le_bytes(), &attempt.to_le_bytes()]);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// FNV-1a over the parts, then splitmix64's finish: fixed for ever, unlike the standard library's hasher.
fn hash(seed: u64, parts: &[&[u8]]) -> u64 {
    let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in parts.concat() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(seed: u64) -> Vec<bool> {
        let faults = Faults::new(FaultPlan::demo(), seed);
        let key = |n: usize| format!("o/{n}/confirm");
        (0..2000).map(|n| faults.draw(Operation::Confirm, &key(n)).decline.is_some()).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        assert_eq!(hits(7), hits(7));
        assert_ne!(hits(7), hits(8));
    }

    #[test]
    fn a_share_of_the_plan_is_that_share_of_the_draws() {
        let plan = r#"{"rules":[{"op":"confirm","kind":"decline","probability":0.1}]}"#;
        let plan: FaultPlan = serde_json::from_str(plan).unwrap();
        let faults = Faults::new(plan, 1);
        let hit = |n: usize| faults.draw(Operation::Confirm, &n.to_string()).decline.is_some();
        let count = (0..20_000).filter(|&n| hit(n)).count();
        assert!((1_850..2_150).contains(&count), "{count} of 20,000");
    }

    #[test]
    fn a_rule_for_the_first_attempt_spares_the_second() {
        let plan = r#"{"rules":[{"op":"confirm","kind":"error_503","attempts_max":1}]}"#;
        let faults = Faults::new(serde_json::from_str(plan).unwrap(), 1);
        assert!(faults.draw(Operation::Confirm, "k").breaks.is_some());
        assert!(faults.draw(Operation::Confirm, "k").breaks.is_none());
        assert!(faults.draw(Operation::Capture, "k").breaks.is_none());
    }
}
