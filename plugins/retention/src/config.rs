//! `[plugins.NAME.config]` as the policy uses it. The host has checked it against the schema in `plugin.toml`; it is
//! checked again here, because a policy that misreads its configuration deletes the wrong things.

use serde::Deserialize;

/// A hundred years: more is a typing error.
pub const DAYS_MAX: u32 = 36_500;

/// Rollup timeframes and their length in days, as far as whole days matter: shorter ones divide a day.
const TIMEFRAMES: [(&str, i64); 6] = [("5m", 1), ("15m", 1), ("1h", 1), ("4h", 1), ("1d", 1), ("1w", 7)];

/// How many whole days each kind of raw rows is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
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
}

impl Config {
    /// The configuration from its JSON, or the sentence that the operator reads.
    pub fn parse(json: &str) -> Result<Self, String> {
        let config: Self =
            serde_json::from_str(json).map_err(|e| format!("the configuration is wrong: {}", plain(&e)))?;
        for (key, days) in [
            ("tick_days", Some(config.tick_days)),
            ("bar_1m_days", Some(config.bar_1m_days)),
            ("book_days", Some(config.book_days)),
            ("signal_days", config.signal_days),
            ("metric_days", config.metric_days),
        ] {
            if days.is_some_and(|d| !(1..=DAYS_MAX).contains(&d)) {
                return Err(format!("`{key}` must be from 1 to {DAYS_MAX} days"));
            }
        }
        if config.rollups.is_empty() {
            return Err(
                "`rollups` is empty: one-minute bars would go without a trace; name at least \"1d\"".into()
            );
        }
        for (i, rollup) in config.rollups.iter().enumerate() {
            if !TIMEFRAMES.iter().any(|(name, _)| name == rollup) {
                let known: Vec<&str> = TIMEFRAMES.iter().map(|(name, _)| *name).collect();
                return Err(format!("`rollups` names `{rollup}`; it can hold {}", known.join(", ")));
            }
            if config.rollups.iter().take(i).any(|earlier| earlier == rollup) {
                return Err(format!("`rollups` names `{rollup}` twice"));
            }
        }
        Ok(config)
    }

    /// Days of the longest rollup: raw rows go in such steps, so that no bar is built from a part of its rows.
    pub fn step_days(&self) -> i64 {
        let length =
            |rollup: &String| TIMEFRAMES.iter().find(|(name, _)| name == rollup).map_or(1, |(_, days)| *days);
        self.rollups.iter().map(length).max().unwrap_or(1)
    }
}

/// The parser's sentence without the place: the operator writes TOML, line and column of the JSON mean nothing to them.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.clone(), |(sentence, _)| sentence.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"tick_days":2,"bar_1m_days":90,"book_days":2,"rollups":["1h","1d"]}"#;

    fn with(key: &str, value: &str) -> Result<Config, String> {
        let mut json: serde_json::Value = serde_json::from_str(GOOD).unwrap();
        json[key] = serde_json::from_str(value).unwrap();
        Config::parse(&json.to_string())
    }

    #[test]
    fn the_example_is_right() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!((config.tick_days, config.bar_1m_days, config.signal_days), (2, 90, None));
        assert_eq!(config.step_days(), 1);
        assert_eq!(with("rollups", r#"["1h","1w"]"#).unwrap().step_days(), 7);
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        for (key, value, words) in [
            ("tick_days", "0", "`tick_days` must be from 1 to 36500 days"),
            ("signal_days", "36501", "`signal_days`"),
            ("book_days", "-1", "invalid value: integer `-1`"),
            ("bar_1m_days", "1.5", "invalid type: floating point `1.5`"),
            ("tik_days", "2", "unknown field `tik_days`, expected one of `tick_days`"),
            ("rollups", "[]", "`rollups` is empty"),
            ("rollups", r#"["1h","2h"]"#, "`rollups` names `2h`; it can hold 5m, 15m, 1h"),
            ("rollups", r#"["1d","1d"]"#, "twice"),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(error.contains(words), "{key} = {value}: {error}");
            assert!(!error.contains("at line"), "{error}");
        }
        assert!(Config::parse("{}").unwrap_err().contains("missing field `tick_days`"));
        assert!(Config::parse("").unwrap_err().contains("configuration is wrong"));
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        assert_eq!(with("tick_days", "1").unwrap().tick_days, 1);
        assert_eq!(with("metric_days", "36500").unwrap().metric_days, Some(DAYS_MAX));
    }
}
