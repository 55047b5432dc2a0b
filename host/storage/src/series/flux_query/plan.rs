//! A query, checked: sources and what their tables go through.

use super::filter::Test;
use super::fold;
use super::parse;
use super::syntax::{Expr, Node, Statement};
use super::times::{Span, Windows};
use super::unsupported;
use super::value::{Arguments, Given, Scope, Value};
use crate::error::{Error, Result};
use crate::series::query::Function;
use std::collections::HashMap;
use std::sync::Arc;

/// Results of one query.
pub const PIPELINES_MAX: usize = 20;
/// Steps of one result.
pub const STAGES_MAX: usize = 100;
/// Names that a query gives.
const NAMES_MAX: usize = 100;
/// The result without a name.
const UNNAMED: &str = "_result";

/// A query in Flux that was understood.
#[derive(Debug, Clone)]
pub struct FluxQuery {
    pub(super) pipelines: Vec<Pipeline>,
}

/// A source and its steps.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) bucket: String,
    range: Option<(i64, i64)>,
    pub(super) stages: Vec<Stage>,
    name: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Stage {
    Filter(Arc<Test>),
    Window(Window),
    /// One row of each table.
    Fold(Function),
    Limit {
        rows: u64,
        offset: u64,
    },
    Sort {
        columns: Vec<String>,
        descending: bool,
    },
    Pivot,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub(super) windows: Windows,
    pub(super) function: Function,
    /// Rows also of windows without values, from the begin of the range to its end.
    pub(super) empty: bool,
    /// Rows are at the begin of their windows, not at the end.
    pub(super) at_start: bool,
}

impl FluxQuery {
    /// Reads a query; `now` in nanoseconds since the epoch, `given` are values that it may name.
    pub fn parse(text: &str, now: i64, given: Vec<(String, Given)>) -> Result<Self> {
        let statements = parse::statements(text)?;
        let names = given.into_iter().map(|(name, value)| (name, value.into())).collect::<HashMap<_, _>>();
        let mut scope = Scope { text, now, names, items: 0 };
        let mut pipelines: Vec<Pipeline> = Vec::new();
        for statement in statements {
            match statement {
                Statement::Assign { name, value, option } => assign(&mut scope, name, &value, option)?,
                Statement::Show(expr) => match scope.value(&expr)? {
                    Value::Pipeline(pipeline) => {
                        pipeline.is_bounded()?;
                        pipelines.push(pipeline);
                    }
                    _ => return Err(scope.wrong(expr.at, "an expression that gives no tables stands alone")),
                },
            }
            if pipelines.len() > PIPELINES_MAX {
                return Err(Error::limit("the results of a Flux query", PIPELINES_MAX, "ask several times"));
            }
        }
        for (at, pipeline) in pipelines.iter().enumerate() {
            if pipelines.iter().take(at).any(|p| p.name() == pipeline.name()) {
                return Err(Error::invalid(format!(
                    "tried to produce more than one result with the name \"{}\"",
                    pipeline.name().escape_debug()
                ))
                .hint("name each with `|> yield(name: \"…\")`"));
            }
        }
        if pipelines.is_empty() {
            return Err(Error::invalid("the query gives no result").hint("begin with from(bucket: \"…\")"));
        }
        Ok(Self { pipelines })
    }

    /// The buckets that it reads.
    pub fn buckets(&self) -> impl Iterator<Item = &str> {
        self.pipelines.iter().map(|p| p.bucket.as_str())
    }
}

fn assign(scope: &mut Scope<'_>, name: String, value: &Expr, option: bool) -> Result<()> {
    // A value that the client gave beside the text wins over the text's own.
    if option && name == "now" {
        let Node::Function(names, body) = &value.node else {
            return Err(scope.wrong(value.at, "the option `now` is a function without parameters"));
        };
        match (names.is_empty(), scope.value(body)?) {
            (true, Value::Time(time)) => scope.now = time,
            _ => return Err(scope.wrong(value.at, "the option `now` gives no time")),
        }
        return Ok(());
    }
    if option && ["task", "location"].contains(&name.as_str()) {
        return Err(unsupported(format!("the option `{name}`")));
    }
    let value = scope.value(value)?;
    if scope.names.len() >= NAMES_MAX && !scope.names.contains_key(&name) {
        return Err(Error::limit("the names of a Flux query", NAMES_MAX, "write values where they are used"));
    }
    scope.names.insert(name, value);
    Ok(())
}

impl Pipeline {
    /// `from(bucket: "…")`
    pub(super) fn from(scope: &mut Scope<'_>, at: usize, arguments: &[(String, Expr)]) -> Result<Self> {
        let mut arguments = Arguments::of(scope, at, "from", arguments)?;
        let Some(bucket) = arguments.text("bucket")?.filter(|b| !b.is_empty()) else {
            return Err(arguments.wrong("missing required argument bucket"));
        };
        // Clients that were made for a server of another machine name it; there is one organisation here.
        arguments.text("org")?;
        arguments.end()?;
        Ok(Self { bucket, range: None, stages: Vec::new(), name: None })
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(UNNAMED)
    }

    /// Start and stop; the stop is not in it.
    pub(super) fn range(&self) -> (i64, i64) {
        self.range.unwrap_or_default()
    }

    fn is_bounded(&self) -> Result<()> {
        if self.range.is_some() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "cannot submit unbounded read to \"{}\"; try bounding 'from' with a call to 'range'",
            self.bucket.escape_debug()
        )))
    }

    fn has(&self, test: impl Fn(&Stage) -> bool) -> bool {
        self.stages.iter().any(test)
    }

    /// Has a row still its time?
    fn timed(&self) -> bool {
        !self.has(|s| matches!(s, Stage::Fold(f) if !fold::selects(*f)))
    }

    /// Adds `|> name(…)`.
    pub(super) fn step(
        &mut self,
        scope: &mut Scope<'_>,
        at: usize,
        name: &str,
        given: &[(String, Expr)],
    ) -> Result<()> {
        if self.name.is_some() {
            return Err(unsupported(format!("`{}` after `yield`", name.escape_debug())));
        }
        if name != "range" {
            self.is_bounded()?;
        }
        let pivoted = self.has(|s| matches!(s, Stage::Pivot));
        if pivoted && !["limit", "sort", "yield"].contains(&name) {
            return Err(unsupported(format!("`{}` after `pivot`", name.escape_debug())));
        }
        if self.has(|s| matches!(s, Stage::Sort { .. })) && ["aggregateWindow", "pivot"].contains(&name) {
            return Err(unsupported(format!("`{name}` after `sort`")));
        }
        if !self.timed() && ["aggregateWindow", "pivot"].contains(&name) {
            return Err(scope.wrong(at, format!("{name}: the rows have no time any more")));
        }
        let mut arguments = Arguments::of(scope, at, name, given)?;
        let stage = match name {
            "range" => {
                self.set_range(&mut arguments, scope.now)?;
                None
            }
            "yield" => {
                self.name = Some(arguments.text("name")?.unwrap_or_else(|| UNNAMED.into()));
                None
            }
            "filter" => Some(filter(&mut arguments, scope)?),
            "aggregateWindow" => Some(Stage::Window(window(&mut arguments)?)),
            "limit" => {
                let Some(rows) = arguments.count("n")? else {
                    return Err(arguments.wrong("missing required argument n"));
                };
                Some(Stage::Limit { rows, offset: arguments.count("offset")?.unwrap_or(0) })
            }
            "sort" => {
                let columns = arguments.texts("columns")?.unwrap_or_else(|| vec![super::table::VALUE.into()]);
                Some(Stage::Sort { columns, descending: arguments.boolean("desc")?.unwrap_or(false) })
            }
            "pivot" => Some(pivot(&mut arguments)?),
            _ => match fold::named(name) {
                Some(function) => {
                    let column = arguments.text("column")?;
                    if column.is_some_and(|c| c != super::table::VALUE) {
                        return Err(unsupported(format!("`{name}` of another column than `_value`")));
                    }
                    if function == Function::Stddev {
                        sample(&mut arguments)?;
                    }
                    Some(Stage::Fold(function))
                }
                None => return Err(unsupported(format!("`{}`", name.escape_debug()))),
            },
        };
        arguments.end()?;
        self.stages.extend(stage);
        if self.stages.len() > STAGES_MAX {
            return Err(Error::limit("the steps of a Flux query", STAGES_MAX, "join its filters with `and`"));
        }
        Ok(())
    }

    fn set_range(&mut self, arguments: &mut Arguments, now: i64) -> Result<()> {
        if self.range.is_some() {
            return Err(unsupported("a second `range`"));
        }
        let start = arguments.point("start", now)?;
        let Some(start) = start else { return Err(arguments.wrong("missing required argument start")) };
        let stop = arguments.point("stop", now)?.unwrap_or(now);
        if start >= stop {
            return Err(Error::invalid("cannot query an empty range").hint("`start` is before `stop`"));
        }
        self.range = Some((start, stop));
        Ok(())
    }
}

fn filter(arguments: &mut Arguments, scope: &mut Scope<'_>) -> Result<Stage> {
    let Value::Function(names, body) = arguments.need("fn")? else {
        return Err(arguments.wrong("`fn` is no function, such as (r) => r._field == \"close\""));
    };
    match arguments.text("onEmpty")?.as_deref() {
        None | Some("drop") => {}
        Some(_) => return Err(unsupported("`onEmpty: \"keep\"`")),
    }
    Ok(Stage::Filter(Arc::new(Test::of(scope, &names, &body)?)))
}

fn window(arguments: &mut Arguments) -> Result<Window> {
    let Some(every) = arguments.duration("every")? else {
        return Err(arguments.wrong("missing required argument every"));
    };
    let offset = arguments.duration("offset")?.unwrap_or_default();
    if offset.months != 0 {
        return Err(unsupported("an offset of months"));
    }
    let Some(windows) = Windows::new(every, offset.ns) else {
        return Err(arguments.wrong("`every` is a length above 0, of months and years alone or without them"));
    };
    // Windows that overlap are in no subset; ones that do not are what is asked for without it.
    if arguments.duration("period")?.is_some_and(|period: Span| period != every) {
        return Err(unsupported("a `period` that is not `every`"));
    }
    let function = match arguments.need("fn")? {
        Value::Known(name) => fold::named(&name),
        _ => None,
    };
    let Some(function) = function else {
        return Err(unsupported("a function of `aggregateWindow` that is not one of the names"));
    };
    let column = arguments.text("column")?;
    if column.is_some_and(|c| c != super::table::VALUE) {
        return Err(unsupported("`aggregateWindow` of another column than `_value`"));
    }
    let at_start = match arguments.text("timeSrc")?.as_deref() {
        None | Some("_stop") => false,
        Some("_start") => true,
        Some(_) => return Err(unsupported("a `timeSrc` that is neither `_start` nor `_stop`")),
    };
    let empty = arguments.boolean("createEmpty")?.unwrap_or(true);
    Ok(Window { windows, function, empty, at_start })
}

fn pivot(arguments: &mut Arguments) -> Result<Stage> {
    let (row, column) = (arguments.texts("rowKey")?, arguments.texts("columnKey")?);
    let value = arguments.text("valueColumn")?;
    let is = |given: Option<Vec<String>>, wanted: &str| given.is_some_and(|g| g == [wanted]);
    if is(row, "_time") && is(column, "_field") && value.is_some_and(|v| v == super::table::VALUE) {
        return Ok(Stage::Pivot);
    }
    Err(unsupported(
        "a pivot other than rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\"",
    ))
}

fn sample(arguments: &mut Arguments) -> Result<()> {
    match arguments.text("mode")?.as_deref() {
        None | Some("sample") => Ok(()),
        Some(_) => Err(unsupported("a deviation of another mode than `sample`")),
    }
}
