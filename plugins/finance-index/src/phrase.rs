//! A phrase of the vocabulary: one to four words and what their forms have in common.

use crate::words::{split, stem};

/// Words of a phrase.
pub const PHRASE_WORDS_MAX: usize = 4;
/// Bytes of a word: what the host takes as a term.
pub const WORD_BYTES_MAX: usize = 128;

/// A word as it is written, and its stem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub written: String,
    pub stem: String,
}

/// The words of a phrase, or the sentence that says why it is none.
pub fn phrase(text: &str) -> Result<Vec<Word>, String> {
    let words: Vec<Word> =
        split(text).into_iter().map(|written| Word { stem: stem(&written), written }).collect();
    let is_word = |w: &Word| !w.stem.is_empty() && w.written.len() <= WORD_BYTES_MAX;
    if (1..=PHRASE_WORDS_MAX).contains(&words.len()) && words.iter().all(is_word) {
        return Ok(words);
    }
    Err(format!(
        "`{text}` is no phrase of one to {PHRASE_WORDS_MAX} words, each of at most {WORD_BYTES_MAX} bytes"
    ))
}

/// What a phrase is looked up by: its stems with a space between two. A break is an empty stem, which no phrase has.
pub fn key<'s>(stems: impl IntoIterator<Item = &'s str>) -> String {
    let mut key = String::new();
    for (i, stem) in stems.into_iter().enumerate() {
        if i > 0 {
            key.push(' ');
        }
        key.push_str(stem);
    }
    key
}
