//! The query of a list: filters, cursor and length, each checked, none ignored.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use engine::SagaId;
use engine::operator::Filter;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::{FieldError, INVALID_QUERY, Problem};

/// The most sagas of a page, and how many there are unless something else is said.
pub(crate) const LIMIT_MAX: u32 = 200;
const LIMIT: u32 = 50;

const KNOWN: &str = "open, workflow, ending, phase, direction, step, dependency, fingerprint, \
     attention, stuck, before, limit";

/// Which page of which sagas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) filter: Filter,
    pub(super) before: Option<SagaId>,
    pub(super) limit: u32,
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        parse(pairs.map_err(|_| Problem::new(&INVALID_QUERY))?.0)
    }
}

fn parse(pairs: Vec<(String, String)>) -> Result<Listing, Problem> {
    let mut listing = Listing { filter: Filter::default(), before: None, limit: LIMIT };
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for (name, value) in pairs {
        let result = match seen.contains(&name) {
            true => Err(("twice", "is given twice".to_owned())),
            false => set(&mut listing, &name, value),
        };
        if let Err((code, detail)) = result {
            errors.push(FieldError { pointer: format!("?{name}"), code, detail });
        }
        seen.push(name);
    }
    match errors.is_empty() {
        true => Ok(listing),
        false => Err(Problem::new(&INVALID_QUERY).errors(errors)),
    }
}

type Wrong = (&'static str, String);

fn set(listing: &mut Listing, name: &str, value: String) -> Result<(), Wrong> {
    let filter = &mut listing.filter;
    match name {
        "open" => filter.open = Some(yes_or_no(&value)?),
        "attention" => filter.attention = Some(yes_or_no(&value)?),
        "stuck" => filter.stuck = Some(yes_or_no(&value)?),
        "workflow" => filter.workflow = Some(text(value)?),
        "step" => filter.step = Some(text(value)?),
        "dependency" => filter.dependency = Some(text(value)?),
        "fingerprint" => filter.fingerprint = Some(text(value)?),
        "phase" => {
            filter.phase = Some(word(value, "running, waiting, retrying, held or ended")?);
        }
        "ending" => {
            filter.ending =
                Some(word(value, "completed, undone, cancelled or closed_with_residue")?);
        }
        "direction" => filter.direction = Some(word(value, "forward or backward")?),
        "before" => {
            let id = value.parse().map_err(|_| ("wrong_type", "must be a saga's id".to_owned()))?;
            listing.before = Some(id);
        }
        "limit" => {
            let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
            let wrong = || ("out_of_range", format!("must be 1 to {LIMIT_MAX}"));
            listing.limit = limit.ok_or_else(wrong)?;
        }
        _ => return Err(("unknown_field", format!("is no filter; known: {KNOWN}"))),
    }
    Ok(())
}

fn yes_or_no(value: &str) -> Result<bool, Wrong> {
    value.parse().map_err(|_| ("wrong_type", "must be true or false".to_owned()))
}

fn text(value: String) -> Result<String, Wrong> {
    match value.chars().count() {
        1..=200 if !value.contains('\0') => Ok(value),
        _ => Err(("out_of_range", "must have 1 to 200 characters".to_owned())),
    }
}

fn word<T: DeserializeOwned>(value: String, must_be: &str) -> Result<T, Wrong> {
    serde_json::from_value(Value::String(value))
        .map_err(|_| ("out_of_range", format!("must be {must_be}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Listing, Vec<String>> {
        let uri = format!("/?{query}").parse().unwrap();
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
        parse(pairs).map_err(|problem| {
            let body = problem.body("");
            let errors = body["errors"].as_array().unwrap();
            errors
                .iter()
                .map(|e| {
                    format!("{} {}", e["pointer"].as_str().unwrap(), e["code"].as_str().unwrap())
                })
                .collect()
        })
    }

    #[test]
    fn filters_are_read() {
        let listing = read("open=true&phase=held&step=charge-payment&limit=200").unwrap();
        assert_eq!(listing.filter.open, Some(true));
        assert_eq!(listing.filter.phase, Some(engine::view::Phase::Held));
        assert_eq!(listing.filter.step.as_deref(), Some("charge-payment"));
        assert_eq!((listing.limit, listing.before), (200, None));
        assert_eq!(read("").unwrap().limit, 50);
    }

    #[test]
    fn a_filter_that_can_not_be_used_is_never_ignored() {
        let wrong = read("limit=1000000000&offset=5&open=1&before=x&phase=dead&step=&open=true")
            .unwrap_err();
        let expected = [
            "?limit out_of_range",
            "?offset unknown_field",
            "?open wrong_type",
            "?before wrong_type",
            "?phase out_of_range",
            "?step out_of_range",
            "?open twice",
        ];
        assert_eq!(wrong, expected);
        assert!(
            read("limit=0").is_err() && read("limit=201").is_err() && read("limit=-1").is_err()
        );
    }
}
