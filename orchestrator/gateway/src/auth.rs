//! Who may call: API keys with a role, refused by default.

mod cache;
mod caller;
mod token;

pub use caller::{AMENDS_CUSTOMER, Caller, Customer};
pub use token::{Token, hash};

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::config::ConfigError;
use crate::problem::{FORBIDDEN, Problem, UNAUTHENTICATED, UNAVAILABLE};
use crate::routes::Access;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A shop's back end: acts for the customer it names.
    Shop,
    /// One customer.
    Customer,
    /// Looks at sagas and acts on them.
    Operator,
    /// Everything an operator may, and what can not be taken back.
    Admin,
    /// Looks, and changes nothing.
    Ops,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Shop, Self::Customer, Self::Operator, Self::Admin, Self::Ops];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Customer => "customer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Ops => "ops",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not a role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role; roles are shop, customer, operator, admin, ops")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        let role = Self::ALL.into_iter().find(|role| role.name() == name);
        role.ok_or_else(|| UnknownRole(name.to_owned()))
    }
}

/// A key, without its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The one customer a key of the role `customer` speaks for.
    pub subject: Option<String>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it: 1 to 100 characters.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The customer, for the role `customer` and for no other.
    pub subject: Option<String>,
}

/// A key, and the hash of its token as it is kept.
pub type Found = (Key, [u8; 32]);

/// The keys could not be asked for.
#[derive(Debug, thiserror::Error)]
#[error("the API keys can not be read or written")]
pub struct KeysError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where keys are kept. Tokens are never: only their SHA-256.
pub trait Keys: Send + Sync {
    /// The key with this token that is not revoked, and the hash it is kept with.
    fn find(&self, token_hash: [u8; 32]) -> BoxFuture<'_, Result<Option<Found>, KeysError>>;
    /// Makes a key for a token of this hash.
    fn create(&self, key: NewKey, token_hash: [u8; 32]) -> BoxFuture<'_, Result<Key, KeysError>>;
    /// Those in use, the newest first, then the revoked ones: a thousand at most.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Key>, KeysError>>;
    /// Revokes a key; false: there is none with this id that is in use.
    fn revoke(&self, id: Uuid) -> BoxFuture<'_, Result<bool, KeysError>>;
}

/// The check at the door. Cheap to clone.
///
/// A key that was found good is not asked for again for [`Gate::REMEMBERED_S`] seconds: a revoked key
/// works that much longer at most.
#[derive(Clone)]
pub struct Gate(Arc<Checks>);

enum Checks {
    Keys {
        keys: Arc<dyn Keys>,
        known: cache::Known,
    },
    /// Everybody is let in, on loopback.
    Nobody,
}

impl Gate {
    /// How long a good key is remembered, in seconds.
    pub const REMEMBERED_S: u64 = 5;

    /// A gate that asks for keys.
    pub fn with_keys(keys: Arc<dyn Keys>) -> Self {
        Self(Arc::new(Checks::Keys { keys, known: cache::Known::default() }))
    }

    /// A gate without keys, for a developer's own machine: refused unless every listener is on
    /// loopback.
    pub fn insecure_dev(listeners: &[SocketAddr]) -> Result<Self, ConfigError> {
        match listeners.iter().find(|listener| !listener.ip().is_loopback()) {
            Some(listener) => Err(ConfigError::InsecureListener(*listener)),
            None => Ok(Self(Arc::new(Checks::Nobody))),
        }
    }

    async fn caller(&self, headers: &HeaderMap, access: Access) -> Result<Caller, Problem> {
        let Access::Roles(roles) = access else { return Ok(Caller::anonymous()) };
        let (keys, known) = match &*self.0 {
            Checks::Keys { keys, known } => (keys, known),
            Checks::Nobody => return Ok(Caller::insecure_dev(roles)),
        };
        let token = bearer(headers)?;
        let hash = token.hash();
        let key = match known.get(&hash) {
            Some(key) => key,
            None => {
                let found = keys.find(hash).await.map_err(|error| {
                    Problem::new(&UNAVAILABLE)
                        .detail("The API keys can not be read just now. Nothing was started.")
                        .caused_by(&error)
                })?;
                let (key, kept) = found.ok_or_else(|| unauthenticated("unknown or revoked"))?;
                if !bool::from(kept.ct_eq(&hash)) {
                    return Err(unauthenticated("unknown or revoked"));
                }
                let key = Arc::new(key);
                known.put(hash, key.clone());
                key
            }
        };
        if !roles.contains(&key.role) {
            let allowed: Vec<_> = roles.iter().map(|role| role.name()).collect();
            let detail =
                format!("Your key has the role {}; this needs: {}.", key.role, allowed.join(", "));
            return Err(Problem::new(&FORBIDDEN).detail(detail));
        }
        Ok(Caller::of(&key))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// Lets the request pass with its [`Caller`], or refuses it.
pub(crate) async fn guard(
    State((gate, access)): State<(Gate, Access)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = gate.caller(request.headers(), access).await?;
    tracing::debug!(caller = %caller, "let in");
    // Nothing behind this door has a use for it, so nothing can keep it.
    request.headers_mut().remove(header::AUTHORIZATION);
    request.headers_mut().remove(header::COOKIE);
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn bearer(headers: &HeaderMap) -> Result<Token, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Err(unauthenticated("sent twice")),
        (None, _) => return Err(unauthenticated("missing")),
    };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let token = scheme.eq_ignore_ascii_case("bearer").then(|| Token::parse(token.trim())).flatten();
    token.ok_or_else(|| unauthenticated("not `Bearer amk_..`"))
}

fn unauthenticated(why: &str) -> Problem {
    Problem::new(&UNAUTHENTICATED)
        .detail(format!("The API key is {why}. Send `Authorization: Bearer amk_..`."))
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"amends\""))
}
