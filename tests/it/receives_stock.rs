//! What there is to sell comes from a file, once.

use crate::harness::{Shop, amends};

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_comes_in_once_and_can_be_sold() {
    let shop = Shop::open(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog.csv");
    let receive = |rows: &str| {
        std::fs::write(&path, format!("sku,name,currency,price_minor,units\n{rows}\n")).unwrap();
        let file = path.to_str().unwrap();
        amends(&["receive", file, "--delivery", "note 17"], &shop.variables())
    };
    let wrong = receive("kettle,Kettle,USD,2500,3\ncup,Cup,USD,x,1");
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("line 3: price_minor"), "{}", wrong.stderr);

    for came in ["1 came in", "0 came in"] {
        let received = receive("kettle,Kettle,USD,2500,3");
        assert_eq!(received.code, Some(0), "{}", received.stderr);
        assert!(received.stderr.contains(came), "{}", received.stderr);
    }
    let node = shop.node().await;
    let ann = node.customer("ann");
    let id = ann.buy("first", &[("kettle", 1)], "pm_card_visa").await.id();
    let checkout = ann.end(&id).await;
    assert_eq!(checkout["status"], "completed", "{checkout:#}");
    assert_eq!(ann.get("/v1/inventory/kettle").await.body["available"], 2);
    shop.verify();
}
