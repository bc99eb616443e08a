//! The data directory: who holds it and what format it has.

use std::{
    fs,
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::{error::OpenError, files::LogFiles};

/// Format that this program writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;
const MAGIC: &str = "escapement embedded store";
const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";
const READY: &str = "ready";

/// Holds the directory until dropped; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(super) struct DirLock {
    file: fs::File,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that is between fork and exec has the same open
        // file description, and with it the lock, for a moment longer.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Takes the directory, which is created if needed.
pub(super) fn lock(dir: &Path, files: &dyn LogFiles) -> Result<DirLock, OpenError> {
    create(dir, files)?;
    let path = dir.join(LOCK_FILE);
    // A directory of somebody else stays as it is.
    if !path.exists() {
        refuse_foreign(dir)?;
    }
    let opened = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(OpenError::io("open", path.clone()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let pid = file.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
            return Err(OpenError::Locked { path: dir.to_owned(), pid });
        }
        Err(error) => return Err(OpenError::io("lock", path)(error.into())),
    }
    let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(OpenError::io("write", path))?;
    Ok(DirLock { file })
}

/// Creates what is missing of the path, durably: a directory that is lost with the power takes all
/// that was acknowledged with it.
fn create(dir: &Path, files: &dyn LogFiles) -> Result<(), OpenError> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|path| *path != Path::new("") && !path.exists()).collect();
    fs::create_dir_all(dir).map_err(OpenError::io("create", dir))?;
    for made in missing {
        let parent = made.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        files.sync_dir(parent).map_err(OpenError::io("sync", parent))?;
    }
    Ok(())
}

/// Whether the directory is new (or its first start did not come to its end).
pub(super) fn check_format(dir: &Path, files: &dyn LogFiles) -> Result<bool, OpenError> {
    let path = dir.join(FORMAT_FILE);
    let text = match files.read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            refuse_foreign(dir)?;
            write_format(dir, files, "new")?;
            return Ok(true);
        }
        Err(error) => return Err(OpenError::io("read", path)(error)),
    };
    let foreign = || OpenError::Foreign { path: dir.to_owned(), found: format!("its {FORMAT_FILE} file is unknown") };
    let mut lines = std::str::from_utf8(&text).map_err(|_| foreign())?.lines();
    if lines.next() != Some(MAGIC) {
        return Err(foreign());
    }
    let found = lines.next().and_then(|line| line.strip_prefix("format ")?.parse().ok()).ok_or_else(foreign)?;
    if found > FORMAT {
        return Err(OpenError::FormatTooNew { path: dir.to_owned(), found, supported: FORMAT });
    }
    Ok(lines.next() != Some(READY))
}

/// The first start has come to its end: from now on nothing may be missing.
pub(super) fn mark_ready(dir: &Path, files: &dyn LogFiles) -> Result<(), OpenError> {
    write_format(dir, files, READY)
}

fn write_format(dir: &Path, files: &dyn LogFiles, state: &str) -> Result<(), OpenError> {
    let new = dir.join("FORMAT.tmp");
    let text = format!("{MAGIC}\nformat {FORMAT}\n{state}\n");
    let written = files.create(&new, false).and_then(|file| {
        file.write_at(text.as_bytes(), 0)?;
        // Before the rename: an empty file would look like one of somebody else.
        file.sync()?;
        files.rename(&new, &dir.join(FORMAT_FILE))?;
        files.sync_dir(dir)
    });
    written.map_err(OpenError::io("write", new))
}

fn refuse_foreign(dir: &Path) -> Result<(), OpenError> {
    for entry in fs::read_dir(dir).map_err(OpenError::io("list", dir))? {
        let name = entry.map_err(OpenError::io("list", dir))?.file_name();
        if name != LOCK_FILE && name != "FORMAT.tmp" && name != FORMAT_FILE && name != "lost+found" {
            let found = format!("it holds {}", name.to_string_lossy());
            return Err(OpenError::Foreign { path: dir.to_owned(), found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::files::SystemFiles, *};

    #[test]
    fn a_directory_that_was_let_go_is_free_even_while_a_forked_child_has_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path(), &SystemFiles).unwrap();
        assert!(matches!(lock(dir.path(), &SystemFiles), Err(OpenError::Locked { .. })));
        // What a child has between fork and exec: the same open file description.
        let inherited = held.file.try_clone().unwrap();
        drop(held);
        let again = lock(dir.path(), &SystemFiles).unwrap();
        drop((again, inherited));
    }
}
