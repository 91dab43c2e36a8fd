//! What is sent twice is done once, and what is taken back stays so.

use activities::OrderId;
use activities::order_store::CancelReason;
use activities::verify::Moment;
use engine::{Failure, UndoFailure};

use crate::support::{again, attempt, code, create, inventory_with, orders, reserve};

#[tokio::test]
async fn a_repeat_returns_the_stored_output() {
    let (inventory, _database) = inventory_with(&[("a", 10)]).await;
    let (first, order_id) = (attempt(), OrderId::random());
    let done = reserve(&inventory, &first, order_id, &[("a", 3)]).await.unwrap();
    let repeated = reserve(&inventory, &again(&first), order_id, &[("a", 3)]).await.unwrap();
    assert_eq!(done.order_id, repeated.order_id);
    assert_eq!(done.expires_at, repeated.expires_at, "not the output of the first attempt");
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().reserved, 3);
}

#[tokio::test]
async fn a_repeat_of_a_no_is_the_same_no() {
    let (inventory, _database) = inventory_with(&[("a", 2)]).await;
    let (first, order_id) = (attempt(), OrderId::random());
    let no = reserve(&inventory, &first, order_id, &[("a", 3)]).await;
    let Err(Failure::Rejected(first_no)) = no else { panic!("{no:?}") };
    // It would be possible with less now; the answer was given.
    let no = reserve(&inventory, &again(&first), order_id, &[("a", 1)]).await;
    let Err(Failure::Rejected(second_no)) = no else { panic!("{no:?}") };
    assert_eq!(first_no, second_no);
    inventory.release(&first, order_id).await.unwrap();
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().reserved, 0);
}

#[tokio::test]
async fn a_release_before_its_reserve_refuses_the_late_one() {
    let (inventory, _database) = inventory_with(&[("a", 10)]).await;
    let (first, order_id) = (attempt(), OrderId::random());
    inventory.release(&first, order_id).await.unwrap();
    let late = reserve(&inventory, &first, order_id, &[("a", 1)]).await;
    assert_eq!(code(&late), "undone_before_done");
    assert!(matches!(late, Err(Failure::Rejected(_))), "{late:?}");
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().reserved, 0);
    inventory.release(&again(&first), order_id).await.unwrap();
}

#[tokio::test]
async fn a_cancel_before_its_create_refuses_the_late_one() {
    let (orders, _database) = orders().await;
    let (first, order_id) = (attempt(), OrderId::random());
    orders.cancel(&first, order_id, CancelReason::CheckoutUndone).await.unwrap();
    assert_eq!(code(&create(&orders, &first, order_id).await), "undone_before_done");
    assert_eq!(orders.find(order_id, None).await.unwrap(), None);
}

#[tokio::test]
async fn an_undo_twice_is_once() {
    let (inventory, _database) = inventory_with(&[("a", 10)]).await;
    let (first, order_id) = (attempt(), OrderId::random());
    reserve(&inventory, &first, order_id, &[("a", 3)]).await.unwrap();
    reserve(&inventory, &attempt(), OrderId::random(), &[("a", 3)]).await.unwrap();
    let release = || inventory.release(&first, order_id);
    let (one, two, three) = tokio::join!(release(), release(), release());
    one.and(two).and(three).unwrap();
    release().await.unwrap();
    let stock = inventory.availability("a").await.unwrap().unwrap();
    assert_eq!((stock.on_hand, stock.reserved), (10, 3));
    assert_eq!(inventory.verify(Moment::Always).await.unwrap(), []);
}

#[tokio::test]
async fn an_undo_that_can_not_be_is_asked_again_and_not_forgotten() {
    let (inventory, database) = inventory_with(&[("a", 10)]).await;
    let (first, order_id) = (attempt(), OrderId::random());
    reserve(&inventory, &first, order_id, &[("a", 3)]).await.unwrap();
    database
        .execute("update inventory.reservation set state = 'committed', expires_at = null, closed_at = now()")
        .await;
    for _ in 0..2 {
        match inventory.release(&first, order_id).await {
            Err(UndoFailure::Stuck(trouble)) => assert_eq!(trouble.code, "reservation_committed"),
            other => panic!("{other:?}"),
        }
    }
    // Nor is it done because the same one is under way: they share a transaction.
    let release = || inventory.release(&first, order_id);
    let (one, two, three) = tokio::join!(release(), release(), release());
    for answer in [one, two, three] {
        assert!(answer.is_err(), "it is sold, and was said to be taken back");
    }
}

#[tokio::test]
async fn the_same_call_at_the_same_time_is_done_once() {
    let (inventory, _database) = inventory_with(&[("a", 100)]).await;
    let (first, order_id) = (attempt(), OrderId::random());
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let (inventory, first) = (inventory.clone(), again(&first));
            tokio::spawn(async move { reserve(&inventory, &first, order_id, &[("a", 5)]).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().reserved, 5);
}

#[tokio::test]
async fn an_action_and_its_undo_at_the_same_time_leave_nothing() {
    let (inventory, _database) = inventory_with(&[("a", 100)]).await;
    for _ in 0..50 {
        let (first, order_id) = (attempt(), OrderId::random());
        let lines = [("a", 5)];
        let reserving = reserve(&inventory, &first, order_id, &lines);
        let (reserved, released) = tokio::join!(reserving, inventory.release(&first, order_id));
        released.unwrap();
        let code = code(&reserved);
        assert!(["done", "undone_before_done"].contains(&code), "{code}");
    }
    assert_eq!(inventory.availability("a").await.unwrap().unwrap().reserved, 0);
    assert_eq!(inventory.verify(Moment::AtRest).await.unwrap(), []);
}
