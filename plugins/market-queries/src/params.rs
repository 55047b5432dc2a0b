//! What a caller gives a query. The host has checked names and types against `describe`; what a value may be is checked here.

use serde::Deserialize;

const SYMBOL_CHARS_MAX: usize = 64;
/// Digits of a timeframe's number.
const COUNT_DIGITS_MAX: usize = 5;
const UNITS: [&str; 6] = ["s", "m", "h", "d", "w", "mo"];

/// The parameters of every query; each has its own, the others stay away.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    pub symbol: String,
    /// Nanoseconds since the epoch; in the range.
    pub start: Option<i64>,
    /// Not in the range.
    pub end: Option<i64>,
    /// Nanoseconds.
    pub every: Option<i64>,
    /// Nanoseconds.
    pub tolerance: Option<i64>,
    pub timeframe: Option<String>,
    pub window: Option<i64>,
    pub periods_per_year: Option<f64>,
    pub calendar: Option<String>,
}

impl Params {
    pub fn parse(json: &str) -> Result<Self, String> {
        let params: Self =
            serde_json::from_str(json).map_err(|e| format!("the parameters cannot be read: {e}"))?;
        // The symbol becomes part of a measurement, and there a `*` would stand for every other symbol.
        if !is_visible(&params.symbol, SYMBOL_CHARS_MAX) || params.symbol.contains('*') {
            return Err(format!("`symbol` must be 1 to {SYMBOL_CHARS_MAX} visible characters without `*`"));
        }
        if params.start.zip(params.end).is_some_and(|(start, end)| start > end) {
            return Err("`start` is after `end`".into());
        }
        Ok(params)
    }

    /// The timeframe of a measurement's name, in the spelling of the host.
    pub fn timeframe(&self) -> Result<&str, String> {
        let timeframe = given("timeframe", self.timeframe.as_deref())?;
        let digits = timeframe.bytes().take_while(u8::is_ascii_digit).count();
        let unit = timeframe.get(digits..).unwrap_or_default();
        if (1..=COUNT_DIGITS_MAX).contains(&digits) && !timeframe.starts_with('0') && UNITS.contains(&unit) {
            return Ok(timeframe);
        }
        let timeframe = timeframe.escape_debug();
        Err(format!("`timeframe`: `{timeframe}` is none; write such as `1m`, `4h`, `1d`"))
    }
}

/// The value of a parameter that has a default; the host fills it in.
pub fn given<T>(name: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("the parameter `{name}` is missing"))
}

/// Neither empty nor longer than that, and nothing in it that does not show.
pub fn is_visible(text: &str, chars_max: usize) -> bool {
    (1..=chars_max).contains(&text.chars().count())
        && text.chars().all(|c| c.is_ascii_graphic() || c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(symbol: &str) -> Result<Params, String> {
        Params::parse(&serde_json::json!({ "symbol": symbol }).to_string())
    }

    #[test]
    fn symbols_name_one_symbol() {
        for good in ["A", "BRK.B", "BTC/USD", "ES=F", "ÖMV", &"A".repeat(64)] {
            assert_eq!(symbol(good).unwrap().symbol, good);
        }
        for bad in ["", "*", "A*", "A B", "A\n", "A\u{200b}", "\u{7f}", &"A".repeat(65)] {
            let error = symbol(bad).unwrap_err();
            assert_eq!(error, "`symbol` must be 1 to 64 visible characters without `*`", "{bad:?}");
        }
        assert!(Params::parse("{}").unwrap_err().contains("`symbol`"));
    }

    #[test]
    fn timeframes_cannot_be_patterns() {
        let params = |t: &str| Params { timeframe: Some(t.into()), ..Params::default() };
        for good in ["1s", "1m", "15m", "4h", "1d", "1w", "1mo", "86400s"] {
            assert_eq!(params(good).timeframe(), Ok(good));
        }
        for bad in ["", "d", "1", "01d", "*", "1*", "1d.X", "1 d", "1y", "123456s", "1ö"] {
            assert!(params(bad).timeframe().unwrap_err().contains("is none"), "{bad}");
        }
        assert_eq!(Params::default().timeframe().unwrap_err(), "the parameter `timeframe` is missing");
    }

    #[test]
    fn ranges_and_unknown_parameters() {
        let of = |more: &str| Params::parse(&format!("{{\"symbol\":\"A\"{more}}}"));
        assert_eq!(of(",\"start\":5,\"end\":5").unwrap().end, Some(5));
        assert_eq!(of(",\"start\":6,\"end\":5").unwrap_err(), "`start` is after `end`");
        assert_eq!(of(",\"periods_per_year\":252").unwrap().periods_per_year, Some(252.0));
        for bad in [",\"x\":1", ",\"window\":1.5", ",\"start\":\"2026\"", ","] {
            assert!(of(bad).unwrap_err().starts_with("the parameters cannot be read"), "{bad}");
        }
    }
}
