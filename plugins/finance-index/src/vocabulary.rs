//! The concepts of finance, the phrases that mean them, what hints at them, and how near they are to one another.

use crate::config::Synonyms;
use crate::phrase::{PHRASE_WORDS_MAX, Word, key, phrase};
use std::collections::BTreeMap;

/// As `build.rs` writes it.
#[derive(Debug)]
struct Concept {
    id: &'static str,
    /// As they are written, and their stems.
    words: &'static [(&'static str, &'static str)],
    hints: &'static [(&'static str, &'static str)],
    related: &'static [(usize, f32)],
}

// `CONCEPTS`; `PHRASES` and `HINTS` in the order of their keys.
include!(concat!(env!("OUT_DIR"), "/vocabulary.rs"));

/// What a hint at one concept alone says of it, against naming it. A hint at more says less, one at nearly all nothing.
const WEIGHT_HINT: f32 = 0.3;
/// What each further word of a hint adds to that: a longer one is said for fewer reasons.
const MORE_WORDS: f32 = 0.5;

/// Ready to find concepts in texts.
#[derive(Debug, Default)]
pub struct Vocabulary {
    /// The operator's phrases by their keys.
    added: BTreeMap<String, usize>,
    /// Those of one word, by concept.
    words: BTreeMap<usize, Vec<Word>>,
}

impl Vocabulary {
    /// The vocabulary with the operator's phrases.
    pub fn with(synonyms: &[Synonyms]) -> Result<Self, String> {
        let mut vocabulary = Self::default();
        for Synonyms { concept: id, phrases } in synonyms {
            let concept = CONCEPTS
                .iter()
                .position(|c| c.id == id)
                .ok_or_else(|| format!("`synonyms`: the vocabulary has no concept `{id}`"))?;
            for text in phrases {
                vocabulary.add(text, concept).map_err(|e| format!("`synonyms`: {e}"))?;
            }
        }
        Ok(vocabulary)
    }

    /// Lets a phrase mean a concept. What it means already is no harm to say again.
    fn add(&mut self, text: &str, concept: usize) -> Result<(), String> {
        let words = phrase(text)?;
        let key = key(words.iter().map(|w| w.stem.as_str()));
        match self.meant(&key) {
            Some(meant) if meant == Some(concept) => return Ok(()),
            Some(meant) => {
                let other = meant.map_or("an idiom", |c| self.id(c));
                return Err(format!("the phrase `{text}` is taken by {other}"));
            }
            None => self.added.insert(key, concept),
        };
        if let Ok([word]) = <[Word; 1]>::try_from(words) {
            self.words.entry(concept).or_default().push(word);
        }
        Ok(())
    }

    /// What a phrase means; `None`: it is none.
    fn meant(&self, key: &str) -> Option<Option<usize>> {
        let known = PHRASES.binary_search_by_key(&key, |phrase| phrase.0).ok();
        let known = known.and_then(|at| PHRASES.get(at)).map(|phrase| phrase.1);
        known.or_else(|| self.added.get(key).map(|concept| Some(*concept)))
    }

    /// How many concepts there are: the dimensions of every vector.
    pub fn size(&self) -> usize {
        CONCEPTS.len()
    }

    pub fn id(&self, concept: usize) -> &'static str {
        CONCEPTS.get(concept).map_or("", |c| c.id)
    }

    /// Words that mean this concept beside its name, the most usual first, each with its stem.
    pub fn words(&self, concept: usize) -> impl Iterator<Item = (&str, &str)> {
        let added = self.words.get(&concept).into_iter().flatten();
        let known = CONCEPTS.get(concept).map_or(&[][..], |c| c.words);
        known.iter().copied().chain(added.map(|w| (w.written.as_str(), w.stem.as_str())))
    }

    /// Words that hint at it, each with its stem.
    pub fn hints(&self, concept: usize) -> &'static [(&'static str, &'static str)] {
        CONCEPTS.get(concept).map_or(&[], |c| c.hints)
    }

    /// Concepts near this one, with weights up to 1.
    pub fn related(&self, concept: usize) -> impl Iterator<Item = (usize, f32)> {
        CONCEPTS.get(concept).map_or(&[][..], |c| c.related).iter().copied()
    }

    /// The concepts that stemmed words mean, in their order, each as often as it is meant. The longest phrase counts, and
    /// what is in it means nothing more: a short squeeze is no squeeze.
    pub fn find(&self, stems: &[String]) -> Vec<usize> {
        let (mut found, mut rest) = (Vec::new(), stems);
        while !rest.is_empty() {
            let longest = (1..=PHRASE_WORDS_MAX)
                .rev()
                .find_map(|n| Some((n, self.meant(&key(rest.get(..n)?.iter().map(String::as_str)))?)));
            let (words, meant) = longest.unwrap_or((1, None));
            found.extend(meant);
            rest = rest.get(words..).unwrap_or_default();
        }
        found
    }

    /// What stemmed words hint at, and how much, up to 1 as if it was named. Each hint counts once.
    pub fn hinted(&self, stems: &[String]) -> BTreeMap<usize, f32> {
        let mut hints: BTreeMap<String, f32> = BTreeMap::new();
        for from in 0..stems.len() {
            for words in 1..=PHRASE_WORDS_MAX {
                let Some(some) = stems.get(from..from + words) else { break };
                let longer = 1.0 + MORE_WORDS * (words - 1) as f32;
                hints.insert(key(some.iter().map(String::as_str)), longer);
            }
        }
        let mut found = BTreeMap::new();
        for (hint, longer) in hints {
            let at = HINTS.binary_search_by_key(&hint.as_str(), |hint| hint.0).ok();
            let Some((_, concepts)) = at.and_then(|at| HINTS.get(at)) else { continue };
            let rare = 1.0 - (concepts.len() as f32).ln() / (CONCEPTS.len() as f32).ln();
            for concept in *concepts {
                let much = found.entry(*concept).or_insert(0.0_f32);
                *much = (*much + WEIGHT_HINT * longer * rare).min(1.0);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{stem, stems};

    /// Names are unique, relations are to known concepts, no phrase has two meanings.
    #[test]
    fn the_vocabulary_is_consistent() {
        let vocabulary = Vocabulary::with(&[]).unwrap();
        assert!((60..=crate::read::CONCEPTS_MAX).contains(&vocabulary.size()), "{}", vocabulary.size());
        for concept in 0..vocabulary.size() {
            let id = vocabulary.id(concept);
            assert!(id.bytes().all(|b| b.is_ascii_lowercase()), "{id}: one word");
            assert_eq!(vocabulary.find(&[stem(id)]), [concept], "{id} means itself");
            assert!(vocabulary.words(concept).count() + vocabulary.related(concept).count() > 0, "{id}");
        }
        assert!(PHRASES.is_sorted_by_key(|p| p.0) && HINTS.is_sorted_by_key(|h| h.0));
    }

    #[test]
    fn relations_hold_both_ways() {
        let vocabulary = Vocabulary::with(&[]).unwrap();
        for one in 0..vocabulary.size() {
            for (other, weight) in vocabulary.related(one) {
                assert!(vocabulary.related(other).any(|back| back == (one, weight)));
            }
        }
    }

    #[test]
    fn the_longest_phrase_counts() {
        let vocabulary = Vocabulary::with(&[]).unwrap();
        let found =
            |text| vocabulary.find(&stems(text)).into_iter().map(|c| vocabulary.id(c)).collect::<Vec<_>>();
        assert_eq!(found("squeeze, short squeezes; hedge fund"), ["squeeze", "shortsqueeze"]);
        assert_eq!(found("short. squeeze"), ["squeeze"], "no phrase reaches across a break");
    }

    #[test]
    fn hints_add_up_and_common_ones_say_less() {
        let vocabulary = Vocabulary::with(&[]).unwrap();
        let much = |text: &str, id: &str| {
            let found = vocabulary.hinted(&stems(text));
            found.iter().find(|(c, _)| vocabulary.id(**c) == id).map_or(0.0, |(_, much)| *much)
        };
        let (one, two) = (much("taxman", "tax"), much("taxman and a deduction", "tax"));
        assert!(one > 0.29 && two > 1.9 * one, "{one} {two}");
        assert!((much("taxman taxman", "tax") - one).abs() < 1e-6, "each once");
        assert!(much("rate", "centralbank") < one, "it hints at others too");
        assert!(much("end of the world", "crashinsurance") > one, "a longer one says more");
        assert!(vocabulary.hinted(&stems("qwertz")).is_empty());
        let all = (0..vocabulary.size()).flat_map(|c| vocabulary.hints(c)).map(|h| h.0);
        let all = all.collect::<Vec<_>>().join(" ");
        assert!(vocabulary.hinted(&stems(&all)).values().all(|much| (0.0..=1.0).contains(much)));
    }
}
