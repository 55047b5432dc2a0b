//! Readers of hostile bytes and values: whatever comes, an answer or an error, in words that a terminal can show.

use super::guest::{EMPTY, Guest};
use crate::descriptor::{DESCRIPTOR_BYTES_MAX, Descriptor};
use crate::inspect::inspect_bytes;
use crate::text::printable;
use proptest::prelude::*;
use serde_json::{Value, json};
use shiphold_storage::json_schema::validate;

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|f| serde_json::Number::from_f64(f).map_or(Value::Null, Value::Number)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(keys(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The words of a schema more often than others.
fn keys() -> impl Strategy<Value = String> {
    let words =
        ["type", "properties", "required", "additionalProperties", "enum", "const", "minimum", "maximum"];
    let more = ["minLength", "maxLength", "items", "minItems", "maxItems", "uniqueItems", "a", "b"];
    prop_oneof![
        3 => prop::sample::select([words, more].concat()).prop_map(String::from),
        1 => ".{0,6}",
    ]
}

/// Lines of a plugin.toml, some of them wrong.
fn toml_text() -> impl Strategy<Value = Vec<u8>> {
    let lines = [
        "name = \"p\"",
        "version = \"1\"",
        "world = \"retention-policy\"",
        "description = \"\\u001b[2J\"",
        "[grants]",
        "clock = true",
        "[grants.series]",
        "read = [\"*/*\"]",
        "[reasons]",
        "\"a\\u202e\" = 'b'",
        "[config]",
        "type = \"object\"",
        "minimum = nan",
        "at = 2026-01-01T00:00:00Z",
    ];
    prop::collection::vec(
        prop_oneof![4 => prop::sample::select(lines.to_vec()).prop_map(String::from), 1 => ".{0,20}"],
        0..16,
    )
    .prop_map(|lines| lines.join("\n").into_bytes())
}

fn shows(text: &str) -> bool {
    let one_line = text.replace('\n', " ");
    printable(&one_line, usize::MAX) == one_line
}

proptest! {
    #[test]
    fn any_bytes_are_a_plugin_toml_or_an_error(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), toml_text()],
    ) {
        match Descriptor::parse(&bytes) {
            Ok(it) => {
                let text = serde_json::to_string(&it).unwrap();
                prop_assert!(bytes.len() <= DESCRIPTOR_BYTES_MAX && text.is_ascii() | shows(&text), "{text}");
                prop_assert!(shows(&it.name) && shows(&it.description), "{it:?}");
            }
            Err(e) => prop_assert!(shows(e.message()) && e.message().len() < 2_000, "{e:?}"),
        }
    }

    #[test]
    fn any_bytes_are_a_component_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        head in prop::sample::select(vec![&b""[..], b"\0asm\x0d\0\x01\0", b"\0asm\x01\0\0\0"]),
    ) {
        let file = [head, &bytes].concat();
        match inspect_bytes(&file) {
            Ok(seen) => prop_assert_eq!(seen.size, file.len() as u64),
            Err(e) => prop_assert!(e.hint_text().is_some() && shows(e.message()), "{:?}", e),
        }
    }

    #[test]
    fn a_component_with_a_byte_changed_is_one_or_an_error(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut file = Guest::new(EMPTY).build();
        let at = at.index(file.len());
        file[at] = byte;
        if let Err(e) = inspect_bytes(&file) {
            prop_assert!(shows(e.message()), "{:?}", e);
        }
    }

    #[test]
    fn a_schema_is_obeyed_or_refused(schema in json_values(), value in json_values()) {
        let said = validate(&schema, &value);
        let known = schema.is_null() || schema.is_object() || schema == Value::Bool(true);
        prop_assert!(known || !said.is_empty(), "a schema that is none lets {value} through");
        prop_assert_eq!(validate(&json!({ "const": &value }), &value), Vec::<String>::new());
        prop_assert_eq!(validate(&json!({ "enum": [&value] }), &value), Vec::<String>::new());
        prop_assert_eq!(validate(&json!({ "const": [&value] }), &value).len(), 1);
        // A schema with a rule that it does not know is refused wherever it is reached.
        let unknown = validate(&json!({ "pattern": "x" }), &value);
        prop_assert!(!unknown.is_empty());
    }
}
