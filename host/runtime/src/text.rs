//! Text from a guest, made fit for a log, a terminal and a database.

/// At most `bytes_max` bytes, cut at a character; what could steer a terminal or forge a line is written out.
pub(crate) fn printable(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        let before = out.len();
        if c.is_control() || is_bidi(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > bytes_max {
            out.truncate(before);
            break;
        }
    }
    out
}

/// Characters that turn the direction of what follows, so that a line reads as another one.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_steers_a_terminal_or_forges_a_line() {
        for (text, want) in [
            ("plain ä €", "plain ä €"),
            ("\u{1b}[2J\r\nforged\0", "\\u{1b}[2J\\r\\nforged\\u{0}"),
            ("a\u{202e}b\u{2028}c\u{9b}", "a\\u{202e}b\\u{2028}c\\u{9b}"),
        ] {
            assert_eq!(printable(text, 100), want);
        }
    }

    #[test]
    fn a_cut_is_between_characters_and_between_escapes() {
        assert_eq!(printable("abc", 3), "abc");
        assert_eq!(printable("abcd", 3), "abc");
        assert_eq!(printable("aää", 4), "aä");
        assert_eq!(printable("a\n", 2), "a");
        assert_eq!(printable("x", 0), "");
    }
}
