//! What a line says of itself: its time and its level, where it has them.

use super::types::Level;
use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;

/// Keys under which libraries write the time of a line.
const TIME_KEYS: [&str; 4] = ["time", "timestamp", "ts", "@timestamp"];
const LEVEL_KEYS: [&str; 4] = ["level", "severity", "lvl", "levelname"];
/// Words of a plain line among which its level is looked for.
const WORDS: usize = 6;

/// A line on its way into a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) time: i64,
    pub(super) level: Option<Level>,
    pub(super) text: String,
    pub(super) cut: bool,
    pub(super) replaced: bool,
}

/// Reads a line of at most `max` bytes, which came at `now`; `None` of an empty one.
pub(super) fn read(bytes: &[u8], max: usize, now: i64) -> Option<Line> {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.is_empty() {
        return None;
    }
    let whole = bytes.len() <= max;
    // Before it is looked at: a line of any length costs no more than a long one.
    let kept = bytes.get(..max).unwrap_or(bytes);
    // A character that is cut through is no error of the sender.
    let kept = if whole { kept } else { kept.get(..boundary(kept)).unwrap_or(kept) };
    let text = String::from_utf8_lossy(kept);
    let replaced = matches!(text, std::borrow::Cow::Owned(_));
    let (time, level) = match text.as_bytes().first() {
        Some(b'{') if whole => of_json(&text),
        _ => of_text(&text),
    };
    let mut text = text.into_owned();
    if !whole {
        text.push_str(&format!("…[cut {} bytes]", bytes.len() - kept.len()));
    }
    Some(Line { time: time.unwrap_or(now), level, text, cut: !whole, replaced })
}

/// Where the last whole character of a text that was cut ends.
fn boundary(bytes: &[u8]) -> usize {
    let last = bytes.iter().rev().take(4).position(|b| b & 0xc0 != 0x80);
    let Some(start) = last.map(|back| bytes.len() - 1 - back) else { return bytes.len() };
    match std::str::from_utf8(bytes.get(start..).unwrap_or_default()) {
        Err(e) if e.error_len().is_none() => start,
        _ => bytes.len(),
    }
}

fn of_json(text: &str) -> (Option<i64>, Option<Level>) {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else { return of_text(text) };
    let time = TIME_KEYS.iter().find_map(|k| fields.get(*k)).and_then(|v| match v {
        Value::String(s) => time_of(s),
        Value::Number(n) => n.as_i64().and_then(by_size).or_else(|| n.as_f64().and_then(seconds)),
        _ => None,
    });
    let level = LEVEL_KEYS.iter().find_map(|k| fields.get(*k)).and_then(|v| match v {
        Value::String(s) => Level::of(s),
        // Of Python's and bunyan's numbers.
        Value::Number(n) => match n.as_i64()? {
            10 => Some(Level::Debug),
            20 => Some(Level::Info),
            30 => Some(Level::Warn),
            40 => Some(Level::Error),
            50.. => Some(Level::Fatal),
            _ => None,
        },
        _ => None,
    });
    (time, level)
}

fn of_text(text: &str) -> (Option<i64>, Option<Level>) {
    let mut words = text.split_whitespace();
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let clean = |word: &str| {
        word.trim_matches(|c: char| matches!(c, '[' | ']' | '(' | ')' | ':' | ',' | '|')).to_string()
    };
    let time = time_of(&clean(first)).or_else(|| time_of(&format!("{} {}", clean(first), clean(second))));
    let level = text.split_whitespace().take(WORDS).find_map(|w| Level::of(&clean(w)));
    (time, level)
}

/// A time with a zone, or without one in UTC; a comma before the fraction, too.
fn time_of(text: &str) -> Option<i64> {
    // The longest has nine digits of a fraction and a zone.
    if !(19..=40).contains(&text.len()) {
        return None;
    }
    let text = text.replace(',', ".");
    if let Ok(time) = DateTime::parse_from_rfc3339(&text) {
        return time.timestamp_nanos_opt();
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok())
        .and_then(|time| time.and_utc().timestamp_nanos_opt())
}

/// A whole number of seconds, milliseconds, microseconds or nanoseconds: no other unit makes it a time between 1973 and 2286.
fn by_size(n: i64) -> Option<i64> {
    let unit = match n {
        100_000_000..10_000_000_000 => 1_000_000_000,
        100_000_000_000..10_000_000_000_000 => 1_000_000,
        100_000_000_000_000..10_000_000_000_000_000 => 1_000,
        100_000_000_000_000_000.. => 1,
        _ => return None,
    };
    n.checked_mul(unit)
}

#[allow(clippy::cast_possible_truncation)] // It is within what nanoseconds can say.
fn seconds(n: f64) -> Option<i64> {
    (1e8..9e9).contains(&n).then(|| n.trunc() as i64 * 1_000_000_000 + (n.fract() * 1e9).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 42;
    const T: i64 = 1_764_235_805_250_000_000;

    fn of(text: &str) -> (i64, Option<Level>) {
        let line = read(text.as_bytes(), 1000, NOW).unwrap();
        assert_eq!(line.text, text);
        assert!(!line.cut && !line.replaced);
        (line.time, line.level)
    }

    #[test]
    fn times_and_levels_that_libraries_write() {
        use Level::*;
        for (text, want) in [
            (r#"{"time":"2025-11-27T09:30:05.250Z","level":"INFO","msg":"x"}"#, (T, Some(Info))),
            (r#"{"ts":1764235805250,"severity":"Warning"}"#, (T, Some(Warn))),
            (r#"{"timestamp":1764235805.25,"level":40}"#, (T, Some(Error))),
            (r#"{"@timestamp":1764235805250000000}"#, (T, None)),
            (r#"{"ts":1764235805250000}"#, (T, None)),
            (r#"{"level":"critical"}"#, (NOW, Some(Fatal))),
            ("2025-11-27T10:30:05.250+01:00 ERROR order refused", (T, Some(Error))),
            ("2025-11-27 09:30:05,250 - trader - DEBUG - tick", (T, Some(Debug))),
            ("[2025-11-27T09:30:05.250Z] [warn] slow", (T, Some(Warn))),
            ("nothing of this is a time", (NOW, None)),
            ("{not json at all", (NOW, None)),
            (r#"{"time":{"a":1},"level":["x"]}"#, (NOW, None)),
            (r#"{"time":1e300,"level":7}"#, (NOW, None)),
        ] {
            assert_eq!(of(text), want, "{text}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters_and_marked() {
        let line = read("a".repeat(100).as_bytes(), 100, NOW).unwrap();
        assert_eq!((line.text.len(), line.cut), (100, false));
        let line = read("a".repeat(101).as_bytes(), 100, NOW).unwrap();
        assert_eq!((line.text, line.cut), (format!("{}…[cut 1 bytes]", "a".repeat(100)), true));
        let line = read("ä".repeat(60).as_bytes(), 101, NOW).unwrap();
        assert_eq!(line.text, format!("{}…[cut 20 bytes]", "ä".repeat(50)));
        assert!(!line.replaced);
        let line = read(b"\xff\xfe bytes", 100, NOW).unwrap();
        assert!(line.replaced && line.text.ends_with(" bytes"));
        assert_eq!(read(b"\r", 100, NOW), None);
        assert_eq!(read(b"x\r", 100, NOW).unwrap().text, "x");
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics_or_is_longer_than_it_may_be(bytes: Vec<u8>, max in 1_usize..64) {
            if let Some(line) = read(&bytes, max, NOW) {
                // Each byte that is no UTF-8 is replaced by three.
                proptest::prop_assert!(line.text.len() <= 3 * max + 40);
            }
        }
    }
}
