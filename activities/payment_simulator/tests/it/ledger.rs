//! The ledger tells the truth, whatever happens to the simulator.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use payment_simulator::{Error, FaultPlan, Simulator};
use serde_json::Value;

use crate::gateway::{Gateway, KEY, client, confirm_path, options, read};

const FOLDER: &str = "PAYMENT_SIMULATOR_TEST_FOLDER";

#[tokio::test(flavor = "multi_thread")]
async fn the_line_is_there_before_the_answer() {
    let gateway = Gateway::start().await;
    let orders: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    join_all(orders.iter().map(async |order| {
        let id = gateway.create(order).await;
        gateway.confirm(&id, &format!("o/{order}/confirm"), "pm_card_visa").await;
        let lines = gateway.ledger_lines("captured", &id);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["order_id"], order.as_str());
        assert_eq!(lines[0]["idempotency_key"], format!("o/{order}/confirm"));
        assert_eq!(
            (&lines[0]["amount_minor"], &lines[0]["currency"]),
            (&500.into(), &"usd".into())
        );
        assert!(lines[0]["charge"].as_str().unwrap().starts_with("ch_"));
        assert!(lines[0]["at"].as_str().unwrap().ends_with('Z'));
    }))
    .await;
    assert_eq!(gateway.get("/_sim/ledger").await.body["captured_minor"], 50 * 500);
}

#[tokio::test]
async fn a_restart_remembers_intents_refunds_keys_sums_and_the_clock() {
    let gateway = Gateway::start().await;
    let (paid, open) = (gateway.create("a").await, gateway.create("b").await);
    let first = gateway.confirm(&paid, "k", "pm_card_visa").await;
    gateway.post("/v1/refunds", "r", &[("payment_intent", &paid), ("amount", "100")]).await;
    let before = gateway.control("/_sim/clock", r#"{"advance_seconds":1000}"#).await;
    let sums = gateway.get("/_sim/ledger").await.body;

    let gateway = gateway.restart().await;
    assert_eq!(gateway.intent(&paid).await["amount_received"], 500);
    assert_eq!(gateway.intent(&open).await["status"], "requires_payment_method");
    let again = gateway.confirm(&paid, "k", "pm_card_visa").await;
    assert!(again.replayed);
    assert_eq!(again.body, first.body);
    let rest = [("payment_intent", paid.as_str()), ("amount", "401")];
    assert_eq!(gateway.post("/v1/refunds", "r2", &rest).await.status, 400);
    assert_eq!(gateway.get("/_sim/ledger").await.body, sums);
    let after = gateway.control("/_sim/clock", r#"{"advance_seconds":0}"#).await;
    assert!(after["now"].as_i64() >= before["now"].as_i64());
}

#[tokio::test]
async fn a_challenge_goes_on_after_a_restart() {
    let gateway = Gateway::start().await;
    gateway.faults(r#"{"challenges":{"after_millis":300}}"#).await;
    let id = gateway.create("a").await;
    gateway.confirm(&id, "k", "pm_card_authenticationRequired").await;
    let gateway = gateway.restart().await;
    gateway.until_status(&id, "succeeded").await;
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_a_lost_one_written_again() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    gateway.confirm(&id, "k", "pm_card_visa").await;
    let Gateway { simulator, folder, .. } = gateway;
    simulator.stop().await;
    let (ledger, state) =
        (folder.path().join("ledger.jsonl"), folder.path().join("ledger.jsonl.state"));
    let whole = std::fs::read(&ledger).unwrap();
    std::fs::write(&ledger, &whole[..whole.len() - 20]).unwrap();
    let mut torn = std::fs::OpenOptions::new().append(true).open(&state).unwrap();
    torn.write_all(br#"{"intent":{"id":"pi_"#).unwrap();

    let simulator = Simulator::start(options(&folder, FaultPlan::none())).await.unwrap();
    assert_eq!(std::fs::read(&ledger).unwrap(), whole);
    let gateway = Gateway { simulator, client: client(), folder };
    assert!(gateway.confirm(&id, "k", "pm_card_visa").await.replayed);
    let other = gateway.create("b").await;
    let gateway = gateway.restart().await;
    assert_eq!(gateway.intent(&other).await["amount"], 500);
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused() {
    let gateway = Gateway::start().await;
    let id = gateway.create("a").await;
    gateway.confirm(&id, "k", "pm_card_visa").await;
    let Gateway { simulator, folder, .. } = gateway;
    simulator.stop().await;
    let state = folder.path().join("ledger.jsonl.state");
    let whole = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, whole.replacen('{', "[", 1)).unwrap();
    let error = Simulator::start(options(&folder, FaultPlan::none())).await.err();
    assert!(matches!(error, Some(Error::Damaged { line: 1, .. })), "{error:?}");
    std::fs::remove_file(&state).unwrap();
    let error = Simulator::start(options(&folder, FaultPlan::none())).await.err();
    assert!(matches!(error, Some(Error::LedgerMismatch { line: 1, .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_answered_is_lost_when_it_is_killed() {
    let folder = tempfile::TempDir::new().unwrap();
    let client = client();
    let (child, url) = start_child(folder.path()).await;
    let confirmations = (0..200).map(async |n: usize| {
        let order = n.to_string();
        let form = [("amount", "500"), ("currency", "usd"), ("metadata[order_id]", &order)];
        let create = client.post(format!("{url}/v1/payment_intents")).bearer_auth(KEY).form(&form);
        let created = read(create.send().await.ok()?).await.body;
        let id = created["id"].as_str()?.to_owned();
        let card = [("payment_method", "pm_card_visa")];
        let confirm = client.post(url.clone() + &confirm_path(&id)).bearer_auth(KEY).form(&card);
        let response = confirm.header("Idempotency-Key", &order).send().await.ok()?;
        response.status().is_success().then_some(id)
    });
    let killer = async {
        let deadline = Instant::now() + Duration::from_secs(30);
        let ledger = folder.path().join("ledger.jsonl");
        while std::fs::metadata(&ledger).unwrap().len() < 2_000 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(child);
    };
    let (answered, ()) = tokio::join!(join_all(confirmations), killer);
    let answered: Vec<String> = answered.into_iter().flatten().collect();

    let simulator = Simulator::start(options(&folder, FaultPlan::none())).await.unwrap();
    let gateway = Gateway { simulator, client, folder };
    for id in &answered {
        assert_eq!(gateway.ledger_lines("captured", id).len(), 1);
        assert_eq!(gateway.intent(id).await["status"], "succeeded");
    }
    for line in gateway.ledger() {
        let intent = gateway.intent(line["intent"].as_str().unwrap()).await;
        assert_eq!(intent["status"], "succeeded", "in the ledger, so in the state");
    }
    let captured = gateway
        .ledger()
        .iter()
        .map(|line: &Value| line["amount_minor"].as_i64().unwrap())
        .sum::<i64>();
    assert_eq!(gateway.get("/_sim/ledger").await.body["captured_minor"], captured);
}

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this test binary again as a process of its own that only serves.
async fn start_child(folder: &std::path::Path) -> (Process, String) {
    let child = Process(
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "ledger::serves_until_it_is_killed"])
            .env(FOLDER, folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(url) = std::fs::read_to_string(folder.join("url")) {
            return (child, url);
        }
        assert!(Instant::now() < deadline, "the process did not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that nothing_answered_is_lost_when_it_is_killed kills"]
async fn serves_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else { return };
    let mut options = options(&tempfile::TempDir::new().unwrap(), FaultPlan::none());
    options.ledger = folder.join("ledger.jsonl");
    let simulator = Simulator::start(options).await.unwrap();
    std::fs::write(folder.join("url.new"), simulator.url()).unwrap();
    std::fs::rename(folder.join("url.new"), folder.join("url")).unwrap();
    std::future::pending::<()>().await;
}
