//! The query AST, its JSON form and the one executor over an engine's `scan`. `docs/query.md` describes it.

mod ast;
mod columns;
mod execute;
mod plan;
mod table;
mod time;
mod window;

#[cfg(test)]
mod tests;

pub use ast::{Aggregate, Function, Query, Time, Window};
pub use execute::{execute, execute_for};
pub use table::Table;
pub use time::parse_time;
pub use window::resample_bars;
