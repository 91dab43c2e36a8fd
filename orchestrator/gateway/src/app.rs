//! The two doors: one for customers, one for operators on a listener of its own.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::Level;

use crate::auth::Gate;
use crate::health::Health;
use crate::operations::Operations;
use crate::problem::{INTERNAL, Pages, Problem, pages};
use crate::routes::Routes;
use crate::{api, limits, request_id};

/// Where customers are served unless something else is said.
pub const PUBLIC_ADDRESS: SocketAddr = loopback(8080);
/// Where operators are served unless something else is said.
pub const OPERATOR_ADDRESS: SocketAddr = loopback(8081);
/// How many requests are under way at once unless something else is said.
pub const IN_FLIGHT_MAX: usize = 4_096;

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// What both doors have.
#[derive(Clone, Debug)]
pub struct Doors {
    /// Who may come in.
    pub gate: Gate,
    /// What the program says about itself.
    pub health: Health,
    /// What every problem's page is made from.
    pub pages: Pages,
    /// How many requests each door takes at once; one more is refused as busy.
    pub in_flight_max: usize,
}

impl Doors {
    /// The customers' door, with the shop's `routes`.
    pub fn public(self, routes: Routes) -> Router {
        let open = self.health.clone().routes();
        self.door(routes, open)
    }

    /// The operators' door.
    pub fn operators(self, operations: Arc<dyn Operations>) -> Router {
        let open = self.health.clone().routes().and(self.health.clone().metrics_route());
        self.door(api::routes(operations), open)
    }

    fn door(self, routes: Routes, open: Routes) -> Router {
        let places = Arc::new(Semaphore::new(self.in_flight_max));
        let problems = Router::new()
            .route("/problems", get(pages::index))
            .route("/problems/{code}", get(pages::page))
            .with_state(self.pages);
        routes
            .guarded(&self.gate)
            .layer(from_fn_with_state(places, limits::in_flight))
            .merge(open.guarded(&self.gate))
            .merge(problems)
            // From the inside out.
            .layer(from_fn(limits::time))
            .layer(from_fn(limits::detached))
            .layer(from_fn(limits::headers))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn(request_id::finish))
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(request_id::span)
                    .on_request(())
                    .on_response(DefaultOnResponse::new().level(Level::INFO))
                    // What somebody must read is logged where the problem is.
                    .on_failure(()),
            )
            .layer(from_fn(request_id::assign))
    }
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    Problem::new(&INTERNAL).into_response()
}

#[cfg(test)]
pub(crate) mod tests;
