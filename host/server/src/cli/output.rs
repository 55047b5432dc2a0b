//! What a person or a program reads: tables, JSON, errors with a hint, progress.

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use shiphold_storage::Error;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

/// Characters of a cell; longer text is cut in tables, never in JSON.
const CELL_CHARS_MAX: usize = 60;

/// Why a command ends badly.
#[derive(Debug)]
pub(crate) struct Failure {
    /// 1 refused or failed, 2 the call or the manifest is wrong.
    pub exit: u8,
    pub code: String,
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self { exit: 1, code: "io".into(), message: message.into(), hint: None }
    }
    /// The words of the call are wrong.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit: 2, code: "usage".into(), message: message.into(), hint: Some(hint.into()) }
    }
    /// From a problem document.
    pub(crate) fn problem(problem: &Value) -> Self {
        let text = |key: &str| problem.get(key).and_then(Value::as_str).map(str::to_string);
        Self {
            exit: 1,
            code: text("code").unwrap_or_else(|| "internal".into()),
            message: text("detail")
                .or_else(|| text("message"))
                .or_else(|| text("title"))
                .unwrap_or_else(|| problem.to_string()),
            hint: text("hint"),
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self {
            exit: 1,
            code: e.code().into(),
            message: e.message().into(),
            hint: e.hint_text().map(str::to_string),
        }
    }
}

/// Where to write and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints the error and gives the exit code.
    pub(crate) fn failure(&self, f: &Failure) -> ExitCode {
        let mut err = std::io::stderr().lock();
        // A closed standard error leaves nobody to tell.
        let _ = if self.json {
            writeln!(err, "{}", json!({ "error": { "code": f.code, "message": f.message, "hint": f.hint } }))
        } else {
            writeln!(err, "error: {}", f.message)
                .and_then(|()| f.hint.as_ref().map_or(Ok(()), |hint| writeln!(err, "hint: {hint}")))
        };
        ExitCode::from(f.exit)
    }

    /// A line on standard output. A reader that went away (`| head`) ends the command quietly.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        if writeln!(std::io::stdout().lock(), "{}", text.as_ref()).is_err() {
            std::process::exit(0);
        }
    }

    pub(crate) fn json(&self, value: &Value) {
        self.line(value.to_string());
    }

    /// The answer as JSON, or a sentence.
    pub(crate) fn done(&self, value: &Value, sentence: impl AsRef<str>) {
        if self.json { self.json(value) } else { self.line(sentence) }
    }

    /// A list of objects as JSON, or the named fields as a table.
    pub(crate) fn list(&self, value: &Value, columns: &[(&str, &str)], empty: &str) {
        if self.json {
            return self.json(value);
        }
        let Some(rows) = value.as_array() else { return self.json(value) };
        if rows.is_empty() {
            return self.line(empty);
        }
        let heads: Vec<&str> = columns.iter().map(|c| c.0).collect();
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| columns.iter().map(|(_, path)| cell(path, field(row, path))).collect())
            .collect();
        self.table(&heads, &rows);
    }

    /// Rows under heads; columns whose cells are numbers are aligned to the right.
    pub(crate) fn table(&self, heads: &[&str], rows: &[Vec<String>]) {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(heads);
        for row in rows {
            table.add_row(row);
        }
        for (i, column) in table.column_iter_mut().enumerate() {
            let numeric =
                rows.iter().all(|r| r.get(i).is_none_or(|c| c.is_empty() || c.parse::<f64>().is_ok()));
            if numeric {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.lines() {
            self.line(line.trim_end());
        }
    }

    /// One object, a field a line.
    pub(crate) fn object(&self, value: &Value) {
        if self.json {
            return self.json(value);
        }
        let Some(map) = value.as_object() else { return self.json(value) };
        let width = map.keys().map(String::len).max().unwrap_or(0);
        for (key, value) in map {
            self.line(format!("{key:width$}  {}", cell_full(key, value)));
        }
    }

    /// A bar for long work; hidden for programs and where nobody looks.
    pub(crate) fn progress(&self, what: &str) -> ProgressBar {
        if self.json || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::no_length().with_message(what.to_string());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {msg} {wide_bar} {human_pos}/{human_len} {elapsed}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

fn field<'v>(row: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(row, |v, key| v.get(key).unwrap_or(&Value::Null))
}

/// Fields that hold nanoseconds since the epoch, by their names.
fn is_time(key: &str) -> bool {
    let key = key.rsplit('.').next().unwrap_or(key);
    key.ends_with("_at")
        || key.ends_with("_time")
        || key.ends_with("_ns")
        || matches!(key, "time" | "last_due" | "last_used" | "now" | "period_start" | "period_end")
}

fn cell(key: &str, value: &Value) -> String {
    let text = cell_full(key, value).replace(['\n', '\r', '\t'], " ");
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

fn cell_full(key: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => printable(s),
        Value::Bool(b) => if *b { "yes" } else { "no" }.into(),
        Value::Number(n) if is_time(key) => n.as_i64().map_or_else(|| n.to_string(), time),
        // Figures for people: what a computation makes of the last digits tells them nothing.
        Value::Number(n) if n.is_f64() => n.as_f64().map_or_else(|| n.to_string(), figure),
        Value::Array(items) if items.iter().all(|i| !i.is_object() && !i.is_array()) => {
            items.iter().map(|i| cell_full("", i)).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// A float with at most four decimals; small ones keep their digits.
fn figure(v: f64) -> String {
    let rounded = (v * 1e4).round() / 1e4;
    if rounded == 0.0 || !rounded.is_finite() { v.to_string() } else { rounded.to_string() }
}

/// Control characters could move the cursor of a terminal or colour it.
pub(crate) fn printable(s: &str) -> String {
    s.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A stranger's text on one line: it can neither forge another line nor move the cursor.
pub(crate) fn one_line(s: &str) -> String {
    s.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Nanoseconds since the epoch as UTC, without a fraction where there is none.
pub(crate) fn time(ns: i64) -> String {
    let t = chrono::DateTime::from_timestamp_nanos(ns);
    t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_control_characters() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_500_000_000), "1970-01-01T00:00:01.500Z");
        assert_eq!(cell("created_at", &json!(0)), "1970-01-01T00:00:00Z");
        assert_eq!(cell("rows", &json!(0)), "0");
        assert_eq!(cell("score", &json!(0.816_804_144_599_792_2)), "0.8168");
        assert_eq!(
            (cell("x", &json!(1e-9)), cell("x", &json!(0.5)), cell("x", &json!(0.0))),
            ("0.000000001".into(), "0.5".into(), "0".into())
        );
        assert_eq!(cell("x", &json!("a\u{1b}[31mb\nc")), "a\u{fffd}[31mb c");
        assert_eq!(cell("x", &json!("y".repeat(CELL_CHARS_MAX))).chars().count(), CELL_CHARS_MAX);
        assert!(cell("x", &json!("y".repeat(CELL_CHARS_MAX + 1))).ends_with('…'));
    }

    #[test]
    fn a_problem_document_becomes_a_sentence_and_a_hint() {
        let f = Failure::problem(&json!({ "code": "denied", "title": "t", "detail": "no", "hint": "ask" }));
        assert_eq!(
            (f.code.as_str(), f.message.as_str(), f.hint.as_deref(), f.exit),
            ("denied", "no", Some("ask"), 1)
        );
    }
}
