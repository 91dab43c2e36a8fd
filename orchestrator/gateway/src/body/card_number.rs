//! Card numbers are refused at the edge (PCI DSS 3.5.1: unreadable anywhere they are kept, logs too).

use serde_json::Value;

/// The digits a card number has (ISO/IEC 7812-1).
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// Whether anything in `value` - a text, a number, a member's name - looks like a card number, but for
/// the texts at these places: JSON pointers (RFC 6901) in which `*` is any item of a list.
pub fn is_in(value: &Value, except_at: &[&str]) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::String(text) => !except_at.contains(&"") && is_in_text(text),
        Value::Number(number) => is_in_number(number),
        Value::Array(items) => {
            let below = below(except_at, "*");
            items.iter().any(|item| is_in(item, &below))
        }
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| is_in_text(name) || is_in(value, &below(except_at, name))),
    }
}

/// What is left of the pointers that go on with `name`.
fn below<'a>(pointers: &[&'a str], name: &str) -> Vec<&'a str> {
    let rest = |pointer: &&'a str| pointer.strip_prefix('/')?.strip_prefix(name);
    let is_whole = |rest: &&str| rest.is_empty() || rest.starts_with('/');
    pointers.iter().filter_map(rest).filter(is_whole).collect()
}

fn is_in_number(number: &serde_json::Number) -> bool {
    match number.as_f64() {
        // Written with a point or an exponent: `4242424242424242.0`.
        Some(float) if number.is_f64() => is_in_text(&format!("{:.0}", float.abs())),
        _ => is_in_text(&number.to_string()),
    }
}

/// Groups of digits with one space or dash between them, as people write card numbers: whether some
/// groups next to each other are 13 to 19 digits with a right check digit.
fn is_in_text(text: &str) -> bool {
    let mut groups: Vec<&[u8]> = Vec::new();
    let mut rest = text.as_bytes();
    while let Some(start) = rest.iter().position(u8::is_ascii_digit) {
        if !matches!(&rest[..start], b" " | b"-") && is_card(&groups) {
            return true;
        }
        if !matches!(&rest[..start], b" " | b"-") {
            groups.clear();
        }
        rest = &rest[start..];
        let length = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        groups.push(&rest[..length]);
        rest = &rest[length..];
    }
    is_card(&groups)
}

fn is_card(groups: &[&[u8]]) -> bool {
    (0..groups.len()).any(|first| {
        let mut digits = Vec::with_capacity(*DIGITS.end());
        groups[first..].iter().any(|group| {
            if digits.len() + group.len() <= *DIGITS.end() {
                digits.extend_from_slice(group);
                DIGITS.contains(&digits.len()) && is_luhn(&digits)
            } else {
                // Too long from here on, whatever follows.
                digits.resize(*DIGITS.end() + 1, b'0');
                false
            }
        })
    })
}

/// The check digit of ISO/IEC 7812-1, annex B. All zeros is no card.
fn is_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') << (place % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum > 0 && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_card_number_is_found_wherever_it_stands() {
        let cards = [
            json!("4242424242424242"),
            json!("4242 4242 4242 4242"),
            json!("4242-4242-4242-4242"),
            json!("378282246310005"),
            json!("3782 822463 10005"),
            json!("4222222222222"),
            json!("6304000000000000000"),
            json!("pm_4242424242424242"),
            json!("my card is 5555 5555 5555 4444, thanks"),
            json!("no 12 4242 4242 4242 4242"),
            json!(4_242_424_242_424_242_u64),
            json!(-4_242_424_242_424_242_i64),
            json!(4_242_424_242_424_242.0_f64),
            json!({"a": [{"b": "4242424242424242"}]}),
            json!({"4242424242424242": 1}),
        ];
        for card in cards {
            assert!(is_in(&card, &[]), "{card}");
        }
    }

    #[test]
    fn a_text_is_free_only_where_it_is_said_to_be() {
        let free = ["/items/*/sku", "/note"];
        let number = "4222222222222";
        for body in [json!({"items": [{"sku": "1"}, {"sku": number}]}), json!({"note": number})] {
            assert!(!is_in(&body, &free), "{body}");
            assert!(is_in(&body, &[]), "{body}");
        }
        for body in [
            json!({"items": [{"sku": number}], "card": number}),
            json!({"items": [{"skus": number}]}),
            json!({"items": [{"sku": [number]}]}),
            json!({"items": [{"sku": {number: 1}}]}),
            json!({"items": [{"sku": 4_222_222_222_222_u64}]}),
            json!({"items": {"0": {"sku": number}}}),
            json!({"items": number}),
            json!({"sku": number}),
            json!([{"sku": number}]),
            json!({"note": {"note": number}}),
        ] {
            assert!(is_in(&body, &free), "{body}");
        }
    }

    #[test]
    fn other_numbers_are_none() {
        let others = [
            json!("4242424242424241"),
            json!("424242424242"),
            json!("42424242424242424242"),
            json!("0000000000000000"),
            json!("4242  4242  4242  4242"),
            json!("1095275"),
            json!("pm_card_visa"),
            json!(1095275),
            json!(0.5),
            json!({"sku": "1095275", "quantity": 1, "none": null, "yes": true}),
        ];
        for other in others {
            assert!(!is_in(&other, &[]), "{other}");
        }
    }
}
