//! What is asked: words, words that are still being typed, phrases in quotes. Nothing in a question is an error of syntax.

use super::words::{asked, says_nothing};
use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// Bytes of a question.
pub const QUESTION_BYTES_MAX: usize = 4 << 10;
/// Different words of a question that mean something.
pub const WORDS_MAX: usize = 64;
/// Phrases in quotes.
pub const PHRASES_MAX: usize = 8;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::skills) struct Question {
    /// Each once, in order; without those that mean nothing, unless there are no others.
    pub words: Vec<String>,
    /// Those of them that any word may complete.
    pub begun: Vec<String>,
    /// The last word, if more of it may be typed.
    pub typing: Option<String>,
    /// The words of each phrase, in order.
    pub phrases: Vec<Vec<String>>,
}

impl Question {
    pub(in crate::skills) fn parse(text: &str) -> Result<Self> {
        if text.len() > QUESTION_BYTES_MAX {
            let bound = format!("{QUESTION_BYTES_MAX} bytes");
            return Err(Error::limit("the question", bound, "ask in fewer words"));
        }
        let all = asked(text);
        if all.is_empty() {
            return Err(Error::invalid("the question has no words")
                .hint("ask with letters or digits, such as `buy the dip`"));
        }
        let typing = text.ends_with(char::is_alphanumeric).then(|| all.last().cloned()).flatten();
        let mut words = distinct(all.iter().filter(|w| !says_nothing(w)));
        if words.is_empty() {
            words = distinct(all.iter());
        }
        if words.len() > WORDS_MAX {
            return Err(Error::limit(
                format!("a question of {} different words", words.len()),
                WORDS_MAX,
                "ask for less at once",
            ));
        }
        let phrases: Vec<_> = quoted(text).map(asked).filter(|words| words.len() > 1).collect();
        if phrases.len() > PHRASES_MAX {
            return Err(Error::limit(
                format!("a question of {} phrases", phrases.len()),
                PHRASES_MAX,
                "ask for less at once",
            ));
        }
        let begun = text.match_indices('*').filter_map(|(at, _)| text.get(..at));
        let begun = begun.filter(|t| t.ends_with(char::is_alphanumeric)).filter_map(|t| asked(t).pop());
        Ok(Self { begun: distinct(begun.collect::<Vec<_>>().iter()), typing, phrases, words })
    }
}

fn distinct<'w>(words: impl Iterator<Item = &'w String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    words.filter(|word| seen.insert(*word)).cloned().collect()
}

/// What stands between two quotes; one that nothing closes is text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let parts: Vec<&str> = text.split(['"', '“', '”']).collect();
    let closed = parts.len().saturating_sub(1);
    parts.into_iter().enumerate().filter(move |(i, _)| i % 2 == 1 && *i < closed).map(|(_, part)| part)
}
