//! Which series are joined as of each row, and what is read of them. [`super::join`] does it.

use super::ast::{Asof, Direction};
use super::book::Levels;
use super::filter::Filter;
use crate::error::{Error, Result};
use crate::series::kinds;
use crate::series::{FieldType, Selector, SeriesInfo, SeriesKey};
use std::collections::HashMap;
use std::sync::Arc;

/// Tags that `by` names.
pub const BY_MAX: usize = 16;
/// Bytes of a prefix.
pub const PREFIX_BYTES_MAX: usize = 64;

/// A checked [`Asof`].
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) selector: Selector,
    pub(super) filters: Vec<Filter>,
    fields: Option<Vec<String>>,
    pub(super) levels: Option<Levels>,
    /// Nanoseconds.
    pub(super) tolerance: Option<i64>,
    pub(super) direction: Direction,
    pub(super) exact: bool,
    by: Vec<String>,
    prefix: String,
}

/// One right series and what is read of it.
#[derive(Debug)]
pub(super) struct Right {
    pub(super) info: SeriesInfo,
    /// `None`: all.
    pub(super) scan: Option<Vec<String>>,
    /// Each column that it gives: as it is called there, as it is called in the answer, its type.
    pub(super) columns: Vec<(String, String, FieldType)>,
}

impl Joining {
    pub(super) fn new(asof: &Asof, bucket: &str) -> Result<Self> {
        if asof.measurement.is_empty() {
            return Err(Error::invalid("`asof` names no measurement").hint(
                "set `asof.measurement`, such as `tick.AAPL`, or `tick.*` with `\"by\": [\"symbol\"]`",
            ));
        }
        if asof.by.len() > BY_MAX {
            return Err(Error::limit(format!("{} tags of `asof.by`", asof.by.len()), BY_MAX, "name fewer"));
        }
        if asof.by.iter().any(String::is_empty) {
            return Err(Error::invalid("`asof.by` has an empty name").hint("name tags, or `symbol`"));
        }
        if asof.prefix.len() > PREFIX_BYTES_MAX {
            return Err(Error::limit("`asof.prefix`", format!("{PREFIX_BYTES_MAX} bytes"), "shorten it"));
        }
        if asof.fields.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid("`asof.fields` is empty").hint("leave it out for all fields"));
        }
        super::plan::no_repeats("asof.fields", asof.fields.iter().flatten().cloned())?;
        Ok(Self {
            selector: Selector {
                bucket: Some(asof.bucket.clone().unwrap_or_else(|| bucket.to_string())),
                measurement: Some(asof.measurement.clone()),
                tags: asof.tags.clone(),
            },
            filters: Filter::all(&asof.filters)?,
            fields: asof.fields.clone(),
            levels: asof.book.as_ref().map(|b| Levels::new("asof.book", b)).transpose()?,
            tolerance: asof.tolerance.map(crate::units::Span::as_nanos_i64),
            direction: asof.direction,
            exact: asof.exact,
            by: asof.by.clone(),
            prefix: asof.prefix.clone(),
        })
    }

    /// The right series by what they must have in common with a left one. At least one of them must have each field.
    pub(super) fn rights(&self, series: Vec<SeriesInfo>) -> Result<Rights> {
        let mut by: HashMap<Vec<String>, Vec<Arc<Right>>> = HashMap::new();
        if series.is_empty() {
            return Err(Error::invalid(format!(
                "no series is there to join: `asof` asks for `{}`",
                self.selector.measurement.as_deref().unwrap_or_default()
            ))
            .hint("`shiphold series list` shows what there is; a plugin sees what it may read"));
        }
        for field in self.fields.iter().flatten() {
            if !series.iter().any(|info| info.fields.iter().any(|(name, _)| name == field)) {
                let known =
                    series.iter().flat_map(|info| info.fields.iter().map(|(name, _)| name.clone())).collect();
                return Err(super::sources::unknown_field(field, &known).context("`asof.fields`"));
            }
        }
        for info in series {
            let group = self.group(&info.key);
            by.entry(group).or_default().push(Arc::new(self.right(info)?));
        }
        Ok(Rights(by))
    }

    fn right(&self, info: SeriesInfo) -> Result<Right> {
        let mut scan = self.fields.clone();
        let mut gives: Vec<(String, FieldType)> = match (&self.fields, &self.levels) {
            (None, Some(_)) => Vec::new(),
            (fields, _) => {
                let chosen = |name: &String| fields.as_ref().is_none_or(|f| f.contains(name));
                info.fields.iter().filter(|(name, _)| chosen(name)).cloned().collect()
            }
        };
        match &self.fields {
            Some(fields) => gives.sort_by_key(|(name, _)| fields.iter().position(|f| f == name)),
            None => gives.sort_by_cached_key(|(name, _)| super::sources::place(name)),
        }
        if let Some(levels) = &self.levels {
            levels.fits(&info)?;
            scan.get_or_insert_default().extend(levels.reads());
            gives.extend(levels.gives());
        }
        let named = |(name, of): (String, FieldType)| (name.clone(), format!("{}{name}", self.prefix), of);
        let mut columns = vec![(String::new(), format!("{}time", self.prefix), FieldType::Integer)];
        columns.extend(gives.into_iter().map(named));
        Ok(Right { info, scan, columns })
    }

    /// What a series must have in common with its partner.
    fn group(&self, key: &SeriesKey) -> Vec<String> {
        let of = |name: &String| match key.tag(name) {
            None if name == "symbol" => kinds::symbol_of(&key.measurement),
            tag => tag,
        };
        self.by.iter().map(|name| of(name).unwrap_or_default().to_string()).collect()
    }

    /// The partner of a left series, if it has one.
    pub(super) fn partner(&self, left: &SeriesInfo, rights: &Rights) -> Result<Option<Arc<Right>>> {
        let right = match rights.0.get(&self.group(&left.key)).map(Vec::as_slice) {
            None | Some([]) => return Ok(None),
            Some([right]) => right,
            Some([a, b, ..]) => {
                return Err(Error::invalid(format!(
                    "`{}` has more than one series to join: `{}`, `{}`",
                    left.key, a.info.key, b.info.key
                ))
                .hint("choose one with `asof.tags` or `asof.where`, or say with `asof.by` which tags they have in common"));
            }
        };
        for (_, name, _) in &right.columns {
            if left.fields.iter().any(|(field, _)| field == name) {
                return Err(Error::invalid(format!("`{}` has a field `{name}` of its own", left.key))
                    .hint("choose another `asof.prefix`"));
            }
        }
        Ok(Some(right.clone()))
    }
}

impl std::fmt::Display for Joining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let where_to = match self.direction {
            Direction::Backward => "at or before",
            Direction::Forward => "at or after",
            Direction::Nearest => "nearest to",
        };
        let measurement = self.selector.measurement.as_deref().unwrap_or_default();
        write!(f, "join to each row the one of {measurement} {where_to} its time")?;
        match self.tolerance {
            Some(ns) => write!(f, ", within {ns} ns"),
            None => Ok(()),
        }
    }
}

/// The right series, by what they have in common with a left one.
#[derive(Debug)]
pub(super) struct Rights(HashMap<Vec<String>, Vec<Arc<Right>>>);
