//! Which times of which series are being written: several questions to the server are of one state only where nothing was
//! written between them.
//!
//! A request that was given up and is carried out by a server that hung is not seen, nor what others write past the host.

use crate::locks::lock;
use crate::series::{SeriesKey, TimeRange, WriteBatch};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;

/// Series share so many places: what is written to one may look as if it was written to another.
const STRIPES: usize = 256;
/// Writes that are remembered per place; of one that began before, nothing is known any more.
const DONE_MAX: usize = 64;

/// Writes and deletes that are on their way to the server, and the latest that were.
#[derive(Debug)]
pub(super) struct Motion {
    stripes: Vec<Mutex<Stripe>>,
}

#[derive(Debug, Default)]
struct Stripe {
    next: u64,
    active: Vec<Write>,
    done: VecDeque<Write>,
    /// Of writes with a lesser number not all are known.
    known_from: u64,
}

/// The times of one write, both ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Write {
    number: u64,
    first: i64,
    last: i64,
}

/// A moment in the writes to a series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    stripe: usize,
    from: u64,
}

/// A write; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    motion: &'a Motion,
    numbers: Vec<(usize, u64)>,
}

/// What was written since a [`Mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    Nothing,
    /// Between these times, both of them included.
    Between(i64, i64),
}

impl Default for Motion {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect() }
    }
}

fn stripe_of(key: &SeriesKey) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0)
}

impl Motion {
    pub fn write(&self, batch: &WriteBatch) -> Turn<'_> {
        let mut spans: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
        for (key, frame) in &batch.series {
            if let (Some(min), Some(max)) = (frame.times.iter().min(), frame.times.iter().max()) {
                let span = spans.entry(stripe_of(key)).or_insert((*min, *max));
                *span = (span.0.min(*min), span.1.max(*max));
            }
        }
        self.enter(spans)
    }

    /// Of any series.
    pub fn delete(&self, range: TimeRange) -> Turn<'_> {
        let span = (range.start, range.end.saturating_sub(1));
        self.enter((0..STRIPES).map(|at| (at, span)))
    }

    fn enter(&self, spans: impl IntoIterator<Item = (usize, (i64, i64))>) -> Turn<'_> {
        let mut numbers = Vec::new();
        for (at, (first, last)) in spans {
            let Some(stripe) = self.stripes.get(at) else { continue };
            let mut stripe = lock(stripe);
            let number = stripe.next;
            stripe.next += 1;
            stripe.active.push(Write { number, first, last });
            numbers.push((at, number));
        }
        Turn { motion: self, numbers }
    }

    pub fn mark(&self, key: &SeriesKey) -> Mark {
        let stripe = stripe_of(key);
        let from = self.stripes.get(stripe).map_or(0, |s| {
            let s = lock(s);
            s.active.iter().map(|w| w.number).min().unwrap_or(s.next)
        });
        Mark { stripe, from }
    }

    /// What was written in a range by writes that went on at the mark or began after it.
    pub fn since(&self, mark: Mark, range: TimeRange) -> Moved {
        let Some(stripe) = self.stripes.get(mark.stripe) else { return Moved::Nothing };
        let stripe = lock(stripe);
        if mark.from < stripe.known_from {
            return Moved::Between(range.start, range.end.saturating_sub(1));
        }
        let new = stripe.active.iter().chain(&stripe.done).filter(|w| w.number >= mark.from);
        let within = new.filter(|w| range.overlaps(w.first, w.last));
        within.fold(Moved::Nothing, |moved, w| match moved {
            Moved::Nothing => Moved::Between(w.first, w.last),
            Moved::Between(first, last) => Moved::Between(first.min(w.first), last.max(w.last)),
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        for (at, number) in &self.numbers {
            let Some(stripe) = self.motion.stripes.get(*at) else { continue };
            let mut stripe = lock(stripe);
            let Some(place) = stripe.active.iter().position(|w| w.number == *number) else { continue };
            let write = stripe.active.swap_remove(place);
            stripe.done.push_back(write);
            if stripe.done.len() > DONE_MAX {
                let gone = stripe.done.pop_front().map_or(0, |w| w.number + 1);
                stripe.known_from = stripe.known_from.max(gone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Column, Frame};

    fn key(name: &str) -> SeriesKey {
        SeriesKey::new("b", name, vec![]).unwrap()
    }

    fn batch(times: &[i64]) -> WriteBatch {
        let columns = vec![Column::float("v", vec![1.0; times.len()])];
        WriteBatch { series: vec![(key("m"), Frame { times: times.to_vec(), columns })] }
    }

    #[test]
    fn what_went_on_or_began_since_is_told_and_nothing_else() {
        let motion = Motion::default();
        let all = TimeRange { start: 0, end: 1_000 };
        drop(motion.write(&batch(&[1, 2])));
        let open = motion.write(&batch(&[50, 40]));
        let mark = motion.mark(&key("m"));
        assert_eq!(motion.since(mark, all), Moved::Between(40, 50), "it went on");
        drop(open);
        assert_eq!(motion.since(mark, all), Moved::Between(40, 50));
        drop(motion.write(&batch(&[70])));
        assert_eq!(motion.since(mark, all), Moved::Between(40, 70));
        assert_eq!(motion.since(mark, TimeRange { start: 51, end: 70 }), Moved::Nothing);
        assert_eq!(motion.since(mark, TimeRange { start: 50, end: 51 }), Moved::Between(40, 50));
        assert_eq!(motion.since(motion.mark(&key("m")), all), Moved::Nothing);
        drop(motion.delete(TimeRange { start: 5, end: 7 }));
        let other = Mark { stripe: (mark.stripe + 1) % STRIPES, from: 0 };
        assert_eq!(motion.since(other, all), Moved::Between(5, 6), "a delete may be of any series");
        drop(motion.delete(TimeRange { start: 7, end: 7 }));
    }

    #[test]
    fn what_is_forgotten_counts_as_written() {
        let motion = Motion::default();
        let range = TimeRange { start: 10, end: 20 };
        let mark = motion.mark(&key("m"));
        for _ in 0..DONE_MAX {
            drop(motion.write(&batch(&[500])));
        }
        assert_eq!(motion.since(mark, range), Moved::Nothing);
        drop(motion.write(&batch(&[500])));
        assert_eq!(motion.since(mark, range), Moved::Between(10, 19));
        assert_eq!(motion.since(motion.mark(&key("m")), range), Moved::Nothing);
    }
}
