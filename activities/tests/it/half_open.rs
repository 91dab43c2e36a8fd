//! A network that goes silent in the middle: nothing comes back, and nothing says that nothing will.

use std::future::pending;

use activities::inventory_store::Reserve;
use activities::{Inventory, OrderId};
use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{attempt, inventory_with, lines, reserve};

/// What lies between a store and its server.
struct Network {
    port: u16,
    silences: watch::Sender<u32>,
}

impl Network {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (silences, _) = watch::channel(0);
        let heard = silences.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, server, heard.subscribe()));
            }
        });
        Self { port, silences }
    }

    /// From now on no connection that is there carries anything; new ones do.
    fn falls_silent(&self) {
        self.silences.send_modify(|silences| *silences += 1);
    }
}

async fn carry(mut near: TcpStream, server: u16, mut silence: watch::Receiver<u32>) {
    let mut far = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = silence.changed() => pending().await,
    }
}

/// Each session would cost somebody the whole wait, one after the other.
#[tokio::test]
async fn a_network_that_falls_silent_costs_one_attempt_and_not_one_a_session() {
    let (_, database) = inventory_with(&[("a", 100)]).await;
    let url = database.url();
    let server = url.split(':').next_back().and_then(|rest| rest.split('/').next()).unwrap();
    let network = Network::to(server.parse().unwrap()).await;
    let url = url.replace(&format!(":{server}/"), &format!(":{}/", network.port));
    let inventory = Inventory::connect(&url, 4).unwrap();
    let steps: Vec<_> = (0..16).map(|_| attempt()).collect();
    let together =
        steps.iter().map(|step| reserve(&inventory, step, OrderId::random(), &[("a", 1)]));
    for reserved in join_all(together).await {
        reserved.unwrap();
    }

    network.falls_silent();
    let (mut failures, one) = (Vec::new(), lines(&[("a", 1)]));
    for _ in 0..8 {
        let (step, order_id) = (attempt(), OrderId::random());
        let basket = Reserve { attempt: &step, order_id, lines: &one };
        failures.extend(inventory.reserve(&[basket]).await.err());
    }
    assert_eq!(failures.len(), 1, "{failures:?}");
    let trouble = failures[0].trouble();
    assert_eq!(trouble.code, "database_unavailable");
    assert!(!trouble.not_executed, "nobody knows: {trouble:?}");
}
