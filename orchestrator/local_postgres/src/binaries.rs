//! Finds the PostgreSQL installations of this machine, newest first.

use std::{
    cmp::Reverse,
    collections::HashSet,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::{Error, MAJOR_VERSION_MIN};

/// The bin directory of the newest installed PostgreSQL: the one `AMENDS_PG_BIN` names, else the
/// newest of `PATH` and the places where Debian, Red Hat and Homebrew put it.
///
/// # Errors
/// [`Error::BinariesNotFound`], [`Error::BinariesVariable`], [`Error::TooOld`].
pub fn find_binaries() -> Result<PathBuf, Error> {
    Ok(installed()?.swap_remove(0).directory)
}

/// One installation that can run a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    pub(crate) directory: PathBuf,
    pub(crate) major: u32,
}

impl Binaries {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// All usable installations, newest first; never empty.
pub(crate) fn installed() -> Result<Vec<Binaries>, Error> {
    match env::var_os("AMENDS_PG_BIN").filter(|value| !value.is_empty()) {
        Some(directory) => named(directory.into()).map(|binaries| vec![binaries]),
        None => newest_first(candidates(env::var_os("PATH"))),
    }
}

fn named(directory: PathBuf) -> Result<Binaries, Error> {
    for missing in ["initdb", "postgres"] {
        if !directory.join(missing).is_file() {
            return Err(Error::BinariesVariable { directory, missing });
        }
    }
    let Some(major) = major_version(&directory) else {
        return Err(Error::BinariesVariable { directory, missing: "postgres" });
    };
    newest_first_of(vec![Binaries { directory, major }]).map(|mut found| found.swap_remove(0))
}

fn candidates(path: Option<OsString>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        path.map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/usr/local/opt", "postgresql"),
        ("/opt/homebrew/opt", "postgresql"),
    ] {
        let Ok(entries) = fs::read_dir(parent) else { continue };
        let mut below: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join("bin"))
            .collect();
        below.sort();
        found.append(&mut below);
    }
    found
}

fn newest_first(candidates: Vec<PathBuf>) -> Result<Vec<Binaries>, Error> {
    let mut seen = HashSet::new();
    let found = candidates
        .into_iter()
        .filter(|directory| directory.is_absolute())
        .filter_map(|directory| real_directory(&directory))
        .filter(|directory| seen.insert(directory.clone()))
        .filter_map(|directory| {
            let major = major_version(&directory)?;
            Some(Binaries { directory, major })
        })
        .collect();
    newest_first_of(found)
}

/// The directory the programs are really in: `PATH` may lead to links to some of them.
fn real_directory(directory: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(directory.join("postgres")).ok()?.parent()?.to_owned();
    let complete = real.join("postgres").is_file() && real.join("initdb").is_file();
    complete.then_some(real)
}

fn newest_first_of(mut found: Vec<Binaries>) -> Result<Vec<Binaries>, Error> {
    found.sort_by_key(|binaries| Reverse(binaries.major));
    let newest = found.first().cloned().ok_or(Error::BinariesNotFound)?;
    found.retain(|binaries| binaries.major >= MAJOR_VERSION_MIN);
    if found.is_empty() {
        return Err(Error::TooOld { directory: newest.directory, major: newest.major });
    }
    Ok(found)
}

fn major_version(directory: &Path) -> Option<u32> {
    let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `18beta1` and `19devel` alike.
fn parse_major(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("(PostgreSQL) ")?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fake(parent: &Path, name: &str, version: &str) -> PathBuf {
        let bin = parent.join(name).join("bin");
        fs::create_dir_all(&bin).unwrap();
        for program in ["postgres", "initdb"] {
            let path = bin.join(program);
            fs::write(&path, format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n"))
                .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        bin
    }

    #[test]
    fn no_binaries_says_how_to_install_them() {
        let error = newest_first(vec![PathBuf::from("/nonexistent")]).unwrap_err();
        let text = error.to_string();
        for line in [
            "sudo apt-get install postgresql",
            "sudo dnf install postgresql-server",
            "brew install postgresql",
            "docker run",
            "AMENDS_DATABASE_URL",
            "INVENTORY_DATABASE_URL",
            "ORDERS_DATABASE_URL",
        ] {
            assert!(text.contains(line), "{line} is not in: {text}");
        }
    }

    #[test]
    fn newest_comes_first_and_old_ones_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let bins: Vec<_> = [("a", "13.4"), ("b", "9.6.1"), ("c", "16.2"), ("d", "18beta1")]
            .map(|(name, version)| fake(dir.path(), name, version))
            .into();
        let found = newest_first(bins.clone()).unwrap();
        let majors: Vec<_> = found.iter().map(|binaries| binaries.major).collect();
        assert_eq!(majors, [18, 16]);
        assert_eq!(found[0].directory, bins[3].canonicalize().unwrap());
    }

    #[test]
    fn links_lead_to_the_installation_which_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let bin = fake(dir.path(), "a", "17.1");
        let links = dir.path().join("links");
        fs::create_dir(&links).unwrap();
        std::os::unix::fs::symlink(bin.join("postgres"), links.join("postgres")).unwrap();
        let found = newest_first(vec![links, bin.clone()]).unwrap();
        assert_eq!(found, [Binaries { directory: bin.canonicalize().unwrap(), major: 17 }]);
    }

    #[test]
    fn only_old_ones_is_an_error_that_names_the_version() {
        let dir = tempfile::tempdir().unwrap();
        let error = newest_first(vec![fake(dir.path(), "a", "13.4")]).unwrap_err();
        assert!(matches!(error, Error::TooOld { major: 13, .. }), "{error}");
        assert!(matches!(
            named(fake(dir.path(), "b", "12.1")).unwrap_err(),
            Error::TooOld { major: 12, .. }
        ));
    }

    #[test]
    fn a_wrong_variable_is_named_with_what_it_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let text = named(dir.path().to_owned()).unwrap_err().to_string();
        assert!(text.contains("AMENDS_PG_BIN is "), "{text}");
        assert!(text.contains("bin directory of a PostgreSQL 14 or newer"), "{text}");
    }

    #[test]
    fn versions_of_all_kinds_are_read() {
        let cases = [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL) 9.6.24", Some(9)),
            ("postgres (PostgreSQL) 17", Some(17)),
            ("something else", None),
        ];
        for (text, major) in cases {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }
}
