//! Logs cut off, damaged and lost.

use std::{fs, path::Path, sync::Arc};

use proptest::prelude::*;

use crate::store::{
    embedded::{
        OpenError, SystemFiles,
        frame::{FrameBuffer, SEGMENT_HEADER},
        log::{Log, LogDir},
        recovery::{recover, seal_tail},
    },
    mvcc::{Change, tests::bytes},
};

type Batches = Vec<(u64, Vec<Change>)>;

fn log_dir(path: &Path) -> LogDir {
    LogDir::new(Arc::new(SystemFiles), path.to_owned())
}

fn batch(number: u64) -> (u64, Vec<Change>) {
    let key = bytes(&format!("key {number}"));
    let change = match number % 3 {
        0 => Change::Set(key, bytes(&"value".repeat(usize::try_from(number % 7).unwrap()))),
        1 => Change::Clear(key),
        _ => Change::ClearRange(bytes("a"), key),
    };
    (number * 10, vec![change, Change::Clear(bytes("x"))])
}

/// Appends batches, each as a frame of its own; where the log ended after each.
fn append(log: &mut Log, path: &Path, numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    numbers
        .map(|number| {
            let (version, changes) = batch(number);
            let mut frame = FrameBuffer::default();
            frame.begin_batch();
            changes.iter().for_each(|change| frame.push(change));
            frame.end_batch(version, true);
            log.append(&mut frame, version).unwrap();
            // Without reserved space the file is as long as what was written.
            fs::metadata(path).map_or(0, |file| file.len())
        })
        .collect()
}

fn read(path: &Path, applied: u64) -> Result<Batches, OpenError> {
    let mut batches = Vec::new();
    recover(&log_dir(path), applied, true, |version, changes| batches.push((version, changes)))?;
    Ok(batches)
}

/// Files without reserved space.
#[derive(Debug)]
struct Unreserved;

#[derive(Debug)]
struct UnreservedFile(Box<dyn super::super::LogFile>);

impl super::super::LogFile for UnreservedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.0.sync()
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn reserve(&self, _len: u64) -> std::io::Result<()> {
        Ok(())
    }
}

impl super::super::LogFiles for Unreserved {
    fn create(&self, path: &Path, keep: bool) -> std::io::Result<Box<dyn super::super::LogFile>> {
        Ok(Box::new(UnreservedFile(SystemFiles.create(path, keep)?)))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        SystemFiles.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        SystemFiles.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        SystemFiles.sync_dir(dir)
    }
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        SystemFiles.read(path)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        SystemFiles.list(dir)
    }
}

/// A log of `count` frames in one segment: its bytes, and where each frame ends.
fn sample(count: u64) -> (Vec<u8>, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let log_dir = LogDir::new(Arc::new(Unreserved), dir.path().to_owned());
    let path = log_dir.segment_path(1);
    let mut log = Log::begin(log_dir, 1, 0, 1 << 20).unwrap();
    let ends = append(&mut log, &path, 1..=count);
    (fs::read(&path).unwrap(), ends)
}

fn with_segment(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(log_dir(dir.path()).segment_path(1), bytes).unwrap();
    dir
}

#[test]
fn a_log_cut_off_at_any_byte_gives_exactly_the_frames_before() {
    let (log, ends) = sample(8);
    for cut in 0..=log.len() {
        let dir = with_segment(&log[..cut]);
        let whole = ends.iter().filter(|end| **end <= cut as u64).count() as u64;
        let expected: Batches = (1..=whole).map(batch).collect();
        assert_eq!(read(dir.path(), 0).unwrap(), expected, "cut at {cut}");
        assert_eq!(read(dir.path(), 0).unwrap(), expected, "again, after a cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_last_frame_written_in_part_or_over_old_bytes_is_dropped(
        garbage in prop::collection::vec(any::<u8>(), 0..300),
        keep in 0..40usize,
        zeros in 0..100usize,
    ) {
        let (log, ends) = sample(4);
        let third = usize::try_from(ends[2]).unwrap();
        // The fourth frame's first bytes, then anything.
        let mut bytes = log[..(third + keep).min(log.len() - 1)].to_vec();
        bytes.extend(garbage);
        bytes.extend(vec![0; zeros]);
        if bytes.starts_with(&log) {
            return Ok(());
        }
        let dir = with_segment(&bytes);
        let expected: Batches = (1..=3).map(batch).collect();
        prop_assert_eq!(read(dir.path(), 0).unwrap(), expected);
    }
}

#[test]
fn a_flipped_bit_before_the_last_frame_is_refused_and_named() {
    let (log, ends) = sample(5);
    let last_begins = usize::try_from(ends[3]).unwrap();
    for at in 0..log.len() {
        // The four zero bytes at the end of the segment's header mean nothing.
        if (28..SEGMENT_HEADER).contains(&at) {
            continue;
        }
        let mut damaged = log.clone();
        damaged[at] ^= 0x10;
        let dir = with_segment(&damaged);
        let result = read(dir.path(), 0);
        if at < last_begins {
            let Err(OpenError::LogCorrupt { segment: 1, offset, .. }) = result else {
                panic!("byte {at}: {result:?}");
            };
            let begin = ends.iter().rev().find(|end| **end <= at as u64).copied();
            let expected = if at < SEGMENT_HEADER { 0 } else { begin.unwrap_or(SEGMENT_HEADER as u64) };
            assert_eq!(offset, expected, "byte {at}");
            assert_eq!(fs::read(log_dir(dir.path()).segment_path(1)).unwrap(), damaged, "it is left as it was");
        } else {
            assert_eq!(result.unwrap().len(), 4, "byte {at}");
        }
    }
}

/// Four segments, cleanly closed.
fn four_segments() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log_dir = log_dir(dir.path());
    let mut log = Log::begin(log_dir.clone(), 1, 0, 400).unwrap();
    let mut number = 0;
    while log_dir.archive().sealed.len() < 3 {
        number += 1;
        append(&mut log, dir.path(), number..=number);
    }
    log.close().unwrap();
    dir
}

#[test]
fn a_log_of_several_segments_reads_from_where_the_base_is() {
    let dir = four_segments();
    let everything = read(dir.path(), 0).unwrap();
    assert!(everything.len() > 6);
    for (at, (version, _)) in everything.iter().enumerate() {
        assert_eq!(read(dir.path(), *version).unwrap(), everything[at + 1..]);
    }
    let beyond = everything.last().unwrap().0 + 1;
    assert!(matches!(read(dir.path(), beyond), Err(OpenError::LogMissing { .. })), "the base has more than the log");
}

#[test]
fn a_lost_segment_is_refused_whichever_it_is() {
    for lost in 1..=4 {
        let dir = four_segments();
        fs::remove_file(log_dir(dir.path()).segment_path(lost)).unwrap();
        let result = read(dir.path(), 0);
        assert!(matches!(result, Err(OpenError::LogMissing { .. })), "segment {lost}: {result:?}");
    }
    // The first one may be gone once the base has what was in it.
    let dir = four_segments();
    let everything = read(dir.path(), 0).unwrap();
    fs::remove_file(log_dir(dir.path()).segment_path(1)).unwrap();
    let rest = everything.iter().find_map(|(version, _)| read(dir.path(), *version).ok()).unwrap();
    assert!(!rest.is_empty() && rest.len() < everything.len());
}

#[test]
fn a_crash_while_the_next_segment_is_begun_loses_nothing() {
    let (log, _) = sample(3);
    let expected: Batches = (1..=3).map(batch).collect();
    let header = super::super::frame::segment_header(2, 30);
    for cut in 0..=header.len() {
        let dir = with_segment(&log);
        fs::write(log_dir(dir.path()).segment_path(2), &header[..cut]).unwrap();
        assert_eq!(read(dir.path(), 0).unwrap(), expected, "header cut at {cut}");
    }
    // But with frames in it, the end of the segment before must be there.
    let dir = with_segment(&log);
    let mut next = Log::begin(log_dir(dir.path()), 2, 30, 1 << 20).unwrap();
    append(&mut next, dir.path(), 4..=4);
    assert!(matches!(read(dir.path(), 0), Err(OpenError::LogCorrupt { segment: 1, .. })));
}

#[test]
fn a_used_segment_that_is_written_again_shows_nothing_of_its_past() {
    let dir = tempfile::tempdir().unwrap();
    let log_dir = log_dir(dir.path());
    let mut log = Log::begin(log_dir.clone(), 1, 0, 2000).unwrap();
    let mut number = 0;
    while log_dir.archive().sealed.is_empty() {
        number += 1;
        append(&mut log, dir.path(), number..=number);
    }
    log_dir.drop_upto(u64::MAX).unwrap();
    assert!(log_dir.spare_path().exists());
    let applied = log_dir_last(number - 1);
    while !log_dir.spare_path().exists() || log_dir.archive().sealed.is_empty() {
        number += 1;
        append(&mut log, dir.path(), number..=number);
        if !log_dir.archive().sealed.is_empty() {
            break;
        }
    }
    // Segment 3 is what segment 1 was: long enough for old frames to lie behind the new.
    let expected: Batches = (applied / 10 + 1..=number).map(batch).collect();
    assert_eq!(read(dir.path(), applied).unwrap(), expected);
    let next = recover(&super::recovery::log_dir(dir.path()), applied, false, |_, _| ()).unwrap();
    let tail = next.tail.unwrap();
    Log::begin(super::recovery::log_dir(dir.path()), next.next_number, next.last_version, 2000).unwrap();
    seal_tail(&super::recovery::log_dir(dir.path()), tail, next.next_number - 1).unwrap();
    assert_eq!(read(dir.path(), applied).unwrap(), expected);
}

fn log_dir_last(number: u64) -> u64 {
    batch(number).0
}
