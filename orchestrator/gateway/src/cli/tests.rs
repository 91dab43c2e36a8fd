//! The command line against a door.

use clap::Parser;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

fn parse(line: &str) -> Result<Line, clap::Error> {
    Line::try_parse_from(line.split(' '))
}

#[test]
fn a_change_needs_a_reason_and_a_verdict() {
    let id = "0190a5d0-0000-7000-8000-000000000001";
    assert!(parse(&format!("amends retry {id} --reason back")).is_ok());
    assert!(parse(&format!("amends retry {id}")).is_err());
    assert!(parse("amends retry --reason back").is_err());
    assert!(parse(&format!("amends resolve {id} 3 --reason x --compensated")).is_ok());
    assert!(parse(&format!("amends resolve {id} 3 --reason x")).is_err());
    assert!(
        parse(&format!("amends resolve {id} 3 --reason x --compensated --did-not-happen")).is_err()
    );
    for garbage in
        ["amends list --limit 0", "amends list --limit 201", "amends list -o xml", "amends"]
    {
        assert!(parse(garbage).is_err(), "{garbage}");
    }
    let line = parse("amends list is:stuck --server http://127.0.0.1:1 -o ids")
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(line.global.output, Format::Ids);
}

#[test]
fn why_says_in_its_exit_code_how_it_is() {
    let cases = [
        (json!({"ending": "completed"}), Exit::Ok),
        (json!({"ending": "undone"}), Exit::Undone),
        (json!({"ending": "cancelled"}), Exit::Cancelled),
        (json!({"ending": null, "attention": "undo_failed"}), Exit::NeedsAPerson),
        (json!({"ending": null, "attention": null}), Exit::Open),
    ];
    for (saga, exit) in cases {
        assert_eq!(show::exit_of(&saga), exit);
    }
}

async fn exit(server: &str, line: &str) -> Exit {
    let line = parse(&format!("amends --server {server} {line}")).unwrap_or_else(|e| panic!("{e}"));
    let server = match Server::new(&line.global) {
        Ok(server) => server,
        Err(failure) => return failure.exit,
    };
    line.command.on(&server, line.global.output).await.unwrap_or_else(|failure| failure.exit)
}

#[tokio::test]
async fn exit_codes_say_how_it_went() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (router, keys, id) = crate::app::tests::one_saga_door();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(crate::listen::serve(listener, router, stop.clone()));
    let act = format!("--key {} --yes --reason back", keys.1.expose());
    let look = format!("--key {}", keys.0.expose());
    let nobody = "0190a5d0-0000-7000-8000-000000000001";
    let cases = [
        (format!("get {id} {look}"), Exit::Ok),
        (format!("get {id} {look} -o json"), Exit::Ok),
        (format!("why {id} {look}"), Exit::Open),
        (format!("history {id} {look}"), Exit::Ok),
        (format!("get {nobody} {look}"), Exit::NotFound),
        (format!("get ord_1 {look}"), Exit::Usage),
        (format!("get {id}"), Exit::NotAllowed),
        (format!("nodes {look}"), Exit::Unexpected),
        (format!("list {look}"), Exit::Usage),
        (format!("retry {id} --yes --reason back {look}"), Exit::NotAllowed),
        (format!("retry {id} {act}"), Exit::Ok),
        (format!("retry {id} {act} --if-rev 7"), Exit::Ok),
        (format!("retry {id} {act} --if-rev 6"), Exit::MovedOn),
        (format!("cancel {id} {act}"), Exit::MovedOn),
        (format!("pause {id} {act}"), Exit::TimedOut),
        (format!("retry {id} {nobody} {act}"), Exit::SomeFailed),
        (format!("resolve {id} charge-payment --compensated {act}"), Exit::Usage),
        (format!("resolve {id} 1 --compensated {act}"), Exit::TimedOut),
        (format!("resolve {id} 1 --happened /nonexistent.json {act}"), Exit::Usage),
    ];
    for (line, expected) in cases {
        assert_eq!(exit(&server, &line).await, expected, "{line}");
    }
    assert_eq!(exit("ftp://x", &format!("get {id}")).await, Exit::Usage);
    stop.cancel();
    serving.await.unwrap().unwrap();
    assert_eq!(exit(&server, &format!("get {id} {look}")).await, Exit::Unreachable);
}
