//! The concepts of finance, the phrases that mean them, and how near they are to one another.

use crate::config::Synonyms;
use crate::words::{split, stem};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

/// The entries, by theme; `vocabulary/price.txt` begins with how they are written.
const THEMES: [&str; 13] = [
    include_str!("../vocabulary/price.txt"),
    include_str!("../vocabulary/indicators.txt"),
    include_str!("../vocabulary/regimes.txt"),
    include_str!("../vocabulary/risk.txt"),
    include_str!("../vocabulary/value.txt"),
    include_str!("../vocabulary/events.txt"),
    include_str!("../vocabulary/execution.txt"),
    include_str!("../vocabulary/options.txt"),
    include_str!("../vocabulary/methods.txt"),
    include_str!("../vocabulary/strategies.txt"),
    include_str!("../vocabulary/economy.txt"),
    include_str!("../vocabulary/data.txt"),
    include_str!("../vocabulary/operations.txt"),
];

/// Concepts, and with them the dimensions of a vector: what the host takes.
pub const CONCEPTS_MAX: usize = 256;
/// Words of a phrase.
pub const PHRASE_WORDS_MAX: usize = 4;
/// Bytes of a word: what the host takes as a term.
pub const WORD_BYTES_MAX: usize = 128;
/// The entry whose phrases mean no concept.
const IDIOMS: &str = "-";

/// Ready to find concepts in texts.
#[derive(Debug)]
pub struct Vocabulary {
    concepts: Vec<Concept>,
    /// The stems of each phrase, and the concept that it means; an idiom means none.
    phrases: BTreeMap<Vec<String>, Option<usize>>,
}

#[derive(Debug, Default)]
struct Concept {
    id: String,
    words: Vec<Word>,
    related: BTreeMap<usize, f32>,
}

/// A word that means a concept by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub written: String,
    pub stem: String,
}

impl Vocabulary {
    /// The vocabulary with the operator's phrases.
    pub fn with(synonyms: &[Synonyms]) -> Result<Self, String> {
        Self::read(&THEMES, synonyms)
    }

    fn read(themes: &[&str], synonyms: &[Synonyms]) -> Result<Self, String> {
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for theme in themes {
            read_theme(theme, &mut entries)?;
        }
        let mut vocabulary = Self { concepts: Vec::new(), phrases: BTreeMap::new() };
        let mut by_id = BTreeMap::new();
        for Entry { id, .. } in entries.iter().filter(|entry| entry.id != IDIOMS) {
            if by_id.insert(*id, by_id.len()).is_some() {
                return Err(format!("the vocabulary has `{id}` twice"));
            }
            vocabulary.concepts.push(Concept { id: (*id).into(), ..Concept::default() });
        }
        if by_id.len() > CONCEPTS_MAX {
            return Err(format!("the vocabulary has {} concepts; {CONCEPTS_MAX} is the most", by_id.len()));
        }
        // Names first: none can be taken by a phrase of another concept.
        for (id, concept) in &by_id {
            vocabulary.add(id, Some(*concept))?;
        }
        for entry in &entries {
            let concept = by_id.get(entry.id).copied();
            for phrase in &entry.phrases {
                vocabulary.add(phrase, concept)?;
            }
            for (other, weight) in &entry.related {
                let related = concept.zip(by_id.get(other).copied());
                let (one, other) = related.ok_or_else(|| format!("there is no concept `{other}`"))?;
                vocabulary.relate(one, other, *weight);
                vocabulary.relate(other, one, *weight);
            }
        }
        for Synonyms { concept: id, phrases } in synonyms {
            let concept = by_id
                .get(id.as_str())
                .ok_or_else(|| format!("`synonyms`: the vocabulary has no concept `{id}`"))?;
            for phrase in phrases {
                vocabulary.add(phrase, Some(*concept)).map_err(|e| format!("`synonyms`: {e}"))?;
            }
        }
        Ok(vocabulary)
    }

    /// Lets a phrase mean a concept, or nothing. What it means already is no harm to say again.
    fn add(&mut self, phrase: &str, concept: Option<usize>) -> Result<(), String> {
        let words: Vec<Word> =
            split(phrase).into_iter().map(|written| Word { stem: stem(&written), written }).collect();
        let is_word = |w: &Word| !w.stem.is_empty() && w.written.len() <= WORD_BYTES_MAX;
        if !(1..=PHRASE_WORDS_MAX).contains(&words.len()) || !words.iter().all(is_word) {
            return Err(format!(
                "`{phrase}` is no phrase of one to {PHRASE_WORDS_MAX} words, each of at most {WORD_BYTES_MAX} bytes"
            ));
        }
        let stems = words.iter().map(|w| w.stem.clone()).collect();
        match self.phrases.entry(stems) {
            Slot::Occupied(slot) if *slot.get() != concept => {
                let other = slot.get().map_or("an idiom", |c| self.id(c));
                return Err(format!("the phrase `{phrase}` is taken by {other}"));
            }
            Slot::Occupied(_) => return Ok(()),
            Slot::Vacant(slot) => slot.insert(concept),
        };
        // The words of longer phrases say little one by one: `break below` would find all that is low or broken.
        let alone = <[Word; 1]>::try_from(words).ok();
        if let Some((concept, [word])) = concept.and_then(|c| self.concepts.get_mut(c)).zip(alone)
            && word.written != concept.id
        {
            concept.words.push(word);
        }
        Ok(())
    }

    fn relate(&mut self, one: usize, other: usize, weight: f32) {
        if let Some(concept) = self.concepts.get_mut(one) {
            concept.related.insert(other, weight);
        }
    }

    /// How many concepts there are: the dimensions of every vector.
    pub fn len(&self) -> usize {
        self.concepts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.concepts.is_empty()
    }

    pub fn id(&self, concept: usize) -> &str {
        self.concepts.get(concept).map_or("", |c| &c.id)
    }

    /// Words that mean this concept beside its name, the most usual first.
    pub fn words(&self, concept: usize) -> &[Word] {
        self.concepts.get(concept).map_or(&[], |c| &c.words)
    }

    /// Concepts near this one, with weights up to 1.
    pub fn related(&self, concept: usize) -> impl Iterator<Item = (usize, f32)> {
        self.concepts.get(concept).into_iter().flat_map(|c| c.related.iter().map(|(o, w)| (*o, *w)))
    }

    /// The concepts that stemmed words mean, in their order, each as often as it is meant. The longest phrase counts, and
    /// what is in it means nothing more: a short squeeze is no squeeze.
    pub fn find(&self, stems: &[String]) -> Vec<usize> {
        let (mut found, mut rest) = (Vec::new(), stems);
        while !rest.is_empty() {
            let longest = (1..=PHRASE_WORDS_MAX).rev().find_map(|n| {
                let phrase = rest.get(..n)?;
                self.phrases.get(phrase).map(|meant| (n, *meant))
            });
            let (words, meant) = longest.unwrap_or((1, None));
            found.extend(meant);
            rest = rest.get(words..).unwrap_or_default();
        }
        found
    }
}

/// An entry as it is written.
#[derive(Debug, Default)]
struct Entry<'t> {
    id: &'t str,
    phrases: Vec<&'t str>,
    related: Vec<(&'t str, f32)>,
}

/// Adds the entries of a text: `id: phrases`, then indented lines of more phrases or of `~ related concepts`.
fn read_theme<'t>(theme: &'t str, entries: &mut Vec<Entry<'t>>) -> Result<(), String> {
    for line in theme.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let wrong = || format!("the vocabulary cannot be read at `{line}`");
        let list = if line.starts_with(' ') {
            line
        } else {
            let (id, list) = line.split_once(':').ok_or_else(wrong)?;
            entries.push(Entry { id, ..Entry::default() });
            list
        };
        let entry = entries.last_mut().ok_or_else(wrong)?;
        match list.trim().strip_prefix('~') {
            None => entry.phrases.extend(items(list)),
            Some(related) => {
                for item in items(related) {
                    let (id, weight) = item.split_once(' ').ok_or_else(wrong)?;
                    let weight = weight.parse().ok().filter(|w| *w > 0.0 && *w <= 1.0).ok_or_else(wrong)?;
                    entry.related.push((id, weight));
                }
            }
        }
    }
    Ok(())
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn entries() -> Vec<Entry<'static>> {
        let mut entries = Vec::new();
        THEMES.iter().try_for_each(|theme| read_theme(theme, &mut entries)).unwrap();
        entries
    }

    /// Names are unique, relations are to known concepts, no phrase has two meanings.
    #[test]
    fn the_vocabulary_is_consistent() {
        let vocabulary = Vocabulary::with(&[]).unwrap();
        assert!((60..=CONCEPTS_MAX).contains(&vocabulary.len()), "{}", vocabulary.len());
        for concept in 0..vocabulary.len() {
            let id = vocabulary.id(concept);
            assert!(id.bytes().all(|b| b.is_ascii_lowercase()), "{id}: one word");
            assert_eq!(vocabulary.find(&[stem(id)]), [concept], "{id} means itself");
            assert!(!vocabulary.words(concept).is_empty() || vocabulary.related(concept).count() > 0, "{id}");
        }
    }

    #[test]
    fn nothing_is_written_twice() {
        let mut phrases = BTreeSet::new();
        let mut relations = BTreeSet::new();
        for Entry { id, phrases: said, related } in entries() {
            for phrase in said.into_iter().chain((id != IDIOMS).then_some(id)) {
                assert_eq!(phrase, phrase.to_lowercase());
                let stems: Vec<String> = split(phrase).iter().map(|w| stem(w)).collect();
                assert!(!phrase.contains(' ') || stems.len() > 1, "{id}: of `{phrase}` one word is left");
                assert!(phrases.insert(stems), "{id}: `{phrase}` is there already");
            }
            for (other, _) in related {
                assert_ne!(id, other);
                assert!(relations.insert((id.min(other), id.max(other))), "{id} ~ {other} is there already");
            }
        }
    }

    #[test]
    fn relations_hold_both_ways() {
        let vocabulary = Vocabulary::with(&[]).unwrap();
        for one in 0..vocabulary.len() {
            for (other, weight) in vocabulary.related(one) {
                assert!(vocabulary.related(other).any(|back| back == (one, weight)));
            }
        }
    }

    #[test]
    fn phrases_of_one_word_are_words_to_find_it_by() {
        let theme = "dip: buy low, pullback, dips\n    retracement\nshort: sell low\n-: tide\n";
        let vocabulary = Vocabulary::read(&[theme], &[]).unwrap();
        let words = |c| vocabulary.words(c).iter().map(|w| w.written.as_str()).collect::<Vec<_>>();
        assert_eq!((words(0), words(1)), (vec!["pullback", "retracement"], vec![]));
    }

    #[test]
    fn the_longest_phrase_counts() {
        let theme = "squeeze: coil\nshortsqueeze: short squeeze\n-: squeeze lemons\n";
        let vocabulary = Vocabulary::read(&[theme, "x: squeeze out\n"], &[]).unwrap();
        let found = |text| vocabulary.find(&crate::words::stems(text));
        assert_eq!(found("squeeze, short squeezes; short. squeeze out, squeeze lemons"), [0, 1, 2]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (theme, words) in [
            ("dip: x\ndip: y\n", "has `dip` twice"),
            ("dip: x\nlow: x\n", "the phrase `x` is taken by dip"),
            ("dip: low\nlow: x\n", "the phrase `low` is taken by low"),
            ("dip: x\n    ~ low 0.5\n", "no concept `low`"),
            ("dip: x\n    ~ dip\n", "cannot be read at `    ~ dip`"),
            ("dip: x\n    ~ dip 1.5\n", "cannot be read"),
            ("dip: x\n    ~ dip NaN\n", "cannot be read"),
            ("    x, y\n", "cannot be read"),
            ("dip\n", "cannot be read at `dip`"),
            ("dip: one two three four five\n", "no phrase of one to 4 words"),
        ] {
            let error = Vocabulary::read(&[theme], &[]).unwrap_err();
            assert!(error.contains(words), "{theme}: {error}");
        }
        let many: String = (0..=CONCEPTS_MAX).map(|i| format!("{}:\n", "x".repeat(i + 1))).collect();
        assert!(Vocabulary::read(&[&many], &[]).unwrap_err().contains("256 is the most"));
    }
}
