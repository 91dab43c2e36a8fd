//! What an order takes: two stores full of goods, a payment gateway in a process of its own, real baskets.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use activities::inventory_store::{Receipt, ReceiptKind};
use activities::migrate::{INVENTORY, ORDERS};
use activities::order::total;
use activities::payment_gateway::PaymentGateway;
use activities::payment_gateway::settings::Settings as PaymentSettings;
use activities::{Currency, Inventory, Line, OrderId, PricedLine};
use anyhow::{Context, ensure};
use local_postgres::LocalPostgres;
use serde::Deserialize;
use serde_json::json;
use workflows::Checkout;

use crate::arguments::LoadArguments;
use crate::harness::Simulator;
use crate::meter::create_database;

const CARTS: &[u8] = include_bytes!("../data/carts.jsonl.gz");
const CATALOG: &[u8] = include_bytes!("../data/catalog.csv.gz");
/// More than anybody buys.
const STOCK: u32 = 100_000_000;
/// What an order has at most, and what a card payment takes at least.
const LINES_MAX: usize = 100;
const CENTS_MIN: i64 = 50;
/// How many baskets are made, if not the real ones.
const BASKETS: usize = 2_000;
/// How the others pay, and those who are declined.
const CARD: &str = "pm_card_visa";
const DECLINED_CARD: &str = "pm_card_visa_chargeDeclined";
/// What the simulator asks for and signs with, unless it is told otherwise.
const KEY: &str = "sk_test_simulator";
const SECRET: &str = "whsec_simulator";

/// Everything but who places the orders.
pub(crate) struct Shop {
    pub(crate) inventory_url: String,
    pub(crate) orders_url: String,
    gateway: Simulator,
    baskets: Vec<Checkout>,
    /// Of so many customers one is declined.
    declined_one_in: Option<usize>,
    next: AtomicUsize,
}

impl Shop {
    /// Makes the stores on `server`, and starts the gateway, whose ledger is in `directory`.
    pub(crate) async fn open(
        server: &LocalPostgres,
        directory: &Path,
        declined_one_in: Option<usize>,
        arguments: &LoadArguments,
    ) -> anyhow::Result<Self> {
        for name in ["inventory", "orders"] {
            create_database(&server.url("postgres"), name).await?;
        }
        let (inventory_url, orders_url) = (server.tcp_url("inventory"), server.tcp_url("orders"));
        INVENTORY.migrate(&inventory_url).await?;
        ORDERS.migrate(&orders_url).await?;
        let prices = prices()?;
        let lines: Vec<_> =
            prices.keys().map(|sku| Line { sku: sku.clone(), quantity: STOCK }).collect();
        let receipt = Receipt { kind: ReceiptKind::Receipt, reference: "load", lines: &lines };
        let inventory = Inventory::connect(&inventory_url, 1)?;
        inventory.receive(receipt).await?;
        inventory.close().await;
        let gateway = Simulator::start(directory, &json!({}), None).await;
        let mut rng = fastrand::Rng::with_seed(arguments.seed);
        let baskets = match (arguments.lines, arguments.skus) {
            (None, None) => {
                let mut real = real_baskets(&prices)?;
                rng.shuffle(&mut real);
                real
            }
            (lines, skus) => made_baskets(&prices, lines, skus, &mut rng)?,
        };
        let next = AtomicUsize::new(0);
        Ok(Self { inventory_url, orders_url, gateway, baskets, declined_one_in, next })
    }

    /// A client of the gateway, as the platform has it.
    pub(crate) fn gateway(&self) -> anyhow::Result<PaymentGateway> {
        let url = Some(self.gateway.url.as_str());
        let (key, secret) = (Some(KEY), Some(SECRET));
        Ok(PaymentGateway::new(PaymentSettings::from_values(url, key, secret, None, None)?)?)
    }

    /// The next basket, as an order that is new.
    pub(crate) fn checkout(&self) -> Checkout {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let basket = &self.baskets[next % self.baskets.len()];
        let is_declined = self.declined_one_in.is_some_and(|one_in| next.is_multiple_of(one_in));
        let payment_method = if is_declined { DECLINED_CARD } else { CARD }.to_owned();
        Checkout { order_id: OrderId::random(), payment_method, ..basket.clone() }
    }
}

/// By sku: the name of a product, and what one costs.
type Prices = HashMap<String, (String, i64)>;

#[derive(Deserialize)]
struct Product {
    sku: String,
    name: String,
    price_minor: i64,
}

#[derive(Deserialize)]
struct Cart {
    customer: String,
    lines: Vec<(String, u32)>,
}

fn prices() -> anyhow::Result<Prices> {
    let text = unzipped(CATALOG)?;
    let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize::<Product>();
    let price = |row: Result<Product, csv::Error>| {
        row.map(|product| (product.sku, (product.name, product.price_minor)))
    };
    Ok(rows.map(price).collect::<Result<_, _>>()?)
}

/// The real carts that can be orders.
fn real_baskets(prices: &Prices) -> anyhow::Result<Vec<Checkout>> {
    let mut baskets = Vec::new();
    for line in unzipped(CARTS)?.lines() {
        let cart: Cart = serde_json::from_str(line)?;
        if let Some(basket) = basket(prices, cart.customer, cart.lines)? {
            baskets.push(basket);
        }
    }
    Ok(baskets)
}

/// Baskets of `lines` goods, one of each, out of `skus`: at least as many.
fn made_baskets(
    prices: &Prices,
    lines: Option<u32>,
    skus: Option<u32>,
    rng: &mut fastrand::Rng,
) -> anyhow::Result<Vec<Checkout>> {
    let lines = lines.unwrap_or(1) as usize;
    let dear = prices.iter().filter(|(_, (_, price))| *price >= CENTS_MIN);
    let mut goods: Vec<_> = dear.map(|(sku, _)| sku.clone()).collect();
    goods.sort_unstable();
    goods.truncate(skus.map_or(goods.len(), |skus| skus as usize));
    ensure!(goods.len() >= lines, "{lines} lines take as many goods: --skus {lines}");
    let baskets = (0..BASKETS).map(|customer| {
        let lines = rng.choose_multiple(&goods, lines).into_iter().map(|sku| (sku.clone(), 1));
        basket(prices, format!("c-{customer}"), lines.collect())
    });
    baskets.filter_map(Result::transpose).collect()
}

/// An order of these lines; none: it can not be one.
fn basket(
    prices: &Prices,
    customer_id: String,
    lines: Vec<(String, u32)>,
) -> anyhow::Result<Option<Checkout>> {
    let priced = |(sku, quantity): (String, u32)| {
        let (name, unit_price) = prices.get(&sku).context("a sku without a price")?.clone();
        Ok(PricedLine { sku, name, quantity, unit_price })
    };
    let lines = lines.into_iter().map(priced).collect::<anyhow::Result<Vec<_>>>()?;
    let total = total(&lines, Currency::Usd)?;
    let can_be = lines.len() <= LINES_MAX && total.value >= CENTS_MIN;
    Ok(can_be.then(|| Checkout {
        order_id: OrderId::random(),
        customer_id,
        currency: Currency::Usd,
        lines,
        total,
        payment_method: CARD.to_owned(),
    }))
}

fn unzipped(bytes: &[u8]) -> anyhow::Result<String> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text)?;
    Ok(text)
}
