//! The query AST, its JSON form and the one executor over an engine's `scan`. `docs/query.md` describes it.

mod ast;
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

pub use ast::{Aggregate, Fill, Function, Query, TagFilter, Time, Window};
pub(crate) use columns::with_values;
pub(in crate::series) use columns::{Builder, chosen};
pub use execute::{BATCH_ROWS, Sink, execute, execute_for, execute_into};
pub(crate) use filter::Filters;
pub use filter::{FILTER_VALUES_MAX, FILTERS_MAX, REGEX_BYTES_MAX};
pub use joined::{Joined, Shape};
pub use table::Table;
pub use time::{parse_time, shown_time};
pub use window::resample_bars;
pub(crate) use window::windows_of;
