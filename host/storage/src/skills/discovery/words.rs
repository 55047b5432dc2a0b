//! Words of a text, in every script.
//!
//! Lower case, in one spelling (NFKC), without the accents of Latin, Greek and Cyrillic letters. Scripts that write no
//! spaces give pairs of neighbouring characters, so that any part of a sentence can be found.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::{decompose_canonical, is_combining_mark};

/// Bytes of a word; what is longer is cut, here as there, and so still equal.
pub(super) const WORD_BYTES_MAX: usize = 64;

/// What a question says without meaning a skill by it.
const SAYS_NOTHING: &[&str] = &[
    "a",
    "about",
    "after",
    "again",
    "all",
    "am",
    "an",
    "and",
    "any",
    "anyone",
    "are",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "between",
    "both",
    "but",
    "by",
    "can",
    "cannot",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "dont",
    "during",
    "each",
    "ever",
    "every",
    "few",
    "for",
    "from",
    "get",
    "give",
    "go",
    "going",
    "had",
    "has",
    "have",
    "having",
    "he",
    "help",
    "her",
    "here",
    "him",
    "his",
    "how",
    "i",
    "if",
    "im",
    "in",
    "into",
    "is",
    "it",
    "its",
    "ive",
    "just",
    "like",
    "me",
    "might",
    "more",
    "most",
    "my",
    "near",
    "need",
    "no",
    "nor",
    "not",
    "of",
    "on",
    "once",
    "one",
    "only",
    "or",
    "other",
    "our",
    "out",
    "own",
    "please",
    "same",
    "she",
    "should",
    "show",
    "so",
    "some",
    "such",
    "than",
    "that",
    "thats",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "this",
    "those",
    "through",
    "to",
    "too",
    "us",
    "very",
    "want",
    "was",
    "way",
    "we",
    "were",
    "what",
    "whats",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "without",
    "would",
    "you",
    "your",
    "something",
    "someone",
    "somebody",
    "anything",
    "much",
    "many",
];

/// Does a question mean nothing by this word?
pub(super) fn says_nothing(word: &str) -> bool {
    SAYS_NOTHING.contains(&word)
}

/// Written without spaces between words: Thai to Myanmar, Khmer, kana, Han, Hangul (which joins its particles).
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x31F0..=0x31FF | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0x2_0000..=0x3_134F)
}

/// The words of a text that is searched, in order, each as often as it comes.
pub(super) fn words(text: &str, mut each: impl FnMut(&str)) {
    split(text, &mut |word, unspaced| pairs(word, unspaced, true, &mut each));
}

/// The words of a question. The last character of an unspaced run is no word of its own, unless it is all of it.
pub(super) fn asked(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    split(text, &mut |word, unspaced| pairs(word, unspaced, false, &mut |w| out.push(w.to_string())));
    out
}

fn pairs(word: &str, unspaced: bool, stored: bool, each: &mut impl FnMut(&str)) {
    if !unspaced {
        let end = word.floor_char_boundary(WORD_BYTES_MAX);
        return each(word.get(..end).unwrap_or(word));
    }
    let starts: Vec<usize> = word.char_indices().map(|(i, _)| i).chain([word.len()]).collect();
    let single = stored || starts.len() <= 2;
    for window in starts.windows(2).enumerate() {
        let (i, [from, to]) = (window.0, window.1) else { continue };
        let to = starts.get(i + 2).unwrap_or(to);
        if (i + 2 < starts.len() || single)
            && let Some(pair) = word.get(*from..*to)
        {
            each(pair);
        }
    }
}

/// Runs of letters and digits of one kind; an apostrophe within a word is left out.
fn split(text: &str, each: &mut impl FnMut(&str, bool)) {
    let (mut word, mut unspaced) = (String::new(), false);
    let mut take = |c: Option<char>| {
        let apart = c.is_some_and(is_unspaced);
        if !word.is_empty() && (c.is_none() || apart != unspaced) {
            each(&word, unspaced);
            word.clear();
        }
        unspaced = apart;
        word.extend(c);
    };
    if text.is_ascii() {
        let bytes = text.as_bytes();
        for (i, b) in bytes.iter().enumerate() {
            if b.is_ascii_alphanumeric() {
                take(Some(char::from(b.to_ascii_lowercase())));
            } else if *b != b'\'' || !bytes.get(i + 1).is_some_and(u8::is_ascii_alphabetic) {
                take(None);
            }
        }
        return take(None);
    }
    let mut chars = text.nfkc().flat_map(char::to_lowercase).peekable();
    while let Some(c) = chars.next() {
        let apostrophe = matches!(c, '\'' | '’') && chars.peek().is_some_and(|n| n.is_alphabetic());
        match c {
            // At the end of a word.
            'ς' => take(Some('σ')),
            c if is_accent(c) || apostrophe => {}
            c if is_unspaced(c) && c.is_alphanumeric() || is_combining_mark(c) => take(Some(c)),
            c if c.is_alphanumeric() => decompose_canonical(c, |part| {
                if !is_accent(part) {
                    take(Some(part));
                }
            }),
            _ => take(None),
        }
    }
    take(None);
}

/// Combining Diacritical Marks.
fn is_accent(c: char) -> bool {
    matches!(u32::from(c), 0x0300..=0x036F)
}
