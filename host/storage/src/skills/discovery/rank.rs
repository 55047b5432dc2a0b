//! One order from all that is known of a question and of the skills. `search.rs` says what the parts of a score are.

use super::field::{Field, StemId};
use super::library::{Library, Skill};
use super::question::Question;
use super::scores::{Scratch, Weights, of_steps, steps, zeros};
use crate::skills::Status;
use crate::skills::search::{Facet, FacetValue, Facets, Proof, Reason, ScoreParts, SkillQuery};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What each part of a score is at most. Text and spelling share one: a word is either known or not.
const WEIGHT_TEXT: f32 = 1.0;
const WEIGHT_TERM: f32 = 0.3;
const WEIGHT_VECTOR: f32 = 0.6;
const WEIGHT_TAG: f32 = 0.1;
/// What is left of a word's part for each slip of the hand.
const FORGIVENESS: f32 = 0.8;
/// What the terms of a skill must sum up to for half of their part.
const TERM_HALF: f32 = 16.0;
/// Values of one facet that are counted out; the rest are counted together.
const FACET_VALUES_MAX: usize = 50;

/// How the words of a question are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::skills) struct Asked {
    pub words: Vec<(String, Reading)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::skills) enum Reading {
    Known,
    /// The words that it may become.
    Begun(Vec<Arc<str>>),
    /// Slips of the hand, and the words that they may have been made in.
    Misspelt(usize, Vec<Arc<str>>),
    Unknown,
}

/// What one indexer makes of a question.
#[derive(Debug, Clone, Default)]
pub(in crate::skills) struct Widened {
    pub words: Vec<String>,
    pub direction: Vec<i8>,
}

#[derive(Debug, Default)]
pub(in crate::skills) struct Ranked {
    /// Best first.
    pub hits: Vec<Hit>,
    /// All that were found, more than the hits perhaps.
    pub total: u64,
    /// Found, but for being retired.
    pub retired_left_out: u64,
    pub facets: Option<Facets>,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::skills) struct Hit {
    /// The version that was ranked, by its row; it never changes.
    pub version: i64,
    /// As it was when it was ranked.
    pub status: Status,
    pub score: f64,
    pub parts: ScoreParts,
    pub reasons: Vec<Reason>,
}

impl Library {
    /// How each word of a question is read by what the skills and the indexers say.
    pub(in crate::skills) fn read(&self, question: &Question) -> Asked {
        let fields = || std::iter::once(&self.text).chain(self.spaces.iter().map(|s| &s.terms));
        let read = |word: &String| {
            let begun = question.begun.contains(word);
            let known = fields().any(|f| f.find(word).is_some());
            if known && !begun {
                return Reading::Known;
            }
            if begun || question.typing.as_ref() == Some(word) {
                let words: Vec<_> = self.text.completions(word).into_iter().map(|(_, w)| w).collect();
                if !words.is_empty() {
                    return Reading::Begun(words);
                }
            }
            let nearest = fields().map(|f| f.corrections(word)).filter(|(_, words)| !words.is_empty());
            match nearest.min_by_key(|(slips, _)| *slips) {
                Some((slips, words)) => Reading::Misspelt(slips, words.into_iter().map(|(_, w)| w).collect()),
                None => Reading::Unknown,
            }
        };
        Asked { words: question.words.iter().map(|w| (w.clone(), read(w))).collect() }
    }

    /// The skills that answer a question, best first.
    pub(in crate::skills) fn rank(&self, scratch: &mut Scratch, ask: &Asking<'_>) -> Ranked {
        let slots = self.skills.len();
        scratch.clear();
        let terms = self.text_terms(ask.asked);
        for t in &terms {
            let sums = if t.slips { &mut scratch.typo } else { &mut scratch.text };
            if sums.is_empty() {
                zeros(sums, slots);
            }
            self.text.score(t.stem, t.share, sums);
        }
        for (space, widened) in self.spaces.iter().zip(ask.widened) {
            let Some(widened) = widened else { continue };
            let terms = space_terms(&space.terms, ask.asked, widened);
            if !terms.is_empty() {
                let sums = zeros(&mut scratch.terms, slots);
                terms.iter().for_each(|(stem, weight, _)| space.terms.score(*stem, *weight, sums));
                scratch.term.resize(slots, 0.0);
                for (best, sum) in scratch.term.iter_mut().zip(sums) {
                    let one = *sum / (*sum + TERM_HALF);
                    *best = if one > *best { one } else { *best };
                }
            }
            if !widened.direction.is_empty() {
                scratch.vector.resize(slots, 0.0);
                space.vectors.score(&widened.direction, &mut scratch.vector);
            }
        }
        for (word, _) in &ask.asked.words {
            for slot in self.tagged.with(word) {
                if scratch.tag.is_empty() {
                    scratch.tag.resize(slots, 0.0);
                }
                if let Some(sum) = scratch.tag.get_mut(*slot as usize) {
                    *sum += 1.0 / ask.asked.words.len() as f32;
                }
            }
        }
        let heed = scratch.heed();
        let weights = Weights {
            text: WEIGHT_TEXT,
            term: heed * WEIGHT_TERM,
            vector: heed * WEIGHT_VECTOR,
            tag: WEIGHT_TAG,
        };
        scratch.sum(&weights, &self.performance);
        let wanted = Wanted::of(self, ask);
        let of_any_status = || {
            let all = (0..)
                .zip(scratch.scores.iter().copied().zip(&self.skills))
                .filter(|(_, (score, _))| *score > 0);
            all.filter(|(slot, (_, skill))| wanted.all || wanted.fits(self, *slot, skill))
                .map(|(slot, (score, _))| (score, slot))
        };
        let mut retired_left_out = 0;
        let found = of_any_status().filter(|(_, slot)| {
            let status = self.status(*slot);
            let taken = ask.query.takes(status);
            retired_left_out += u64::from(!taken && status == Status::Retired);
            taken
        });
        let (best, total) = self.best(found, ask.limit);
        let facets = ask.query.facets.then(|| {
            let slots = of_any_status().map(|f| f.1);
            self.facets(slots.filter(|slot| ask.query.takes(self.status(*slot))))
        });
        let hit = |(score, slot): (u32, u32)| {
            let skill = self.skills.get(slot as usize)?;
            let reasons =
                if ask.query.explain { self.reasons(ask, &terms, &weights, slot) } else { Vec::new() };
            let performance = self.performance.get(slot as usize).copied().unwrap_or_default();
            let parts = scratch.parts(&weights, slot, performance);
            Some(Hit {
                version: skill.version,
                status: self.status(slot),
                score: of_steps(score),
                parts,
                reasons,
            })
        };
        Ranked { hits: best.into_iter().filter_map(hit).collect(), total, retired_left_out, facets }
    }

    fn status(&self, slot: u32) -> Status {
        self.statuses.get(slot as usize).copied().unwrap_or_default()
    }

    /// The greatest scores, equal ones by name; and how many there are.
    fn best(&self, found: impl Iterator<Item = (u32, u32)>, most: usize) -> (Vec<(u32, u32)>, u64) {
        let name = |slot: u32| self.skills.get(slot as usize).map(|s| &s.name);
        let order = |a: &(u32, u32), b: &(u32, u32)| b.0.cmp(&a.0).then_with(|| name(a.1).cmp(&name(b.1)));
        // Below `least` there are enough that are better.
        let (mut best, mut least, mut total) = (Vec::with_capacity(most * 2 + 64), 0, 0);
        for (score, slot) in found {
            total += 1;
            if score < least {
                continue;
            }
            best.push((score, slot));
            if best.len() >= most * 2 + 64 {
                best.select_nth_unstable_by(most, order);
                best.truncate(most);
                least = best.iter().map(|b| b.0).min().unwrap_or_default();
            }
        }
        best.sort_unstable_by(order);
        best.truncate(most);
        (best, total)
    }

    /// The stems that are looked for in the text, each with the share of the question that it is.
    fn text_terms(&self, asked: &Asked) -> Vec<TextTerm> {
        let weigh = |word: &str| self.text.weight(self.text.find(word));
        let mut weighed: Vec<(f32, f32, &str, bool)> = Vec::new();
        let mut all = 0.0;
        for (word, reading) in &asked.words {
            let words: &[Arc<str>] = match reading {
                Reading::Known | Reading::Unknown => &[],
                Reading::Begun(words) | Reading::Misspelt(_, words) => words,
            };
            let weight = words.iter().map(|w| weigh(w)).reduce(f32::max).unwrap_or_else(|| weigh(word));
            all += weight;
            match reading {
                Reading::Known => weighed.push((weight, 1.0, word, false)),
                Reading::Begun(_) => weighed.extend(words.iter().map(|w| (weight, 1.0, &**w, false))),
                Reading::Misspelt(slips, _) => {
                    let left = FORGIVENESS.powi(i32::try_from(*slips).unwrap_or(i32::MAX));
                    weighed.extend(words.iter().map(|w| (weight, left, &**w, true)));
                }
                Reading::Unknown => {}
            }
        }
        let term = |(weight, left, word, slips): (f32, f32, &str, bool)| {
            Some(TextTerm {
                stem: self.text.find(word)?,
                word: word.into(),
                share: weight * left / all,
                slips,
            })
        };
        let mut seen = BTreeSet::new();
        weighed.into_iter().filter_map(term).filter(|t| seen.insert(t.stem)).collect()
    }

    fn facets(&self, slots: impl Iterator<Item = u32>) -> Facets {
        let (mut tags, mut languages, mut authors) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (mut proof, mut statuses) = (BTreeMap::new(), BTreeMap::new());
        for slot in slots {
            let Some(skill) = self.skills.get(slot as usize) else { continue };
            for tag in &skill.tags {
                *tags.entry(*tag).or_insert(0_u64) += 1;
            }
            *languages.entry(skill.language).or_insert(0) += 1;
            *authors.entry(skill.by).or_insert(0) += 1;
            *proof.entry(Proof::of(skill.proven.is_some())).or_insert(0) += 1;
            *statuses.entry(self.status(slot)).or_insert(0) += 1;
        }
        Facets {
            tags: facet(tags.into_iter().map(|(n, count)| (self.tags.text(n).into(), count))),
            languages: facet(languages.into_iter().map(|(n, count)| (self.labels.text(n).into(), count))),
            authors: facet(authors.into_iter().map(|(n, count)| (self.labels.text(n).into(), count))),
            proof: facet(proof.into_iter().map(|(s, count): (Proof, u64)| (s.name().into(), count))),
            statuses: facet(statuses.into_iter().map(|(s, count): (Status, u64)| (s.word().into(), count))),
        }
    }

    /// Where a score comes from, greatest first within each part.
    fn reasons(&self, ask: &Asking<'_>, terms: &[TextTerm], weights: &Weights, slot: u32) -> Vec<Reason> {
        let mut out = Vec::new();
        let mut give = |part: &'static str, from: String, score: f32| {
            out.push(Reason { part, from, score: of_steps(steps(score)) });
        };
        for t in terms {
            if let Some(much) = self.text.score_of(t.stem, slot) {
                give(if t.slips { "typo" } else { "text" }, t.word.clone(), weights.text * t.share * much);
            }
        }
        let spaces = || self.spaces.iter().zip(ask.widened).filter_map(|(s, w)| Some((s, w.as_ref()?)));
        // Of several indexers the one counts that found most.
        let said = spaces().map(|(space, widened)| {
            let mut had = space_terms(&space.terms, ask.asked, widened);
            had.retain_mut(|(stem, weight, word)| match space.terms.score_of(*stem, slot) {
                Some(much) => {
                    *weight *= much;
                    word.insert_str(0, &format!("{}: ", space.plugin));
                    true
                }
                None => false,
            });
            (had.iter().map(|h| h.1).sum::<f32>(), had)
        });
        if let Some((sum, had)) = said.max_by(|a, b| a.0.total_cmp(&b.0)) {
            for (_, much, from) in had {
                give("term", from, weights.term * much / (sum + TERM_HALF));
            }
        }
        let near = spaces().filter_map(|(s, w)| Some((s.vectors.cosine(slot, &w.direction)?, &s.plugin)));
        if let Some((cosine, plugin)) = near.max_by(|a, b| a.0.total_cmp(&b.0)) {
            give("vector", format!("{plugin}: cosine {cosine:.2}"), weights.vector * cosine);
        }
        for (word, _) in &ask.asked.words {
            if self.tagged.with(word).binary_search(&slot).is_ok() {
                give("tag", word.clone(), weights.tag / ask.asked.words.len() as f32);
            }
        }
        if let Some(p) = self.skills.get(slot as usize).and_then(|s| s.proven) {
            let from = format!("Sharpe ratio {:.2} of {} samples", p.sharpe, p.samples);
            give("performance", from, p.part());
        }
        out
    }
}

/// A question with all that is known of it.
#[derive(Debug)]
pub(in crate::skills) struct Asking<'q> {
    pub query: &'q SkillQuery,
    pub limit: usize,
    pub question: &'q Question,
    pub asked: &'q Asked,
    /// By indexer; `None` for one that failed.
    pub widened: &'q [Option<Widened>],
}

#[derive(Debug)]
struct TextTerm {
    stem: StemId,
    word: String,
    share: f32,
    slips: bool,
}

/// The stems that are looked for in what an indexer said: the question's own words, and what it was widened by.
fn space_terms(field: &Field, asked: &Asked, widened: &Widened) -> Vec<(StemId, f32, String)> {
    let mut words: Vec<&str> = Vec::new();
    for (word, reading) in &asked.words {
        match reading {
            Reading::Misspelt(_, instead) => words.extend(instead.iter().map(|w| &**w)),
            _ => words.push(word),
        }
    }
    words.extend(widened.words.iter().map(String::as_str));
    let mut seen = BTreeSet::new();
    let found = words.into_iter().filter_map(|w| field.find(w).map(|stem| (stem, w)));
    found
        .filter(|(stem, _)| seen.insert(*stem))
        .map(|(stem, w)| (stem, field.weight(Some(stem)), w.into()))
        .collect()
}

/// What a skill must be to be found.
struct Wanted {
    /// Nothing is asked of it.
    all: bool,
    /// `None`: a tag, language or author that nobody has, or a phrase with a word that nobody has.
    tags: Option<Vec<u32>>,
    without: Vec<u32>,
    language: Option<u32>,
    by: Option<u32>,
    proof: Option<Proof>,
    phrases: Vec<Vec<StemId>>,
}

impl Wanted {
    fn of(library: &Library, ask: &Asking<'_>) -> Self {
        let q = ask.query;
        let mut tags: Option<Vec<u32>> = q.tags.iter().map(|t| library.tags.find(t)).collect();
        let phrase =
            |words: &Vec<String>| words.iter().map(|w| library.text.find(w)).collect::<Option<Vec<_>>>();
        let phrases: Option<Vec<Vec<StemId>>> = ask.question.phrases.iter().map(phrase).collect();
        let label = |text: &Option<String>| text.as_ref().map(|t| library.labels.find(t));
        let (language, by) = (label(&q.language), label(&q.by));
        if phrases.is_none() || language == Some(None) || by == Some(None) {
            tags = None;
        }
        Self {
            all: q.tags.is_empty()
                && q.without.is_empty()
                && q.language.is_none()
                && q.by.is_none()
                && q.proof.is_none()
                && ask.question.phrases.is_empty(),
            tags,
            without: q.without.iter().filter_map(|t| library.tags.find(t)).collect(),
            language: language.flatten(),
            by: by.flatten(),
            proof: q.proof,
            phrases: phrases.unwrap_or_default(),
        }
    }

    fn fits(&self, library: &Library, slot: u32, skill: &Skill) -> bool {
        let Some(tags) = &self.tags else { return false };
        tags.iter().all(|t| skill.tags.contains(t))
            && !self.without.iter().any(|t| skill.tags.contains(t))
            && self.language.is_none_or(|l| l == skill.language)
            && self.by.is_none_or(|b| b == skill.by)
            && self.proof.is_none_or(|s| s == Proof::of(skill.proven.is_some()))
            && self.phrases.iter().all(|p| library.text.has_phrase(slot, p))
    }
}

/// The most frequent values, equals by name.
fn facet(counts: impl Iterator<Item = (String, u64)>) -> Facet {
    let mut values: Vec<FacetValue> = counts.map(|(value, count)| FacetValue { value, count }).collect();
    values.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
    let more = values.len().saturating_sub(FACET_VALUES_MAX) as u64;
    values.truncate(FACET_VALUES_MAX);
    Facet { values, more }
}
