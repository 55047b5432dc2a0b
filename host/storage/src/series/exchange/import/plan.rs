//! Which column of a file is what: by its name, as an export has it, or as the request says.

use super::times::Times;
use super::{Import, bars};
use crate::error::{Error, Result};
use crate::series::decimals::Scales;
use crate::series::exchange::COLUMNS_MAX;
use crate::series::exchange::columns::{FIELD, MEASUREMENT, TAG, TIME};
use crate::series::kinds::{self, Timeframe};
use crate::series::{FieldType, SeriesKey};
use std::sync::Arc;

/// Names of a column with times, in any case, where none is `time`.
const TIME_NAMES: [&str; 8] =
    ["date", "time", "datetime", "timestamp", "ts", "open time", "open_time", "__index_level_0__"];
/// Columns that an error lists.
const LISTED_MAX: usize = 20;

/// A column of a file, before it is known what it is for.
#[derive(Debug, Clone)]
pub(in crate::series::exchange) struct Head {
    pub(in crate::series::exchange) name: String,
    pub(in crate::series::exchange) of: Of,
}

/// What a column can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::series::exchange) enum Of {
    /// A field of this type, or a tag if it is a text.
    Type(FieldType),
    /// A time, and no field.
    Time,
    /// Why it is no field.
    Unfit(&'static str),
    /// A text of which the type is not known yet.
    Text,
}

/// What is read of a file, and as what.
#[derive(Debug, Clone)]
pub(in crate::series) struct Plan {
    pub(in crate::series) bucket: String,
    pub(in crate::series::exchange) time: usize,
    pub(in crate::series::exchange) times: Times,
    /// The name of all rows; `None`: the first of `names` has it.
    pub(super) measurement: Option<String>,
    /// Columns with the measurement, where it has one, and the tags.
    pub(in crate::series::exchange) names: Vec<usize>,
    /// Keys of the tags.
    pub(super) tags: Vec<String>,
    /// Tags of all rows.
    pub(super) fixed: Vec<(String, String)>,
    pub(in crate::series) fields: Vec<Field>,
    /// Rows are bars: what a bar must have, they have.
    pub(super) bars: bool,
    /// Of Parquet: what [`Field::decimal`] is of.
    pub(in crate::series) scales: Arc<Scales>,
}

#[derive(Debug, Clone)]
pub(in crate::series) struct Field {
    pub(in crate::series) name: String,
    pub(in crate::series) column: usize,
    /// `None`: what the cells of a CSV file are is seen when all of them were.
    pub(in crate::series) of: Option<FieldType>,
    /// In CSV: a backslash in front is taken off, and an empty cell is none; the head says that it is a string.
    pub(in crate::series::exchange) escaped: bool,
    /// A decimal of the manifest, whose digits are kept, for no float holds all of them: as a text in CSV, in Parquet as units, and
    /// there of some measurement of the file.
    pub(in crate::series) decimal: bool,
    /// In CSV: it may be a decimal of some measurement of the file, so that a text must be a float and no other number.
    pub(in crate::series) exact: bool,
}

/// The type that a name ends with, behind a colon.
fn typed(text: &str) -> (&str, Option<FieldType>) {
    let found = text.rsplit_once(':').and_then(|(name, of)| {
        let of = match of {
            "float" => FieldType::Float,
            "integer" => FieldType::Integer,
            "unsigned" => FieldType::Unsigned,
            "boolean" => FieldType::Boolean,
            "string" => FieldType::String,
            // The manifest says which fields are decimals, and of which scale.
            of if of.starts_with("decimal(") && of.ends_with(')') => return Some((name, None)),
            _ => return None,
        };
        Some((name, Some(of)))
    });
    found.unwrap_or((text, None))
}

/// A column by what its name says.
enum Said<'a> {
    Time,
    Measurement,
    Tag(&'a str),
    Field(&'a str, Option<FieldType>),
}

impl Head {
    fn said(&self) -> Said<'_> {
        if let Some(key) = self.name.strip_prefix(TAG) {
            return Said::Tag(key);
        }
        match self.name.as_str() {
            TIME => return Said::Time,
            MEASUREMENT => return Said::Measurement,
            _ => {}
        }
        // Only in the head of a CSV file a type is no part of a name.
        let (name, of) = if self.of == Of::Text { typed(&self.name) } else { (self.name.as_str(), None) };
        Said::Field(name.strip_prefix(FIELD).unwrap_or(name), of)
    }

    /// The name of the field or the key of the tag that it would be.
    fn plain(&self) -> &str {
        match self.said() {
            Said::Time => TIME,
            Said::Measurement => MEASUREMENT,
            Said::Tag(name) | Said::Field(name, _) => name,
        }
    }
}

/// The columns of a file, to look names up in.
struct Heads<'a>(&'a [Head]);

impl Heads<'_> {
    fn find(&self, name: &str) -> Option<usize> {
        let by = |same: &dyn Fn(&Head) -> bool| self.0.iter().position(same);
        by(&|h| h.name == name).or_else(|| by(&|h| h.plain() == name))
    }

    fn need(&self, what: &str, name: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| {
            Error::invalid(format!(
                "`{what}`: the file has no column `{}`; it has {}",
                name.escape_debug(),
                self.listed()
            ))
        })
    }

    /// `COLUMN`, or `NAME=COLUMN`: the name, and where the column is.
    fn named(&self, what: &str, text: &str) -> Result<(String, usize)> {
        if let Some(at) = self.find(text) {
            let plain = self.0.get(at).map_or(text, Head::plain);
            return Ok((plain.to_string(), at));
        }
        match text.split_once('=') {
            Some((name, column)) if !name.is_empty() => Ok((name.to_string(), self.need(what, column)?)),
            _ => self.need(what, text).map(|at| (text.to_string(), at)),
        }
    }

    fn listed(&self) -> String {
        let names = self.0.iter().take(LISTED_MAX).map(|h| format!("`{}`", h.name.escape_debug()));
        let mut text = names.collect::<Vec<_>>().join(", ");
        if self.0.len() > LISTED_MAX {
            text.push_str(&format!(" and {} more", self.0.len() - LISTED_MAX));
        }
        text
    }

    fn time(&self, given: Option<&str>) -> Result<usize> {
        if let Some(name) = given {
            return self.need("time", name);
        }
        let known = |name: &str| self.0.iter().position(|h| h.name.trim().eq_ignore_ascii_case(name));
        let mut times = (0..self.0.len()).filter(|at| self.0.get(*at).is_some_and(|h| h.of == Of::Time));
        let only = times.next().filter(|_| times.next().is_none());
        let found = self.find(TIME).or(only).or_else(|| TIME_NAMES.iter().find_map(|name| known(name)));
        found.ok_or_else(|| {
            Error::invalid(format!("no column with the time; the file has {}", self.listed()))
                .hint(format!("say which it is (`time`), or name it one of: {}", TIME_NAMES.join(", ")))
        })
    }
}

impl Plan {
    pub(in crate::series::exchange) fn new(import: &Import, bucket: &str, heads: &[Head]) -> Result<Self> {
        if heads.len() > COLUMNS_MAX + 2 {
            return Err(Error::limit("the number of columns", COLUMNS_MAX + 2, "split the file"));
        }
        let columns = Heads(heads);
        let zone = kinds::zone("timezone", import.timezone.as_deref())?;
        let bars = import.symbol.is_some() || import.timeframe.is_some();
        let unit = import.unit.as_deref().map(str::parse).transpose()?;
        let mut plan = Self {
            bucket: bucket.to_string(),
            time: columns.time(import.time.as_deref())?,
            times: Times { unit, guess: bars, zone },
            measurement: measurement(import)?,
            names: Vec::new(),
            tags: Vec::new(),
            fixed: import.tag.clone(),
            fields: Vec::new(),
            bars,
            scales: Arc::default(),
        };
        if plan.measurement.is_none() {
            let at = heads.iter().position(|h| h.name == MEASUREMENT).ok_or_else(|| {
                Error::invalid(format!(
                    "nothing says which measurement the rows belong to: the file has no column `{MEASUREMENT}`, only {}",
                    columns.listed()
                ))
                .hint("name it (`measurement`), or give the `symbol` and the `timeframe` of bars")
            })?;
            if !heads.get(at).is_some_and(|h| matches!(h.of, Of::Text | Of::Type(FieldType::String))) {
                return Err(Error::invalid(format!("the column `{MEASUREMENT}` holds no texts"))
                    .hint("name the measurement in the request, and the column is left out"));
            }
            plan.names.push(at);
        }
        plan.find_tags(import, &columns)?;
        plan.find_fields(import, &columns)?;
        Ok(plan)
    }

    fn find_tags(&mut self, import: &Import, columns: &Heads<'_>) -> Result<()> {
        let mut tags: Vec<(String, usize)> = Vec::new();
        for (at, head) in columns.0.iter().enumerate() {
            if let Said::Tag(key) = head.said() {
                tags.push((key.to_string(), at));
            }
        }
        for text in &import.tags {
            let (key, at) = columns.named("tags", text)?;
            tags.retain(|(_, other)| *other != at);
            tags.push((key, at));
        }
        for (key, at) in tags {
            let head = columns.0.get(at).filter(|h| matches!(h.of, Of::Text | Of::Type(FieldType::String)));
            if head.is_none() || at == self.time {
                return Err(Error::invalid(format!("the column of the tag `{key}` holds no texts"))
                    .hint("a tag is a text; write numbers as text, or import them as a field"));
            }
            if self.tags.contains(&key) || self.fixed.iter().any(|(fixed, _)| *fixed == key) {
                return Err(Error::invalid(format!("the tag `{key}` is given twice"))
                    .hint("give each tag by one column, or one value"));
            }
            self.tags.push(key);
            self.names.push(at);
        }
        Ok(())
    }

    fn find_fields(&mut self, import: &Import, columns: &Heads<'_>) -> Result<()> {
        let mut chosen: Vec<(String, usize, Option<FieldType>)> = Vec::new();
        if !import.fields.is_empty() {
            for text in &import.fields {
                // A column may be called as a name with a type is.
                let (name, of) =
                    if columns.find(text).is_some() { (text.as_str(), None) } else { typed(text) };
                let (name, at) = columns.named("fields", name)?;
                chosen.push((name, at, of));
            }
        } else if self.bars {
            let names = columns.0.iter().map(|h| h.plain().trim().to_lowercase()).collect::<Vec<_>>();
            chosen.extend(
                bars::fields(&names).map(|(name, at)| (name.to_string(), at, Some(FieldType::Float))),
            );
        } else {
            for (at, head) in columns.0.iter().enumerate() {
                // What has no name is the number of a row.
                if at == self.time || self.names.contains(&at) || head.name.is_empty() {
                    continue;
                }
                if let Said::Field(name, _) = head.said() {
                    chosen.push((name.to_string(), at, None));
                }
            }
        }
        if self.bars {
            bars::check_names(chosen.iter().map(|(name, ..)| name.as_str()), &columns.listed())?;
        }
        for (name, column, wanted) in chosen {
            let Some(head) = columns.0.get(column) else { continue };
            let said = match head.said() {
                Said::Field(_, of) => of,
                _ => None,
            };
            let of = match head.of {
                Of::Type(of) => Some(wanted.unwrap_or(of)),
                Of::Text => wanted.or(said),
                Of::Time => {
                    return Err(unfit(&head.name, "holds times, and is not the column of times"));
                }
                Of::Unfit(why) => return Err(unfit(&head.name, why)),
            };
            if name.is_empty() {
                return Err(Error::invalid(format!(
                    "the column `{}` gives a field without a name",
                    head.name
                )));
            }
            if self.fields.iter().any(|f| f.name == name) {
                return Err(Error::invalid(format!("the field `{name}` is given by two columns"))
                    .hint("choose the columns with `fields`, and give one another name: NAME=COLUMN"));
            }
            let escaped = said == Some(FieldType::String);
            self.fields.push(Field { name, column, of, escaped, decimal: false, exact: false });
        }
        Ok(())
    }

    /// The series of a row whose columns `names` hold these texts.
    pub(super) fn key(&self, names: &[Option<&str>]) -> Result<SeriesKey> {
        let mut names = names.iter();
        let measurement = match &self.measurement {
            Some(name) => name.as_str(),
            None => names.next().copied().flatten().unwrap_or_default(),
        };
        let there = |(key, value): (&String, &Option<&str>)| {
            let value = value.filter(|v| !v.is_empty())?;
            Some((key.clone(), value.to_string()))
        };
        let tags = self.tags.iter().zip(names).filter_map(there).chain(self.fixed.iter().cloned()).collect();
        let key = SeriesKey::new(&self.bucket, measurement, tags)?;
        // A name that somebody gave is that of a kind, as in line protocol; one that a file has is what it is.
        Ok(if self.measurement.is_some() { kinds::typed_key(key) } else { key })
    }
}

fn unfit(name: &str, why: &str) -> Error {
    Error::invalid(format!("the column `{name}` {why}"))
        .hint("choose the columns that become fields with `fields`, and leave it out")
}

/// The measurement of all rows, if the request says it.
fn measurement(import: &Import) -> Result<Option<String>> {
    match (&import.measurement, &import.symbol, &import.timeframe) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            Err(Error::invalid("the rows have a measurement, and a symbol and a timeframe besides")
                .hint("the symbol and the timeframe of bars give their measurement: leave it out"))
        }
        (Some(name), None, None) if name.is_empty() => Err(Error::invalid("the measurement has no name")),
        (Some(name), None, None) => Ok(Some(name.clone())),
        (None, None, None) => Ok(None),
        (None, symbol, timeframe) => {
            let symbol = symbol.as_deref().filter(|s| !s.is_empty());
            let symbol = symbol
                .ok_or_else(|| Error::invalid("the bars need a symbol").hint("name it with --symbol"))?;
            let timeframe = timeframe.as_deref().ok_or_else(|| {
                Error::invalid("the bars need a timeframe").hint("name it with --timeframe, such as 1m or 1d")
            })?;
            let timeframe: Timeframe = timeframe.parse()?;
            Ok(Some(kinds::bar_measurement(&timeframe.to_string(), symbol)))
        }
    }
}
