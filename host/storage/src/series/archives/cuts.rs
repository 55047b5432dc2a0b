//! Spans that were deleted from an archive: in order, apart from each other.

use crate::series::TimeRange;

/// Spans of one archive.
pub const CUTS_MAX: usize = 1_000;

/// Adds a span; those that it meets become one with it.
pub(super) fn add(cuts: &mut Vec<TimeRange>, range: TimeRange) {
    if range.start >= range.end {
        return;
    }
    let from = cuts.partition_point(|c| c.end < range.start);
    let to = cuts.partition_point(|c| c.start <= range.end);
    let met = cuts.get(from..to).unwrap_or_default();
    let start = met.first().map_or(range.start, |c| c.start.min(range.start));
    let end = met.last().map_or(range.end, |c| c.end.max(range.end));
    cuts.splice(from..to.max(from), [TimeRange { start, end }]);
}

/// Was this time deleted?
pub(super) fn has(cuts: &[TimeRange], time: i64) -> bool {
    let at = cuts.partition_point(|c| c.end <= time);
    cuts.get(at).is_some_and(|c| c.contains(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random::Random;

    #[test]
    fn they_stay_in_order_and_apart() {
        let mut random = Random::new(7);
        for _ in 0..500 {
            let mut cuts = Vec::new();
            let mut gone = [false; 64];
            for _ in 0..1 + random.below(12) {
                let start = random.below(60);
                let end = start + random.below(8);
                add(&mut cuts, TimeRange { start: start as i64, end: end as i64 });
                gone.iter_mut().take(end.min(64)).skip(start).for_each(|g| *g = true);
                assert!(cuts.windows(2).all(|w| w[0].end < w[1].start), "{cuts:?}");
                for (time, gone) in gone.iter().enumerate() {
                    assert_eq!(has(&cuts, time as i64), *gone, "{time} in {cuts:?}");
                }
            }
        }
    }
}
