//! Parquet from anywhere. The readers of the crate believe what a file says of its sizes, and end in a panic where it contradicts
//! itself; so the footer and the pages are walked here, within bounds, and only the decoders are the crate's. What they make of a
//! page is behind `catch_unwind`.

mod column;
mod footer;
mod pages;
mod thrift;

#[cfg(test)]
mod tests;

pub(super) use column::as_type;
pub use footer::{CHUNKS_MAX, FILE_ROWS_MAX, FOOTER_BYTES_MAX};
pub(super) use footer::{Footer, MAGIC};
pub use pages::PAGE_BYTES_MAX;

use super::import::{Block, Head, Of, Plan, Source};
use crate::error::{Error, Result};
use column::Column;
use footer::{Leaf, broken};
use std::fs::File;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Bytes of the pages and dictionaries that are in memory at once: one of each for every column that is read.
pub const OPEN_BYTES_MAX: usize = 256 << 20;
/// Bytes of decoded cells that are in memory at once.
const BLOCK_BYTES: usize = 32 << 20;
/// The most that a cell takes before it is known what it holds.
const CELL_BYTES: usize = 64;
const BLOCK_ROWS_MAX: u64 = 65_536;

impl Footer {
    /// Its columns, as a plan is made of them.
    pub(super) fn heads(&self) -> Vec<Head> {
        let of = |leaf: &Leaf| match leaf.field_type() {
            _ if leaf.is_time() => Of::Time,
            Ok(of) => Of::Type(of),
            Err(why) => Of::Unfit(why),
        };
        self.columns.iter().map(|leaf| Head { name: leaf.name.clone(), of: of(leaf) }).collect()
    }

    /// Does a column hold decimals?
    pub(super) fn is_decimal(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(Leaf::is_decimal)
    }
}

/// Rows of a Parquet file; the plan and the footer are borrowed, or shared.
pub(super) struct ParquetRows<P, F> {
    plan: P,
    footer: F,
    file: Arc<File>,
    /// The columns that are read: time, names, fields.
    used: Vec<usize>,
    /// The next group of rows.
    group: usize,
    /// Rows of the present one that were not read.
    left: u64,
    /// The same columns, in the present group.
    open: Vec<Column>,
    /// Rows before the next one.
    at: u64,
    block_rows: u64,
}

impl<P: Deref<Target = Plan> + Clone, F: Deref<Target = Footer> + Clone> ParquetRows<P, F> {
    pub(super) fn new(plan: P, footer: F, file: Arc<File>) -> Result<Self> {
        let time = footer.columns.get(plan.time);
        if time.is_some_and(|leaf| leaf.is_number() && !plan.times.takes_numbers()) {
            let name = time.map_or("", |leaf| leaf.name.as_str());
            return Err(Error::invalid(format!(
                "the column `{name}` has plain numbers, and no unit of time"
            ))
            .hint("say what they count with `unit`: s, ms, us or ns"));
        }
        if let Some(leaf) = time.filter(|leaf| !leaf.is_time() && !leaf.is_number() && !leaf.is_text()) {
            return Err(Error::invalid(format!("the column `{}` holds no times", leaf.name))
                .hint("name the column with the times (`time`)"));
        }
        let names = std::iter::once(plan.time).chain(plan.names.iter().copied());
        let used: Vec<usize> = names.chain(plan.fields.iter().map(|f| f.column)).collect();
        let block_rows = (BLOCK_BYTES / (used.len() * CELL_BYTES)).max(1) as u64;
        let block_rows = block_rows.min(BLOCK_ROWS_MAX);
        Ok(Self { plan, footer, file, used, group: 0, left: 0, open: Vec::new(), at: 0, block_rows })
    }

    /// Decodes cells of so many bytes at once, at most.
    pub(super) fn in_blocks_of(mut self, bytes: usize) -> Self {
        self.block_rows = self.block_rows.min((bytes / (self.used.len() * CELL_BYTES)).max(1) as u64);
        self
    }

    /// Bytes of the pages and dictionaries that are in memory.
    pub(super) fn open_bytes(&self) -> usize {
        self.open.iter().map(Column::bytes).sum()
    }

    /// Opens the next group that has rows; `false` after the last.
    fn open(&mut self) -> Result<bool> {
        let footer = self.footer.clone();
        while self.left == 0 {
            let Some(group) = footer.groups.get(self.group) else { return Ok(false) };
            self.group += 1;
            self.open.clear();
            for column in &self.used {
                let chunk = group.chunks.get(*column).ok_or_else(|| broken("a row group misses a column"))?;
                let leaf = footer
                    .columns
                    .get(*column)
                    .ok_or_else(|| Error::internal("the plan names a column that is not there"))?;
                self.open.push(Column::open(self.file.clone(), leaf, *chunk, group.rows)?);
            }
            self.left = group.rows;
        }
        Ok(true)
    }

    fn block(&mut self) -> Result<Option<Block>> {
        if !self.open()? {
            return Ok(None);
        }
        let mut rows = self.left.min(self.block_rows);
        let mut bytes = 0;
        for column in &mut self.open {
            rows = rows.min(column.ready()?);
            bytes += column.bytes();
            if bytes > OPEN_BYTES_MAX {
                return Err(Error::limit(
                    "the pages of the Parquet file that are needed at once",
                    format!("{OPEN_BYTES_MAX} bytes"),
                    "choose fewer fields, or write the file with smaller pages (pyarrow: data_page_size, dictionary_pagesize_limit)",
                ));
            }
        }
        let count = usize::try_from(rows).unwrap_or_default();
        if count == 0 {
            return Err(broken("its columns have unlike numbers of rows"));
        }
        let mut block = Block { first: self.at, ..Block::default() };
        let (plan, footer) = (self.plan.clone(), self.footer.clone());
        let names = plan.names.len();
        for (place, (column, open)) in self.used.iter().zip(&mut self.open).enumerate() {
            let Some(leaf) = footer.columns.get(*column) else { continue };
            let raw = open.read(count)?;
            let wrong = |(row, why): (usize, String)| {
                let row = block.first + row as u64 + 1;
                Error::invalid(format!("row {row}, column `{}`: it {why}", leaf.name))
                    .hint("mend the file, or choose its columns with `fields`")
            };
            match place.checked_sub(1) {
                None => block.times = leaf.times(raw, &plan.times).map_err(wrong)?,
                Some(name) if name < names => match raw {
                    column::Raw::Bytes(texts) if leaf.is_text() => block.names.push(texts),
                    _ => return Err(broken(&format!("column `{}` holds no texts", leaf.name))),
                },
                Some(field) => {
                    let field = plan.fields.get(field - names);
                    let mut cells = leaf.cells(raw).map_err(wrong)?;
                    if !field.is_some_and(|f| f.decimal) {
                        cells = cells.into_floats().map_err(wrong)?;
                    }
                    block.fields.push(match field.and_then(|f| f.of) {
                        Some(of) => cells.into_type(of).map_err(wrong)?,
                        None => cells,
                    });
                }
            }
        }
        self.at += rows;
        self.left -= rows;
        Ok(Some(block))
    }
}

impl<P: Deref<Target = Plan> + Clone, F: Deref<Target = Footer> + Clone> Source for ParquetRows<P, F> {
    fn next(&mut self) -> Result<Option<Block>> {
        // After a panic nothing of it is used any more: the error ends the import.
        catch_unwind(AssertUnwindSafe(|| self.block()))
            .unwrap_or_else(|_| Err(broken("the values of a page cannot be decoded")))
    }

    fn skip(&mut self, rows: u64) -> Result<u64> {
        while self.left == 0 {
            let Some(group) = self.footer.groups.get(self.group) else { break };
            if self.at + group.rows > rows {
                break;
            }
            self.at += group.rows;
            self.group += 1;
        }
        Ok(self.at)
    }

    fn total(&self) -> u64 {
        self.footer.rows
    }
}
