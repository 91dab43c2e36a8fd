//! The table of keys: found by the SHA-256 of their token, never by the token.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use gateway::Role;
use gateway::auth::{Found, Key, Keys, KeysError, NewKey, Token};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use time::OffsetDateTime;
use uuid::Uuid;

const FIND: &str = "
    select key_id, name, role, subject, created_at, revoked_at, token_hash
    from access.api_key
    where token_hash = $1 and revoked_at is null";

const CREATE: &str = "
    insert into access.api_key (key_id, name, role, subject, token_hash, created_at)
    values ($1, $2, $3, $4, $5, now())
    returning key_id, name, role, subject, created_at, revoked_at, token_hash";

/// Those in use first: of more than a thousand, a key that works is not behind those that do not.
const LIST: &str = "
    select key_id, name, role, subject, created_at, revoked_at, token_hash
    from access.api_key
    order by revoked_at is not null, created_at desc, key_id
    limit 1000";

const REVOKE: &str = "
    update access.api_key
    set revoked_at = now()
    where key_id = $1 and revoked_at is null
    returning key_id";

/// Every door asks at most once for a key in some seconds: two connections are plenty.
pub const CONNECTIONS_MAX: u32 = 2;
/// How long a connection may take to be made or to become free.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);
/// How long a statement may run at the server.
const STATEMENT_MS_MAX: &str = "3000";
/// How long one may take with everything: what takes longer has no server any more.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why a key could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The database did not do it.
    #[error("the amends database could not be asked for API keys")]
    Database(#[from] sqlx::Error),
    /// It did not answer.
    #[error("the amends database did not answer in time")]
    TimedOut,
    /// A role that this build does not know.
    #[error(transparent)]
    Role(#[from] gateway::auth::UnknownRole),
    /// A key that can not be.
    #[error("{0}")]
    Invalid(&'static str),
}

/// The keys of the `amends` database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessKeys {
    pool: PgPool,
}

#[derive(sqlx::FromRow)]
struct Row {
    key_id: Uuid,
    name: String,
    role: String,
    subject: Option<String>,
    created_at: OffsetDateTime,
    revoked_at: Option<OffsetDateTime>,
    token_hash: [u8; 32],
}

impl AccessKeys {
    /// Opens a pool that connects when it is first used. Must be called within a tokio runtime.
    pub fn connect(url: &str) -> Result<Self, AccessError> {
        let options = options(url)?.options([("statement_timeout", STATEMENT_MS_MAX)]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_WITHIN)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// Makes a key and its token, which nobody can be shown again.
    pub async fn issue(&self, key: NewKey) -> Result<(Key, Token), AccessError> {
        let token = Token::random();
        Ok((self.insert(key, token.hash()).await?, token))
    }

    /// Every statement, to be prepared by a test.
    #[doc(hidden)]
    pub fn statements() -> [&'static str; 4] {
        [FIND, CREATE, LIST, REVOKE]
    }

    async fn insert(&self, key: NewKey, token_hash: [u8; 32]) -> Result<Key, AccessError> {
        check(&key)?;
        let query = sqlx::query_as(CREATE)
            .bind(Uuid::now_v7())
            .bind(key.name)
            .bind(key.role.name())
            .bind(key.subject)
            .bind(token_hash);
        let row: Row = within(query.fetch_one(&self.pool)).await?;
        row.key()
    }

    async fn by_hash(&self, hash: [u8; 32]) -> Result<Option<Found>, AccessError> {
        let query = sqlx::query_as(FIND).bind(hash);
        let row: Option<Row> = within(query.fetch_optional(&self.pool)).await?;
        row.map(|row| {
            let hash = row.token_hash;
            Ok((row.key()?, hash))
        })
        .transpose()
    }

    async fn all(&self) -> Result<Vec<Key>, AccessError> {
        let rows: Vec<Row> = within(sqlx::query_as(LIST).fetch_all(&self.pool)).await?;
        rows.into_iter().map(Row::key).collect()
    }

    async fn end(&self, id: Uuid) -> Result<bool, AccessError> {
        let query = sqlx::query_as::<_, (Uuid,)>(REVOKE).bind(id);
        Ok(within(query.fetch_optional(&self.pool)).await?.is_some())
    }
}

impl Row {
    fn key(self) -> Result<Key, AccessError> {
        let Self { key_id: id, name, role, subject, created_at, revoked_at, .. } = self;
        Ok(Key { id, name, role: role.parse::<Role>()?, subject, created_at, revoked_at })
    }
}

impl Keys for AccessKeys {
    fn find(&self, hash: [u8; 32]) -> BoxFuture<'_, Result<Option<Found>, KeysError>> {
        Box::pin(async move { self.by_hash(hash).await.map_err(boxed) })
    }

    fn create(&self, key: NewKey, hash: [u8; 32]) -> BoxFuture<'_, Result<Key, KeysError>> {
        Box::pin(async move { self.insert(key, hash).await.map_err(boxed) })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Key>, KeysError>> {
        Box::pin(async move { self.all().await.map_err(boxed) })
    }

    fn revoke(&self, id: Uuid) -> BoxFuture<'_, Result<bool, KeysError>> {
        Box::pin(async move { self.end(id).await.map_err(boxed) })
    }
}

fn boxed(error: AccessError) -> KeysError {
    KeysError(Box::new(error))
}

fn check(key: &NewKey) -> Result<(), AccessError> {
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    match &key.subject {
        _ if !(1..=100).contains(&key.name.chars().count())
            || key.name.contains(char::is_control) =>
        {
            Err(AccessError::Invalid("a key's name has 1 to 100 characters"))
        }
        Some(_) if key.role != Role::Customer => {
            Err(AccessError::Invalid("only a key of the role customer has a subject"))
        }
        None if key.role == Role::Customer => Err(AccessError::Invalid(
            "a key of the role customer speaks for one customer: name it with --subject",
        )),
        Some(subject) if !(1..=200).contains(&subject.len()) || !is_visible(subject) => {
            Err(AccessError::Invalid("a subject has 1 to 200 visible ASCII characters"))
        }
        _ => Ok(()),
    }
}

async fn within<T>(
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, AccessError> {
    match tokio::time::timeout(ANSWER_WITHIN, statement).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(AccessError::TimedOut),
    }
}

/// A server that is not on this machine is spoken to over TLS and must prove who it is, unless the
/// URL says otherwise.
fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?
        .application_name("amends")
        .log_statements(tracing::log::LevelFilter::Off);
    let host = options.get_host();
    let is_here =
        matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]") || host.starts_with('/');
    let is_said = url.contains("sslmode=") || url.contains("ssl-mode=");
    Ok(if is_here || is_said { options } else { options.ssl_mode(PgSslMode::VerifyFull) })
}
