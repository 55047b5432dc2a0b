//! The query AST, its JSON form and the one executor over an engine's `scan`. `docs/query.md` describes it.

mod asof;
mod ast;
mod book;
mod columns;
mod cursor;
mod execute;
mod explain;
mod fill;
mod filter;
mod join;
mod joined;
mod plan;
mod read;
mod sources;
mod table;
pub mod text;
mod time;
mod window;

#[cfg(test)]
mod tests;

pub use ast::{Aggregate, Asof, Book, Direction, Fill, Function, Query, Sessions, TagFilter, Time, Window};
pub(crate) use columns::with_values;
pub(in crate::series) use columns::{Builder, chosen, picked};
pub use cursor::CURSOR_BYTES_MAX;
pub use execute::{BATCH_ROWS, Done, Sink, execute, execute_for, execute_into};
pub use explain::{Explanation, PushedDown, SHOWN_SERIES_MAX, explain};
pub(crate) use filter::Filters;
pub use filter::{FILTER_VALUES_MAX, FILTERS_MAX, REGEX_BYTES_MAX};
pub use joined::{Joined, Shape};
pub use read::read;
pub use table::Table;
pub(in crate::series) use time::between;
pub use time::{parse_time, shown_time};
pub use window::resample_bars;
pub(crate) use window::windows_of;
