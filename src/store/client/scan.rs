//! Walks a range through the overlay and the engine's pages at once.

use std::{cmp::Ordering, ops::ControlFlow};

use bytes::Bytes;

use super::{
    ClientTransaction,
    limits::ROW_OVERHEAD_BYTES,
    overlay::{Overlay, Write, apply_all},
    ranges::key_after,
    reads::Reader,
};
use crate::store::{RangePage, StoreError, engine::RangeRead};

/// Rows asked for beyond those wanted, as some may turn out to be cleared.
const SPARE_ROWS_MAX: usize = 128;
/// How often the number of rows asked for is doubled, while cleared ones hide the rest.
const DOUBLINGS_MAX: u32 = 6;

/// What is left to be read.
#[derive(Debug)]
pub(in crate::store) struct Scan {
    pub(in crate::store) begin: Bytes,
    pub(in crate::store) end: Bytes,
    /// `usize::MAX`: no limit.
    pub(in crate::store) rows_max: usize,
    /// `usize::MAX`: no limit.
    pub(in crate::store) bytes_max: usize,
    pub(in crate::store) reverse: bool,
}

/// Rows in the order asked for.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) rows: Vec<(Bytes, Bytes)>,
    /// A limit was reached: there may be more.
    pub(super) stopped: bool,
}

impl ClientTransaction {
    pub(super) async fn scan(&self, reader: &Reader, mut left: Scan) -> Result<Scanned, StoreError> {
        let mut scanned = Scanned::default();
        let mut pages = 0;
        while left.begin < left.end && !scanned.stopped {
            let (known, spare) = {
                let state = self.lock();
                let overlay = &state.overlay;
                match reader.sees_writes {
                    true => (left.cleared_edge(overlay), overlay.writes().len().min(SPARE_ROWS_MAX)),
                    false => (None, 0),
                }
            };
            let (rows, edge) = match known {
                Some(edge) => (Vec::new(), edge),
                None => {
                    pages += 1;
                    self.fetch(reader, &left, spare, pages).await?
                }
            };
            let state = self.lock();
            let unwritten = Overlay::default();
            let overlay = if reader.sees_writes { &state.overlay } else { &unwritten };
            left.merge(rows, &edge, overlay, &mut scanned)?;
            if left.reverse {
                left.end = edge;
            } else {
                left.begin = edge;
            }
        }
        Ok(scanned)
    }

    /// The next page of the engine, and the key up to which it tells everything.
    async fn fetch(
        &self,
        reader: &Reader,
        left: &Scan,
        spare: usize,
        pages: u32,
    ) -> Result<(Vec<(Bytes, Bytes)>, Bytes), StoreError> {
        let version = self.version(&reader.epoch).await?;
        let limit = match left.rows_max {
            usize::MAX => 0,
            rows => rows.saturating_add(spare).saturating_mul(1 << (pages - 1).min(DOUBLINGS_MAX)),
        };
        let read = RangeRead {
            begin: left.begin.clone(),
            end: left.end.clone(),
            limit,
            target_bytes: if left.bytes_max == usize::MAX { 0 } else { left.bytes_max },
            reverse: left.reverse,
        };
        let page = self.bounded(&reader.epoch, reader.deadline, self.engine.get_range(read, version)).await?;
        let RangePage { rows, more } = page;
        let whole = if left.reverse { &left.begin } else { &left.end };
        let edge = match rows.last() {
            Some((last, _)) if more && left.reverse => last.clone(),
            Some((last, _)) if more => key_after(last),
            None if more => {
                return Err(StoreError::with(StoreError::OPERATION_FAILED, "a page without rows says there are more"));
            }
            _ => whole.clone(),
        };
        Ok((rows, edge))
    }
}

impl Scan {
    /// If a cleared range comes next: its far edge. The engine need not be asked up to there.
    fn cleared_edge(&self, overlay: &Overlay) -> Option<Bytes> {
        let cleared = overlay.cleared();
        if self.reverse {
            cleared.around_end(&self.end).map(|(begin, _)| begin.max(&self.begin).clone())
        } else {
            cleared.around(&self.begin).map(|(_, end)| end.min(&self.end).clone())
        }
    }

    /// Adds what engine and overlay together hold from the near end of `self` to `edge`.
    fn merge(
        &mut self,
        rows: Vec<(Bytes, Bytes)>,
        edge: &Bytes,
        overlay: &Overlay,
        scanned: &mut Scanned,
    ) -> Result<(), StoreError> {
        let (begin, end) = if self.reverse { (edge, &self.end) } else { (&self.begin, edge) };
        let mut hidden = overlay.unreadable().overlapping(begin, end);
        // Where reading becomes impossible. Stopping before it is fine.
        let wall = if self.reverse {
            hidden.next_back().map(|(_, last)| last.min(end).clone())
        } else {
            hidden.next().map(|(first, _)| first.max(begin).clone())
        };
        drop(hidden);
        let written = overlay.writes().range(begin.clone()..end.clone());
        let flow = if self.reverse {
            self.zip(rows, written.rev(), overlay, wall.as_ref(), scanned)?
        } else {
            self.zip(rows, written, overlay, wall.as_ref(), scanned)?
        };
        match (flow, wall) {
            (ControlFlow::Continue(()), Some(_)) => Err(StoreError::new(StoreError::ACCESSED_UNREADABLE)),
            _ => Ok(()),
        }
    }

    fn zip<'a>(
        &mut self,
        rows: Vec<(Bytes, Bytes)>,
        written: impl Iterator<Item = (&'a Bytes, &'a Write)>,
        overlay: &Overlay,
        wall: Option<&Bytes>,
        scanned: &mut Scanned,
    ) -> Result<ControlFlow<()>, StoreError> {
        let unreadable = || Err(StoreError::new(StoreError::ACCESSED_UNREADABLE));
        let mut rows = rows.into_iter().peekable();
        let mut written = written.peekable();
        loop {
            let order = match (rows.peek(), written.peek()) {
                (None, None) => return Ok(ControlFlow::Continue(())),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((row, _)), Some((key, _))) if self.reverse => (*key).cmp(row),
                (Some((row, _)), Some((key, _))) => row.cmp(key),
            };
            let row = if order.is_le() { rows.next() } else { None };
            let (key, value) = match (row, if order.is_ge() { written.next() } else { None }) {
                (Some((key, value)), None) => {
                    let hidden = overlay.cleared().contains(&key);
                    (key, Some(value).filter(|_| !hidden))
                }
                (row, Some((key, write))) => {
                    let value = match write {
                        Write::Unreadable => return unreadable(),
                        Write::Known { value, .. } => value.clone(),
                        Write::Stacked(stack) => apply_all(stack, row.map(|(_, value)| value)),
                    };
                    (key.clone(), value)
                }
                (None, None) => continue,
            };
            let Some(value) = value else { continue };
            if wall.is_some_and(|wall| if self.reverse { key < *wall } else { key >= *wall }) {
                return unreadable();
            }
            self.rows_max = if self.rows_max == usize::MAX { usize::MAX } else { self.rows_max - 1 };
            if self.bytes_max != usize::MAX {
                self.bytes_max = self.bytes_max.saturating_sub(ROW_OVERHEAD_BYTES + key.len() + value.len());
            }
            scanned.rows.push((key, value));
            if self.rows_max == 0 || self.bytes_max == 0 {
                scanned.stopped = true;
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}
