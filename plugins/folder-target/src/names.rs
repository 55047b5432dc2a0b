//! Where a blob lies in its store.

use serde::Deserialize;

/// Bytes of a path: the store's own bound.
const PATH_BYTES_MAX: usize = 512;
/// What the name still needs behind the prefix: `data/xx/` and a digest in hexadecimal, with room.
const PREFIX_BYTES_MAX: usize = 256;

/// `[plugins.NAME.config]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A file store of the manifest.
    pub store: String,
    /// Before every name; after reading empty, or ending with a slash.
    #[serde(default)]
    pub prefix: String,
}

impl Config {
    /// The configuration from its JSON, or the sentence that the operator reads.
    pub fn parse(json: &str) -> Result<Self, String> {
        let mut config: Self =
            serde_json::from_str(json).map_err(|e| format!("the configuration cannot be read: {e}"))?;
        if config.store.is_empty() {
            return Err("`store` is empty; name a store of [files]".into());
        }
        if config.prefix.ends_with('/') {
            config.prefix.pop();
        }
        if !config.prefix.is_empty() {
            check(&config.prefix, PREFIX_BYTES_MAX).map_err(|e| format!("`prefix` {e}"))?;
            config.prefix.push('/');
        }
        Ok(config)
    }

    /// The path of a blob. The prefix cannot be left: a name has no `..`.
    pub fn path(&self, name: &str) -> Result<String, String> {
        check(name, PATH_BYTES_MAX - self.prefix.len()).map_err(|e| format!("the blob's name {e}"))?;
        Ok(format!("{}{name}", self.prefix))
    }

    /// The name of a path under the prefix.
    pub fn name<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&self.prefix).filter(|name| !name.is_empty())
    }
}

fn check(name: &str, bytes_max: usize) -> Result<(), String> {
    if name.is_empty() || name.len() > bytes_max {
        return Err(format!("must have 1 to {bytes_max} bytes, it has {}", name.len()));
    }
    if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("holds an empty segment, `.` or `..`".into());
    }
    Ok(())
}

/// What came in so far, against what was announced.
pub struct Announced {
    pub size: u64,
    pub written: u64,
}

impl Announced {
    pub fn take(&mut self, bytes: usize) -> Result<(), String> {
        let total = self.written.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if total > self.size {
            return Err(format!("{} bytes were announced; more came", self.size));
        }
        self.written = total;
        Ok(())
    }

    pub fn whole(&self) -> Result<(), String> {
        if self.written == self.size {
            Ok(())
        } else {
            Err(format!("{} bytes were announced; {} came", self.size, self.written))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let config = Config::parse(r#"{"store":"backups","prefix":"repo/"}"#).unwrap();
        assert_eq!(config.path("data/ab/abc").unwrap(), "repo/data/ab/abc");
        assert_eq!(config.name("repo/config"), Some("config"));
        assert_eq!(config.name("repo/"), None);
        assert_eq!(config.name("other/config"), None);
        let bare = Config::parse(r#"{"store":"backups"}"#).unwrap();
        assert_eq!(bare.path("config").unwrap(), "config");
        for name in ["", "/a", "a/", "../a", "a/./b", "a//b"] {
            assert!(config.path(name).is_err(), "{name:?}");
        }
        let longest = PATH_BYTES_MAX - "repo/".len();
        assert!(config.path(&"a".repeat(longest)).is_ok());
        assert!(config.path(&"a".repeat(longest + 1)).unwrap_err().contains("it has 508"));
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        for (json, words) in [
            ("{}", "missing field `store`"),
            (r#"{"store":""}"#, "`store` is empty"),
            (r#"{"store":"a","prefix":"../b"}"#, "`prefix` holds"),
            (r#"{"store":"a","other":1}"#, "unknown field `other`"),
        ] {
            let error = Config::parse(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
        let prefixed = |n: usize| Config::parse(&format!(r#"{{"store":"a","prefix":"{}"}}"#, "p".repeat(n)));
        assert!(prefixed(PREFIX_BYTES_MAX).is_ok());
        assert!(prefixed(PREFIX_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn what_was_announced_must_come() {
        let mut announced = Announced { size: 5, written: 0 };
        announced.take(3).unwrap();
        assert_eq!(announced.whole().unwrap_err(), "5 bytes were announced; 3 came");
        announced.take(2).unwrap();
        announced.whole().unwrap();
        assert!(announced.take(1).is_err());
    }
}
