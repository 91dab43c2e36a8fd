//! Customers who send every request again until it is answered, and write down what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::http;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// How long after being accepted a customer may have second thoughts: about as long as an order takes.
const CANCELS_WITHIN: Duration = Duration::from_millis(400);
/// What is final.
const FINAL: [&str; 4] = ["completed", "declined", "failed", "cancelled"];

/// What customers buy, and how they pay.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// What a basket is filled from.
    pub(crate) skus: Vec<&'static str>,
    /// Each card with its weight.
    pub(crate) cards: Vec<(&'static str, u32)>,
    /// Of so many customers one cancels.
    pub(crate) cancels_one_in: Option<usize>,
    /// Whether they wait for the end before they leave.
    pub(crate) follow: bool,
}

/// What one customer was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) id: Option<String>,
    pub(crate) ending: Option<String>,
    /// The whole answer, once it was final.
    pub(crate) last: Value,
}

/// All customers of a run, and their own books.
#[derive(Debug)]
pub(crate) struct Customers {
    http: Client,
    doors: Vec<String>,
    key: String,
    habits: Habits,
    seed: u64,
    /// How long one asks before giving up: that is a violation.
    patience: Duration,
    placed: AtomicUsize,
    closed: AtomicBool,
    ledger: Mutex<BTreeMap<usize, Told>>,
    /// What contradicts what they were told before, or is no answer at all.
    complaints: Mutex<Vec<String>>,
    last_success: Mutex<Instant>,
    longest_silence: Mutex<Duration>,
    repeats: AtomicUsize,
    refusals: Mutex<Vec<Refusal>>,
}

/// A checkout that was not taken, for now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) asked: Instant,
    pub(crate) told_after: Duration,
}

impl Customers {
    pub(crate) fn new(
        doors: Vec<String>,
        key: String,
        habits: Habits,
        seed: u64,
        patience: Duration,
    ) -> Self {
        Self {
            http: http(),
            doors,
            key,
            habits,
            seed,
            patience,
            placed: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            ledger: Mutex::default(),
            complaints: Mutex::default(),
            last_success: Mutex::new(Instant::now()),
            longest_silence: Mutex::default(),
            repeats: AtomicUsize::new(0),
            refusals: Mutex::default(),
        }
    }

    /// So many at once go on until `least` have been served and the shop is closed.
    pub(crate) async fn shop(&self, least: usize, in_flight: usize) {
        *self.last_success.lock().unwrap() = Instant::now();
        let next = || self.placed.fetch_add(1, Ordering::Relaxed);
        let coming = iter(repeat_with_until(next, |number| {
            *number < least || !self.closed.load(Ordering::Acquire)
        }));
        coming.for_each_concurrent(in_flight, |number| self.serve(number)).await;
    }

    /// Nobody comes in any more, beyond those that must.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// How many were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.ledger.lock().unwrap().values().filter(|told| told.id.is_some()).count()
    }

    /// What everybody was told.
    pub(crate) fn ledger(&self) -> BTreeMap<usize, Told> {
        self.ledger.lock().unwrap().clone()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap().clone()
    }

    pub(crate) fn repeats(&self) -> usize {
        self.repeats.load(Ordering::Relaxed)
    }

    /// Each time somebody with a cart was told to come back.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        self.refusals.lock().unwrap().clone()
    }

    /// The longest time in which nobody got an answer.
    pub(crate) fn longest_silence(&self) -> Duration {
        *self.longest_silence.lock().unwrap()
    }

    /// One more customer, who pays at once: how long until they are accepted, and until they have it.
    pub(crate) async fn probe(&self) -> Option<(Duration, Duration)> {
        let (number, mut rng) = self.come_in();
        let began = Instant::now();
        let cart = one_of(self.habits.skus[0], "pm_card_visa");
        let id = self.place(number, &cart, &mut rng).await?;
        let accepted = began.elapsed();
        self.follow(number, &id, &mut rng).await;
        Some((accepted, began.elapsed()))
    }

    /// One more customer with this card, followed to the end: what they were told.
    pub(crate) async fn order(&self, card: &str) -> Option<Told> {
        let (number, mut rng) = self.come_in();
        let id = self.place(number, &one_of(self.habits.skus[0], card), &mut rng).await?;
        self.follow(number, &id, &mut rng).await;
        self.ledger.lock().unwrap().get(&number).cloned()
    }

    /// One more customer, who wants this and leaves as soon as they are accepted: their checkout.
    pub(crate) async fn leave_order(&self, sku: &str) -> Option<String> {
        let (number, mut rng) = self.come_in();
        self.place(number, &one_of(sku, "pm_card_visa"), &mut rng).await
    }

    fn come_in(&self) -> (usize, fastrand::Rng) {
        let number = self.placed.fetch_add(1, Ordering::Relaxed);
        (number, fastrand::Rng::with_seed(self.seed ^ number as u64))
    }

    async fn serve(&self, number: usize) {
        let mut rng = fastrand::Rng::with_seed(self.seed ^ (number as u64).wrapping_mul(0x9E37));
        self.ledger.lock().unwrap().insert(number, Told::default());
        let cart = self.cart(&mut rng);
        let Some(id) = self.place(number, &cart, &mut rng).await else { return };
        if rng.usize(..8) == 0 {
            // The same key again, at any door: the same checkout.
            self.repeats.fetch_add(1, Ordering::Relaxed);
            if let Some(again) = self.place(number, &cart, &mut rng).await
                && again != id
            {
                self.complain(format!("customer {number}: key answered {id}, then {again}"));
            }
        }
        if self.habits.cancels_one_in.is_some_and(|one_in| rng.usize(..one_in) == 0) {
            // At any point of the saga's way, or too late.
            tokio::time::sleep(rng.u32(..=16) * CANCELS_WITHIN / 16).await;
            let path = format!("/v1/checkouts/{id}/cancel");
            self.insist(number, &mut rng, Method::POST, &path, None).await;
        }
        if self.habits.follow {
            self.follow(number, &id, &mut rng).await;
        }
    }

    fn cart(&self, rng: &mut fastrand::Rng) -> Value {
        let lines = rng.usize(1..=self.habits.skus.len().min(3));
        let mut skus = self.habits.skus.clone();
        rng.shuffle(&mut skus);
        let items: Vec<Value> =
            skus[..lines].iter().map(|sku| json!({"sku": sku, "quantity": 1})).collect();
        let total: u32 = self.habits.cards.iter().map(|(_, weight)| weight).sum();
        let mut at = rng.u32(..total);
        let card = self.habits.cards.iter().find(|(_, weight)| {
            let hit = at < *weight;
            at = at.saturating_sub(*weight);
            hit
        });
        json!({"items": items, "payment_method": card.unwrap().0, "currency": "USD"})
    }

    async fn place(&self, number: usize, cart: &Value, rng: &mut fastrand::Rng) -> Option<String> {
        let body = self.insist(number, rng, Method::POST, "/v1/checkouts", Some(cart)).await?;
        let Some(id) = body["id"].as_str() else {
            self.complain(format!("customer {number}: accepted without an id: {body}"));
            return None;
        };
        self.note(number, id, &body);
        let now = Instant::now();
        let silence = now - std::mem::replace(&mut *self.last_success.lock().unwrap(), now);
        let mut longest = self.longest_silence.lock().unwrap();
        *longest = silence.max(*longest);
        Some(id.to_owned())
    }

    async fn follow(&self, number: usize, id: &str, rng: &mut fastrand::Rng) {
        let end = Instant::now() + self.patience;
        while Instant::now() < end {
            let path = format!("/v1/checkouts/{id}");
            let Some(body) = self.insist(number, rng, Method::GET, &path, None).await else {
                return;
            };
            self.note(number, id, &body);
            if body["status"].as_str().is_some_and(|status| FINAL.contains(&status)) {
                return;
            }
        }
        self.complain(format!("customer {number}: {id} does not end"));
    }

    /// Sends a request again and again, at one door after the other, until it is answered.
    async fn insist(
        &self,
        number: usize,
        rng: &mut fastrand::Rng,
        method: Method,
        path: &str,
        cart: Option<&Value>,
    ) -> Option<Value> {
        let end = Instant::now() + self.patience;
        let mut door = rng.usize(..self.doors.len());
        while Instant::now() < end {
            door = (door + 1) % self.doors.len();
            let url = format!("{}{path}", self.doors[door]);
            let request = self.http.request(method.clone(), url).bearer_auth(&self.key);
            let mut request = request.header("amends-customer", "crowd").timeout(REQUEST_TIMEOUT);
            request = match cart {
                Some(cart) => request.header("idempotency-key", format!("key-{number}")).json(cart),
                None => request.header("prefer", "wait=5"),
            };
            let asked = Instant::now();
            let Ok(answer) = request.send().await else {
                tokio::time::sleep(Duration::from_millis(30)).await;
                continue;
            };
            let status = answer.status();
            let Ok(text) = answer.text().await else { continue };
            match status {
                StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                    return Some(serde_json::from_str(&text).unwrap_or_default());
                }
                // Away, full, or without its database: nothing was said, so it is sent again.
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                    if cart.is_some() {
                        let told_after = asked.elapsed();
                        self.refusals.lock().unwrap().push(Refusal { asked, told_after });
                    }
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                // Too late to cancel is an answer.
                StatusCode::CONFLICT if cart.is_none() && method == Method::POST => return None,
                status => {
                    self.complain(format!("customer {number}: {method} {path}: {status} {text}"));
                    return None;
                }
            }
        }
        self.complain(format!("customer {number}: {method} {path} was never answered"));
        None
    }

    /// Writes down what was said, and complains about what contradicts it.
    fn note(&self, number: usize, id: &str, body: &Value) {
        let status = body["status"].as_str().unwrap_or_default();
        let mut ledger = self.ledger.lock().unwrap();
        let told = ledger.entry(number).or_default();
        told.id = Some(id.to_owned());
        match &told.ending {
            Some(ending) if ending != status => {
                let complaint = format!("customer {number}: {id} was {ending}, then {status}");
                drop(ledger);
                self.complain(complaint);
            }
            None if FINAL.contains(&status) => {
                told.ending = Some(status.to_owned());
                told.last = body.clone();
            }
            _ => {}
        }
    }

    fn complain(&self, complaint: String) {
        self.complaints.lock().unwrap().push(complaint);
    }

    /// Asks once more for everything that was accepted, at any door: what was final stays so, and what
    /// is parked is not final.
    pub(crate) async fn ask_again(&self, parked: &BTreeSet<String>) {
        let known: Vec<(usize, String)> = self
            .ledger()
            .into_iter()
            .filter_map(|(number, told)| Some((number, told.id?)))
            .collect();
        iter(known)
            .for_each_concurrent(16, |(number, id)| async move {
                let mut rng = fastrand::Rng::with_seed(number as u64);
                if !parked.contains(&id) {
                    return self.follow(number, &id, &mut rng).await;
                }
                let path = format!("/v1/checkouts/{id}");
                let body = self.insist(number, &mut rng, Method::GET, &path, None).await;
                let told = body.unwrap_or_default()["status"].clone();
                if told.as_str().is_none_or(|status| FINAL.contains(&status)) {
                    self.complain(format!("customer {number}: {id} is parked, and told {told}"));
                }
            })
            .await;
    }
}

/// The body of a checkout of one thing.
fn one_of(sku: &str, card: &str) -> Value {
    json!({"items": [{"sku": sku, "quantity": 1}], "payment_method": card, "currency": "USD"})
}

/// What `next` gives, for as long as `goes_on`.
fn repeat_with_until<T>(
    mut next: impl FnMut() -> T,
    goes_on: impl Fn(&T) -> bool,
) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || Some(next()).filter(&goes_on))
}
