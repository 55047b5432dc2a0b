//! Sizes and spans of time as people write them: `64 MiB`, `250 ms`, `15 min`.

use crate::error::{Error, Result};
use std::fmt;
use std::time::Duration;

/// A number of bytes. Written with a unit: `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `kB`, `MB`,
/// `GB`, `TB` (powers of 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

/// A span of time. Written with a unit: `ns us ms s min h d w`. Calendar months are not spans: write days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

const BYTE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const SPAN_UNITS_NS: &[(&str, u64)] = &[
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

fn parse(text: &str, units: &[(&str, u64)], what: &str, example: &str) -> Result<u64> {
    let bad = |why: &str| {
        let names: Vec<&str> = units.iter().map(|(n, _)| *n).collect();
        Error::invalid(format!("`{text}` is not a {what}: {why}"))
            .hint(format!("write a whole number and a unit ({}), such as `{example}`", names.join(", ")))
    };
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| bad(if digits == 0 { "it starts with no number" } else { "the number is too large" }))?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(bad("the unit is missing"));
    }
    let factor = units
        .iter()
        .find(|(n, _)| *n == unit)
        .map(|(_, f)| *f)
        .ok_or_else(|| bad(&format!("unknown unit `{unit}`")))?;
    number.checked_mul(factor).ok_or_else(|| bad("it is too large"))
}

fn show(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    // The shortest exact form: `3 TB` rather than `2929687500 KiB`.
    match units
        .iter()
        .filter(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
        .min_by_key(|(_, factor)| value / factor)
    {
        Some((name, factor)) => write!(f, "{} {name}", value / factor),
        None => f.write_str(zero),
    }
}

impl std::str::FromStr for ByteSize {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        parse(text, BYTE_UNITS, "size", "64 MiB").map(Self)
    }
}

impl std::str::FromStr for Span {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        parse(text, SPAN_UNITS_NS, "span of time", "250 ms").map(|ns| Self(Duration::from_nanos(ns)))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, BYTE_UNITS, "0 B")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX), SPAN_UNITS_NS, "0 s")
    }
}

impl Span {
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }
    /// Whole nanoseconds; every span that can be written fits.
    pub fn as_nanos_i64(self) -> i64 {
        i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX)
    }
}

impl ByteSize {
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
}

macro_rules! serde_as_text {
    ($t:ty) => {
        impl serde::Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                text.parse().map_err(|e: Error| {
                    serde::de::Error::custom(match e.hint_text() {
                        Some(hint) => format!("{e}; {hint}"),
                        None => e.to_string(),
                    })
                })
            }
        }
    };
}
serde_as_text!(ByteSize);
serde_as_text!(Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, want) in [("64 MiB", 64 << 20), ("1GB", 1_000_000_000), ("0 B", 0), (" 7 KiB ", 7168)] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, want, "{text}");
        }
        for (text, want_ns) in [
            ("250 ms", 250_000_000),
            ("15 min", 900_000_000_000),
            ("1 w", 604_800_000_000_000),
            ("3us", 3_000),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().0.as_nanos(), want_ns, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        for text in [
            "",
            "64",
            "MiB",
            "64 mib",
            "-1 B",
            "1.5 GiB",
            "64 MiB x",
            "99999999999 TiB",
            "18446744073709551616 B",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for text in ["15", "15 m", "1 month", "1 M", "99999999999 w", "1 h 30 min"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn shows_what_it_reads() {
        for text in ["64 MiB", "1 B", "0 B", "3 TB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for text in ["250 ms", "15 min", "1 w", "0 s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
