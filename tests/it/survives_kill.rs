//! A node may die at any moment: what it accepted ends, once.

use crate::harness::{Crowd, Setup, Shop};

const STOCK: [(&str, u32); 2] = [("tea", 1_000), ("cup", 1_000)];

async fn shop() -> Shop {
    Shop::with(Setup { stock: &STOCK, faults: Crowd::faults() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_goes_on_where_it_was() {
    let shop = shop().await;
    let mut node = shop.node().await;
    let crowd = Crowd::of(300, &[&node]);

    let kills = async {
        for accepted in [75, 150, 225] {
            crowd.accepted(accepted).await;
            node.program.kill();
            node = shop.again(node).await;
        }
        node
    };
    let (ids, node) = tokio::join!(crowd.shop(), kills);

    crowd.all_end(&shop, &node, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_node_was_doing_another_one_finishes() {
    let shop = shop().await;
    let (mut dies, lives) = (shop.node().await, shop.node().await);
    let crowd = Crowd::of(200, &[&dies, &lives]);

    let kill = async {
        crowd.accepted(100).await;
        dies.program.kill();
    };
    let (ids, ()) = tokio::join!(crowd.shop(), kill);

    crowd.all_end(&shop, &lives, &ids).await;
    assert!(lives.metric("amends_takeovers_total").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_nothing() {
    let shop = shop().await;
    let (first, second) = (shop.node().await, shop.node().await);
    let crowd = Crowd::of(200, &[&first, &second]);

    let roll = async {
        let mut nodes = Vec::new();
        for (mut node, accepted) in [(first, 60), (second, 120)] {
            crowd.accepted(accepted).await;
            let status = node.program.stop().await;
            assert_eq!(status.code(), Some(0), "{}", node.program.log());
            nodes.push(shop.again(node).await);
        }
        nodes
    };
    let (ids, nodes) = tokio::join!(crowd.shop(), roll);

    crowd.all_end(&shop, &nodes[0], &ids).await;
}
