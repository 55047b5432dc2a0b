//! Whole series as Parquet or CSV, out of the host and into it: every row and type exactly, held a part at a time.
//! `docs/exchange.md` has the columns.

mod columns;
mod csv_out;
mod export;
pub mod import;
pub mod parquet_in;
mod parquet_out;
mod series_file;

#[cfg(test)]
mod tests;

pub use columns::COLUMNS_MAX;
pub use export::{Export, Exported, GROUP_BYTES, GROUP_ROWS, export};
pub use import::{Import, Imported};
pub(in crate::series) use series_file::{SeriesFile, SeriesOut, SeriesRows};

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Parquet,
    Csv,
}

impl Format {
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "parquet" => Ok(Self::Parquet),
            "csv" => Ok(Self::Csv),
            other => Err(Error::invalid(format!("`{}` is no form of a file", other.escape_debug()))
                .hint("it is `parquet` or `csv`")),
        }
    }
}
