//! What a skill is found by, and what a question is widened by: the concepts of both, as words and as directions.

use crate::vocabulary::Vocabulary;
use crate::words::{split, stem, stems};
use std::collections::{BTreeMap, BTreeSet};

/// Terms of a skill; what the host takes.
pub const TERMS_MAX: usize = 256;
/// Terms of a question; what the host takes.
pub const EXPANSION_TERMS_MAX: usize = 64;
/// Tags of a skill; what the host takes.
pub const TAGS_MAX: usize = 64;
/// Bytes of a text that are looked at: what it is about is said by then.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// A skill's own tags that are looked at.
const OWN_TAGS_MAX: usize = 256;
/// Bytes of such a tag.
const OWN_TAG_BYTES_MAX: usize = 256;

/// What code says most often, against what the skill says of itself: code uses much that it is not about.
const WEIGHT_CODE: f32 = 0.3;
/// A concept that is only related, against one that is named.
const WEIGHT_RELATED: f32 = 0.5;
/// How much hints add to a concept that a question names.
const WEIGHT_HINTED: f32 = 0.3;
/// From how much on a concept that is only hinted at is taken for meant, so that it widens the question by its words.
pub(crate) const MEANT_MIN: f32 = 0.5;
/// Concepts that are only hinted at and widen a question, those that are most.
pub(crate) const HINTED_MAX: usize = 8;

/// Words that mean something else in a program.
const PROGRAM_WORDS: [&str; 9] =
    ["carry", "cycle", "cycles", "futures", "grid", "option", "options", "pair", "pairs"];

/// What of a skill is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Skill<'s> {
    pub name: &'s str,
    pub description: &'s str,
    pub tags: &'s [String],
    pub code: &'s str,
}

/// What a skill is found by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    pub terms: Vec<String>,
    pub tags: Vec<String>,
    pub vector: Vec<f32>,
}

/// What a question is widened by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expansion {
    pub terms: Vec<String>,
    pub vector: Vec<f32>,
}

/// Concepts and how much each is meant.
pub(crate) type Weights = BTreeMap<usize, f32>;

/// Each place that names a concept counts once: what is said in name, tags and description is what the skill is about.
pub fn index(vocabulary: &Vocabulary, skill: &Skill<'_>) -> Entry {
    let said = [stems(start(skill.name, TEXT_BYTES_MAX)), described(skill), tagged(skill)];
    let mut weights = Weights::new();
    for words in &said {
        let named: BTreeSet<usize> = vocabulary.find(words).into_iter().collect();
        for concept in named {
            *weights.entry(concept).or_default() += 1.0;
        }
    }
    let tags = ranked(&weights).into_iter().take(TAGS_MAX).map(|c| vocabulary.id(c).into()).collect();
    for (concept, share) in coded(vocabulary, skill.code) {
        *weights.entry(concept).or_default() += WEIGHT_CODE * share;
    }
    // Full text finds these words without help. It does not cover the code.
    let own = said.into_iter().flatten().collect();
    Entry {
        terms: terms(vocabulary, &ranked(&weights), &own, TERMS_MAX, true),
        tags,
        vector: vector(vocabulary, &weights),
    }
}

/// The concept that is named first is the most important one; those that are only hinted at come after all that are named.
pub fn expand(vocabulary: &Vocabulary, question: &str) -> Expansion {
    let words = stems(start(question, TEXT_BYTES_MAX));
    let (meant, weights) = meant(vocabulary, &words);
    Expansion {
        terms: terms(vocabulary, &meant, &words.into_iter().collect(), EXPANSION_TERMS_MAX, false),
        vector: vector(vocabulary, &weights),
    }
}

/// The concepts whose words widen a question, in their order, and how much each is meant, with those that are hinted at less.
pub(crate) fn meant(vocabulary: &Vocabulary, words: &[String]) -> (Vec<usize>, Weights) {
    let mut weights = Weights::new();
    let mut meant = vocabulary.find(words);
    meant.retain(|concept| weights.insert(*concept, 1.0).is_none());
    let mut hinted = vocabulary.hinted(words);
    for (concept, named) in &mut weights {
        *named += WEIGHT_HINTED * hinted.remove(concept).unwrap_or_default();
    }
    let strong = hinted.iter().filter(|(_, much)| **much >= MEANT_MIN).map(|(c, much)| (*c, *much)).collect();
    meant.extend(ranked(&strong).into_iter().take(HINTED_MAX));
    weights.extend(hinted);
    (meant, weights)
}

/// The beginning of a text, to a whole character.
fn start(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

fn described(skill: &Skill<'_>) -> Vec<String> {
    stems(start(skill.description, TEXT_BYTES_MAX))
}

/// The words of the tags, with a break between two tags.
fn tagged(skill: &Skill<'_>) -> Vec<String> {
    let tags = skill.tags.iter().take(OWN_TAGS_MAX).map(|tag| stems(start(tag, OWN_TAG_BYTES_MAX)));
    tags.flat_map(|words| words.into_iter().chain([String::new()])).collect()
}

/// The concepts of the code's names, comments and texts, each with how often it comes against the most frequent one.
fn coded(vocabulary: &Vocabulary, code: &str) -> Weights {
    let stem_or_break =
        |word: &String| if PROGRAM_WORDS.contains(&word.as_str()) { String::new() } else { stem(word) };
    let words: Vec<String> = split(start(code, TEXT_BYTES_MAX)).iter().map(stem_or_break).collect();
    let mut counts = Weights::new();
    for concept in vocabulary.find(&words) {
        *counts.entry(concept).or_default() += 1.0;
    }
    let most = counts.values().copied().fold(1.0, f32::max);
    counts.values_mut().for_each(|count| *count /= most);
    counts
}

/// The most meant first; equals as in the vocabulary.
fn ranked(weights: &Weights) -> Vec<usize> {
    let mut concepts: Vec<(usize, f32)> = weights.iter().map(|(c, w)| (*c, *w)).collect();
    concepts.sort_by(|a, b| b.1.total_cmp(&a.1));
    concepts.into_iter().map(|(concept, _)| concept).collect()
}

/// The names of the concepts, then their words that are not there already: the first of each, then the second of each. After
/// them, in the same way, the words that hint at them, if these are wanted: what a skill may be asked for by.
fn terms(
    vocabulary: &Vocabulary,
    concepts: &[usize],
    own: &BTreeSet<String>,
    most: usize,
    with_hints: bool,
) -> Vec<String> {
    let words: Vec<Vec<(&str, &str)>> = concepts.iter().map(|c| vocabulary.words(*c).collect()).collect();
    let hinting = concepts.iter().filter(|_| with_hints);
    let hints: Vec<Vec<(&str, &str)>> = hinting.map(|c| vocabulary.hints(*c).to_vec()).collect();
    let names: Vec<&str> = concepts.iter().map(|concept| vocabulary.id(*concept)).collect();
    let mut there: BTreeSet<String> =
        names.iter().map(|name| stem(name)).chain(own.iter().cloned()).collect();
    let mut terms: Vec<String> = names.into_iter().take(most).map(Into::into).collect();
    for (word, stem_of_it) in in_turns(&words).chain(in_turns(&hints)) {
        if terms.len() == most {
            break;
        }
        if there.insert(stem_of_it.into()) {
            terms.push(word.into());
        }
    }
    terms
}

/// The first of each, then the second of each.
fn in_turns<T: Copy>(lists: &[Vec<T>]) -> impl Iterator<Item = T> {
    let rounds = lists.iter().map(Vec::len).max().unwrap_or(0);
    (0..rounds).flat_map(move |round| lists.iter().filter_map(move |list| list.get(round).copied()))
}

/// One dimension per concept, of length 1; empty when there is nothing to point to.
fn vector(vocabulary: &Vocabulary, weights: &Weights) -> Vec<f32> {
    let mut spread = weights.clone();
    for (concept, weight) in weights {
        for (other, nearness) in vocabulary.related(*concept) {
            let reached = spread.entry(other).or_default();
            *reached = reached.max(weight * nearness * WEIGHT_RELATED);
        }
    }
    let length = spread.values().map(|w| w * w).sum::<f32>().sqrt();
    if length == 0.0 {
        return Vec::new();
    }
    (0..vocabulary.size()).map(|concept| spread.get(&concept).map_or(0.0, |w| w / length)).collect()
}
