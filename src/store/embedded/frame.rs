//! The bytes of the log.
//!
//! A segment begins with a header of 32 bytes, then come frames. A frame is what one sync
//! makes durable: the batches committed meanwhile. Every frame is written after the sync of
//! the one before has returned; so if a frame is whole, all before it had been synced, and a
//! broken frame before a whole one is damage, not a crash.
//!
//! ```text
//! segment  magic 8 | number 8 | version before 8 | crc 4 | zero 4
//! frame    magic 4 | length 4 | crc 4 | kind 4 | version before 8 | last version 8 | payload
//! payload  batch*: version 8 | changes 4 | change*
//! change   1 set: key length 4, value length 4, key, value
//!          2 clear: key length 4, key
//!          3 clear range: begin length 4, end length 4, begin, end
//! ```
//! Numbers are little-endian. The checksum (CRC-32) of a frame covers its segment's number and
//! its offset as well, so that bytes of another place never pass for a frame.

use bytes::{Buf as _, BufMut as _, Bytes};

use crate::store::mvcc::Change;

pub(super) const SEGMENT_MAGIC: &[u8; 8] = b"ESCLOG\x01\n";
pub(super) const SEGMENT_HEADER: usize = 32;
const FRAME_MAGIC: u32 = 0xE5CA_F0E1;
pub(super) const FRAME_HEADER: usize = 32;
/// Longest payload: far more than the committing side collects.
pub(super) const PAYLOAD_MAX: usize = 1 << 30;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Commits.
    Commits,
    /// The log goes on in the next segment, which exists.
    Sealed,
    /// The store was closed here, or recovered up to here.
    Closed,
}

/// Where a frame is: part of its checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// Header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Version of the frame before.
    pub(super) before: u64,
    /// Version of its last batch; `before` if it has none.
    pub(super) version: u64,
}

pub(super) fn segment_header(number: u64, before: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER);
    header.put_slice(SEGMENT_MAGIC);
    header.put_u64_le(number);
    header.put_u64_le(before);
    header.put_u32_le(crc32fast::hash(&header));
    header.put_u32_le(0);
    header
}

/// Number and version before of a segment with a whole header.
pub(super) fn read_segment_header(bytes: &[u8]) -> Option<(u64, u64)> {
    let header = bytes.get(..SEGMENT_HEADER)?;
    let (covered, mut crc) = header.split_at(24);
    if !covered.starts_with(SEGMENT_MAGIC) || crc.get_u32_le() != crc32fast::hash(covered) {
        return None;
    }
    let mut fields = covered.get(8..)?;
    Some((fields.get_u64_le(), fields.get_u64_le()))
}

/// A frame being built: room for its header, then batches.
#[derive(Debug, Default)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
    batch_at: usize,
    changes: u32,
}

impl FrameBuffer {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() <= FRAME_HEADER
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Forgets its room if that has grown beyond `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        if self.bytes.capacity() > bytes {
            self.bytes = Vec::new();
        }
    }

    /// Opens a batch.
    pub(super) fn begin_batch(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.resize(FRAME_HEADER, 0);
        }
        self.batch_at = self.bytes.len();
        self.changes = 0;
        self.bytes.put_bytes(0, 12);
    }

    /// Adds a change to the open batch.
    pub(super) fn push(&mut self, change: &Change) {
        self.changes += 1;
        match change {
            Change::Set(key, value) => self.put(1, key, Some(value)),
            Change::Clear(key) => self.put(2, key, None),
            Change::ClearRange(begin, end) => self.put(3, begin, Some(end)),
        }
    }

    fn put(&mut self, tag: u8, first: &[u8], second: Option<&[u8]>) {
        let second_len = second.map_or(0, <[u8]>::len);
        self.bytes.reserve(9 + first.len() + second_len);
        self.bytes.put_u8(tag);
        self.bytes.put_u32_le(length(first));
        if let Some(second) = second {
            self.bytes.put_u32_le(length(second));
        }
        self.bytes.put_slice(first);
        self.bytes.put_slice(second.unwrap_or_default());
    }

    /// Closes the open batch; drops it unless `keep`.
    pub(super) fn end_batch(&mut self, version: u64, keep: bool) {
        if !keep {
            self.bytes.truncate(self.batch_at);
            return;
        }
        let header = self.bytes.get_mut(self.batch_at..self.batch_at + 12).expect("begin_batch made room");
        header[..8].copy_from_slice(&version.to_le_bytes());
        header[8..].copy_from_slice(&self.changes.to_le_bytes());
    }

    /// The frame, whole, for this place.
    pub(super) fn finish(&mut self, header: Header, place: Place) -> &[u8] {
        if self.bytes.is_empty() {
            self.bytes.resize(FRAME_HEADER, 0);
        }
        let (head, payload) = self.bytes.split_at_mut(FRAME_HEADER);
        let mut fields = &mut head[..];
        fields.put_u32_le(FRAME_MAGIC);
        fields.put_u32_le(length(payload));
        fields.put_u32_le(0);
        fields.put_u32_le(kind_code(header.kind));
        fields.put_u64_le(header.before);
        fields.put_u64_le(header.version);
        let crc = checksum(&head[12..], payload, place);
        head[8..12].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

/// A frame of no batches.
pub(super) fn marker(kind: Kind, version: u64, place: Place) -> Vec<u8> {
    let mut frame = FrameBuffer::default();
    frame.finish(Header { kind, before: version, version }, place).to_vec()
}

fn kind_code(kind: Kind) -> u32 {
    match kind {
        Kind::Commits => 1,
        Kind::Sealed => 2,
        Kind::Closed => 3,
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("keys, values and frames are far below 4 GiB")
}

fn checksum(fields: &[u8], payload: &[u8], place: Place) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&place.segment.to_le_bytes());
    crc.update(&place.offset.to_le_bytes());
    crc.update(fields);
    crc.update(&u64::from(length(payload)).to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// The whole frame at `place` in a segment's bytes: header and where its payload is.
pub(super) fn read_frame(segment: &[u8], place: Place) -> Result<(Header, std::ops::Range<usize>), &'static str> {
    let start = usize::try_from(place.offset).map_err(|_| "beyond the end")?;
    let head = segment.get(start..start.saturating_add(FRAME_HEADER)).ok_or("incomplete header")?;
    let mut fields = head;
    if fields.get_u32_le() != FRAME_MAGIC {
        return Err("no frame");
    }
    let length = fields.get_u32_le() as usize;
    let crc = fields.get_u32_le();
    let kind = fields.get_u32_le();
    let (before, version) = (fields.get_u64_le(), fields.get_u64_le());
    if length > PAYLOAD_MAX {
        return Err("impossible length");
    }
    let range = start + FRAME_HEADER..start + FRAME_HEADER + length;
    let payload = segment.get(range.clone()).ok_or("incomplete frame")?;
    if checksum(&head[12..], payload, place) != crc {
        return Err("wrong checksum");
    }
    let kind = match kind {
        1 => Kind::Commits,
        2 => Kind::Sealed,
        3 => Kind::Closed,
        _ => return Err("unknown kind"),
    };
    Ok((Header { kind, before, version }, range))
}

/// Offset of a whole frame after `from`, if there is one.
pub(super) fn find_frame_after(segment: &[u8], number: u64, from: usize) -> Option<u64> {
    let magic = FRAME_MAGIC.to_le_bytes();
    let mut at = from;
    while let Some(found) = segment.get(at..)?.iter().position(|byte| *byte == magic[0]) {
        at += found;
        let place = Place { segment: number, offset: at as u64 };
        if segment.get(at..)?.starts_with(&magic) && read_frame(segment, place).is_ok() {
            return Some(place.offset);
        }
        at += 1;
    }
    None
}

/// Batches of a payload, in order.
pub(super) fn read_batches(payload: &Bytes) -> Result<Vec<(u64, Vec<Change>)>, &'static str> {
    let mut rest = payload.clone();
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let version = rest.try_get_u64_le().map_err(|_| "incomplete batch")?;
        let count = rest.try_get_u32_le().map_err(|_| "incomplete batch")?;
        let mut changes = Vec::new();
        for _ in 0..count {
            changes.push(read_change(&mut rest)?);
        }
        batches.push((version, changes));
    }
    Ok(batches)
}

fn read_change(rest: &mut Bytes) -> Result<Change, &'static str> {
    let tag = rest.try_get_u8().map_err(|_| "incomplete change")?;
    let mut take_length = || rest.try_get_u32_le().map(|length| length as usize).map_err(|_| "incomplete change");
    let first = take_length()?;
    let second = if tag == 2 { 0 } else { take_length()? };
    if rest.len() < first.saturating_add(second) {
        return Err("incomplete change");
    }
    let (first, second) = (rest.split_to(first), rest.split_to(second));
    match tag {
        1 => Ok(Change::Set(first, second)),
        2 => Ok(Change::Clear(first)),
        3 => Ok(Change::ClearRange(first, second)),
        _ => Err("unknown change"),
    }
}
