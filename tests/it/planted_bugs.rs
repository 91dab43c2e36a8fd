//! The bugs that the proof must notice: each can be planted, and none shows while nothing goes wrong.

use engine::testing::{FAULT, FAULT_LOG, PLANTED_BUG, PlantedBug};

use crate::harness::{Finished, Shop, amends, free_port};

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
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[(PLANTED_BUG, "none")], "AMENDS_PLANTED_BUG: `none` is no planted bug"),
        (&[(FAULT, "nonsense")], "AMENDS_TEST_FAULT: `nonsense` is not <boundary>:"),
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
