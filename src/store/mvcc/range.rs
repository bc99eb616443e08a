//! Range reads over window and base together.

use bytes::Bytes;

use super::{
    base::{Base, Visit},
    window::{Stretch, Window},
};
use crate::store::{RangePage, StoreError, engine::RangeRead};

/// Keys of the window looked at in one stretch: bounds how long its lock is held.
const STRETCH_KEYS_MIN: usize = 64;
const STRETCH_KEYS_MAX: usize = 1024;
/// Cleared rows of the base passed over before the scan jumps beyond the cleared range.
const PASSED_ROWS_MAX: usize = 16;

/// Collects rows until a limit is reached.
struct Page {
    rows: Vec<(Bytes, Bytes)>,
    limit: usize,
    target_bytes: usize,
    bytes: usize,
}

impl Page {
    fn new(read: &RangeRead) -> Self {
        let or_none = |limit| if limit == 0 { usize::MAX } else { limit };
        Self { rows: Vec::new(), limit: or_none(read.limit), target_bytes: or_none(read.target_bytes), bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.limit || (self.bytes >= self.target_bytes && !self.rows.is_empty())
    }

    fn push(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.rows.push((key, value));
    }
}

/// One stretch of the window being merged with the base, in the direction of the read.
struct Merge<'a> {
    page: &'a mut Page,
    entries: std::iter::Peekable<std::vec::IntoIter<(Bytes, Option<Bytes>)>>,
    cleared: &'a [(Bytes, Bytes)],
    reverse: bool,
    passed: usize,
}

impl Merge<'_> {
    /// Rows of the window that come before `key` (all of them for `None`).
    fn emit_before(&mut self, key: Option<&[u8]>) {
        while !self.page.is_full() {
            let reverse = self.reverse;
            let is_before = |own: &[u8]| key.is_none_or(|key| if reverse { own > key } else { own < key });
            let next = self.entries.peek().is_some_and(|(own, _)| is_before(own));
            if !next {
                return;
            }
            if let Some((own, Some(value))) = self.entries.next() {
                self.page.push(own, value);
            }
        }
    }

    /// A row of the base.
    fn visit(&mut self, key: &[u8], value: &[u8]) -> Visit {
        self.emit_before(Some(key));
        if self.page.is_full() {
            return Visit::Stop;
        }
        if self.entries.peek().is_some_and(|(own, _)| own == key) {
            if let Some((own, Some(value))) = self.entries.next() {
                self.page.push(own, value);
            }
        } else if let Some((begin, end)) = self.cleared_around(key) {
            self.passed += 1;
            if self.passed > PASSED_ROWS_MAX {
                self.passed = 0;
                return Visit::Seek(if self.reverse { begin } else { end });
            }
            return Visit::Next;
        } else {
            self.page.push(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        }
        if self.page.is_full() { Visit::Stop } else { Visit::Next }
    }

    fn cleared_around(&self, key: &[u8]) -> Option<(Bytes, Bytes)> {
        let upto = self.cleared.partition_point(|(begin, _)| begin <= key);
        let (begin, end) = self.cleared.get(upto.checked_sub(1)?)?;
        (end > key).then(|| (begin.clone(), end.clone()))
    }
}

/// Rows of `read`. `stretch` asks the window; the base is asked after it, so that what is
/// flushed in between is seen in one of them.
pub(crate) fn merged<B: Base + ?Sized>(
    base: &B,
    read: &RangeRead,
    with_window: impl Fn(&mut dyn FnMut(&Window)),
    version: u64,
) -> Result<RangePage, StoreError> {
    let mut page = Page::new(read);
    let (mut begin, mut end) = (read.begin.clone(), read.end.clone());
    let mut keys_max = STRETCH_KEYS_MIN.max(read.limit.min(STRETCH_KEYS_MAX));
    while begin < end && !page.is_full() {
        let mut stretch = Stretch::default();
        with_window(&mut |window| stretch = window.stretch(&begin, &end, version, read.reverse, keys_max));
        merge_stretch(base, &mut page, &mut stretch, read.reverse)?;
        if read.reverse {
            end = stretch.begin;
        } else {
            begin = stretch.end;
        }
        keys_max = (keys_max * 4).min(STRETCH_KEYS_MAX);
    }
    let more = page.is_full();
    Ok(RangePage { rows: page.rows, more })
}

fn merge_stretch<B: Base + ?Sized>(
    base: &B,
    page: &mut Page,
    stretch: &mut Stretch,
    reverse: bool,
) -> Result<(), StoreError> {
    let entries = std::mem::take(&mut stretch.entries).into_iter().peekable();
    let mut merge = Merge { page, entries, cleared: &stretch.cleared, reverse, passed: 0 };
    let (mut begin, mut end) = (stretch.begin.clone(), stretch.end.clone());
    while begin < end {
        match base.scan(&begin, &end, reverse, &mut |key, value| merge.visit(key, value))? {
            Visit::Next => break,
            Visit::Stop => return Ok(()),
            Visit::Seek(to) if reverse => end = to,
            Visit::Seek(to) => begin = to,
        }
    }
    merge.emit_before(None);
    Ok(())
}
