//! The wall clock of a node's process, to set wrong: libfaketime, loaded into that process alone.

use std::io;
use std::path::{Path, PathBuf};

/// What to do where the library is missing.
pub(crate) const MISSING: &str = "libfaketime is not installed: `apt-get install faketime`";

/// Where it leaves something behind when its process is killed.
const SHARED_MEMORY: &str = "/dev/shm";

/// The library where Debian's package `faketime` puts it, in its form for programs with threads.
pub(crate) fn library() -> Option<PathBuf> {
    let places = std::fs::read_dir("/usr/lib").ok()?;
    let library = |place: std::fs::DirEntry| place.path().join("faketime/libfaketimeMT.so.1");
    places.flatten().map(library).find(|path| path.exists())
}

/// A clock that a process of its own goes by.
#[derive(Debug)]
pub(crate) struct WallClock {
    /// How far it is ahead, as the library reads it each second.
    file: PathBuf,
}

impl WallClock {
    /// One that is right, told by `file`.
    pub(crate) fn right(file: PathBuf) -> io::Result<Self> {
        let clock = Self { file };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it so many seconds ahead.
    pub(crate) fn set(&self, ahead_s: i64) -> io::Result<()> {
        // Whoever reads it meanwhile reads the old one or the new one.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{ahead_s:+}\n"))?;
        std::fs::rename(new, &self.file)
    }

    /// What makes a process go by it. Its monotonic clock stays the machine's, as when somebody sets a
    /// real clock; older versions of the library know that by its shorter name.
    pub(crate) fn variables(&self, library: &Path) -> [(&'static str, String); 5] {
        [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// Removes what the library shared within a process that was killed: another one that gets the same
    /// pid would not start.
    pub(crate) fn forget(&self, pid: u32) {
        for name in ["faketime_shm", "sem.faketime_sem"] {
            // A process that ended by itself has removed it.
            let _ = std::fs::remove_file(format!("{SHARED_MEMORY}/{name}_{pid}"));
        }
    }
}
