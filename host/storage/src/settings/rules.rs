//! What may stand in a setting.

use crate::error::{Error, Result};
use crate::names;
use serde_json::Value;

/// Bytes of a value as JSON.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a namespace or a key.
pub const NAME_BYTES_MAX: usize = 128;
/// The key of an object that stands for a secret of the manifest: `{"$secret": "NAME"}`.
const REFERENCE: &str = "$secret";
/// Names whose values are secrets, as the last part of a key: `broker.password`, `api_key`.
const SECRETIVE: [&str; 9] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "credentials",
    "apikey",
    "api_key",
    "private_key",
    "access_key",
];

pub(super) fn check_value(namespace: &str, key: &str, value: &Value) -> Result<()> {
    let bytes = value.to_string().len();
    if bytes > VALUE_BYTES_MAX {
        return Err(Error::limit(
            format!("the value of `{namespace}/{key}` ({bytes} bytes)"),
            format!("{VALUE_BYTES_MAX} bytes"),
            "store large things as files",
        ));
    }
    no_secret(&format!("{namespace}/{key}"), key, value)
}

/// Settings are backed up, audited and shown: a secret is only named in them.
fn no_secret(place: &str, name: &str, value: &Value) -> Result<()> {
    let hint = "put the secret into the environment or a file, name it in [secrets] of shiphold.toml, and store {\"$secret\": \"NAME\"} here";
    match value {
        Value::String(_) if is_secretive(name) => {
            Err(Error::invalid(format!("`{}` holds a secret in plain text", place.escape_debug())).hint(hint))
        }
        Value::Object(map) => {
            if let Some(named) = map.get(REFERENCE) {
                let ok = map.len() == 1
                    && named.as_str().is_some_and(|n| !n.is_empty() && n.len() <= NAME_BYTES_MAX);
                return match ok {
                    true => Ok(()),
                    false => Err(Error::invalid(format!(
                        "`{}` names no secret: `{REFERENCE}` stands alone in its object, with a name",
                        place.escape_debug()
                    ))
                    .hint(hint)),
                };
            }
            map.iter().try_for_each(|(k, v)| no_secret(&format!("{place}.{k}"), k, v))
        }
        Value::Array(items) => items.iter().try_for_each(|v| no_secret(place, name, v)),
        _ => Ok(()),
    }
}

fn is_secretive(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let last = name.rsplit('.').next().unwrap_or_default();
    SECRETIVE.iter().any(|s| last == *s || last.strip_suffix(s).is_some_and(|before| before.ends_with('_')))
}

pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    names::check_name(&format!("{what} of settings"), name, NAME_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_named_and_never_stored() {
        for (key, value) in [
            ("broker.password", json!("hunter2")),
            ("api-key", json!("x")),
            ("broker", json!({ "api_key": "x" })),
            ("broker", json!({ "a": [{ "Secret": "x" }] })),
            ("binance_token", json!(["x"])),
            ("broker", json!({ "$secret": "" })),
            ("broker", json!({ "$secret": 1 })),
            ("broker", json!({ "$secret": "k", "x": 1 })),
        ] {
            assert!(check_value("user", key, &value).is_err(), "{key} {value}");
        }
        for (key, value) in [
            ("broker.password", json!({ "$secret": "broker" })),
            ("token", json!(null)),
            ("tokens.per.second", json!("10")),
            ("max_token_count", json!("x")),
            ("secretary", json!("Ann")),
            ("broker", json!({ "url": "https://x", "password": { "$secret": "broker" } })),
        ] {
            assert!(check_value("user", key, &value).is_ok(), "{key} {value}");
        }
    }
}
