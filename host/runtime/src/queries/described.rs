//! What a plugin says of its queries, and what a caller gives for their parameters: both checked before anything runs.

use super::TEXT_BYTES_MAX;
use crate::bindings::exports::shiphold::host::query_builder as wit;
use crate::text::printable;
use chrono_tz::UTC;
use serde::Serialize;
use serde_json::{Map, Value};
use shiphold_storage::series::query::parse_time;
use shiphold_storage::units::Span;
use shiphold_storage::{Error, Result};

/// Queries of one plugin.
const QUERIES_MAX: usize = 64;
/// Parameters of one query.
const PARAMS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 4 << 10;
const PARAM_DESCRIPTION_BYTES_MAX: usize = 1 << 10;

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    Text,
    Integer,
    Float,
    Boolean,
    Timestamp,
    Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Param {
    pub name: String,
    #[serde(rename = "type")]
    pub of: ParamType,
    pub required: bool,
    pub description: String,
    /// As the caller would write it.
    pub default: Option<Value>,
}

/// A query that a plugin offers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedQuery {
    pub name: String,
    pub plugin: String,
    pub description: String,
    pub params: Vec<Param>,
    /// The plugin works on the answer.
    pub transforms: bool,
}

pub(super) fn size_of_query(q: &wit::NamedQuery) -> usize {
    let param =
        |p: &wit::Param| 64 + p.name.len() + p.description.len() + p.default.as_ref().map_or(0, String::len);
    64 + q.name.len() + q.description.len() + q.params.iter().map(param).sum::<usize>()
}

fn is_name(text: &str, with: u8) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == with)
}

fn prose(what: &str, text: &str, most: usize) -> Result<String> {
    if text.len() > most {
        return Err(Error::limit(
            format!("the description of {what}"),
            format!("{most} bytes"),
            "shorten it",
        ));
    }
    // Lines may break; nothing else may steer a terminal.
    Ok(text.lines().map(|l| printable(l, most)).collect::<Vec<_>>().join("\n"))
}

pub(super) fn checked(plugin: &str, said: Vec<wit::NamedQuery>) -> Result<Vec<NamedQuery>> {
    if said.len() > QUERIES_MAX {
        return Err(Error::limit(format!("{} queries", said.len()), QUERIES_MAX, "offer fewer"));
    }
    let mut out: Vec<NamedQuery> = Vec::with_capacity(said.len());
    for q in said {
        let shown = printable(&q.name, NAME_BYTES_MAX);
        if !is_name(&q.name, b'-') {
            return Err(Error::invalid(format!(
                "`{shown}` is no name: 1 to {NAME_BYTES_MAX} of a-z 0-9 -, a letter first"
            )));
        }
        if out.iter().any(|o| o.name == q.name) {
            return Err(Error::invalid(format!("there are two queries `{shown}`")));
        }
        if q.params.len() > PARAMS_MAX {
            return Err(Error::limit(
                format!("{} parameters of `{shown}`", q.params.len()),
                PARAMS_MAX,
                "take fewer",
            ));
        }
        let mut params: Vec<Param> = Vec::with_capacity(q.params.len());
        for p in q.params {
            let param = checked_param(p).map_err(|e| e.context(format!("`{shown}`")))?;
            if params.iter().any(|o| o.name == param.name) {
                return Err(Error::invalid(format!("`{shown}` has two parameters `{}`", param.name)));
            }
            params.push(param);
        }
        let description = prose(&shown, &q.description, DESCRIPTION_BYTES_MAX)?;
        out.push(NamedQuery {
            name: q.name,
            plugin: plugin.into(),
            description,
            params,
            transforms: q.transforms,
        });
    }
    Ok(out)
}

fn checked_param(p: wit::Param) -> Result<Param> {
    let shown = printable(&p.name, NAME_BYTES_MAX);
    if !is_name(&p.name, b'_') {
        return Err(Error::invalid(format!(
            "`{shown}` is no name of a parameter: 1 to {NAME_BYTES_MAX} of a-z 0-9 _, a letter first"
        )));
    }
    let of = match p.type_ {
        wit::ParamType::Text => ParamType::Text,
        wit::ParamType::Integer => ParamType::Integer,
        wit::ParamType::Float => ParamType::Float,
        wit::ParamType::Boolean => ParamType::Boolean,
        wit::ParamType::Timestamp => ParamType::Timestamp,
        wit::ParamType::Duration => ParamType::Duration,
    };
    let default = p.default.map(|text| {
        let bad = |why: String| Error::invalid(format!("the default of `{shown}` {why}"));
        let value: Value = serde_json::from_str(&text).map_err(|e| bad(format!("is no JSON: {e}")))?;
        of.take(&value).map_err(|why| bad(format!("is {why}")))?;
        Ok::<_, Error>(value)
    });
    let default = default.transpose()?;
    if p.required && default.is_some() {
        return Err(Error::invalid(format!("`{shown}` is required and has a default")));
    }
    let description = prose(&shown, &p.description, PARAM_DESCRIPTION_BYTES_MAX)?;
    Ok(Param { name: p.name, of, required: p.required, description, default })
}

impl ParamType {
    /// A value as a caller writes it (in JSON, or all of it as text) becomes what the guest gets; or what is wrong with it.
    fn take(self, given: &Value) -> std::result::Result<Value, String> {
        let text = given.as_str();
        let whole = || given.as_i64().or_else(|| text.and_then(|t| t.trim().parse().ok()));
        let wrong = |what: &str| {
            let shown = text.map_or_else(|| given.to_string(), str::to_string);
            format!("`{}`, which is not {what}", printable(&shown, NAME_BYTES_MAX))
        };
        match self {
            Self::Text => match text {
                Some(t) if t.len() <= TEXT_BYTES_MAX => Ok(given.clone()),
                Some(_) => Err(format!("longer than {TEXT_BYTES_MAX} bytes")),
                None => Err(wrong("a text")),
            },
            Self::Integer => whole().map(Value::from).ok_or_else(|| wrong("a whole number of 64 bits")),
            Self::Float => {
                let number = given.as_f64().or_else(|| text.and_then(|t| t.trim().parse().ok()));
                number
                    .filter(|v| v.is_finite())
                    .and_then(serde_json::Number::from_f64)
                    .map(Value::Number)
                    .ok_or_else(|| wrong("a finite number"))
            }
            Self::Boolean => given
                .as_bool()
                .or_else(|| text.and_then(|t| t.parse().ok()))
                .map(Value::Bool)
                .ok_or_else(|| wrong("true or false")),
            Self::Timestamp => {
                let at = whole().or_else(|| parse_time("", text?, UTC).ok());
                at.map(Value::from)
                    .ok_or_else(|| wrong("a time: write a date, RFC 3339, or nanoseconds since the epoch"))
            }
            Self::Duration => {
                let span = whole().or_else(|| text?.parse::<Span>().ok().map(Span::as_nanos_i64));
                span.filter(|s| *s >= 0)
                    .map(Value::from)
                    .ok_or_else(|| wrong("a span with its unit, such as `15 min`, or nanoseconds"))
            }
        }
    }
}

impl NamedQuery {
    /// Every problem at once; else what the guest gets, with defaults filled in.
    pub(super) fn check(&self, given: &Map<String, Value>) -> Result<Map<String, Value>> {
        let mut problems: Vec<String> = given
            .keys()
            .filter(|k| !self.params.iter().any(|p| p.name == **k))
            .map(|k| format!("there is no parameter `{}`", printable(k, NAME_BYTES_MAX)))
            .collect();
        let mut out = Map::new();
        for p in &self.params {
            match given.get(&p.name).filter(|v| !v.is_null()).or(p.default.as_ref()) {
                None if p.required => problems.push(format!("`{}` is missing", p.name)),
                None => {}
                Some(value) => match p.of.take(value) {
                    Ok(value) => drop(out.insert(p.name.clone(), value)),
                    Err(why) => problems.push(format!("`{}` is {why}", p.name)),
                },
            }
        }
        if problems.is_empty() {
            return Ok(out);
        }
        let known: Vec<&str> = self.params.iter().map(|p| p.name.as_str()).collect();
        Err(Error::invalid(format!("query `{}`: {}", self.name, problems.join("; "))).hint(format!(
            "its parameters: {}; `shiphold queries show {}` describes them",
            known.join(", "),
            self.name
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn param(name: &str, of: ParamType, required: bool, default: Option<Value>) -> Param {
        Param { name: name.into(), of, required, description: String::new(), default }
    }

    fn query() -> NamedQuery {
        NamedQuery {
            name: "vwap".into(),
            plugin: "p".into(),
            description: String::new(),
            params: vec![
                param("symbol", ParamType::Text, true, None),
                param("start", ParamType::Timestamp, false, None),
                param("every", ParamType::Duration, false, Some(json!("5 min"))),
                param("window", ParamType::Integer, false, None),
                param("factor", ParamType::Float, false, None),
                param("open", ParamType::Boolean, false, None),
            ],
            transforms: true,
        }
    }

    #[test]
    fn parameters_become_what_the_guest_gets() {
        let given =
            json!({ "symbol": "AAPL", "start": "2024-01-02", "window": 20, "factor": 2, "open": true });
        let want = json!({
            "symbol": "AAPL", "start": 1_704_153_600_000_000_000_i64, "every": 300_000_000_000_i64, "window": 20,
            "factor": 2.0, "open": true,
        });
        assert_eq!(Value::Object(query().check(given.as_object().unwrap()).unwrap()), want);
        // The same from a query string, where everything is text.
        let given = json!({ "symbol": "AAPL", "start": "1704153600000000000", "every": "300 s", "window": "20", "factor": "2", "open": "true" });
        assert_eq!(Value::Object(query().check(given.as_object().unwrap()).unwrap()), want);
    }

    #[test]
    fn every_problem_of_the_parameters_is_told_at_once() {
        let given =
            json!({ "sybmol": "A", "start": "soon", "every": -1, "window": 1.5, "factor": "NaN", "open": 1 });
        let e = query().check(given.as_object().unwrap()).unwrap_err();
        for words in [
            "no parameter `sybmol`",
            "`symbol` is missing",
            "`start` is `soon`",
            "`every` is",
            "`window` is",
            "`factor` is",
            "`open` is",
        ] {
            assert!(e.message().contains(words), "{words}: {e}");
        }
        assert!(e.hint_text().unwrap().contains("symbol, start, every"));
        let long = |n: usize| json!({ "symbol": "x".repeat(n) });
        assert!(query().check(long(TEXT_BYTES_MAX).as_object().unwrap()).is_ok());
        assert!(query().check(long(TEXT_BYTES_MAX + 1).as_object().unwrap()).is_err());
    }

    fn described(name: &str, params: usize) -> wit::NamedQuery {
        let param = |i| wit::Param {
            name: format!("p{i}"),
            type_: wit::ParamType::Integer,
            required: false,
            description: String::new(),
            default: Some("1".into()),
        };
        wit::NamedQuery {
            name: name.into(),
            description: "line one\nline \u{1b}[2Jtwo".into(),
            params: (0..params).map(param).collect(),
            transforms: false,
        }
    }

    #[test]
    fn a_description_is_checked() {
        let ok = checked("p", vec![described("a", PARAMS_MAX)]).unwrap();
        assert_eq!(ok[0].description, "line one\nline \\u{1b}[2Jtwo");
        let many = |n: usize| (0..n).map(|i| described(&format!("q{i}"), 0)).collect::<Vec<_>>();
        assert!(checked("p", many(QUERIES_MAX)).is_ok() && checked("p", many(QUERIES_MAX + 1)).is_err());
        assert!(checked("p", vec![described("a", PARAMS_MAX + 1)]).is_err());
        for name in ["", "A", "-a", "a b", "a/b", "ä", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(checked("p", vec![described(name, 0)]).is_err(), "{name}");
        }
        assert!(checked("p", vec![described("a", 0), described("a", 0)]).is_err());
        let with = |change: fn(&mut wit::Param)| {
            let mut q = described("a", 1);
            q.params.iter_mut().for_each(change);
            checked("p", vec![q])
        };
        assert!(with(|p| p.default = Some("x".into())).is_err());
        assert!(with(|p| p.default = Some("\"x\"".into())).is_err());
        assert!(with(|p| p.required = true).is_err());
        assert!(with(|p| p.name = "a-b".into()).is_err());
        assert!(with(|p| p.description = "x".repeat(PARAM_DESCRIPTION_BYTES_MAX + 1)).is_err());
    }
}
