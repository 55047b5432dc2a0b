//! Bars of one symbol: the names that the field knows for their columns, and what a bar must have.

use crate::error::{Error, Result};

const NEEDED: [&str; 4] = ["open", "high", "low", "close"];
const FIELDS: [(&str, &[&str]); 7] = [
    ("open", &["open", "o"]),
    ("high", &["high", "h"]),
    ("low", &["low", "l"]),
    ("close", &["close", "c", "last"]),
    ("volume", &["volume", "vol", "v"]),
    ("adj_close", &["adj close", "adj_close", "adjusted close", "adjclose"]),
    ("vwap", &["vwap"]),
];

/// The fields of a bar and where they are, by the names of the columns in lower case.
pub(super) fn fields(names: &[String]) -> impl Iterator<Item = (&'static str, usize)> + '_ {
    FIELDS.iter().filter_map(|(field, known)| {
        Some((*field, names.iter().position(|name| known.contains(&name.as_str()))?))
    })
}

pub(super) fn check_names<'a>(fields: impl Iterator<Item = &'a str>, listed: &str) -> Result<()> {
    let have: Vec<&str> = fields.collect();
    let missing: Vec<&str> = NEEDED.into_iter().filter(|n| !have.contains(n)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("no column {}; the file has {listed}", missing.join(", ")))
        .hint("a bar needs the columns open, high, low and close"))
}

/// Refuses a bar without one of the four, or whose high and low do not enclose the others.
pub(super) fn check(value: impl Fn(&str) -> Option<f64>) -> Result<()> {
    let mut bar = [0.0; 4];
    for (to, name) in bar.iter_mut().zip(NEEDED) {
        *to = value(name).ok_or_else(|| {
            Error::invalid(format!("the bar has no {name}")).hint("a bar needs open, high, low and close")
        })?;
    }
    let [open, high, low, close] = bar;
    if high < low || high < open.max(close) || low > open.min(close) {
        return Err(Error::invalid(format!(
            "the bar's high {high} and low {low} do not enclose its open {open} and close {close}"
        ))
        .hint("are the columns named in the right order?"));
    }
    Ok(())
}
