//! Form decoding as Stripe reads it: `a=1`, `a[b]=2`, `a[]=3`, in bodies and query strings.

use std::collections::BTreeMap;

use crate::error::StripeError;

/// Decoded pairs in the order they came; names keep their brackets.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    pub(crate) fn parse(raw: &[u8]) -> Result<Form, StripeError> {
        let mut pairs = Vec::new();
        for pair in raw.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            let middle = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            let value = pair.get(middle + 1..).unwrap_or_default();
            pairs.push((decode(&pair[..middle])?, decode(value)?));
        }
        Ok(Form { pairs })
    }

    /// The last value given for the name; an empty one counts as not given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, StripeError> {
        self.text(name).ok_or_else(|| {
            let message = format!("Missing required param: {name}.");
            StripeError::invalid("parameter_missing", name, message)
        })
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, StripeError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                let message = format!("Invalid integer: {text}");
                StripeError::invalid("parameter_invalid_integer", name, message)
            })
        };
        self.text(name).map(parse).transpose()
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<bool, StripeError> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => {
                let message = format!("Invalid boolean: {text}");
                Err(StripeError::invalid("parameter_invalid_boolean", name, message))
            }
        }
    }

    /// The values of `name[]=` and `name[0]=`.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let of_list = |key: &str| {
            bracketed(key, name).is_some_and(|index| index.bytes().all(|b| b.is_ascii_digit()))
        };
        self.pairs.iter().filter(|(key, _)| of_list(key)).map(|(_, value)| value.clone()).collect()
    }

    /// The entries of `name[key]=`.
    pub(crate) fn map(&self, name: &str) -> BTreeMap<String, String> {
        let entry = |(key, value): &(String, String)| {
            bracketed(key, name).map(|key| (key.to_owned(), value.clone()))
        };
        self.pairs.iter().filter_map(entry).collect()
    }

    /// Refuses what the endpoint does not know, as Stripe does.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), StripeError> {
        for (name, _) in &self.pairs {
            let root = name.split('[').next().unwrap_or(name);
            if !known.contains(&root) {
                let message = format!("Received unknown parameter: {name}");
                return Err(StripeError::invalid("parameter_unknown", name, message));
            }
        }
        Ok(())
    }

    /// The pairs sorted by name: the same for bodies that say the same.
    pub(crate) fn sorted(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<_> = self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        pairs.sort_by_key(|(name, _)| *name);
        pairs
    }
}

fn bracketed<'a>(key: &'a str, name: &str) -> Option<&'a str> {
    key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')
}

fn decode(raw: &[u8]) -> Result<String, StripeError> {
    let bad = || {
        let message = "The request could not be decoded as a form.";
        StripeError::invalid("parameter_invalid_string_blank", "body", message)
    };
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, tail) = tail.split_at_checked(2).ok_or_else(bad)?;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).map_err(|_| bad())?;
                bytes.push(byte[0]);
                rest = tail;
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nested_names_lists_and_escapes() {
        let form =
            Form::parse(b"amount=50&metadata%5Border_id%5D=a+b%26c&t[]=card&t[]=link&e=").unwrap();
        assert_eq!(form.integer("amount").unwrap(), Some(50));
        assert_eq!(form.map("metadata")["order_id"], "a b&c");
        assert_eq!(form.list("t"), ["card", "link"]);
        assert_eq!(form.text("e"), None);
    }

    #[test]
    fn refuses_what_is_not_a_form() {
        for raw in [&b"a=%"[..], b"a=%zz", b"a=%ff"] {
            assert!(Form::parse(raw).is_err(), "{raw:?}");
        }
        let form = Form::parse(b"amount=5x&shoe=1").unwrap();
        assert!(form.integer("amount").is_err());
        assert!(form.only(&["amount"]).is_err());
    }
}
