//! What a body must be: reads fields one by one and collects everything that is wrong.
//!
//! ```
//! use gateway::body::fields::{Errors, Fields};
//! let body = serde_json::json!({"name": "", "agge": 3});
//! let mut errors = Errors::default();
//! if let Some(mut fields) = Fields::of(&body, &mut errors) {
//!     fields.required("name", &mut errors).and_then(|name| name.text(1..=20, &mut errors));
//!     fields.end(&mut errors);
//! }
//! assert_eq!(errors.problem().unwrap_err().body("")["errors"].as_array().map(Vec::len), Some(2));
//! ```

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::problem::{FieldError, INVALID_REQUEST, Problem};

/// The most errors that are listed.
const ERRORS_MAX: usize = 200;

/// What is wrong so far.
#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// One more.
    pub fn push(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) {
        if self.0.len() < ERRORS_MAX {
            let (pointer, detail) = (pointer.into(), detail.into());
            self.0.push(FieldError { pointer, code, detail });
        }
    }

    /// Whether all is well.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing, if all is well; else the problem that lists them.
    pub fn problem(self) -> Result<(), Problem> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(Problem::new(&INVALID_REQUEST).detail("1 field needs fixing.").errors(self.0)),
            n => Err(Problem::new(&INVALID_REQUEST)
                .detail(format!("{n} fields need fixing."))
                .errors(self.0)),
        }
    }
}

/// The members of an object, while they are read.
#[derive(Debug)]
pub struct Fields<'a> {
    members: &'a Map<String, Value>,
    pointer: String,
    known: Vec<&'static str>,
}

/// One member or item.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    value: &'a Value,
    pointer: String,
}

impl<'a> Fields<'a> {
    /// The members of the whole body.
    pub fn of(body: &'a Value, errors: &mut Errors) -> Option<Self> {
        Field { value: body, pointer: String::new() }.object(errors)
    }

    /// A member that must be there; `null` is not.
    pub fn required(&mut self, name: &'static str, errors: &mut Errors) -> Option<Field<'a>> {
        let field = self.optional(name);
        if field.is_none() {
            errors.push(self.pointer_to(name), "missing", "is required");
        }
        field
    }

    /// A member that may be missing, or `null`.
    pub fn optional(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.known.push(name);
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        Some(Field { value, pointer: self.pointer_to(name) })
    }

    /// All known members were asked for: every other is an error.
    pub fn end(self, errors: &mut Errors) {
        for name in self.members.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let detail = format!("is not a field of this object; known: {}", self.known.join(", "));
            errors.push(self.pointer_to(name), "unknown_field", detail);
        }
    }

    fn pointer_to(&self, name: &str) -> String {
        // RFC 6901, section 3.
        format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"))
    }
}

impl<'a> Field<'a> {
    /// Where it stands.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The value as it is.
    pub fn json(&self) -> &'a Value {
        self.value
    }

    /// An object.
    pub fn object(self, errors: &mut Errors) -> Option<Fields<'a>> {
        match self.value.as_object() {
            Some(members) => Some(Fields { members, pointer: self.pointer, known: Vec::new() }),
            None => self.wrong_type("an object", errors),
        }
    }

    /// A list of so many items.
    pub fn list(&self, len: RangeInclusive<usize>, errors: &mut Errors) -> Option<Vec<Self>> {
        let Some(items) = self.value.as_array() else { return self.wrong_type("a list", errors) };
        if !len.contains(&items.len()) {
            let (from, to, is) = (len.start(), len.end(), items.len());
            return self.out_of_range(format!("must have {from} to {to} items, has {is}"), errors);
        }
        let items = items.iter().enumerate();
        Some(
            items
                .map(|(i, value)| Self { value, pointer: format!("{}/{i}", self.pointer) })
                .collect(),
        )
    }

    /// A whole number in a range.
    pub fn integer(&self, range: RangeInclusive<i64>, errors: &mut Errors) -> Option<i64> {
        let (from, to) = (range.start(), range.end());
        match (self.value.as_i64(), self.value.is_u64()) {
            (Some(number), _) if range.contains(&number) => Some(number),
            (None, false) => self.wrong_type("a whole number", errors),
            _ => {
                let is = self.value;
                self.out_of_range(format!("must be {from} to {to}, is {is}"), errors)
            }
        }
    }

    /// A text of so many characters, without white space at its ends and without control characters.
    pub fn text(&self, len: RangeInclusive<usize>, errors: &mut Errors) -> Option<&'a str> {
        let Some(text) = self.value.as_str() else { return self.wrong_type("a text", errors) };
        let (from, to, is) = (len.start(), len.end(), text.chars().count());
        if !len.contains(&is) {
            return self
                .out_of_range(format!("must have {from} to {to} characters, has {is}"), errors);
        }
        if text.chars().any(char::is_control) || text.trim() != text {
            errors.push(&self.pointer, "invalid_characters", "must be visible characters");
            return None;
        }
        Some(text)
    }

    /// A text without any white space.
    pub fn word(&self, len: RangeInclusive<usize>, errors: &mut Errors) -> Option<&'a str> {
        let text = self.text(len, errors)?;
        if text.chars().any(char::is_whitespace) {
            errors.push(
                &self.pointer,
                "invalid_characters",
                "must be visible characters, no spaces",
            );
            return None;
        }
        Some(text)
    }

    /// Says what is wrong with it.
    pub fn wrong<T>(
        &self,
        code: &'static str,
        detail: impl Into<String>,
        errors: &mut Errors,
    ) -> Option<T> {
        errors.push(&self.pointer, code, detail);
        None
    }

    fn wrong_type<T>(&self, must_be: &str, errors: &mut Errors) -> Option<T> {
        let is = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.wrong("wrong_type", format!("must be {must_be}, is {is}"), errors)
    }

    fn out_of_range<T>(&self, detail: String, errors: &mut Errors) -> Option<T> {
        self.wrong("out_of_range", detail, errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &Value) -> Vec<(String, &'static str)> {
        let mut errors = Errors::default();
        if let Some(mut fields) = Fields::of(body, &mut errors) {
            fields.required("name", &mut errors).and_then(|name| name.word(1..=3, &mut errors));
            if let Some(items) =
                fields.required("items", &mut errors).and_then(|f| f.list(1..=2, &mut errors))
            {
                for item in items {
                    item.integer(1..=9, &mut errors);
                }
            }
            fields
                .optional("o")
                .and_then(|o| o.object(&mut errors))
                .into_iter()
                .for_each(|o| o.end(&mut errors));
            fields.end(&mut errors);
        }
        errors.0.into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let body = json!({"name": 1, "items": [0, 1.5], "o": {"a/b~": 1}, "price": 1});
        let mut wrong = read(&body);
        wrong.sort();
        let expected = [
            ("/items/0", "out_of_range"),
            ("/items/1", "wrong_type"),
            ("/name", "wrong_type"),
            ("/o/a~1b~0", "unknown_field"),
            ("/price", "unknown_field"),
        ];
        assert_eq!(wrong, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
        assert_eq!(read(&json!({"name": "abc", "items": [1], "o": null})), []);
    }

    #[test]
    fn each_field_is_held_to_its_range() {
        let codes = |body| read(&body).into_iter().map(|(_, code)| code).collect::<Vec<_>>();
        assert_eq!(codes(json!([])), ["wrong_type"]);
        assert_eq!(codes(json!({})), ["missing", "missing"]);
        for name in ["", "abcd"] {
            assert_eq!(codes(json!({"name": name, "items": [1]})), ["out_of_range"]);
        }
        for name in ["a b", " a", "a\u{0}"] {
            assert_eq!(codes(json!({"name": name, "items": [1]})), ["invalid_characters"]);
        }
        for items in [json!([]), json!([1, 2, 3]), json!([u64::MAX]), json!([-1])] {
            assert_eq!(codes(json!({"name": "a", "items": items})), ["out_of_range"]);
        }
    }
}
