//! What is sold was there.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn out_of_stock_lists_what_is_short_and_how_much_there_is() {
    let shop = Shop::open(&[("tea", 10), ("cup", 1), ("pot", 0)]).await;
    let node = shop.node().await;
    let ann = node.customer("ann");

    let items = [("tea", 2), ("cup", 3), ("pot", 1)];
    let id = ann.buy("first", &items, "pm_card_visa").await.id();
    let checkout = ann.end(&id).await;

    assert_eq!(checkout["status"], "failed", "{checkout:#}");
    let failure = &checkout["failure"];
    assert_eq!(failure["code"], "out_of_stock", "{checkout:#}");
    assert_eq!(failure["do"], "change_cart");
    let short = json!([{"sku": "cup", "available": 1}, {"sku": "pot", "available": 0}]);
    assert_eq!(failure["items"], short);
    assert_eq!(checkout["money"], "not_charged");
    // All lines or none.
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 10);
    assert_eq!(shop.simulator.lines("captured").len(), 0);
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_customers_at_once_get_exactly_the_ten_that_there_are() {
    let shop = Shop::open(&[("rare", 10), ("tea", 1_000)]).await;
    // Two nodes share the work; the stock is one.
    let nodes = [shop.node().await, shop.node().await];

    let buying = (0..64).map(|i| {
        let customer = nodes[i % 2].customer(&format!("customer-{i}"));
        async move {
            // The same two products in both orders.
            let mut items = [("rare", 1), ("tea", 1)];
            items.rotate_left(i / 2 % 2);
            let id = customer.buy("the-one", &items, "pm_card_visa").await.id();
            let checkout = customer.end(&id).await;
            let is_sold = checkout["status"] == "completed";
            assert!(is_sold || checkout["failure"]["code"] == "out_of_stock", "{checkout:#}");
            is_sold
        }
    });
    let sold = join_all(buying).await.into_iter().filter(|is_sold| *is_sold).count();

    assert_eq!(sold, 10);
    assert_eq!(shop.simulator.lines("captured").len(), 10);
    let ann = nodes[0].customer("ann");
    assert_eq!(ann.get("/v1/inventory/rare").await.body["available"], 0);
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 990);
    shop.verify();
}
