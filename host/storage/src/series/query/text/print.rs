//! A query becomes a text.

use super::super::ast::{Asof, Book, Direction, Fill, Query, Sessions, TagFilter, Time};
use crate::series::kinds::Session;
use std::fmt::Write as _;

/// The text of a query; read again it is the same query, if that was one that can be asked.
pub fn to_text(query: &Query) -> String {
    let mut out = String::from("SELECT ");
    let columns: Vec<String> = match (&query.window, &query.fields) {
        (Some(window), _) => window
            .aggregates
            .iter()
            .map(|a| {
                let share = a.q.map(|q| format!(", {q}")).unwrap_or_default();
                format!("{}({}{share})", a.function.name(), name(&a.field))
            })
            .collect(),
        (None, Some(fields)) => fields.iter().map(|f| name(f)).collect(),
        (None, None) => vec!["*".into()],
    };
    out.push_str(&columns.join(", "));
    clause(&mut out, "FROM", &name(&query.measurement));
    if let Some(bucket) = &query.bucket {
        clause(&mut out, "BUCKET", &name(bucket));
    }
    if let Some(asof) = &query.asof {
        clause(&mut out, "ASOF JOIN", &joined(asof));
    }
    if let Some(book) = &query.book {
        clause(&mut out, "BOOK", &levels(book));
    }
    let mut conditions = tags(&query.tags, &query.filters);
    conditions.extend(query.start.iter().map(|t| format!("time >= {}", time(t))));
    conditions.extend(query.end.iter().map(|t| format!("time < {}", time(t))));
    if !conditions.is_empty() {
        clause(&mut out, "WHERE", &conditions.join(" AND "));
    }
    match &query.session {
        Some(Sessions::Named(calendar)) => clause(&mut out, "SESSION", &name(calendar)),
        Some(Sessions::Given(given)) => clause(&mut out, "SESSION", &session(given)),
        None => {}
    }
    if let Some(timeframe) = &query.resample {
        clause(&mut out, "RESAMPLE", &value(timeframe));
    }
    if let Some(window) = &query.window {
        clause(&mut out, "GROUP BY", &value(&window.every));
    }
    match query.fill {
        Fill::None => {}
        Fill::Null => clause(&mut out, "FILL", "null"),
        Fill::Previous => clause(&mut out, "FILL", "previous"),
        Fill::Linear => clause(&mut out, "FILL", "linear"),
    }
    if let Some(zone) = &query.timezone {
        clause(&mut out, "TIMEZONE", &value(zone));
    }
    if query.descending {
        clause(&mut out, "ORDER BY", "time DESC");
    }
    if let Some(limit) = query.limit {
        clause(&mut out, "LIMIT", &limit.to_string());
    }
    if let Some(known) = &query.as_known_at {
        clause(&mut out, "AS KNOWN AT", &time(known));
    }
    if let Some(after) = &query.after {
        clause(&mut out, "AFTER", &value(after));
    }
    out
}

fn clause(out: &mut String, word: &str, what: &str) {
    let _ = write!(out, " {word} {what}");
}

fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn value(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("({})", items.collect::<Vec<_>>().join(", "))
}

fn time(time: &Time) -> String {
    match time {
        Time::Ns(ns) => ns.to_string(),
        Time::Text(text) => value(text),
    }
}

fn tags(tags: &[(String, String)], filters: &[TagFilter]) -> Vec<String> {
    let equal = tags.iter().map(|(k, v)| format!("{} = {}", name(k), value(v)));
    let filters = filters.iter().map(|f| {
        let tag = name(&f.tag);
        match (&f.equals, &f.any_of, &f.matches, f.not) {
            (Some(text), _, _, false) => format!("{tag} IS {}", value(text)),
            (Some(text), _, _, true) => format!("{tag} != {}", value(text)),
            (None, None, Some(regex), not) => {
                format!("{tag} {} {}", if not { "!~" } else { "=~" }, value(regex))
            }
            (None, values, _, not) => {
                let values = list(values.iter().flatten().map(|v| value(v)));
                format!("{tag} {}IN {values}", if not { "NOT " } else { "" })
            }
        }
    });
    equal.chain(filters).collect()
}

fn joined(asof: &Asof) -> String {
    let mut out = name(&asof.measurement);
    if let Some(bucket) = &asof.bucket {
        clause(&mut out, "BUCKET", &name(bucket));
    }
    if let Some(fields) = &asof.fields {
        clause(&mut out, "FIELDS", &list(fields.iter().map(|f| name(f))));
    }
    let conditions = tags(&asof.tags, &asof.filters);
    if !conditions.is_empty() {
        clause(&mut out, "ON", &format!("({})", conditions.join(" AND ")));
    }
    if let Some(book) = &asof.book {
        clause(&mut out, "LEVELS", &levels(book));
    }
    if let Some(tolerance) = &asof.tolerance {
        clause(&mut out, "WITHIN", &value(&tolerance.to_string()));
    }
    match asof.direction {
        Direction::Backward => {}
        Direction::Forward => out.push_str(" FORWARD"),
        Direction::Nearest => out.push_str(" NEAREST"),
    }
    if !asof.exact {
        out.push_str(" EXCLUSIVE");
    }
    if !asof.by.is_empty() {
        clause(&mut out, "USING", &list(asof.by.iter().map(|tag| name(tag))));
    }
    clause(&mut out, "PREFIX", &value(&asof.prefix));
    out
}

fn levels(book: &Book) -> String {
    let top = book.top.then(|| "TOP".to_string());
    let depth = book.depth.iter().map(|n| format!("DEPTH {n}"));
    let imbalance = book.imbalance.iter().map(|n| format!("IMBALANCE {n}"));
    list(top.into_iter().chain(depth).chain(imbalance))
}

fn session(given: &Session) -> String {
    let Session { timezone, open, close, weekdays, holidays, early } = given;
    let values = |all: &[String]| list(all.iter().map(|v| value(v)));
    let early = list(early.iter().map(|(date, at)| format!("{} {}", value(date), value(at))));
    format!(
        "(TIMEZONE {} OPEN {} CLOSE {} WEEKDAYS {} HOLIDAYS {} EARLY {early})",
        value(timezone),
        value(open),
        value(close),
        values(weekdays),
        values(holidays)
    )
}
