//! Calls in any order, repeated, orphaned, alone and all at once: nothing is lost and nothing is
//! promised twice. `initial = available + held + committed`, of each product, always.

use std::collections::{BTreeMap, BTreeSet};

use activities::inventory_store::{Commit, Receipt, ReceiptKind, ReservationState, Reserve};
use activities::verify::Moment;
use activities::{Inventory, Line, OrderId};
use engine::{Attempt, Failure, SagaId, UndoFailure};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgConnection;

use crate::ledger::{Basket, Ledger, Order, Promise, Saga, Said, Sku};
use crate::support::{OwnDatabase, inventory};

const SKUS: usize = 3;
const ORDERS: usize = 4;
/// The last one wants an order that is somebody else's.
const SAGAS: usize = ORDERS + 1;

/// One call, of a saga that may have made it before.
#[derive(Clone, Debug)]
enum Call {
    Receive {
        delivery: u8,
        sku: Sku,
    },
    /// Several baskets in one transaction, each of another order.
    Reserve(Vec<Saga>),
    Release(Saga),
    Pin(Order),
    Commit(Saga),
}

/// What is on the shelf, what each saga wants, and what happens.
#[derive(Clone, Debug)]
struct Story {
    shelf: Vec<u32>,
    baskets: Vec<Basket>,
    calls: Vec<Call>,
}

fn batch() -> impl Strategy<Value = Vec<Saga>> {
    let sagas: Vec<_> = (0..SAGAS).collect();
    let some = prop::sample::subsequence(sagas, 1..=3).prop_shuffle();
    some.prop_map(|mut sagas| {
        let mut orders = BTreeSet::new();
        sagas.retain(|saga| orders.insert(Part::order(*saga)));
        sagas
    })
}

fn story(calls: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Story> {
    let saga = || 0..SAGAS;
    let call = prop_oneof![
        1 => (0..2u8, 0..SKUS).prop_map(|(delivery, sku)| Call::Receive { delivery, sku }),
        5 => batch().prop_map(Call::Reserve),
        3 => saga().prop_map(Call::Release),
        3 => (0..ORDERS).prop_map(Call::Pin),
        3 => saga().prop_map(Call::Commit),
    ];
    let basket = prop::collection::btree_map(0..SKUS, 1..4i64, 1..=SKUS);
    (
        prop::collection::vec(0..8u32, SKUS),
        prop::collection::vec(basket, ORDERS),
        prop::collection::vec(call, calls),
    )
        .prop_map(|(shelf, baskets, calls)| Story { shelf, baskets, calls })
}

/// One story's part of a store: its products, orders and sagas are nobody else's.
#[derive(Clone)]
struct Part {
    inventory: Inventory,
    name: String,
    orders: Vec<OrderId>,
    sagas: Vec<SagaId>,
    baskets: Vec<Basket>,
}

impl Part {
    fn new(inventory: &Inventory, story: &Story) -> Self {
        let orders: Vec<_> = (0..ORDERS).map(|_| OrderId::random()).collect();
        let saga = |_| SagaId::new(1, engine::now());
        let (inventory, name) = (inventory.clone(), orders[0].to_string());
        let (sagas, baskets) = ((0..SAGAS).map(saga).collect(), story.baskets.clone());
        Self { inventory, name, orders, sagas, baskets }
    }

    /// The order a saga is for; the last saga's is the first one's.
    fn order(saga: Saga) -> Order {
        saga % ORDERS
    }

    fn sku(&self, sku: Sku) -> String {
        format!("{}/{sku}", self.name)
    }

    fn lines(&self, saga: Saga) -> Vec<Line> {
        let basket = self.baskets[Self::order(saga)].iter();
        basket.map(|(sku, n)| Line { sku: self.sku(*sku), quantity: *n as u32 }).collect()
    }

    async fn fill(&self, shelf: &[u32]) {
        self.receive("first count", shelf.iter().copied().enumerate()).await;
    }

    async fn receive(&self, delivery: &str, lines: impl Iterator<Item = (Sku, u32)>) {
        let lines = lines.map(|(sku, quantity)| Line { sku: self.sku(sku), quantity });
        let (reference, lines) = (format!("{}/{delivery}", self.name), lines.collect::<Vec<_>>());
        let receipt = Receipt { kind: ReceiptKind::Receipt, reference: &reference, lines: &lines };
        self.inventory.receive(receipt).await.unwrap();
    }

    fn attempt(&self, saga: Saga, step: u32) -> Attempt {
        Attempt::for_test(self.sagas[saga], step, 1)
    }

    /// What the store says to each call of one transaction.
    async fn call(&self, call: &Call) -> Vec<(String, Said)> {
        let inventory = &self.inventory;
        match call {
            Call::Receive { delivery, sku } => {
                let line = (*sku, delivered(*delivery));
                self.receive(&delivery.to_string(), [line].into_iter()).await;
                Vec::new()
            }
            Call::Reserve(sagas) => {
                let wanted: Vec<_> =
                    sagas.iter().map(|saga| (self.attempt(*saga, 1), self.lines(*saga))).collect();
                let baskets: Vec<_> = sagas
                    .iter()
                    .zip(&wanted)
                    .map(|(saga, (attempt, lines))| {
                        let order_id = self.orders[Self::order(*saga)];
                        Reserve { attempt, order_id, lines }
                    })
                    .collect();
                let answers = inventory.reserve(&baskets).await.unwrap();
                let name = |saga: &Saga| format!("reserve {saga}");
                sagas.iter().map(name).zip(answers.iter().map(said)).collect()
            }
            Call::Release(saga) => {
                let order_id = self.orders[Self::order(*saga)];
                let answer = inventory.release(&self.attempt(*saga, 1), order_id).await;
                let said = match &answer {
                    Ok(()) => Said::Done,
                    Err(UndoFailure::Stuck(trouble)) => Said::Stuck(known(&trouble.code)),
                    Err(UndoFailure::Retry(trouble)) => Said::NotNow(known(&trouble.code)),
                };
                vec![(format!("release {saga}"), said)]
            }
            Call::Pin(order) => {
                let answer = inventory.pin(self.orders[*order]).await;
                vec![(format!("pin {order}"), said(&answer))]
            }
            Call::Commit(saga) => {
                let attempt = self.attempt(*saga, 2);
                let order_id = self.orders[Self::order(*saga)];
                let calls = [Commit { attempt: &attempt, order_id }];
                let answer = inventory.commit(&calls).await.unwrap().pop().unwrap();
                vec![(format!("commit {saga}"), said(&answer))]
            }
        }
    }

    /// What the ledger says to the same.
    fn expected(&self, ledger: &mut Ledger, call: &Call) -> Vec<Said> {
        let basket = |saga: &Saga| &self.baskets[Self::order(*saga)];
        match call {
            Call::Receive { delivery, sku } => {
                ledger.receive(*delivery, *sku, i64::from(delivered(*delivery)));
                Vec::new()
            }
            Call::Reserve(sagas) => sagas
                .iter()
                .map(|saga| ledger.reserve(*saga, Self::order(*saga), basket(saga)))
                .collect(),
            Call::Release(saga) => vec![ledger.release(*saga, Self::order(*saga), basket(saga))],
            Call::Pin(order) => vec![ledger.pin(*order)],
            Call::Commit(saga) => vec![ledger.commit(*saga, Self::order(*saga), basket(saga))],
        }
    }

    /// What the store has of each product: on the shelf, of those promised.
    async fn shelf(&self, database: &mut PgConnection) -> Vec<(i64, i64)> {
        let skus: Vec<_> = (0..SKUS).map(|sku| self.sku(sku)).collect();
        sqlx::query_as(
            "select on_hand, reserved from inventory.stock where sku = any($1) order by sku",
        )
        .bind(skus)
        .fetch_all(database)
        .await
        .unwrap()
    }

    /// What became of each order.
    async fn promises(&self, database: &mut PgConnection) -> BTreeMap<Order, Promise> {
        let rows: Vec<(OrderId, ReservationState)> = sqlx::query_as(
            "select order_id, state from inventory.reservation where order_id = any($1)",
        )
        .bind(&self.orders)
        .fetch_all(database)
        .await
        .unwrap();
        let place = |id| self.orders.iter().position(|order| *order == id).unwrap();
        rows.into_iter().map(|(id, state)| (place(id), promise(state))).collect()
    }
}

/// How many of a product a delivery brings.
fn delivered(delivery: u8) -> u32 {
    u32::from(delivery) * 2 + 1
}

fn promise(state: ReservationState) -> Promise {
    match state {
        ReservationState::Held => Promise::Held,
        ReservationState::Pinned => Promise::Pinned,
        ReservationState::Committed => Promise::Committed,
        ReservationState::Released => Promise::Released,
        ReservationState::Expired => panic!("nothing here runs out"),
    }
}

fn said<T>(answer: &Result<T, Failure>) -> Said {
    match answer {
        Ok(_) => Said::Done,
        Err(Failure::Rejected(rejection)) => Said::No(known(&rejection.code)),
        Err(Failure::Retry(trouble) | Failure::Unknown(trouble)) => {
            Said::NotNow(known(&trouble.code))
        }
    }
}

fn known(code: &str) -> &'static str {
    let codes = [
        "out_of_stock",
        "order_already_reserved",
        "undone_before_done",
        "reservation_committed",
        "reservation_missing",
        "reservation_released",
        "reservation_not_pinned",
        "effect_in_doubt",
    ];
    codes.into_iter().find(|known| *known == code).unwrap_or_else(|| panic!("{code}"))
}

/// Runs `check` over so many stories, one after the other, in one store.
fn stories<F: Future<Output = ()>>(
    cases: u32,
    calls: std::ops::RangeInclusive<usize>,
    check: impl Fn(Inventory, std::rc::Rc<OwnDatabase>, Story) -> F,
) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let (inventory, database) = runtime.block_on(inventory());
    let database = std::rc::Rc::new(database);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config).run(&story(calls), |story| {
        runtime.block_on(check(inventory.clone(), database.clone(), story));
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(runtime.block_on(inventory.verify(Moment::Always)).unwrap(), []);
}

#[test]
fn the_store_answers_as_a_ledger_would() {
    stories(48, 1..=40, |inventory, database, story| async move {
        let part = Part::new(&inventory, &story);
        part.fill(&story.shelf).await;
        let mut ledger = Ledger::default();
        for (sku, quantity) in story.shelf.iter().enumerate() {
            ledger.receive(u8::MAX, sku, i64::from(*quantity));
        }
        let mut other = database.connect().await;
        for call in &story.calls {
            let answers: Vec<_> = part.call(call).await.into_iter().map(|(_, said)| said).collect();
            assert_eq!(answers, part.expected(&mut ledger, call), "{call:?}");
            let expected = ledger.stock.values();
            let expected: Vec<_> =
                expected.map(|stock| (stock.received - stock.committed, stock.held)).collect();
            assert_eq!(part.shelf(&mut other).await, expected, "after {call:?}");
            assert!(ledger.stock.values().all(|stock| stock.available() >= 0 && stock.held >= 0));
        }
        assert_eq!(part.promises(&mut other).await, ledger.promises);
    });
}

#[test]
fn calls_at_the_same_time_add_up_and_keep_their_word() {
    stories(32, 20..=60, |inventory, database, story| async move {
        let part = Part::new(&inventory, &story);
        part.fill(&story.shelf).await;
        let mut said = at_once(&part, &story.calls).await;

        // Whoever asks again hears what he heard before.
        for saga in 0..SAGAS {
            for call in [Call::Reserve(vec![saga]), Call::Release(saga), Call::Reserve(vec![saga])]
            {
                said.extend(part.call(&call).await);
            }
        }
        let mut promised = BTreeSet::new();
        for saga in 0..SAGAS {
            let answers = answers_for_good(&said, &format!("reserve {saga}"));
            assert_eq!(answers.len(), 1, "saga {saga}: {answers:?}");
            if answers == [Said::Done] {
                assert!(promised.insert(Part::order(saga)), "promised twice: {answers:?}");
            }
            let answers = answers_for_good(&said, &format!("release {saga}"));
            assert_eq!(answers.len(), 1, "saga {saga}: {answers:?}");
        }

        let mut other = database.connect().await;
        let promises = part.promises(&mut other).await;
        assert_eq!(promises.keys().copied().collect::<BTreeSet<_>>(), promised);
        assert_eq!(part.shelf(&mut other).await, shelf_of(&story, &promises));
        // All was released, or sold before.
        let over = [Promise::Released, Promise::Committed];
        assert!(promises.values().all(|promise| over.contains(promise)), "{promises:?}");
    });
}

/// All calls on four connections, each in its order.
async fn at_once(part: &Part, calls: &[Call]) -> Vec<(String, Said)> {
    let lane = |lane: usize| {
        let calls: Vec<_> = calls.iter().skip(lane).step_by(4).cloned().collect();
        let part = part.clone();
        tokio::spawn(async move {
            let mut said = Vec::new();
            for call in &calls {
                said.extend(part.call(call).await);
            }
            said
        })
    };
    let lanes: Vec<_> = (0..4).map(lane).collect();
    let mut said = Vec::new();
    for lane in lanes {
        said.extend(lane.await.unwrap());
    }
    said
}

/// The answers to one call, each once, without "not now".
fn answers_for_good(said: &[(String, Said)], call: &str) -> Vec<Said> {
    let mut answers: Vec<Said> = Vec::new();
    for (_, said) in said.iter().filter(|(name, _)| name == call) {
        if !matches!(said, Said::NotNow(_)) && !answers.contains(said) {
            answers.push(*said);
        }
    }
    answers
}

/// What came in, less what was sold; and of that, what is promised.
fn shelf_of(story: &Story, promises: &BTreeMap<Order, Promise>) -> Vec<(i64, i64)> {
    let deliveries: BTreeSet<_> = story
        .calls
        .iter()
        .filter_map(|call| match call {
            Call::Receive { delivery, sku } => Some((*delivery, *sku)),
            _ => None,
        })
        .collect();
    let mut shelf: Vec<_> = story.shelf.iter().map(|count| (i64::from(*count), 0)).collect();
    for (delivery, sku) in deliveries {
        shelf[sku].0 += i64::from(delivered(delivery));
    }
    for (order, promise) in promises {
        for (sku, quantity) in &story.baskets[*order] {
            match promise {
                Promise::Held | Promise::Pinned => shelf[*sku].1 += quantity,
                Promise::Committed => shelf[*sku].0 -= quantity,
                Promise::Released => {}
            }
        }
    }
    shelf
}
