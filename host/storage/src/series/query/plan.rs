//! A query, checked, and what it asks of each series.

use super::asof::Joining;
use super::ast::{Fill, Function, Query, Sessions};
use super::book::Levels;
use super::explain::{SHOWN_SERIES_MAX, Trace};
use super::filter::Filter;
use super::sources::Source;
use super::time::between;
use super::window::{Windows, parts_of};
use crate::error::{Error, Result};
use crate::series::kinds::{self, Calendar, Timeframe};
use crate::series::pieces::{Part, Wanted, WantedField};
use crate::series::{Selector, TimeRange};
use chrono_tz::Tz;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Aggregates of one query.
pub const AGGREGATES_MAX: usize = 1_000;
/// Fields that an error or an explanation lists.
pub(super) const SHOWN_FIELDS_MAX: usize = 20;

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
    pub(super) fields: Option<Vec<String>>,
}

/// What becomes of the rows.
#[derive(Debug)]
pub(super) enum Work {
    Rows,
    Resample(Timeframe),
    Window(Timeframe, Vec<super::Aggregate>),
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
        let range = between(query.start.as_ref(), query.end.as_ref(), zone)?;
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
        let levels = query.book.as_ref().map(|b| Levels::new("book", b)).transpose()?;
        let levels = match (&work, levels) {
            // Rows without a value of what is aggregated change nothing, unless something is joined to them.
            (Work::Window(_, aggregates), Some(levels)) if query.asof.is_none() => {
                Some(levels.only(aggregates.iter().map(|a| a.field.clone())))
            }
            (_, levels) => levels,
        };
        let selector = Selector {
            bucket: Some(bucket.clone()),
            measurement: Some(query.measurement.clone()),
            tags: query.tags.clone(),
        };
        Ok(Self {
            selector,
            range,
            zone,
            work,
            fill: query.fill,
            filters: Filter::all(&query.filters)?,
            levels,
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
        trace.aggregates = match &self.work {
            Work::Rows => None,
            Work::Resample(timeframe) | Work::Window(timeframe, _) => {
                let windows = self.windows(*timeframe);
                let all: Option<Vec<_>> = sources
                    .iter()
                    .filter(|s| !s.specs.is_empty())
                    .map(|s| self.wanted(s, &windows))
                    .collect();
                let all: BTreeSet<String> =
                    all.into_iter().flatten().flat_map(|w| w.fields).flat_map(shown_parts).collect();
                Some(all.into_iter().collect()).filter(|all: &Vec<String>| !all.is_empty())
            }
        };
        let mut step = |text: String| trace.steps.push(text);
        if !self.filters.is_empty() {
            step(format!("choose series by {} filters of `where`", self.filters.len()));
        }
        if self.calendar.is_some() {
            step("leave out rows outside of the session".into());
        }
        if let Some(levels) = &self.levels {
            let columns: Vec<String> = levels.computes().collect();
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

    /// What the engine may sum up of a source; `None`: it must give rows. Only stored rows are summed up by the engine: not those
    /// of sessions, nor what is computed or joined.
    pub(super) fn wanted(&self, source: &Source, windows: &Windows) -> Option<Wanted> {
        let stored = self.calendar.is_none() && self.levels.is_none() && self.joining.is_none();
        if !stored || source.specs.is_empty() {
            return None;
        }
        let mut fields: Vec<WantedField> = Vec::new();
        for spec in &source.specs {
            let (_, of) = source.info.fields.iter().find(|(name, _)| *name == spec.input)?;
            let at = fields.iter().position(|f| f.name == spec.input).unwrap_or(fields.len());
            if at == fields.len() {
                fields.push(WantedField { name: spec.input.clone(), of: *of, parts: Vec::new() });
            }
            let parts = &mut fields.get_mut(at)?.parts;
            parts.extend(parts_of(spec.function)?);
            parts.sort();
            parts.dedup();
        }
        let (even, windows) = (windows.even(), windows.clone());
        let within = move |first: i64, last: i64| windows.from(first).is_some_and(|bar| last < bar.end);
        Some(Wanted { within: Arc::new(within), windows: even, fields })
    }

    /// How time is cut into windows of this length.
    pub(super) fn windows(&self, timeframe: Timeframe) -> Windows {
        Windows { timeframe, zone: self.zone, calendar: self.calendar.clone() }
    }
}

fn shown_parts(field: WantedField) -> impl Iterator<Item = String> {
    field.parts.into_iter().map(move |part| {
        let name = match part {
            Part::First => "first",
            Part::Last => "last",
            Part::Least => "min",
            Part::Greatest => "max",
            Part::Sum => "sum",
            Part::Count => "count",
        };
        format!("{}_{name}", field.name)
    })
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
