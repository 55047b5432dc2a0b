//! A query as programs give it: its AST as JSON, or its text in JSON.

use super::ast::Query;
use super::text;
use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    text: String,
    /// As in the query itself, which pages need not change then.
    after: Option<String>,
}

/// Reads `{"measurement": …}`, or `{"text": "SELECT …"}`, perhaps with `after`.
pub fn read(given: Value) -> Result<Query> {
    let wrong = |e: serde_json::Error| {
        Error::invalid(format!("the query cannot be read: {e}"))
            .hint("docs/query.md has every key, and the form as a text")
    };
    if given.get("text").is_none() {
        return serde_json::from_value(given).map_err(wrong);
    }
    let Written { text: written, after } = serde_json::from_value(given).map_err(wrong)?;
    let mut query = text::parse(&written)?;
    if after.is_some() {
        query.after = after;
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_or_a_text_in_it() {
        let asked = read(json!({ "text": "SELECT * FROM m LIMIT 5", "after": "01" })).unwrap();
        let want =
            Query { measurement: "m".into(), limit: Some(5), after: Some("01".into()), ..Query::default() };
        assert_eq!(asked, want);
        assert_eq!(read(json!({ "measurement": "m", "limit": 5, "after": "01" })).unwrap(), want);
        assert_eq!(read(json!({ "text": "SELECT * FROM m AFTER '01' LIMIT 5" })).unwrap(), want);
        for (wrong, word) in [
            (json!({ "text": "SELECT * FROM m", "limit": 5 }), "unknown field `limit`"),
            (json!({ "text": 5 }), "expected a string"),
            (json!({ "text": "SELECT" }), "line 1, column 7"),
            (json!({ "measurment": "m" }), "unknown field `measurment`"),
            (json!([1]), "invalid"),
        ] {
            let e = read(wrong).unwrap_err();
            assert!(e.message().contains(word) && e.hint_text().is_some(), "{word}: {e:?}");
        }
    }
}
