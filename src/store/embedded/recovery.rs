//! Reading the log after a start.
//!
//! What may be missing at the end is what was never acknowledged: a frame whose sync had not
//! returned. Everything else that is missing or broken is refused.

use std::path::PathBuf;

use bytes::Bytes;

use super::{
    error::OpenError,
    frame::{Kind, Place, SEGMENT_HEADER, find_frame_after, marker, read_batches, read_frame, read_segment_header},
    log::{LogDir, Sealed, segment_number},
};
use crate::store::mvcc::Change;

/// What the log holds.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Newest version in it.
    pub(super) last_version: u64,
    /// Number for the next segment.
    pub(super) next_number: u64,
    /// The last segment: its file and where its closing mark ends.
    pub(super) tail: Option<(PathBuf, u64, u64)>,
}

/// One segment, read.
struct Segment {
    path: PathBuf,
    number: u64,
    before: u64,
    bytes: Bytes,
    frames: Vec<(u64, std::ops::Range<usize>)>,
    last_version: u64,
    /// The last mark in it.
    mark: Option<Kind>,
    /// End of the last whole frame.
    end: u64,
    /// Why it ends there.
    ends_with: &'static str,
}

/// Reads the log, gives each batch after `applied` to `replay`, and leaves the log's last
/// segment closed and durable. `may_be_new`: an empty log is right.
pub(super) fn recover(
    dir: &LogDir,
    applied: u64,
    may_be_new: bool,
    mut replay: impl FnMut(u64, Vec<Change>),
) -> Result<Recovered, OpenError> {
    let missing = |reason: String| OpenError::LogMissing { path: dir.path.clone(), reason };
    let paths = tidy(dir)?;
    let mut last: Option<Segment> = None;
    let count = paths.len();
    for (at, (number, path)) in paths.into_iter().enumerate() {
        let is_last = at + 1 == count;
        let Some(segment) = read_segment(dir, path.clone(), number)? else {
            // Created, and nothing more: the segment before has no seal then.
            let unused = last.as_ref().map_or(may_be_new, |last| last.mark != Some(Kind::Sealed));
            if is_last && unused {
                dir.files.remove(&path).map_err(OpenError::io("remove", path))?;
                break;
            }
            let reason = "its header is damaged".to_owned();
            return Err(OpenError::LogCorrupt { path, segment: number, offset: 0, reason });
        };
        match &last {
            None if segment.before > applied => {
                return Err(missing(format!(
                    "the first log segment begins after version {}, but the base has only version {applied}",
                    segment.before
                )));
            }
            None => {}
            Some(previous) if previous.number + 1 != number => {
                return Err(missing(format!("log segment {:016x} is missing", previous.number + 1)));
            }
            Some(previous) if previous.mark != Some(Kind::Sealed) => {
                if is_last && segment.frames.is_empty() && segment.mark.is_none() {
                    dir.files.remove(&path).map_err(OpenError::io("remove", path))?;
                    break;
                }
                return Err(corrupt(previous, "the segment has no end, but another follows"));
            }
            Some(previous) if previous.last_version != segment.before => {
                return Err(corrupt(&segment, "it does not follow the segment before"));
            }
            Some(_) => {}
        }
        replay_segment(&segment, applied, &mut replay)?;
        if let Some(previous) = last.replace(segment) {
            dir.archive().sealed.push_back(Sealed { path: previous.path, last_version: previous.last_version });
        }
    }
    let Some(last) = last else {
        if applied > 0 || !may_be_new {
            return Err(missing("there is no log".to_owned()));
        }
        return Ok(Recovered { last_version: 0, next_number: 1, tail: None });
    };
    if last.mark == Some(Kind::Sealed) {
        return Err(missing(format!("log segment {:016x} is missing", last.number + 1)));
    }
    if last.last_version < applied {
        return Err(missing(format!(
            "the log ends at version {}, but the base has version {applied}",
            last.last_version
        )));
    }
    let end = close_tail(dir, &last)?;
    Ok(Recovered {
        last_version: last.last_version,
        next_number: last.number + 1,
        tail: Some((last.path, end, last.last_version)),
    })
}

/// After the next segment has been created: seals the last one.
pub(super) fn seal_tail(dir: &LogDir, tail: (PathBuf, u64, u64), number: u64) -> Result<(), OpenError> {
    let (path, offset, last_version) = tail;
    let seal = marker(Kind::Sealed, last_version, Place { segment: number, offset });
    let sealed = dir.files.create(&path, true).and_then(|file| {
        file.write_at(&seal, offset)?;
        file.sync()
    });
    sealed.map_err(OpenError::io("seal", path.clone()))?;
    dir.archive().sealed.push_back(Sealed { path, last_version });
    Ok(())
}

/// Segments by number; removes what a crash left half made.
fn tidy(dir: &LogDir) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let mut segments = Vec::new();
    for path in dir.files.list(&dir.path).map_err(OpenError::io("list", &dir.path))? {
        if let Some(number) = segment_number(&path) {
            segments.push((number, path));
        } else if path == dir.spare_path() {
            dir.archive().has_spare = true;
        } else if path.extension().is_some_and(|extension| extension == "tmp") {
            dir.files.remove(&path).map_err(OpenError::io("remove", path))?;
        }
    }
    segments.sort();
    Ok(segments)
}

/// The segment; `None` if it has no whole header and nothing else either.
fn read_segment(dir: &LogDir, path: PathBuf, number: u64) -> Result<Option<Segment>, OpenError> {
    let bytes = Bytes::from(dir.files.read(&path).map_err(OpenError::io("read", path.clone()))?);
    let header = read_segment_header(&bytes).filter(|(own, _)| *own == number);
    let Some((_, before)) = header else {
        if find_frame_after(&bytes, number, 0).is_none() {
            return Ok(None);
        }
        let reason = "its header is damaged".to_owned();
        return Err(OpenError::LogCorrupt { path, segment: number, offset: 0, reason });
    };
    let mut segment = Segment {
        path,
        number,
        before,
        bytes,
        frames: Vec::new(),
        last_version: before,
        mark: None,
        end: SEGMENT_HEADER as u64,
        ends_with: "",
    };
    while segment.mark != Some(Kind::Sealed) {
        let place = Place { segment: number, offset: segment.end };
        match read_frame(&segment.bytes, place) {
            Ok((header, _)) if header.before != segment.last_version => {
                return Err(corrupt(&segment, "a frame does not follow the one before"));
            }
            Ok((header, payload)) => {
                segment.end = payload.end as u64;
                segment.last_version = header.version;
                if header.kind == Kind::Commits {
                    segment.mark = None;
                    segment.frames.push((header.version, payload));
                } else {
                    segment.mark = Some(header.kind);
                }
            }
            Err(reason) => {
                segment.ends_with = reason;
                break;
            }
        }
    }
    if segment.mark.is_none() {
        let from = usize::try_from(segment.end).unwrap_or(usize::MAX);
        if find_frame_after(&segment.bytes, number, from).is_some() {
            return Err(corrupt(&segment, segment.ends_with));
        }
    }
    Ok(Some(segment))
}

fn corrupt(segment: &Segment, reason: &str) -> OpenError {
    OpenError::LogCorrupt {
        path: segment.path.clone(),
        segment: segment.number,
        offset: segment.end,
        reason: reason.to_owned(),
    }
}

fn replay_segment(segment: &Segment, applied: u64, replay: &mut impl FnMut(u64, Vec<Change>)) -> Result<(), OpenError> {
    for (version, payload) in &segment.frames {
        if *version <= applied {
            continue;
        }
        let batches = read_batches(&segment.bytes.slice(payload.clone())).map_err(|reason| OpenError::LogCorrupt {
            path: segment.path.clone(),
            segment: segment.number,
            offset: payload.start as u64,
            reason: reason.to_owned(),
        })?;
        for (version, changes) in batches {
            if version > applied {
                replay(version, changes);
            }
        }
    }
    Ok(())
}

/// Makes the last segment end in a mark, durably. Its whole frames are written anew: after a
/// failed sync, what can be read of them may never have reached the disk.
fn close_tail(dir: &LogDir, last: &Segment) -> Result<u64, OpenError> {
    if last.mark == Some(Kind::Closed) {
        return Ok(last.end);
    }
    let beyond = last.bytes.len() as u64 - last.end;
    if beyond > 0 && last.ends_with != "no frame" {
        tracing::warn!(
            segment = last.number,
            offset = last.end,
            reason = last.ends_with,
            "the log ends in a commit that was being written; it was not acknowledged and is dropped"
        );
    }
    let whole = usize::try_from(last.end).ok().and_then(|end| last.bytes.get(..end)).unwrap_or_default();
    let mut bytes = whole.to_vec();
    bytes.extend(marker(Kind::Closed, last.last_version, Place { segment: last.number, offset: last.end }));
    let new = last.path.with_extension("tmp");
    let written = dir.files.create(&new, false).and_then(|file| {
        file.write_at(&bytes, 0)?;
        file.sync()?;
        dir.files.rename(&new, &last.path)?;
        dir.files.sync_dir(&dir.path)
    });
    written.map_err(OpenError::io("rewrite", last.path.clone()))?;
    Ok(bytes.len() as u64)
}
