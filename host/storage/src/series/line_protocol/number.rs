//! Numbers of line protocol: exact, and quick for the short decimals of prices.

use super::rows::Cell;
use crate::series::{Decimal, SCALE_MAX};
use std::borrow::Cow;

pub(super) const INVALID_NUMBER: &str = "invalid number";
pub(super) const INVALID_FLOAT: &str = "invalid float";
pub(super) const INVALID_BOOLEAN: &str = "invalid boolean";

/// Decimal digits that always fit a `u64`.
const U64_DIGITS: usize = 19;
/// Decimal digits that always fit an `i64`.
const I64_DIGITS: usize = 18;
/// Whole numbers up to here are floats without rounding.
const EXACT_MAX: u64 = 1 << 53;

/// Powers of ten that are floats without rounding.
pub(in crate::series) const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Reads the number that begins at `at` and says where it ends, if it is a short one: an integer that surely
/// fits, or a decimal whose digits and power of ten are both exact, so that one division rounds right.
pub(super) fn short<'a>(bytes: &[u8], at: usize) -> Option<(Cell<'a>, usize)> {
    let mut i = at;
    let negative = bytes.get(i) == Some(&b'-');
    i += usize::from(negative);
    let first = i;
    let mut digits: u64 = 0;
    while let Some(d) = digit(bytes, i) {
        digits = digits.wrapping_mul(10).wrapping_add(d);
        i += 1;
    }
    let whole = i - first;
    match bytes.get(i) {
        Some(b'.') => {
            i += 1;
            let point = i;
            while let Some(d) = digit(bytes, i) {
                digits = digits.wrapping_mul(10).wrapping_add(d);
                i += 1;
            }
            let decimals = i - point;
            if whole + decimals == 0 || whole + decimals > U64_DIGITS || digits > EXACT_MAX {
                return None;
            }
            let value = digits as f64 / POWERS.get(decimals)?;
            Some((Cell::Float(if negative { -value } else { value }), i))
        }
        Some(b'i') if (1..=I64_DIGITS).contains(&whole) => {
            let value = i64::try_from(digits).ok()?;
            Some((Cell::Integer(if negative { -value } else { value }), i + 1))
        }
        Some(b'u') if (1..=U64_DIGITS).contains(&whole) && !negative => Some((Cell::Unsigned(digits), i + 1)),
        _ if (1..=U64_DIGITS).contains(&whole) && digits <= EXACT_MAX => {
            let value = digits as f64;
            Some((Cell::Float(if negative { -value } else { value }), i))
        }
        _ => None,
    }
}

fn digit(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10).map(u64::from)
}

/// Reads a whole token as a number.
pub(super) fn token<'a>(token: &[u8]) -> Result<Cell<'a>, Cow<'static, str>> {
    if let Some((cell, end)) = short(token, 0) {
        if end == token.len() {
            return Ok(cell);
        }
    }
    let number = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit) && !bytes.is_empty();
    // Only digits, signs, points and exponents reach the parsers of the standard library, so this is ASCII.
    let text = std::str::from_utf8(token).map_err(|_| INVALID_NUMBER)?;
    let unsigned = token.strip_prefix(b"-").unwrap_or(token);
    if let Some(digits) = unsigned.strip_suffix(b"i") {
        let text = text.trim_end_matches('i');
        return match text.parse() {
            Ok(value) if number(digits) => Ok(Cell::Integer(value)),
            Err(_) if number(digits) => Err(out_of_range("integer", "ParseInt", text)),
            _ => Err(INVALID_NUMBER.into()),
        };
    }
    if let Some(digits) = token.strip_suffix(b"u") {
        let text = text.trim_end_matches('u');
        return match text.parse() {
            Ok(value) if number(digits) => Ok(Cell::Unsigned(value)),
            Err(_) if number(digits) => Err(out_of_range("unsigned", "ParseUint", text)),
            _ => Err(INVALID_NUMBER.into()),
        };
    }
    let scientific = unsigned.iter().any(|b| matches!(b, b'e' | b'E'));
    let plain = unsigned.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let begins = unsigned.first().is_some_and(|b| b.is_ascii_digit() || *b == b'.');
    if !plain || !begins || unsigned.iter().filter(|b| **b == b'.').count() > 1 {
        return Err(INVALID_NUMBER.into());
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Cell::Float(value)),
        Ok(_) => Err(INVALID_FLOAT.into()),
        Err(_) if scientific => Err(INVALID_FLOAT.into()),
        Err(_) => Err(INVALID_NUMBER.into()),
    }
}

/// Reads the number that begins at `at` as units of a scale and says where it ends, if it is a short one that fits.
pub(super) fn units(bytes: &[u8], at: usize, scale: u8) -> Option<(i64, usize)> {
    let mut i = at;
    let negative = bytes.get(i) == Some(&b'-');
    i += usize::from(negative);
    let (first, mut units, mut point) = (i, 0_i64, None);
    loop {
        match (bytes.get(i), digit(bytes, i)) {
            (_, Some(d)) => units = units.wrapping_mul(10).wrapping_add(d.cast_signed()),
            (Some(b'.'), _) if point.is_none() => point = Some(i),
            _ => break,
        }
        i += 1;
    }
    let behind = point.map_or(0, |point| i - point - 1);
    let digits = i - first - usize::from(point.is_some());
    let more = usize::from(scale.min(SCALE_MAX)).checked_sub(behind)?;
    if digits == 0 || digits + more > I64_DIGITS {
        return None;
    }
    let units = units.checked_mul(10_i64.pow(u32::try_from(more).ok()?))?;
    Some((if negative { -units } else { units }, i))
}

/// [`token`] in a field that is a decimal. What is no number of its scale stays the text that it is, and is refused with its row.
pub(super) fn decimal<'a>(text: &'a [u8], scale: u8) -> Result<Cell<'a>, Cow<'static, str>> {
    match token(text)? {
        Cell::Float(_) | Cell::Integer(_) | Cell::Unsigned(_) => {
            // A token that is a number is ASCII.
            let text = std::str::from_utf8(text).map_err(|_| INVALID_NUMBER)?;
            let number = text.trim_end_matches(['i', 'u']);
            Ok(match Decimal::read(number, scale) {
                Ok(d) => Cell::Decimal(d.units, scale),
                Err(_) => Cell::Text(number.into()),
            })
        }
        cell => Ok(cell),
    }
}

fn out_of_range(what: &str, parser: &str, text: &str) -> Cow<'static, str> {
    format!("unable to parse {what} {text}: strconv.{parser}: parsing \"{text}\": value out of range").into()
}

/// Reads a whole token as a boolean.
pub(super) fn boolean<'a>(token: &[u8]) -> Result<Cell<'a>, Cow<'static, str>> {
    match token {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok(Cell::Boolean(true)),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok(Cell::Boolean(false)),
        _ => Err(INVALID_BOOLEAN.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(text: &str) -> f64 {
        match token(text.as_bytes()) {
            Ok(Cell::Float(v)) => v,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_no_number_says_why() {
        for (text, why) in [
            ("", INVALID_NUMBER),
            ("-", INVALID_NUMBER),
            (".", INVALID_NUMBER),
            ("-.", INVALID_NUMBER),
            ("1.1.1", INVALID_NUMBER),
            ("1x", INVALID_NUMBER),
            ("NaN", INVALID_NUMBER),
            ("nan", INVALID_NUMBER),
            ("-inf", INVALID_NUMBER),
            ("1e400", INVALID_FLOAT),
            ("1e", INVALID_FLOAT),
            ("1i1", INVALID_NUMBER),
            ("i", INVALID_NUMBER),
            ("-i", INVALID_NUMBER),
            ("1.5i", INVALID_NUMBER),
            ("1ii", INVALID_NUMBER),
            ("-1u", INVALID_NUMBER),
            ("1uu", INVALID_NUMBER),
            ("--1", INVALID_NUMBER),
            ("1\u{e9}", INVALID_NUMBER),
        ] {
            assert_eq!(token(text.as_bytes()).unwrap_err(), why, "{text}");
        }
        for text in ["9223372036854775808i", "-9223372036854775809i", "18446744073709551616u"] {
            assert!(token(text.as_bytes()).unwrap_err().contains("value out of range"), "{text}");
        }
    }

    #[test]
    fn the_ends_of_the_ranges_are_read() {
        assert_eq!(token(b"9223372036854775807i"), Ok(Cell::Integer(i64::MAX)));
        assert_eq!(token(b"-9223372036854775808i"), Ok(Cell::Integer(i64::MIN)));
        assert_eq!(token(b"18446744073709551615u"), Ok(Cell::Unsigned(u64::MAX)));
        for text in ["1.", ".5", "-.5", "1e3", "1E-3", "1e+3", "007", "-0", "9007199254740993", "5e-324"] {
            assert_eq!(float(text).to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
    }

    #[test]
    fn decimals_are_read_from_their_digits() {
        for (text, scale, want) in [
            ("101.25", 2, Cell::Decimal(10_125, 2)),
            ("101.25", 4, Cell::Decimal(1_012_500, 4)),
            ("101", 2, Cell::Decimal(10_100, 2)),
            ("-101i", 2, Cell::Decimal(-10_100, 2)),
            ("101u", 2, Cell::Decimal(10_100, 2)),
            ("1.0125e2", 2, Cell::Decimal(10_125, 2)),
            ("92233720368547758.07", 2, Cell::Decimal(i64::MAX, 2)),
            ("-92233720368547758.08", 2, Cell::Decimal(i64::MIN, 2)),
            ("92233720368547758.08", 2, Cell::Text("92233720368547758.08".into())),
            ("1.2300000000000000000001", 2, Cell::Text("1.2300000000000000000001".into())),
            ("92233720368547759i", 2, Cell::Text("92233720368547759".into())),
            ("1e-3", 2, Cell::Text("1e-3".into())),
        ] {
            assert_eq!(decimal(text.as_bytes(), scale), Ok(want), "{text}");
        }
        for text in ["NaN", "-inf", "1.2.3", "1e400", "1.5i", ""] {
            assert_eq!(decimal(text.as_bytes(), 2), token(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn the_quick_way_to_units_is_the_exact_one(text in "-?[0-9]{0,20}(\\.[0-9]{0,20})?", scale in 0_u8..=18) {
            if let Some((units, end)) = units(text.as_bytes(), 0, scale) {
                prop_assert_eq!(end, text.len());
                prop_assert_eq!(Decimal::read(&text, scale), Ok(Decimal { units, scale }));
            }
        }

        #[test]
        fn floats_are_those_of_the_standard_library(
            text in "-?[0-9]{1,20}(\\.[0-9]{0,24})?([eE][+-]?[0-9]{1,2})?"
        ) {
            prop_assert_eq!(float(&text).to_bits(), text.parse::<f64>().unwrap().to_bits());
        }

        #[test]
        fn prices_are_exact(cents in -10_000_000_i64..10_000_000, decimals in 0_usize..9) {
            let text = format!("{:.decimals$}", cents as f64 / 100.0);
            prop_assert_eq!(float(&text).to_bits(), text.parse::<f64>().unwrap().to_bits());
            let shown = format!("{}", cents as f64 / 100.0);
            prop_assert_eq!(float(&shown), cents as f64 / 100.0);
        }

        #[test]
        fn no_token_panics(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let _ = (token(&bytes), boolean(&bytes));
        }
    }
}
