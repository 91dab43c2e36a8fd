//! Never more than there is, never less than was promised.

use std::collections::HashMap;

use activities::inventory_store::{Commit, Receipt, ReceiptKind, ReservationState, Reserve};
use activities::verify::Moment;
use activities::{Inventory, Line, OrderId};
use engine::{Failure, UndoFailure};
use serde_json::json;

use crate::support::{attempt, code, inventory_with, lines, reserve};

#[tokio::test]
async fn out_of_stock_lists_the_skus_and_takes_nothing() {
    let (inventory, _database) = inventory_with(&[("a", 10), ("b", 1), ("c", 0)]).await;
    let basket = [("c", 1), ("a", 1), ("b", 1), ("nobody", 2), ("b", 1), ("nul\0", 1)];
    let no = reserve(&inventory, &attempt(), OrderId::random(), &basket).await;
    let Err(Failure::Rejected(no)) = no else { panic!("{no:?}") };
    assert_eq!(no.code, "out_of_stock");
    let short = json!({ "items": [
        { "sku": "b", "requested": 2, "available": 1 },
        { "sku": "c", "requested": 1, "available": 0 },
        { "sku": "nobody", "requested": 2, "available": 0 },
        { "sku": "nul\0", "requested": 1, "available": 0 },
    ]});
    assert_eq!(no.details, Some(short));
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().available, 10);
    assert_eq!(inventory.verify(Moment::AtRest).await.unwrap(), []);
}

#[tokio::test]
async fn each_basket_of_a_batch_fails_alone() {
    let (inventory, _database) = inventory_with(&[("a", 5), ("b", 4)]).await;
    let baskets = [
        vec![("a", 3)],
        vec![("a", 3)],
        vec![("b", 0)],
        vec![],
        vec![("a", 1), ("b", 4)],
        vec![("b", 1)],
    ];
    let baskets: Vec<_> =
        baskets.iter().map(|skus| (attempt(), OrderId::random(), lines(skus))).collect();
    let mut calls: Vec<_> = baskets
        .iter()
        .map(|(attempt, order_id, lines)| Reserve { attempt, order_id: *order_id, lines })
        .collect();
    let (other, one_more) = (attempt(), lines(&[("b", 1)]));
    calls.push(Reserve { attempt: &other, order_id: baskets[0].1, lines: &one_more });
    let answers = inventory.reserve(&calls).await.unwrap();
    let codes: Vec<_> = answers.iter().map(code).collect();
    let expected = [
        "done",
        "out_of_stock",
        "invalid_lines",
        "invalid_lines",
        "done",
        "out_of_stock",
        "order_already_reserved",
    ];
    assert_eq!(codes, expected);
    assert_eq!(inventory.verify(Moment::Always).await.unwrap(), []);

    // An order of an earlier batch is known too.
    let late = reserve(&inventory, &attempt(), baskets[0].1, &[("a", 1)]).await;
    assert_eq!(code(&late), "order_already_reserved");
}

#[tokio::test]
async fn a_basket_that_gets_nothing_takes_nothing_from_the_next() {
    let (inventory, _database) = inventory_with(&[("a", 5)]).await;
    let taken = OrderId::random();
    reserve(&inventory, &attempt(), taken, &[("a", 1)]).await.unwrap();
    let lines = lines(&[("a", 3)]);
    let names = [(attempt(), taken), (attempt(), OrderId::random())];
    let baskets = names.each_ref().map(|(attempt, order_id)| Reserve {
        attempt,
        order_id: *order_id,
        lines: &lines,
    });
    let answers = inventory.reserve(&baskets).await.unwrap();
    let codes: Vec<_> = answers.iter().map(code).collect();
    assert_eq!(codes, ["order_already_reserved", "done"]);
    assert_eq!(inventory.verify(Moment::Always).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_for_3200_units_of_1000_hold_exactly_1000() {
    let (inventory, database) = inventory_with(&[("hot", 1000), ("a", 5000), ("b", 5000)]).await;
    let mut callers = Vec::new();
    for n in 0..32 {
        let inventory = inventory.clone();
        callers.push(tokio::spawn(async move {
            let basket = if n % 2 == 0 { [("hot", 1), ("a", 1)] } else { [("b", 1), ("hot", 1)] };
            let lines = lines(&basket);
            let mut held = 0;
            for batch in [1, 1, 2, 4, 8, 16, 32, 36] {
                let names: Vec<_> = (0..batch).map(|_| (attempt(), OrderId::random())).collect();
                let baskets = names.iter().map(|(attempt, order_id)| Reserve {
                    attempt,
                    order_id: *order_id,
                    lines: &lines,
                });
                let answers = inventory.reserve(&baskets.collect::<Vec<_>>()).await.unwrap();
                for answer in answers {
                    let code = code(&answer);
                    assert!(["done", "out_of_stock"].contains(&code), "{code}");
                    held += i64::from(answer.is_ok());
                }
            }
            held
        }));
    }
    let mut held = 0;
    for caller in callers {
        held += caller.await.unwrap();
    }
    assert_eq!(held, 1000);
    assert_eq!(inventory.availability("hot").await.unwrap().unwrap().available, 0);
    assert_eq!(database.count("select count(*) from inventory.reservation").await, 1000);
    assert_eq!(inventory.verify(Moment::Always).await.unwrap(), []);
}

/// A small generator, so that a failure can be seen again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    fn basket(&mut self) -> Vec<Line> {
        let skus = (0..1 + self.below(8)).map(|_| self.below(12).to_string());
        skus.map(|sku| Line { sku, quantity: 1 }).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_line_orders_never_deadlock() {
    let skus: Vec<String> = (0..12).map(|sku| sku.to_string()).collect();
    let stock: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 100_000)).collect();
    let (inventory, _database) = inventory_with(&stock).await;
    let mut callers = Vec::new();
    for seed in 0..8 {
        let inventory = inventory.clone();
        callers.push(tokio::spawn(async move {
            let mut dice = Dice(seed);
            for _ in 0..25 {
                place_and_end(&inventory, &mut dice).await;
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(inventory.verify(Moment::AtRest).await.unwrap(), []);
}

/// Some baskets at once; half are sold, half are taken back, at the same time. A deadlock is an
/// error of the store.
async fn place_and_end(inventory: &Inventory, dice: &mut Dice) {
    let names: Vec<_> =
        (0..1 + dice.below(6)).map(|_| (attempt(), OrderId::random(), dice.basket())).collect();
    let baskets = names.iter().map(|(attempt, order_id, lines)| Reserve {
        attempt,
        order_id: *order_id,
        lines,
    });
    let held = inventory.reserve(&baskets.collect::<Vec<_>>()).await.unwrap();
    assert!(held.iter().all(Result::is_ok), "{held:?}");
    let (sold, returned) = names.split_at(names.len() / 2);
    let sell = async {
        for (_, order_id, _) in sold {
            inventory.pin(*order_id).await.unwrap();
        }
        let steps: Vec<_> = sold.iter().map(|(_, order_id, _)| (attempt(), *order_id)).collect();
        let commits =
            steps.iter().map(|(attempt, order_id)| Commit { attempt, order_id: *order_id });
        let committed = inventory.commit(&commits.collect::<Vec<_>>()).await.unwrap();
        assert!(committed.iter().all(Result::is_ok), "{committed:?}");
    };
    let take_back = async {
        for (attempt, order_id, _) in returned {
            inventory.release(attempt, *order_id).await.unwrap();
        }
    };
    tokio::join!(sell, take_back);
}

#[tokio::test]
async fn a_commit_can_not_fail_once_pinned() {
    let (inventory, _database) = inventory_with(&[("a", 3)]).await;
    let (first, order_id) = (attempt(), OrderId::random());
    reserve(&inventory, &first, order_id, &[("a", 3)]).await.unwrap();
    let step = attempt();
    let commit = [Commit { attempt: &step, order_id }];
    let early = inventory.commit(&commit).await.unwrap().pop().unwrap();
    assert_eq!(code(&early), "reservation_not_pinned");

    inventory.pin(order_id).await.unwrap();
    // Whatever others want meanwhile, it stays promised.
    let other = reserve(&inventory, &attempt(), OrderId::random(), &[("a", 1)]).await;
    assert_eq!(code(&other), "out_of_stock");
    for _ in 0..2 {
        inventory.commit(&commit).await.unwrap().pop().unwrap().unwrap();
    }
    let stock = inventory.availability("a").await.unwrap().unwrap();
    assert_eq!((stock.on_hand, stock.reserved), (0, 0));
    assert_eq!(inventory.verify(Moment::AtRest).await.unwrap(), []);
    assert!(matches!(inventory.release(&first, order_id).await, Err(UndoFailure::Stuck(_))));
    inventory.pin(order_id).await.unwrap();
}

#[tokio::test]
async fn what_ran_out_or_was_taken_back_is_not_pinned() {
    let (inventory, database) = inventory_with(&[("a", 9)]).await;
    let (released, expired, held) = (OrderId::random(), OrderId::random(), OrderId::random());
    let first = attempt();
    reserve(&inventory, &first, released, &[("a", 1)]).await.unwrap();
    inventory.release(&first, released).await.unwrap();
    reserve(&inventory, &attempt(), expired, &[("a", 1)]).await.unwrap();
    database
        .execute(
            "update inventory.reservation set state = 'expired', expires_at = null, closed_at = now()
             where state = 'held'",
        )
        .await;
    reserve(&inventory, &attempt(), held, &[("a", 1)]).await.unwrap();
    let (one, two, three, four) = tokio::join!(
        inventory.pin(released),
        inventory.pin(expired),
        inventory.pin(held),
        inventory.pin(OrderId::random()),
    );
    let codes = [code(&one), code(&two), code(&three), code(&four)];
    let expected = ["reservation_released", "reservation_expired", "done", "reservation_missing"];
    assert_eq!(codes, expected);
    let first_page = inventory.reservations(None, 2).await.unwrap();
    let last_page = inventory.reservations(Some(first_page[1].0), 2).await.unwrap();
    let states: HashMap<_, _> = first_page.into_iter().chain(last_page).collect();
    let of = |order_id| states[&order_id];
    use ReservationState::{Expired, Pinned, Released};
    assert_eq!((of(released), of(expired), of(held)), (Released, Expired, Pinned));
}

#[tokio::test]
async fn a_delivery_is_booked_once() {
    let (inventory, _database) = inventory_with(&[("a", 2)]).await;
    let delivery = |lines: Vec<Line>| {
        let inventory = inventory.clone();
        async move {
            let receipt = Receipt { kind: ReceiptKind::Receipt, reference: "D1", lines: &lines };
            inventory.receive(receipt).await.unwrap()
        }
    };
    assert_eq!(delivery(lines(&[("a", 2), ("a", 1), ("b", 5)])).await, 2);
    assert_eq!(delivery(lines(&[("a", 3), ("b", 5), ("c", 1), ("none", 0)])).await, 1);
    let on_hand = |sku| {
        let inventory = inventory.clone();
        async move { inventory.availability(sku).await.unwrap().map(|stock| stock.on_hand) }
    };
    assert_eq!(on_hand("a").await, Some(5));
    assert_eq!(on_hand("b").await, Some(5));
    assert_eq!(on_hand("none").await, Some(0));
    assert_eq!(on_hand("nobody").await, None);
    assert_eq!(inventory.verify(Moment::AtRest).await.unwrap(), []);
}
