//! The data directory: where it is, what lies in it, who may enter it.

use std::{
    env, fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{User, geteuid};

use crate::{account::Account, error::Error};

/// Where a private server keeps its data unless told otherwise: `$AMENDS_DATA_DIR`; as root
/// `/var/lib/amends`, which the user that PostgreSQL runs as can reach; else
/// `$XDG_DATA_HOME/amends`, else `~/.local/share/amends`.
///
/// # Errors
/// [`Error::NoHome`] if none of these is known.
pub fn default_data_dir() -> Result<PathBuf, Error> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = variable("AMENDS_DATA_DIR") {
        return Ok(directory);
    }
    if geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/amends"));
    }
    if let Some(data) = variable("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
        return Ok(data.join("amends"));
    }
    let home = variable("HOME")
        .or_else(|| User::from_uid(geteuid()).ok().flatten().map(|user| user.dir))
        .ok_or(Error::NoHome)?;
    Ok(home.join(".local/share/amends"))
}

/// The paths in a data directory. Only the cluster belongs to the user the server runs as; the
/// rest to the calling user.
#[derive(Debug, Clone)]
pub(crate) struct DataDirectory {
    root: PathBuf,
}

impl DataDirectory {
    /// Creates it if need be.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let refused = |source| Error::DataDir { data_dir: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(refused)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(refused(error));
            }
            _ => {}
        }
        Ok(Self { root: fs::canonicalize(path).map_err(refused)? })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What PostgreSQL calls its data directory.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// Where the server may have its Unix socket, which is a third cheaper to talk through than TCP: with
    /// its data, where nobody else gets. None: the path would be too long for one, or has characters that
    /// mean something in PostgreSQL's setting or in a URL.
    pub(crate) fn sockets(&self) -> Option<String> {
        let path = self.cluster().into_os_string().into_string().ok()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        let fits = path.len() + "/.s.PGSQL.65535.lock".len() < SOCKET_PATH_BYTES_MAX;
        (fits && path.bytes().all(is_plain)).then_some(path)
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("owner.lock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    fn password(&self) -> PathBuf {
        self.root.join("password")
    }

    /// The major version that wrote the cluster; `None` if there is none yet.
    pub(crate) fn cluster_version(&self) -> Option<String> {
        let version = fs::read_to_string(self.cluster().join("PG_VERSION")).ok()?;
        Some(version.trim().to_owned())
    }

    /// A name for the cluster that its processes show in the process list. It is the identity of
    /// the directory itself, so it can not be that of another machine's or container's cluster of
    /// the same path.
    pub(crate) fn cluster_name(&self) -> Result<String, Error> {
        let path = self.cluster();
        let data = fs::metadata(&path).map_err(Error::io("look at", path))?;
        Ok(format!("amends-{:x}-{:x}", data.dev(), data.ino()))
    }

    /// Opens the lock file; nothing is locked yet.
    pub(crate) fn open_lock(&self) -> Result<fs::File, Error> {
        fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.lock())
            .map_err(|source| Error::DataDir { data_dir: self.root.clone(), source })
    }

    /// Lets the server's user pass through, if the directory is ours to open: one that holds
    /// nothing but what we put there.
    pub(crate) fn admit(&self, account: &Account) -> Result<(), Error> {
        let data = fs::metadata(&self.root).map_err(Error::io("look at", &self.root))?;
        if account.may_enter(&data) || !self.is_ours()? {
            return Ok(());
        }
        fs::set_permissions(&self.root, fs::Permissions::from_mode(data.mode() | 0o011))
            .map_err(Error::io("change the permissions of", &self.root))
    }

    fn is_ours(&self) -> Result<bool, Error> {
        let ours = ["postgres", "password", "owner.lock", "server.log", "server.log.1"];
        let entries = fs::read_dir(&self.root).map_err(Error::io("list", &self.root))?;
        for entry in entries {
            let name = entry.map_err(Error::io("list", &self.root))?.file_name();
            let name = name.to_string_lossy();
            if !ours.contains(&name.as_ref()) && !name.starts_with(STAGING_PREFIX) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn read_password(&self) -> Result<String, Error> {
        let path = self.password();
        match fs::read_to_string(&path) {
            Ok(password) => Ok(password.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::PasswordMissing { path })
            }
            Err(source) => Err(Error::Io { action: "read", path, source }),
        }
    }

    pub(crate) fn write_password(&self, password: &str) -> Result<(), Error> {
        let path = self.password();
        write_secret(&path, password).map_err(Error::io("write", path))
    }
}

/// `sun_path` of the systems that give it least (unix(4) of the BSDs; Linux has 108).
const SOCKET_PATH_BYTES_MAX: usize = 104;

/// What the name of a directory in which a cluster is being initialised begins with.
pub(crate) const STAGING_PREFIX: &str = "initialising-";

/// Writes a file that only its owner can read, and that outlives a power cut.
pub(crate) fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::options().create_new(true).write(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_path_for_a_socket_is_served_over_tcp_alone() {
        let at = |path: &str| DataDirectory { root: PathBuf::from(path) }.sockets();
        assert_eq!(at("/var/lib/amends").as_deref(), Some("/var/lib/amends/postgres"));
        assert_eq!(at(&format!("/var/{}", "long/".repeat(20))), None);
        for meant_otherwise in ["/a b", "/a,b", "/a&b", "/a%20b", "/caf\u{e9}"] {
            assert_eq!(at(meant_otherwise), None, "{meant_otherwise}");
        }
    }
}
