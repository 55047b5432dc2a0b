//! `plugin.toml`: what a plugin says of itself, embedded in its component as the custom section `shiphold:plugin`.
//!
//! ```toml
//! name = "retention"
//! version = "0.1.0"
//! world = "retention-policy"
//! description = "…"
//!
//! [grants]            # as in shiphold.toml: what the plugin asks for
//! clock = true
//! [grants.series]
//! read = ["*/*"]
//! [reasons]           # one for each grant
//! clock = "to …"
//! "series.read" = "to …"
//! [config]            # the JSON Schema of [plugins.NAME.config]
//! type = "object"
//! ```

use crate::text::printable;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shiphold_storage::{Error, Grants, Result};
use std::collections::BTreeMap;

/// The custom section that holds it.
pub const SECTION: &str = "shiphold:plugin";
/// Bytes of the section.
pub const DESCRIPTOR_BYTES_MAX: usize = 64 << 10;

/// A plugin's own description.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    pub name: String,
    pub version: String,
    pub world: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub grants: Asked,
    /// Why each grant is wanted, by its key: `series.read`.
    #[serde(default)]
    pub reasons: BTreeMap<String, String>,
    /// JSON Schema of the configuration.
    #[serde(default)]
    pub config: Value,
}

/// The grants that a plugin asks for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    pub series: AskedSeries,
    pub settings: AskedNames,
    pub skills: AskedSkills,
    pub state: AskedNames,
    pub trades: AskedNames,
    pub logs: AskedReads,
    pub commits: bool,
    pub files: AskedFiles,
    pub http: Vec<String>,
    pub secrets: Vec<String>,
    pub clock: bool,
    pub random: bool,
    pub wasi: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AskedSeries {
    pub read: Vec<String>,
    pub write: Vec<String>,
    pub drop: Vec<String>,
}

/// Patterns of names: namespaces, strategies, accounts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AskedNames {
    pub read: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<String>,
}

/// Patterns of names of what is only read: streams.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AskedReads {
    pub read: Vec<String>,
}

/// `skills = true`, or a table.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged, expecting = "`skills` is true, or a table with `read = true` and `write = [\"NAME*\"]`")]
pub enum AskedSkills {
    Read(bool),
    Of(AskedOfSkills),
}

impl Default for AskedSkills {
    fn default() -> Self {
        Self::Read(false)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AskedOfSkills {
    pub read: bool,
    pub write: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AskedFiles {
    pub read: Vec<String>,
    pub write: Vec<String>,
    pub delete: Vec<String>,
}

impl Descriptor {
    /// Parses the section's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > DESCRIPTOR_BYTES_MAX {
            return Err(Error::limit(
                "the component's plugin.toml",
                format!("{DESCRIPTOR_BYTES_MAX} bytes"),
                "shorten it",
            ));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::invalid("the component's plugin.toml is not UTF-8"))?;
        let wrong = |what: String| {
            Error::invalid(format!("the component's plugin.toml: {what}"))
                .hint("docs/plugins.md describes it")
        };
        let it: Self = toml::from_str(text).map_err(|e| wrong(printable(e.message(), MESSAGE_BYTES_MAX)))?;
        // It is shown to people before they trust it: nothing in it may look like something else.
        let all = serde_json::to_value(&it).map_err(|e| wrong(e.to_string()))?;
        match hidden(&all) {
            Some(text) => {
                Err(wrong(format!("`{}` has a control character", printable(text, MESSAGE_BYTES_MAX))))
            }
            None => Ok(it),
        }
    }

    /// What it asks for, in the form in which grants are compared.
    pub fn asked(&self) -> Grants {
        let g = self.grants.clone();
        let skills = match g.skills {
            AskedSkills::Read(read) => AskedOfSkills { read, write: Vec::new() },
            AskedSkills::Of(skills) => skills,
        };
        Grants {
            series_read: g.series.read,
            series_write: g.series.write,
            series_drop: g.series.drop,
            settings_read: g.settings.read,
            settings_write: g.settings.write,
            skills_read: skills.read,
            skills_write: skills.write,
            state_read: g.state.read,
            state_write: g.state.write,
            trades_read: g.trades.read,
            trades_write: g.trades.write,
            logs_read: g.logs.read,
            commits: g.commits,
            files_read: g.files.read,
            files_write: g.files.write,
            files_delete: g.files.delete,
            http: g.http,
            secrets: g.secrets,
            clock: g.clock,
            random: g.random,
            wasi: g.wasi,
            overwrite: false,
        }
    }
}

/// Bytes of an error's own words.
const MESSAGE_BYTES_MAX: usize = 500;

/// The first text, key or value, that would not print as it is.
fn hidden(value: &Value) -> Option<&str> {
    let bad = |s: &&str| printable(&s.replace('\n', " "), usize::MAX) != s.replace('\n', " ");
    match value {
        Value::String(s) => Some(s.as_str()).filter(bad),
        Value::Array(items) => items.iter().find_map(hidden),
        Value::Object(map) => {
            map.iter().find_map(|(key, v)| Some(key.as_str()).filter(bad).or_else(|| hidden(v)))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documentation_is_read() {
        let d = Descriptor::parse(
            b"name='r'\nversion='0.1.0'\nworld='retention-policy'\n[grants]\nclock=true\n[grants.series]\nread=['*/*']\n[reasons]\n'series.read'='to look'\n[config]\ntype='object'",
        )
        .unwrap();
        assert!(d.asked().clock);
        assert_eq!(d.asked().series_read, ["*/*"]);
        assert_eq!(d.reasons["series.read"], "to look");
        assert_eq!(d.config["type"], "object");
    }

    #[test]
    fn skills_are_asked_for_in_two_ways() {
        let of = |grants: &str| {
            Descriptor::parse(format!("name='a'\nversion='1'\nworld='w'\n[grants]\n{grants}").as_bytes())
        };
        let asked = |grants: &str| of(grants).unwrap().asked();
        assert!(asked("skills = true").skills_read);
        let write = asked("commits = true\nskills = { write = ['a.*'] }\nsettings = { write = ['live'] }");
        assert!(write.commits && !write.skills_read);
        assert_eq!(
            (write.skills_write, write.settings_write),
            (vec!["a.*".to_string()], vec!["live".to_string()])
        );
        assert!(asked("skills = { read = true }").skills_read);
        let state = asked("state = { read = ['*'], write = ['a'] }");
        assert_eq!((state.state_read, state.state_write), (vec!["*".to_string()], vec!["a".to_string()]));
        let trades = asked("trades = { read = ['paper-*'], write = ['paper-1'] }");
        assert_eq!(
            (trades.trades_read, trades.trades_write),
            (vec!["paper-*".to_string()], vec!["paper-1".to_string()])
        );
        assert_eq!(asked("logs = { read = ['trader'] }").logs_read, ["trader"]);
        assert!(of("logs = { write = ['trader'] }").is_err());
        assert_eq!(asked(""), Grants::default());
        for bad in [
            "skills = 1",
            "skills = { wite = ['a'] }",
            "skills = ['a']",
            "state = true",
            "trades = ['a']",
            "commits = ['a']",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(of("skills = 1").unwrap_err().message().contains("or a table"), "{:?}", of("skills = 1"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for bad in [
            &b"\xff"[..],
            b"name = 1",
            b"name='a'\nversion='1'\nworld='w'\nextra=1",
            b"name='a'",
            b"name='a'\nversion='1'\nworld='w'\ndescription=\"\\u001b[2J\"",
            b"name='a'\nversion='1'\nworld='w'\n[reasons]\n\"a\\u202e\"='b'",
            &vec![b' '; DESCRIPTOR_BYTES_MAX + 1],
        ] {
            assert!(Descriptor::parse(bad).is_err());
        }
        let mut long = b"name='a'\nversion='1'\nworld='w'\n".to_vec();
        long.resize(DESCRIPTOR_BYTES_MAX, b'\n');
        assert!(Descriptor::parse(&long).is_ok());
    }
}
