//! `shiphold plugins inspect`: what a component is and wants, for people.

use crate::cli::output::{Failure, Output, one_line};
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;

/// Names without what all of them begin and end with.
pub(super) fn short(names: &[String]) -> Vec<String> {
    let name = |n: &String| {
        n.strip_prefix("shiphold:host/").and_then(|n| n.split('@').next()).unwrap_or(n).to_string()
    };
    let (wasi, ours): (Vec<&String>, Vec<&String>) = names.iter().partition(|n| n.starts_with("wasi:"));
    let mut out: Vec<String> = ours.into_iter().map(name).map(|n| one_line(&n)).collect();
    if !wasi.is_empty() {
        // An interpreter brings dozens; none of them holds anything.
        out.push(format!("wasi:* ({})", wasi.len()));
    }
    if out.is_empty() {
        out.push("nothing".into());
    }
    out
}

/// Without a host: a stranger's file is looked at, never run.
pub(crate) fn inspect(file: &Path, out: &Output) -> Result<ExitCode, Failure> {
    let seen = shiphold_runtime::inspect(file)?;
    let value = serde_json::to_value(&seen).map_err(|e| Failure::plain(e.to_string()))?;
    if out.json {
        out.json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let line = |key: &str, text: &str| out.line(format!("{key:8} {}", one_line(text)));
    let plugin = value.get("plugin").unwrap_or(&Value::Null);
    let text = |key: &str| plugin.get(key).and_then(Value::as_str).unwrap_or_default();
    line("world", seen.world.as_deref().unwrap_or("none of shiphold:host"));
    line("size", &format!("{} bytes", seen.size));
    line("sha256", &seen.sha256);
    line("imports", &short(&seen.imports).join(", "));
    line("exports", &short(&seen.exports).join(", "));
    // What else the component has to say, such as by whom it is signed.
    for (key, value) in value.as_object().into_iter().flatten() {
        let known = ["world", "size", "sha256", "imports", "exports", "plugin"].contains(&key.as_str());
        if !known && !value.is_null() {
            line(key, &value.as_str().map_or_else(|| value.to_string(), str::to_string));
        }
    }
    if plugin.is_null() {
        out.line("\nIt carries no plugin.toml: the host does not load it.");
        return Ok(ExitCode::SUCCESS);
    }
    out.line("");
    line("name", text("name"));
    line("version", text("version"));
    line("says", text("description"));
    let mut asked = Vec::new();
    leaves("", plugin.get("grants").unwrap_or(&Value::Null), &mut asked);
    let reasons = plugin.get("reasons");
    let why = |key: &str| {
        let reason = reasons.and_then(|r| r.get(key)).and_then(Value::as_str);
        one_line(reason.unwrap_or("it does not say why"))
    };
    if asked.is_empty() {
        out.line("\nIt asks for no grants.");
    } else {
        out.line("\nIt asks for:");
        let rows: Vec<Vec<String>> =
            asked.into_iter().map(|(key, what)| vec![why(&key), one_line(&what), key]).collect();
        let rows: Vec<Vec<String>> = rows.into_iter().map(|r| r.into_iter().rev().collect()).collect();
        out.table(&["grant", "to what", "why"], &rows);
    }
    if let Some(keys) = plugin.get("config").and_then(|c| c.get("properties")).and_then(Value::as_object) {
        let required = plugin.get("config").and_then(|c| c.get("required")).and_then(Value::as_array);
        let needed = |key: &str| required.is_some_and(|r| r.iter().any(|v| v == key));
        let field = |of: &Value, key: &str| one_line(of.get(key).and_then(Value::as_str).unwrap_or_default());
        let rows: Vec<Vec<String>> = keys
            .iter()
            .map(|(key, of)| {
                let must = if needed(key) { "required" } else { "" };
                vec![one_line(key), field(of, "type"), must.into(), field(of, "description")]
            })
            .collect();
        out.line("\nIts configuration:");
        out.table(&["key", "type", "", "meaning"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// Every grant that is not empty, by its dotted key.
fn leaves(at: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                leaves(&at, value, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let texts: Vec<String> =
                items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_string)).collect();
            out.push((at.into(), texts.join("  ")));
        }
        Value::Bool(true) => out.push((at.into(), "yes".into())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn grants_that_are_asked_have_their_key() {
        let mut out = Vec::new();
        leaves(
            "",
            &json!({ "clock": true, "random": false, "http": [], "series": { "read": ["a/*", "b/*"] } }),
            &mut out,
        );
        assert_eq!(
            out,
            [("clock".into(), "yes".into()), ("series.read".to_string(), "a/*  b/*".to_string())]
        );
    }

    #[test]
    fn names_are_short_and_on_one_line() {
        let names = ["shiphold:host/log@0.1.0", "wasi:io/poll@0.2.0", "a\nb"].map(String::from);
        assert_eq!(short(&names), ["log", "a\u{fffd}b", "wasi:* (1)"]);
        assert_eq!(short(&[]), ["nothing"]);
    }
}
