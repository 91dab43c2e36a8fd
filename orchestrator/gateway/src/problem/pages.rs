//! The pages at `/problems/{code}`: what each problem means and what to do, as plain text.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::problem::{Code, Problem, ROUTE_NOT_FOUND};

/// Every table of problems that a server can answer with.
#[derive(Clone, Debug)]
pub struct Pages(Arc<[&'static [&'static Code]]>);

const MARKDOWN: [(header::HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "text/markdown; charset=utf-8"),
    (header::CACHE_CONTROL, "public, max-age=3600"),
];

impl Pages {
    /// The doors' own table and `more`.
    pub fn new(more: &[&'static [&'static Code]]) -> Self {
        Self([&[super::ALL], more].concat().into())
    }

    /// The code of this name.
    pub fn find(&self, name: &str) -> Option<&'static Code> {
        self.codes().find(|code| code.name == name)
    }

    fn codes(&self) -> impl Iterator<Item = &'static Code> {
        self.0.iter().flat_map(|table| table.iter().copied())
    }
}

/// `GET /problems/{code}`
pub(crate) async fn page(State(pages): State<Pages>, Path(name): Path<String>) -> Response {
    match pages.find(&name) {
        Some(code) => (MARKDOWN, markdown(code)).into_response(),
        None => Problem::new(&ROUTE_NOT_FOUND)
            .detail("There is no problem of this name; /problems lists all.")
            .into_response(),
    }
}

/// `GET /problems`
pub(crate) async fn index(State(pages): State<Pages>) -> Response {
    let mut text = String::from("# Problems\n\n");
    for code in pages.codes() {
        // Writing to a String can not fail.
        let _ =
            writeln!(text, "- [{0}](/problems/{0}) ({1}): {2}", code.name, code.status, code.title);
    }
    (MARKDOWN, text).into_response()
}

fn markdown(code: &Code) -> String {
    let Code { name, status, title, explanation, action, retry } = code;
    let retry = match (retry.allowed, retry.same_key) {
        (false, _) => "no, it will fail again",
        (true, true) => "yes, with the same Idempotency-Key if the request has one",
        (true, false) => "yes, but with a new Idempotency-Key",
    };
    format!(
        "# {title}\n\nCode `{name}`, HTTP status {status}.\n\n{explanation}\n\n\
         ## What to do\n\n{action}\n\nSend it again: {retry}.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_one_page_that_says_what_to_do() {
        let pages = Pages::new(&[]);
        let mut names: Vec<_> = pages.codes().map(|code| code.name).collect();
        for code in pages.codes() {
            let page = markdown(code);
            assert!(page.contains(code.title) && page.contains(code.action), "{}", code.name);
            assert!((400..600).contains(&code.status), "{}", code.name);
            assert!(
                code.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{}",
                code.name
            );
            for text in [code.explanation, code.action] {
                assert!(text.ends_with('.'), "{}", code.name);
            }
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), pages.codes().count());
    }
}
