//! PostgreSQL may die at any moment: nothing that was accepted is lost.

use local_postgres::testing::TestServer;

use crate::harness::{Crowd, Databases, Setup, Shop};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_killed_under_load_loses_nothing() {
    let mut server = TestServer::start(&[]);
    let databases = Databases::furnished(&server, "own").await;
    let stock = [("tea", 1_000), ("cup", 1_000)];
    let shop = Shop::on(databases, Setup { stock: &stock, faults: Crowd::faults() }).await;
    let nodes = [shop.node().await, shop.node().await];
    let crowd = Crowd::of(200, &[&nodes[0], &nodes[1]]);

    let kills = async {
        for accepted in [50, 120] {
            crowd.accepted(accepted).await;
            server.postgres().kill().unwrap();
            server.postgres().restart().unwrap();
        }
    };
    let (ids, ()) = tokio::join!(crowd.shop(), kills);

    crowd.all_end(&shop, &nodes[0], &ids).await;
}
