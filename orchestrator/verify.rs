//! `amends verify`: every promise across the engine, the stores and the payment gateway.

mod cross;
pub(crate) mod gateway_book;
mod invariants;
mod report;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use activities::order_store::Books;
use activities::payment_gateway::PaymentGateway;
use activities::verify::{Moment, Violation};
use activities::{Inventory, Orders};
use anyhow::Context;
use engine::Operator;
use gateway::cli::Format;

use crate::databases::{DataDir, Databases};
use crate::payment_settings;
use gateway_book::{GatewayBook, Sums};

/// How many connections to a store it takes.
const CONNECTIONS_MAX: u32 = 2;

/// Check every promise across the three databases and the payment gateway
///
/// Exits with 1, and names what is wrong, when one is broken. It changes nothing, and may run while
/// orders are placed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data_dir: DataDir,
    /// The ledger file of a simulated payment gateway. Without it the gateway's own list of payments
    /// is read (PAYMENT_GATEWAY_URL, PAYMENT_GATEWAY_KEY)
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Insist that nothing is under way: an open saga is a violation too. Without it, what must be
    /// true at rest is checked only if no saga is open
    #[arg(long)]
    at_rest: bool,
}

/// The books that are compared.
pub(crate) struct Sources<'a> {
    pub(crate) operator: Operator,
    pub(crate) inventory: Inventory,
    pub(crate) orders: Orders,
    pub(crate) gateway: Witness<'a>,
}

/// Who says what the payment gateway did.
pub(crate) enum Witness<'a> {
    /// The simulator's ledger.
    Ledger(PathBuf),
    /// The gateway itself.
    Gateway(&'a PaymentGateway),
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Whether nothing was under way, so that what must be true at rest was checked too.
    pub(crate) at_rest: bool,
    /// How many sagas are open.
    pub(crate) open: u64,
    pub(crate) orders: u64,
    pub(crate) reservations: u64,
    pub(crate) charges: u64,
    /// Charges of the gateway's account that are not ours.
    pub(crate) foreign: u64,
    pub(crate) books: Vec<Books>,
    pub(crate) sums: BTreeMap<String, Sums>,
    pub(crate) violations: Vec<Violation>,
}

/// Runs it.
pub(crate) async fn run(arguments: Arguments, output: Format) -> anyhow::Result<ExitCode> {
    let gateway = match &arguments.ledger {
        Some(_) => None,
        None => Some(PaymentGateway::new(payment_settings::read().context(
            "the payment gateway's list of payments can not be read \
             (for a simulated one, give its ledger file with --ledger)",
        )?)?),
    };
    let databases = Databases::open_existing(&arguments.data_dir.path()?).await?;
    databases.check_migrations().await?;
    let witness = match (arguments.ledger, &gateway) {
        (Some(path), _) => Witness::Ledger(path),
        (None, Some(gateway)) => Witness::Gateway(gateway),
        (None, None) => unreachable!("without a ledger there is a gateway"),
    };
    let sources = Sources {
        operator: Operator::connect(&databases.urls.amends).await?,
        inventory: Inventory::connect(&databases.urls.inventory, CONNECTIONS_MAX)?,
        orders: Orders::connect(&databases.urls.orders, CONNECTIONS_MAX)?,
        gateway: witness,
    };
    let verdict = verify(&sources, arguments.at_rest).await?;
    match output {
        Format::Table => println!("{}", report::table(&verdict)),
        Format::Json | Format::Ndjson => println!("{}", report::json(&verdict)),
        Format::Ids => verdict.ids().iter().for_each(|id| println!("{id}")),
    }
    sources.inventory.close().await;
    sources.orders.close().await;
    databases.close().await?;
    Ok(ExitCode::from(u8::from(!verdict.is_clean())))
}

/// Checks everything. The books are read one after the other, so what moves meanwhile can look
/// broken: what a second look does not find again was only that.
pub(crate) async fn verify(sources: &Sources<'_>, insist: bool) -> anyhow::Result<Verdict> {
    let mut verdict = look(sources, insist).await?;
    if !verdict.violations.is_empty() {
        let first = keys(&verdict.violations);
        verdict = look(sources, insist).await?;
        verdict.violations.retain(|violation| first.contains(&key(violation)));
    }
    Ok(verdict)
}

async fn look(sources: &Sources<'_>, insist: bool) -> anyhow::Result<Verdict> {
    let open = sources.operator.open_count().await?;
    let verdict = look_at(sources, open, insist || open == 0).await?;
    let open_now = sources.operator.open_count().await?;
    if insist || !verdict.at_rest || open_now == 0 {
        return Ok(verdict);
    }
    // Something was started meanwhile.
    look_at(sources, open_now, false).await
}

async fn look_at(sources: &Sources<'_>, open: u64, at_rest: bool) -> anyhow::Result<Verdict> {
    let moment = if at_rest { Moment::AtRest } else { Moment::Always };
    // The gateway first: what it took has left its traces in the stores when they are read.
    let book = match &sources.gateway {
        Witness::Ledger(path) => GatewayBook::read(path)?,
        Witness::Gateway(gateway) => GatewayBook::ask(gateway).await?,
    };
    let walked = walk::walk(&sources.inventory, &sources.orders, &book, moment).await?;
    let books = sources.orders.books().await?;
    let mut violations = sources.inventory.verify(moment).await?;
    violations.extend(sources.orders.verify(moment).await?);
    violations.extend(sources.operator.verify().await?.into_iter().map(|found| Violation {
        invariant: found.invariant.to_owned(),
        id: found.id,
        detail: found.detail,
    }));
    violations.extend(walked.violations);
    violations.extend(book.nameless.iter().map(|intent| Violation {
        invariant: "charge_has_an_order".to_owned(),
        id: intent.clone(),
        detail: "it was captured and names no order of ours".to_owned(),
    }));
    if at_rest {
        violations.extend(cross::of_sums(&books, &book.sums, walked.refunds_under_way));
        violations.extend((open > 0).then(|| Violation {
            invariant: "no_open_sagas".to_owned(),
            id: "saga".to_owned(),
            detail: format!("{open} are open"),
        }));
    }
    // Some promises are looked at from two sides.
    let mut seen = BTreeSet::new();
    violations.retain(|violation| seen.insert(key(violation)));
    Ok(Verdict {
        at_rest,
        open,
        orders: walked.orders,
        reservations: walked.reservations,
        charges: book.captures(),
        foreign: book.foreign,
        books,
        sums: book.sums,
        violations,
    })
}

fn key(violation: &Violation) -> (String, String) {
    (violation.invariant.clone(), violation.id.clone())
}

fn keys(violations: &[Violation]) -> BTreeSet<(String, String)> {
    violations.iter().map(key).collect()
}

impl Verdict {
    /// Whether every promise that was checked holds.
    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// What breaks a promise, each once.
    fn ids(&self) -> BTreeSet<&str> {
        self.violations.iter().map(|violation| violation.id.as_str()).collect()
    }

    /// What our books say was captured, over all currencies.
    pub(crate) fn captured_minor(&self) -> i64 {
        self.books.iter().map(|book| book.captured).sum()
    }

    /// What the gateway says was captured, over all currencies.
    pub(crate) fn gateway_captured_minor(&self) -> i64 {
        self.sums.values().map(|sums| sums.captured).sum()
    }

    /// For people: what was compared, and what is wrong if anything is.
    pub(crate) fn summary(&self) -> String {
        report::summary(self)
    }
}
