//! Stops asking a gateway that is down: after five failures in a row nothing is sent for a minute,
//! then one call finds out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row open it.
pub const FAILURES_MAX: u32 = 5;
/// So long it stays open before one call may try.
pub const OPEN_FOR: Duration = Duration::from_secs(60);
/// So long the others wait while that one call is out.
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// Closed, open until, or half-open with one call out.
#[derive(Debug)]
pub struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// It is open: come back after `remaining`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// How long nothing is sent.
    pub remaining: Duration,
}

/// Leave to send one call; report how it went. Dropped without a report (the caller was cut off),
/// it says nothing about the gateway and the next call may try.
#[derive(Debug)]
#[must_use]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self(Mutex::new(State::Closed { failures: 0 }))
    }
}

impl Breaker {
    /// Whether a call would be let through; takes nothing.
    pub fn check(&self, now: Instant) -> Result<(), Open> {
        match *self.state() {
            State::Open { until } if now < until => Err(Open { remaining: until - now }),
            State::HalfOpen => Err(Open { remaining: PROBE_WAIT }),
            State::Open { .. } | State::Closed { .. } => Ok(()),
        }
    }

    /// Leave to send one call. Of those that come when the time of an open breaker is over, one
    /// gets it.
    pub fn enter(&self, now: Instant) -> Result<Pass<'_>, Open> {
        self.check(now)?;
        let mut state = self.state();
        let is_probe = match *state {
            State::Closed { .. } => false,
            // Somebody was faster between the check and here.
            State::HalfOpen => return Err(Open { remaining: PROBE_WAIT }),
            State::Open { .. } => true,
        };
        if is_probe {
            *state = State::HalfOpen;
        }
        Ok(Pass { breaker: self, is_probe })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; a poisoned value is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it; says whether it was not open before, so that somebody is told once.
    fn open(state: &mut State, now: Instant) -> bool {
        let was_open = matches!(state, State::Open { .. });
        *state = State::Open { until: now + OPEN_FOR };
        !was_open
    }
}

impl Pass<'_> {
    /// The gateway answered.
    pub fn succeeded(mut self) {
        let mut state = self.breaker.state();
        // A late answer to a call from before it opened does not close it: only the probe does.
        if std::mem::take(&mut self.is_probe) || matches!(*state, State::Closed { .. }) {
            *state = State::Closed { failures: 0 };
        }
    }

    /// The gateway did not answer, or with a fault of its own. Says whether this opened the
    /// breaker.
    pub fn failed(mut self, now: Instant) -> bool {
        let mut state = self.breaker.state();
        if std::mem::take(&mut self.is_probe) {
            Breaker::open(&mut state, now);
            // It was open all along for whoever watches.
            return false;
        }
        match *state {
            State::Closed { failures } if failures + 1 >= FAILURES_MAX => {
                Breaker::open(&mut state, now)
            }
            State::Closed { failures } => {
                *state = State::Closed { failures: failures + 1 };
                false
            }
            State::Open { .. } | State::HalfOpen => false,
        }
    }

    /// No call can succeed until somebody acts (a wrong key): opens at once. Says whether this
    /// opened the breaker.
    pub fn tripped(mut self, now: Instant) -> bool {
        let was_probe = std::mem::take(&mut self.is_probe);
        let mut state = self.breaker.state();
        Breaker::open(&mut state, now) && !was_probe
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            *self.breaker.state() = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now: Instant) -> bool {
        breaker.enter(now).unwrap().failed(now)
    }

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        let opened: Vec<_> = (0..FAILURES_MAX).map(|_| fail(&breaker, now)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_for_a_minute() {
        let now = Instant::now();
        let breaker = opened(now);
        assert_eq!(breaker.enter(now).unwrap_err(), Open { remaining: OPEN_FOR });
        let later = now + Duration::from_secs(59);
        assert_eq!(breaker.check(later), Err(Open { remaining: Duration::from_secs(1) }));
        assert_eq!(breaker.check(now + OPEN_FOR), Ok(()));
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let now = Instant::now();
        let breaker = Breaker::default();
        for _ in 0..3 {
            (0..FAILURES_MAX - 1).for_each(|_| assert!(!fail(&breaker, now)));
            breaker.enter(now).unwrap().succeeded();
        }
        assert_eq!(breaker.check(now), Ok(()));
    }

    #[test]
    fn half_open_lets_one_call_through_and_its_success_closes() {
        let breaker = opened(Instant::now());
        let now = Instant::now() + OPEN_FOR;
        let probe = breaker.enter(now).unwrap();
        assert_eq!(breaker.enter(now).unwrap_err(), Open { remaining: PROBE_WAIT });
        probe.succeeded();
        breaker.enter(now).unwrap().succeeded();
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let breaker = opened(Instant::now());
        let now = Instant::now() + OPEN_FOR;
        assert!(!breaker.enter(now).unwrap().failed(now), "nobody is told again");
        assert_eq!(breaker.check(now), Err(Open { remaining: OPEN_FOR }));
    }

    #[test]
    fn a_probe_that_was_cut_off_lets_the_next_one_try() {
        let breaker = opened(Instant::now());
        let now = Instant::now() + OPEN_FOR;
        drop(breaker.enter(now).unwrap());
        breaker.enter(now).unwrap().succeeded();
        assert_eq!(breaker.check(now), Ok(()));
    }

    #[test]
    fn a_wrong_key_opens_it_at_once_and_tells_once() {
        let now = Instant::now();
        let breaker = Breaker::default();
        let (first, second) = (breaker.enter(now).unwrap(), breaker.enter(now).unwrap());
        assert!(first.tripped(now));
        assert!(!second.tripped(now));
        assert!(breaker.enter(now).is_err());
    }

    #[test]
    fn a_late_answer_does_not_close_an_open_breaker() {
        let now = Instant::now();
        let breaker = Breaker::default();
        let late = breaker.enter(now).unwrap();
        for _ in 0..FAILURES_MAX {
            fail(&breaker, now);
        }
        late.succeeded();
        assert!(breaker.enter(now).is_err());
    }
}
