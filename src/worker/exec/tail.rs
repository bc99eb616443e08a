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
    kept: Mutex<(VecDeque<u8>, bool)>,
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
        let (kept, truncated) = &mut *guard;
        kept.extend(bytes);
        if kept.len() > self.bytes_max {
            kept.drain(..kept.len() - self.bytes_max);
            *truncated = true;
        }
    }

    /// The text, and whether more came before it. A character that was cut in two is left out.
    pub(super) fn text(&self) -> (String, bool) {
        let mut guard = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, truncated) = &mut *guard;
        let mut bytes: &[u8] = kept.make_contiguous();
        if *truncated {
            // At most three continuation bytes belong to a character that began before.
            let partial = bytes.iter().take(3).take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000).count();
            bytes = &bytes[partial..];
        }
        (String::from_utf8_lossy(bytes).into_owned(), *truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
