//! The bugs that the proof must notice: each can be planted, and none shows while nothing goes wrong.

use engine::testing::{FAULT, FAULT_LOG, PLANTED_BUG, POISON, PlantedBug};
use nix::sys::signal::Signal;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use crate::harness::{Answer, Finished, Node, Setup, Shop, amends, free_port, http, until};

/// A gateway whose answer to a confirm is so late that a cancel comes first.
const SLOW: &str = r#"{"op": "confirm", "kind": "timeout_after", "millis": 4000}"#;
/// One that hears of a confirm long after the caller gave it up.
const LATE: &str = r#"{"op": "confirm", "kind": "late_delivery", "millis": 4000}"#;
/// Its events are there before the answer.
const EARLY: &str = r#"{"op": "create", "kind": "early_webhook"}"#;
/// It sends no events: the next message of a saga would put its row right again.
const SILENT: &str = r#"{"op": "any", "kind": "drop_webhook"}"#;
const RESET: &str = r#"{"op": "confirm", "kind": "reset_after", "attempts_max": 1}"#;
const NOTHING: &str = r#"{"op": "confirm", "kind": "latency", "millis": 1, "probability": 0.0}"#;

/// A shop with this fault at its gateway, and a node of it with this bug and this fault.
async fn planted(bug: PlantedBug, rule: &str, fault: Option<&str>) -> (Shop, Node) {
    let rule: serde_json::Value = serde_json::from_str(rule).unwrap();
    let setup = Setup { stock: &[("tea", 10)], faults: json!({"rules": [rule]}) };
    let shop = Shop::with(setup).await;
    let mut variables = vec![(PLANTED_BUG, bug.to_string())];
    if let Some(fault) = fault {
        variables.push((FAULT, fault.to_owned()));
        variables.push((FAULT_LOG, "/dev/stderr".to_owned()));
    }
    let node = shop.node_with(&variables).await;
    (shop, node)
}

/// Buys some tea; answers the checkout.
async fn buy(node: &Node) -> String {
    node.customer("ann").buy("key", &[("tea", 1)], "pm_card_visa").await.id()
}

/// `amends verify` says that this promise is broken.
#[track_caller]
fn breaks(shop: &Shop, promise: &str) {
    let verified = shop.verified();
    assert_ne!(verified.code, Some(0), "{}", verified.stdout);
    let verdict: serde_json::Value = serde_json::from_str(&verified.stdout).unwrap();
    let broken = |said: &&serde_json::Value| {
        said["invariant"] == promise && said["violations"].as_u64() > Some(0)
    };
    let found = verdict["invariants"].as_array().unwrap().iter().find(broken);
    assert!(found.is_some(), "{promise} holds: {}", verified.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_its_own_for_each_attempt_charges_twice() {
    let fault = Some("after_call:forward:charge-payment:lose_ack");
    let (shop, node) = planted(PlantedBug::NewKeyPerAttempt, NOTHING, fault).await;
    node.customer("ann").end(&buy(&node).await).await;
    breaks(&shop, "charged_once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_that_counts_as_a_no_keeps_the_money() {
    let (shop, node) = planted(PlantedBug::TimeoutIsFailure, RESET, None).await;
    node.customer("ann").end(&buy(&node).await).await;
    breaks(&shop, "cancelled_means_given_back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_only_looks_misses_what_comes_later() {
    let (shop, node) = planted(PlantedBug::LookupThenCompensate, LATE, None).await;
    let (ann, id) = (node.customer("ann"), buy(&node).await);
    until("the charge is on its way", async || {
        (shop.simulator.injected("late_delivery").await > 0).then_some(())
    })
    .await;
    ann.cancel(&id).await;
    ann.end(&id).await;
    until("the charge arrives", async || {
        (!shop.simulator.lines("captured").is_empty()).then_some(())
    })
    .await;
    breaks(&shop, "cancelled_means_given_back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_forgets_holds_stock_for_nobody() {
    let fault = Some("after_call:forward:reserve-inventory:lose_ack");
    let (shop, node) = planted(PlantedBug::NoEffectRows, NOTHING, fault).await;
    node.customer("ann").end(&buy(&node).await).await;
    breaks(&shop, "no_reservation_half_way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_without_a_key_is_stuck_when_it_is_repeated() {
    let fault = Some("after_call:backward:charge-payment:lose_ack");
    let (shop, node) = planted(PlantedBug::RefundWithoutKey, SLOW, fault).await;
    let (ann, id) = (node.customer("ann"), buy(&node).await);
    until("the money is taken", async || {
        (!shop.simulator.lines("captured").is_empty()).then_some(())
    })
    .await;
    ann.cancel(&id).await;
    until("the saga is held", async || {
        let held = "select count(*) from saga.saga where phase = 'held'";
        (shop.count(&shop.databases.amends, held).await == 1).then_some(())
    })
    .await;
    assert_ne!(shop.verified().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_is_accepted_before_its_commit_is_lost() {
    let (shop, mut node) = planted(PlantedBug::AcceptBeforeCommit, NOTHING, None).await;
    let mut locker = PgConnection::connect(&shop.databases.amends).await.unwrap();
    let mut lock = locker.begin().await.unwrap();
    lock.execute("lock table saga.entry in exclusive mode").await.unwrap();
    buy(&node).await;
    node.program.kill();
    // Its server may not have noticed yet that nobody waits for this commit.
    let session = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and pid <> pg_backend_pid()";
    lock.execute(session).await.unwrap();
    lock.rollback().await.unwrap();
    assert_eq!(shop.sagas().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fence_or_with_one_that_is_only_read_a_zombie_writes() {
    let fault = Some("before_outcome:forward:charge-payment:stop");
    for bug in [PlantedBug::NoFence, PlantedBug::FenceOnlyRead] {
        let (shop, zombie) = planted(bug, SILENT, fault).await;
        let card = "pm_card_authenticationRequired";
        let id = zombie.customer("ann").buy("key", &[("tea", 1)], card).await.id();
        // What the next owner makes of it is not what the zombie has in its hands.
        let other = shop.node_with(&[(PLANTED_BUG, bug.to_string())]).await;
        let ann = other.customer("ann");
        ann.sees(&id, &["action_required"]).await;
        ann.cancel(&id).await;
        assert_eq!(ann.end(&id).await["status"], "cancelled", "{bug}");
        zombie.program.signal(Signal::SIGCONT);
        // The fifth is the one that it has: after a start, and the outcomes of three steps.
        until("the zombie's commit is answered", async || {
            (zombie.metric("amends_lane_commits_total").await > 4.0).then_some(())
        })
        .await;
        breaks(&shop, "journal_folds_to_ending");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_unknown_intent_is_forgotten() {
    let (shop, node) = planted(PlantedBug::DropUnknownWebhooks, EARLY, None).await;
    let intents = format!("{}/v1/payment_intents", shop.simulator.url);
    let create = http().post(&intents).bearer_auth("sk_test_simulator");
    let new = [
        ("amount", "500"),
        ("currency", "usd"),
        ("confirm", "true"),
        ("payment_method", "pm_card_visa"),
    ];
    let answer = Answer::of(create.form(&new)).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    node.customer("ann").end(&buy(&node).await).await;
    let events =
        |intent| format!("select count(*) from orders.gateway_event where intent_id {intent}");
    let orders = &shop.databases.orders;
    let id = answer.text("/id");
    until("the event of the checkout is kept", async || {
        (shop.count(orders, &events(format!("<> '{id}'"))).await > 0).then_some(())
    })
    .await;
    assert_eq!(shop.count(orders, &events(format!("= '{id}'"))).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_bug_does_no_harm_by_itself() {
    let shop = Shop::open(&[("tea", 100), ("rare", 1)]).await;
    for (n, bug) in PlantedBug::ALL.into_iter().enumerate() {
        let mut node = shop.node_with(&[(PLANTED_BUG, bug.to_string())]).await;
        let planted = format!("bug={bug}");
        assert!(node.program.log().contains(&planted), "{}", node.program.log());
        let ann = node.customer("ann");
        let buy = async |what, sku, card| {
            let id = ann.buy(&format!("{what}-{n}"), &[(sku, 2)], card).await.id();
            ann.end(&id).await["status"].as_str().unwrap().to_owned()
        };
        assert_eq!(buy("pays", "tea", "pm_card_visa").await, "completed", "{bug}");
        let declined = buy("declined", "tea", "pm_card_visa_chargeDeclined").await;
        assert_eq!(declined, "declined", "{bug}");
        assert_eq!(buy("too-late", "rare", "pm_card_visa").await, "failed", "{bug}");
        assert_eq!(node.program.stop().await.code(), Some(0), "{bug}");
    }
    shop.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_what_a_test_asks_for_is_named() {
    let shop = Shop::open(&[]).await;
    let serve = |more: &[(&'static str, &str)]| -> Finished {
        let addresses = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let mut variables = shop.variables();
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let [listen, operators] = &addresses;
        amends(&["serve", "--listen", listen, "--operator-listen", operators], &variables)
    };
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[(PLANTED_BUG, "none")], "AMENDS_PLANTED_BUG: `none` is no planted bug"),
        (&[(FAULT, "nonsense")], "AMENDS_TEST_FAULT: `nonsense` is not <boundary>:"),
        (
            &[(FAULT, "after_call:forward:charge-payment:abort,more"), (FAULT_LOG, "/dev/null")],
            "AMENDS_TEST_FAULT: `more` is not <boundary>:",
        ),
        (&[(POISON, "a:b")], "AMENDS_TEST_POISON: `a:b` is not <activity>:<word>:<harm>"),
        (&[(POISON, "charge:b:abort")], "AMENDS_TEST_POISON: there is no activity `charge`"),
        (&[(FAULT, "after_call:forward:charge-payment:abort")], "needs AMENDS_TEST_FAULT_LOG"),
        (
            &[(FAULT, "after_call:forward:charge:abort"), (FAULT_LOG, "/dev/null")],
            "there is no activity `charge`",
        ),
        (
            &[(FAULT, "after_call:forward:charge-payment:abort"), (FAULT_LOG, "/no/such/log")],
            "AMENDS_TEST_FAULT_LOG: /no/such/log",
        ),
    ];
    for (variables, sentence) in cases {
        let finished = serve(variables);
        assert_ne!(finished.code, Some(0), "{variables:?}");
        assert!(finished.stderr.contains(sentence), "no `{sentence}` in: {}", finished.stderr);
    }
}
