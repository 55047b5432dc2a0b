//! Every kind of question that an engine, or the executor over one, is asked.

use super::answers::Answer;
use super::workload::{BOOK_LEVELS, World};
use crate::series::coverage::{CoverageQuery, coverage};
use crate::series::model_engine::rows_of;
use crate::series::query::{
    Aggregate, Asof, Book, Direction, Fill, Function, Query, Sessions, TagFilter, Time, Window, execute,
    explain,
};
use crate::series::{Budget, Selector, SeriesEngine, SeriesKey, TimeRange};
use crate::testing::random::Random;
use crate::{Error, Result};

const FUNCTIONS: [Function; 9] = [
    Function::First,
    Function::Last,
    Function::Min,
    Function::Max,
    Function::Sum,
    Function::Mean,
    Function::Count,
    Function::Stddev,
    Function::Quantile,
];
const EVERY: [&str; 10] = ["30s", "1m", "15m", "1h", "4h", "1d", "2d", "1w", "1mo", "5m"];
/// Zones whose clocks jump, one of them by half an hour, and one that is apart from UTC by 45 minutes.
const ZONES: [&str; 5] =
    ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"];
/// How far away a joined row may be, in seconds.
const TOLERANCES_S: [Option<u64>; 6] = [None, None, Some(0), Some(20), Some(60), Some(7_200)];
const QUANTILES: [f64; 4] = [0.0, 0.5, 0.95, 1.0];
/// Rows that an answer may have; the first are so few that some have more.
const ROWS_MAX: [u64; 6] = [40, 2_000, 10_000, 10_000, 100_000, 100_000];

#[derive(Debug)]
pub(super) enum Question {
    Scan(SeriesKey, TimeRange, Option<Vec<String>>),
    Latest(Selector),
    List(Selector),
    /// With the rows that the answer may have.
    Query(Box<Query>, u64),
    Coverage(Box<CoverageQuery>),
}

impl Question {
    pub(super) fn ask(&self, engine: &dyn SeriesEngine) -> Answer {
        self.answer(engine).unwrap_or_else(|e: Error| Answer::Refused(e.kind(), e.message().to_string()))
    }

    /// Windows that the engine sums up itself to answer it.
    pub(super) fn summed_up(&self, engine: &dyn SeriesEngine) -> u64 {
        match self {
            Self::Query(query, rows_max) => {
                explain(engine, query, &Budget::default(), *rows_max).map_or(0, |e| e.summed_up)
            }
            _ => 0,
        }
    }

    fn answer(&self, engine: &dyn SeriesEngine) -> Result<Answer> {
        let budget = Budget::default();
        Ok(match self {
            Self::Scan(key, range, fields) => {
                let rows = rows_of(engine.scan(key, *range, fields.as_deref(), &budget)?)?;
                // A row without any of the asked fields may be there or not.
                Answer::Rows(rows.into_iter().filter(|(_, row)| !row.is_empty()).collect())
            }
            Self::Latest(selector) => Answer::Latest(engine.latest(selector)?),
            Self::List(selector) => Answer::List(engine.list(selector)?),
            Self::Query(query, rows_max) => {
                let table = execute(engine, query, &budget, *rows_max)?;
                table.frame.validate().map_err(|e| e.context("the answer"))?;
                Answer::Table(table.frame, table.truncated)
            }
            Self::Coverage(query) => {
                let series = engine.list(&query.selector())?;
                Answer::Coverage(coverage(engine, series, query, &budget)?)
            }
        })
    }
}

impl World {
    pub(super) fn question(&self, random: &mut Random) -> Question {
        match random.below(12) {
            0 | 1 => {
                let series = self.one(random);
                let fields = random.coin().then(|| {
                    let mut names: Vec<String> = series.fields.iter().map(|f| f.name.clone()).collect();
                    names.push("absent".into());
                    random.some(&names)
                });
                Question::Scan(series.key.clone(), self.range(random), fields)
            }
            2 => Question::Latest(self.selector(random)),
            3 => Question::List(self.selector(random)),
            4 => Question::Coverage(Box::new(self.coverage(random))),
            _ => Question::Query(Box::new(self.query(random)), *random.pick(&ROWS_MAX).unwrap()),
        }
    }

    fn coverage(&self, random: &mut Random) -> CoverageQuery {
        let range = self.range(random);
        let bounded = random.coin();
        CoverageQuery {
            bucket: Some(self.bucket.clone()),
            measurement: Some(self.measurement(random)),
            start: bounded.then_some(Time::Ns(range.start)),
            end: bounded.then_some(Time::Ns(range.end)),
            every: (!random.one_in(6)).then(|| (*random.pick(&EVERY).unwrap()).into()),
            longer_than: random.one_in(3).then(|| crate::units::Span::from_secs(3_600)),
            session: random.one_in(4).then(|| session(random)),
            ..CoverageQuery::default()
        }
    }

    pub(super) fn query(&self, random: &mut Random) -> Query {
        let series = self.one(random);
        let mut query = Query {
            bucket: Some(self.bucket.clone()),
            measurement: if random.one_in(3) {
                around(random, &series.key.measurement)
            } else {
                series.key.measurement.clone()
            },
            timezone: random.coin().then(|| (*random.pick(&ZONES).unwrap()).into()),
            limit: random.one_in(3).then(|| 1 + random.below(40) as u64),
            descending: random.one_in(3),
            ..Query::default()
        };
        if random.one_in(5) {
            query.tags = random.some(&series.key.tags);
        }
        if random.one_in(4) {
            query.filters.push(filter(random, &series.key));
        }
        let range = self.range(random);
        if !random.one_in(3) {
            query.start = Some(Time::Ns(range.start));
        }
        if !random.one_in(3) {
            query.end = Some(Time::Ns(range.end));
        }
        if random.one_in(6) {
            // A date is midnight in the query's zone.
            query.start = Some(Time::Text((*random.pick(&super::workload::DATES).unwrap()).into()));
            query.end = None;
        }
        self.beside(random, &mut query);
        match random.below(8) {
            0..3 => {
                if random.coin() {
                    let mut names: Vec<String> = series.fields.iter().map(|f| f.name.clone()).collect();
                    if random.one_in(8) {
                        names.push("absent".into());
                    }
                    query.fields = Some(random.some(&names)).filter(|f| !f.is_empty());
                }
            }
            // What has neither bars nor prices is refused.
            3 | 4 if series.key.measurement.contains(".A") || random.one_in(10) => {
                if !random.one_in(10) {
                    (query.asof, query.book) = (None, None);
                }
                query.resample = Some((*random.pick(&EVERY).unwrap()).into());
                query.fill = *random.pick(&[Fill::None, Fill::Null, Fill::Previous]).unwrap();
            }
            _ => {
                let every = (*random.pick(&EVERY).unwrap()).into();
                let mut aggregates: Vec<Aggregate> =
                    (0..1 + random.below(4)).map(|_| aggregate(random, series)).collect();
                if let Some(field) = computed(random, &query) {
                    let function = *random.pick(&[Function::Last, Function::Mean, Function::Count]).unwrap();
                    aggregates.push(Aggregate { field, function, q: None });
                }
                query.window = Some(Window { every, aggregates });
                query.fill = *random
                    .pick(&[Fill::None, Fill::None, Fill::Null, Fill::Previous, Fill::Linear])
                    .unwrap();
            }
        }
        query
    }
}

impl World {
    /// What is joined, computed of order books, and left out by sessions.
    fn beside(&self, random: &mut Random, query: &mut Query) {
        let is_book = query.measurement.starts_with("book.");
        if is_book && random.coin() || random.one_in(40) {
            query.book = Some(book(random));
        }
        if random.one_in(3) {
            query.asof = Some(self.asof(random));
        }
        if random.one_in(4) {
            query.session = Some(session(random));
        }
    }

    fn asof(&self, random: &mut Random) -> Asof {
        let right = self.one(random);
        let by_symbol = random.one_in(3);
        let mut asof = Asof {
            measurement: match by_symbol {
                true => (*random.pick(&["book.*", "tick.*", "bar.1m.*", "*"]).unwrap()).into(),
                false => right.key.measurement.clone(),
            },
            by: if by_symbol { vec!["symbol".into()] } else { Vec::new() },
            tolerance: random.pick(&TOLERANCES_S).unwrap().map(crate::units::Span::from_secs),
            direction: *random.pick(&[Direction::Backward, Direction::Forward, Direction::Nearest]).unwrap(),
            exact: random.coin(),
            ..Asof::default()
        };
        if !by_symbol {
            asof.tags = right.key.tags.clone();
        }
        if random.one_in(4) {
            asof.filters.push(filter(random, &right.key));
        }
        if asof.measurement.starts_with("book.") && random.coin() {
            asof.book = Some(book(random));
        }
        if !by_symbol && random.one_in(3) {
            let mut names: Vec<String> = right.fields.iter().map(|f| f.name.clone()).collect();
            if random.one_in(10) {
                names.push("absent".into());
            }
            asof.fields = Some(random.some(&names)).filter(|f| !f.is_empty());
        }
        if random.one_in(8) {
            // One that makes a name twice, most often.
            asof.prefix = String::new();
        }
        asof
    }
}

fn book(random: &mut Random) -> Book {
    let mut levels = |most| random.some(&(1..=most).collect::<Vec<u32>>());
    let (depth, imbalance) = (levels(BOOK_LEVELS + 1), levels(BOOK_LEVELS));
    Book { top: random.coin() || (depth.is_empty() && imbalance.is_empty()), depth, imbalance }
}

/// Calendars as a manifest has them: they trade on the days on which clocks are changed, and some are closed on those days.
const CALENDARS: &str = r#"
[calendars.new_york]
timezone = "America/New_York"
open = "09:30"
close = "16:00"
weekdays = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
early."2024-03-10" = "11:00"
early."2024-11-03" = "10:15"

[calendars.over_night]
timezone = "America/New_York"
open = "18:00"
close = "17:00"
weekdays = ["sun", "mon"]
holidays = ["2024-11-04"]

[calendars.berlin]
timezone = "Europe/Berlin"
open = "01:30"
close = "03:30"
weekdays = ["sun", "mon", "thu"]
holidays = ["2024-01-01"]

[calendars.half_an_hour]
timezone = "Australia/Lord_Howe"
open = "00:00"
close = "23:59"
weekdays = ["sun", "mon"]
holidays = ["2024-04-07"]
"#;

fn session(random: &mut Random) -> Sessions {
    if random.one_in(30) {
        // Names are the store's: below it they are refused.
        return Sessions::Named("new_york".into());
    }
    let path = std::path::Path::new("/nowhere/shiphold.toml");
    let calendars = crate::manifest::Manifest::parse(CALENDARS, path).unwrap().calendars;
    let all: Vec<_> = calendars.into_values().collect();
    Sessions::Given(random.pick(&all).unwrap().clone())
}

/// A column that is computed or joined.
fn computed(random: &mut Random, query: &Query) -> Option<String> {
    let of_book = |random: &mut Random, book: &Book| {
        let mut names: Vec<String> = book.imbalance.iter().map(|n| format!("imbalance_{n}")).collect();
        names.extend(book.depth.iter().map(|n| format!("ask_depth_{n}")));
        if book.top {
            names.extend(["mid".to_string(), "spread".to_string()]);
        }
        random.pick(&names).cloned()
    };
    match (&query.book, &query.asof) {
        (Some(book), _) if random.coin() => of_book(random, book),
        (_, Some(asof)) => {
            let name = match &asof.book {
                Some(book) => of_book(random, book)?,
                None => "time".into(),
            };
            Some(format!("{}{name}", asof.prefix))
        }
        _ => None,
    }
}

/// A pattern that the name matches, as others may.
fn around(random: &mut Random, name: &str) -> String {
    let start: String = name.chars().take(random.below(4)).collect();
    start + "*"
}

fn aggregate(random: &mut Random, series: &super::workload::Stock) -> Aggregate {
    loop {
        let function = *random.pick(&FUNCTIONS).unwrap();
        let field = random.pick(&series.fields).unwrap();
        // What is summed up out of numbers at the edge of their range overflows, or is lost, by the order of the sum.
        let sums = matches!(function, Function::Sum | Function::Mean | Function::Stddev);
        // What does not exist is asked for too, but seldom: the answer is an error and tells little.
        let exists = function.gives(field.of).is_some();
        if (field.wild && sums) || (!exists && !random.one_in(20)) {
            continue;
        }
        let q = (function == Function::Quantile).then(|| *random.pick(&QUANTILES).unwrap());
        return Aggregate { field: field.name.clone(), function, q };
    }
}

fn filter(random: &mut Random, key: &SeriesKey) -> TagFilter {
    let (tag, value) = random.pick(&key.tags).cloned().unwrap_or_else(|| ("host".into(), "a".into()));
    let mut filter = TagFilter { tag, not: random.coin(), ..TagFilter::default() };
    match random.below(3) {
        0 => filter.equals = Some(value),
        1 => filter.any_of = Some(random.some(&["a".to_string(), String::new(), value])),
        _ => filter.matches = Some((*random.pick(&["^a$", "a|b", "", "é", "."]).unwrap()).into()),
    }
    filter
}
