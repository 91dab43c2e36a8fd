//! Texts as PostgreSQL can hold them: it has no text and no `jsonb` with a NUL in it. The journal, whose
//! bytes are JSON, keeps what was said; its columns and the audit say it with U+FFFD instead.

use std::borrow::Cow;

use serde_json::Value;

/// A text that a column can hold.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

/// A value that a `jsonb` column can hold.
pub(super) fn storable_json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable(&text).into_owned()),
        Value::Array(values) => values.into_iter().map(storable_json).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            let storable =
                fields.map(|(name, value)| (storable(&name).into_owned(), storable_json(value)));
            Value::Object(storable.collect())
        }
        value => value,
    }
}
