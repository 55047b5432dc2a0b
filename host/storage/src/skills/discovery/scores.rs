//! The parts of every skill's score by slot, and their sum. A question goes over all slots a few times, so these loops are written
//! for many slots at once: without calls, and without checks that keep one slot's sum apart from the next.

use crate::skills::search::ScoreParts;

/// How much less is heeded what indexers say, the better the words alone answer, and what of it counts in any case.
const HEED_FALL: f32 = 1.5;
const HEED_MIN: f32 = 0.3;
/// Scores are whole numbers of this many to 1, so that equal is equal.
const STEPS: f64 = 1e6;
/// Slots whose parts are added up while they lie in the fastest cache.
const BLOCK: usize = 1_024;
/// Greatest sums that are looked for side by side.
const LANES: usize = 16;

/// The parts while they are summed up; empty where a question has no such part. Kept between questions.
#[derive(Debug, Default)]
pub(in crate::skills) struct Scratch {
    pub(super) text: Vec<f32>,
    pub(super) typo: Vec<f32>,
    pub(super) term: Vec<f32>,
    /// The same of the one indexer that is looked at.
    pub(super) terms: Vec<f32>,
    pub(super) vector: Vec<f32>,
    pub(super) tag: Vec<f32>,
    pub(super) scores: Vec<u32>,
}

/// What the parts are multiplied by in one answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    pub text: f32,
    pub term: f32,
    pub vector: f32,
    pub tag: f32,
}

/// Zeros, for so many slots.
pub(super) fn zeros<T: Clone + Default>(of: &mut Vec<T>, slots: usize) -> &mut [T] {
    of.clear();
    of.resize(slots, T::default());
    of
}

/// In whole steps, rounded up: at least one for any part that there is.
pub(super) fn steps(part: f32) -> u32 {
    let exact = part * STEPS as f32;
    // Between 0 and 1 by construction, to a last digit; the cast saturates.
    #[allow(clippy::cast_possible_truncation)]
    let whole = exact as i32;
    // `ceil` would be a call for each slot.
    whole.wrapping_add(i32::from(exact > whole as f32)).cast_unsigned()
}

/// A number of steps as a score.
pub(super) fn of_steps(steps: u32) -> f64 {
    f64::from(steps) / STEPS
}

impl Scratch {
    pub(super) fn clear(&mut self) {
        for part in [&mut self.text, &mut self.typo, &mut self.term, &mut self.vector, &mut self.tag] {
            part.clear();
        }
    }

    /// How much is heeded what indexers say. Where some skill has most of the question, its words say what is meant.
    pub(super) fn heed(&self) -> f32 {
        let best = match (self.text.as_slice(), self.typo.as_slice()) {
            (one, []) | ([], one) => greatest(one),
            (text, typo) => text.iter().zip(typo).map(|(a, b)| a + b).fold(0.0, f32::max),
        };
        (1.0 - HEED_FALL * best).max(HEED_MIN)
    }

    /// The parts of one skill's score, of which `performance` is one.
    pub(super) fn parts(&self, weights: &Weights, slot: u32, performance: u32) -> ScoreParts {
        let of = |part: &[f32], weight: f32| {
            of_steps(part.get(slot as usize).map_or(0, |sum| steps(weight * sum)))
        };
        ScoreParts {
            text: of(&self.text, weights.text),
            typo: of(&self.typo, weights.text),
            term: of(&self.term, weights.term),
            vector: of(&self.vector, weights.vector),
            tag: of(&self.tag, weights.tag),
            performance: of_steps(performance),
        }
    }

    /// The sum of the parts in steps, by slot; 0 where there is none. What is proven (`performance`, by slot) is added where
    /// something was found.
    pub(super) fn sum(&mut self, weights: &Weights, performance: &[u32]) {
        let scores = zeros(&mut self.scores, performance.len());
        let parts = [
            (self.text.as_slice(), weights.text),
            (&self.typo, weights.text),
            (&self.term, weights.term),
            (&self.vector, weights.vector),
            (&self.tag, weights.tag),
        ];
        for ((block, scores), performance) in
            scores.chunks_mut(BLOCK).enumerate().zip(performance.chunks(BLOCK))
        {
            for (part, weight) in parts {
                // Nothing wraps: each part is at most a million.
                let part = part.get(block * BLOCK..).unwrap_or_default();
                for (score, sum) in scores.iter_mut().zip(part) {
                    *score = score.wrapping_add(steps(weight * sum));
                }
            }
            for (score, performance) in scores.iter_mut().zip(performance) {
                let found = if *score > 0 { *performance } else { 0 };
                *score = score.wrapping_add(found);
            }
        }
    }
}

/// The greatest of all, and at least 0: `LANES` at once, because one after another waits for the one before.
fn greatest(all: &[f32]) -> f32 {
    let (lanes, rest) = all.as_chunks::<LANES>();
    let mut best = [0.0_f32; LANES];
    for lane in lanes {
        for (best, one) in best.iter_mut().zip(lane) {
            // `max` has a rule for what is not a number, of which there is none.
            *best = if *one > *best { *one } else { *best };
        }
    }
    best.into_iter().chain(rest.iter().copied()).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_rounded_up() {
        for (part, want) in [(0.0, 0), (1e-9, 1), (1e-6, 1), (0.25, 250_000), (1.0, 1_000_000)] {
            assert_eq!(steps(part), want, "{part}");
        }
        for i in 0..2_000_u16 {
            let part = f32::from(i) / 1_999.0;
            assert_eq!(f64::from(steps(part)), f64::from((part * 1e6).ceil()), "{part}");
        }
    }

    #[test]
    fn the_greatest_is_found_wherever_it_stands() {
        for count in [0, 1, LANES - 1, LANES, LANES + 1, 5 * LANES + 3] {
            for at in 0..count {
                let mut one = Scratch { text: vec![0.01; count], ..Scratch::default() };
                one.text[at] = 0.4;
                assert!((one.heed() - 0.4).abs() < 1e-6, "{at} of {count}");
                one.typo = vec![0.0; count];
                one.typo[at] = 0.02;
                assert!((one.heed() - 0.37).abs() < 1e-6, "{at} of {count}");
            }
        }
        assert!((Scratch::default().heed() - 1.0).abs() < 1e-6, "no word is known");
    }

    #[test]
    fn sums_are_those_of_the_parts_over_the_border_of_a_block() {
        let weights = Weights { text: 1.0, term: 0.3, vector: 0.6, tag: 0.1 };
        let slots = BLOCK + 3;
        let mut s = Scratch { text: vec![0.0; slots], vector: vec![0.0; slots], ..Scratch::default() };
        let mut performance = vec![0; slots];
        for slot in [0, BLOCK - 1, BLOCK, slots - 1] {
            s.text[slot] = 0.123_456_7;
            s.vector[slot] = 0.5;
            performance[slot] = 70_000;
        }
        // Proven, and not found.
        performance[1] = 70_000;
        s.sum(&weights, &performance);
        assert_eq!(s.scores.iter().filter(|score| **score > 0).count(), 4);
        for (slot, score) in (0..).zip(&s.scores) {
            let found = if *score > 0 { performance[slot as usize] } else { 0 };
            let p = s.parts(&weights, slot, found);
            let sum = p.text + p.typo + p.term + p.vector + p.tag + p.performance;
            assert!((sum - of_steps(*score)).abs() < 1e-12, "{slot}: {p:?}");
        }
    }
}
