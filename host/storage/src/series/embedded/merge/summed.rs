//! What of a chunk is known without decoding it: all of it, or days of it.

use super::{Merge, Origin, Source};
use crate::error::Result;
use crate::series::embedded::chunk::Chunk;
use crate::series::embedded::core::Core;
use crate::series::embedded::days::{DAY_ROWS_MIN, Days, TOTALS_BYTES, day_of, span_of};
use crate::series::embedded::memory::Held;
use crate::series::embedded::statistics::{self, Totals};
use crate::series::pieces::Within;
use crate::series::{Budget, FieldType};
use std::collections::VecDeque;

/// Rows of one chunk that follow each other, and that nothing else has rows between.
#[derive(Debug)]
pub(in crate::series::embedded) struct Summed {
    /// No row is before the first of these times and none after the last.
    pub first: i64,
    pub last: i64,
    pub rows: u64,
    /// Of the fields that are wanted.
    pub totals: Vec<Totals>,
}

impl Merge {
    /// Sums up what can be of a source before which no other has rows that were not given. What is left of it comes
    /// first, as rows.
    pub(super) fn sum_up(
        &mut self,
        core: &Core,
        source: Source,
        budget: &Budget,
        within: &Within,
    ) -> Result<Option<Source>> {
        let next = self.waiting.last();
        if self.stands_alone(&source, next, within) {
            self.summed.extend(self.whole(core, &source)?);
        } else if self.has_days_within(&source, next, within) {
            if let Some((days, room)) = self.days(core, &source, budget)? {
                let Some(rest) = self.take_days(&source, &days, within) else { return Ok(Some(source)) };
                drop(days);
                if !self.keep_days(room) {
                    return Ok(Some(source));
                }
                if rest > source.min {
                    return Ok(Some(Source { max: rest.saturating_sub(1), ..source }));
                }
            }
        }
        if self.summed.is_empty() {
            return Ok(Some(source));
        }
        budget.count(|c| c.skipped(1));
        // It may have been thought that it has to be decoded.
        if let (Origin::Chunk(chunk), Some((id, ..))) = (&source.origin, &self.ahead) {
            if *id == chunk.id {
                self.ahead = None;
            }
        }
        Ok(None)
    }

    /// Is it likely that a chunk need not be decoded, or only in part?
    pub(super) fn may_be_known(&self, source: &Source, next: Option<&Source>, within: &Within) -> bool {
        self.stands_alone(source, next, within)
            || (!self.no_days && self.has_days_within(source, next, within))
    }

    /// A chunk that is wanted whole, has no rows of others between its own, and is taken by `within`.
    fn stands_alone(&self, source: &Source, next: Option<&Source>, within: &Within) -> bool {
        let Origin::Chunk(chunk) = &source.origin else { return false };
        !chunk.is_bad()
            && chunk.min >= self.range.start
            && chunk.max < self.range.end
            && next.is_none_or(|next| next.min > chunk.max)
            && within(chunk.min, chunk.max)
    }

    /// The statistics of a chunk, of the fields that are wanted; none if they cannot be had: then its rows tell.
    fn whole(&self, core: &Core, source: &Source) -> Result<Option<Summed>> {
        let Origin::Chunk(chunk) = &source.origin else { return Ok(None) };
        let stats = core.sound_stats(chunk, &self.types)?;
        let wanted = |t: &Totals| self.fields.as_ref().is_none_or(|f| f.contains(&t.field));
        Ok(stats.map(|stats| Summed {
            first: chunk.min,
            last: chunk.max,
            rows: u64::from(chunk.rows()),
            totals: stats.into_iter().map(|s| s.totals).filter(wanted).collect(),
        }))
    }

    /// A chunk of several days, of which the last one that is wanted is wanted whole, taken by `within`, and has no rows
    /// of others before its end. Only then it pays: to have the rows of a day all those before it are decoded.
    fn has_days_within(&self, source: &Source, next: Option<&Source>, within: &Within) -> bool {
        let Origin::Chunk(chunk) = &source.origin else { return false };
        let end = chunk.max.min(self.range.end.saturating_sub(1));
        let (first, last) = span_of(day_of(end), (chunk.min, chunk.max));
        !chunk.is_bad()
            && usize::try_from(chunk.rows()).unwrap_or(0) >= 2 * DAY_ROWS_MIN
            && day_of(chunk.min) < day_of(chunk.max)
            && first >= source.min
            && last < self.range.end
            && next.is_none_or(|next| next.min > last)
            && within(first, last)
    }

    /// With the room that they are decoded in, and again as much for what is taken of them.
    fn days(&mut self, core: &Core, source: &Source, budget: &Budget) -> Result<Option<(Days, Held)>> {
        let Origin::Chunk(chunk) = &source.origin else { return Ok(None) };
        let fields = self.fields.as_ref().map_or(self.types.len(), Vec::len);
        let room = core.memory.decode(2 * days_bytes(chunk, fields), budget)?;
        let days = core.sound_days(chunk, &self.types, self.fields.as_deref())?;
        self.no_days = days.is_none();
        Ok(days.map(|days| (days, room)))
    }

    /// Keeps what was taken of days until it is given; `false`: there is no room for that, and the rows tell.
    fn keep_days(&mut self, mut room: Held) -> bool {
        let totals: usize = self.summed.iter().map(|s| s.totals.len()).sum();
        let kept = room.keep((totals * TOTALS_BYTES) as u64);
        self.summed_room = kept.then_some(room);
        if !kept {
            self.summed.clear();
        }
        kept
    }

    pub(super) fn forget_summed(&mut self) {
        self.summed.clear();
        self.summed_room = None;
    }

    /// Sums up the last days of those that are wanted, as many as can be; gives the first time of which no rows are needed
    /// any more. `None`: none can be.
    fn take_days(&mut self, source: &Source, days: &Days, within: &Within) -> Option<i64> {
        let Origin::Chunk(chunk) = &source.origin else { return None };
        let mut summed = VecDeque::new();
        let mut rest = None;
        for (at, day) in days.days().iter().enumerate().rev() {
            let (first, last) = span_of(day.day, (chunk.min, chunk.max));
            if first >= self.range.end {
                continue;
            }
            if last < source.min {
                // Nothing is left.
                rest = rest.map(|_| source.min);
                break;
            }
            if first < source.min || last >= self.range.end || !within(first, last) {
                break;
            }
            rest = Some(first);
            summed.push_front(Summed { first, last, rows: u64::from(day.rows), totals: days.totals(at) });
        }
        self.summed = summed;
        rest
    }
}

/// What a chunk says of its days takes in memory, at most.
fn days_bytes(chunk: &Chunk, fields: usize) -> u64 {
    let days = day_of(chunk.max).abs_diff(day_of(chunk.min)).saturating_add(1);
    // A chunk with fewer rows a day says nothing of them.
    let days = days.min(u64::from(chunk.rows()) / DAY_ROWS_MIN as u64 + 1);
    days.saturating_mul((fields * TOTALS_BYTES) as u64)
}

impl Core {
    /// What a chunk says of its days, of the fields that are wanted (`None`: all), if it is there and whole.
    fn sound_days(
        &self,
        chunk: &Chunk,
        types: &[Option<FieldType>],
        wanted: Option<&[u32]>,
    ) -> Result<Option<Days>> {
        let Some(stored) = self.stored_stats(chunk)? else { return Ok(None) };
        let Ok(statistics::Statistics { fields, days: Some(days) }) = statistics::decode(&stored, wanted)
        else {
            return Ok(None);
        };
        let mut all = fields.iter().map(|s| s.totals.field).filter(|f| wanted.is_none_or(|w| w.contains(f)));
        let rows: u64 = days.days().iter().map(|d| u64::from(d.rows)).sum();
        let ends = days.days().first().zip(days.days().last());
        let sound = statistics::fit(&fields, types)
            && days.fit(types)
            && rows == u64::from(chunk.rows())
            && ends.is_some_and(|(a, b)| (a.day, b.day) == (day_of(chunk.min), day_of(chunk.max)));
        let sound = sound && all.all(|field| days.has(field));
        Ok(sound.then_some(days))
    }
}
