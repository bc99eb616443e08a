//! Page tokens: where the next page of a list starts.
//!
//! A token is opaque to the caller: base64url text of a version byte, a hash of the filters
//! that it belongs to, and the key after which the next page starts. Bound to its filters, a
//! token cannot silently continue another list. It holds no secret and grants nothing: who forges
//! one only chooses where in his own list he goes on.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

const VERSION: u8 = 1;
/// Versions count up from 1. What begins with a number beyond these was never a token.
const VERSION_MAX: u8 = 15;
const HEADER_BYTES: usize = 1 + 8;
/// Bytes of the largest key: a schedule's id. Longer texts are not even decoded.
const AFTER_BYTES_MAX: usize = 128;
const TEXT_BYTES_MAX: usize = (HEADER_BYTES + AFTER_BYTES_MAX).div_ceil(3) * 4;

/// A decoded token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// The next page starts after this key.
    pub after: Vec<u8>,
    /// Of the filters that the list was asked for with.
    pub filter_hash: u64,
}

/// Why a text is no token for this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageTokenError {
    /// It was not made by a server.
    #[error("must be the next_page_token of an earlier page, unchanged")]
    Malformed,
    /// It was made by a version that this one does not know.
    #[error("must come from this version of the server, which writes version 1")]
    Version,
    /// It was made for other filters, or another list.
    #[error("must come from a page of the same list with the same filters")]
    OtherFilters,
}

impl PageToken {
    /// As text.
    pub fn encode(&self) -> String {
        debug_assert!(self.after.len() <= AFTER_BYTES_MAX, "a key longer than any id");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.after.len());
        bytes.push(VERSION);
        bytes.extend(self.filter_hash.to_be_bytes());
        bytes.extend(&self.after);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// # Errors
    /// When the text was not made by [`PageToken::encode`], or not for these filters.
    pub fn decode(text: &str, filter_hash: u64) -> Result<Self, PageTokenError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(PageTokenError::Malformed);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| PageTokenError::Malformed)?;
        let (&version, rest) = bytes.split_first().ok_or(PageTokenError::Malformed)?;
        if version != VERSION {
            let plausible = (1..=VERSION_MAX).contains(&version) && bytes.len() >= HEADER_BYTES;
            return Err(if plausible { PageTokenError::Version } else { PageTokenError::Malformed });
        }
        let (hash, after) = rest.split_first_chunk::<8>().ok_or(PageTokenError::Malformed)?;
        if u64::from_be_bytes(*hash) != filter_hash {
            return Err(PageTokenError::OtherFilters);
        }
        Ok(Self { after: after.to_vec(), filter_hash })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_of_other_lists_and_damaged_ones_are_told_apart() {
        let token = PageToken { after: b"key".to_vec(), filter_hash: 7 }.encode();
        assert_eq!(PageToken::decode(&token, 7).map(|t| t.after), Ok(b"key".to_vec()));
        let check = |text: &str, expect| assert_eq!(PageToken::decode(text, 7), Err(expect), "{text}");
        check(&PageToken { after: b"key".to_vec(), filter_hash: 8 }.encode(), PageTokenError::OtherFilters);
        check("", PageTokenError::Malformed);
        check("AQ", PageTokenError::Malformed);
        check("not a token", PageTokenError::Malformed);
        check("abc", PageTokenError::Malformed);
        check("abcdefghijklmnop", PageTokenError::Malformed);
        check("Ag", PageTokenError::Malformed);
        check(&format!("AA{}", &token[2..]), PageTokenError::Malformed);
        check(&token[..9], PageTokenError::Malformed);
        check(&format!("{token}="), PageTokenError::Malformed);
        check(&format!("Ag{}", &token[2..]), PageTokenError::Version);
        check(&token.repeat(100), PageTokenError::Malformed);
    }

    proptest! {
        #[test]
        fn tokens_read_back(after in prop::collection::vec(any::<u8>(), 0..=AFTER_BYTES_MAX), filter_hash: u64) {
            let token = PageToken { after, filter_hash };
            prop_assert_eq!(PageToken::decode(&token.encode(), filter_hash), Ok(token));
        }

        #[test]
        fn any_text_is_refused_or_read_without_panic(text in "\\PC{0,300}", filter_hash: u64) {
            let _ = PageToken::decode(&text, filter_hash);
        }
    }
}
