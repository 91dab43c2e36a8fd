//! Start a checkout, see where it stands, cancel it.

use std::time::Duration;

use activities::OrderId;
use activities::order::total;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::SagaId;
use engine::client::{Start, StartError, StartKey, Told, WaitFor};
use engine::journal::Ending;
use engine::payload::Payload;
use engine::view::SagaView;
use gateway::api::store_problem;
use gateway::body::{BODY_BYTES_MAX, fields};
use gateway::idempotency::{IdempotencyKey, fingerprint};
use gateway::prefer::Wait;
use gateway::problem::{
    BUSY, IDEMPOTENCY_KEY_REUSED, INTERNAL, KEY_EXPIRED, TOO_LATE_TO_CANCEL, UNAVAILABLE,
};
use gateway::{Customer, Problem, etag};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;
use workflows::Checkout;

use super::checkout_request::{CheckoutRequest, NO_CARDS};
use super::checkout_view::{self, Money, Status, in_books, needs_books};
use super::problems::{CHECKOUT_NOT_FOUND, PRICE_CHANGED, of_trouble};
use super::{PLACE_ORDER, Storefront};

/// How long a cancellation waits for what the saga makes of it.
const CANCEL_WAIT: Duration = Duration::from_secs(3);

/// What order ids derive from.
const ORDERS: Uuid = Uuid::from_bytes(*b"amends\0checkouts");

/// A checkout in a path. What is not an id is the id of no checkout.
pub(super) struct CheckoutId(pub(super) SagaId);

impl<S: Send + Sync> FromRequestParts<S> for CheckoutId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = Path::<String>::from_request_parts(parts, state).await.ok();
        let id = id.and_then(|Path(id)| id.parse().ok());
        id.map(Self).ok_or_else(|| Problem::new(&CHECKOUT_NOT_FOUND))
    }
}

/// `POST /v1/checkouts`
pub(super) async fn start(
    State(shop): State<Storefront>,
    Customer(customer): Customer,
    IdempotencyKey(key): IdempotencyKey,
    wait: Wait,
    request: Request,
) -> Result<Response, Problem> {
    let body = gateway::body::json(request, &NO_CARDS).await?;
    let request = CheckoutRequest::read(&body)?;
    let fingerprint =
        fingerprint(&request).map_err(|error| Problem::new(&INTERNAL).caused_by(&error))?;
    let key = StartKey { scope: format!("{customer} POST /v1/checkouts"), key, fingerprint };
    let (id, existing) = match shop.accept(&customer, &request, &key).await {
        Ok(checkout) => shop.start(customer, checkout, key).await?,
        // The price was fixed when the key was first used: what changed since does not matter.
        Err(problem) => match shop.sagas.find(key).await {
            Ok(Some(id)) => (id, true),
            Ok(None) => return Err(problem),
            // The problem may say that nothing was started, and nobody knows.
            Err(error) => return Err(store_problem(&error)),
        },
    };
    let accepted = |money| {
        let body = axum::Json(checkout_view::accepted(id, money));
        (StatusCode::ACCEPTED, body).into_response()
    };
    let view = match (wait.0, existing) {
        (Some(time), _) if !time.is_zero() => Some(shop.wait_for_news(id, time).await),
        (_, true) => Some(shop.sagas.view(id).await.map_err(|error| store_problem(&error))),
        (_, false) => None,
    };
    let mut response = match view {
        // A moment ago.
        None => accepted(Money::NotCharged),
        Some(Ok(Some(view))) => shop.answer(&view).await,
        Some(Ok(None)) if existing => return Err(Problem::new(&KEY_EXPIRED)),
        Some(Err(problem)) if existing => return Err(problem),
        // It is started, and nothing can be seen of how far it is.
        Some(Ok(None) | Err(_)) => accepted(Money::Checking),
    };
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/checkouts/{id}")) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Prefer"));
    headers.extend(wait.applied());
    if existing {
        let replayed = HeaderName::from_static("idempotency-replayed");
        headers.insert(replayed, HeaderValue::from_static("true"));
    }
    if response.status() == StatusCode::ACCEPTED {
        response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    }
    Ok(response)
}

/// `GET /v1/checkouts/{id}`: with `If-None-Match` and a wait, answers when it changes.
pub(super) async fn see(
    State(shop): State<Storefront>,
    Customer(customer): Customer,
    CheckoutId(id): CheckoutId,
    wait: Wait,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut view = shop.own(&customer, id).await?;
    let has = |view: &SagaView| etag::has(&headers, view.summary.rev);
    if !wait.duration().is_zero() && view.summary.ending.is_none() {
        let is_asked = checkout_view::status(&view) == Status::ActionRequired;
        let waited = match (headers.contains_key(header::IF_NONE_MATCH), has(&view)) {
            (true, true) => {
                shop.wait(id, WaitFor::Change(view.summary.rev), wait.duration()).await?
            }
            // It changed already.
            (true, false) => None,
            // What they are asked for they know: what comes of it is the news.
            (false, _) if is_asked => shop.wait(id, WaitFor::End, wait.duration()).await?,
            (false, _) => shop.wait_for_news(id, wait.duration()).await?,
        };
        view = waited.unwrap_or(view);
    }
    // What became of a refund is in our books, and changes no rev.
    let mut response = match has(&view) && !needs_books(&view) {
        true => {
            let tag = [(header::ETAG, etag::etag(view.summary.rev))];
            (StatusCode::NOT_MODIFIED, tag).into_response()
        }
        false => {
            let mut response = shop.answer(&view).await;
            *response.status_mut() = StatusCode::OK;
            response
        }
    };
    response.headers_mut().extend(wait.applied());
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Prefer"));
    Ok(response)
}

/// `POST /v1/checkouts/{id}/cancel`: the body may be empty, or `{"reason": ".."}`.
pub(super) async fn cancel(
    State(shop): State<Storefront>,
    Customer(customer): Customer,
    CheckoutId(id): CheckoutId,
    request: Request,
) -> Result<Response, Problem> {
    let view = shop.own(&customer, id).await?;
    let reason = cancel_reason(request).await?;
    if is_too_late(&view) {
        return Err(too_late(&view));
    }
    if view.because.is_some() || view.summary.ending.is_some() {
        // Turning back, or turned back: there is nothing left to cancel.
        return Ok(shop.answer(&view).await);
    }
    let by = format!("customer:{customer}");
    let told = shop.sagas.cancel(id, by, reason, CANCEL_WAIT).await;
    let told = told.map_err(|error| store_problem(&error))?;
    let view = shop.own(&customer, id).await?;
    match told {
        Told::Refused(_) if is_too_late(&view) => Err(too_late(&view)),
        Told::Taken | Told::Pending | Told::Refused(_) => Ok(shop.answer(&view).await),
        Told::NoSuchSaga => Err(Problem::new(&CHECKOUT_NOT_FOUND)),
    }
}

async fn cancel_reason(request: Request) -> Result<String, Problem> {
    let (parts, body) = request.into_parts();
    let body = gateway::body::read(&parts.headers, body, BODY_BYTES_MAX).await?;
    let mut reason = None;
    if !body.trim_ascii().is_empty() {
        let body = gateway::body::parse(&body)?;
        let mut errors = fields::Errors::default();
        if let Some(mut fields) = fields::Fields::of(&body, &mut errors) {
            let given = fields.optional("reason");
            reason = given.and_then(|f| f.text(1..=200, &mut errors)).map(str::to_owned);
            fields.end(&mut errors);
        }
        errors.problem()?;
    }
    Ok(reason.unwrap_or_else(|| "the customer asked for it".to_owned()))
}

fn is_too_late(view: &SagaView) -> bool {
    (view.past_pivot || view.summary.ending == Some(Ending::Completed)) && view.because.is_none()
}

fn too_late(view: &SagaView) -> Problem {
    let order = view.summary.business_key.as_deref().unwrap_or_default();
    let next = json!({"do": "contact_support", "href": format!("/v1/orders/{order}")});
    Problem::new(&TOO_LATE_TO_CANCEL)
        .detail("The order is paid and being confirmed, or confirmed already.")
        .with("next", next)
        .with("checkout", format!("/v1/checkouts/{}", view.summary.id))
}

impl Storefront {
    /// Prices the request, and checks it against what the customer was shown.
    async fn accept(
        &self,
        customer: &str,
        request: &CheckoutRequest,
        key: &StartKey,
    ) -> Result<Checkout, Problem> {
        let pricing = self.shop.price(request.lines(), request.currency).await;
        let pricing = pricing.map_err(|trouble| of_trouble(&trouble))?;
        request.unknown_skus(&pricing.unknown).problem()?;
        let total = total(&pricing.lines, request.currency).map_err(|error| {
            let mut errors = fields::Errors::default();
            errors.push("/items", "out_of_range", error.to_string());
            errors.problem().err().unwrap_or_else(|| Problem::new(&INTERNAL))
        })?;
        if request.expected_total.is_some_and(|expected| expected != total) {
            return Err(Problem::new(&PRICE_CHANGED)
                .detail(format!("The items cost {total} now. Nothing was started."))
                .with("total", json!(total)));
        }
        Ok(Checkout {
            order_id: order_id(key),
            customer_id: customer.to_owned(),
            currency: request.currency,
            lines: pricing.lines,
            total,
            payment_method: request.payment_method.clone(),
        })
    }

    async fn start(
        &self,
        customer: String,
        checkout: Checkout,
        key: StartKey,
    ) -> Result<(SagaId, bool), Problem> {
        let input = Payload::encode(&checkout)
            .map_err(|error| Problem::new(&INTERNAL).caused_by(&error))?;
        let start = Start {
            workflow: PLACE_ORDER.to_owned(),
            input,
            key: Some(key),
            business_key: Some(checkout.order_id.to_string()),
            subject: Some(customer),
        };
        match self.sagas.start(start).await {
            Ok(started) => Ok((started.id, started.existing)),
            Err(error) => Err(start_problem(&error)),
        }
    }

    /// The checkout, if it is this customer's. Somebody else's is as unknown as one that never was.
    pub(super) async fn own(&self, customer: &str, id: SagaId) -> Result<SagaView, Problem> {
        let view = self.sagas.view(id).await.map_err(|error| store_problem(&error))?;
        let own = view.filter(|view| {
            view.summary.subject.as_deref() == Some(customer)
                && view.summary.workflow == PLACE_ORDER
        });
        own.ok_or_else(|| Problem::new(&CHECKOUT_NOT_FOUND))
    }

    /// Waits; not longer than the program runs.
    pub(super) async fn wait(
        &self,
        id: SagaId,
        what: WaitFor,
        time: Duration,
    ) -> Result<Option<SagaView>, Problem> {
        let view = tokio::select! {
            view = self.sagas.wait(id, what, time) => view,
            () = self.stopping.cancelled() => self.sagas.view(id).await,
        };
        view.map_err(|error| store_problem(&error))
    }

    /// Waits until there is something for its customer to know or to do: it ended, or it asks them to act.
    async fn wait_for_news(&self, id: SagaId, time: Duration) -> Result<Option<SagaView>, Problem> {
        let until = Instant::now() + time;
        let mut view = self.wait(id, WaitFor::Waiting, time).await?;
        // It may wait for what is not theirs to do, such as word from the bank.
        while let Some(seen) = view.as_ref().filter(|view| checkout_view::status(view).is_ours()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stopping.is_cancelled() {
                break;
            }
            view = self.wait(id, WaitFor::Change(seen.summary.rev), left).await?;
        }
        Ok(view)
    }

    /// 200 with how it ended, or 202 with where it stands.
    async fn answer(&self, view: &SagaView) -> Response {
        let status = match checkout_view::status(view).is_final() {
            true => StatusCode::OK,
            false => StatusCode::ACCEPTED,
        };
        let tag = [(header::ETAG, etag::etag(view.summary.rev))];
        (status, tag, axum::Json(self.body(view).await)).into_response()
    }

    /// The checkout in its customer's words. Asks our books where the journal can not tell.
    pub(super) async fn body(&self, view: &SagaView) -> Value {
        checkout_view::body(view, self.books(view).await)
    }

    async fn books(&self, view: &SagaView) -> Option<Money> {
        if !needs_books(view) {
            return None;
        }
        let order: OrderId = view.summary.business_key.as_deref()?.parse().ok()?;
        let order = self.shop.order(order, view.summary.subject.as_deref()?).await.ok()?;
        Some(in_books(order.as_ref()?.payment.as_ref()))
    }
}

fn start_problem(error: &StartError) -> Problem {
    match error {
        StartError::KeyReused(id) => {
            Problem::new(&IDEMPOTENCY_KEY_REUSED).with("existing", format!("/v1/checkouts/{id}"))
        }
        StartError::Busy => Problem::new(&BUSY),
        StartError::Unavailable(_) => Problem::new(&UNAVAILABLE).caused_by(error),
        StartError::UnknownWorkflow(_) | StartError::TooLong(_) | StartError::Input(_) => {
            Problem::new(&INTERNAL).caused_by(error)
        }
    }
}

/// The order's name: the same for the same key of the same caller, so that a start that is sent again
/// after its database was lost makes no second order.
fn order_id(key: &StartKey) -> OrderId {
    let digest = Sha256::new()
        // Before the texts their lengths: ("ab", "c") is not ("a", "bc").
        .chain_update((key.scope.len() as u64).to_be_bytes())
        .chain_update(&key.scope)
        .chain_update(&key.key)
        .finalize();
    OrderId(Uuid::new_v5(&ORDERS, &digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orders_name_follows_from_its_caller_and_key() {
        let key = |scope: &str, key: &str| {
            let (scope, key) = (scope.to_owned(), key.to_owned());
            order_id(&StartKey { scope, key, fingerprint: [0; 32] })
        };
        assert_eq!(key("a", "k"), key("a", "k"));
        assert_ne!(key("a", "k"), key("b", "k"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
        let other = StartKey { scope: "a".to_owned(), key: "k".to_owned(), fingerprint: [1; 32] };
        assert_eq!(order_id(&other), key("a", "k"));
    }
}
