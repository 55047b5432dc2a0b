//! Files into series: what an export wrote, and what others write. A file is kept, checked from its first row to its last, and only
//! then written, a piece at a time; after each piece it is noted how far it is. `docs/exchange.md` says what is promised.

mod bars;
mod cells;
mod csv_in;
mod plan;
mod positions;
mod rows;
mod spool;
mod times;

#[cfg(test)]
mod tests;

pub(super) use cells::{Block, Cells, Text};
pub use csv_in::LINE_BYTES_MAX;
pub(in crate::series) use plan::Plan;
pub(super) use plan::{Head, Of};
pub use positions::POSITIONS_MAX;
pub(in crate::series) use positions::Positions;
pub use rows::{PIECE_BYTES, PIECE_ROWS};
pub(super) use times::Times;

use super::parquet_in::{Footer, MAGIC, ParquetRows};
use crate::audit::Entry;
use crate::caller::{Caller, Scope};
use crate::error::{Error, Kind, Result};
use crate::locks::lock;
use crate::series::store::check_bucket;
use crate::series::{Budget, FieldType, Selector, SeriesStore, TypeConflict, WriteReport, kinds};
use csv_in::{CsvRows, Records};
use positions::Name;
use rows::{Piece, Pieces};
use serde::{Deserialize, Serialize};
use serde_json::json;
use spool::Spooled;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Mutex;

/// With another way of reading files, what was begun with this one begins anew.
const READER: &str = "shiphold import 2";
/// Fields of all measurements of a file.
pub const FIELDS_MAX: usize = 1_000_000;
/// Distinct type conflicts that a report lists.
const CONFLICTS_MAX: usize = 100;

/// How a file is read. What is left out is found by the names of the columns, which are those of an export: `time`,
/// `measurement`, `tag:KEY`, and the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Import {
    /// `None`: the manifest's `series.bucket`.
    pub bucket: Option<String>,
    /// Of all rows.
    pub measurement: Option<String>,
    /// All rows are bars of this symbol and timeframe, and the columns have the names of bars.
    pub symbol: Option<String>,
    pub timeframe: Option<String>,
    /// The column with the times.
    pub time: Option<String>,
    /// `s ms us ns`: of times that are plain numbers.
    pub unit: Option<String>,
    /// IANA zone of times without an offset; UTC by default.
    pub timezone: Option<String>,
    /// Columns that are tags: `COLUMN` or `KEY=COLUMN`, beside those that are called `tag:KEY`.
    pub tags: Vec<String>,
    /// Tags of all rows.
    pub tag: Vec<(String, String)>,
    /// Columns that are fields: `COLUMN`, `NAME=COLUMN`, either with `:TYPE`. Empty: all others.
    pub fields: Vec<String>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Imported {
    /// Rows of the file.
    pub rows: u64,
    /// The first of them, which an import that was cut off had written.
    pub resumed: u64,
    /// Rows that this one wrote. Rows of one series at the same time are one.
    pub written: u64,
    /// Rows refused for a type conflict.
    pub dropped: u64,
    /// Rows without a value, which are no rows.
    pub empty: u64,
    /// Cells with a float that is no number, which are no values.
    pub nan: u64,
    /// Distinct conflicts, at most 100.
    pub conflicts: Vec<TypeConflict>,
}

/// What is being done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// In bytes.
    Receiving,
    /// In rows, as the others.
    Checking,
    Writing {
        /// It goes on behind these rows of the file.
        resumed: u64,
    },
}

/// Gets the stage, what is done of it, and of how much; 0: that is not known.
pub type ImportProgress<'a> = &'a mut dyn FnMut(Stage, u64, u64);

/// Reads a file from its first row on.
pub(super) trait Source {
    /// The next rows; `None` at the end.
    fn next(&mut self) -> Result<Option<Block>>;
    /// Passes over at most so many rows, before the first is read; gives how many it did.
    fn skip(&mut self, rows: u64) -> Result<u64>;
    /// Rows of the file; 0: that is not known.
    fn total(&self) -> u64;
}

/// What imports of a host share.
#[derive(Debug)]
pub(in crate::series) struct Desk {
    folder: PathBuf,
    positions: Positions,
    /// One file is read at a time: each may need hundreds of megabytes.
    turn: Mutex<()>,
}

impl Desk {
    pub(in crate::series) const fn new(folder: PathBuf, positions: Positions) -> Self {
        Self { folder, positions, turn: Mutex::new(()) }
    }

    pub(in crate::series) const fn positions(&self) -> &Positions {
        &self.positions
    }
}

/// A file of one of the forms.
enum Form {
    Csv,
    Parquet(Footer),
}

impl Form {
    fn open<'a>(&'a self, plan: &'a Plan, file: &Spooled) -> Result<Box<dyn Source + 'a>> {
        Ok(match self {
            Self::Csv => Box::new(CsvRows::open(plan, file)?),
            Self::Parquet(footer) => Box::new(ParquetRows::new(plan, footer, file.file().clone())?),
        })
    }
}

/// See [`SeriesStore::import`].
pub(in crate::series) fn run(
    store: &SeriesStore,
    caller: &Caller,
    input: &mut dyn Read,
    import: &Import,
    budget: &Budget,
    progress: ImportProgress<'_>,
) -> Result<Imported> {
    caller.require(Scope::Write, "import series")?;
    let import = Import {
        bucket: Some(import.bucket.clone().unwrap_or_else(|| store.bucket.clone())),
        ..import.clone()
    };
    let bucket = import.bucket.clone().unwrap_or_default();
    check_bucket(&bucket)?;
    store.disk.writable()?;
    let desk = &store.desk;
    let file = Spooled::copy(input, &desk.folder, store.limits.import_file, &store.disk, &mut |bytes| {
        progress(Stage::Receiving, bytes, 0);
    })?;
    let _turn = lock(&desk.turn);
    let (form, plan) = look(store, &import, &bucket, &file, budget)?;
    let work = Work { store, caller, budget, file: &file, form: &form, plan: &plan };
    let total = work.check(progress)?;
    let options =
        serde_json::to_string(&import).map_err(|e| Error::internal(format!("noting the import: {e}")))?;
    let name = Name {
        digest: digest(&file, &options),
        bucket: bucket.clone(),
        measurement: plan.only_measurement().map(String::from),
    };
    let object = format!("series:{bucket}/{}", name.measurement.as_deref().unwrap_or("*"));
    let resumed = desk.positions.begin(&name)?.min(total);
    let asked = json!({ "file": file.digest.to_hex().as_str(), "bytes": file.bytes, "rows": total, "resumed": resumed, "options": import });
    store.audit.record(&Entry::new(caller, "series.import", &object).detail(asked))?;
    let mut done = Imported { rows: total, resumed, ..Imported::default() };
    let result = work.write(&name, &mut done, progress).and_then(|()| desk.positions.forget(&name.digest));
    let mut told = json!({ "ok": result.is_ok(), "written": done.written, "dropped": done.dropped });
    if let (Err(e), Some(told)) = (&result, told.as_object_mut()) {
        told.insert("error".into(), e.to_string().into());
    }
    store.audit.record(&Entry::new(caller, "series.imported", object).detail(told))?;
    result.map(|()| done)
}

/// What the file is, and what its columns are for.
fn look(
    store: &SeriesStore,
    import: &Import,
    bucket: &str,
    file: &Spooled,
    budget: &Budget,
) -> Result<(Form, Plan)> {
    let mut first = [0; 4];
    let read = file.read_at(&mut first, 0).map_err(|e| Error::io("reading the file that is imported", e))?;
    if read == MAGIC.len() && first == *MAGIC {
        let footer = Footer::read(file.file(), file.bytes)?;
        let mut plan = Plan::new(import, bucket, &footer.heads())?;
        store.keep_units(&mut plan, |column| footer.is_decimal(column));
        return Ok((Form::Parquet(footer), plan));
    }
    let (_, heads) = Records::open(file)?;
    let mut plan = Plan::new(import, bucket, &heads)?;
    csv_in::infer(&mut plan, file, budget)?;
    store.keep_digits(&mut plan);
    Ok((Form::Csv, plan))
}

/// Names the contents of the file together with how they are read.
fn digest(file: &Spooled, options: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [READER.as_bytes(), file.digest.as_bytes(), options.as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex().to_string()
}

/// A file that is read twice: once to look at every row, once to write them.
struct Work<'a> {
    store: &'a SeriesStore,
    caller: &'a Caller,
    budget: &'a Budget,
    file: &'a Spooled,
    form: &'a Form,
    plan: &'a Plan,
}

impl Work<'_> {
    fn going_on(&self) -> Result<()> {
        self.budget.check().map_err(|e| match e.kind() {
            Kind::Cancelled => Error::new(Kind::Cancelled, "the import was cancelled"),
            _ => e,
        })
    }

    /// Gives the rows from one on as pieces, in their order.
    fn pieces(&self, from: u64, take: &mut dyn FnMut(Piece, u64) -> Result<()>) -> Result<()> {
        let mut source = self.form.open(self.plan, self.file)?;
        let total = source.total();
        source.skip(from)?;
        let mut pieces = Pieces::new(self.plan, self.store.limits.write_rows);
        while let Some(block) = source.next()? {
            self.going_on()?;
            let known = usize::try_from(from.saturating_sub(block.first)).unwrap_or(usize::MAX);
            pieces.take(&block, known, &mut |piece| take(piece, total))?;
        }
        let last = pieces.end();
        if last.rows > 0 { take(last, total) } else { Ok(()) }
    }

    /// Looks at every row as a write would, and at the types of fields that are there. Nothing is written; gives the number of rows.
    fn check(&self, progress: ImportProgress<'_>) -> Result<u64> {
        let mut types: BTreeMap<String, BTreeMap<String, FieldType>> = BTreeMap::new();
        let (mut rows, mut count) = (0, 0);
        self.pieces(0, &mut |mut piece, total| {
            self.store
                .admit(self.caller, &mut piece.batch)
                .map_err(|e| e.context(format!("rows {} to {}", rows + 1, rows + piece.rows)))?;
            for (key, frame) in &piece.batch.series {
                let fields = match types.get_mut(&key.measurement) {
                    Some(fields) => fields,
                    None => types.entry(key.measurement.clone()).or_default(),
                };
                for column in &frame.columns {
                    if !fields.contains_key(&column.name) {
                        // Numbers and texts of a decimal become one; a row that is none is refused by itself.
                        let scale = self.store.scale(key, &column.name);
                        let of = scale.map_or(column.values.field_type(), FieldType::Decimal);
                        fields.insert(column.name.clone(), of);
                        count += 1;
                    }
                }
            }
            if count > FIELDS_MAX {
                return Err(Error::limit(
                    "the fields of the file's measurements",
                    FIELDS_MAX,
                    "import it in parts",
                ));
            }
            rows += piece.rows;
            progress(Stage::Checking, rows, total);
            Ok(())
        })?;
        if rows == 0 && self.plan.bars {
            return Err(Error::invalid("the file has no rows below its header")
                .hint("the first line names the columns: date,open,high,low,close,volume"));
        }
        if rows > 0 && self.plan.fields.is_empty() {
            return Err(Error::invalid("the file has no column for a field")
                .hint("a row needs a field: choose its columns with `fields`"));
        }
        self.same_types(&types)?;
        Ok(rows)
    }

    /// Refuses a file whose rows would be refused one by one.
    fn same_types(&self, types: &BTreeMap<String, BTreeMap<String, FieldType>>) -> Result<()> {
        let only = types.keys().next().filter(|_| types.len() == 1);
        let selector =
            Selector { bucket: Some(self.plan.bucket.clone()), measurement: only.cloned(), tags: Vec::new() };
        for info in self.store.engine().choose(&selector, self.budget)? {
            let Some(fields) = types.get(&info.key.measurement) else { continue };
            for (name, have) in &info.fields {
                let Some(got) = fields.get(name).filter(|got| *got != have) else { continue };
                return Err(Error::conflict(format!(
                    "the field `{name}` of `{}/{}` is of the type {have}, and {got} in the file",
                    info.key.bucket, info.key.measurement
                ))
                .hint(format!(
                    "give its type with `fields` ({name}:{have}), or import it under another name"
                )));
            }
        }
        Ok(())
    }

    fn write(&self, name: &Name, done: &mut Imported, progress: ImportProgress<'_>) -> Result<()> {
        let resumed = done.resumed;
        let mut rows = resumed;
        let total = done.rows;
        progress(Stage::Writing { resumed }, rows, total);
        let written = self.pieces(resumed, &mut |piece, _| {
            let report = self.store.write(self.caller, piece.batch)?;
            done.empty += piece.empty;
            done.nan += piece.nan;
            add(done, report);
            rows += piece.rows;
            self.store.desk.positions.note(&name.digest, rows)?;
            progress(Stage::Writing { resumed }, rows, total);
            self.going_on()
        });
        written.map_err(|e| {
            e.context(format!(
                "{rows} of the file's {total} rows are written, and the same import goes on from there"
            ))
        })
    }
}

fn add(done: &mut Imported, report: WriteReport) {
    done.written += report.written;
    done.dropped += report.dropped;
    for conflict in report.conflicts {
        if done.conflicts.len() < CONFLICTS_MAX && !done.conflicts.contains(&conflict) {
            done.conflicts.push(conflict);
        }
    }
}

impl Plan {
    /// The one measurement that all rows go to, if that is known before they are read.
    pub(in crate::series) fn only_measurement(&self) -> Option<&str> {
        self.measurement.as_deref().filter(|name| kinds::tags_of_kind(name).is_none())
    }
}
