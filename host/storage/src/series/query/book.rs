//! What is computed of the levels of an order book: its top, the depth of each side, their imbalance.

use super::ast::Book;
use crate::error::{Error, Result};
use crate::series::kinds::BOOK_LEVELS_MAX;
use crate::series::{Column, FieldType, Frame, SeriesInfo, Values};
use std::collections::BTreeSet;

/// A checked [`Book`].
#[derive(Debug, Clone)]
pub(super) struct Levels {
    top: bool,
    depth: Vec<u32>,
    imbalance: Vec<u32>,
}

const TOP: [&str; 6] = ["best_bid", "best_bid_size", "best_ask", "best_ask_size", "spread", "mid"];

impl Levels {
    pub(super) fn new(place: &str, book: &Book) -> Result<Self> {
        for (key, levels) in [("depth", &book.depth), ("imbalance", &book.imbalance)] {
            if let Some(n) = levels.iter().find(|n| !(1..=BOOK_LEVELS_MAX).contains(*n)) {
                return Err(Error::limit(
                    format!("{n} levels of `{place}.{key}`"),
                    format!("1 to {BOOK_LEVELS_MAX} levels"),
                    format!(r#"such as {{"{key}":[1,5,10]}}"#),
                ));
            }
            if levels.iter().collect::<BTreeSet<_>>().len() < levels.len() {
                return Err(
                    Error::invalid(format!("`{place}.{key}` names a number twice")).hint("leave one out")
                );
            }
        }
        if !book.top && book.depth.is_empty() && book.imbalance.is_empty() {
            return Err(Error::invalid(format!("`{place}` asks for nothing"))
                .hint(r#"such as {"top":true,"depth":[10],"imbalance":[1,10]}"#));
        }
        Ok(Self { top: book.top, depth: book.depth.clone(), imbalance: book.imbalance.clone() })
    }

    /// How many levels' sizes are summed.
    fn deepest(&self) -> u32 {
        self.depth.iter().chain(&self.imbalance).copied().max().unwrap_or(0)
    }

    /// The fields that are read.
    pub(super) fn needs(&self) -> Vec<String> {
        let sizes = self.deepest().max(u32::from(self.top));
        let prices = ["bid_price_1", "ask_price_1"].into_iter().filter(|_| self.top).map(String::from);
        let sizes = (1..=sizes).flat_map(|n| [format!("bid_size_{n}"), format!("ask_size_{n}")]);
        prices.chain(sizes).collect()
    }

    /// The columns that come of it; all are floats.
    pub(super) fn gives(&self) -> impl Iterator<Item = (String, FieldType)> {
        let top = TOP.iter().filter(|_| self.top).map(|name| (*name).to_string());
        let depth = self.depth.iter().flat_map(|n| [format!("bid_depth_{n}"), format!("ask_depth_{n}")]);
        let imbalance = self.imbalance.iter().map(|n| format!("imbalance_{n}"));
        top.chain(depth).chain(imbalance).map(|name| (name, FieldType::Float))
    }

    /// Refuses a series without levels, and one whose own fields are called as what is computed.
    pub(super) fn fits(&self, info: &SeriesInfo) -> Result<()> {
        let has = |name: &str| info.fields.iter().any(|(field, _)| field == name);
        if !self.needs().iter().any(|name| has(name)) {
            return Err(Error::invalid(format!("`{}` has no levels of an order book", info.key))
                .hint("`book` needs the fields bid_price_1, bid_size_1, ask_price_1, ask_size_1, and so on; docs/line-protocol.md has them"));
        }
        match self.gives().find(|(name, _)| has(name)) {
            Some((name, _)) => Err(Error::invalid(format!(
                "`{}` has a field `{name}` of its own, which `book` would compute",
                info.key
            ))
            .hint("ask for it without `book`")),
            None => Ok(()),
        }
    }

    /// Adds the columns. A level without a size counts as none; where a side has no size at all it has no depth.
    pub(super) fn add(&self, frame: &mut Frame) {
        let rows = frame.len();
        let mut out = Vec::new();
        if self.top {
            let [bid, bid_size, ask, ask_size] =
                ["bid_price_1", "bid_size_1", "ask_price_1", "ask_size_1"].map(|name| cells(frame, name));
            let both = |of: fn(f64, f64) -> f64| {
                bid.iter().zip(&ask).map(|(b, a)| Some(of((*b)?, (*a)?))).collect::<Vec<_>>()
            };
            let (spread, mid) = (both(|b, a| a - b), both(|b, a| b + (a - b) / 2.0));
            out.extend(TOP.into_iter().map(String::from).zip([bid, bid_size, ask, ask_size, spread, mid]));
        }
        let mut at: Vec<u32> = self.depth.iter().chain(&self.imbalance).copied().collect();
        at.sort_unstable();
        at.dedup();
        let sums = |side: &str| {
            let mut sum: Vec<Option<f64>> = vec![None; rows];
            let mut sums = Vec::with_capacity(at.len());
            for level in 1..=self.deepest() {
                for (sum, size) in sum.iter_mut().zip(cells(frame, &format!("{side}_size_{level}"))) {
                    if let Some(size) = size {
                        *sum = Some(sum.unwrap_or(0.0) + size);
                    }
                }
                if at.contains(&level) {
                    sums.push((level, sum.clone()));
                }
            }
            sums
        };
        let (bids, asks) = (sums("bid"), sums("ask"));
        let of = |sums: &[(u32, Vec<Option<f64>>)], level: u32| {
            sums.iter().find(|(n, _)| *n == level).map(|(_, sum)| sum.clone()).unwrap_or_default()
        };
        for n in &self.depth {
            out.push((format!("bid_depth_{n}"), of(&bids, *n)));
            out.push((format!("ask_depth_{n}"), of(&asks, *n)));
        }
        for n in &self.imbalance {
            let imbalance =
                of(&bids, *n).into_iter().zip(of(&asks, *n)).map(|(bid, ask)| imbalance(bid, ask));
            out.push((format!("imbalance_{n}"), imbalance.collect()));
        }
        frame.columns.extend(out.into_iter().map(|(name, cells)| column(name, cells)));
    }
}

/// (bid − ask) / (bid + ask), from −1 to 1: Cartea, Donnelly and Jaimungal (2018), "Enhancing trading strategies with order
/// book signals", Applied Mathematical Finance 25(1). A side without sizes counts as 0; no value where there are none on either.
fn imbalance(bid: Option<f64>, ask: Option<f64>) -> Option<f64> {
    let (bid, ask) = (bid.unwrap_or(0.0), ask.unwrap_or(0.0));
    Some((bid - ask) / (bid + ask)).filter(|x| x.is_finite())
}

/// The numbers of a column; none where there is no such column.
fn cells(frame: &Frame, name: &str) -> Vec<Option<f64>> {
    let Some(column) = frame.column(name) else { return vec![None; frame.len()] };
    (0..frame.len()).map(|row| column.get(row).and_then(|v| v.as_f64())).collect()
}

/// What is not finite is no value: no engine can hold it.
fn column(name: String, cells: Vec<Option<f64>>) -> Column {
    let valid: Vec<bool> = cells.iter().map(|x| x.is_some_and(f64::is_finite)).collect();
    let values = cells.iter().zip(&valid).map(|(x, ok)| x.filter(|_| *ok).unwrap_or_default()).collect();
    let all = valid.iter().all(|ok| *ok);
    Column { name, values: Values::Float(values), valid: (!all).then_some(valid) }
}
