//! The end of an output stream, whatever its length.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, PoisonError},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Keeps the last bytes of what it is given.
#[derive(Debug)]
pub(super) struct Tail {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    /// More came before.
    truncated: bool,
    /// Bytes that came in all.
    total: u64,
}

/// The last lines of a stream that is still open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LastLines {
    pub(super) text: String,
    /// Bytes of the stream up to the end of the text.
    pub(super) end: u64,
}

impl Tail {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// Reads to the end. What was read so far is kept when the future is dropped.
    pub(super) async fn fill_from(&self, mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            self.push(&buffer[..read]);
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut guard = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *guard;
        kept.total += u64::try_from(bytes.len()).expect("a buffer's length fits 64 bits");
        kept.bytes.extend(bytes);
        if kept.bytes.len() > self.bytes_max {
            kept.bytes.drain(..kept.bytes.len() - self.bytes_max);
            kept.truncated = true;
        }
    }

    /// The text, and whether more came before it. A character that was cut in two is left out.
    pub(super) fn text(&self) -> (String, bool) {
        let mut guard = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let truncated = guard.truncated;
        let mut bytes: &[u8] = guard.bytes.make_contiguous();
        if truncated {
            // At most three continuation bytes belong to a character that began before.
            let partial = bytes.iter().take(3).take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000).count();
            bytes = &bytes[partial..];
        }
        (String::from_utf8_lossy(bytes).into_owned(), truncated)
    }

    /// The last whole lines, of at most `bytes_max` bytes together. A line that is longer is
    /// left out. The longest end that is whole lines is chosen; it may be empty.
    pub(super) fn last_lines(&self, bytes_max: usize) -> LastLines {
        let mut guard = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (total, truncated) = (guard.total, guard.truncated);
        let bytes: &[u8] = guard.bytes.make_contiguous();
        let is_end = |byte: &u8| *byte == b'\n';
        let until = bytes.iter().rposition(is_end).map_or(0, |at| at + 1);
        let unfinished = u64::try_from(bytes.len() - until).expect("a buffer's length fits 64 bits");
        let mut from = until.saturating_sub(bytes_max);
        // A line whose start is not there is not whole.
        if (from > 0 && !is_end(&bytes[from - 1])) || (from == 0 && truncated) {
            from = bytes[from..until].iter().position(is_end).map_or(until, |at| from + at + 1);
        }
        LastLines { text: String::from_utf8_lossy(&bytes[from..until]).into_owned(), end: total - unfinished }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_last_whole_lines_and_says_where_they_end() {
        let check = |kept_max, max, pushes: &[&str], text: &str, end| {
            let tail = Tail::new(kept_max);
            for push in pushes {
                tail.push(push.as_bytes());
            }
            assert_eq!(tail.last_lines(max), LastLines { text: text.to_owned(), end }, "{pushes:?}");
        };
        check(99, 99, &[], "", 0);
        check(99, 99, &["a\nb"], "a\n", 2);
        check(99, 99, &["a\nb", "c\n"], "a\nbc\n", 5);
        check(99, 4, &["a\nb", "c\n"], "bc\n", 5);
        check(99, 3, &["a\nb", "c\n"], "bc\n", 5);
        check(99, 2, &["a\nb", "c\n"], "", 5);
        check(4, 99, &["a\nb", "c\n"], "bc\n", 5);
        check(3, 99, &["ab\nc\nd"], "", 5);
        check(0, 99, &["a\n"], "", 2);
    }

    #[test]
    fn only_the_end_is_kept_in_whole_characters() {
        let check = |max, pushes: &[&str], expect: &str, truncated| {
            let tail = Tail::new(max);
            for push in pushes {
                tail.push(push.as_bytes());
            }
            assert_eq!(tail.text(), (expect.to_owned(), truncated));
        };
        check(5, &["abc", "de"], "abcde", false);
        check(5, &["abc", "def"], "bcdef", true);
        check(4, &["x".repeat(1000).as_str(), "end"], "xend", true);
        check(5, &["aäöü"], "öü", true);
        check(0, &["a"], "", true);
    }
}
