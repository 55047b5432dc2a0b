//! The query AST, its JSON form and the one executor over an engine's `scan`. `docs/query.md` describes it.

mod asof;
mod ast;
mod book;
mod columns;
mod execute;
mod fill;
mod filter;
mod joined;
mod plan;
mod table;
mod time;
mod window;

#[cfg(test)]
mod tests;

pub use ast::{Aggregate, Asof, Book, Direction, Fill, Function, Query, Sessions, TagFilter, Time, Window};
pub use execute::{BATCH_ROWS, Sink, execute, execute_for, execute_into};
pub use filter::{FILTER_VALUES_MAX, FILTERS_MAX, REGEX_BYTES_MAX};
pub use joined::{Joined, Shape};
pub use table::Table;
pub use time::parse_time;
pub use window::resample_bars;
