//! Initialises a database cluster, so that a kill at any moment leaves none or a whole one.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Output,
};

use uuid::Uuid;

use crate::{
    account::{Account, command},
    binaries::Binaries,
    data_directory::{DataDirectory, STAGING_PREFIX, write_secret},
    error::Error,
};

/// The superuser of a private server.
pub(crate) const SUPERUSER: &str = "amends";

/// Runs `initdb` in a staging directory, then renames the result into its place. The caller holds
/// the lock.
pub(crate) fn initialise(
    directory: &DataDirectory,
    binaries: &Binaries,
    account: Option<&Account>,
) -> Result<(), Error> {
    let password = random_password();
    // A new name each time: an `initdb` that outlived its killed parent may still write to its own.
    let staging = directory.root().join(format!("{STAGING_PREFIX}{}", Uuid::new_v4().as_simple()));
    fs::DirBuilder::new().mode(0o700).create(&staging).map_err(Error::io("create", &staging))?;
    let result = initialise_in(&staging, directory, binaries, account, &password);
    let _ = fs::remove_dir_all(&staging);
    result
}

/// What killed processes left behind. What can not be removed now is tried again next time.
pub(crate) fn remove_abandoned(directory: &DataDirectory) {
    let Ok(entries) = fs::read_dir(directory.root()) else { return };
    let abandoned = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX));
    for path in abandoned.map(|entry| entry.path()).collect::<Vec<PathBuf>>() {
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::debug!(path = %path.display(), %error, "an abandoned directory stays");
        }
    }
}

fn initialise_in(
    staging: &Path,
    directory: &DataDirectory,
    binaries: &Binaries,
    account: Option<&Account>,
    password: &str,
) -> Result<(), Error> {
    let password_file = staging.join("password");
    write_secret(&password_file, password).map_err(Error::io("write", &password_file))?;
    if let Some(account) = account {
        account.give(staging)?;
        account.give(&password_file)?;
    }
    let cluster = staging.join("postgres");
    // Not every system has C.UTF-8; C sorts the same and differs in upper and lower case only.
    let mut output = initdb(&cluster, &password_file, binaries, account, "C.UTF-8")?;
    if !output.status.success() && said(&output).contains("locale") {
        let _ = fs::remove_dir_all(&cluster);
        output = initdb(&cluster, &password_file, binaries, account, "C")?;
    }
    if !output.status.success() {
        let output = format!("{} ({})", said(&output).trim(), output.status);
        return Err(Error::Initialise { data_dir: directory.root().to_owned(), output });
    }
    // The password first: a cluster in its place is always one whose password is known.
    directory.write_password(password)?;
    let place = directory.cluster();
    fs::rename(&cluster, &place).map_err(Error::io("create", &place))?;
    fs::File::open(directory.root())
        .and_then(|root| root.sync_all())
        .map_err(Error::io("write", directory.root()))
}

fn initdb(
    cluster: &Path,
    password_file: &Path,
    binaries: &Binaries,
    account: Option<&Account>,
    locale: &str,
) -> Result<Output, Error> {
    let program = binaries.program("initdb");
    command(&program, account)
        .current_dir("/")
        .arg("--pgdata")
        .arg(cluster)
        .arg("--pwfile")
        .arg(password_file)
        .args(["--username", SUPERUSER, "--auth", "scram-sha-256"])
        .args(["--encoding", "UTF8", "--locale", locale, "--lc-messages", "C"])
        .args(["--data-checksums", "--no-instructions"])
        .output()
        .map_err(Error::io("run", program))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// 244 random bits, in letters that need no escaping in a URL.
fn random_password() -> String {
    hex::encode([Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat())
}
