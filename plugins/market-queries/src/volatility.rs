//! `rolling-volatility`: the standard deviation of the last returns r = ln(close ÷ close before), of a sample (n − 1), times
//! √periods per year (Hull: Options, Futures, and Other Derivatives, "Estimating volatility from historical data").
//!
//! Each deviation is computed anew from the returns of its window by the corrected two-pass algorithm (Chan, Golub, LeVeque:
//! Algorithms for Computing the Sample Variance, The American Statistician 37(3), 1983). Sums that are carried along by adding
//! the newest return and taking away the oldest are faster, but their errors add up from row to row, and after a burst of
//! large returns the small ones are lost. The bound on the window keeps it cheap.

use crate::frame::{Ascending, Frame, floats};
use std::collections::VecDeque;

/// Returns of a window; a batch of rows then costs some hundred million additions at most.
pub const WINDOW_MAX: i64 = 2_000;
/// More than the seconds of a year: nobody counts finer periods.
pub const PERIODS_MAX: f64 = 32_000_000.0;

/// What is kept between batches: the close before and the returns of one window.
#[derive(Debug)]
pub struct Volatility {
    window: usize,
    /// √periods per year.
    annual: f64,
    order: Ascending,
    before: Option<f64>,
    returns: VecDeque<f64>,
}

struct Row {
    time: i64,
    close: f64,
    log_return: Option<f64>,
    volatility: Option<f64>,
}

impl Volatility {
    pub fn new(window: i64, periods_per_year: f64) -> Result<Self, String> {
        let window = usize::try_from(window)
            .ok()
            .filter(|_| (2..=WINDOW_MAX).contains(&window))
            .ok_or_else(|| format!("`window` must be from 2 to {WINDOW_MAX} returns"))?;
        if !(periods_per_year > 0.0 && periods_per_year <= PERIODS_MAX) {
            return Err(format!("`periods_per_year` must be above 0 and at most {PERIODS_MAX}"));
        }
        Ok(Self {
            window,
            annual: periods_per_year.sqrt(),
            order: Ascending::default(),
            before: None,
            returns: VecDeque::with_capacity(window),
        })
    }

    /// A row for each close. One that is not above 0 has no logarithm: neither it nor the next has a return.
    pub fn fold(&mut self, batch: &Frame) -> Result<Frame, String> {
        let closes = batch.numbers("close")?;
        let mut rows = Vec::with_capacity(batch.times.len());
        for (row, &time) in batch.times.iter().enumerate() {
            self.order.take(time)?;
            let Some(close) = closes.get(row) else { continue };
            let log_return = self.log_return(close);
            let volatility = log_return.and_then(|r| self.volatility(r));
            rows.push(Row { time, close, log_return, volatility });
        }
        Ok(frame(&rows))
    }

    fn log_return(&mut self, close: f64) -> Option<f64> {
        let before = std::mem::replace(&mut self.before, Some(close).filter(|c| *c > 0.0))?;
        Some((close / before).ln()).filter(|r| r.is_finite())
    }

    fn volatility(&mut self, log_return: f64) -> Option<f64> {
        if self.returns.len() == self.window {
            self.returns.pop_front();
        }
        self.returns.push_back(log_return);
        (self.returns.len() == self.window).then(|| deviation(&self.returns) * self.annual)
    }
}

/// The standard deviation of a sample of two or more.
fn deviation(sample: &VecDeque<f64>) -> f64 {
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    let (squares, rest) = sample.iter().fold((0.0, 0.0), |(squares, rest), x| {
        let d = x - mean;
        (squares + d * d, rest + d)
    });
    // Without rounding `rest` is 0: its square takes out what the rounding of the mean put in.
    ((squares - rest * rest / n).max(0.0) / (n - 1.0)).sqrt()
}

fn frame(rows: &[Row]) -> Frame {
    Frame {
        times: rows.iter().map(|r| r.time).collect(),
        columns: vec![
            floats("close", rows.iter().map(|r| Some(r.close))),
            floats("log_return", rows.iter().map(|r| r.log_return)),
            floats("volatility", rows.iter().map(|r| r.volatility)),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Dice, folded};

    const NO: f64 = f64::NAN;

    fn volatility(window: i64, periods: f64, closes: &[f64]) -> Vec<Vec<Option<f64>>> {
        let rows: Vec<(i64, [f64; 1])> = (0..).zip(closes.iter().map(|c| [*c])).collect();
        let answer = folded(&testing::frame(["close"], &rows), || {
            let mut one = Volatility::new(window, periods).unwrap();
            Box::new(move |batch, _| one.fold(batch))
        });
        answer.into_iter().map(|(_, cells)| cells).collect()
    }

    fn near(cell: Option<f64>, wanted: f64) {
        let value = cell.unwrap();
        assert!((value - wanted).abs() <= 1e-12 * wanted.abs().max(1e-3), "{value} is not {wanted}");
    }

    #[test]
    fn by_hand() {
        // Returns ln 2, −ln 2, ln 2: of the first two the mean is 0 and the variance 2·ln²2 ÷ 1.
        let answer = volatility(2, 9.0, &[100.0, 200.0, 100.0, 200.0]);
        let ln2 = std::f64::consts::LN_2;
        assert_eq!(answer[0], [Some(100.0), None, None]);
        near(answer[1][1], ln2);
        assert_eq!(answer[1][2], None);
        near(answer[2][1], -ln2);
        near(answer[2][2], 2_f64.sqrt() * ln2 * 3.0);
        // Of all three the mean is ln2 ÷ 3, the squares (4 + 16 + 4) ÷ 9 · ln²2, the variance half of that.
        let three = volatility(3, 1.0, &[100.0, 200.0, 100.0, 200.0]);
        near(three[3][2], ln2 * (24.0 / 9.0 / 2.0_f64).sqrt());
    }

    #[test]
    fn a_steady_rise_has_no_volatility() {
        let closes: Vec<f64> = (0..40).map(|i| 1_000.0 * 1.01_f64.powi(i)).collect();
        for cells in volatility(20, 252.0, &closes).iter().skip(20) {
            assert!(cells[2].unwrap() < 1e-13);
        }
    }

    #[test]
    fn the_rounding_of_the_mean_is_taken_out() {
        // Around 1e15 floats are an eighth apart, and around the sum of these even hundreds.
        let sample: VecDeque<f64> = (0..999).map(|i| 1e15 + f64::from(i % 3)).collect();
        near(Some(deviation(&sample)), (666.0 / 998.0_f64).sqrt());
    }

    #[test]
    fn a_burst_of_large_returns_leaves_no_error_behind() {
        let mut closes = vec![1e-150, 1e150, 1e-150, 1e150];
        closes.extend([1.0, 1.0000001, 1.0, 1.0000001, 1.0]);
        let after = volatility(3, 1.0, &closes);
        let alone = volatility(3, 1.0, &closes[4..]);
        assert_eq!(after[8][2], alone[4][2]);
        let r = 1.0000001_f64.ln();
        near(alone[4][2], r * (24.0 / 9.0 / 2.0_f64).sqrt());
    }

    #[test]
    fn closes_without_a_logarithm_have_no_return_and_gaps_no_row() {
        let answer = volatility(2, 1.0, &[1.0, 2.0, NO, 1.0, -37.0, 0.0, 3.0, 6.0]);
        let returns: Vec<bool> = answer.iter().map(|cells| cells[1].is_some()).collect();
        assert_eq!(returns, [false, true, true, false, false, false, true]);
        // The window holds the last returns that there were.
        near(answer[6][2], 2_f64.sqrt() * std::f64::consts::LN_2);
        // The ratio of two closes below zero has a logarithm, but they have none.
        assert_eq!(volatility(2, 1.0, &[-37.0, -36.0])[1], [Some(-36.0), None, None]);
        // Past every float there is no return.
        assert_eq!(volatility(2, 1.0, &[1e-308, 1e308])[1], [Some(1e308), None, None]);
    }

    #[test]
    fn batches_do_not_matter_and_it_is_what_a_plain_sum_gives() {
        let mut dice = Dice(2);
        let closes: Vec<f64> = (0..90).map(|_| 50.0 + dice.next()).collect();
        let answer = volatility(20, 252.0, &closes);
        let returns: Vec<f64> = closes.windows(2).map(|w| (w[1] / w[0]).ln()).collect();
        for (i, cells) in answer.iter().enumerate() {
            let Some(window) = i.checked_sub(20).map(|from| &returns[from..i]) else {
                assert_eq!(cells[2], None);
                continue;
            };
            let mean = window.iter().sum::<f64>() / 20.0;
            let variance = window.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 19.0;
            near(cells[2], (variance * 252.0).sqrt());
        }
    }

    #[test]
    fn bounds_and_hostile_frames() {
        for window in [i64::MIN, 1, WINDOW_MAX + 1] {
            assert_eq!(Volatility::new(window, 1.0).unwrap_err(), "`window` must be from 2 to 2000 returns");
        }
        assert!(Volatility::new(2, PERIODS_MAX).is_ok() && Volatility::new(WINDOW_MAX, 1e-9).is_ok());
        for periods in [0.0, -1.0, NO, f64::INFINITY, PERIODS_MAX + 1.0] {
            assert!(Volatility::new(2, periods).unwrap_err().contains("`periods_per_year` must be"));
        }
        let mut one = Volatility::new(2, 1.0).unwrap();
        assert_eq!(one.fold(&Frame::default()).unwrap().columns.len(), 3);
        let back = testing::frame(["close"], &[(2, [1.0]), (1, [1.0])]);
        assert!(one.fold(&back).unwrap_err().contains("ascending"));
        assert!(one.fold(&testing::frame(["open"], &[(3, [1.0])])).unwrap_err().contains("lacks the field"));
    }
}
