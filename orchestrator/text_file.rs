//! A text file that somebody names, plain or gzipped.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use flate2::read::MultiGzDecoder;

/// What a gzipped file begins with (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// More is not read: it would be a mistake, or a bomb.
const BYTES_MAX: u64 = 1 << 30;

/// Its text; an error names the file.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read(path)
        .context("it can not be read")
        .and_then(|bytes| unpacked(&bytes))
        .with_context(|| path.display().to_string())
}

/// The text of bytes that may be gzipped.
pub(crate) fn unpacked(bytes: &[u8]) -> anyhow::Result<String> {
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

    /// Gzipped.
    const CARTS: &[u8] = include_bytes!("../tests/data/carts.jsonl.gz");

    #[test]
    fn a_file_is_read_plain_or_gzipped_and_named_when_it_can_not_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("carts");
        std::fs::write(&path, CARTS).unwrap();
        assert_eq!(read(&path).unwrap(), unpacked(CARTS).unwrap());
        std::fs::write(&path, "plain").unwrap();
        assert_eq!(read(&path).unwrap(), "plain");
        for damaged in [&CARTS[..1_000], b"\xff\xfe"] {
            std::fs::write(&path, damaged).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains("carts: it is"), "{error}");
        }
        let error = format!("{:#}", read(Path::new("/nowhere")).unwrap_err());
        assert!(error.starts_with("/nowhere: it can not be read"), "{error}");
    }
}
