//! The query AST, its JSON form and the one executor over an engine's `scan`. `docs/query.md` describes it.

mod ast;
mod columns;
mod execute;
mod joined;
mod plan;
mod table;
mod time;
mod window;

#[cfg(test)]
mod tests;

pub use ast::{Aggregate, Function, Query, Time, Window};
pub use execute::{BATCH_ROWS, Sink, execute, execute_for, execute_into};
pub use joined::{Joined, Shape};
pub use table::Table;
pub use time::parse_time;
pub use window::resample_bars;
