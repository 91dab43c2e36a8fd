//! What is said wrong on the command line or in the environment is named, with what it should be.

use local_postgres::testing::TestServer;

use crate::harness::{Databases, Finished, Program, amends, free_port, http, server, until};

#[track_caller]
fn says(finished: &Finished, code: i32, sentence: &str) {
    assert_eq!(finished.code, Some(code), "{}\n{}", finished.stdout, finished.stderr);
    assert!(finished.stderr.contains(sentence), "no `{sentence}` in: {}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    assert_eq!(finished.stdout, "", "nothing is mixed into the data");
}

/// What `serve` needs beside databases.
fn gateway() -> Vec<(&'static str, String)> {
    let values = [("PAYMENT_GATEWAY_KEY", "sk_test_1"), ("PAYMENT_WEBHOOK_SECRET", "whsec_1")];
    values.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// `serve` on free ports.
fn serve(more: &[&str], variables: Vec<(&'static str, String)>) -> Finished {
    let addresses = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let arguments = ["serve", "--listen", &addresses[0], "--operator-listen", &addresses[1]];
    amends(&[&arguments[..], more].concat(), &[gateway(), variables].concat())
}

#[test]
fn garbage_in_any_command_is_named() {
    let cases: [(&[&str], &str); 27] = [
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
        (&["--log-format", "x", "nodes"], "invalid value 'x' for '--log-format"),
        (&["serve", "--lanes", "0"], "'--lanes <N>'"),
        (&["serve", "--listen", "nonsense"], "'--listen <ADDRESS>'"),
        (&["serve", "--lease-ttl-ms", "1"], "'--lease-ttl-ms <MS>'"),
        (&["serve", "nonsense"], "unexpected argument 'nonsense'"),
        (&["migrate", "--shards", "0"], "0 is not in 1..="),
        (&["doctor", "--lanes", "0"], "'--lanes <N>'"),
        (&["verify", "--ledger"], "a value is required for '--ledger"),
        (&["verify", "-o", "xml"], "invalid value 'xml'"),
        (&["demo", "--stock-factor=-1"], "'--stock-factor"),
        (&["demo", "--stock-factor", "x"], "a number from 0 to 1000"),
        (&["demo", "--in-flight", "0"], "'--in-flight <N>'"),
        (&["demo", "--port", "70000"], "'--port <PORT>'"),
        (&["demo", "--carts", "x.jsonl"], "--catalog"),
        (&["simulate-gateway"], "--ledger <FILE>"),
        (&["simulate-gateway", "--ledger", "x", "--port", "x"], "'--port"),
        (&["keys", "create", "--role", "king"], "roles are shop, customer, operator, admin, ops"),
        (&["keys", "revoke", "nonsense"], "invalid value 'nonsense'"),
        (&["list", "nonsense"], "`nonsense` is no filter"),
        (&["list", "--limit", "0"], "'--limit <LIMIT>'"),
        (&["get"], "required arguments were not provided"),
        (&["why", "nonsense"], "`nonsense` is not a saga's id"),
        (&["history", "a", "b"], "unexpected argument 'b'"),
        (&["retry", "nonsense", "--reason", "x", "-y"], "`nonsense` is not a saga's id"),
        (&["resolve", "x", "1", "--reason", "x"], "--happened"),
        (&["nodes", "--server", "nonsense"], "`nonsense` is not the URL of a server"),
    ];
    for (arguments, sentence) in cases {
        says(&amends(arguments, &[]), 2, sentence);
    }
    let port = free_port();
    let away = format!("http://127.0.0.1:{port}");
    says(&amends(&["nodes", "--server", &away], &[]), 8, &format!("{away} does not answer"));
    let carts = ["demo", "--carts", "/nonexistent", "--catalog", "/nonexistent"];
    says(&amends(&carts, &[]), 1, "/nonexistent");
}

#[test]
fn garbage_in_any_variable_is_named_and_secrets_are_not_repeated() {
    let url = || "postgres://u:hunter2@127.0.0.1:1/x".to_owned();
    let three = |amends: &str| {
        vec![
            ("AMENDS_DATABASE_URL", amends.to_owned()),
            ("INVENTORY_DATABASE_URL", url()),
            ("ORDERS_DATABASE_URL", url()),
        ]
    };
    let two = three(&url()).split_off(1);
    says(&serve(&[], two.clone()), 2, "AMENDS_DATABASE_URL is missing: set all of");
    says(&amends(&["migrate"], &two), 2, "AMENDS_DATABASE_URL is missing: set all of");
    let should_be = "AMENDS_DATABASE_URL should be like postgres://";
    for garbage in ["nonsense", "mysql://u:hunter2@h/x", "postgres://u:hunter2@h:port/x"] {
        let finished = serve(&[], three(garbage));
        says(&finished, 2, should_be);
        assert!(!finished.stderr.contains("hunter2"), "{}", finished.stderr);
    }
    let with = |name: &'static str, value: &str| {
        let mut variables = three(&url());
        variables.extend([gateway(), vec![(name, value.to_owned())]].concat());
        variables
    };
    let cases = [
        ("PAYMENT_GATEWAY_KEY", "", 2, "PAYMENT_GATEWAY_KEY is not set"),
        ("PAYMENT_GATEWAY_KEY", "pk_live_1", 2, "a publishable key"),
        ("PAYMENT_WEBHOOK_SECRET", "", 2, "PAYMENT_WEBHOOK_SECRET is not set"),
        ("PAYMENT_GATEWAY_URL", "http://example.com", 2, "must be on this machine"),
        ("PAYMENT_GATEWAY_RATE", "fast", 2, "PAYMENT_GATEWAY_RATE is fast"),
        ("PAYMENT_RETURN_URL", "paid", 2, "PAYMENT_RETURN_URL is paid"),
        ("AMENDS_LISTEN", "nonsense", 2, "'--listen <ADDRESS>'"),
        ("AMENDS_LEASE_TTL_MS", "soon", 2, "'--lease-ttl-ms <MS>'"),
        ("RUST_LOG", "a=b=c", 2, "RUST_LOG is `a=b=c`"),
    ];
    for (name, value, code, sentence) in cases {
        says(&amends(&["serve"], &with(name, value)), code, sentence);
    }
    let server = [("AMENDS_URL", "nonsense".to_owned())];
    says(&amends(&["nodes"], &server), 2, "`nonsense` is not the URL of a server");
}

#[test]
fn a_server_that_can_not_be_started_is_explained_and_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let private = ["--data-dir", data_dir.to_str().unwrap()];
    let pg_bin = vec![("AMENDS_PG_BIN", "/nonexistent".to_owned())];
    says(&serve(&private, pg_bin), 2, "AMENDS_PG_BIN is /nonexistent, where there is no runnable");
    assert!(!data_dir.join("postgres").exists());
    // Whoever would let everybody in is refused before anything is started.
    let everywhere = ["serve", "--insecure-dev", "--listen", "0.0.0.0:0", private[0], private[1]];
    says(&amends(&everywhere, &gateway()), 2, "it listens on loopback only");
    assert!(!data_dir.join("postgres").exists());

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = ["serve", "--listen", &address, private[0], private[1]];
    says(&amends(&listen, &gateway()), 1, &format!("can not listen on {address}"));
    let none = directory.path().join("none");
    let keys = ["keys", "--data-dir", none.to_str().unwrap(), "create", "--role", "ops"];
    says(&amends(&keys, &[]), 1, "there are no databases");
    assert!(!data_dir.join("postgres").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_may_call_does_not_start() {
    let variables = Databases::clones().await.variables();
    let listed = amends(&["keys", "list"], &variables);
    let ids = listed.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    for id in ids {
        says(&amends(&["keys", "revoke", id], &variables), 0, "Revoked");
    }
    says(&serve(&[], variables), 1, "all API keys are revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_or_not_up_to_date_is_named() {
    let away = format!("postgres://u:hunter2@127.0.0.1:{}/x", free_port());
    let names = ["AMENDS_DATABASE_URL", "INVENTORY_DATABASE_URL", "ORDERS_DATABASE_URL"];
    let urls = names.map(|name| (name, away.clone())).to_vec();
    for arguments in [&["migrate"][..], &["verify", "--ledger", "x"], &["keys", "list"]] {
        let finished = amends(arguments, &urls);
        says(&finished, 8, "amends database");
        assert!(!finished.stderr.contains("hunter2"), "{}", finished.stderr);
    }
    says(&serve(&[], urls), 8, "amends database");

    let [amends_url, inventory, orders] = Databases::empty(server(), "bare").await;
    let urls = [
        ("AMENDS_DATABASE_URL", amends_url),
        ("INVENTORY_DATABASE_URL", inventory),
        ("ORDERS_DATABASE_URL", orders),
    ]
    .to_vec();
    says(&serve(&[], urls.clone()), 1, "run `amends migrate`");
    says(&amends(&["keys", "list"], &urls), 1, "run `amends migrate`");
    says(&amends(&["migrate", "--shards", "4"], &urls), 0, "are up to date");
    says(&amends(&["migrate"], &urls), 0, "are up to date");
    let ledger = ["verify", "--ledger", "/nonexistent/ledger.jsonl"];
    says(&amends(&ledger, &urls), 1, "/nonexistent/ledger.jsonl");
    let unknown = ["keys", "revoke", "018f0000-0000-7000-8000-000000000000"];
    says(&amends(&unknown, &urls), 4, "there is no key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_lose_orders_is_refused_unless_that_is_wanted() {
    let forgetful = TestServer::start(&[("fsync", "off")]);
    let databases = Databases::furnished(&forgetful, "forgetful").await;
    says(&serve(&[], databases.variables()), 1, "`fsync` off");

    let ports = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let arguments =
        ["serve", "--allow-data-loss", "--listen", &ports[0], "--operator-listen", &ports[1]];
    let variables = [gateway(), databases.variables()].concat();
    let directory = tempfile::tempdir().unwrap();
    let mut node = Program::spawn(&arguments, &variables, &directory.path().join("log"));
    until("it serves all the same", async || {
        assert_eq!(node.ended(), None, "{}", node.log());
        let ready = http().get(format!("http://{}/health/ready", ports[0])).send().await.ok()?;
        ready.status().is_success().then_some(())
    })
    .await;
    assert_eq!(node.stop().await.code(), Some(0), "{}", node.log());
}
