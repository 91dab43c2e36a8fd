//! The demo's input: a file, plain or gzipped, or what is built into the program.

use std::path::Path;

use crate::text_file;

/// Public retail data; `tests/data/README.md` says whose.
const CARTS: &[u8] = include_bytes!("../../tests/data/carts.jsonl.gz");
const CATALOG: &[u8] = include_bytes!("../../tests/data/catalog.csv.gz");

/// The carts, as text.
pub(super) fn carts(file: Option<&Path>) -> anyhow::Result<String> {
    text(file, CARTS)
}

/// The catalogue, as text.
pub(super) fn catalog(file: Option<&Path>) -> anyhow::Result<String> {
    text(file, CATALOG)
}

fn text(file: Option<&Path>, built_in: &[u8]) -> anyhow::Result<String> {
    file.map_or_else(|| text_file::unpacked(built_in), text_file::read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_can_be_read() {
        assert_eq!(carts(None).unwrap().lines().count(), 2_000);
        assert_eq!(catalog(None).unwrap().lines().count(), 9_735);
    }
}
