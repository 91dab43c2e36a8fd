//! A catalogue: what there is, what it costs, and how many of it: that came, or that were sold.

use std::collections::HashMap;

use activities::inventory_store::{Receipt, ReceiptKind};
use activities::order_store::Price;
use activities::{Currency, Inventory, Line, Money, Orders};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// The most characters of a sku.
const SKU_CHARS_MAX: usize = 64;

/// A product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) name: String,
    pub(crate) price: Money,
    pub(crate) units: u32,
}

/// Products by sku.
pub(crate) type Catalog = HashMap<String, Product>;

#[derive(Deserialize)]
struct Row {
    sku: String,
    name: String,
    currency: String,
    price_minor: i64,
    #[serde(alias = "units_sold")]
    units: u32,
}

/// Reads CSV with the columns sku, name, currency, price_minor and `units`, in any order; `units` is the name of
/// the last: "units" or "units_sold".
pub(crate) fn read(text: &str, units: &str) -> anyhow::Result<Catalog> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers = reader.headers()?.clone();
    for column in ["sku", "name", "currency", "price_minor", units] {
        ensure!(
            headers.iter().any(|header| header == column),
            "line 1: there is no column `{column}`"
        );
    }
    let mut catalog = Catalog::new();
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        // Its message says the line.
        if !reader.read_record(&mut record)? {
            break;
        }
        let row: Row = match record.deserialize(Some(&headers)) {
            Ok(row) => row,
            Err(error) => match error.kind() {
                csv::ErrorKind::Deserialize { err, .. } => {
                    let column = err.field().and_then(|field| headers.get(field as usize));
                    let column = column.unwrap_or("a column");
                    bail!("line {line}: {column}: {}", err.kind());
                }
                _ => return Err(error).with_context(|| format!("line {line}")),
            },
        };
        let (sku, product) = row.product().with_context(|| format!("line {line}"))?;
        ensure!(!catalog.contains_key(&sku), "line {line}: the sku {sku} is there twice");
        catalog.insert(sku, product);
    }
    ensure!(!catalog.is_empty(), "it has no products");
    Ok(catalog)
}

impl Row {
    fn product(self) -> anyhow::Result<(String, Product)> {
        let Self { sku, name, currency, price_minor, units } = self;
        let is_word = !sku.is_empty() && !sku.chars().any(|c| c.is_whitespace() || c == '\0');
        ensure!(
            is_word && sku.chars().count() <= SKU_CHARS_MAX,
            "the sku must be 1 to {SKU_CHARS_MAX} characters without spaces"
        );
        ensure!(!name.contains('\0'), "the name has a character that no name has");
        let currency: Currency = currency.parse()?;
        ensure!(price_minor >= 0, "the price is negative");
        let price = Money::new(price_minor, currency);
        Ok((sku, Product { name, price, units }))
    }
}

/// Sets the prices, and delivers `factor` of each product's units. `delivery` names the delivery: a second one
/// of the same name brings nothing. Answers how many products it brought.
pub(crate) async fn load(
    catalog: &Catalog,
    factor: f64,
    delivery: &str,
    inventory: &Inventory,
    orders: &Orders,
) -> anyhow::Result<u64> {
    let prices: Vec<_> = catalog
        .iter()
        .map(|(sku, product)| Price {
            sku: sku.clone(),
            name: product.name.clone(),
            unit_price: product.price,
        })
        .collect();
    orders.load_prices(&prices).await.context("the prices could not be loaded")?;
    let lines: Vec<_> = catalog
        .iter()
        .map(|(sku, product)| Line { sku: sku.clone(), quantity: stock(product.units, factor) })
        .collect();
    let receipt = Receipt { kind: ReceiptKind::Receipt, reference: delivery, lines: &lines };
    inventory.receive(receipt).await.context("the stock could not be loaded")
}

/// `factor` of them, rounded; a factor is never negative, and too much is as much as can be.
fn stock(units: u32, factor: f64) -> u32 {
    (f64::from(units) * factor).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "sku,name,currency,price_minor,units_sold\n";

    #[test]
    fn the_built_in_catalogue_can_be_sold() {
        let catalog = crate::demo::built_in_catalog();
        assert_eq!(catalog.len(), 9_734);
        let units: u32 = catalog.values().map(|product| product.units).sum();
        assert_eq!(units, 29_031);
        assert_eq!(catalog["27334"].price, Money::new(429, Currency::Usd));
    }

    #[test]
    fn columns_may_come_in_any_order_with_others() {
        let text = "units_sold,colour,sku,price_minor,currency,name\n3,red,a-1,250,EUR,\"A, B\"\n";
        let catalog = read(text, "units_sold").unwrap();
        let price = Money::new(250, Currency::Eur);
        let product = Product { name: "A, B".to_owned(), price, units: 3 };
        assert_eq!(catalog, Catalog::from([("a-1".to_owned(), product)]));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (rows, expected) in [
            ("a,A,USD,1", "line: 2"),
            ("a,A,USD,1,2\nb,B,USD,x,1", "line 3: price_minor: invalid digit"),
            ("a,A,USD,1,-2", "line 2: units_sold: invalid digit"),
            ("a,A,USD,-1,2", "line 2: the price is negative"),
            ("a,A,XXX,1,2", "line 2: the currency \"XXX\" is not supported"),
            ("a b,A,USD,1,2", "line 2: the sku"),
            ("a,A,USD,1,2\na,A,USD,1,2", "line 3: the sku a is there twice"),
            ("", "it has no products"),
        ] {
            let error = format!("{:#}", read(&format!("{HEAD}{rows}"), "units_sold").unwrap_err());
            assert!(error.contains(expected), "{rows:?}: {error}");
        }
        let error = format!("{:#}", read("sku,name\n", "units").unwrap_err());
        assert_eq!(error, "line 1: there is no column `currency`");
    }

    #[test]
    fn stock_is_a_share_of_what_was_sold() {
        assert_eq!([stock(1, 0.9), stock(10, 0.9), stock(5, 0.0), stock(3, 1.0)], [1, 9, 0, 3]);
        assert_eq!(stock(u32::MAX, 1e9), u32::MAX);
    }
}
