//! `trades-to-quotes`: each trade beside the last quote at or before it (an ASOF join).
//!
//! The mid is (bid + ask) ÷ 2, the effective spread 2·|price − mid| (Huang, Stoll: Dealer Versus Auction Markets, Journal of
//! Financial Economics 41(3), 1996): without the side of a trade, its distance from the mid is what is known.

use crate::frame::{Ascending, Frame, floats, integers};
use std::iter::Peekable;
use std::vec::IntoIter;

/// Best bid and ask of a book: its first level.
const QUOTE_FIELDS: [&str; 2] = ["bid_price_1", "ask_price_1"];
/// Quotes in memory at once.
const QUOTES_MAX: u32 = 4_096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub bucket: String,
    pub measurement: String,
    pub tags: Vec<(String, String)>,
}

/// The series beside the answer; the host, or a test.
pub trait Market {
    /// The series of a measurement that have rows, with their fields.
    fn find(&self, bucket: &str, measurement: &str) -> Result<Vec<(Key, Vec<String>)>, String>;

    /// Opens a read of the rows from `start` to before `end`.
    fn open(&self, key: &Key, start: i64, end: i64, fields: &[&str]) -> Result<Box<dyn Scan>, String>;
}

/// Rows of one series in ascending time.
pub trait Scan {
    /// At most so many rows; none when there are no more.
    fn next(&mut self, rows_max: u32) -> Result<Option<Frame>, String>;
}

/// What is kept between batches: the read of the quotes, opened at the first trade.
pub struct TradesToQuotes {
    bucket: String,
    measurement: String,
    tolerance: i64,
    end: i64,
    order: Ascending,
    quotes: Option<Quotes>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Quote {
    time: i64,
    bid: Option<f64>,
    ask: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Trade {
    time: i64,
    price: f64,
    size: Option<f64>,
    quote: Option<Quote>,
}

impl TradesToQuotes {
    /// Joins trades before `end` to the quotes of a measurement that are not older than `tolerance` nanoseconds.
    pub fn new(
        bucket: String,
        measurement: String,
        tolerance: i64,
        end: Option<i64>,
    ) -> Result<Self, String> {
        if tolerance < 0 {
            return Err("`tolerance` must not be below nothing".into());
        }
        let end = end.unwrap_or(i64::MAX);
        Ok(Self { bucket, measurement, tolerance, end, order: Ascending::default(), quotes: None })
    }

    /// A row for each trade that has a price.
    pub fn fold(&mut self, market: &dyn Market, batch: &Frame) -> Result<Frame, String> {
        let (prices, sizes) = (batch.numbers("price")?, batch.numbers("size")?);
        let mut trades = Vec::with_capacity(batch.times.len());
        for (row, &time) in batch.times.iter().enumerate() {
            self.order.take(time)?;
            let Some(price) = prices.get(row) else { continue };
            let quote = self.quote_at(market, time)?;
            trades.push(Trade { time, price, size: sizes.get(row), quote });
        }
        Ok(frame(&trades))
    }

    fn quote_at(&mut self, market: &dyn Market, time: i64) -> Result<Option<Quote>, String> {
        let quotes = match &mut self.quotes {
            Some(quotes) => quotes,
            quotes => {
                let start = time.saturating_sub(self.tolerance);
                let scan = open(market, &self.bucket, &self.measurement, start, self.end)?;
                quotes.insert(Quotes::of(scan))
            }
        };
        let last = quotes.last_at(time).map_err(|e| format!("`{}`: {e}", self.measurement))?;
        Ok(last.filter(|quote| time.saturating_sub(quote.time) <= self.tolerance))
    }
}

/// The read of the one series of quotes; none where there is no such series.
fn open(
    market: &dyn Market,
    bucket: &str,
    measurement: &str,
    start: i64,
    end: i64,
) -> Result<Option<Box<dyn Scan>>, String> {
    let found = market.find(bucket, measurement)?;
    let (key, fields) = match found.as_slice() {
        [] => return Ok(None),
        [one] => one,
        [..] => {
            return Err(format!(
                "`{measurement}` is several series that differ in their tags; which has the quotes is not known"
            ));
        }
    };
    if let Some(missing) = QUOTE_FIELDS.iter().find(|field| !fields.iter().any(|f| f == *field)) {
        return Err(format!("`{measurement}` has no field `{missing}`, and so no quotes"));
    }
    // A range may not end before it starts.
    market.open(key, start, end.max(start), &QUOTE_FIELDS).map(Some)
}

/// Quotes as they are needed: those of one frame of the scan, and the last one that was passed.
struct Quotes {
    scan: Option<Box<dyn Scan>>,
    next: Peekable<IntoIter<Quote>>,
    last: Option<Quote>,
    order: Ascending,
}

impl Quotes {
    fn of(scan: Option<Box<dyn Scan>>) -> Self {
        Self { scan, next: Vec::new().into_iter().peekable(), last: None, order: Ascending::default() }
    }

    /// The last quote at or before a time. Times must not go back.
    fn last_at(&mut self, time: i64) -> Result<Option<Quote>, String> {
        loop {
            while let Some(quote) = self.next.next_if(|quote| quote.time <= time) {
                self.last = Some(quote);
            }
            if self.next.peek().is_some() || !self.read()? {
                return Ok(self.last);
            }
        }
    }

    /// Takes the next frame; false: there is none.
    fn read(&mut self) -> Result<bool, String> {
        let Some(scan) = &mut self.scan else { return Ok(false) };
        let Some(frame) = scan.next(QUOTES_MAX)? else {
            self.scan = None;
            return Ok(false);
        };
        // A scan says that it ended; one that gives nothing without end would hold this up for ever.
        if frame.times.is_empty() {
            return Err("the read of the quotes gave no rows and did not end".into());
        }
        let [bids, asks] = QUOTE_FIELDS.map(|name| frame.numbers(name));
        let (bids, asks) = (bids?, asks?);
        let mut quotes = Vec::with_capacity(frame.times.len());
        for (row, &time) in frame.times.iter().enumerate() {
            self.order.take(time)?;
            let (bid, ask) = (bids.get(row), asks.get(row));
            // A book with one side is a quote with one side; one without any says nothing.
            if bid.is_some() || ask.is_some() {
                quotes.push(Quote { time, bid, ask });
            }
        }
        self.next = quotes.into_iter().peekable();
        Ok(true)
    }
}

impl Trade {
    fn bid(&self) -> Option<f64> {
        self.quote?.bid
    }

    fn ask(&self) -> Option<f64> {
        self.quote?.ask
    }

    fn mid(&self) -> Option<f64> {
        Some((self.bid()? + self.ask()?) / 2.0)
    }

    fn effective_spread(&self) -> Option<f64> {
        Some(2.0 * (self.price - self.mid()?).abs())
    }

    fn age_ns(&self) -> Option<i64> {
        Some(self.time.saturating_sub(self.quote?.time))
    }
}

fn frame(trades: &[Trade]) -> Frame {
    Frame {
        times: trades.iter().map(|t| t.time).collect(),
        columns: vec![
            floats("price", trades.iter().map(|t| Some(t.price))),
            floats("size", trades.iter().map(|t| t.size)),
            floats("bid", trades.iter().map(Trade::bid)),
            floats("ask", trades.iter().map(Trade::ask)),
            floats("mid", trades.iter().map(Trade::mid)),
            integers("age_ns", trades.iter().map(Trade::age_ns)),
            floats("effective_spread", trades.iter().map(Trade::effective_spread)),
        ],
    }
}

#[cfg(test)]
mod tests;
