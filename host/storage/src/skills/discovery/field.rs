//! An inverted index over one text of every skill: words, their stems, and which skills have a stem how often.
//!
//! Skills have slots, numbers from 0 on. A text can be replaced in place, so that the index is the same whether it was built
//! at once or followed each change; a test holds it to that.

use super::spelling::{self, Trigrams};
use super::stem::stem;
use super::words::words;
use std::collections::HashMap;
use std::sync::Arc;

/// How fast more of a word stops to count, and how much long texts are held back: the usual constants of BM25 (Robertson
/// and Zaragoza, 2009).
const K1: f32 = 1.2;
const B: f32 = 0.75;
/// Words that one beginning stands for, the most frequent ones.
const COMPLETIONS_MAX: usize = 32;
/// Words that one misspelt word may have been.
const CORRECTIONS_MAX: usize = 3;
/// Stands between two texts of a skill: no phrase reaches over it.
const BREAK: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Field {
    ids: HashMap<Arc<str>, u32>,
    words: Vec<Word>,
    free: Vec<u32>,
    stems: HashMap<Arc<str>, u32>,
    postings: Vec<Postings>,
    free_stems: Vec<u32>,
    trigrams: Trigrams,
    /// By slot: the words in order.
    texts: Vec<Box<[u32]>>,
    /// By slot: the number of words.
    lengths: Vec<f32>,
    /// Of all texts.
    length: u64,
    /// Texts that have a word.
    filled: u32,
}

#[derive(Debug)]
struct Word {
    text: Arc<str>,
    stem: u32,
    uses: u32,
}

/// The skills that have a stem, in the order of their slots.
#[derive(Debug, Default)]
struct Postings {
    stem: Arc<str>,
    /// Words that have this stem.
    words: u32,
    /// The slot, and in the lowest eight bits its weighted uses; more than 255 count as 255.
    uses: Vec<u32>,
}

/// Slots that there can be: what fits beside the uses.
pub(super) const SLOTS_MAX: usize = 1 << 24;

/// A part of a skill's text and how much a word of it counts.
pub(super) type Part<'t> = (&'t str, u8);

/// What is known of a stem: a handle for [`Field::score`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StemId(u32);

impl Field {
    /// Replaces the text of a slot.
    pub(super) fn set(&mut self, slot: u32, parts: &[Part<'_>]) {
        self.clear(slot);
        let mut text = Vec::new();
        let mut stems: Vec<(u32, u8)> = Vec::new();
        for (part, weight) in parts {
            if !text.is_empty() {
                text.push(BREAK);
            }
            words(part, |word| {
                let id = self.word(word);
                text.push(id);
                stems.extend(self.words.get(id as usize).map(|w| (w.stem, *weight)));
            });
        }
        while text.last() == Some(&BREAK) {
            text.pop();
        }
        let length = stems.len();
        stems.sort_unstable();
        let mut at = stems.iter().copied().peekable();
        while let Some((stem, mut uses)) = at.next() {
            while let Some((_, more)) = at.next_if(|(next, _)| *next == stem) {
                uses = uses.saturating_add(more);
            }
            if let Some(p) = self.postings.get_mut(stem as usize) {
                p.set(slot, uses);
            }
        }
        let i = slot as usize;
        if self.texts.len() <= i {
            self.texts.resize_with(i + 1, Box::default);
            self.lengths.resize(i + 1, 0.0);
        }
        if let (Some(held), Some(n)) = (self.texts.get_mut(i), self.lengths.get_mut(i)) {
            *held = text.into();
            *n = length as f32;
        }
        self.length += length as u64;
        self.filled += u32::from(length > 0);
    }

    fn clear(&mut self, slot: u32) {
        let Some(text) = self.texts.get_mut(slot as usize).map(std::mem::take) else { return };
        let mut ids: Vec<u32> = text.iter().copied().filter(|id| *id != BREAK).collect();
        if let Some(length) = self.lengths.get_mut(slot as usize) {
            *length = 0.0;
        }
        self.length -= ids.len() as u64;
        self.filled -= u32::from(!ids.is_empty());
        let mut stems: Vec<u32> =
            ids.iter().filter_map(|id| self.words.get(*id as usize)).map(|w| w.stem).collect();
        stems.sort_unstable();
        stems.dedup();
        for stem in stems {
            if let Some(p) = self.postings.get_mut(stem as usize) {
                p.remove(slot);
            }
        }
        ids.sort_unstable();
        ids.into_iter().for_each(|id| self.release(id));
    }

    /// The number of a word, which gets one if it is new; one more use of it.
    fn word(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            if let Some(word) = self.words.get_mut(*id as usize) {
                word.uses += 1;
            }
            return *id;
        }
        let text: Arc<str> = text.into();
        let stem = stem(&text);
        // Most are their own stem: one text serves both.
        let stem = if *stem == *text { text.clone() } else { stem.into() };
        let word = Word { text: text.clone(), stem: self.stem(stem), uses: 1 };
        let id = put(&mut self.words, &mut self.free, word);
        self.trigrams.add(&text, id);
        self.ids.insert(text, id);
        id
    }

    /// The number of a stem, which gets one if it is new; one more word of it.
    fn stem(&mut self, stem: Arc<str>) -> u32 {
        if let Some(id) = self.stems.get(&stem) {
            if let Some(p) = self.postings.get_mut(*id as usize) {
                p.words += 1;
            }
            return *id;
        }
        let new = Postings { stem: stem.clone(), words: 1, ..Postings::default() };
        let id = put(&mut self.postings, &mut self.free_stems, new);
        self.stems.insert(stem, id);
        id
    }

    /// One use less; a word without a use is forgotten.
    fn release(&mut self, id: u32) {
        let Some(word) = self.words.get_mut(id as usize) else { return };
        word.uses -= 1;
        if word.uses > 0 {
            return;
        }
        let (text, stem) = (word.text.clone(), word.stem);
        self.ids.remove(&text);
        self.trigrams.remove(&text, id);
        self.free.push(id);
        if let Some(p) = self.postings.get_mut(stem as usize) {
            p.words -= 1;
            if p.words == 0 {
                let gone = std::mem::take(p);
                self.stems.remove(&gone.stem);
                self.free_stems.push(stem);
            }
        }
    }

    /// The stem of a word, if a skill has it.
    pub(super) fn find(&self, word: &str) -> Option<StemId> {
        let id = self.ids.get(word).and_then(|id| self.words.get(*id as usize)).map(|w| w.stem);
        id.or_else(|| self.stems.get(stem(word).as_str()).copied()).map(StemId)
    }

    /// The stems of the words that begin so, each with its most frequent word; the most frequent first.
    pub(super) fn completions(&self, beginning: &str) -> Vec<(StemId, Arc<str>)> {
        let words = self.trigrams.begin(beginning).iter().filter_map(|id| self.words.get(*id as usize));
        let mut found: Vec<&Word> = words.filter(|w| w.text.starts_with(beginning)).collect();
        found.sort_by(|a, b| b.uses.cmp(&a.uses).then_with(|| a.text.cmp(&b.text)));
        distinct(found, COMPLETIONS_MAX)
    }

    /// What a misspelt word may have been, the nearest only, and how far off it is.
    pub(super) fn corrections(&self, word: &str) -> (usize, Vec<(StemId, Arc<str>)>) {
        if !spelling::is_word(word) {
            return (0, Vec::new());
        }
        let reach = spelling::forgiven(word.chars().count());
        let text = |id: u32| self.words.get(id as usize).map_or("", |w| &w.text);
        let mut found: Vec<(usize, &Word)> = self
            .trigrams
            .near(word, text)
            .into_iter()
            .filter_map(|id| self.words.get(id as usize))
            .filter_map(|w| Some((spelling::distance(word, &w.text, reach)?, w)))
            .collect();
        let nearest = found.iter().map(|(d, _)| *d).min().unwrap_or_default();
        found.retain(|(d, _)| *d == nearest);
        found.sort_by(|(_, a), (_, b)| b.uses.cmp(&a.uses).then_with(|| a.text.cmp(&b.text)));
        (nearest, distinct(found.into_iter().map(|(_, w)| w), CORRECTIONS_MAX))
    }

    /// How much a stem says: the fewer skills have it, the more. A word that none has says most.
    pub(super) fn weight(&self, stem: Option<StemId>) -> f32 {
        let with = stem.and_then(|s| self.postings.get(s.0 as usize)).map_or(0, |p| p.uses.len());
        let (all, with) = (self.filled as f32, with as f32);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }

    /// Adds to the sum of every skill that has the stem how much of it, between 0 and 1, times `weight`.
    pub(super) fn score(&self, stem: StemId, weight: f32, sums: &mut [f32]) {
        let Some(p) = self.postings.get(stem.0 as usize) else { return };
        let (fixed, per_word) = self.length_norm();
        for packed in &p.uses {
            let slot = (packed >> 8) as usize;
            if let (Some(sum), Some(length)) = (sums.get_mut(slot), self.lengths.get(slot)) {
                let uses = (packed & 0xFF) as f32;
                *sum += weight * uses / (uses + fixed + per_word * length);
            }
        }
    }

    /// How much of the stem one skill has.
    pub(super) fn score_of(&self, stem: StemId, slot: u32) -> Option<f32> {
        let p = self.postings.get(stem.0 as usize)?;
        let uses = (p.uses.get(p.place(slot).ok()?)? & 0xFF) as f32;
        let (fixed, per_word) = self.length_norm();
        Some(uses / (uses + fixed + per_word * self.lengths.get(slot as usize)?))
    }

    fn length_norm(&self) -> (f32, f32) {
        let mean = self.length as f32 / (self.filled as f32).max(1.0);
        (K1 * (1.0 - B), K1 * B / mean.max(1.0))
    }

    /// Do these stems stand side by side in the skill's text?
    pub(super) fn has_phrase(&self, slot: u32, phrase: &[StemId]) -> bool {
        let Some(text) = self.texts.get(slot as usize) else { return false };
        let stem = |id: &u32| self.words.get(*id as usize).map(|w| w.stem);
        text.windows(phrase.len().max(1)).any(|window| {
            window.iter().zip(phrase).all(|(id, wanted)| *id != BREAK && stem(id) == Some(wanted.0))
        })
    }
}

/// Each stem once, with the first word that has it.
fn distinct<'w>(words: impl IntoIterator<Item = &'w Word>, most: usize) -> Vec<(StemId, Arc<str>)> {
    let mut out: Vec<(StemId, Arc<str>)> = Vec::new();
    for word in words {
        if out.len() == most {
            break;
        }
        if out.iter().all(|(stem, _)| stem.0 != word.stem) {
            out.push((StemId(word.stem), word.text.clone()));
        }
    }
    out
}

/// Puts a value into a free place, or at the end.
fn put<T>(into: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(id) = free.pop()
        && let Some(place) = into.get_mut(id as usize)
    {
        *place = value;
        return id;
    }
    into.push(value);
    u32::try_from(into.len() - 1).unwrap_or(u32::MAX)
}

impl Postings {
    fn place(&self, slot: u32) -> Result<usize, usize> {
        self.uses.binary_search_by_key(&slot, |packed| packed >> 8)
    }

    fn set(&mut self, slot: u32, uses: u8) {
        let packed = slot << 8 | u32::from(uses);
        match self.place(slot) {
            Ok(at) => {
                if let Some(there) = self.uses.get_mut(at) {
                    *there = packed;
                }
            }
            Err(at) => self.uses.insert(at, packed),
        }
    }

    fn remove(&mut self, slot: u32) {
        if let Ok(at) = self.place(slot) {
            self.uses.remove(at);
        }
    }
}
