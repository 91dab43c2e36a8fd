//! The table of routes: each with its method, path, who may, and what it does. What is served is made
//! from it, so that a route without a role can not exist.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::auth::{Gate, Role, guard};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Keys with one of these roles.
    Roles(&'static [Role]),
    /// Everybody, for this reason.
    Public(&'static str),
}

/// A route, as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its method.
    pub method: Method,
    /// Its path, with `{names}`.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// What it does, in one line.
    pub about: &'static str,
}

/// Routes, and what they are served with.
#[derive(Clone, Debug)]
pub struct Routes<S = ()>(Vec<(Described, MethodRouter<S>)>);

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// `GET` (and `HEAD`).
    #[must_use]
    pub fn get<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) -> Self {
        self.route(Method::GET, path, access, about, on(MethodFilter::GET, handler))
    }

    /// `POST`
    #[must_use]
    pub fn post<H: Handler<T, S>, T: 'static>(
        self,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: H,
    ) -> Self {
        self.route(Method::POST, path, access, about, on(MethodFilter::POST, handler))
    }

    fn route(
        mut self,
        method: Method,
        path: &'static str,
        access: Access,
        about: &'static str,
        handler: MethodRouter<S>,
    ) -> Self {
        self.0.push((Described { method, path, access, about }, handler));
        self
    }

    /// Gives the handlers what they work with.
    #[must_use]
    pub fn with_state(self, state: S) -> Routes {
        let routes = self.0.into_iter();
        Routes(routes.map(|(about, handler)| (about, handler.with_state(state.clone()))).collect())
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// These and those.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// What the table says.
    pub fn described(&self) -> impl Iterator<Item = &Described> {
        self.0.iter().map(|(about, _)| about)
    }

    pub(crate) fn guarded(self, gate: &Gate) -> Router {
        self.0.into_iter().fold(Router::new(), |router, (about, handler)| {
            let state = (gate.clone(), about.access);
            router.route(about.path, handler.route_layer(from_fn_with_state(state, guard)))
        })
    }
}
