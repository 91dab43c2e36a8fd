//! Where the three stores' saga runs: a new server, two stores, and something that charges.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use axum::{Json, Router, routing::post};
use local_postgres::{LocalPostgres, Options};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::meter::create_database;

const INVENTORY: &str = "
    create table stock (sku text primary key, available integer not null check (available >= 0))
    with (fillfactor = 50);
    create table reservation (saga text primary key, sku text not null, quantity integer not null,
                              at timestamptz not null default now());
    insert into stock select 'sku-' || n, 100000000 from generate_series(0, 999) n";
const ORDERS: &str = "
    create table orders (saga text primary key, customer text not null, sku text not null,
                         quantity integer not null, amount integer not null, status text not null,
                         at timestamptz not null default now())";

/// All of it ends when this is dropped.
pub(crate) struct Arena {
    /// Empty: for whoever keeps the sagas.
    pub(crate) sagas_url: String,
    pub(crate) inventory_url: String,
    pub(crate) orders_url: String,
    pub(crate) charge_url: String,
    server: LocalPostgres,
    _charger: Charger,
    directory: TempDir,
}

impl Arena {
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let server = LocalPostgres::start(&Options::new(directory.path()))?;
        let admin = server.tcp_url("postgres");
        for (name, tables) in [("sagas", ""), ("inventory", INVENTORY), ("orders", ORDERS)] {
            create_database(&admin, name).await?;
            let mut connection = PgConnection::connect(&server.tcp_url(name)).await?;
            connection.execute(tables).await?;
            connection.close().await?;
        }
        let charger = Charger::start()?;
        Ok(Self {
            sagas_url: server.tcp_url("sagas"),
            inventory_url: server.tcp_url("inventory"),
            orders_url: server.tcp_url("orders"),
            charge_url: format!("http://127.0.0.1:{}/charge", charger.port),
            server,
            _charger: charger,
            directory,
        })
    }

    /// Where whoever keeps the sagas may leave files.
    pub(crate) fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// The first process of PostgreSQL.
    pub(crate) fn postmaster(&self) -> anyhow::Result<u32> {
        self.server.pid().context("the server has ended")
    }
}

/// Takes money from nobody, at once, in a process of its own.
struct Charger {
    child: Child,
    port: u16,
}

impl Charger {
    fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("charge").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("its output is a pipe")?;
        BufReader::new(output).read_line(&mut line)?;
        let port = line.trim().parse().context("it does not say its port")?;
        Ok(Self { child, port })
    }
}

impl Drop for Charger {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What that process does until it is killed: says its port, and says yes to every charge.
pub(crate) async fn charge() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?.port());
    let yes = async |Json(asked): Json<Value>| {
        Json(json!({"charge": format!("ch_{}", asked["order"]), "status": "ok"}))
    };
    axum::serve(listener, Router::new().route("/charge", post(yes))).await?;
    Ok(())
}
