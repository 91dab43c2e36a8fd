//! Each activity may be cut off and repeated; each undo too; alone and in a batch.

use std::future::Future;

use activities::inventory_store::Reservation;
use activities::money::Currency;
use activities::order_store::OrderStatus;
use activities::verify::Moment;
use activities::{
    CommitInventory, ConfirmOrder, CreateOrder, Inventory, OrderId, PricedLine, ReserveInventory,
};
use engine::{Activity, Attempt, Call, Failure, Outcome, Undo};

use crate::support::{
    again, attempt, capture, code, create, cut_off, inventory_with, lines, orders, priced, reserve,
};

/// One attempt to reserve one unit.
pub(crate) async fn run_reserve(
    inventory: &Inventory,
    step: &Attempt,
    order_id: OrderId,
    sku: &str,
) -> Result<Reservation, Failure> {
    ReserveInventory { order_id, lines: lines(&[(sku, 1)]) }.run(inventory, step).await
}

/// Cuts `call` off at every point where it waits, until it is done before that.
async fn cut_off_until_done<T, F: Future<Output = T>>(mut call: impl FnMut() -> F) -> T {
    for polls in 0..500 {
        if let Some(done) = cut_off(polls, call()).await {
            return done;
        }
    }
    panic!("never done");
}

#[tokio::test]
async fn reserving_and_releasing_may_be_cut_off_and_repeated() {
    let (inventory, _database) = inventory_with(&[("a", 10)]).await;
    let (step, order_id) = (attempt(), OrderId::random());
    let activity = ReserveInventory { order_id, lines: lines(&[("a", 4)]) };
    let held = cut_off_until_done(|| activity.run(&inventory, &step)).await.unwrap();
    let repeated = activity.run(&inventory, &again(&step)).await.unwrap();
    assert_eq!(held, repeated);
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().reserved, 4);
    assert_eq!(activity.describe(None), format!("4 units of stock reserved for order {order_id}"));

    cut_off_until_done(|| activity.undo(&inventory, &step, Outcome::Unknown)).await.unwrap();
    activity.undo(&inventory, &again(&step), Outcome::Done(&held)).await.unwrap();
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().reserved, 0);
    assert_eq!(inventory.verify(Moment::AtRest).await.unwrap(), []);
}

#[tokio::test]
async fn a_row_that_the_database_refuses_takes_no_other_with_it() {
    let (orders, database) = orders().await;
    let call = |name: &str| {
        let lines = vec![PricedLine {
            sku: "a".to_owned(),
            name: name.to_owned(),
            quantity: 1,
            unit_price: 250,
        }];
        let activity = CreateOrder {
            order_id: OrderId::random(),
            customer_id: "ann".to_owned(),
            currency: Currency::Usd,
            lines,
        };
        Call { activity, attempt: attempt() }
    };
    // PostgreSQL has no text with a NUL.
    let answers = CreateOrder::run_batch(&orders, &[call("A"), call("\0"), call("B")]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert!(matches!(&answers[1], Err(Failure::Retry(_))), "{answers:?}");
    assert_eq!(database.count("select count(*) from orders.orders").await, 2);
}

#[tokio::test]
async fn creating_and_cancelling_may_be_cut_off_and_repeated() {
    let (orders, database) = orders().await;
    let (step, order_id) = (attempt(), OrderId::random());
    let activity = CreateOrder {
        order_id,
        customer_id: "ann".to_owned(),
        currency: Currency::Usd,
        lines: priced(&[("a", 4)]),
    };
    let created = cut_off_until_done(|| activity.run(&orders, &step)).await.unwrap();
    assert_eq!(created, activity.run(&orders, &again(&step)).await.unwrap());
    assert_eq!(database.count("select count(*) from orders.orders").await, 1);
    let text = activity.describe(Some(&created));
    assert_eq!(text, format!("order {order_id} over USD 10.00 created"));

    cut_off_until_done(|| activity.undo(&orders, &step, Outcome::Unknown)).await.unwrap();
    activity.undo(&orders, &again(&step), Outcome::Done(&created)).await.unwrap();
    let order = orders.find(order_id, None).await.unwrap().unwrap();
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(database.count("select count(*) from orders.order_event").await, 2);
    assert_eq!(orders.verify(Moment::AtRest).await.unwrap(), []);
}

#[tokio::test]
async fn committing_may_be_cut_off_and_repeated() {
    let (inventory, _database) = inventory_with(&[("a", 10)]).await;
    let (step, order_id) = (attempt(), OrderId::random());
    reserve(&inventory, &attempt(), order_id, &[("a", 4)]).await.unwrap();
    inventory.pin(order_id).await.unwrap();
    let activity = CommitInventory { order_id };
    cut_off_until_done(|| activity.run(&inventory, &step)).await.unwrap();
    activity.run(&inventory, &again(&step)).await.unwrap();
    let stock = inventory.availability("a").await.unwrap().unwrap();
    assert_eq!((stock.on_hand, stock.reserved), (6, 0));
    assert_eq!(inventory.verify(Moment::AtRest).await.unwrap(), []);
}

#[tokio::test]
async fn confirming_may_be_cut_off_and_repeated() {
    let (orders, database) = orders().await;
    let (step, order_id) = (attempt(), OrderId::random());
    create(&orders, &attempt(), order_id).await.unwrap();
    capture(&database, order_id, 250).await;
    let activity = ConfirmOrder { order_id };
    cut_off_until_done(|| activity.run(&orders, &step)).await.unwrap();
    activity.run(&orders, &again(&step)).await.unwrap();
    let confirmed = "select count(*) from orders.order_event where type = 'confirmed'";
    assert_eq!(database.count(confirmed).await, 1);
    assert_eq!(orders.verify(Moment::AtRest).await.unwrap(), []);
}

#[tokio::test]
async fn a_batch_answers_each_call_in_its_place() {
    let (inventory, _database) = inventory_with(&[("a", 1)]).await;
    let calls: Vec<_> = ["nobody", "a", "a"]
        .iter()
        .map(|sku| Call {
            attempt: attempt(),
            activity: ReserveInventory { order_id: OrderId::random(), lines: lines(&[(sku, 1)]) },
        })
        .collect();
    let answers = ReserveInventory::run_batch(&inventory, &calls).await;
    let codes: Vec<_> = answers.iter().map(code).collect();
    assert_eq!(codes, ["out_of_stock", "done", "out_of_stock"]);
    assert_eq!(answers[1].as_ref().unwrap().order_id, calls[1].activity.order_id);
}
