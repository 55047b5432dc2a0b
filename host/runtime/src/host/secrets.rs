//! `secrets`

use super::error::{Guest, to_guest};
use crate::bindings::shiphold::host::secrets::Host;
use crate::state::State;
use shiphold_storage::{Caller, DataLayer, Error, Result};

/// Shorter values are words: blanking them out would blank out other text.
const HIDDEN_BYTES_MIN: usize = 8;

/// The value of a granted secret. A name that is not granted is refused the same whether or not there is one.
fn value(layer: &DataLayer, caller: &Caller, name: &str) -> Result<String> {
    if let Caller::Plugin { name: plugin, grants } = caller {
        if !grants.secrets.iter().any(|granted| granted == name) {
            return Err(Error::denied(format!(
                "plugin `{plugin}` has no `secrets` grant for `{}`",
                name.escape_debug()
            ))
            .hint("add the name to `grants.secrets` of the plugin in shiphold.toml"));
        }
    }
    layer.secret(name)
}

impl Host for State {
    async fn get(&mut self, name: String) -> wasmtime::Result<std::result::Result<String, Guest>> {
        let got = self.blocking(move |layer, caller, _| value(layer, caller, &name)).await?;
        if let Ok(value) = &got {
            self.gives(value.len())?;
            // A plugin that logs what it read must not put it into the history.
            self.lines.hide(value);
        }
        Ok(got.map_err(|e| to_guest(&e)))
    }
}

/// Remembers a value, and each of its lines: a log has lines. The longest first, for one can begin with another, whose end
/// would stay.
pub(crate) fn hide(hidden: &mut Vec<String>, value: &str) {
    for part in std::iter::once(value).chain(value.lines()) {
        if part.len() >= HIDDEN_BYTES_MIN && !hidden.iter().any(|h| h == part) {
            hidden.push(part.to_string());
        }
    }
    hidden.sort_by_key(|h| std::cmp::Reverse(h.len()));
}

/// A text without the secrets that a plugin read.
pub(crate) fn without(hidden: &[String], text: &str) -> String {
    let mut out = text.to_string();
    for secret in hidden {
        if out.contains(secret.as_str()) {
            out = out.replace(secret.as_str(), "[secret]");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use shiphold_storage::{Grants, Kind, Manifest};
    use std::sync::Arc;

    #[test]
    fn only_granted_names_are_read_and_each_time_anew() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "first-value\n").unwrap();
        let text = "[secrets.key]\nfile = \"key\"\n[secrets.other]\nfile = \"key\"\n";
        let manifest = Manifest::parse(text, &dir.path().join("shiphold.toml")).unwrap();
        let layer = DataLayer::open(&manifest).unwrap();
        let grants = Grants { secrets: vec!["key".into(), "gone".into()], ..Grants::default() };
        let plugin = Caller::Plugin { name: "p".into(), grants: Arc::new(grants) };
        assert_eq!(value(&layer, &plugin, "key").unwrap(), "first-value");
        std::fs::write(&file, "second-value").unwrap();
        assert_eq!(value(&layer, &plugin, "key").unwrap(), "second-value");
        // What is there and what is not are refused alike.
        let said = |name: &str| value(&layer, &plugin, name).unwrap_err();
        assert_eq!(said("other").kind(), Kind::Denied);
        assert_eq!(
            said("other").message().replace("other", "x"),
            said("none").message().replace("none", "x")
        );
        assert_eq!(said("gone").kind(), Kind::NotFound);
        assert_eq!(said("../key").kind(), Kind::Denied);
    }

    #[test]
    fn a_value_is_hidden_from_eight_bytes_on_whole_and_by_its_lines() {
        let mut hidden = Vec::new();
        for value in ["1234567", "abcdefgh", "abcdefghij", "abcdefgh", "first line\nsecond line"] {
            hide(&mut hidden, value);
        }
        assert_eq!(
            without(&hidden, "1234567 abcdefghij abcdefgh abcdefg"),
            "1234567 [secret] [secret] abcdefg"
        );
        assert_eq!(without(&hidden, "a second line b"), "a [secret] b");
        assert_eq!(without(&hidden, "first line\nsecond line"), "[secret]");
    }

    #[test]
    fn secrets_are_blanked_out() {
        let hidden = ["abcdefgh".to_string(), "12345678".to_string()];
        assert_eq!(without(&hidden, "x abcdefgh y 12345678abcdefgh"), "x [secret] y [secret][secret]");
        assert_eq!(without(&hidden, "plain"), "plain");
    }
}
