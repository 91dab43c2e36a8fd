//! How fast and how many at once: a token bucket an endpoint, one in all, and a cap on calls in
//! flight. Whoever waits, waits in line and not past its deadline.

use std::num::NonZeroU32;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::answer::Endpoint;
use super::settings::Rate;

/// The guards in front of the gateway.
#[derive(Debug)]
pub(super) struct Limits {
    endpoints: Vec<Bucket>,
    total: Option<Bucket>,
    in_flight: Semaphore,
}

/// Waiters queue on the mutex, which is fair, so one of them at a time watches the bucket.
type Limiter =
    RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;
#[derive(Debug)]
struct Bucket(Mutex<Limiter>);

/// No turn came before the deadline.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLate;

impl Limits {
    /// No more than `concurrency_max` calls at once, and `rate` if any.
    pub(super) fn new(rate: Option<Rate>, concurrency_max: usize) -> Self {
        let endpoints =
            rate.map(|rate| Endpoint::ALL.iter().map(|_| Bucket::new(rate.endpoint)).collect());
        Self {
            endpoints: endpoints.unwrap_or_default(),
            total: rate.map(|rate| Bucket::new(rate.total)),
            in_flight: Semaphore::new(concurrency_max),
        }
    }

    /// Waits for a turn to call `endpoint`; the call ends when the permit is dropped.
    pub(super) async fn enter(
        &self,
        endpoint: Endpoint,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, TooLate> {
        let turn = async {
            if let Some(bucket) = self.endpoints.get(endpoint as usize) {
                bucket.take().await;
            }
            if let Some(bucket) = &self.total {
                bucket.take().await;
            }
            // The semaphore is never closed.
            self.in_flight.acquire().await.map_err(|_| TooLate)
        };
        tokio::time::timeout_at(deadline, turn).await.unwrap_or(Err(TooLate))
    }
}

impl Bucket {
    fn new(per_second: NonZeroU32) -> Self {
        // A full second's worth at once would make two in the first second.
        let burst = NonZeroU32::new(per_second.get() / 5).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self(Mutex::new(RateLimiter::direct_with_clock(quota, MonotonicClock)))
    }

    async fn take(&self) {
        let limiter = self.0.lock().await;
        while let Err(not_until) = limiter.check() {
            tokio::time::sleep(not_until.wait_time_from(limiter.clock().now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rate(endpoint: u32, total: u32) -> Option<Rate> {
        let number = |number| NonZeroU32::new(number).unwrap();
        Some(Rate { endpoint: number(endpoint), total: number(total) })
    }

    fn in_ms(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[tokio::test]
    async fn an_endpoint_waits_for_its_own_bucket_only() {
        let limits = Limits::new(rate(1, 100), 100);
        drop(limits.enter(Endpoint::Confirm, in_ms(50)).await.unwrap());
        assert_eq!(limits.enter(Endpoint::Confirm, in_ms(50)).await.unwrap_err(), TooLate);
        drop(limits.enter(Endpoint::Cancel, in_ms(50)).await.unwrap());
    }

    #[tokio::test]
    async fn all_endpoints_share_the_total() {
        let limits = Limits::new(rate(100, 1), 100);
        drop(limits.enter(Endpoint::Confirm, in_ms(50)).await.unwrap());
        assert_eq!(limits.enter(Endpoint::Cancel, in_ms(50)).await.unwrap_err(), TooLate);
        let started = Instant::now();
        drop(limits.enter(Endpoint::Cancel, in_ms(5_000)).await.unwrap());
        assert!(started.elapsed() > Duration::from_millis(100));
    }

    #[tokio::test]
    async fn calls_in_flight_are_capped_and_the_wait_ends_at_the_deadline() {
        let limits = Limits::new(None, 1);
        let call = limits.enter(Endpoint::Confirm, in_ms(50)).await.unwrap();
        assert_eq!(limits.enter(Endpoint::Confirm, in_ms(50)).await.unwrap_err(), TooLate);
        drop(call);
        drop(limits.enter(Endpoint::Confirm, in_ms(50)).await.unwrap());
    }
}
