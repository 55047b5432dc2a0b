//! One series as a Parquet file in the form of an export, and back as frames: what archives are made of.

use super::columns::Columns;
use super::export::Sink as _;
use super::import::{Cells, Import, Plan, Source as _, Text};
use super::parquet_in::{Footer, ParquetRows};
use super::parquet_out::ParquetFile;
use crate::error::{Error, Result};
use crate::series::{Column, Frame, SeriesInfo, SeriesKey, Values};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// A file that rows of one series are added to, in ascending time.
pub(in crate::series) struct SeriesOut<'a> {
    key: SeriesKey,
    file: Box<ParquetFile<'a>>,
}

impl<'a> SeriesOut<'a> {
    /// With the fields that the catalogue knows: a field that is not among them has no column.
    pub(in crate::series) fn new(info: &SeriesInfo, out: &'a mut (dyn Write + Send)) -> Result<Self> {
        let columns = Columns::of(std::slice::from_ref(info), None)?;
        Ok(Self { key: info.key.clone(), file: Box::new(ParquetFile::new(columns, out)?) })
    }

    pub(in crate::series) fn rows(&mut self, frame: &Frame) -> Result<()> {
        self.file.rows(&self.key, frame)
    }

    pub(in crate::series) fn finish(self) -> Result<()> {
        self.file.finish()
    }
}

/// Bytes of decoded cells of a file that are in memory at once, as they are reckoned before it is known what they hold: many files
/// are read beside each other.
const BLOCK_BYTES: usize = 4 << 20;

/// A file of one series whose footer was read.
#[derive(Debug, Clone)]
pub(in crate::series) struct SeriesFile {
    file: Arc<File>,
    footer: Arc<Footer>,
}

impl SeriesFile {
    pub(in crate::series) fn open(file: File) -> Result<Self> {
        let length = file.metadata().map_err(|e| Error::io("reading a Parquet file", e))?.len();
        let footer = Footer::read(&file, length)?;
        Ok(Self { file: Arc::new(file), footer: Arc::new(footer) })
    }

    /// The rows, a block at a time; `None`: all fields. With decimals as they are in the file.
    pub(in crate::series) fn rows(&self, key: &SeriesKey, fields: Option<&[String]>) -> Result<SeriesRows> {
        let import = Import { measurement: Some(key.measurement.clone()), ..Import::default() };
        let mut plan = Plan::new(&import, &key.bucket, &self.footer.heads())?;
        // The names are the same in every row, and known.
        plan.names.clear();
        plan.fields.retain(|f| fields.is_none_or(|wanted| wanted.contains(&f.name)));
        for field in &mut plan.fields {
            if self.footer.is_decimal(field.column) {
                (field.of, field.decimal) = (None, true);
            }
        }
        let plan = Arc::new(plan);
        let rows = ParquetRows::new(plan.clone(), self.footer.clone(), self.file.clone())?;
        Ok(SeriesRows { plan, rows: rows.in_blocks_of(BLOCK_BYTES) })
    }
}

/// Rows of a [`SeriesFile`] in their order.
pub(in crate::series) struct SeriesRows {
    plan: Arc<Plan>,
    rows: ParquetRows<Arc<Plan>, Arc<Footer>>,
}

impl SeriesRows {
    /// Bytes of the file, unpacked, that are in memory beside the frames that were given.
    pub(in crate::series) fn open_bytes(&self) -> usize {
        self.rows.open_bytes()
    }

    fn frame(&mut self) -> Result<Option<Frame>> {
        let Some(block) = self.rows.next()? else { return Ok(None) };
        let mut frame = Frame { times: block.times, columns: Vec::with_capacity(block.fields.len()) };
        for (field, cells) in self.plan.fields.iter().zip(block.fields) {
            let (values, valid) = values(cells).map_err(|e| e.context(&field.name))?;
            if valid.contains(&true) {
                let valid = valid.contains(&false).then_some(valid);
                frame.columns.push(Column { name: field.name.clone(), values, valid });
            }
        }
        frame.validate()?;
        Ok(Some(frame))
    }
}

impl Iterator for SeriesRows {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        self.frame().transpose()
    }
}

fn values(cells: Cells) -> Result<(Values, Vec<bool>)> {
    fn plain<T: Default>(cells: Vec<Option<T>>) -> (Vec<T>, Vec<bool>) {
        let one = |cell: Option<T>| {
            let there = cell.is_some();
            (cell.unwrap_or_default(), there)
        };
        cells.into_iter().map(one).unzip()
    }
    Ok(match cells {
        Cells::Float(v) => {
            let (v, valid) = plain(v);
            (Values::Float(v), valid)
        }
        Cells::Integer(v) => {
            let (v, valid) = plain(v);
            (Values::Integer(v), valid)
        }
        Cells::Unsigned(v) => {
            let (v, valid) = plain(v);
            (Values::Unsigned(v), valid)
        }
        Cells::Boolean(v) => {
            let (v, valid) = plain(v);
            (Values::Boolean(v), valid)
        }
        Cells::Text(v) => {
            let one = |cell: Option<Text>| cell.map(|t| text(&t)).transpose();
            let (v, valid) = plain(v.into_iter().map(one).collect::<Result<Vec<_>>>()?);
            (Values::String(v), valid)
        }
        Cells::Decimal(v, digits) => {
            let scale = u8::try_from(digits).map_err(|_| beyond())?;
            let one = |cell: Option<i128>| cell.map(|u| i64::try_from(u).map_err(|_| beyond())).transpose();
            let (v, valid) = plain(v.into_iter().map(one).collect::<Result<Vec<_>>>()?);
            (Values::Decimal(v, scale), valid)
        }
    })
}

fn text(text: &Text) -> Result<String> {
    let text = std::str::from_utf8(text.data());
    text.map(str::to_string).map_err(|_| Error::invalid("a text is not UTF-8"))
}

fn beyond() -> Error {
    Error::invalid("a decimal is beyond 64 bits")
}
