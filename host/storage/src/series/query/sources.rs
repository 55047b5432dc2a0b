//! What is read of each series, and the columns of the answer.

use super::asof::{Right, Rights};
use super::ast::{Aggregate, Fill, Function};
use super::plan::{Plan, SHOWN_FIELDS_MAX, Work};
use super::window::{Shape, Spec};
use crate::error::{Error, Result};
use crate::series::kinds::{self, Kind, Timeframe};
use crate::series::{FieldType, SeriesInfo};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The order of the fields that everybody knows; the others follow by name.
const FIELD_ORDER: [&str; 9] = ["open", "high", "low", "close", "volume", "price", "size", "bid", "ask"];

/// Where a field stands among others, whichever engine they came from.
pub(super) fn place(field: &str) -> (usize, String) {
    (FIELD_ORDER.iter().position(|f| *f == field).unwrap_or(FIELD_ORDER.len()), field.to_string())
}

/// One series and what is read of it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) info: SeriesInfo,
    /// `None`: all, nothing is left out.
    pub(super) scan: Option<Vec<String>>,
    /// Of a series that is aggregated: the columns.
    pub(super) specs: Vec<Spec>,
    /// What is joined to it.
    pub(super) right: Option<Arc<Right>>,
}

impl Plan {
    /// What is read of each series, and the columns of the answer. `rights` are the series that are joined.
    #[allow(clippy::type_complexity)] // Two lists, each of one reader.
    pub(super) fn sources(
        &self,
        series: Vec<SeriesInfo>,
        rights: Option<&Rights>,
    ) -> Result<(Vec<Source>, Vec<(String, FieldType)>)> {
        let mut known = BTreeSet::new();
        let mut columns = Columns::default();
        let mut sources = Vec::with_capacity(series.len());
        for info in series {
            let (source, fields) = self.source(info, rights)?;
            let stored = source.info.fields.len();
            for (at, (name, of)) in fields.iter().enumerate() {
                let chosen = match &self.fields {
                    _ if at >= stored => true,
                    Some(chosen) => chosen.contains(name),
                    None => self.levels.is_none(),
                };
                if matches!(self.work, Work::Rows) && chosen {
                    columns.add(name, *of, &source.info, at >= stored)?;
                }
            }
            for spec in &source.specs {
                columns.add(&spec.output, spec.of, &source.info, false)?;
            }
            known.extend(fields.into_iter().map(|(name, _)| name));
            sources.push(source);
        }
        if sources.is_empty() {
            return Ok((sources, Vec::new()));
        }
        let asked: Vec<&String> = match &self.work {
            Work::Window(_, aggregates) => aggregates.iter().map(|a| &a.field).collect(),
            Work::Rows | Work::Resample(_) => self.fields.iter().flatten().collect(),
        };
        for field in asked {
            let there = match self.work {
                Work::Resample(_) => columns.types.contains_key(field),
                _ => known.contains(field),
            };
            if !there {
                return Err(unknown_field(field, &known));
            }
        }
        Ok((sources, columns.in_order(&self.work, self.fields.as_deref())))
    }

    /// What is read of a series, and the fields that its rows have then: those that are stored, what is computed of its
    /// levels, and those of the series that is joined to it.
    #[allow(clippy::type_complexity)] // As above.
    fn source(
        &self,
        info: SeriesInfo,
        rights: Option<&Rights>,
    ) -> Result<(Source, Vec<(String, FieldType)>)> {
        let mut fields = info.fields.clone();
        let mut read = Vec::new();
        if let Some(levels) = &self.levels {
            levels.fits(&info)?;
            read = levels.reads();
            fields.extend(levels.gives());
        }
        let right = match (&self.joining, rights) {
            (Some(joining), Some(rights)) => {
                joining.partner(&SeriesInfo { fields: fields.clone(), ..info.clone() }, rights)?
            }
            _ => None,
        };
        fields.extend(right.iter().flat_map(|r| r.columns.iter().map(|(_, name, of)| (name.clone(), *of))));
        let specs = match &self.work {
            Work::Rows => Vec::new(),
            Work::Resample(timeframe) => self.resampled(&info, timeframe)?,
            Work::Window(_, aggregates) => self.aggregated(&info, aggregates, &fields)?,
        };
        let scan = match (&self.work, &self.fields) {
            (Work::Rows, None) if self.levels.is_none() => None,
            (Work::Rows, chosen) => Some(read.into_iter().chain(chosen.iter().flatten().cloned()).collect()),
            (Work::Resample(_) | Work::Window(..), _) => {
                let stored = |name: &String| info.fields.iter().any(|(field, _)| field == name);
                let inputs = specs.iter().map(|s| s.input.clone()).filter(stored).chain(read);
                Some(inputs.collect::<BTreeSet<_>>().into_iter().collect())
            }
        };
        // Aggregates of what is joined alone are of every row.
        let scan = scan.filter(|fields: &Vec<String>| !fields.is_empty() || right.is_none());
        Ok((Source { info, scan, specs, right }, fields))
    }

    fn aggregated(
        &self,
        info: &SeriesInfo,
        aggregates: &[Aggregate],
        fields: &[(String, FieldType)],
    ) -> Result<Vec<Spec>> {
        let mut specs = Vec::with_capacity(aggregates.len());
        for aggregate in aggregates {
            let Some((_, of)) = fields.iter().find(|(name, _)| *name == aggregate.field) else {
                continue;
            };
            let gives = aggregate.function.gives(*of).ok_or_else(|| {
                Error::invalid(format!(
                    "the {} of `{}` of `{}` does not exist: the field is a {of}",
                    aggregate.function.name(),
                    aggregate.field,
                    info.key
                ))
                .hint("of strings and booleans there are `first`, `last` and `count`")
            })?;
            if self.fill == Fill::Linear && matches!(gives, FieldType::Boolean | FieldType::String) {
                return Err(Error::invalid(format!(
                    "`{}` is a {gives}, and there is no line between two of them",
                    aggregate.column()
                ))
                .hint("use the fill `previous` or `null`"));
            }
            specs.push(Spec {
                q: aggregate.q.unwrap_or_default(),
                output: aggregate.column(),
                input: aggregate.field.clone(),
                function: aggregate.function,
                of: gives,
            });
        }
        Ok(specs)
    }

    fn resampled(&self, info: &SeriesInfo, target: &Timeframe) -> Result<Vec<Spec>> {
        let measurement = &info.key.measurement;
        if let Some(source) = kinds::timeframe_of(measurement) {
            if !target.is_filled_by(&source.parse()?) {
                return Err(Error::invalid(format!(
                    "`{measurement}` cannot be resampled to `{target}`: bars of `{source}` do not fill them"
                ))
                .hint(format!(
                    "choose a timeframe that is a multiple of `{source}`, or another measurement"
                )));
            }
            if self.calendar.as_ref().is_some_and(|c| !source.parse().is_ok_and(|bars| c.is_filled_by(&bars)))
            {
                return Err(Error::invalid(format!(
                    "bars of `{source}` do not begin with the session of `{measurement}`"
                ))
                .hint("choose a measurement with shorter bars, so that one begins when the session opens"));
            }
        }
        let has = |name: &str| info.fields.iter().any(|(field, _)| field == name);
        let shape = Shape::of(Kind::of(measurement), has).ok_or_else(|| {
            Error::invalid(format!("`{measurement}` has neither bars nor prices to resample"))
                .hint("`resample` needs the fields open, high, low, close, or price; use `window` for others")
        })?;
        Ok(info
            .fields
            .iter()
            .flat_map(|(field, of)| shape.specs(field, *of))
            .filter(|spec| self.fields.as_ref().is_none_or(|f| f.contains(&spec.output)))
            .collect())
    }
}

/// The columns of the answer with their types.
#[derive(Debug, Default)]
struct Columns {
    types: HashMap<String, (FieldType, String)>,
    /// What is computed and joined, which follows the others in its own order.
    after: Vec<String>,
}

impl Columns {
    fn add(&mut self, name: &str, of: FieldType, info: &SeriesInfo, after: bool) -> Result<()> {
        let Some((have, other)) = self.types.get_mut(name) else {
            self.after.extend(after.then(|| name.to_string()));
            self.types.insert(name.to_string(), (of, info.key.to_string()));
            return Ok(());
        };
        let is_number = |of: FieldType| Function::Sum.gives(of).is_some();
        if *have == of {
            return Ok(());
        }
        if is_number(*have) && is_number(of) {
            *have = FieldType::Float;
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the field `{name}` is a {have} in `{other}` and a {of} in `{}`",
            info.key
        ))
        .hint("choose other `fields`, or ask for one measurement at a time"))
    }

    /// As they were asked for; else those that everybody knows first, then by name.
    fn in_order(self, work: &Work, fields: Option<&[String]>) -> Vec<(String, FieldType)> {
        let asked: Option<Vec<String>> = match work {
            Work::Window(_, aggregates) => Some(aggregates.iter().map(Aggregate::column).collect()),
            Work::Rows | Work::Resample(_) => fields.map(<[String]>::to_vec),
        };
        let names = asked.unwrap_or_else(|| {
            let mut names: Vec<String> =
                self.types.keys().filter(|n| !self.after.contains(n)).cloned().collect();
            names.sort_by_cached_key(|name| place(name));
            names
        });
        let after: &[String] = if matches!(work, Work::Rows) { &self.after } else { &[] };
        names
            .iter()
            .chain(after.iter().filter(|n| !names.contains(n)))
            .cloned()
            .filter_map(|name| self.types.get(&name).map(|(of, _)| *of).map(|of| (name, of)))
            .collect()
    }
}

pub(super) fn unknown_field(field: &str, known: &BTreeSet<String>) -> Error {
    let mut shown: Vec<&str> = known.iter().take(SHOWN_FIELDS_MAX).map(String::as_str).collect();
    if known.len() > SHOWN_FIELDS_MAX {
        shown.push("…");
    }
    Error::invalid(format!("no chosen series has the field `{field}`"))
        .hint(format!("the fields are {}", shown.join(", ")))
}
