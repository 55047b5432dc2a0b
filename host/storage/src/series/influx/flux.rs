//! Flux and delete predicates, built from escaped parts: no name or value is ever pasted into a query.

use crate::series::{TimeRange, model::TIME_MIN_NS, pieces::Even};
use std::fmt::Write as _;

/// A Flux string literal.
pub(super) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // `${` would begin an interpolated expression, and a `$` hides the backslash after it.
            c if c == '$' || c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// An identifier of a delete predicate (InfluxQL): it serves for keys and for values.
fn identifier(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `_measurement = … AND tag = …`: all that InfluxDB's delete understands.
pub(super) fn predicate(measurement: &str, tags: &[(String, String)]) -> String {
    let mut out = format!("_measurement={}", identifier(measurement));
    for (tag, value) in tags {
        let _ = write!(out, " AND {}={}", identifier(tag), identifier(value));
    }
    out
}

/// `from(bucket) |> range`: `start` is in it, `stop` is not, as in Flux.
pub(super) fn source(bucket: &str, range: TimeRange) -> String {
    format!(
        "from(bucket: {}) |> range(start: time(v: {}), stop: time(v: {}))",
        string(bucket),
        range.start.max(TIME_MIN_NS),
        range.end.max(TIME_MIN_NS)
    )
}

/// `|> filter` on a column that is one of several values; nothing if there are none.
pub(super) fn one_of<'a>(column: &str, values: impl IntoIterator<Item = &'a str>) -> String {
    let column = string(column);
    let tests: Vec<String> = values.into_iter().map(|v| format!("r[{column}] == {}", string(v))).collect();
    if tests.is_empty() { String::new() } else { format!(" |> filter(fn: (r) => {})", tests.join(" or ")) }
}

/// `|> filter` on tags that are all equal; nothing if there are none.
pub(super) fn tags(tags: &[(String, String)]) -> String {
    let tests: Vec<String> = tags.iter().map(|(k, v)| format!("r[{}] == {}", string(k), string(v))).collect();
    if tests.is_empty() { String::new() } else { format!(" |> filter(fn: (r) => {})", tests.join(" and ")) }
}

/// `|> filter` on a column that is none of several values; nothing if there are none.
pub(super) fn none_of<'a>(column: &str, values: impl IntoIterator<Item = &'a str>) -> String {
    let column = string(column);
    let tests: Vec<String> = values.into_iter().map(|v| format!("r[{column}] != {}", string(v))).collect();
    if tests.is_empty() { String::new() } else { format!(" |> filter(fn: (r) => {})", tests.join(" and ")) }
}

/// One value of a function for each window that has one, at the start of the window or of the range.
pub(super) fn windows(windows: Even, function: &str) -> String {
    let Even { length, first } = windows;
    let offset = first.rem_euclid(length.max(1));
    format!(
        " |> aggregateWindow(every: {length}ns, offset: {offset}ns, fn: {function}, createEmpty: false, timeSrc: \"_start\")"
    )
}

/// Leaves out the columns that are the same in every row of one series.
pub(super) const BARE: &str = r#" |> drop(columns: ["_start", "_stop", "_measurement"])"#;

/// The least so many times at which any field of a source has a value, each once; `texts` are its fields that hold texts.
pub(super) fn times<'a>(source: &str, texts: impl Iterator<Item = &'a str> + Clone, most: usize) -> String {
    let part = format!(
        " |> limit(n: {most}) |> drop(columns: [\"_value\", \"_field\", \"_start\", \"_stop\", \"_measurement\"])"
    );
    let points = points(source, texts, &part);
    format!("{points} |> unique(column: \"_time\") |> sort(columns: [\"_time\"]) |> limit(n: {most})")
}

/// How many times there are at which any field of a series has a value, for each series of a source.
pub(super) fn count_times<'a>(source: &str, texts: impl Iterator<Item = &'a str> + Clone) -> String {
    let points = points(source, texts, r#" |> drop(columns: ["_value", "_field", "_start", "_stop"])"#);
    // A time cannot be counted, and no value is left.
    format!(r#"{points} |> unique(column: "_time") |> set(key: "_value", value: "") |> count()"#)
}

/// The points of a source, each field after `part`; texts are read as [`TEXT`] says.
fn points<'a>(source: &str, texts: impl Iterator<Item = &'a str> + Clone, part: &str) -> String {
    let (others, these) = (none_of("_field", texts.clone()), one_of("_field", texts));
    match these.is_empty() {
        true => format!("{source}{part}"),
        false => format!(
            "union(tables: [{source}{others}{part}, {source}{these}{TEXT}{part}, {source}{these}{EMPTY_TEXT}{part}])"
        ),
    }
}

/// Texts that are not empty, and those that are. InfluxDB 2.7 takes texts of a column for others, or panics, where an empty
/// one follows another (`x`, ``, `y` is read as `x`, `y`, ``); its storage tells them apart before that can happen.
pub(super) const TEXT: &str = r#" |> filter(fn: (r) => r["_value"] != "")"#;
pub(super) const EMPTY_TEXT: &str = r#" |> filter(fn: (r) => r["_value"] == "")"#;

/// What a query that uses [`GUARD_TEXT`] begins with.
pub(super) const GUARD_IMPORT: &str = "import \"strings\"\n";

/// Keeps line breaks of texts: InfluxDB's CSV drops a carriage return and puts one before each line feed. What
/// this writes in their place, [`unguard`] reads.
pub(super) const GUARD_TEXT: &str = r#" |> map(fn: (r) => ({r with _value: strings.replaceAll(t: "\r", u: "\\r", v: strings.replaceAll(t: "\n", u: "\\n", v: strings.replaceAll(t: "\\", u: "\\\\", v: r._value)))}))"#;

/// Undoes [`GUARD_TEXT`].
pub(super) fn unguard(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

/// The measurements of a bucket, whenever they were written.
pub(super) fn measurements(bucket: &str) -> String {
    format!(
        "import \"influxdata/influxdb/schema\"\nschema.measurements(bucket: {}, start: time(v: {TIME_MIN_NS}), stop: time(v: {}))",
        string(bucket),
        i64::MAX
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a literal as Flux's own scanner does; `None` if it ends early, interpolates or goes on after its end.
    fn read(literal: &str) -> Option<String> {
        let mut chars = literal.strip_prefix('"')?.chars();
        let mut out = String::new();
        loop {
            match chars.next()? {
                '"' => return chars.next().is_none().then_some(out),
                '$' => return None,
                '\\' => match chars.next()? {
                    'n' => out.push('\n'),
                    'r' => out.push('\r'),
                    't' => out.push('\t'),
                    'x' => {
                        let hex: String = [chars.next()?, chars.next()?].iter().collect();
                        out.push(char::from(u8::from_str_radix(&hex, 16).ok()?));
                    }
                    c @ ('"' | '\\') => out.push(c),
                    _ => return None,
                },
                c if c.is_ascii_control() => return None,
                c => out.push(c),
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_literal_that_reads_back(text in r#"([a-z]|\PC|[\\"${}\n\r\t]|\x00){0,40}"#) {
            prop_assert_eq!(read(&string(&text)), Some(text));
        }
    }

    #[test]
    fn an_injection_stays_inside_its_literal() {
        for text in [
            "\") |> drop()",
            "${1 + 1}",
            "$${x}",
            "\\",
            "\\\"",
            "a\nimport \"os\"",
            "\\${x}",
            "$",
            "${",
            "$\"",
        ] {
            assert_eq!(read(&string(text)).as_deref(), Some(text), "{text}");
        }
    }

    #[test]
    fn a_predicate_quotes_every_part() {
        let tags = vec![("a b".to_string(), "x\" OR \"1\"=\"1".to_string())];
        assert_eq!(predicate("m\\", &tags), r#"_measurement="m\\" AND "a b"="x\" OR \"1\"=\"1""#);
    }

    #[test]
    fn nothing_to_choose_makes_no_filter() {
        assert_eq!(one_of("_field", []), "");
        assert_eq!(tags(&[]), "");
    }
}
