//! The carts: who wanted what.

use std::collections::{BTreeMap, HashMap};

use activities::Currency;
use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::catalog::Catalog;

/// The most of one product that the API takes.
const QUANTITY_MAX: u32 = 999;
/// An idempotency key has at most 255 characters, and some are ours.
const CART_CHARS_MAX: usize = 200;
/// As long as a customer's name may be.
const CUSTOMER_CHARS_MAX: usize = 200;

/// A cart whose products are all in the catalogue, in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cart {
    pub(super) id: String,
    pub(super) customer: String,
    pub(super) currency: Currency,
    /// How many of each product, by sku.
    pub(super) lines: BTreeMap<String, u32>,
}

/// What else a line has is of no use here.
#[derive(Deserialize)]
struct Row {
    cart: String,
    customer: String,
    lines: Vec<(String, u32)>,
}

/// Reads JSON lines: `{"cart":"..","customer":"..","lines":[["sku",1],..]}`.
pub(super) fn read(text: &str, catalog: &Catalog) -> anyhow::Result<Vec<Cart>> {
    let mut carts = Vec::new();
    let mut seen = HashMap::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let cart = cart(line, catalog).with_context(|| format!("line {number}"))?;
        if let Some(first) = seen.insert(cart.id.clone(), number) {
            bail!("line {number}: the cart {} is on line {first} already", cart.id);
        }
        carts.push(cart);
    }
    ensure!(!carts.is_empty(), "it has no carts");
    Ok(carts)
}

fn cart(line: &str, catalog: &Catalog) -> anyhow::Result<Cart> {
    let Row { cart: id, customer, lines: rows } = serde_json::from_str(line)?;
    let is_name = |text: &str, chars_max| {
        (1..=chars_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    ensure!(
        is_name(&id, CART_CHARS_MAX),
        "`cart` must be 1 to {CART_CHARS_MAX} visible ASCII characters"
    );
    ensure!(
        is_name(&customer, CUSTOMER_CHARS_MAX),
        "`customer` must be 1 to {CUSTOMER_CHARS_MAX} visible ASCII characters"
    );
    let mut lines = BTreeMap::<String, u32>::new();
    let mut currency = None;
    for (sku, quantity) in rows {
        let Some(product) = catalog.get(&sku) else {
            bail!("the sku {sku} is not in the catalogue");
        };
        let is_of = *currency.get_or_insert(product.price.currency);
        ensure!(
            is_of == product.price.currency,
            "a cart has one currency: {sku} is sold in {}, others in {is_of}",
            product.price.currency
        );
        let sum = lines.get(&sku).copied().unwrap_or(0).saturating_add(quantity);
        ensure!(
            quantity > 0 && sum <= QUANTITY_MAX,
            "{sku}: the quantity must be 1 to {QUANTITY_MAX}"
        );
        lines.insert(sku, sum);
    }
    let Some(currency) = currency else { bail!("the cart has no lines") };
    Ok(Cart { id, customer, currency, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let text =
            "sku,name,currency,price_minor,units_sold\na,A,USD,1,9\nb,B,USD,1,9\ne,E,EUR,1,9\n";
        crate::catalog::read(text, super::super::UNITS).unwrap()
    }

    fn read_one(line: &str) -> Result<Cart, String> {
        let carts = read(line, &catalog()).map_err(|error| format!("{error:#}"));
        carts.map(|mut carts| carts.remove(0))
    }

    #[test]
    fn the_built_in_carts_are_all_sold_from_the_built_in_catalogue() {
        let catalog = super::super::built_in_catalog();
        let carts = read(&super::super::input::carts(None).unwrap(), &catalog).unwrap();
        assert_eq!(carts.len(), 2_000);
        let price = |sku: &str, quantity: u32| catalog[sku].price.value * i64::from(quantity);
        let lines = carts.iter().flat_map(|cart| &cart.lines);
        let total: i64 = lines.map(|(sku, quantity)| price(sku, *quantity)).sum();
        assert_eq!(total, 7_251_795);
    }

    #[test]
    fn a_product_that_is_there_twice_is_one_line() {
        let cart = read_one(r#"{"cart":"1","customer":"c","lines":[["b",1],["a",2],["b",3]]}"#);
        let lines = BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 4)]);
        assert_eq!(cart.unwrap().lines, lines);
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = r#"{"cart":"1","customer":"c","at":"2017","lines":[["a",1]]}"#;
        for (line, expected) in [
            ("nonsense", "line 2: expected"),
            (r#"{"cart":"2","customer":"c"}"#, "missing field `lines`"),
            (r#"{"cart":"2","customer":"c","lines":[["a",-1]]}"#, "line 2: invalid value"),
            (r#"{"cart":"2","customer":"c","lines":[["a",0]]}"#, "line 2: a: the quantity"),
            (r#"{"cart":"2","customer":"c","lines":[["a",999],["a",1]]}"#, "1 to 999"),
            (r#"{"cart":"2","customer":"c","lines":[["x",1]]}"#, "line 2: the sku x is not"),
            (r#"{"cart":"2","customer":"c","lines":[["a",1],["e",1]]}"#, "one currency"),
            (r#"{"cart":"2","customer":"c","lines":[]}"#, "line 2: the cart has no lines"),
            (r#"{"cart":"2","customer":"a b","lines":[["a",1]]}"#, "`customer` must be"),
            (r#"{"cart":"","customer":"c","lines":[["a",1]]}"#, "`cart` must be"),
            (good, "line 2: the cart 1 is on line 1 already"),
        ] {
            let text = format!("{good}\n{line}\n");
            let error = format!("{:#}", read(&text, &catalog()).unwrap_err());
            assert!(error.contains(expected), "{line}: {error}");
        }
        assert!(read_one("\n\n").unwrap_err().contains("it has no carts"));
    }
}
