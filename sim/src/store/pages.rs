//! Which pages of range reads were full, and were continued.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use escapement::store::{RangePage, engine::RangeRead};

/// Ends of pages that are remembered. Whoever reads on does so soon.
const ENDS_MAX: usize = 4096;

/// Looks at range reads. Changes nothing.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Where the page after a full one begins.
    ends: BTreeSet<Vec<u8>>,
    /// Pages that began there, by the first two bytes of their keys.
    continued: BTreeMap<[u8; 2], u64>,
}

impl Pages {
    /// A page was read.
    pub(super) fn read(&self, read: &RangeRead, page: &RangePage) {
        if read.reverse {
            return;
        }
        let mut inner = self.lock();
        if inner.ends.remove(&read.begin[..])
            && let Some(prefix) = prefix(&read.begin)
        {
            *inner.continued.entry(prefix).or_default() += 1;
        }
        let is_full = page.more && read.limit > 0 && page.rows.len() == read.limit;
        let last = page.rows.last().filter(|_| is_full);
        if let Some((last, _)) = last
            && inner.ends.len() < ENDS_MAX
        {
            inner.ends.insert([last, &b"\0"[..]].concat());
        }
    }

    pub(super) fn continued(&self, prefix: [u8; 2]) -> u64 {
        self.lock().continued.get(&prefix).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn prefix(key: &Bytes) -> Option<[u8; 2]> {
    key.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(begin: &[u8], limit: usize, keys: &[&'static [u8]], more: bool) -> (RangeRead, RangePage) {
        let (begin, end) = (Bytes::copy_from_slice(begin), Bytes::from_static(&[0xff]));
        let rows = keys.iter().map(|key| (Bytes::from_static(key), Bytes::new())).collect();
        (RangeRead { begin, end, limit, target_bytes: 0, reverse: false }, RangePage { rows, more })
    }

    #[test]
    fn a_full_page_counts_once_another_begins_behind_its_last_row() {
        let pages = Pages::default();
        let check = |(read, page): (RangeRead, RangePage), expected: u64| {
            pages.read(&read, &page);
            assert_eq!(pages.continued(*b"ab"), expected);
        };
        check(page(b"ab", 2, &[b"ab1", b"ab2"], true), 0);
        // It begins elsewhere.
        check(page(b"ab3", 2, &[b"ab3"], false), 0);
        check(page(b"ab2\0", 2, &[b"ab3"], false), 1);
        // Not again, and not after the last page, and not after one that ended early.
        check(page(b"ab2\0", 2, &[b"ab3"], false), 1);
        check(page(b"ab3\0", 2, &[], false), 1);
        check(page(b"ab", 9, &[b"ab1"], true), 1);
        check(page(b"ab1\0", 9, &[], false), 1);
        assert_eq!(pages.continued(*b"aa"), 0);
    }
}
