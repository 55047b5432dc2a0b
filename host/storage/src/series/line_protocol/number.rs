//! Numbers of line protocol. A short decimal is parsed exactly without the general algorithm: a mantissa below 2⁵³
//! and a power of ten up to 10²² are both exact floats, so one division rounds once, which is what `str::parse` gives.

use super::{Parsed, Why};

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22,
];
/// Integers below this are exact floats.
const EXACT_MAX: u64 = 1 << 53;
/// Digits of a mantissa that cannot overflow.
const DIGITS_MAX: usize = 18;

/// A float, or an integer with its suffix `i` or `u`.
pub(super) fn parse(text: &[u8]) -> Result<Parsed<'_>, Why> {
    if let Some(v) = short_decimal(text) {
        return Ok(Parsed::Float(v));
    }
    let all = std::str::from_utf8(text).map_err(|_| Why::from("invalid number"))?;
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if let Some(t) = all.strip_suffix('i') {
        if !digits(t.strip_prefix(['-', '+']).unwrap_or(t)) {
            return Err("invalid number".into());
        }
        return t.parse().map(Parsed::Integer).map_err(|_| format!("unable to parse integer {t}: strconv.ParseInt: parsing \"{t}\": value out of range").into());
    }
    if let Some(t) = all.strip_suffix('u') {
        if !digits(t) {
            return Err("invalid number".into());
        }
        return t.parse().map(Parsed::Unsigned).map_err(|_| format!("unable to parse unsigned {t}: strconv.ParseUint: parsing \"{t}\": value out of range").into());
    }
    // `str::parse` also takes `inf` and `nan`, which cannot be stored.
    let plain = all.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    match all.parse::<f64>() {
        Ok(v) if plain && v.is_finite() => Ok(Parsed::Float(v)),
        Ok(_) if plain => Err("invalid float".into()),
        _ => Err("invalid number".into()),
    }
}

/// `-12.34`: no exponent, few digits.
fn short_decimal(text: &[u8]) -> Option<f64> {
    let (negative, rest) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if rest.is_empty() || rest.len() > DIGITS_MAX + 1 {
        return None;
    }
    let mut mantissa = 0_u64;
    let mut point = None;
    for (i, b) in rest.iter().enumerate() {
        match b {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(b - b'0'),
            b'.' if point.is_none() => point = Some(i),
            _ => return None,
        }
    }
    let digits = rest.len() - usize::from(point.is_some());
    if digits == 0 || digits > DIGITS_MAX || mantissa >= EXACT_MAX {
        return None;
    }
    let value = match point {
        None => mantissa as f64,
        Some(at) => mantissa as f64 / POWERS.get(rest.len() - at - 1)?,
    };
    Some(if negative { -value } else { value })
}

/// An integer in the body's unit, as nanoseconds.
pub(super) fn timestamp(text: &[u8], unit_ns: i64) -> Result<i64, Why> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err("bad timestamp".into());
    }
    let out = || Why::from(format!("time outside range {} - {}", super::TIME_MIN_NS, super::TIME_MAX_NS));
    let mut value = 0_i64;
    for b in digits {
        value = value.checked_mul(10).and_then(|v| v.checked_add(i64::from(b - b'0'))).ok_or_else(out)?;
    }
    let value = if negative { -value } else { value };
    value.checked_mul(unit_ns).ok_or_else(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn short_decimals_are_what_the_general_algorithm_gives(digits in "-?[0-9]{1,17}(\\.[0-9]{0,8})?") {
            if let Some(v) = short_decimal(digits.as_bytes()) {
                prop_assert_eq!(v.to_bits(), digits.parse::<f64>().unwrap().to_bits(), "{}", digits);
            }
        }
        #[test]
        fn every_finite_float_reads_back(bits in any::<u64>()) {
            let v = f64::from_bits(bits);
            prop_assume!(v.is_finite());
            let text = format!("{v:?}");
            prop_assert_eq!(parse(text.as_bytes()), Ok(Parsed::Float(v)));
            if v == 0.0 {
                if let Ok(Parsed::Float(back)) = parse(text.as_bytes()) { prop_assert_eq!(back.to_bits(), v.to_bits()); }
            }
        }
    }

    #[test]
    fn edges() {
        for (text, want) in [
            ("-0", Parsed::Float(-0.0)), ("1.", Parsed::Float(1.0)), (".5", Parsed::Float(0.5)), ("1e3", Parsed::Float(1000.0)),
            ("9007199254740993", Parsed::Float(9_007_199_254_740_992.0)), ("-9223372036854775808i", Parsed::Integer(i64::MIN)),
            ("18446744073709551615u", Parsed::Unsigned(u64::MAX)),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(want), "{text}");
        }
        for bad in ["-", ".", "1.2.3", "1e", "NaN", "nan", "inf", "-inf", "1x", "1i2", "i", "-i", "-1u", "9223372036854775808i", "18446744073709551616u", "1e999", "0x1", "1_0"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(timestamp(b"-5", 1_000), Ok(-5_000));
        for bad in ["", "-", "1.5", "9223372036854775808", "x"] {
            assert!(timestamp(bad.as_bytes(), 1).is_err(), "{bad}");
        }
        assert!(timestamp(b"9223372036854775", 1_000_000).is_err());
    }
}
