//! Times as a caller writes them.

use serde::Deserialize;
use shiphold_storage::{Error, Result};

/// RFC 3339, a date, or nanoseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum When {
    Ns(i64),
    Text(String),
}

impl When {
    /// Nanoseconds since the Unix epoch; `what` names the parameter in an error.
    pub(crate) fn ns(&self, what: &str) -> Result<i64> {
        let text = match self {
            Self::Ns(ns) => return Ok(*ns),
            Self::Text(text) => text.trim(),
        };
        let wrong = || {
            Error::invalid(format!("{what}: `{}` is not a time", text.escape_debug()))
                .hint("write RFC 3339 (2026-06-26T13:30:00Z), a date, or nanoseconds since the epoch")
        };
        if let Ok(ns) = text.parse() {
            return Ok(ns);
        }
        chrono::DateTime::parse_from_rfc3339(text)
            .map(|t| t.to_utc())
            .or_else(|_| {
                text.parse::<chrono::NaiveDate>().map(|d| d.and_time(chrono::NaiveTime::MIN).and_utc())
            })
            .ok()
            .and_then(|t| t.timestamp_nanos_opt())
            .ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_write_a_time() {
        let of = |json: &str| serde_json::from_str::<When>(json).unwrap().ns("start");
        assert_eq!(of("12").unwrap(), 12);
        assert_eq!(of("\"12\"").unwrap(), 12);
        assert_eq!(of("\"1970-01-02\"").unwrap(), 86_400_000_000_000);
        assert_eq!(of("\"1970-01-01T01:00:00.5+01:00\"").unwrap(), 500_000_000);
        for bad in ["\"\"", "\"tomorrow\"", "\"1970-13-01\"", "\"9999-01-01\"", "\"99999999999999999999\""] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
