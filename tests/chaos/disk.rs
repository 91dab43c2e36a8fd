//! Small file systems for a PostgreSQL's data and for its log, to be filled to the last byte.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use local_postgres::testing::TestServer;
use tempfile::TempDir;

/// A file system of its own, of limited size, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Disk {
    place: TempDir,
}

/// What a server keeps its data on, and its write-ahead log.
#[derive(Debug)]
pub(crate) struct Disks {
    pub(crate) data: Disk,
    pub(crate) log: Disk,
}

/// What all of a disk that is free is filled with, until it is removed.
const BALLAST: &str = "ballast";
static PIECE: [u8; 1 << 20] = [7; 1 << 20];

impl Disks {
    /// Mounts both.
    pub(crate) fn mount(data_mib: u32, log_mib: u32) -> anyhow::Result<Self> {
        Ok(Self { data: Disk::mount(data_mib)?, log: Disk::mount(log_mib)? })
    }

    /// Moves what a server has on them, which crashes in between.
    pub(crate) fn take_in(&self, server: &mut TestServer) -> anyhow::Result<()> {
        let postgres = server.postgres();
        postgres.kill()?;
        let cluster = postgres.data_dir().join("postgres");
        self.data.take_in(&cluster)?;
        self.log.take_in(&cluster.join("pg_wal"))?;
        Ok(postgres.restart()?)
    }
}

impl Disk {
    fn mount(mib: u32) -> anyhow::Result<Self> {
        // The user that PostgreSQL runs as has to get through.
        let open = Permissions::from_mode(0o711);
        let place = tempfile::Builder::new().prefix("amends-disk-").permissions(open).tempdir()?;
        let disk = Self { place };
        mounts::mount(disk.path(), mib)?;
        Ok(disk)
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    /// Moves `directory` here, and leaves a link in its place.
    fn take_in(&self, directory: &Path) -> anyhow::Result<()> {
        let here = self.path().join(directory.file_name().context("a directory without a name")?);
        let copied = Command::new("cp").arg("-a").arg(directory).arg(&here).status()?;
        ensure!(copied.success(), "{} can not be copied: {copied}", directory.display());
        std::fs::remove_dir_all(directory)?;
        Ok(symlink(here, directory)?)
    }

    /// Fills it until nothing fits, and again where something was freed since: so many bytes.
    pub(crate) fn fill(&self) -> anyhow::Result<u64> {
        let ballast = File::options().create(true).append(true).open(self.path().join(BALLAST));
        let (mut ballast, mut bytes) = (ballast?, 0);
        loop {
            match ballast.write(&PIECE) {
                Ok(written) => bytes += written as u64,
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(bytes),
                Err(error) => return Err(error).context("a disk can not be filled"),
            }
        }
    }

    /// There is room again.
    pub(crate) fn heal(&self) -> std::io::Result<()> {
        std::fs::remove_file(self.path().join(BALLAST))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is left of it goes with the mounts of this process.
        let _ = mounts::unmount(self.path());
    }
}

#[cfg(target_os = "linux")]
pub(crate) mod mounts {
    //! Mounts that only this process and its children see, and that go when they do, however they end.

    use std::path::Path;

    use anyhow::Context;
    use nix::mount::{MntFlags, MsFlags, mount as mount_at, umount2};
    use nix::sched::{CloneFlags, unshare};
    use nix::unistd::{getegid, geteuid};

    const NOWHERE: Option<&str> = None;

    /// Makes this process one that may mount, if it may. Only while it has no threads.
    pub(crate) fn apart() -> anyhow::Result<()> {
        let (user, group) = (geteuid(), getegid());
        match user.is_root() {
            true => unshare(CloneFlags::CLONE_NEWNS)?,
            false => {
                unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
                // It stays who it is: PostgreSQL does not run as root.
                std::fs::write("/proc/self/setgroups", "deny")?;
                std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
                std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
            }
        }
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        Ok(mount_at(NOWHERE, "/", NOWHERE, private, NOWHERE)?)
    }

    pub(super) fn mount(at: &Path, mib: u32) -> anyhow::Result<()> {
        let options = format!("size={mib}m,mode=0711");
        mount_at(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(&*options))
            .context("it takes root, or a user that may have namespaces, to mount a small disk")
    }

    pub(super) fn unmount(at: &Path) -> nix::Result<()> {
        umount2(at, MntFlags::MNT_DETACH)
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) mod mounts {
    //! Small disks are made on Linux only.

    use std::path::Path;

    pub(crate) fn apart() -> anyhow::Result<()> {
        anyhow::bail!("it takes Linux to mount a small disk")
    }

    pub(super) fn mount(_: &Path, _: u32) -> anyhow::Result<()> {
        apart()
    }

    pub(super) fn unmount(_: &Path) -> anyhow::Result<()> {
        apart()
    }
}
