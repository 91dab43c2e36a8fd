//! Who a request comes from, and for which customer.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::{Key, Role};
use crate::problem::{CUSTOMER_MISSING, FORBIDDEN, INTERNAL, Problem};

/// The header in which a shop names the customer it acts for.
pub const AMENDS_CUSTOMER: &str = "amends-customer";

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its key's name.
    pub name: String,
    /// What it may do; none: the route is open to all.
    pub role: Option<Role>,
    /// The customer its key is bound to.
    pub subject: Option<String>,
}

impl Caller {
    pub(super) fn of(key: &Key) -> Self {
        Self { name: key.name.clone(), role: Some(key.role), subject: key.subject.clone() }
    }

    pub(super) fn anonymous() -> Self {
        Self { name: "anonymous".to_owned(), role: None, subject: None }
    }

    pub(super) fn insecure_dev(roles: &[Role]) -> Self {
        let role = roles.iter().find(|role| **role != Role::Customer).or_else(|| roles.first());
        Self { name: "insecure-dev".to_owned(), role: role.copied(), subject: None }
    }
}

/// `operator:night-shift`
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.role.map_or("none", Role::name), self.name)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Every route has a guard, which put it there.
        parts.extensions.get().cloned().ok_or_else(|| Problem::new(&INTERNAL))
    }
}

/// The customer a request is for: the key's own, or the one that a shop names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Customer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let mut values = parts.headers.get_all(AMENDS_CUSTOMER).iter();
        let named = values.next().map(|value| value.to_str().unwrap_or_default());
        if values.next().is_some() {
            return Err(Problem::new(&CUSTOMER_MISSING).detail("Amends-Customer was sent twice."));
        }
        match (caller.subject, named) {
            (Some(subject), None) => Ok(Self(subject)),
            (Some(subject), Some(named)) if subject == named => Ok(Self(subject)),
            (Some(_), Some(_)) => {
                let detail =
                    "A customer's key acts for that customer only; leave Amends-Customer out.";
                Err(Problem::new(&FORBIDDEN).detail(detail))
            }
            (None, Some(named))
                if (1..=200).contains(&named.len())
                    && named.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                Ok(Self(named.to_owned()))
            }
            (None, Some(_)) => Err(Problem::new(&CUSTOMER_MISSING)
                .detail("Amends-Customer must be 1 to 200 visible ASCII characters.")),
            (None, None) => Err(Problem::new(&CUSTOMER_MISSING)),
        }
    }
}
