//! Whom the server runs as: the calling user, or, since PostgreSQL refuses root, a lesser one.

use std::{
    fs, io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::{Uid, User, geteuid};

use crate::{binaries::Binaries, data_directory::DataDirectory, error::Error};

/// The user to become before PostgreSQL's programs are run.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// `None` unless running as root. As root: the owner of the data, else `postgres`, else
    /// `nobody`.
    pub(crate) fn choose(directory: &DataDirectory) -> Result<Option<Self>, Error> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let owner = fs::metadata(directory.cluster()).ok().map(|data| data.uid());
        let owner = owner.filter(|uid| *uid != 0).map(|uid| User::from_uid(Uid::from_raw(uid)));
        let users = owner.into_iter().chain(["postgres", "nobody"].map(User::from_name));
        let user = users.flatten().flatten().next().ok_or(Error::NoServerUser)?;
        Ok(Some(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }

    pub(crate) fn give(&self, path: &Path) -> Result<(), Error> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .map_err(Error::io("change the owner of", path))
    }

    /// Fails, naming the first directory in the way, if this user can not get to the data
    /// directory or to the binaries. Tried for real, so that access lists count.
    pub(crate) fn check_reach(&self, data_dir: &Path, binaries: &Binaries) -> Result<(), Error> {
        let program = binaries.program("postgres");
        let status = command(&program, Some(self))
            .arg("--version")
            .current_dir(data_dir)
            .stdout(Stdio::null())
            .status();
        let Err(error) = status else { return Ok(()) };
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(Error::Io { action: "run", path: program, source: error });
        }
        let in_the_way = self.first_closed(data_dir);
        let binaries = in_the_way.is_none();
        let directory = in_the_way
            .or_else(|| self.first_closed(binaries_parent(&program)))
            .unwrap_or_else(|| data_dir.to_owned());
        Err(Error::Unreachable { directory, user: self.name.clone(), binaries })
    }

    fn first_closed(&self, directory: &Path) -> Option<PathBuf> {
        let mut ancestors: Vec<_> = directory.ancestors().collect();
        ancestors.reverse();
        let closed = |path: &&Path| fs::metadata(path).is_ok_and(|data| !self.may_enter(&data));
        ancestors.into_iter().find(closed).map(Path::to_owned)
    }

    /// By the permission bits alone. Supplementary groups do not count: they are dropped too.
    pub(crate) fn may_enter(&self, directory: &fs::Metadata) -> bool {
        let bit = match () {
            () if directory.uid() == self.uid => 0o100,
            () if directory.gid() == self.gid => 0o010,
            () => 0o001,
        };
        directory.mode() & bit != 0
    }
}

fn binaries_parent(program: &Path) -> &Path {
    program.parent().unwrap_or(program)
}

/// A command for one of PostgreSQL's programs, with none of our environment: a superuser of the
/// database can read the server's.
pub(crate) fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(account) = account {
        // The standard library also empties root's supplementary groups before it sets the uid.
        command.uid(account.uid).gid(account.gid);
    }
    command
}
