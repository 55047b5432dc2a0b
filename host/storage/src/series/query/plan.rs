//! A query, checked, and what it asks of each series.

use super::asof::{Joining, Right, Rights};
use super::ast::{Fill, Function, Query, Sessions};
use super::book::Levels;
use super::explain::{SHOWN_SERIES_MAX, Trace};
use super::filter::Filter;
use super::window::{Shape, Spec, Windows};
use crate::error::{Error, Result};
use crate::series::kinds::{self, Calendar, Kind, Timeframe};
use crate::series::model::TIME_MIN_NS;
use crate::series::{FieldType, Selector, SeriesInfo, TimeRange};
use chrono_tz::Tz;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Aggregates of one query.
pub const AGGREGATES_MAX: usize = 1_000;
/// Fields that an error lists.
const SHOWN_FIELDS_MAX: usize = 20;
/// The order of the fields that everybody knows; the others follow by name.
const FIELD_ORDER: [&str; 9] = ["open", "high", "low", "close", "volume", "price", "size", "bid", "ask"];

/// A checked query.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) selector: Selector,
    pub(super) range: TimeRange,
    pub(super) zone: Tz,
    pub(super) work: Work,
    pub(super) fill: Fill,
    pub(super) filters: Vec<Filter>,
    pub(super) levels: Option<Levels>,
    pub(super) joining: Option<Joining>,
    pub(super) calendar: Option<Arc<Calendar>>,
    fields: Option<Vec<String>>,
}

/// What becomes of the rows.
#[derive(Debug)]
pub(super) enum Work {
    Rows,
    Resample(Timeframe),
    Window(Timeframe, Vec<super::Aggregate>),
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
    pub(super) fn new(query: &Query) -> Result<Self> {
        let Some(bucket) = &query.bucket else {
            return Err(Error::invalid("the query names no bucket").hint("set `bucket`"));
        };
        if query.measurement.is_empty() {
            return Err(Error::invalid("the query names no measurement")
                .hint("set `measurement`, such as `bar.1m.AAPL` or `bar.1d.*`"));
        }
        if query.as_known_at.is_some() {
            // Whoever asks for it gives an engine that answers so: it must not be passed over here.
            return Err(Error::internal("the engine of the query does not know what was known at a time"));
        }
        let calendar = match &query.session {
            None => None,
            Some(Sessions::Given(session)) => Some(Arc::new(session.calendar("session")?)),
            Some(Sessions::Named(name)) => {
                return Err(Error::invalid(format!("there is no calendar `{}`", name.escape_debug()))
                    .hint("write [calendars.NAME] in shiphold.toml, or give the session itself"));
            }
        };
        let zone = match (&query.timezone, &calendar) {
            (None, Some(calendar)) => calendar.zone(),
            (zone, _) => kinds::zone("timezone", zone.as_deref())?,
        };
        let start = query.start.as_ref().map_or(Ok(TIME_MIN_NS), |t| t.resolve("start", zone))?;
        let end = query.end.as_ref().map_or(Ok(i64::MAX), |t| t.resolve("end", zone))?;
        if start > end {
            return Err(
                Error::invalid("`start` is after `end`").hint("the start is in the range, the end is not")
            );
        }
        if query.limit == Some(0) {
            return Err(Error::invalid("`limit` is 0").hint("leave it out, or ask for one row or more"));
        }
        if let Some(fields) = &query.fields {
            if fields.is_empty() {
                return Err(Error::invalid("`fields` is empty").hint("leave it out for all fields"));
            }
            no_repeats("fields", fields.iter().cloned())?;
        }
        let every =
            |place: &str, text: &str| text.parse::<Timeframe>().map_err(|e| e.context(format!("`{place}`")));
        let work = match (&query.resample, &query.window) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("`resample` and `window` exclude each other")
                    .hint("`resample` makes bars, `window` makes aggregates of your choice: leave one out"));
            }
            (Some(timeframe), None) => Work::Resample(every("resample", timeframe)?),
            (None, Some(window)) => {
                if query.fields.is_some() {
                    return Err(Error::invalid("`fields` has no meaning with `window`")
                        .hint("the aggregates name their fields"));
                }
                if window.aggregates.is_empty() || window.aggregates.len() > AGGREGATES_MAX {
                    return Err(Error::invalid(format!("a window needs 1 to {AGGREGATES_MAX} aggregates"))
                        .hint(r#"such as {"field":"close","function":"mean"}"#));
                }
                for a in &window.aggregates {
                    quantile(a)?;
                }
                no_repeats("window.aggregates", window.aggregates.iter().map(super::Aggregate::column))?;
                Work::Window(every("window.every", &window.every)?, window.aggregates.clone())
            }
            (None, None) => Work::Rows,
        };
        if matches!(work, Work::Resample(_)) && (query.book.is_some() || query.asof.is_some()) {
            return Err(Error::invalid("bars are made of stored rows, without `book` and `asof`")
                .hint("use `window` with aggregates of what they give"));
        }
        match (query.fill, &work) {
            (Fill::None, _) => {}
            (_, Work::Rows) => {
                return Err(Error::invalid("`fill` has no meaning without `window` or `resample`")
                    .hint("rows have no gaps: only windows do"));
            }
            (Fill::Linear, Work::Resample(_)) => {
                return Err(Error::invalid("bars are not filled on a line: nobody traded at such prices")
                    .hint("use `previous`, which gives flat bars at the last close, or `null`"));
            }
            _ => {}
        }
        let selector = Selector {
            bucket: Some(bucket.clone()),
            measurement: Some(query.measurement.clone()),
            tags: query.tags.clone(),
        };
        Ok(Self {
            selector,
            range: TimeRange { start, end },
            zone,
            work,
            fill: query.fill,
            filters: Filter::all(&query.filters)?,
            levels: query.book.as_ref().map(|b| Levels::new("book", b)).transpose()?,
            joining: query.asof.as_ref().map(|a| Joining::new(a, bucket)).transpose()?,
            calendar,
            fields: query.fields.clone(),
        })
    }

    /// Says what is read and done.
    pub(super) fn tell(&self, sources: &[Source], trace: &mut Trace) {
        trace.series = sources.len() as u64;
        trace.series_shown = sources.iter().take(SHOWN_SERIES_MAX).map(|s| s.info.key.to_string()).collect();
        trace.range = Some(self.range);
        let fields: Option<Vec<&Vec<String>>> = sources.iter().map(|s| s.scan.as_ref()).collect();
        let fields: Option<BTreeSet<&String>> = fields.map(|all| all.into_iter().flatten().collect());
        trace.fields = fields.map(|all| all.into_iter().cloned().collect());
        let mut step = |text: String| trace.steps.push(text);
        if !self.filters.is_empty() {
            step(format!("choose series by {} filters of `where`", self.filters.len()));
        }
        if self.calendar.is_some() {
            step("leave out rows outside of the session".into());
        }
        if let Some(levels) = &self.levels {
            let columns: Vec<String> = levels.gives().map(|(name, _)| name).collect();
            step(format!("compute {} of the levels of each snapshot", columns.join(", ")));
        }
        if let Some(joining) = &self.joining {
            step(joining.to_string());
        }
        match &self.work {
            Work::Rows => {}
            Work::Resample(timeframe) => step(format!("make bars of {timeframe}")),
            Work::Window(timeframe, aggregates) => {
                let columns: Vec<String> =
                    aggregates.iter().take(SHOWN_FIELDS_MAX).map(super::Aggregate::column).collect();
                let more = if aggregates.len() > SHOWN_FIELDS_MAX { ", …" } else { "" };
                step(format!("make windows of {timeframe}: {}{more}", columns.join(", ")));
            }
        }
        if self.fill != Fill::None {
            step("fill windows without rows".into());
        }
    }

    /// How time is cut into windows of this length.
    pub(super) fn windows(&self, timeframe: Timeframe) -> Windows {
        Windows { timeframe, zone: self.zone, calendar: self.calendar.clone() }
    }

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
            read = levels.needs();
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
        aggregates: &[super::Aggregate],
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
            Work::Window(_, aggregates) => Some(aggregates.iter().map(super::Aggregate::column).collect()),
            Work::Rows | Work::Resample(_) => fields.map(<[String]>::to_vec),
        };
        let names = asked.unwrap_or_else(|| {
            let mut names: Vec<String> =
                self.types.keys().filter(|n| !self.after.contains(n)).cloned().collect();
            names.sort_by_cached_key(|name| {
                (FIELD_ORDER.iter().position(|f| f == name).unwrap_or(FIELD_ORDER.len()), name.clone())
            });
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

fn quantile(a: &super::Aggregate) -> Result<()> {
    let wrong = |what: &str| {
        Err(Error::invalid(format!("the {} of `{}` {what}", a.function.name(), a.field))
            .hint(r#"such as {"field":"close","function":"quantile","q":0.95}"#))
    };
    match (a.function, a.q) {
        (Function::Quantile, Some(q)) if (0.0..=1.0).contains(&q) => Ok(()),
        (Function::Quantile, Some(_)) => wrong("needs a `q` from 0 to 1"),
        (Function::Quantile, None) => wrong("needs a `q`"),
        (_, Some(_)) => wrong("has no `q`"),
        (_, None) => Ok(()),
    }
}

pub(super) fn no_repeats(place: &str, names: impl Iterator<Item = String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            return Err(Error::invalid(format!("`{place}` names `{name}` twice")).hint("leave one out"));
        }
    }
    Ok(())
}

pub(super) fn unknown_field(field: &str, known: &BTreeSet<String>) -> Error {
    let mut shown: Vec<&str> = known.iter().take(SHOWN_FIELDS_MAX).map(String::as_str).collect();
    if known.len() > SHOWN_FIELDS_MAX {
        shown.push("…");
    }
    Error::invalid(format!("no chosen series has the field `{field}`"))
        .hint(format!("the fields are {}", shown.join(", ")))
}
