//! `[plugins.NAME.config]` as the policy uses it. The host has checked it against the schema in `plugin.toml`; it is
//! checked again here, because a policy that misreads its configuration deletes the wrong things.

use crate::json::{self, Value};

/// A hundred years: more is a typing error.
pub const DAYS_MAX: u32 = 36_500;

/// Rollup timeframes and their length in days, as far as whole days matter: shorter ones divide a day.
const TIMEFRAMES: [(&str, i64); 6] = [("5m", 1), ("15m", 1), ("1h", 1), ("4h", 1), ("1d", 1), ("1w", 7)];

const KEYS: [&str; 7] =
    ["tick_days", "bar_1m_days", "book_days", "rollups", "signal_days", "metric_days", "archive_to"];

/// How many whole days each kind of raw rows is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub tick_days: u32,
    pub bar_1m_days: u32,
    pub book_days: u32,
    /// Timeframes that one-minute bars become; kept for ever.
    pub rollups: Vec<String>,
    /// Without it, signals stay.
    pub signal_days: Option<u32>,
    /// Without it, metrics stay.
    pub metric_days: Option<u32>,
    /// A file store that rows are archived in before they go. Without it they go.
    pub archive_to: Option<String>,
}

impl Config {
    /// The configuration from its JSON, or the sentence that the operator reads.
    pub fn parse(json: &str) -> Result<Self, String> {
        let mut entries = json::object(json).map_err(|e| format!("the configuration cannot be read: {e}"))?;
        let mut take = |key: &str| entries.iter().position(|(k, _)| k == key).map(|at| entries.remove(at).1);
        let config = Self {
            tick_days: required("tick_days", days("tick_days", take("tick_days"))?)?,
            bar_1m_days: required("bar_1m_days", days("bar_1m_days", take("bar_1m_days"))?)?,
            book_days: required("book_days", days("book_days", take("book_days"))?)?,
            signal_days: days("signal_days", take("signal_days"))?,
            metric_days: days("metric_days", take("metric_days"))?,
            rollups: required("rollups", rollups(take("rollups"))?)?,
            archive_to: store("archive_to", take("archive_to"))?,
        };
        match entries.first() {
            None => Ok(config),
            Some((key, _)) if KEYS.contains(&key.as_str()) => {
                Err(format!("the configuration has `{key}` twice"))
            }
            Some((key, _)) => Err(format!("the policy knows no `{key}`; there are {}", KEYS.join(", "))),
        }
    }

    /// Days of the longest rollup: raw rows go in such steps, so that no bar is built from a part of its rows.
    pub fn step_days(&self) -> i64 {
        let length =
            |rollup: &String| TIMEFRAMES.iter().find(|(name, _)| name == rollup).map_or(1, |(_, days)| *days);
        self.rollups.iter().map(length).max().unwrap_or(1)
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("the configuration lacks `{key}`"))
}

fn days(key: &str, value: Option<Value>) -> Result<Option<u32>, String> {
    match value {
        None => Ok(None),
        Some(Value::Integer(days)) if (1..=i64::from(DAYS_MAX)).contains(&days) => {
            Ok(u32::try_from(days).ok())
        }
        Some(_) => Err(format!("`{key}` must be a whole number from 1 to {DAYS_MAX}")),
    }
}

fn store(key: &str, value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        None => Ok(None),
        Some(Value::Word(name)) if !name.is_empty() => Ok(Some(name)),
        Some(_) => Err(format!("`{key}` must be the name of a file store, such as \"archives\"")),
    }
}

fn rollups(value: Option<Value>) -> Result<Option<Vec<String>>, String> {
    let rollups = match value {
        None => return Ok(None),
        Some(Value::Words(rollups)) => rollups,
        Some(Value::Integer(_) | Value::Word(_)) => {
            return Err("`rollups` must be a list, such as [\"1h\", \"1d\"]".into());
        }
    };
    if rollups.is_empty() {
        return Err(
            "`rollups` is empty: one-minute bars would go without a trace; name at least \"1d\"".into()
        );
    }
    for (i, rollup) in rollups.iter().enumerate() {
        if !TIMEFRAMES.iter().any(|(name, _)| name == rollup) {
            let known: Vec<&str> = TIMEFRAMES.iter().map(|(name, _)| *name).collect();
            return Err(format!("`rollups` names `{rollup}`; it can hold {}", known.join(", ")));
        }
        if rollups.iter().take(i).any(|earlier| earlier == rollup) {
            return Err(format!("`rollups` names `{rollup}` twice"));
        }
    }
    Ok(Some(rollups))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] =
        [("tick_days", "2"), ("bar_1m_days", "90"), ("book_days", "2"), ("rollups", r#"["1h","1d"]"#)];

    /// The good one with another value of a key, or one more key.
    fn with(key: &str, value: &str) -> Result<Config, String> {
        let others = GOOD.into_iter().filter(|(k, _)| *k != key);
        let entries: Vec<String> =
            others.chain([(key, value)]).map(|(k, v)| format!("\"{k}\":{v}")).collect();
        Config::parse(&format!("{{{}}}", entries.join(",")))
    }

    #[test]
    fn the_example_is_right() {
        let config = with("tick_days", "2").unwrap();
        assert_eq!((config.tick_days, config.bar_1m_days, config.signal_days), (2, 90, None));
        assert_eq!((config.rollups.len(), config.step_days()), (2, 1));
        assert_eq!(with("rollups", r#"["1h","1w"]"#).unwrap().step_days(), 7);
        assert_eq!(config.archive_to, None, "without a word of it nothing is archived");
        assert_eq!(with("archive_to", "\"cold\"").unwrap().archive_to.as_deref(), Some("cold"));
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        for (key, value, words) in [
            ("tick_days", "0", "`tick_days` must be a whole number from 1 to 36500"),
            ("signal_days", "36501", "`signal_days` must be"),
            ("book_days", "-1", "`book_days` must be"),
            ("book_days", "[]", "`book_days` must be"),
            ("bar_1m_days", "1.5", "`bar_1m_days`: expected a whole number"),
            ("tik_days", "2", "knows no `tik_days`; there are tick_days, "),
            ("rollups", "1", "`rollups` must be a list"),
            ("rollups", "\"1h\"", "`rollups` must be a list"),
            ("tick_days", "\"2\"", "`tick_days` must be a whole number"),
            ("archive_to", "1", "`archive_to` must be the name of a file store"),
            ("archive_to", "\"\"", "`archive_to` must be"),
            ("archive_to", "[\"a\"]", "`archive_to` must be"),
            ("rollups", "[]", "`rollups` is empty"),
            ("rollups", r#"["1h","2h"]"#, "`rollups` names `2h`; it can hold 5m, 15m, 1h"),
            ("rollups", r#"["1d","1d"]"#, "twice"),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(error.contains(words), "{key} = {value}: {error}");
        }
        assert_eq!(Config::parse("{}").unwrap_err(), "the configuration lacks `tick_days`");
        assert!(Config::parse("").unwrap_err().contains("cannot be read"));
        assert!(with("tick_days", "2,\"tick_days\":3").unwrap_err().contains("twice"));
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        assert_eq!(with("tick_days", "1").unwrap().tick_days, 1);
        assert_eq!(with("metric_days", "36500").unwrap().metric_days, Some(DAYS_MAX));
    }
}
