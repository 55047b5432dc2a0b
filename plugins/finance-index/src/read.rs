//! Reads the vocabulary as it is written and checks that it is consistent. The build does that, so that no call has to.

use crate::phrase::{Word, key, phrase};
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};

/// The entries, by theme; `vocabulary/price.txt` begins with how they are written.
pub const THEMES: [&str; 14] = [
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
    include_str!("../vocabulary/desk.txt"),
];
/// Hints at the concepts; the file begins with what they are.
pub const HINTS: &str = include_str!("../vocabulary/hints.txt");

/// Concepts, and with them the dimensions of a vector: what the host takes.
pub const CONCEPTS_MAX: usize = 256;
/// The entry whose phrases mean no concept.
pub const IDIOMS: &str = "-";

/// All that was read.
#[derive(Debug, Default)]
pub struct Written {
    pub concepts: Vec<Concept>,
    /// What each phrase means, by its key; an idiom means no concept.
    pub phrases: BTreeMap<String, Option<usize>>,
    /// Concepts that each hint is at, by its key.
    pub hints: BTreeMap<String, BTreeSet<usize>>,
}

#[derive(Debug, Default)]
pub struct Concept {
    pub id: String,
    /// Words that mean it by themselves, the most usual first.
    pub words: Vec<Word>,
    /// Hints of one word.
    pub hints: Vec<Word>,
    pub related: BTreeMap<usize, f32>,
}

/// Reads entries and hints, or says what is wrong with them.
pub fn read(themes: &[&str], hints: &str) -> Result<Written, String> {
    let entries = entries(themes)?;
    let mut written = Written::default();
    let mut by_id = BTreeMap::new();
    for Entry { id, .. } in entries.iter().filter(|entry| entry.id != IDIOMS) {
        if by_id.insert(*id, by_id.len()).is_some() {
            return Err(format!("the vocabulary has `{id}` twice"));
        }
        written.concepts.push(Concept { id: (*id).into(), ..Concept::default() });
    }
    if by_id.len() > CONCEPTS_MAX {
        return Err(format!("the vocabulary has {} concepts; {CONCEPTS_MAX} is the most", by_id.len()));
    }
    // Names first: none can be taken by a phrase of another concept.
    for (id, concept) in &by_id {
        written.add(id, Some(*concept))?;
    }
    for entry in &entries {
        let concept = by_id.get(entry.id).copied();
        for phrase in &entry.phrases {
            written.add(phrase, concept)?;
        }
        for (other, weight) in &entry.related {
            let related = concept.zip(by_id.get(other).copied());
            let (one, other) = related.ok_or_else(|| format!("there is no concept `{other}`"))?;
            written.relate(one, other, *weight);
            written.relate(other, one, *weight);
        }
    }
    for Entry { id, phrases, .. } in self::entries(&[hints])? {
        let concept = by_id.get(id).ok_or_else(|| format!("there is no concept `{id}`"))?;
        for hint in phrases {
            written.hint(hint, *concept)?;
        }
    }
    Ok(written)
}

impl Written {
    /// Lets a phrase mean a concept, or nothing.
    fn add(&mut self, text: &str, concept: Option<usize>) -> Result<(), String> {
        let words = phrase(text)?;
        match self.phrases.entry(key(words.iter().map(|w| w.stem.as_str()))) {
            Slot::Occupied(slot) if *slot.get() != concept => {
                let other = slot.get().and_then(|c| self.concepts.get(c)).map_or("an idiom", |c| &c.id);
                return Err(format!("the phrase `{text}` is taken by {other}"));
            }
            Slot::Occupied(_) => return Ok(()),
            Slot::Vacant(slot) => slot.insert(concept),
        };
        // The words of longer phrases say little one by one: `break below` would find all that is low or broken.
        if let Some((concept, word)) = concept.and_then(|c| self.concepts.get_mut(c)).zip(alone(words))
            && word.written != concept.id
        {
            concept.words.push(word);
        }
        Ok(())
    }

    fn hint(&mut self, text: &str, concept: usize) -> Result<(), String> {
        let words = phrase(text)?;
        let at = self.hints.entry(key(words.iter().map(|w| w.stem.as_str()))).or_default();
        if at.insert(concept)
            && let Some((concept, word)) = self.concepts.get_mut(concept).zip(alone(words))
        {
            concept.hints.push(word);
        }
        Ok(())
    }

    fn relate(&mut self, one: usize, other: usize, weight: f32) {
        if let Some(concept) = self.concepts.get_mut(one) {
            concept.related.insert(other, weight);
        }
    }
}

fn alone(words: Vec<Word>) -> Option<Word> {
    <[Word; 1]>::try_from(words).ok().map(|[word]| word)
}

/// An entry as it is written.
#[derive(Debug, Default)]
pub struct Entry<'t> {
    pub id: &'t str,
    pub phrases: Vec<&'t str>,
    pub related: Vec<(&'t str, f32)>,
}

/// The entries of some texts: `id: phrases`, then indented lines of more phrases or of `~ related concepts`.
pub fn entries<'t>(themes: &[&'t str]) -> Result<Vec<Entry<'t>>, String> {
    let mut entries: Vec<Entry<'t>> = Vec::new();
    for line in themes.iter().flat_map(|theme| lines(theme)) {
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
    Ok(entries)
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{split, stem};

    fn stems(phrase: &str) -> Vec<String> {
        split(phrase).iter().map(|w| stem(w)).collect()
    }

    #[test]
    fn nothing_is_written_twice() {
        let mut phrases = BTreeSet::new();
        let mut relations = BTreeSet::new();
        for Entry { id, phrases: said, related } in entries(&THEMES).unwrap() {
            for phrase in said.into_iter().chain((id != IDIOMS).then_some(id)) {
                assert_eq!(phrase, phrase.to_lowercase());
                assert!(
                    !phrase.contains(' ') || stems(phrase).len() > 1,
                    "{id}: of `{phrase}` one word is left"
                );
                assert!(phrases.insert(stems(phrase)), "{id}: `{phrase}` is there already");
            }
            for (other, _) in related {
                assert_ne!(id, other);
                assert!(relations.insert((id.min(other), id.max(other))), "{id} ~ {other} is there already");
            }
        }
    }

    #[test]
    fn every_concept_has_hints_once() {
        let concepts: BTreeSet<&str> =
            entries(&THEMES).unwrap().iter().map(|e| e.id).filter(|id| *id != IDIOMS).collect();
        let mut hinted = BTreeSet::new();
        for Entry { id, phrases, .. } in entries(&[HINTS]).unwrap() {
            assert!(hinted.insert(id), "{id} has two entries");
            let mut said = BTreeSet::new();
            for hint in phrases {
                assert_eq!(hint, hint.to_lowercase());
                assert!(!hint.contains(' ') || stems(hint).len() > 1, "{id}: of `{hint}` one word is left");
                assert!(said.insert(stems(hint)), "{id}: the hint `{hint}` is there already");
            }
        }
        assert_eq!(hinted, concepts);
    }

    #[test]
    fn phrases_of_one_word_are_words_to_find_it_by() {
        let theme = "dip: buy low, pullback, dips\n    retracement\nshort: sell low\n-: tide\n";
        let written = read(&[theme], "short: bears, who bets\n").unwrap();
        let words = |of: &[Word]| of.iter().map(|w| w.written.clone()).collect::<Vec<_>>();
        let [dip, short] = written.concepts.as_slice() else { panic!("{written:?}") };
        assert_eq!(
            (words(&dip.words), words(&short.words)),
            (vec!["pullback".into(), "retracement".into()], vec![])
        );
        assert_eq!(words(&short.hints), ["bears"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (theme, hints, words) in [
            ("dip: x\ndip: y\n", "", "has `dip` twice"),
            ("dip: x\nlow: x\n", "", "the phrase `x` is taken by dip"),
            ("-: x\nlow: x\n", "", "the phrase `x` is taken by an idiom"),
            ("dip: low\nlow: x\n", "", "the phrase `low` is taken by low"),
            ("dip: x\n    ~ low 0.5\n", "", "no concept `low`"),
            ("dip: x\n    ~ dip\n", "", "cannot be read at `    ~ dip`"),
            ("dip: x\n    ~ dip 1.5\n", "", "cannot be read"),
            ("dip: x\n    ~ dip NaN\n", "", "cannot be read"),
            ("    x, y\n", "", "cannot be read"),
            ("dip\n", "", "cannot be read at `dip`"),
            ("dip: one two three four five\n", "", "no phrase of one to 4 words"),
            ("dip: x\n", "dip\n", "cannot be read at `dip`"),
            ("dip: x\n", "low: y\n", "no concept `low`"),
            ("dip: x\n", "dip: the\n", "`the` is no phrase"),
        ] {
            let error = read(&[theme], hints).unwrap_err();
            assert!(error.contains(words), "{theme}{hints}: {error}");
        }
        let many = |n: usize| {
            (0..n)
                .map(|i| format!("{}:\n", "x".repeat(i / 100 + 1) + &"y".repeat(i % 100)))
                .collect::<String>()
        };
        assert_eq!(read(&[&many(CONCEPTS_MAX)], "").map(|w| w.concepts.len()), Ok(CONCEPTS_MAX));
        assert!(read(&[&many(CONCEPTS_MAX + 1)], "").unwrap_err().contains("256 is the most"));
    }
}
