//! Files of the log that note what is done with them, and fail when told.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
};

use crate::store::embedded::{LogFile, LogFiles, SystemFiles};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Write,
    Synced,
    Ack,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Writes fail after this many bytes, with this error.
    pub(super) write: Option<(usize, io::ErrorKind)>,
    pub(super) sync: Option<io::ErrorKind>,
    /// Syncs that pass before they fail.
    pub(super) sync_passes: usize,
    /// Cutting off fails.
    pub(super) set_len: bool,
    /// Syncs wait.
    pub(super) hold_syncs: bool,
    /// Syncs that wait now.
    pub(super) held: usize,
}

#[derive(Debug, Default)]
pub(super) struct TestFiles {
    pub(super) events: Mutex<Vec<Event>>,
    /// Directories in the order of their syncs.
    pub(super) synced_dirs: Mutex<Vec<PathBuf>>,
    faults: Mutex<Faults>,
    changed: Condvar,
}

impl TestFiles {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn set(self: &Arc<Self>, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap());
        self.changed.notify_all();
    }

    /// Lets held syncs go when dropped, so that a failing test ends.
    pub(super) fn release_at_end(self: &Arc<Self>) -> impl Drop + use<> {
        struct Release(Arc<TestFiles>);
        impl Drop for Release {
            fn drop(&mut self) {
                self.0.set(|faults| faults.hold_syncs = false);
            }
        }
        Release(Arc::clone(self))
    }

    pub(super) fn held(&self) -> usize {
        self.faults.lock().unwrap().held
    }

    pub(super) fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

/// What the engine is given.
#[derive(Clone, Debug)]
pub(super) struct Handle(pub(super) Arc<TestFiles>);

#[derive(Debug)]
struct TestFile {
    inner: Box<dyn LogFile>,
    files: Arc<TestFiles>,
}

impl LogFile for TestFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.files.note(Event::Write);
        let fault = self.files.faults.lock().unwrap().write;
        match fault {
            None => self.inner.write_at(bytes, offset),
            Some((upto, kind)) => {
                self.inner.write_at(&bytes[..upto.min(bytes.len())], offset)?;
                Err(kind.into())
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut faults = self.files.faults.lock().unwrap();
        faults.held += 1;
        while faults.hold_syncs {
            faults = self.files.changed.wait(faults).unwrap();
        }
        faults.held -= 1;
        if faults.sync.is_some() && faults.sync_passes > 0 {
            faults.sync_passes -= 1;
        } else if let Some(kind) = faults.sync {
            return Err(kind.into());
        }
        drop(faults);
        self.inner.sync()?;
        self.files.note(Event::Synced);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.files.faults.lock().unwrap().set_len {
            return Err(io::ErrorKind::Other.into());
        }
        self.inner.set_len(len)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.inner.reserve(len)
    }
}

impl LogFiles for Handle {
    fn create(&self, path: &Path, keep: bool) -> io::Result<Box<dyn LogFile>> {
        let inner = SystemFiles.create(path, keep)?;
        Ok(Box::new(TestFile { inner, files: Arc::clone(&self.0) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemFiles.sync_dir(dir)?;
        self.0.synced_dirs.lock().unwrap().push(dir.to_owned());
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemFiles.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        SystemFiles.list(dir)
    }
}
