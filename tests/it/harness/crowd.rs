//! Many customers at once, who send a request again, with the same key, until it is accepted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::iter;
use serde_json::{Value, json};

use super::client::cart;
use super::{Customer, Node, SOON, Shop, until};

/// How many are under way at once.
const IN_FLIGHT: usize = 24;

/// Of so many customers one has a card that is declined.
const DECLINED: usize = 10;

/// A crowd.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// One at each door: whoever is not answered tries the next.
    doors: Vec<Customer>,
    size: usize,
    accepted: AtomicUsize,
}

impl Crowd {
    /// So many customers, at these nodes.
    pub(crate) fn of(size: usize, nodes: &[&Node]) -> Self {
        let doors = nodes.iter().map(|node| node.customer("crowd")).collect();
        Self { doors, size, accepted: AtomicUsize::new(0) }
    }

    /// What a payment gateway does wrong while a crowd shops.
    pub(crate) fn faults() -> Value {
        json!({"rules": [
            {"op": "confirm", "kind": "reset_after", "probability": 0.05, "attempts_max": 1},
            {"op": "confirm", "kind": "error_500_committed", "probability": 0.03},
            {"op": "confirm", "kind": "latency", "millis": 300, "probability": 0.3},
            {"op": "any", "kind": "error_503", "probability": 0.03},
        ]})
    }

    /// Waits until so many are accepted.
    pub(crate) async fn accepted(&self, count: usize) {
        until(&format!("{count} checkouts are accepted"), async || {
            (self.accepted.load(Ordering::Relaxed) >= count).then_some(())
        })
        .await;
    }

    /// Everybody asks for a checkout, until it is accepted. Answers their ids.
    pub(crate) async fn shop(&self) -> Vec<String> {
        let asking = (0..self.size).map(|i| self.ask(i));
        let ids: Vec<String> = iter(asking).buffer_unordered(IN_FLIGHT).collect().await;
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), self.size, "each has its own");
        ids
    }

    async fn ask(&self, i: usize) -> String {
        let card = match i % DECLINED {
            0 => "pm_card_visa_chargeDeclined",
            _ => "pm_card_visa",
        };
        let cart = cart(&[("tea", 1), ("cup", 1)], card);
        let mut tries = i;
        let id = until("a checkout is accepted", async || {
            tries += 1;
            let door = &self.doors[tries % self.doors.len()];
            match door.try_buy(&format!("key-{i}"), &cart).await {
                Some(answer) if matches!(answer.status, 200 | 202) => Some(answer.id()),
                // Away, or full, or without its database: nothing was said, so it is sent again.
                Some(answer) if matches!(answer.status, 503 | 504) => None,
                Some(answer) => panic!("{answer:?}"),
                None => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    None
                }
            }
        })
        .await;
        self.accepted.fetch_add(1, Ordering::Relaxed);
        id
    }

    /// Says why, where a checkout does not end.
    async fn none_is_open(&self, shop: &Shop, node: &Node) {
        let end = Instant::now() + SOON;
        let open = "select count(*) from saga.saga where ending is null";
        while shop.count(&shop.databases.amends, open).await > 0 {
            if Instant::now() > end {
                let open = node.operate(&["list", "is:open", "-o", "json"]);
                panic!("these do not end: {}{}", open.stdout, open.stderr);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until all of these are over, at `node`: nobody was forgotten, and who could pay got it.
    pub(crate) async fn all_end(&self, shop: &Shop, node: &Node, ids: &[String]) {
        self.none_is_open(shop, node).await;
        let customer = node.customer("crowd");
        let ending = ids.iter().map(|id| customer.end(id));
        let ended: Vec<Value> = iter(ending).buffer_unordered(IN_FLIGHT).collect().await;
        let are =
            |status: &str| ended.iter().filter(|checkout| checkout["status"] == status).count();
        let declined = self.size.div_ceil(DECLINED);
        assert_eq!(are("declined"), declined);
        assert_eq!(
            are("completed"),
            self.size - declined,
            "{:#?}",
            ended.iter().find(|checkout| {
                checkout["status"] != "completed" && checkout["status"] != "declined"
            })
        );
        let size = i64::try_from(self.size).unwrap();
        assert_eq!(shop.sagas().await, size, "one saga for each, and no other");
        assert_eq!(shop.simulator.lines("captured").len(), self.size - declined);
        assert_eq!(shop.simulator.lines("refunded").len(), 0);
        shop.verify();
    }
}
