//! `vwap`: Σ price·size ÷ Σ size of the trades of a window (Berkowitz, Logue, Noser: The Total Cost of Transactions on the
//! NYSE, Journal of Finance 43(1), 1988).
//!
//! The mean is carried along and moved by each trade, not divided from two sums (West: Updating Mean and Variance Estimates,
//! CACM 22(9), 1979): it stays among the prices, so it neither overflows nor loses digits where the sums grow large.

use crate::frame::{Ascending, Frame, floats, integers};

/// The least time that the host stores.
const TIME_MIN_NS: i64 = i64::MIN + 2;

/// What is kept between batches: one window.
#[derive(Debug)]
pub struct Vwap {
    every: i64,
    order: Ascending,
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    start: i64,
    vwap: f64,
    volume: f64,
    trades: i64,
}

impl Vwap {
    pub fn new(every: i64) -> Result<Self, String> {
        if every <= 0 {
            return Err("`every` must be longer than nothing".into());
        }
        Ok(Self { every, order: Ascending::default(), window: None })
    }

    /// The windows that ended. A row without a price, or without a size above 0, is no trade.
    pub fn fold(&mut self, batch: &Frame, last: bool) -> Result<Frame, String> {
        let (price, size) = (batch.numbers("price")?, batch.numbers("size")?);
        let mut ended = Vec::new();
        for (row, &time) in batch.times.iter().enumerate() {
            self.order.take(time)?;
            let (Some(price), Some(size)) = (price.get(row), size.get(row).filter(|s| *s > 0.0)) else {
                continue;
            };
            let start = time.saturating_sub(time.rem_euclid(self.every)).max(TIME_MIN_NS);
            ended.extend(self.window.take_if(|w| w.start != start));
            self.window.get_or_insert(Window::at(start)).trade(price, size);
        }
        if last {
            ended.extend(self.window.take());
        }
        Ok(frame(&ended))
    }
}

impl Window {
    fn at(start: i64) -> Self {
        Self { start, vwap: 0.0, volume: 0.0, trades: 0 }
    }

    fn trade(&mut self, price: f64, size: f64) {
        self.volume += size;
        self.vwap += (price - self.vwap) * (size / self.volume);
        self.trades += 1;
    }
}

fn frame(windows: &[Window]) -> Frame {
    Frame {
        times: windows.iter().map(|w| w.start).collect(),
        columns: vec![
            floats("vwap", windows.iter().map(|w| Some(w.vwap))),
            floats("volume", windows.iter().map(|w| Some(w.volume))),
            integers("trades", windows.iter().map(|w| Some(w.trades))),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Values;
    use crate::testing::{self, Dice, folded, ns};

    const MINUTE: i64 = 60_000_000_000;
    const NO: f64 = f64::NAN;

    fn ticks(rows: &[(i64, [f64; 2])]) -> Frame {
        testing::frame(["price", "size"], rows)
    }

    fn vwap(every: i64, rows: &[(i64, [f64; 2])]) -> Vec<(i64, Vec<Option<f64>>)> {
        folded(&ticks(rows), || {
            let mut one = Vwap::new(every).unwrap();
            Box::new(move |batch, last| one.fold(batch, last))
        })
    }

    fn row(time: i64, vwap: f64, volume: f64, trades: f64) -> (i64, Vec<Option<f64>>) {
        (time, vec![Some(vwap), Some(volume), Some(trades)])
    }

    #[test]
    fn by_hand() {
        // (100·1 + 104·3) ÷ 4 = 103; then a window without trades; then one trade.
        let rows = [(0, [100.0, 1.0]), (5 * MINUTE - 1, [104.0, 3.0]), (11 * MINUTE, [99.5, 2.0])];
        assert_eq!(vwap(5 * MINUTE, &rows), [row(0, 103.0, 4.0, 2.0), row(10 * MINUTE, 99.5, 2.0, 1.0)]);
    }

    #[test]
    fn windows_are_counted_in_utc_also_where_clocks_change_and_before_the_epoch() {
        let (before, after) = (ns("2026-03-08T06:59:00Z"), ns("2026-03-08T07:01:00Z"));
        assert_eq!(
            vwap(60 * MINUTE, &[(before, [1.0, 1.0]), (after, [2.0, 1.0])]),
            [row(ns("2026-03-08T06:00:00Z"), 1.0, 1.0, 1.0), row(ns("2026-03-08T07:00:00Z"), 2.0, 1.0, 1.0)]
        );
        let (before, after) = (ns("2026-11-01T05:59:00Z"), ns("2026-11-01T06:59:00Z"));
        assert_eq!(vwap(60 * MINUTE, &[(before, [1.0, 1.0]), (after, [2.0, 1.0])]).len(), 2);
        assert_eq!(vwap(MINUTE, &[(-1, [3.0, 2.0])]), [row(-MINUTE, 3.0, 2.0, 1.0)]);
    }

    #[test]
    fn what_is_no_trade_is_left_out() {
        let rows = [(1, [NO, 1.0]), (2, [7.0, NO]), (3, [7.0, 0.0]), (4, [7.0, -1.0]), (5, [8.0, 2.0])];
        assert_eq!(vwap(10, &rows), [row(0, 8.0, 2.0, 1.0)]);
        assert_eq!(vwap(10, &rows[..4]), []);
        // Prices below zero are prices.
        assert_eq!(vwap(10, &[(1, [-37.5, 2.0])]), [row(0, -37.5, 2.0, 1.0)]);
    }

    #[test]
    fn batches_do_not_matter_and_the_mean_is_right() {
        let mut dice = Dice(1);
        let rows: Vec<_> =
            (0..120).map(|i| (i * 7, [100.0 + dice.next(), (dice.next() * 9.0).floor()])).collect();
        let answer = vwap(50, &rows);
        assert!(answer.len() > 15);
        for (start, cells) in answer {
            let trades = rows.iter().filter(|(t, [_, size])| (start..start + 50).contains(t) && *size > 0.0);
            let (value, volume) =
                trades.fold((0.0, 0.0), |(value, volume), (_, [p, s])| (value + p * s, volume + s));
            assert!((cells[0].unwrap() - value / volume).abs() < 1e-11);
            assert_eq!(cells[1], Some(volume));
        }
    }

    #[test]
    fn large_numbers_neither_overflow_nor_drift() {
        let rows: Vec<_> = (0..100).map(|i| (i, [1e300, 1e306])).collect();
        assert_eq!(vwap(1_000, &rows), [row(0, 1e300, rows.iter().map(|r| r.1[1]).sum(), 100.0)]);
        // A volume past every float is no value; the price still is one.
        let answer = vwap(1_000, &[(0, [5.0, f64::MAX]), (1, [5.0, f64::MAX])]);
        assert_eq!(answer, [(0, vec![Some(5.0), None, Some(2.0)])]);
    }

    #[test]
    fn hostile_frames() {
        let mut one = Vwap::new(10).unwrap();
        assert_eq!(one.fold(&Frame::default(), false).unwrap().columns.len(), 3);
        assert!(
            one.fold(&ticks(&[(9, [1.0, 1.0]), (3, [1.0, 1.0])]), false).unwrap_err().contains("ascending")
        );
        assert!(Vwap::new(10).unwrap().fold(&testing::frame(["price"], &[(1, [1.0])]), true).is_err());
        let mut words = ticks(&[(1, [1.0, 1.0])]);
        words.columns[1].values = Values::Strings(vec!["1".into()]);
        assert_eq!(
            Vwap::new(10).unwrap().fold(&words, true).unwrap_err(),
            "the field `size` holds no numbers"
        );
        for every in [0, -1, i64::MIN] {
            assert!(Vwap::new(every).is_err());
        }
        for every in [1, 7, i64::MAX] {
            let ends = [(i64::MIN, [1.0, 1.0]), (-1, [1.0, 1.0]), (i64::MAX, [1.0, 1.0])];
            assert!(vwap(every, &ends).iter().all(|(time, _)| *time >= TIME_MIN_NS));
        }
    }
}
