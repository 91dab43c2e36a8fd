//! An order is confirmed only when it is paid, and cancelled only when it holds no money.

use activities::money::Currency;
use activities::order_store::{CancelReason, Confirm, Create, OrderStatus, Price};
use activities::verify::Moment;
use activities::{OrderId, Orders, PricedLine};
use engine::{Failure, UndoFailure};

use crate::support::{attempt, capture, code, create, lines, orders, priced, usd};

async fn confirm(orders: &Orders, order_id: OrderId) -> Result<(), Failure> {
    let step = attempt();
    let calls = [Confirm { attempt: &step, order_id }];
    orders.confirm(&calls).await.unwrap().pop().unwrap()
}

#[tokio::test]
async fn an_order_is_confirmed_only_when_paid_in_full() {
    let (orders, database) = orders().await;
    let order_id = OrderId::random();
    create(&orders, &attempt(), order_id).await.unwrap();
    assert_eq!(code(&confirm(&orders, order_id).await), "order_not_paid");
    capture(&database, order_id, 249).await;
    assert_eq!(code(&confirm(&orders, order_id).await), "order_not_paid");
    database
        .execute("update orders.payment set amount = 250, authorized = 250, captured = 250")
        .await;
    confirm(&orders, order_id).await.unwrap();
    confirm(&orders, order_id).await.unwrap();
    assert_eq!(code(&confirm(&orders, OrderId::random()).await), "order_not_pending");
    let order = orders.find(order_id, Some("ann")).await.unwrap().unwrap();
    assert_eq!((order.status, order.total), (OrderStatus::Confirmed, usd(250)));
    assert_eq!(order.payment.unwrap().captured, usd(250));
    let events = "select count(*) from orders.order_event where (seq, type) in
                  ((1, 'created'), (2, 'confirmed'))";
    assert_eq!(database.count(events).await, 2);
    assert_eq!(orders.verify(Moment::AtRest).await.unwrap(), []);
    let books = orders.books().await.unwrap();
    assert_eq!((books[0].captured, books[0].refunded, books[0].confirmed), (250, 0, 250));
}

#[tokio::test]
async fn an_order_that_holds_money_is_not_cancelled() {
    let (orders, database) = orders().await;
    let (step, order_id) = (attempt(), OrderId::random());
    create(&orders, &step, order_id).await.unwrap();
    capture(&database, order_id, 250).await;
    let cancel = || orders.cancel(&step, order_id, CancelReason::CheckoutUndone);
    match cancel().await {
        Err(UndoFailure::Retry(trouble)) => assert_eq!(trouble.code, "order_holds_money"),
        other => panic!("{other:?}"),
    }
    let refund = format!(
        "insert into orders.refund (id, order_id, amount, reason, status)
         values (gen_random_uuid(), '{order_id}', 250, 'undone', 'pending')"
    );
    database.execute(&refund).await;
    cancel().await.unwrap();
    cancel().await.unwrap();
    let order = orders.find(order_id, None).await.unwrap().unwrap();
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(order.cancel_reason, Some(CancelReason::CheckoutUndone));
    assert_eq!(orders.verify(Moment::Always).await.unwrap(), []);
    let accounts = orders.accounts(None, 10).await.unwrap();
    assert_eq!((accounts[0].captured, accounts[0].refund_under_way), (250, true));
}

#[tokio::test]
async fn an_order_whose_card_was_declined_says_so() {
    let (orders, database) = orders().await;
    let (step, order_id) = (attempt(), OrderId::random());
    create(&orders, &step, order_id).await.unwrap();
    let payment = format!(
        "insert into orders.payment (order_id, intent_id, status, currency, amount, decline_code)
         values ('{order_id}', 'pi_1', 'voided', 'USD', 250, 'insufficient_funds')"
    );
    database.execute(&payment).await;
    orders.cancel(&step, order_id, CancelReason::CheckoutUndone).await.unwrap();
    let order = orders.find(order_id, None).await.unwrap().unwrap();
    assert_eq!(order.cancel_reason, Some(CancelReason::CardDeclined));
    assert_eq!(orders.verify(Moment::AtRest).await.unwrap(), []);
}

#[tokio::test]
async fn a_confirmed_order_is_not_cancelled_by_an_undo() {
    let (orders, database) = orders().await;
    let (step, order_id) = (attempt(), OrderId::random());
    create(&orders, &step, order_id).await.unwrap();
    capture(&database, order_id, 250).await;
    confirm(&orders, order_id).await.unwrap();
    match orders.cancel(&step, order_id, CancelReason::Admin).await {
        Err(UndoFailure::Stuck(trouble)) => assert_eq!(trouble.code, "order_confirmed"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_order_of_a_batch_fails_alone() {
    let (orders, database) = orders().await;
    let good = priced(&[("a", 2), ("b", 1), ("a", 1)]);
    let two_prices = [good[0].clone(), PricedLine { unit_price: 1, ..good[0].clone() }];
    let too_much = [PricedLine { unit_price: i64::MAX, ..good[0].clone() }];
    let steps: Vec<_> = (0..7).map(|_| (attempt(), OrderId::random())).collect();
    let call = |n: usize, customer_id, lines| Create {
        attempt: &steps[n].0,
        order_id: steps[n].1,
        customer_id,
        currency: Currency::Usd,
        lines,
    };
    let calls = [
        call(0, "ann", &good[..]),
        call(1, "ann", &two_prices[..]),
        call(2, "", &good[..]),
        call(3, "ann", &[]),
        call(4, "ann", &too_much[..]),
        Create { order_id: steps[0].1, ..call(5, "bob", &good[..]) },
        call(6, "bob", &good[..]),
    ];
    let answers = orders.create(&calls).await.unwrap();
    let codes: Vec<_> = answers.iter().map(code).collect();
    let expected = [
        "done",
        "invalid_lines",
        "invalid_customer",
        "invalid_lines",
        "invalid_lines",
        "order_exists",
        "done",
    ];
    assert_eq!(codes, expected);
    assert_eq!(answers[0].as_ref().unwrap().total, usd(1000));
    let order = orders.find(steps[0].1, None).await.unwrap().unwrap();
    let quantities: Vec<_> = order.lines.iter().map(|l| (l.sku.as_str(), l.quantity)).collect();
    assert_eq!(quantities, [("a", 3), ("b", 1)]);
    assert_eq!(database.count("select count(*) from orders.order_event").await, 2);
    assert_eq!(orders.verify(Moment::Always).await.unwrap(), []);
}

#[tokio::test]
async fn customers_see_their_own_orders_newest_first_and_each_once() {
    let (orders, _database) = orders().await;
    let mut names = Vec::new();
    for _ in 0..7 {
        let order_id = OrderId::random();
        create(&orders, &attempt(), order_id).await.unwrap();
        names.insert(0, order_id);
    }
    assert_eq!(orders.find(names[0], Some("bob")).await.unwrap(), None);
    assert_eq!(orders.list("bob", None, 3).await.unwrap(), []);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = orders.list("ann", after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.cursor());
        seen.extend(page.into_iter().map(|order| order.order_id));
    }
    assert_eq!(seen, names);
}

#[tokio::test]
async fn prices_are_ours_and_what_has_none_is_named() {
    let (orders, _database) = orders().await;
    let price = |sku: &str, value| Price {
        sku: sku.to_owned(),
        name: format!("Product {sku}"),
        unit_price: usd(value),
    };
    assert_eq!(orders.load_prices(&[price("a", 100), price("b", 5)]).await.unwrap(), 2);
    assert_eq!(orders.load_prices(&[price("a", 250), price("b", 5)]).await.unwrap(), 1);
    let basket = lines(&[("a", 1), ("nobody", 1), ("a", 2), ("nul\0", 1)]);
    let pricing = orders.price(basket.clone(), Currency::Usd).await.unwrap();
    assert_eq!(pricing.lines, priced(&[("a", 1), ("a", 2)]));
    assert_eq!(pricing.unknown, ["nobody", "nul\0"]);
    let pricing = orders.price(basket[..1].to_vec(), Currency::Jpy).await.unwrap();
    assert_eq!(pricing.unknown, ["a"]);
}
