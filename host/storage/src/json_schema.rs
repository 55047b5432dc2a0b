//! The part of JSON Schema (draft 2020-12) that configurations of plugins and settings use: `type`, `properties`, `required`,
//! `additionalProperties: false`, `enum`, `const`, `minimum`, `maximum`, `minLength`, `maxLength`, `items`, `minItems`,
//! `maxItems`, `uniqueItems`. A schema with another keyword is refused, so that no rule is silently left out.

use serde_json::{Map, Value};

/// How deep a schema or a configuration may be nested.
const DEPTH_MAX: usize = 32;

/// Keywords that describe and do not check.
const NOTES: [&str; 7] = ["description", "title", "default", "examples", "$schema", "$id", "$comment"];
const TYPES: [&str; 7] = ["object", "array", "string", "boolean", "null", "number", "integer"];
const RULES: [&str; 14] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "enum",
    "const",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
];

/// Everything wrong with a value, as `key: problem`. Without a schema nothing is.
pub fn validate(schema: &Value, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if !schema.is_null() {
        walk(schema, value, "", 0, &mut out);
    }
    out
}

/// What of a schema this host does not know or cannot make sense of, wherever it stands in it.
pub fn problems(schema: &Value) -> Vec<String> {
    let mut out = Vec::new();
    look(schema, "", 0, &mut out);
    out
}

fn look(schema: &Value, at: &str, depth: usize, out: &mut Vec<String>) {
    let mut say = |text: String| out.push(if at.is_empty() { text } else { format!("{at}: {text}") });
    if depth > DEPTH_MAX {
        return say(format!("is nested more than {DEPTH_MAX} deep"));
    }
    let rules = match schema {
        Value::Bool(true) => return,
        Value::Object(rules) => rules,
        _ => return say("is no object".into()),
    };
    for (key, rule) in rules {
        let whole = || rule.as_u64().is_some();
        let sound = match key.as_str() {
            note if NOTES.contains(&note) => true,
            "type" => match rule {
                Value::Array(types) => types.iter().all(|t| t.as_str().is_some_and(|t| TYPES.contains(&t))),
                one => one.as_str().is_some_and(|t| TYPES.contains(&t)),
            },
            "enum" => rule.is_array(),
            "const" => true,
            "required" => rule.as_array().is_some_and(|names| names.iter().all(Value::is_string)),
            "additionalProperties" | "uniqueItems" => rule.is_boolean(),
            "minimum" | "maximum" => rule.is_number(),
            "minLength" | "maxLength" | "minItems" | "maxItems" => whole(),
            "properties" => match rule.as_object() {
                Some(of) => {
                    let below = |name: &str| if at.is_empty() { name.into() } else { format!("{at}.{name}") };
                    let mut found = Vec::new();
                    of.iter().for_each(|(name, inner)| look(inner, &below(name), depth + 1, &mut found));
                    out.append(&mut found);
                    continue;
                }
                None => false,
            },
            "items" => {
                let mut found = Vec::new();
                look(rule, &format!("{at}[]"), depth + 1, &mut found);
                out.append(&mut found);
                continue;
            }
            _ => {
                out.push(format!(
                    "{at}{}this host does not know the keyword `{key}`",
                    if at.is_empty() { "" } else { ": " }
                ));
                continue;
            }
        };
        if !sound {
            out.push(format!("{at}{}`{key}` cannot be {rule}", if at.is_empty() { "" } else { ": " }));
        }
    }
}

fn walk(schema: &Value, value: &Value, at: &str, depth: usize, out: &mut Vec<String>) {
    let mut say = |text: String| out.push(if at.is_empty() { text } else { format!("{at}: {text}") });
    if depth > DEPTH_MAX {
        return say(format!("is nested more than {DEPTH_MAX} deep"));
    }
    let Some(rules) = schema.as_object() else {
        return match schema {
            Value::Bool(true) => {}
            _ => say("the schema is no object".into()),
        };
    };
    for key in rules.keys() {
        if !NOTES.contains(&key.as_str()) && !RULES.contains(&key.as_str()) {
            say(format!("the schema uses `{key}`, which this host does not know"));
        }
    }
    if let Some(t) = rules.get("type") {
        let fits = match t {
            Value::String(t) => is(value, t),
            Value::Array(ts) => ts.iter().filter_map(Value::as_str).any(|t| is(value, t)),
            _ => false,
        };
        if !fits {
            return say(format!("expected {t}, found {value}"));
        }
    }
    if let Some(allowed) = rules.get("enum").and_then(Value::as_array) {
        if !allowed.contains(value) {
            let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
            say(format!("{value} is not one of {}", list.join(", ")));
        }
    }
    if let Some(c) = rules.get("const") {
        if c != value {
            say(format!("must be {c}"));
        }
    }
    let bound = |key: &str| rules.get(key).and_then(Value::as_f64);
    if let Some(n) = value.as_f64() {
        if bound("minimum").is_some_and(|m| n < m) || bound("maximum").is_some_and(|m| n > m) {
            let word =
                |key: &str, none: &str| rules.get(key).map_or_else(|| none.to_string(), Value::to_string);
            say(format!("{value} is outside {} to {}", word("minimum", "…"), word("maximum", "…")));
        }
    }
    let count = |key: &str| rules.get(key).and_then(Value::as_u64);
    let sized =
        |n: u64, min: &str, max: &str| count(min).is_some_and(|m| n < m) || count(max).is_some_and(|m| n > m);
    if let Some(s) = value.as_str() {
        if sized(s.chars().count() as u64, "minLength", "maxLength") {
            say("has the wrong length".into());
        }
    }
    if let Some(items) = value.as_array() {
        if sized(items.len() as u64, "minItems", "maxItems") {
            say(format!("has {} items", items.len()));
        }
        let unique = rules.get("uniqueItems") == Some(&Value::Bool(true));
        if unique && items.iter().enumerate().any(|(i, v)| items.iter().take(i).any(|w| w == v)) {
            say("has an item twice".into());
        }
        if let Some(of) = rules.get("items") {
            for (i, item) in items.iter().enumerate() {
                walk(of, item, &format!("{at}[{i}]"), depth + 1, out);
            }
        }
    }
    if let Some(map) = value.as_object() {
        object(rules, map, at, depth, out);
    }
}

fn object(
    rules: &Map<String, Value>,
    map: &Map<String, Value>,
    at: &str,
    depth: usize,
    out: &mut Vec<String>,
) {
    let below = |key: &str| if at.is_empty() { key.to_string() } else { format!("{at}.{key}") };
    let none = Map::new();
    let properties = rules.get("properties").and_then(Value::as_object).unwrap_or(&none);
    for key in rules.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !map.contains_key(key) {
            out.push(format!("{}: is missing", below(key)));
        }
    }
    for (key, value) in map {
        match properties.get(key) {
            Some(schema) => walk(schema, value, &below(key), depth + 1, out),
            None if rules.get("additionalProperties") == Some(&Value::Bool(false)) => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                out.push(format!("{}: unknown key; known here: {}", below(key), known.join(", ")));
            }
            None => {}
        }
    }
}

fn is(value: &Value, of: &str) -> bool {
    match of {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_at_their_edges() {
        let schema = json!({ "type": "object", "required": ["days"], "additionalProperties": false, "properties": {
            "days": { "type": "integer", "minimum": 1, "maximum": 9 },
            "names": { "type": "array", "minItems": 1, "maxItems": 2, "uniqueItems": true, "items": { "type": "string", "enum": ["1h", "1d"] } },
            "deep": { "type": "object", "required": ["x"], "properties": { "x": { "type": ["number", "null"] } } },
            "word": { "type": "string", "minLength": 2, "maxLength": 3 },
        } });
        let ok = |v: Value| assert_eq!(validate(&schema, &v), Vec::<String>::new(), "{v}");
        let bad = |v: Value, word: &str| {
            let said = validate(&schema, &v).join("\n");
            assert!(said.contains(word), "{v}: {said:?} has no {word}");
        };
        ok(json!({ "days": 1, "names": ["1h", "1d"], "deep": { "x": null, "y": 1 }, "word": "äb" }));
        ok(json!({ "days": 9.0 }));
        bad(json!({ "days": 0 }), "days: 0 is outside 1 to 9");
        bad(json!({ "days": 10 }), "outside");
        bad(json!({ "days": 1.5 }), "expected \"integer\"");
        bad(json!({}), "days: is missing");
        bad(json!({ "days": 1, "dayz": 1 }), "dayz: unknown key; known here: days, deep");
        bad(json!({ "days": 1, "names": [] }), "has 0 items");
        bad(json!({ "days": 1, "names": ["1h", "1h"] }), "twice");
        bad(json!({ "days": 1, "names": ["1h", "5m"] }), "names[1]: \"5m\" is not one of");
        bad(json!({ "days": 1, "deep": {} }), "deep.x: is missing");
        bad(json!({ "days": 1, "word": "a" }), "length");
        bad(json!([]), "expected \"object\"");
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        assert!(validate(&json!({ "pattern": "x" }), &json!("y"))[0].contains("pattern"));
        assert!(validate(&Value::Null, &json!({ "a": 1 })).is_empty());
        assert!(!validate(&json!(3), &json!(1)).is_empty());
    }

    #[test]
    fn a_schema_is_looked_at_by_itself() {
        let ok = json!({ "type": ["object", "null"], "title": "t", "required": ["a"], "properties": {
            "a": { "type": "integer", "minimum": 0, "enum": [1, 2], "const": 1 }, "b": true,
            "c": { "items": { "minLength": 1 }, "minItems": 0, "uniqueItems": true } }, "additionalProperties": false });
        assert_eq!(problems(&ok), Vec::<String>::new());
        for (bad, word) in [
            (json!(1), "is no object"),
            (json!({ "pattern": "x" }), "keyword `pattern`"),
            (json!({ "type": "int" }), "`type` cannot be"),
            (json!({ "type": ["string", 1] }), "`type` cannot be"),
            (json!({ "properties": { "a": { "minimum": "1" } } }), "a: `minimum` cannot be"),
            (json!({ "items": { "maxLength": -1 } }), "[]: `maxLength` cannot be"),
            (json!({ "items": 7 }), "[]: is no object"),
            (json!({ "required": [1] }), "`required` cannot be"),
            (json!({ "properties": [] }), "`properties` cannot be"),
        ] {
            let said = problems(&bad).join("\n");
            assert!(said.contains(word), "{bad}: {said}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let mut schema = json!({});
        let mut value = json!(1);
        for _ in 0..=DEPTH_MAX {
            schema = json!({ "items": schema });
            value = json!([value]);
        }
        assert!(validate(&schema, &value)[0].contains("nested"));
        assert!(problems(&schema)[0].contains("nested"));
    }
}
