//! Exact decimals: a whole number of units, each ten to the minus `scale`. Text becomes units and text again without a float
//! between.

use crate::series::line_protocol::POWERS;
use serde::{Serialize, Serializer};
use std::fmt;

/// Digits after the point at most: ten to that power still is an `i64`.
pub const SCALE_MAX: u8 = 18;
/// The same as a power of ten.
const MORE_MAX: u32 = SCALE_MAX as u32;
/// Decimal digits of the greatest `i64`.
const DIGITS_MAX: usize = 19;
/// Whole numbers up to here are floats without rounding.
const FLOAT_EXACT_MAX: u64 = 1 << 53;
/// A decimal of so many digits is found again from the float that is nearest to it, whatever its scale.
const FLOAT_DIGITS_MAX: f64 = 999_999_999_999_999.0;

/// `units` times ten to the minus `scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Decimal {
    pub units: i64,
    /// 0 to [`SCALE_MAX`].
    pub scale: u8,
}

/// Why a number is not a decimal of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inexact {
    /// It is no number.
    NotANumber,
    /// It has more digits after the point.
    Digits,
    /// Its units do not fit 64 bits.
    Range,
}

/// Ten to the power of a scale.
fn unit(scale: u8) -> i128 {
    10_i128.pow(u32::from(scale.min(SCALE_MAX)))
}

fn in_range(units: i128) -> Result<i64, Inexact> {
    i64::try_from(units).map_err(|_| Inexact::Range)
}

impl Decimal {
    /// Reads `-12.50`, `.5`, `7.` or `1.25e2`: the number must be exactly one of this scale.
    pub fn read(text: &str, scale: u8) -> Result<Self, Inexact> {
        let bytes = text.as_bytes();
        let (negative, rest) = match bytes.split_first() {
            Some((b'-', rest)) => (true, rest),
            Some((b'+', rest)) => (false, rest),
            _ => (false, bytes),
        };
        let (number, exponent) = match rest.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => {
                (rest.get(..at).unwrap_or_default(), exponent(rest.get(at + 1..).unwrap_or_default())?)
            }
            None => (rest, 0),
        };
        let point = number.iter().position(|b| *b == b'.');
        let (whole, part) = match point {
            Some(at) => (number.get(..at).unwrap_or_default(), number.get(at + 1..).unwrap_or_default()),
            None => (number, &[][..]),
        };
        let digits = || whole.iter().chain(part);
        if digits().next().is_none() || !digits().all(u8::is_ascii_digit) {
            return Err(Inexact::NotANumber);
        }
        let zeros_behind = digits().rev().take_while(|b| **b == b'0').count();
        let count = whole.len() + part.len() - zeros_behind;
        let zeros_before = digits().take(count).take_while(|b| **b == b'0').count();
        let significant = count - zeros_before;
        if significant == 0 {
            return Ok(Self { units: 0, scale });
        }
        // The last digit that counts stands for ten to this power of units.
        let shift = exponent + zeros_behind as i64 - part.len() as i64 + i64::from(scale);
        if shift < 0 {
            return Err(Inexact::Digits);
        }
        if significant > DIGITS_MAX || shift > DIGITS_MAX as i64 {
            return Err(Inexact::Range);
        }
        let mut units = digits()
            .skip(zeros_before)
            .take(significant)
            .fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        // Nineteen digits times ten to the nineteenth fit.
        for _ in 0..shift {
            units *= 10;
        }
        Ok(Self { units: in_range(if negative { -units } else { units })?, scale })
    }

    /// A whole number.
    pub fn whole(number: i128, scale: u8) -> Result<Self, Inexact> {
        let units = number.checked_mul(unit(scale)).ok_or(Inexact::Range)?;
        Ok(Self { units: in_range(units)?, scale })
    }

    /// The shortest decimal text of a float, if it is exactly one of this scale: 0.1 is one of scale 1, though the float that
    /// stands for it is not.
    pub fn of_float(value: f64, scale: u8) -> Result<Self, Inexact> {
        if !value.is_finite() {
            return Err(Inexact::NotANumber);
        }
        let factor = POWERS.get(usize::from(scale)).copied().unwrap_or(f64::INFINITY);
        let units = (value * factor).round();
        if units.abs() <= FLOAT_DIGITS_MAX && units / factor == value {
            return Ok(Self { units: units as i64, scale });
        }
        Self::read(&format!("{value:e}"), scale)
    }

    /// The same number with another scale.
    pub fn rescaled(self, scale: u8) -> Result<Self, Inexact> {
        Self::of_units(i128::from(self.units), u32::from(self.scale), scale)
    }

    /// `units` times ten to the minus `digits`, as others write decimals.
    pub fn of_units(units: i128, digits: u32, scale: u8) -> Result<Self, Inexact> {
        let units = match u32::from(scale).checked_sub(digits) {
            Some(more) => units.checked_mul(10_i128.pow(more.min(MORE_MAX))).ok_or(Inexact::Range)?,
            None => {
                // A power beyond every number divides zero alone.
                let by = 10_i128.checked_pow(digits - u32::from(scale));
                let (part, whole) = by.map_or((units, 0), |by| (units % by, units / by));
                if part != 0 {
                    return Err(Inexact::Digits);
                }
                whole
            }
        };
        Ok(Self { units: in_range(units)?, scale })
    }

    /// The nearest float.
    pub fn to_f64(self) -> f64 {
        match POWERS.get(usize::from(self.scale)) {
            // Both are exact, so one division rounds right.
            Some(factor) if self.units.unsigned_abs() <= FLOAT_EXACT_MAX => self.units as f64 / factor,
            _ => self.to_string().parse().unwrap_or(f64::NAN),
        }
    }
}

/// A sum of units as a float.
pub(in crate::series) fn sum_to_f64(units: i128, scale: u8) -> f64 {
    units as f64 / POWERS.get(usize::from(scale)).copied().unwrap_or(f64::INFINITY)
}

/// The digits behind an `e`. What is far beyond every decimal stays far beyond it.
fn exponent(text: &[u8]) -> Result<i64, Inexact> {
    const FAR: i64 = 1 << 40;
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Inexact::NotANumber);
    }
    let value = digits.iter().fold(0_i64, |sum, d| (sum * 10 + i64::from(d - b'0')).min(FAR));
    Ok(if negative { -value } else { value })
}

/// With all digits of its scale: `101.25` of scale 4 is `101.2500`.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = i128::from(self.units.unsigned_abs());
        let (whole, part) = (size / unit(self.scale), size % unit(self.scale));
        if self.units < 0 {
            f.write_str("-")?;
        }
        match self.scale {
            0 => write!(f, "{whole}"),
            scale => write!(f, "{whole}.{part:0digits$}", digits = usize::from(scale)),
        }
    }
}

/// As text: a JSON number would become a float in most of its readers.
impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, scale: u8) -> Result<i64, Inexact> {
        Decimal::read(text, scale).map(|d| d.units)
    }

    #[test]
    fn only_what_is_exact_is_read() {
        for (text, scale, want) in [
            ("101.25", 2, Ok(10_125)),
            ("101.25", 8, Ok(10_125_000_000)),
            ("101.250", 2, Ok(10_125)),
            ("101.251", 2, Err(Inexact::Digits)),
            ("-0.5", 1, Ok(-5)),
            ("-.5", 1, Ok(-5)),
            ("+7.", 0, Ok(7)),
            ("007", 0, Ok(7)),
            ("0", 18, Ok(0)),
            ("-0.000", 2, Ok(0)),
            ("0.0000000000000000000000", 2, Ok(0)),
            ("0e99999999999999999999", 2, Ok(0)),
            ("1.25e2", 0, Ok(125)),
            ("1.25E+1", 1, Ok(125)),
            ("125e-2", 2, Ok(125)),
            ("125e-2", 1, Err(Inexact::Digits)),
            ("1e-99999999999999999999", 18, Err(Inexact::Digits)),
            ("1e99999999999999999999", 0, Err(Inexact::Range)),
            ("100000e-5", 0, Ok(1)),
            ("9223372036854775807", 0, Ok(i64::MAX)),
            ("-9223372036854775808", 0, Ok(i64::MIN)),
            ("9223372036854775808", 0, Err(Inexact::Range)),
            ("-9223372036854775809", 0, Err(Inexact::Range)),
            ("9.223372036854775807", 18, Ok(i64::MAX)),
            ("-9.223372036854775808", 18, Ok(i64::MIN)),
            ("9.223372036854775808", 18, Err(Inexact::Range)),
            ("10", 18, Err(Inexact::Range)),
            ("0.000000000000000001", 18, Ok(1)),
            ("0.0000000000000000001", 18, Err(Inexact::Digits)),
            ("1.00000000000000000000", 18, Ok(1_000_000_000_000_000_000)),
            ("12345678901234567890.5", 0, Err(Inexact::Digits)),
            ("", 2, Err(Inexact::NotANumber)),
            (".", 2, Err(Inexact::NotANumber)),
            ("-", 2, Err(Inexact::NotANumber)),
            ("1.2.3", 2, Err(Inexact::NotANumber)),
            ("1e", 2, Err(Inexact::NotANumber)),
            ("e5", 2, Err(Inexact::NotANumber)),
            ("NaN", 2, Err(Inexact::NotANumber)),
            ("inf", 2, Err(Inexact::NotANumber)),
            ("1,5", 2, Err(Inexact::NotANumber)),
            (" 1", 2, Err(Inexact::NotANumber)),
            ("0x10", 2, Err(Inexact::NotANumber)),
            ("--1", 2, Err(Inexact::NotANumber)),
        ] {
            assert_eq!(read(text, scale), want, "{text} of scale {scale}");
        }
    }

    #[test]
    fn floats_are_taken_by_their_shortest_text() {
        for (value, scale, want) in [
            (0.1, 1, Ok(1)),
            (0.1, 0, Err(Inexact::Digits)),
            (101.25, 8, Ok(10_125_000_000)),
            (1e18, 0, Ok(1_000_000_000_000_000_000)),
            (1e19, 0, Err(Inexact::Range)),
            (-0.0, 3, Ok(0)),
            (0.1 + 0.2, 2, Err(Inexact::Digits)),
            (5e-324, 18, Err(Inexact::Digits)),
            (f64::MAX, 0, Err(Inexact::Range)),
            (f64::NAN, 2, Err(Inexact::NotANumber)),
            (f64::NEG_INFINITY, 2, Err(Inexact::NotANumber)),
        ] {
            assert_eq!(Decimal::of_float(value, scale).map(|d| d.units), want, "{value} of scale {scale}");
        }
    }

    #[test]
    fn whole_numbers_and_other_scales() {
        assert_eq!(Decimal::whole(-7, 2), Ok(Decimal { units: -700, scale: 2 }));
        assert_eq!(Decimal::whole(9, 18).map(|d| d.units), Ok(9_000_000_000_000_000_000));
        assert_eq!(Decimal::whole(10, 18), Err(Inexact::Range));
        assert_eq!(Decimal::whole(i128::MAX, 18), Err(Inexact::Range));
        let price = Decimal { units: 12_300, scale: 4 };
        assert_eq!(price.rescaled(2).map(|d| d.units), Ok(123));
        assert_eq!(price.rescaled(1), Err(Inexact::Digits));
        assert_eq!(price.rescaled(18).map(|d| d.units), Ok(1_230_000_000_000_000_000));
        assert_eq!(Decimal { units: i64::MAX, scale: 0 }.rescaled(1), Err(Inexact::Range));
        assert_eq!(Decimal { units: i64::MIN, scale: 18 }.rescaled(18).map(|d| d.units), Ok(i64::MIN));
    }

    #[test]
    fn units_of_others_are_taken_where_they_are_the_same_number() {
        let huge = i128::from(i64::MAX) * 1_000;
        for (units, digits, scale, want) in [
            (12_345, 2, 4, Ok(1_234_500)),
            (1_234_500, 4, 2, Ok(12_345)),
            (1_234_501, 4, 2, Err(Inexact::Digits)),
            (huge, 5, 2, Ok(i64::MAX)),
            (-huge, 5, 2, Ok(-i64::MAX)),
            (huge + 1, 5, 2, Err(Inexact::Digits)),
            (huge, 2, 2, Err(Inexact::Range)),
            (i128::MAX, 0, 18, Err(Inexact::Range)),
            (i128::MIN, 38, 0, Err(Inexact::Digits)),
            (10_i128.pow(38), 38, 0, Ok(1)),
            (0, 76, 0, Ok(0)),
            (7, 76, 18, Err(Inexact::Digits)),
            (7, 0, 18, Ok(7_000_000_000_000_000_000)),
            (10, 0, 18, Err(Inexact::Range)),
        ] {
            let got = Decimal::of_units(units, digits, scale).map(|d| d.units);
            assert_eq!(got, want, "{units} of {digits} as {scale}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn units_to_text_to_units(units in any::<i64>(), scale in 0..=SCALE_MAX) {
            let d = Decimal { units, scale };
            prop_assert_eq!(Decimal::read(&d.to_string(), scale), Ok(d));
            prop_assert_eq!(d.to_f64().to_bits(), (d.to_string().parse::<f64>().unwrap() + 0.0).to_bits());
        }

        #[test]
        fn text_to_units_to_text(
            whole in 0_u64..1_000_000, part in "[0-9]{1,12}", negative in any::<bool>(), more in 0_usize..6
        ) {
            let text = format!("{}{whole}.{part}", if negative { "-" } else { "" });
            let scale = part.len() as u8;
            let zero = whole == 0 && part.bytes().all(|b| b == b'0');
            let want = if zero { text.trim_start_matches('-').to_string() } else { text.clone() };
            prop_assert_eq!(Decimal::read(&text, scale).map(|d| d.to_string()), Ok(want));
            let longer = format!("{text}{}", "0".repeat(more));
            prop_assert_eq!(Decimal::read(&longer, scale), Decimal::read(&text, scale));
            prop_assert_eq!(Decimal::read(&format!("{longer}1"), scale), Err(Inexact::Digits));
        }

        #[test]
        fn a_price_survives_a_float(units in -999_999_999_999_999_i64..=999_999_999_999_999, scale in 0..=SCALE_MAX) {
            let d = Decimal { units, scale };
            prop_assert_eq!(Decimal::of_float(d.to_f64(), scale), Ok(d));
        }

        #[test]
        fn both_ways_of_floats_agree(value in any::<f64>(), scale in 0..=SCALE_MAX) {
            let slow = if value.is_finite() { Decimal::read(&format!("{value:e}"), scale) } else { Err(Inexact::NotANumber) };
            prop_assert_eq!(Decimal::of_float(value, scale), slow);
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,40}", scale in 0..=SCALE_MAX) {
            let read = Decimal::read(&text, scale);
            prop_assert_eq!(matches!(read, Err(Inexact::NotANumber)), text.parse::<f64>().is_err(), "{}", text);
        }
    }
}
