//! Whoever writes the log and whoever drops its old segments, at the same time.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use crate::store::{
    embedded::{
        LogFile, LogFiles, SystemFiles,
        frame::FrameBuffer,
        log::{Log, LogDir},
    },
    mvcc::{Change, tests::bytes},
};

/// Files whose spare, when it is taken, waits for a segment to become the spare at that moment:
/// for ever if it could, but only a little, because it must not.
#[derive(Debug, Default)]
struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The next taking of the spare waits.
    is_armed: bool,
    is_taking: bool,
    has_dropped: bool,
}

#[derive(Clone, Debug)]
struct Handle(Arc<Meeting>);

impl LogFiles for Handle {
    fn create(&self, path: &Path, keep: bool) -> io::Result<Box<dyn LogFile>> {
        SystemFiles.create(path, keep)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap();
        if from.ends_with("spare") && std::mem::take(&mut state.is_armed) {
            state.is_taking = true;
            self.0.changed.notify_all();
            let patience = Duration::from_millis(200);
            drop(self.0.changed.wait_timeout_while(state, patience, |state| !state.has_dropped).unwrap());
            return SystemFiles.rename(from, to);
        }
        if to.ends_with("spare") {
            state.has_dropped = true;
            self.0.changed.notify_all();
        }
        drop(state);
        SystemFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemFiles.sync_dir(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemFiles.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        SystemFiles.list(dir)
    }
}

/// Appends frames from `version` on until `count` more segments are complete; the next version.
fn fill(log: &mut Log, dir: &LogDir, mut version: u64, count: usize) -> u64 {
    let upto = dir.archive().sealed.len() + count;
    while dir.archive().sealed.len() < upto {
        let mut frame = FrameBuffer::default();
        frame.begin_batch();
        frame.push(&Change::Set(bytes("key"), bytes("value")));
        frame.end_batch(version, true);
        log.append(&mut frame, version).unwrap();
        version += 1;
    }
    version
}

#[test]
fn a_spare_is_not_taken_and_replaced_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let meeting = Arc::new(Meeting::default());
    let dir = LogDir::new(Arc::new(Handle(Arc::clone(&meeting))), temp.path().to_owned());
    let mut log = Log::begin(dir.clone(), 1, 0, 400).unwrap();
    let first = fill(&mut log, &dir, 1, 1);
    let version = fill(&mut log, &dir, first, 1);
    // The first segment becomes the spare, the second is complete and stays for now.
    dir.drop_upto(first).unwrap();
    assert!(dir.spare_path().exists());
    assert_eq!(dir.archive().sealed.len(), 1);
    *meeting.state.lock().unwrap() = State { is_armed: true, ..State::default() };
    let dropping = {
        let (dir, meeting) = (dir.clone(), Arc::clone(&meeting));
        std::thread::spawn(move || {
            let state = meeting.state.lock().unwrap();
            drop(meeting.changed.wait_while(state, |state| !state.is_taking).unwrap());
            // The log's next segment takes the spare just now.
            dir.drop_upto(u64::MAX)
        })
    };
    let version = fill(&mut log, &dir, version, 1);
    dropping.join().unwrap().unwrap();
    assert_eq!(dir.archive().has_spare, dir.spare_path().exists());
    fill(&mut log, &dir, version, 3);
}
