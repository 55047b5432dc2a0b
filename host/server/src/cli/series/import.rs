//! `series import`: a file in Parquet or CSV into series.

use super::super::client::{Client, with_query};
use super::super::input;
use super::super::output::{Failure, Output};
use super::number;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

const EXAMPLES: &str = "\
Columns are known by their names: `time`, `measurement`, `tag:KEY`, every other a field. So an export needs no option:

  shiphold series import ticks.parquet

Bars of one symbol, with a head such as date,open,high,low,close,volume:

  shiphold series import spx.csv --symbol SPX --timeframe 1d

What pandas, polars or DuckDB wrote, with the columns ts (milliseconds), sym, venue, px and qty:

  shiphold series import trades.parquet --measurement tick --time ts --unit ms \\
      --tags symbol=sym,venue --fields price=px,size=qty:float

The whole file is checked before its first row is written. An import that was cut off goes on where it was when the same
command is given again.";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Import {
    /// Parquet, CSV with a head, or CSV that gzip packed
    file: PathBuf,
    #[arg(long)]
    bucket: Option<String>,
    /// The measurement of all rows; without it the column `measurement`
    #[arg(long, conflicts_with_all = ["symbol", "timeframe"])]
    measurement: Option<String>,
    /// All rows are bars of this symbol
    #[arg(long, requires = "timeframe")]
    symbol: Option<String>,
    /// The timeframe of the bars: 1m, 5m, 1h, 1d, …
    #[arg(long, requires = "symbol")]
    timeframe: Option<String>,
    /// The column with the times
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// What the times count, where they are plain numbers since the epoch
    #[arg(long, value_parser = ["s", "ms", "us", "ns"])]
    unit: Option<String>,
    /// IANA zone of times without an offset; UTC by default
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Columns that are tags: COLUMN or KEY=COLUMN
    #[arg(long, value_delimiter = ',', value_name = "COLUMN")]
    tags: Vec<String>,
    /// A tag of all rows
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = input::pair)]
    tag: Vec<(String, String)>,
    /// Columns that are fields: COLUMN or NAME=COLUMN, with :float, :integer, :unsigned, :boolean or :string behind it where it is
    /// to have another type than the file's; all others by default
    #[arg(long, value_delimiter = ',', value_name = "COLUMN")]
    fields: Vec<String>,
}

fn list(all: &[String]) -> Option<String> {
    (!all.is_empty()).then(|| all.join(","))
}

pub(super) async fn run(i: &Import, client: &Client, out: &Output) -> Result<ExitCode, Failure> {
    let tag: Vec<String> = i.tag.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let path = with_query(
        "/v1/series/import",
        &[
            ("bucket", i.bucket.clone()),
            ("measurement", i.measurement.clone()),
            ("symbol", i.symbol.clone()),
            ("timeframe", i.timeframe.clone()),
            ("time", i.time.clone()),
            ("unit", i.unit.clone()),
            ("timezone", i.timezone.clone()),
            ("tags", list(&i.tags)),
            ("tag", list(&tag)),
            ("fields", list(&i.fields)),
        ],
    );
    let begin = Instant::now();
    let v = client.work_with_file(&path, &i.file, out, "importing").await?;
    let count = |key: &str| number(&v, key);
    let mut said = format!(
        "{} rows of {} imported in {:.2} s",
        count("rows"),
        i.file.display(),
        begin.elapsed().as_secs_f64()
    );
    for (key, words) in [
        ("resumed", "of them were there from an import that was cut off: this one went on from there"),
        ("empty", "of them have no value and were left out"),
        ("nan", "cells are not a number and were left out"),
        ("dropped", "rows refused: their fields have another type"),
    ] {
        if count(key) > 0 {
            said.push_str(&format!("\n{} {words}", count(key)));
        }
    }
    out.done(&v, said);
    Ok(ExitCode::from(u8::from(count("dropped") > 0)))
}
