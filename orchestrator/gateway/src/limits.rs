//! Bounds on what callers can take: size of headers, requests in flight, time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::prefer::Wait;
use crate::problem::{BUSY, HEADERS_TOO_LARGE, INTERNAL, Problem, TIMED_OUT};

/// The most bytes of path and headers.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// How long a request may take, without the wait it asks for.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Refuses large headers.
pub(crate) async fn headers(request: Request, next: Next) -> Result<Response, Problem> {
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    // Each header's line has `: ` and an end.
    let fields =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    match path + fields.sum::<usize>() {
        0..=HEADER_BYTES_MAX => Ok(next.run(request).await),
        _ => Err(Problem::new(&HEADERS_TOO_LARGE)),
    }
}

/// Refuses what would be one request too many, before anything is taken.
pub(crate) async fn in_flight(
    State(places): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Ok(_place) = places.try_acquire() else { return Err(Problem::new(&BUSY)) };
    Ok(next.run(request).await)
}

/// Gives a request up after its time.
pub(crate) async fn time(request: Request, next: Next) -> Result<Response, Problem> {
    // A wait that can not be read is refused by the route that has one.
    let wait = Wait::from_request(request.headers(), request.uri()).unwrap_or_default();
    match tokio::time::timeout(TIME_MAX + wait.duration(), next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => Err(Problem::new(&TIMED_OUT)),
    }
}

/// Goes on with what changes something although its caller hung up: a write that is cut off in the
/// middle may be done or not, and its connection can not be used again.
pub(crate) async fn detached(request: Request, next: Next) -> Result<Response, Problem> {
    if request.method().is_safe() {
        return Ok(next.run(request).await);
    }
    let answer = tokio::spawn(next.run(request).in_current_span()).await;
    answer.map_err(|error| Problem::new(&INTERNAL).caused_by(&error))
}
