//! The files of the log and `FORMAT`, as a seam: tests record the order of writes and syncs through it, and
//! make them fail.

use std::{
    fmt, fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// One file of the log.
pub trait LogFile: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Part of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Everything written so far survives a loss of power once this returns.
    ///
    /// # Errors
    /// What was written since the last sync may be lost, even if a later sync succeeds.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file off, or fills it up with zeros.
    ///
    /// # Errors
    /// As the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space up to `len`, which reads as zeros. Only for speed: does nothing where it
    /// is not supported.
    ///
    /// # Errors
    /// The disk is full.
    fn reserve(&self, len: u64) -> io::Result<()>;
}

/// A place for files of the log.
pub trait LogFiles: Send + Sync + fmt::Debug {
    /// Opens a file for writing; empties it first unless `keep`.
    ///
    /// # Errors
    /// As the system says.
    fn create(&self, path: &Path, keep: bool) -> io::Result<Box<dyn LogFile>>;

    /// Renames a file over another.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in `dir` durable.
    ///
    /// # Errors
    /// As the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// All of a file.
    ///
    /// # Errors
    /// As the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Paths in `dir`, sorted.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// The base below the log has been synced: what it has now survives a loss of power. Files
    /// that simulate one put the base back to this moment; others need not know.
    fn base_synced(&self) {}
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

#[derive(Debug)]
struct SystemFile(fs::File);

impl LogFile for SystemFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len) {
            Err(rustix::io::Errno::NOSPC) => Err(rustix::io::Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }
}

impl LogFiles for SystemFiles {
    fn create(&self, path: &Path, keep: bool) -> io::Result<Box<dyn LogFile>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(!keep).open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths =
            fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        paths.sort();
        Ok(paths)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// Whether a sync reaches the disk cannot be seen from here, but whether the kernel is asked
    /// can: objects without storage behind them refuse, and only a call is refused.
    #[test]
    fn syncs_of_the_files_that_ship_ask_the_kernel() {
        let invalid = |result: io::Result<()>| result.unwrap_err().raw_os_error() == Some(Errno::INVAL.raw_os_error());
        let device = SystemFiles.create(Path::new("/dev/null"), true).unwrap();
        device.write_at(b"x", 0).unwrap();
        assert!(invalid(device.sync()), "no fdatasync");
        assert!(invalid(SystemFiles.sync_dir(Path::new("/proc"))), "no fsync of the directory");
    }

    #[test]
    fn syncs_of_files_on_a_disk_succeed() {
        let directory = tempfile::tempdir().unwrap();
        let file = SystemFiles.create(&directory.path().join("log"), false).unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        SystemFiles.sync_dir(directory.path()).unwrap();
    }
}
