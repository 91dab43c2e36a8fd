//! What an operator does about a saga that is stuck, with the command line, and what is kept of it.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::harness::{Customer, Finished, Node, Shop, until};

#[track_caller]
fn code(finished: &Finished, code: i32) {
    assert_eq!(finished.code, Some(code), "{}\n{}", finished.stdout, finished.stderr);
}

fn json_of(finished: &Finished) -> Value {
    code(finished, 0);
    serde_json::from_str(&finished.stdout).unwrap()
}

/// What is kept of who did what to a saga: action, actor and reason, the first one first.
async fn audit(shop: &Shop, id: &str) -> Vec<(String, String, String)> {
    let mut connection = PgConnection::connect(&shop.databases.amends).await.unwrap();
    let sql = "select action, actor, reason from saga.audit where saga_id = $1::uuid order by at";
    sqlx::query_as(sql).bind(id).fetch_all(&mut connection).await.unwrap()
}

/// A checkout that waits for a payment gateway that is gone.
async fn stuck(shop: &mut Shop) -> (Node, Customer, String) {
    let node = shop.node().await;
    let ann = node.customer("ann");
    shop.simulator.shut();
    let id = ann.buy("first", &[("tea", 2)], "pm_card_visa").await.id();
    until("it waits for the payment gateway", async || {
        let why = node.operate(&["why", &id]);
        (why.code == Some(23) && why.stdout.contains("payment gateway")).then_some(())
    })
    .await;
    (node, ann, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_that_waits_is_found_explained_and_let_go_on() {
    let mut shop = Shop::open(&[("tea", 10)]).await;
    let (node, ann, id) = stuck(&mut shop).await;

    let found = node.operate(&["list", "is:open", "step:prepare-payment", "-o", "ids"]);
    code(&found, 0);
    assert_eq!(found.stdout.trim(), id);
    assert_eq!(json_of(&node.operate(&["list", "is:completed", "-o", "json"]))["sagas"], json!([]));
    let saga = json_of(&node.operate(&["get", &id, "-o", "json"]));
    assert_eq!(saga["direction"], "forward", "{saga:#}");
    let effects: Vec<_> = saga["effects"].as_array().unwrap().iter().map(|e| &e["state"]).collect();
    assert_eq!(effects[..2], ["in_force", "in_force"], "{saga:#}");
    let history = node.operate(&["history", &id]);
    code(&history, 0);
    assert!(history.stdout.contains("reserve-inventory"), "{}", history.stdout);

    code(&node.operate(&["pause", &id, "--reason", "let me look", "-y"]), 0);
    // Paused twice is said, and kept; a paused one does not go on when the gateway is back.
    code(&node.operate(&["pause", &id, "--reason", "let me look", "-y"]), 5);
    shop.simulator.open().await;
    code(&node.operate(&["resume", &id, "--reason", "seen enough", "-y"]), 0);
    let retry = node.operate(&["retry", &id, "--reason", "the gateway is back", "-y"]);
    // It may have gone on by itself meanwhile, to its end.
    assert!(matches!(retry.code, Some(0 | 5)), "{}", retry.stderr);
    assert_eq!(ann.end(&id).await["status"], "completed");
    code(&node.operate(&["why", &id]), 0);

    let kept = audit(&shop, &id).await;
    let actions: Vec<_> = kept.iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(actions, ["pause", "pause", "resume", "retry"], "{kept:?}");
    assert!(kept.iter().all(|(_, actor, _)| actor == "operator:test operator"), "{kept:?}");
    assert_eq!(kept[2].2, "seen enough");
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_cancels_what_can_not_go_on() {
    let mut shop = Shop::open(&[("tea", 10)]).await;
    let (node, ann, id) = stuck(&mut shop).await;

    code(&node.operate(&["cancel", &id, "--reason", "the customer called", "-y"]), 0);
    // Whether a payment was prepared is not known while the gateway is away; the rest waits for it.
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 8);
    shop.simulator.open().await;
    let _ = node.operate(&["retry", &id, "--reason", "the gateway is back", "-y"]);
    assert_eq!(ann.end(&id).await["status"], "cancelled");
    code(&node.operate(&["why", &id]), 21);
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 10);
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_says_how_it_ended_where_nobody_else_can() {
    let mut shop = Shop::open(&[("tea", 10)]).await;
    let (node, ann, id) = stuck(&mut shop).await;
    code(&node.operate(&["cancel", &id, "--reason", "the gateway is gone for good", "-y"]), 0);
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 8);

    until("it needs a person", async || {
        let _ = node.operate(&["retry", &id, "--reason", "once more", "-y"]);
        (node.operate(&["why", &id]).code == Some(22)).then_some(())
    })
    .await;
    assert_eq!(node.operate(&["list", "is:attention", "-o", "ids"]).stdout.trim(), id);
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 8);

    let resolve = ["resolve", &id, "prepare-payment", "--compensated", "-y"];
    code(&node.operate(&resolve), 2);
    // A step it never came to.
    let other = ["resolve", &id, "confirm-order", "--compensated", "-y", "--reason=x"];
    code(&node.operate(&other), 2);
    let reason = "--reason=their support says that there is no payment, ticket 4711";
    code(&node.operate(&[&resolve[..], &[reason]].concat()), 0);

    // What comes before it is undone by itself.
    assert_eq!(ann.end(&id).await["status"], "cancelled");
    assert_eq!(ann.get("/v1/inventory/tea").await.body["available"], 10);
    let kept = audit(&shop, &id).await;
    let resolved = kept.iter().find(|(action, ..)| action == "resolve").unwrap();
    assert_eq!(resolved.1, "operator:test operator");
    assert!(kept.iter().any(|(.., reason)| reason.ends_with("ticket 4711")), "{kept:?}");
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_without_a_reason_or_without_the_right() {
    let mut shop = Shop::open(&[("tea", 10)]).await;
    let (node, ann, id) = stuck(&mut shop).await;

    for verb in ["retry", "cancel", "pause", "resume"] {
        let bare = node.operate(&[verb, &id, "-y"]);
        code(&bare, 2);
        assert!(bare.stderr.contains("--reason"), "{}", bare.stderr);
        code(&node.operate(&[verb, &id, "--reason", "  ", "-y"]), 2);
        // Not at a terminal, and not confirmed.
        let asked = node.operate(&[verb, &id, "--reason", "x"]);
        code(&asked, 2);
        assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
        let act = [verb, &id, "--reason", "x", "-y"];
        for key in [&shop.databases.keys.shop, &shop.databases.keys.ops, &shop.databases.keys.ann] {
            code(&node.operate_as(key, &act), 3);
        }
        code(&node.operate_as("amk_nonsense", &act), 3);
    }
    // Operations look and do not touch; shops do not even look.
    code(&node.operate_as(&shop.databases.keys.ops, &["why", &id]), 23);
    code(&node.operate_as(&shop.databases.keys.shop, &["why", &id]), 3);
    code(&node.operate(&["retry", &id, "--if-rev", "0", "--reason", "x", "-y"]), 5);
    code(&node.operate(&["why", "018f0000-0000-7000-8000-000000000000"]), 4);

    assert!(audit(&shop, &id).await.is_empty(), "nothing was done");
    assert_eq!(ann.get(&format!("/v1/checkouts/{id}")).await.body["status"], "processing");
}
