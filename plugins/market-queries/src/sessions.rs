//! `session-bars`: one bar per trading session, from one-minute bars.

use crate::calendar::{Calendar, Session};
use crate::frame::{Ascending, Frame, floats, integers};

/// What the bars are made of.
pub const FIELDS: [&str; 5] = ["open", "high", "low", "close", "volume"];

/// What is kept between batches: one session.
#[derive(Debug)]
pub struct SessionBars {
    calendar: Calendar,
    start: Option<i64>,
    end: Option<i64>,
    order: Ascending,
    bar: Option<Bar>,
}

#[derive(Debug, Clone, Copy)]
struct Bar {
    session: Session,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    /// None: no bar had one.
    volume: Option<f64>,
    bars: i64,
}

impl SessionBars {
    /// The sessions that open from `start` to before `end`, each of them whole.
    pub fn new(calendar: Calendar, start: Option<i64>, end: Option<i64>) -> Self {
        Self { calendar, start, end, order: Ascending::default(), bar: None }
    }

    /// Where the bars that are needed end: with the last session, if `end` is in the midst of it.
    pub fn needed_end(&self) -> Option<i64> {
        let end = self.end?;
        Some(self.calendar.session_at(end.saturating_sub(1)).map_or(end, |session| session.close))
    }

    /// The bars of the sessions that ended. A row that lacks one of the four prices is left out, and so is one outside of
    /// every session.
    pub fn fold(&mut self, batch: &Frame, last: bool) -> Result<Frame, String> {
        let [open, high, low, close, volume] = FIELDS.map(|name| batch.numbers(name));
        let (open, high, low, close, volume) = (open?, high?, low?, close?, volume?);
        let mut ended = Vec::new();
        for (row, &time) in batch.times.iter().enumerate() {
            self.order.take(time)?;
            ended.extend(self.bar.take_if(|bar| !bar.session.holds(time)));
            let (Some(open), Some(high), Some(low), Some(close)) =
                (open.get(row), high.get(row), low.get(row), close.get(row))
            else {
                continue;
            };
            let minute = |session| Bar { session, open, high, low, close, volume: volume.get(row), bars: 1 };
            match &mut self.bar {
                Some(bar) => bar.add(&minute(bar.session)),
                None => self.bar = self.wanted(time).map(minute),
            }
        }
        if last {
            ended.extend(self.bar.take());
        }
        Ok(frame(&ended))
    }

    fn wanted(&self, time: i64) -> Option<Session> {
        self.calendar.session_at(time).filter(|session| {
            self.start.is_none_or(|start| session.open >= start)
                && self.end.is_none_or(|end| session.open < end)
        })
    }
}

impl Bar {
    fn add(&mut self, next: &Self) {
        self.high = self.high.max(next.high);
        self.low = self.low.min(next.low);
        self.close = next.close;
        self.volume = match (self.volume, next.volume) {
            (Some(sum), Some(more)) => Some(sum + more),
            (sum, more) => sum.or(more),
        };
        self.bars += next.bars;
    }
}

fn frame(bars: &[Bar]) -> Frame {
    Frame {
        times: bars.iter().map(|b| b.session.open).collect(),
        columns: vec![
            floats("open", bars.iter().map(|b| Some(b.open))),
            floats("high", bars.iter().map(|b| Some(b.high))),
            floats("low", bars.iter().map(|b| Some(b.low))),
            floats("close", bars.iter().map(|b| Some(b.close))),
            floats("volume", bars.iter().map(|b| b.volume)),
            integers("bars", bars.iter().map(|b| Some(b.bars))),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Dice, folded, futures, ns, nyse};

    const MINUTE: i64 = 60_000_000_000;
    const NO: f64 = f64::NAN;

    type Minute = (i64, [f64; 5]);

    fn sessions(
        calendar: &Calendar,
        (start, end): (Option<i64>, Option<i64>),
        minutes: &[Minute],
    ) -> Vec<(i64, Vec<Option<f64>>)> {
        folded(&testing::frame(FIELDS, minutes), || {
            let mut one = SessionBars::new(calendar.clone(), start, end);
            Box::new(move |batch, last| one.fold(batch, last))
        })
    }

    fn at(time: &str, values: [f64; 5]) -> Minute {
        (ns(time), values)
    }

    fn row(time: &str, values: [f64; 6]) -> (i64, Vec<Option<f64>>) {
        (ns(time), values.map(Some).into())
    }

    const ALL: (Option<i64>, Option<i64>) = (None, None);

    #[test]
    fn by_hand() {
        let minutes = [
            at("2026-06-26T13:29:00Z", [1.0, 999.0, 0.1, 1.0, 50.0]),
            at("2026-06-26T13:30:00Z", [10.0, 12.0, 9.5, 11.0, 100.0]),
            at("2026-06-26T13:31:00Z", [11.0, 15.0, 10.5, 14.0, 200.0]),
            at("2026-06-26T19:59:00Z", [14.0, 14.5, 9.0, 9.25, 300.0]),
            at("2026-06-26T20:00:00Z", [1.0, 999.0, 0.1, 1.0, 50.0]),
            at("2026-06-29T14:00:00Z", [20.0, 20.0, 20.0, 20.0, 1.0]),
        ];
        assert_eq!(
            sessions(&nyse(), ALL, &minutes),
            [
                row("2026-06-26T13:30:00Z", [10.0, 15.0, 9.0, 9.25, 600.0, 3.0]),
                // The time is the session's open, not its first bar's.
                row("2026-06-29T13:30:00Z", [20.0, 20.0, 20.0, 20.0, 1.0, 1.0]),
            ]
        );
    }

    /// Every minute of a span, all alike.
    fn every_minute(from: &str, to: &str) -> Vec<Minute> {
        let (from, to) = (ns(from), ns(to));
        (0..).map(|i| from + i * MINUTE).take_while(|t| *t < to).map(|t| (t, [1.0; 5])).collect()
    }

    /// Opens and the number of bars, in one batch.
    fn counts(calendar: &Calendar, from: &str, to: &str) -> Vec<(i64, Option<f64>)> {
        let frame = testing::frame(FIELDS, &every_minute(from, to));
        let answer = SessionBars::new(calendar.clone(), None, None).fold(&frame, true).unwrap();
        testing::rows(&[answer]).into_iter().map(|(time, cells)| (time, cells[5])).collect()
    }

    #[test]
    fn where_clocks_change_sessions_keep_their_length_by_the_wall() {
        let full = Some(390.0);
        assert_eq!(
            counts(&nyse(), "2026-03-06T00:00:00Z", "2026-03-10T00:00:00Z"),
            [(ns("2026-03-06T14:30:00Z"), full), (ns("2026-03-09T13:30:00Z"), full)]
        );
        assert_eq!(
            counts(&nyse(), "2026-10-30T00:00:00Z", "2026-11-03T00:00:00Z"),
            [(ns("2026-10-30T13:30:00Z"), full), (ns("2026-11-02T14:30:00Z"), full)]
        );
    }

    #[test]
    fn a_holiday_has_no_bar_and_an_early_close_a_shorter_one() {
        assert_eq!(
            counts(&nyse(), "2026-07-02T00:00:00Z", "2026-07-06T00:00:00Z"),
            [(ns("2026-07-02T13:30:00Z"), Some(390.0))]
        );
        assert_eq!(
            counts(&nyse(), "2026-12-24T00:00:00Z", "2026-12-25T00:00:00Z"),
            [(ns("2026-12-24T14:30:00Z"), Some(210.0))]
        );
    }

    #[test]
    fn an_overnight_session_begins_the_evening_before() {
        assert_eq!(
            counts(&futures(), "2026-03-06T12:00:00Z", "2026-03-10T12:00:00Z"),
            [
                (ns("2026-03-05T23:00:00Z"), Some(600.0)),
                (ns("2026-03-08T22:00:00Z"), Some(23.0 * 60.0)),
                (ns("2026-03-09T22:00:00Z"), Some(14.0 * 60.0)),
            ]
        );
    }

    #[test]
    fn a_range_gives_whole_sessions_that_open_in_it() {
        let minutes = every_minute("2026-06-25T00:00:00Z", "2026-06-28T00:00:00Z");
        let (open, noon) = (ns("2026-06-26T13:30:00Z"), ns("2026-06-26T16:00:00Z"));
        for (start, end, wanted) in [
            (Some(open), None, 1),
            (Some(open + 1), None, 0),
            (None, Some(open), 1),
            (None, Some(open + 1), 2),
            (None, Some(noon), 2),
        ] {
            let one = || SessionBars::new(nyse(), start, end);
            let close = ns("2026-06-26T20:00:00Z");
            let needed = end.map(|end| if end > open { close } else { end });
            assert_eq!(one().needed_end(), needed);
            let asked: Vec<Minute> = minutes
                .iter()
                .filter(|(t, _)| start.is_none_or(|s| *t >= s) && needed.is_none_or(|e| *t < e))
                .copied()
                .collect();
            // What was asked for is enough, and more does no harm.
            for given in [&asked, &minutes] {
                let answer = one().fold(&testing::frame(FIELDS, given), true).unwrap();
                assert_eq!(answer.times.len(), wanted, "{start:?} {end:?}");
                for (_, cells) in testing::rows(&[answer]) {
                    assert_eq!(cells[5], Some(390.0));
                }
            }
        }
        assert_eq!(SessionBars::new(nyse(), None, Some(i64::MIN)).needed_end(), Some(i64::MIN));
    }

    #[test]
    fn gaps() {
        let open = ns("2026-06-26T13:30:00Z");
        let minutes = [
            (open, [NO, 99.0, 0.0, 5.0, 7.0]),
            (open + MINUTE, [5.0, 6.0, 4.0, 5.0, NO]),
            (open + 2 * MINUTE, [5.0, 6.5, 4.0, 5.5, 7.0]),
        ];
        let wanted = |volume, bars| (open, vec![Some(5.0), Some(6.5), Some(4.0), Some(5.5), volume, bars]);
        assert_eq!(sessions(&nyse(), ALL, &minutes), [wanted(Some(7.0), Some(2.0))]);
        let without: Vec<Minute> = minutes.map(|(t, [o, h, l, c, _])| (t, [o, h, l, c, NO])).into();
        assert_eq!(sessions(&nyse(), ALL, &without), [wanted(None, Some(2.0))]);
    }

    #[test]
    fn batches_do_not_matter() {
        let mut dice = Dice(3);
        let start = ns("2026-12-21T00:00:00Z");
        let minutes: Vec<Minute> = (0..150)
            .map(|i| (start + i * 53 * MINUTE, std::array::from_fn(|_| (dice.next() * 1e3).floor())))
            .collect();
        for calendar in [nyse(), futures()] {
            assert!(sessions(&calendar, ALL, &minutes).len() >= 4);
        }
    }

    #[test]
    fn hostile_frames() {
        let mut one = SessionBars::new(nyse(), None, None);
        assert_eq!(one.fold(&Frame::default(), true).unwrap().columns.len(), 6);
        assert!(one.fold(&testing::frame(["open"], &[(1, [1.0])]), true).unwrap_err().contains("`high`"));
        let back = [(2, [1.0; 5]), (1, [1.0; 5])];
        assert!(one.fold(&testing::frame(FIELDS, &back), true).unwrap_err().contains("ascending"));
        let ends = [(i64::MIN, [1.0; 5]), (i64::MAX, [1.0; 5])];
        assert!(sessions(&futures(), ALL, &ends).len() <= 2);
    }
}
