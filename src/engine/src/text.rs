//! Texts within their limits.

/// Room for the mark of a text that is cut.
const MARK_BYTES: usize = 40;

/// The longest beginning of whole characters that fits.
pub fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// As [`cut`], but a text that does not fit ends with how many bytes are missing, so that nobody
/// takes its beginning for the whole. `bytes_max` is at least 64.
pub fn cut_marked(text: String, bytes_max: usize) -> String {
    assert!(bytes_max >= 64, "no room for the mark");
    if text.len() <= bytes_max {
        return text;
    }
    let kept = text.floor_char_boundary(bytes_max - MARK_BYTES);
    format!("{}… {} bytes cut", &text[..kept], text.len() - kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("äöü".to_owned(), 6), "äöü");
        assert_eq!(cut("äöü".to_owned(), 5), "äö");
        assert_eq!(cut("äöü".to_owned(), 1), "");
    }

    #[test]
    fn a_text_that_is_cut_says_how_much_is_missing() {
        assert_eq!(cut_marked("a".repeat(64), 64), "a".repeat(64));
        assert_eq!(cut_marked("a".repeat(65), 64), format!("{}… 41 bytes cut", "a".repeat(24)));
        for bytes_max in 64..80 {
            let text = "ä".repeat(10_000);
            let marked = cut_marked(text.clone(), bytes_max);
            assert!(marked.len() <= bytes_max, "{marked}");
            let (kept, mark) = marked.split_once('…').unwrap();
            let missing: usize = mark.trim().strip_suffix(" bytes cut").unwrap().parse().unwrap();
            assert_eq!(kept.len() + missing, text.len());
            assert!(text.starts_with(kept));
        }
        assert!(cut_marked("a".repeat(1 << 20), 64).len() <= 64);
        // The longest text that there can be.
        assert!("… ".len() + usize::MAX.to_string().len() + " bytes cut".len() <= MARK_BYTES);
    }
}
