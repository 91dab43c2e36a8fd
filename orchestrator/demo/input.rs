//! The demo's input: a file, plain or gzipped, or what is built into the program.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use flate2::read::MultiGzDecoder;

/// Public retail data; `tests/data/README.md` says whose.
const CARTS: &[u8] = include_bytes!("../../tests/data/carts.jsonl.gz");
const CATALOG: &[u8] = include_bytes!("../../tests/data/catalog.csv.gz");

/// What a gzipped file begins with (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// More is not a demo.
const BYTES_MAX: u64 = 1 << 30;

/// The carts, as text.
pub(super) fn carts(file: Option<&Path>) -> anyhow::Result<String> {
    text(file, CARTS)
}

/// The catalogue, as text.
pub(super) fn catalog(file: Option<&Path>) -> anyhow::Result<String> {
    text(file, CATALOG)
}

fn text(file: Option<&Path>, built_in: &[u8]) -> anyhow::Result<String> {
    match file {
        None => unpacked(built_in),
        Some(path) => std::fs::read(path)
            .context("it can not be read")
            .and_then(|bytes| unpacked(&bytes))
            .with_context(|| path.display().to_string()),
    }
}

fn unpacked(bytes: &[u8]) -> anyhow::Result<String> {
    let mut text = Vec::new();
    if bytes.starts_with(&GZIP) {
        let mut packed = MultiGzDecoder::new(bytes).take(BYTES_MAX);
        packed.read_to_end(&mut text).context("it is damaged: not all of it can be unpacked")?;
    } else {
        text.extend_from_slice(bytes);
    }
    String::from_utf8(text).context("it is not UTF-8 text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_can_be_read() {
        assert_eq!(carts(None).unwrap().lines().count(), 2_000);
        assert_eq!(catalog(None).unwrap().lines().count(), 9_735);
    }

    #[test]
    fn a_file_is_read_plain_or_gzipped_and_named_when_it_can_not_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("carts");
        std::fs::write(&path, CARTS).unwrap();
        assert_eq!(carts(Some(&path)).unwrap(), carts(None).unwrap());
        std::fs::write(&path, "plain").unwrap();
        assert_eq!(carts(Some(&path)).unwrap(), "plain");
        for damaged in [&CARTS[..1_000], b"\xff\xfe"] {
            std::fs::write(&path, damaged).unwrap();
            let error = format!("{:#}", carts(Some(&path)).unwrap_err());
            assert!(error.contains("carts: it is"), "{error}");
        }
        let error = format!("{:#}", carts(Some(Path::new("/nowhere"))).unwrap_err());
        assert!(error.starts_with("/nowhere: it can not be read"), "{error}");
    }
}
