//! What waits for one listener: bounded in bytes, and what did not fit is counted.

use crate::series::{Frame, SeriesKey};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes that wait for a listener, but for one batch, which may be longer.
pub const TAIL_BYTES_MAX: usize = 8 << 20;

/// What a listener gets, in the order in which it happened to each series.
#[derive(Debug, Clone, PartialEq)]
pub enum TailEvent {
    /// Rows of a series as they were written, in the order of the write.
    Rows(Arc<(SeriesKey, Frame)>),
    /// Rows at this place that were not kept, because the listener took those before them too slowly.
    Lagged(Lagged),
}

/// What was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Lagged {
    pub rows: u64,
    /// The least and the greatest of their times, in nanoseconds since the epoch: a query of that span has them.
    pub first: i64,
    pub last: i64,
}

impl Lagged {
    fn of(frame: &Frame) -> Option<Self> {
        let (first, last) = (frame.times.iter().min()?, frame.times.iter().max()?);
        Some(Self { rows: frame.len() as u64, first: *first, last: *last })
    }

    fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

/// The events that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: VecDeque<TailEvent>,
    bytes: usize,
}

impl Queue {
    pub(super) fn push(&mut self, rows: &Arc<(SeriesKey, Frame)>) {
        let Some(missed) = Lagged::of(&rows.1) else { return };
        let bytes = rows.1.size_bytes();
        let fits = self.bytes == 0 || self.bytes.saturating_add(bytes) <= TAIL_BYTES_MAX;
        match self.events.back_mut() {
            // Once something is missed, rows are kept again when half of the room is free: many short gaps say less than one.
            Some(TailEvent::Lagged(lagged)) if !fits || self.bytes > TAIL_BYTES_MAX / 2 => {
                *lagged = lagged.and(missed);
            }
            _ if fits => {
                self.bytes += bytes;
                self.events.push_back(TailEvent::Rows(rows.clone()));
            }
            _ => self.events.push_back(TailEvent::Lagged(missed)),
        }
    }

    pub(super) fn pop(&mut self) -> Option<TailEvent> {
        let event = self.events.pop_front()?;
        if let TailEvent::Rows(rows) = &event {
            self.bytes = self.bytes.saturating_sub(rows.1.size_bytes());
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Column;

    fn rows(first: i64, count: usize) -> Arc<(SeriesKey, Frame)> {
        let times: Vec<i64> = (first..).take(count).collect();
        let columns = vec![Column::float("v", vec![1.0; count])];
        Arc::new((SeriesKey::new("b", "m", Vec::new()).unwrap(), Frame { times, columns }))
    }

    #[test]
    fn what_does_not_fit_is_counted_once_and_at_its_place() {
        let quarter = TAIL_BYTES_MAX / 4 / 16;
        let mut queue = Queue::default();
        for i in 0..4 {
            queue.push(&rows(i * 1_000_000, quarter));
        }
        queue.push(&rows(7, 1));
        queue.push(&rows(9_000_000, 10));
        queue.push(&rows(-3, 1));
        // One taken is not enough to go on.
        assert!(matches!(queue.pop(), Some(TailEvent::Rows(_))));
        queue.push(&rows(8, 1));
        assert!(matches!(queue.pop(), Some(TailEvent::Rows(_))));
        queue.push(&rows(5, 1));
        let rest: Vec<TailEvent> = std::iter::from_fn(|| queue.pop()).collect();
        let missed = Lagged { rows: 13, first: -3, last: 9_000_009 };
        assert_eq!(rest[2..], [TailEvent::Lagged(missed), TailEvent::Rows(rows(5, 1))]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn a_batch_that_is_longer_than_the_room_passes_through_an_empty_queue() {
        let mut queue = Queue::default();
        queue.push(&rows(0, TAIL_BYTES_MAX / 16 + 1));
        queue.push(&rows(0, 1));
        assert!(matches!(queue.pop(), Some(TailEvent::Rows(_))));
        assert_eq!(queue.pop(), Some(TailEvent::Lagged(Lagged { rows: 1, first: 0, last: 0 })));
        queue.push(&rows(0, 0));
        assert_eq!(queue.pop(), None);
    }
}
