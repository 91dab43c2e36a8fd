//! Which sagas a command is for: ids on the line, or with `-` one a line on stdin.

use std::io::{BufRead, stdin};

use engine::SagaId;

use super::http::Failure;

/// The most sagas of one command.
const IDS_MAX: usize = 10_000;

pub(super) fn one(text: &str) -> Result<SagaId, Failure> {
    text.parse().map_err(|_| {
        Failure::usage(format!("`{text}` is not a saga's id"))
            .help("an id is a UUID; `amends list -o ids` prints them")
    })
}

/// At least one, each once.
pub(super) fn many(texts: &[String]) -> Result<Vec<SagaId>, Failure> {
    match texts {
        [dash] if dash == "-" => read(stdin().lock().lines().map_while(Result::ok)),
        texts => read(texts.iter().cloned()),
    }
}

fn read(texts: impl Iterator<Item = String>) -> Result<Vec<SagaId>, Failure> {
    let mut ids = Vec::new();
    for text in texts {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let id = one(text)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() > IDS_MAX {
            return Err(Failure::usage(format!("more than {IDS_MAX} sagas at once")));
        }
    }
    match ids.is_empty() {
        true => Err(Failure::usage("no saga is named")
            .help("name ids, or pipe them: `amends list is:stuck -o ids | amends retry - ..`")),
        false => Ok(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_one_a_line() {
        let id = "0190a5d0-0000-7000-8000-000000000001";
        let lines = [id, "", " 0190a5d0-0000-7000-8000-000000000002 ", id].map(str::to_owned);
        assert_eq!(read(lines.into_iter()).unwrap().len(), 2);
        let error = many(&["ord_1".to_owned()]).unwrap_err();
        assert!(error.message.contains("ord_1") && error.help[0].contains("amends list"));
        assert!(read(std::iter::empty()).is_err());
    }
}
