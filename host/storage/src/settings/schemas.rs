//! What the value of a key must look like: a JSON Schema ([`crate::json_schema`] says how much of it), with a history of its own.

use super::{Settings, as_of, check_name, digest};
use crate::audit::{Audit, Entry};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::json_schema;
use crate::schema::now_ns;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;
use serde_json::{Value, json};

/// Bytes of a schema as JSON.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Problems of a value that an error lists.
const PROBLEMS_MAX: usize = 20;

/// The schema of a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingSchema {
    pub namespace: String,
    pub key: String,
    /// From 1; every change adds one.
    pub version: u64,
    /// `None`: this version says that anything goes.
    pub schema: Option<Value>,
    /// Nanoseconds since the Unix epoch.
    pub set_at: i64,
    pub set_by: String,
}

impl Settings {
    /// The schema of a key; [`crate::Kind::NotFound`] when it has none.
    pub fn schema(&self, caller: &Caller, namespace: &str, key: &str) -> Result<SettingSchema> {
        caller.may_read_settings(namespace)?;
        self.db.read(|c| newest(c, namespace, key))?.filter(|s| s.schema.is_some()).ok_or_else(|| {
            Error::not_found(format!(
                "setting `{}/{}` has no schema",
                namespace.escape_debug(),
                key.escape_debug()
            ))
            .hint(
                "any value is taken for it; `shiphold settings schema NAMESPACE KEY --set FILE` gives it one",
            )
        })
    }

    /// Gives a key a schema, or takes it away. The value that is there must fit. Admin; audited.
    pub fn set_schema(
        &self,
        caller: &Caller,
        namespace: &str,
        key: &str,
        schema: Option<Value>,
    ) -> Result<SettingSchema> {
        caller.require(Scope::Admin, "change the schema of a setting")?;
        check_name("namespace", namespace)?;
        check_name("key", key)?;
        if let Some(schema) = &schema {
            let bytes = schema.to_string().len();
            if bytes > SCHEMA_BYTES_MAX {
                return Err(Error::limit(
                    format!("the schema of `{namespace}/{key}` ({bytes} bytes)"),
                    format!("{SCHEMA_BYTES_MAX} bytes"),
                    "a schema is short: split the value into several keys",
                ));
            }
            refuse(format!("the schema of `{namespace}/{key}` is refused"), json_schema::problems(schema))?;
        }
        self.db.write(|tx| {
            let old = newest(tx, namespace, key)?;
            if let (Some(schema), Some(value)) =
                (&schema, as_of(tx, namespace, key, None)?.and_then(|s| s.value))
            {
                refuse(
                    format!("the value of `{namespace}/{key}` that is there does not fit"),
                    json_schema::validate(schema, &value),
                )?;
            }
            let new = SettingSchema {
                namespace: namespace.into(),
                key: key.into(),
                version: old.as_ref().map_or(1, |o| o.version + 1),
                schema,
                set_at: now_ns(),
                set_by: caller.actor(),
            };
            tx.prepare_cached(
                "INSERT INTO setting_schemas(namespace, key, version, schema, set_at, set_by) VALUES (?1,?2,?3,?4,?5,?6)",
            )?
            .execute((
                namespace,
                key,
                new.version.cast_signed(),
                new.schema.as_ref().map(Value::to_string),
                new.set_at,
                &new.set_by,
            ))?;
            let entry = Entry::new(caller, "settings.schema", format!("setting:{namespace}/{key}"))
                .change(digest(old.and_then(|o| o.schema).as_ref()), digest(new.schema.as_ref()))
                .detail(json!({ "version": new.version }));
            Audit::append(tx, &entry)?;
            Ok(new)
        })
    }
}

/// Refuses a value that the schema of its key does not allow.
pub(super) fn fits(c: &Connection, namespace: &str, key: &str, value: &Value) -> Result<()> {
    match newest(c, namespace, key)?.and_then(|s| s.schema) {
        None => Ok(()),
        Some(schema) => refuse(
            format!("the value of `{namespace}/{key}` does not fit its schema"),
            json_schema::validate(&schema, value),
        ),
    }
}

fn refuse(what: String, problems: Vec<String>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let mut listed: Vec<String> = problems.iter().take(PROBLEMS_MAX).cloned().collect();
    if problems.len() > PROBLEMS_MAX {
        listed.push(format!("and {} more", problems.len() - PROBLEMS_MAX));
    }
    Err(Error::invalid(format!("{what}: {}", listed.join("; "))))
}

fn newest(c: &Connection, namespace: &str, key: &str) -> Result<Option<SettingSchema>> {
    Ok(c.prepare_cached(
        "SELECT version, schema, set_at, set_by FROM setting_schemas
         WHERE namespace = ?1 AND key = ?2 ORDER BY version DESC LIMIT 1",
    )?
    .query_row((namespace, key), |r| {
        let schema: Option<String> = r.get(1)?;
        Ok(SettingSchema {
            namespace: namespace.into(),
            key: key.into(),
            version: r.get::<_, i64>(0)?.unsigned_abs(),
            // What was damaged allows nothing.
            schema: schema.map(|s| serde_json::from_str(&s).unwrap_or(Value::Bool(false))),
            set_at: r.get(2)?,
            set_by: r.get(3)?,
        })
    })
    .optional()?)
}
