//! What is computed of the levels of an order book: its top, the depth of each side, their imbalance.

use super::ast::Book;
use crate::error::{Error, Result};
use crate::series::kinds::BOOK_LEVELS_MAX;
use crate::series::{Column, Decimal, FieldType, Frame, SeriesInfo, Values};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A checked [`Book`].
#[derive(Debug, Clone)]
pub(super) struct Levels {
    top: bool,
    depth: Vec<u32>,
    imbalance: Vec<u32>,
    /// The columns that anybody needs; `None`: all.
    used: Option<BTreeSet<String>>,
}

const DEPTH: [&str; 2] = ["bid_depth", "ask_depth"];
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
        Ok(Self { top: book.top, depth: book.depth.clone(), imbalance: book.imbalance.clone(), used: None })
    }

    /// The same, but computes only columns of these names, and reads what it takes.
    pub(super) fn only(self, names: impl IntoIterator<Item = String>) -> Self {
        Self { used: Some(names.into_iter().collect()), ..self }
    }

    fn uses(&self, name: &str) -> bool {
        self.used.as_ref().is_none_or(|used| used.contains(name))
    }

    fn uses_top(&self, name: &str) -> bool {
        self.top && self.uses(name)
    }

    fn uses_depth(&self, level: u32) -> bool {
        self.depth.contains(&level) && DEPTH.iter().any(|side| self.uses(&format!("{side}_{level}")))
            || self.imbalance.contains(&level) && self.uses(&format!("imbalance_{level}"))
    }

    /// How many levels' sizes are summed.
    fn deepest(&self) -> u32 {
        let levels = self.depth.iter().chain(&self.imbalance).copied();
        levels.filter(|level| self.uses_depth(*level)).max().unwrap_or(0)
    }

    /// The fields that are read.
    pub(super) fn reads(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for (price, size, of) in [
            ("bid_price_1", "bid_size_1", ["best_bid", "best_bid_size"]),
            ("ask_price_1", "ask_size_1", ["best_ask", "best_ask_size"]),
        ] {
            if [of[0], "spread", "mid"].iter().any(|name| self.uses_top(name)) {
                out.push(price.into());
            }
            if self.uses_top(of[1]) && self.deepest() == 0 {
                out.push(size.into());
            }
        }
        out.extend((1..=self.deepest()).flat_map(|n| [format!("bid_size_{n}"), format!("ask_size_{n}")]));
        out
    }

    /// The fields that all of it is made of.
    fn needs(&self) -> Vec<String> {
        let deepest = self.depth.iter().chain(&self.imbalance).copied().max().unwrap_or(0);
        let sizes = deepest.max(u32::from(self.top));
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

    /// The columns that are computed of it.
    pub(super) fn computes(&self) -> impl Iterator<Item = String> {
        self.gives().map(|(name, _)| name).filter(|name| self.uses(name))
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

    /// Adds the columns. A level without a size counts as none; where a side has no size at all it has no depth. Fields that
    /// are not to be kept may become columns as they are.
    pub(super) fn add(&self, frame: &mut Frame, keep: &dyn Fn(&str) -> bool) {
        let mut out = Vec::new();
        let mut renamed = Vec::new();
        for name in TOP.into_iter().filter(|name| self.uses_top(name)) {
            let prices = || (Cells::of(frame, "bid_price_1"), Cells::of(frame, "ask_price_1"));
            let field = match name {
                "best_bid" => "bid_price_1",
                "best_bid_size" => "bid_size_1",
                "best_ask" => "ask_price_1",
                "best_ask_size" => "ask_size_1",
                "spread" => {
                    let (bid, ask) = prices();
                    out.push(Cells::both(&bid, &ask, |b, a| a - b).into_column(name.into()));
                    continue;
                }
                _ => {
                    let (bid, ask) = prices();
                    out.push(Cells::both(&bid, &ask, |b, a| b + (a - b) / 2.0).into_column(name.into()));
                    continue;
                }
            };
            // What is stored is finite.
            if !keep(field) && frame.column(field).is_some_and(|c| matches!(c.values, Values::Float(_))) {
                renamed.push((field, name));
            } else {
                out.push(Cells::of(frame, field).into_column(name.into()));
            }
        }
        let deepest = self.deepest();
        let mut at: Vec<u32> = self.depth.iter().chain(&self.imbalance).copied().collect();
        at.retain(|level| self.uses_depth(*level));
        at.sort_unstable();
        at.dedup();
        // Of each of these levels.
        let sums = |side: &str| -> Vec<Cells<'static>> {
            let mut sum = Cells::none(if deepest > 0 { frame.len() } else { 0 });
            let mut sums = Vec::with_capacity(at.len());
            for level in 1..=deepest {
                sum.plus(frame, &format!("{side}_size_{level}"));
                if level == deepest {
                    sums.push(std::mem::replace(&mut sum, Cells::none(0)));
                } else if at.contains(&level) {
                    sums.push(sum.clone());
                }
            }
            sums
        };
        let (bids, asks) = (sums("bid"), sums("ask"));
        let of = |level: &u32| {
            let place = at.binary_search(level).ok()?;
            bids.get(place).zip(asks.get(place))
        };
        for (n, (bid, ask)) in self.depth.iter().filter_map(|n| Some((n, of(n)?))) {
            for (side, cells) in DEPTH.iter().zip([bid, ask]) {
                let name = format!("{side}_{n}");
                if self.uses(&name) {
                    out.push(cells.clone().into_column(name));
                }
            }
        }
        for (n, (bid, ask)) in self.imbalance.iter().filter_map(|n| Some((n, of(n)?))) {
            let name = format!("imbalance_{n}");
            if self.uses(&name) {
                out.push(Cells::imbalance(bid, ask).into_column(name));
            }
        }
        for (field, name) in renamed {
            frame.columns.iter_mut().filter(|c| c.name == field).for_each(|c| c.name = name.into());
        }
        frame.columns.extend(out);
    }
}

/// Which rows have a number.
#[derive(Debug, Clone, PartialEq)]
enum There {
    Nowhere,
    Everywhere,
    Where(Vec<bool>),
}

/// A number a row, 0 where there is none.
#[derive(Debug, Clone, PartialEq)]
struct Cells<'a> {
    values: Cow<'a, [f64]>,
    there: There,
}

/// The numbers of a column, floats where they lie, and which of them are there.
type Numbers<'a> = (Cow<'a, [f64]>, Option<&'a [bool]>);

/// `None` where there is no such column, or one of no numbers.
fn numbers<'a>(frame: &'a Frame, name: &str) -> Option<Numbers<'a>> {
    let column = frame.column(name)?;
    let values = match &column.values {
        Values::Float(v) => Cow::Borrowed(v.as_slice()),
        Values::Integer(v) => v.iter().map(|x| *x as f64).collect(),
        Values::Unsigned(v) => v.iter().map(|x| *x as f64).collect(),
        Values::Decimal(v, scale) => {
            v.iter().map(|units| Decimal { units: *units, scale: *scale }.to_f64()).collect()
        }
        Values::Boolean(_) | Values::String(_) => return None,
    };
    Some((values, column.valid.as_deref()))
}

impl<'a> Cells<'a> {
    fn none(rows: usize) -> Self {
        Self { values: vec![0.0; rows].into(), there: There::Nowhere }
    }

    fn of(frame: &'a Frame, name: &str) -> Self {
        let Some((values, valid)) = numbers(frame, name) else { return Self::none(frame.len()) };
        let there = valid.map_or(There::Everywhere, |valid| There::Where(valid.to_vec()));
        Self { values, there }
    }

    /// Adds the numbers of a column; what there is beside one that is not there stays.
    fn plus(&mut self, frame: &Frame, name: &str) {
        let Some((numbers, valid)) = numbers(frame, name) else { return };
        let Some(valid) = valid else {
            self.values.to_mut().iter_mut().zip(numbers.iter()).for_each(|(sum, x)| *sum += x);
            self.there = There::Everywhere;
            return;
        };
        for ((sum, x), ok) in self.values.to_mut().iter_mut().zip(numbers.iter()).zip(valid) {
            *sum += if *ok { *x } else { 0.0 };
        }
        match &mut self.there {
            There::Everywhere => {}
            There::Nowhere => self.there = There::Where(valid.to_vec()),
            There::Where(mine) => mine.iter_mut().zip(valid).for_each(|(mine, ok)| *mine |= ok),
        }
    }

    /// What comes of two numbers, where both are there.
    fn both(a: &Cells<'_>, b: &Cells<'_>, of: impl Fn(f64, f64) -> f64) -> Self {
        let there = match (&a.there, &b.there) {
            (There::Nowhere, _) | (_, There::Nowhere) => return Self::none(a.values.len()),
            (There::Everywhere, there) | (there, There::Everywhere) => there.clone(),
            (There::Where(a), There::Where(b)) => {
                There::Where(a.iter().zip(b).map(|(a, b)| *a && *b).collect())
            }
        };
        Self { values: a.values.iter().zip(b.values.iter()).map(|(a, b)| of(*a, *b)).collect(), there }
    }

    /// (bid − ask) / (bid + ask), from −1 to 1: Cartea, Donnelly and Jaimungal (2018), "Enhancing trading strategies with order
    /// book signals", Applied Mathematical Finance 25(1). A side without sizes counts as 0; no value where there are none on either.
    fn imbalance(bid: &Cells<'_>, ask: &Cells<'_>) -> Self {
        let of = |(bid, ask): (&f64, &f64)| (bid - ask) / (bid + ask);
        Self { values: bid.values.iter().zip(ask.values.iter()).map(of).collect(), there: There::Everywhere }
    }

    /// What is not finite is no value: no engine can hold it.
    fn into_column(self, name: String) -> Column {
        let mut values = self.values.into_owned();
        // Without a way out in between, so that the compiler looks at several at once.
        let finite = values.iter().fold(true, |finite, x| finite & x.is_finite());
        let valid = match self.there {
            There::Everywhere if finite => None,
            There::Everywhere => Some(values.iter().map(|x| x.is_finite()).collect()),
            There::Nowhere => Some(vec![false; values.len()]),
            There::Where(there) => {
                Some(there.iter().zip(&values).map(|(ok, x)| *ok && x.is_finite()).collect())
            }
        };
        let valid = valid.filter(|valid: &Vec<bool>| valid.contains(&false));
        if let Some(valid) = &valid {
            values.iter_mut().zip(valid).filter(|(_, ok)| !**ok).for_each(|(x, _)| *x = 0.0);
        }
        Column { name, values: Values::Float(values), valid }
    }
}
