//! A subset of Flux, for clients of InfluxDB that ask in it: a text becomes a plan, and the plan is answered table by table
//! through an engine's `scan`. `docs/flux.md` says what is in it; all else is an error that names what is.

mod face;
mod filter;
mod fold;
mod parse;
mod pivot;
mod plan;
mod run;
mod stage;
mod syntax;
mod table;
mod times;
mod token;
mod value;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

pub use face::stored;
pub use plan::{FluxQuery, PIPELINES_MAX, STAGES_MAX};
pub use run::run;
pub use table::{Fixed, Head, HeadColumn, Of, Part, TableSink};
pub use token::{QUERY_BYTES_MAX, TOKENS_MAX};
pub use value::Given;

use crate::error::Error;

/// What can be asked, for the hint of an error.
const SUBSET: &str = "from, range, filter, aggregateWindow, first, last, min, max, mean, sum, count, stddev, limit, sort, pivot and \
                      yield are understood: docs/flux.md";

/// What is Flux, perhaps, but not in the subset.
fn unsupported(what: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{what} is not in the subset of Flux that this host understands")).hint(SUBSET)
}
