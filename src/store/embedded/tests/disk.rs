//! A disk in memory that loses power: what was not synced may be there, or not, or in part.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    rng::Rng,
    store::embedded::{LogFile, LogFiles},
};

/// Bytes that a disk writes as one.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    visible: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// A sync has failed: what was pending then is visible, and no later sync writes it.
    has_lost: bool,
}

impl Inode {
    /// Writes what is pending, as whole sectors of what can be seen.
    fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            match pending {
                Pending::SetLen(len) => self.durable.resize(len, 0),
                Pending::Write { offset, bytes } => {
                    let end = (offset + bytes.len()).next_multiple_of(SECTOR).min(self.visible.len());
                    let begin = (offset / SECTOR * SECTOR).min(end);
                    put(&mut self.durable, begin, &self.visible[begin..end]);
                }
            }
        }
        assert!(self.has_lost || self.durable == self.visible, "a sync that succeeds leaves nothing out");
    }
}

#[derive(Clone, Debug)]
enum DirChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    /// Within one directory.
    Rename(PathBuf, PathBuf),
}

impl DirChange {
    fn dir(&self) -> &Path {
        let (Self::Link(path, _) | Self::Unlink(path) | Self::Rename(path, _)) = self;
        path.parent().unwrap()
    }
}

type Names = BTreeMap<PathBuf, usize>;

fn change(names: &mut Names, change: &DirChange) {
    match change {
        DirChange::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
        DirChange::Unlink(path) => drop(names.remove(path)),
        DirChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    visible: Names,
    durable: Names,
    pending: Vec<DirChange>,
    /// Operations until the power fails.
    operations_left: Option<u64>,
    /// The next sync of a file fails.
    sync_fails: bool,
    operations: u64,
    base: Option<BaseCopy>,
}

/// The base is on a real disk. What it had when it was last synced is kept beside.
#[derive(Debug)]
struct BaseCopy {
    base: PathBuf,
    copy: tempfile::TempDir,
}

impl BaseCopy {
    fn take(&self) {
        copy_dir(&self.base, self.copy.path());
    }
}

/// Makes `to` what `from` is. The long stretches of zeros that fjall reserves are not written.
fn copy_dir(from: &Path, to: &Path) {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    std::fs::remove_dir_all(to).unwrap();
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_dir(&path, &target);
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        let file = std::fs::File::create(&target).unwrap();
        file.set_len(content.len() as u64).unwrap();
        for (number, chunk) in content.chunks(ZEROS.len()).enumerate() {
            if *chunk != ZEROS[..chunk.len()] {
                file.write_all_at(chunk, (number * ZEROS.len()) as u64).unwrap();
            }
        }
    }
}

/// The disk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    content.resize(content.len().max(offset + bytes.len()), 0);
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// One operation; fails if the power has.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.operations += 1;
        match &mut state.operations_left {
            Some(0) => return Err(io::Error::other("the power has failed")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }

    /// The power fails before the operation after the next `operations`.
    pub(super) fn fail_after(&self, operations: u64) {
        self.state().operations_left = Some(operations);
    }

    /// The next sync of a file fails as the kernel's do: what was to be synced can be read and is
    /// taken for written, so that a later sync succeeds without it.
    pub(super) fn fail_next_sync(&self) {
        self.state().sync_fails = true;
    }

    /// From now on the base in `dir`, which nobody has open, loses with the power what it has
    /// not synced.
    pub(super) fn follow_base(&self, dir: &Path) {
        let base = BaseCopy { base: dir.join("base"), copy: tempfile::tempdir().unwrap() };
        base.take();
        self.state().base = Some(base);
    }

    /// Puts the followed base back to what it had when it was last synced, or when it was first
    /// followed. Nobody may have it open.
    pub(super) fn lose_unsynced_base(&self) {
        if let Some(BaseCopy { base, copy }) = &self.state().base {
            copy_dir(copy.path(), base);
        }
    }

    /// Operations so far.
    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk as it may be found after the power failed: of what was not synced, some of the
    /// last changes to the directory are gone, and any sectors of any writes, some of them
    /// halfway through.
    pub(super) fn after_power_failure(&self, rng: &Rng) -> Self {
        let state = self.state();
        let mut names = state.durable.clone();
        let kept = below(rng, state.pending.len() + 1);
        state.pending[..kept].iter().for_each(|one| change(&mut names, one));
        let inodes: Vec<Inode> = state
            .inodes
            .iter()
            .map(|inode| {
                let content = survivors(inode, rng);
                Inode { visible: content.clone(), durable: content, ..Inode::default() }
            })
            .collect();
        Self(Arc::new(Mutex::new(State { inodes, visible: names.clone(), durable: names, ..State::default() })))
    }

    /// Flips one bit somewhere in the log; where.
    pub(super) fn flip_a_bit(&self, rng: &Rng) -> (PathBuf, usize) {
        let mut state = self.state();
        let names: Vec<(PathBuf, usize)> = state.visible.iter().map(|(path, inode)| (path.clone(), *inode)).collect();
        let segments: Vec<_> = names.into_iter().filter(|(path, _)| path.extension().is_some()).collect();
        let (path, inode) = segments[below(rng, segments.len())].clone();
        let content = &mut state.inodes[inode].visible;
        // Not in the space that was reserved and never written.
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let at = below(rng, used);
        content[at] ^= 1 << below(rng, 8);
        (path, at)
    }
}

/// A number below `end`.
pub(super) fn below(rng: &Rng, end: usize) -> usize {
    usize::try_from(rng.u64() % end as u64).unwrap()
}

fn survivors(inode: &Inode, rng: &Rng) -> Vec<u8> {
    let mut content = inode.durable.clone();
    // All of it, none of it, or anything between.
    let share = [0, 50, 100][below(rng, 3)];
    let survives = || below(rng, 100) < share;
    for pending in &inode.pending {
        match pending {
            Pending::SetLen(len) if survives() => content.resize(*len, 0),
            Pending::SetLen(_) => {}
            Pending::Write { offset, bytes } => {
                let mut at = 0;
                while at < bytes.len() {
                    let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
                    if survives() {
                        let torn = if below(rng, 16) == 0 { below(rng, end - at) } else { 0 };
                        put(&mut content, offset + at, &bytes[at..end - torn]);
                    }
                    at = end;
                }
            }
        }
    }
    content
}

#[derive(Debug)]
struct OpenFile {
    disk: Disk,
    inode: usize,
}

impl LogFile for OpenFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let mut state = self.disk.operate()?;
        let inode = &mut state.inodes[self.inode];
        put(&mut inode.visible, offset, bytes);
        inode.pending.push(Pending::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let fails = std::mem::take(&mut state.sync_fails);
        let inode = &mut state.inodes[self.inode];
        if fails {
            inode.pending.clear();
            inode.has_lost = true;
            return Err(io::Error::other("the disk has failed to write"));
        }
        inode.sync();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        let mut state = self.disk.operate()?;
        let inode = &mut state.inodes[self.inode];
        inode.visible.resize(len, 0);
        inode.pending.push(Pending::SetLen(len));
        Ok(())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        if self.disk.state().inodes[self.inode].visible.len() < len {
            self.set_len(len as u64)?;
        }
        Ok(())
    }
}

impl LogFiles for Disk {
    fn create(&self, path: &Path, keep: bool) -> io::Result<Box<dyn LogFile>> {
        let mut state = self.operate()?;
        let state = &mut *state;
        let inode = match state.visible.get(path) {
            Some(inode) if keep => *inode,
            // Emptied or new: nothing of what it was is left in the new one.
            _ => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                let link = DirChange::Link(path.to_owned(), inode);
                change(&mut state.visible, &link);
                state.pending.push(link);
                inode
            }
        };
        Ok(Box::new(OpenFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        if !state.visible.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let rename = DirChange::Rename(from.to_owned(), to.to_owned());
        change(&mut state.visible, &rename);
        state.pending.push(rename);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        let unlink = DirChange::Unlink(path.to_owned());
        change(&mut state.visible, &unlink);
        state.pending.push(unlink);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        let State { pending, durable, .. } = &mut *state;
        pending.retain(|one| {
            let is_synced = one.dir() == dir;
            if is_synced {
                change(durable, one);
            }
            !is_synced
        });
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.operate()?;
        let inode = state.visible.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.inodes[*inode].visible.clone())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.operate()?.visible.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn base_synced(&self) {
        let state = self.state();
        // Without power, the sync never was.
        if state.operations_left != Some(0)
            && let Some(base) = &state.base
        {
            base.take();
        }
    }
}
