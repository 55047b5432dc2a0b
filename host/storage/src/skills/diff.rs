//! What changed from one version to another: code as a unified diff, everything else by field.

mod lines;

use super::status::wanted;
use super::store::{Skills, may_read, read_by_id};
use super::types::check_name;
use super::{SkillName, SkillVersion, Version};
use crate::caller::Caller;
use crate::error::{Error, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Lines around a change that are shown with it.
pub const CONTEXT_MAX: usize = 1_000;
/// The same, unless a number is asked for.
pub const CONTEXT_DEFAULT: usize = 3;

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SkillDiff {
    pub from: SkillName,
    pub to: SkillName,
    /// Unified diff, as `patch` takes it; empty if the code is the same.
    pub code: String,
    /// Lines of code that are only in `to`, and only in `from`.
    pub added: u64,
    pub removed: u64,
    /// Is no diff of the code shorter? Of long texts that have little in common the search ends early.
    pub shortest: bool,
    pub fields: Vec<FieldChange>,
}

/// A field that changed: `language`, `description`, `tags`, `status`, `depends/NAME`, `metadata/…` (a JSON pointer), `author`, `run`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    pub field: String,
    /// Absent: it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// Absent: it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

impl Skills {
    /// What changed between two versions of a skill. Default of `to`: the current one; of `from`: what that was made from, which may
    /// be a version of another skill. `context`: lines around a change, default [`CONTEXT_DEFAULT`].
    pub fn diff(
        &self,
        caller: &Caller,
        name: &str,
        from: Option<&Version>,
        to: Option<&Version>,
        context: Option<usize>,
    ) -> Result<SkillDiff> {
        may_read(caller)?;
        check_name(name)?;
        let context = context.unwrap_or(CONTEXT_DEFAULT);
        if context > CONTEXT_MAX {
            return Err(Error::limit(
                format!("{context} lines around a change"),
                CONTEXT_MAX,
                "ask for fewer, or get both versions whole",
            ));
        }
        let (from, to) = self.db.read(|c| {
            let to = read_by_id(c, wanted(c, name, to)?.1)?;
            let from = match (from, &to.provenance.parent) {
                (Some(v), _) => wanted(c, name, Some(v))?.1,
                (None, Some(parent)) => wanted(c, &parent.name, Some(&parent.version))?.1,
                (None, None) => {
                    return Err(Error::invalid(format!(
                        "nothing says what {name}@{} was made from",
                        to.version
                    ))
                    .hint("name the version to compare with, as `from`"));
                }
            };
            Ok((read_by_id(c, from)?, to))
        })?;
        // Outside of the transaction: a long text takes a while.
        Ok(between(&from, &to, context))
    }
}

fn title(v: &SkillVersion) -> SkillName {
    SkillName { name: v.name.clone(), version: v.version.clone() }
}

fn between(from: &SkillVersion, to: &SkillVersion, context: usize) -> SkillDiff {
    let (before, after) = (title(from), title(to));
    let code = lines::Diff::of(&from.code, &to.code);
    let fields = changes(&fields_of(from), &fields_of(to));
    SkillDiff {
        code: code.unified(&before.to_string(), &after.to_string(), context),
        added: code.added(),
        removed: code.removed(),
        shortest: code.shortest,
        fields,
        from: before,
        to: after,
    }
}

/// Everything but the code, as far as it can differ.
fn fields_of(v: &SkillVersion) -> Value {
    let mut fields = json!({
        "language": v.language, "description": v.description, "tags": v.tags, "status": v.status, "depends": v.depends,
        "metadata": v.metadata,
    });
    if let Some(fields) = fields.as_object_mut() {
        for (key, value) in [("author", &v.provenance.author), ("run", &v.provenance.run)] {
            if let Some(value) = value {
                fields.insert(key.into(), json!(value));
            }
        }
    }
    fields
}

fn changes(from: &Value, to: &Value) -> Vec<FieldChange> {
    let mut out = Vec::new();
    let none = Map::new();
    let map = |v: &Value| v.as_object().cloned().unwrap_or_else(|| none.clone());
    compare(&map(from), &map(to), "", &mut out);
    out
}

/// Objects are compared key by key, everything else as it is. As deep as JSON that was parsed: at most 128.
fn compare(from: &Map<String, Value>, to: &Map<String, Value>, at: &str, out: &mut Vec<FieldChange>) {
    let keys: std::collections::BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    for key in keys {
        let escaped = key.replace('~', "~0").replace('/', "~1");
        let field = if at.is_empty() { escaped } else { format!("{at}/{escaped}") };
        match (from.get(key), to.get(key)) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => compare(a, b, &field, out),
            (a, b) if a == b => {}
            (a, b) => out.push(FieldChange { field, from: a.cloned(), to: b.cloned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_named_as_pointers_and_what_is_not_there_is_absent() {
        let from = json!({ "a": { "b": 1, "c/d": [1], "same": { "x": null } }, "e": null });
        let to = json!({ "a": { "b": 2, "same": { "x": null }, "n~": {} }, "f": true });
        let changed: Vec<Value> = changes(&from, &to).iter().map(|c| json!(c)).collect();
        assert_eq!(
            json!(changed),
            json!([
                { "field": "a/b", "from": 1, "to": 2 },
                { "field": "a/c~1d", "from": [1] },
                { "field": "a/n~0", "to": {} },
                { "field": "e", "from": null },
                { "field": "f", "to": true },
            ])
        );
        assert!(changes(&from, &from).is_empty());
        // An object in place of something else is one change.
        assert_eq!(changes(&json!({ "m": 1 }), &json!({ "m": { "k": 1 } })).len(), 1);
    }

    /// Objects in objects, under keys that mean something to a pointer.
    fn metadata() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            (0..3_i64).prop_map(Value::from),
            "[/~]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop::collection::btree_map("[ab/~01\"\u{0}ä-]{0,3}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<Value>())
        })
    }

    proptest! {
        /// Each change is where its pointer says, and all of them lead from one to the other.
        #[test]
        fn a_field_points_to_what_changed(from in metadata(), to in metadata()) {
            let (from, to) = (json!({ "metadata": from }), json!({ "metadata": to }));
            let mut made = from.clone();
            for change in changes(&from, &to) {
                let at = format!("/{}", change.field);
                prop_assert_eq!(from.pointer(&at), change.from.as_ref());
                prop_assert_eq!(to.pointer(&at), change.to.as_ref());
                let (parent, key) = at.rsplit_once('/').unwrap();
                let key = key.replace("~1", "/").replace("~0", "~");
                let parent = made.pointer_mut(parent).unwrap().as_object_mut().unwrap();
                match change.to {
                    Some(value) => parent.insert(key, value),
                    None => parent.remove(&key),
                };
            }
            prop_assert_eq!(made, to);
        }
    }
}
