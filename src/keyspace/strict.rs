//! Whether bytes are exactly what packing would give. The tuple layer's reader takes more
//! than its writer writes: `15 00` and `14` are both the number 0.

use std::io;

use foundationdb_tuple::TuplePack;

use super::Kind;

/// The tuple layer's type code of an integer of one byte: every kind's code is one.
const ONE_BYTE: u8 = 0x15;

/// The kind that the bytes begin with.
pub(super) fn kind_of(bytes: &[u8]) -> Option<Kind> {
    match bytes {
        [ONE_BYTE, code, ..] => Kind::of(u32::from(*code)),
        _ => None,
    }
}

/// Whether packing `parts` gives these bytes. Allocates nothing.
pub(super) fn is_written_as<T: TuplePack>(parts: &T, bytes: &[u8]) -> bool {
    let mut rest = Expect(bytes);
    parts.pack_root(&mut rest).is_ok() && rest.0.is_empty()
}

/// Takes only the bytes that it expects.
struct Expect<'a>(&'a [u8]);

impl io::Write for Expect<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
