//! `ETag`, `If-None-Match` and `If-Match` over a saga's `rev` (RFC 9110, section 13).

use axum::http::{HeaderMap, HeaderValue, header};

use crate::problem::{INVALID_HEADER, Problem};

/// The tag of a representation at `rev`.
pub fn etag(rev: i32) -> HeaderValue {
    // A quoted number is a header's value.
    HeaderValue::from_str(&format!("\"{rev}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// Whether the caller has the representation at `rev` already.
pub fn has(headers: &HeaderMap, rev: i32) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|tag| {
        let tag = tag.trim();
        // Weak comparison: `W/"3"` is `"3"`.
        tag == "*" || strong(tag.strip_prefix("W/").unwrap_or(tag)) == Some(rev)
    })
}

/// The `rev` that the caller's action is meant for; none: whatever it is now.
pub fn if_match(headers: &HeaderMap) -> Result<Option<i32>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(tag)), None) if tag.trim() == "*" => Ok(None),
        (Some(Ok(tag)), None) if strong(tag.trim()).is_some() => Ok(strong(tag.trim())),
        _ => Err(Problem::new(&INVALID_HEADER)
            .detail("If-Match must be one rev in quotes, as in `If-Match: \"12\"`.")),
    }
}

fn strong(tag: &str) -> Option<i32> {
    let rev = tag.strip_prefix('"')?.strip_suffix('"')?;
    rev.bytes().all(|byte| byte.is_ascii_digit()).then(|| rev.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_caller_has_what_it_names() {
        assert_eq!(etag(37), "\"37\"");
        for (value, has_it) in [
            ("\"37\"", true),
            ("W/\"37\"", true),
            ("\"1\", \"37\"", true),
            ("*", true),
            ("\"38\"", false),
            ("37", false),
            ("", false),
        ] {
            assert_eq!(has(&headers(header::IF_NONE_MATCH, value), 37), has_it, "{value}");
        }
        assert!(!has(&HeaderMap::new(), 37));
    }

    #[test]
    fn an_action_is_meant_for_one_rev() {
        let read = |value| if_match(&headers(header::IF_MATCH, value)).map_err(|p| p.code().name);
        assert_eq!(read("\"37\""), Ok(Some(37)));
        assert_eq!(read("*"), Ok(None));
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        for garbage in
            ["37", "\"a\"", "\"\"", "\"1\", \"2\"", "W/\"3\"", "\"99999999999\"", "\"-1\""]
        {
            assert_eq!(read(garbage), Err("invalid_header"), "{garbage}");
        }
    }
}
