//! Decimals of the trading record: a whole number of units of ten to the minus [`DIGITS`]. What is read and what is added up is exact
//! or refused. What is multiplied is rounded once, half to even, where it has more digits; a share is rounded towards zero.

use crate::error::{Error, Result};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::Neg;
use std::str::FromStr;

/// Digits behind the point: those of the smallest unit of any coin.
pub const DIGITS: usize = 18;
/// Digits before the point of a number that is read.
pub const WHOLE_DIGITS_MAX: usize = 15;
/// Bytes of a text that may be a number.
const TEXT_BYTES_MAX: usize = 64;
/// Units of one.
const ONE: i128 = 1_000_000_000_000_000_000;
/// The same as a divisor of one limb.
const ONE_LIMB: u64 = 1_000_000_000_000_000_000;

/// A quantity, a price or an amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Number(i128);

impl Number {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(ONE);

    /// A whole number.
    pub const fn whole(number: i64) -> Self {
        // Nineteen digits and eighteen more fit.
        Self(number as i128 * ONE)
    }

    pub(super) const fn from_units(units: i128) -> Self {
        Self(units)
    }
    pub(super) const fn units(self) -> i128 {
        self.0
    }
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
    #[must_use]
    pub fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// The sum. [`crate::Kind::Limit`] beyond what can be held, about 1.7e20.
    pub fn plus(self, other: Self) -> Result<Self> {
        self.0.checked_add(other.0).map(Self).ok_or_else(too_large)
    }

    /// The difference, as [`Number::plus`].
    pub fn minus(self, other: Self) -> Result<Self> {
        self.0.checked_sub(other.0).map(Self).ok_or_else(too_large)
    }

    /// The product; where it has more than [`DIGITS`] digits behind the point rounded there, half to even.
    pub fn times(self, other: Self) -> Result<Self> {
        let (size, rest) = self.product(other)?;
        signed(half_even(size, rest, ONE.unsigned_abs())?, self.is_negative() != other.is_negative())
    }

    /// The product of three, rounded once, as [`Number::times`] is.
    pub fn times_both(self, second: Self, third: Self) -> Result<Self> {
        if third == Self::ONE {
            return self.times(second);
        }
        let one = ONE.unsigned_abs();
        // What the first two make is size × one + rest, in units of one squared; the third goes with both parts.
        let (size, rest) = self.product(second)?;
        let by = third.0.unsigned_abs();
        let (most, left) = div_limb(mul_wide(size, by), ONE_LIMB).ok_or_else(too_large)?;
        let (parts, low) =
            div_limb(add_wide(mul_wide(rest, by), left * one), ONE_LIMB).ok_or_else(too_large)?;
        let size = most.checked_add(parts / one).ok_or_else(too_large)?;
        let negative = self.is_negative() ^ second.is_negative() ^ third.is_negative();
        signed(half_even(size, parts % one * one + low, one * one)?, negative)
    }

    /// The size of the product towards zero, and what is left of a unit, of [`ONE`] parts.
    fn product(self, other: Self) -> Result<(u128, u128)> {
        div_limb(mul_wide(self.0.unsigned_abs(), other.0.unsigned_abs()), ONE_LIMB).ok_or_else(too_large)
    }

    /// `self` times `part` over `whole`, rounded towards zero at the last digit. Nothing of nothing.
    pub fn share(self, part: Self, whole: Self) -> Result<Self> {
        let (mut part_units, mut whole_units) = (part.0.unsigned_abs(), whole.0.unsigned_abs());
        if whole_units == 0 {
            return Ok(Self::ZERO);
        }
        let one = ONE.unsigned_abs();
        if part_units.is_multiple_of(one) && whole_units.is_multiple_of(one) {
            // Whole pieces, as most are: the divisor has one limb.
            (part_units, whole_units) = (part_units / one, whole_units / one);
        }
        let product = mul_wide(self.0.unsigned_abs(), part_units);
        let quotient = match u64::try_from(whole_units) {
            Ok(limb) => div_limb(product, limb).map(|(quotient, _)| quotient),
            Err(_) => div_wide(product, whole_units),
        };
        let negative = self.is_negative() ^ part.is_negative() ^ whole.is_negative();
        signed(quotient.ok_or_else(too_large)?, negative)
    }

    /// Is it a whole number of `step`? Everything is of a step of zero.
    pub const fn is_multiple_of(self, step: Self) -> bool {
        step.0 == 0 || self.0 % step.0 == 0
    }

    /// The nearest float, for figures that are statistics.
    pub fn to_f64(self) -> f64 {
        // Two parts that are exact or nearly: a division of all of it at once would be the same to the last digits.
        (self.0 / ONE) as f64 + (self.0 % ONE) as f64 / ONE as f64
    }

    /// The shortest decimal text of a float, as prices of series have it, rounded where it has more than [`DIGITS`] digits behind the
    /// point. `None` where that is no number of this kind, or nothing is left of it.
    pub fn of_float(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        // `{}` writes no exponent.
        let rounded = || format!("{value:.DIGITS$}").parse().ok().filter(|n: &Self| !n.is_zero());
        format!("{value}").parse().ok().or_else(rounded)
    }
}

impl Neg for Number {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

fn too_large() -> Error {
    Error::limit(
        "a sum or product of the trading record",
        "about 170,000,000,000,000,000,000",
        "correct the fill or movement of cash that is absurd",
    )
}

fn signed(units: u128, negative: bool) -> Result<Number> {
    let units = i128::try_from(units).map_err(|_| too_large())?;
    Ok(Number(if negative { -units } else { units }))
}

/// One more unit where what is left of it is more than half of `whole`, or half of it and the size is odd.
fn half_even(size: u128, rest: u128, whole: u128) -> Result<u128> {
    let up = rest * 2 > whole || (rest * 2 == whole && size % 2 == 1);
    size.checked_add(u128::from(up)).ok_or_else(too_large)
}

/// A wide number and one that is not: the sum fits, for what is added is below ten to the 36th and the product below 2 to the 188th.
fn add_wide((high, low): (u128, u128), more: u128) -> (u128, u128) {
    let (low, carried) = low.overflowing_add(more);
    (high + u128::from(carried), low)
}

/// High and low half of a product.
fn mul_wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (low, mid1, mid2, high) = (a0 * b0, a0 * b1, a1 * b0, a1 * b1);
    let mid = (low >> 64) + (mid1 & LOW) + (mid2 & LOW);
    (high + (mid1 >> 64) + (mid2 >> 64) + (mid >> 64), (mid << 64) | (low & LOW))
}

/// Quotient and rest of a wide number by one limb; `None` where the quotient does not fit, or by zero.
fn div_limb((high, low): (u128, u128), by: u64) -> Option<(u128, u128)> {
    let by = u128::from(by);
    if by == 0 || high >= by {
        return None;
    }
    // Each rest is below 2^64, so that with one limb more it fits.
    let upper = (high << 64) | (low >> 64);
    let (q1, rest) = (upper / by, upper % by);
    let lower = (rest << 64) | (low & u128::from(u64::MAX));
    let (q0, rest) = (lower / by, lower % by);
    Some(((q1 << 64) | q0, rest))
}

/// The quotient of a wide number, bit by bit; `None` where it does not fit.
fn div_wide((high, low): (u128, u128), by: u128) -> Option<u128> {
    if high >= by {
        return None;
    }
    let (mut rest, mut quotient) = (high, 0_u128);
    for bit in (0..128).rev() {
        let carry = rest >> 127 != 0;
        rest = (rest << 1) | (low >> bit & 1);
        if carry || rest >= by {
            rest = rest.wrapping_sub(by);
            quotient |= 1 << bit;
        }
    }
    Some(quotient)
}

impl FromStr for Number {
    type Err = Error;

    /// `-12.50`, `.5` or `7`: at most [`WHOLE_DIGITS_MAX`] digits before the point and [`DIGITS`] behind it, no exponent.
    fn from_str(text: &str) -> Result<Self> {
        let shown = || text.chars().take(TEXT_BYTES_MAX).collect::<String>().escape_debug().to_string();
        let wrong = |why: &str| {
            Error::invalid(format!("`{}` is not a decimal: {why}", shown())).hint("write it as in `-12.50`")
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all = || whole.bytes().chain(part.bytes());
        if all().next().is_none() || !all().all(|b| b.is_ascii_digit()) {
            return Err(wrong("it has something other than digits and one point"));
        }
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        if whole.len() > WHOLE_DIGITS_MAX {
            return Err(wrong(&format!("it has more than {WHOLE_DIGITS_MAX} digits before the point")));
        }
        if part.len() > DIGITS {
            return Err(wrong(&format!("it has more than {DIGITS} digits behind the point")));
        }
        let mut units = 0_i128;
        for digit in whole.bytes().chain(part.bytes()) {
            units = units * 10 + i128::from(digit - b'0');
        }
        for _ in part.len()..DIGITS {
            units *= 10;
        }
        Ok(Self(if negative { -units } else { units }))
    }
}

/// Without zeros that say nothing: one number has one text.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.unsigned_abs();
        let (whole, part) = (size / ONE.unsigned_abs(), size % ONE.unsigned_abs());
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if part == 0 {
            return Ok(());
        }
        let digits = format!("{part:0DIGITS$}");
        write!(f, ".{}", digits.trim_end_matches('0'))
    }
}

/// As text: a JSON number would become a float in most of its readers.
impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text, or a whole number. A JSON number with a point was a float before it came here, and may have lost digits.
impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal as text, such as \"101.25\", or a whole number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number, E> {
                number.to_string().parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn n(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn texts_are_read_exactly_or_refused() {
        for (text, shown) in [
            ("101.25", "101.25"),
            ("101.2500", "101.25"),
            ("-0.5", "-0.5"),
            (".5", "0.5"),
            ("7.", "7"),
            ("+007", "7"),
            ("-0", "0"),
            ("0.000000000000000001", "0.000000000000000001"),
            ("999999999999999.999999999999999999", "999999999999999.999999999999999999"),
            ("000000000000000000000000001", "1"),
        ] {
            assert_eq!(n(text).to_string(), shown, "{text}");
        }
        for text in [
            "",
            ".",
            "-",
            "1e3",
            "NaN",
            "inf",
            "1,5",
            " 1",
            "0x1",
            "--1",
            "1.2.3",
            "é",
            "1000000000000000",
            "0.0000000000000000001",
            &"0".repeat(65),
        ] {
            assert!(text.parse::<Number>().is_err(), "{text}");
        }
    }

    #[test]
    fn json_is_text_or_whole() {
        let read = |json: &str| serde_json::from_str::<Number>(json);
        assert_eq!(read("\"101.25\"").unwrap(), n("101.25"));
        assert_eq!((read("-7").unwrap(), read("7").unwrap()), (n("-7"), n("7")));
        for wrong in ["101.25", "1e3", "null", "true", "[]", "18446744073709551615", "\"x\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&n("-1.50")).unwrap(), "\"-1.5\"");
    }

    #[test]
    fn products_round_half_to_even_where_they_do_not_fit() {
        assert_eq!(n("100").times(n("101.25")).unwrap(), n("10125"));
        assert_eq!(n("-0.000000001").times(n("0.000000001")).unwrap(), n("-0.000000000000000001"));
        for (a, b, units) in [
            ("0.0000000001", "0.0000000001", 0),
            ("0.0000000005", "0.000000001", 0),
            ("0.0000000015", "0.000000001", 2),
            ("0.0000000025", "0.000000001", 2),
            ("-0.0000000015", "0.000000001", -2),
            ("0.0000000025", "0.00000000100000001", 3),
            ("-0.0000000019", "0.0000000019", -4),
        ] {
            assert_eq!(n(a).times(n(b)).unwrap(), Number(units), "{a} {b}");
        }
        let most = n("999999999999999");
        assert_eq!(most.times(n("100000")).unwrap().to_string(), "99999999999999900000");
        assert!(most.times(most).is_err() && most.times(n("1000000")).is_err());
        assert!(Number(i128::MAX).plus(Number(1)).is_err() && Number(i128::MIN).minus(Number(1)).is_err());
    }

    #[test]
    fn three_are_rounded_once() {
        // The first: half of a unit, which alone is rounded to none, times five.
        for (a, b, c, units) in [
            ("0.0000000005", "0.000000001", "5", 2),
            ("0.0000000007", "0.000000001", "5", 4),
            ("0.0000000007", "-0.000000001", "5", -4),
            ("0.0000000001", "0.0000000001", "50", 0),
            ("0.0000000001", "0.0000000001", "51", 1),
            ("3.333333333333333333", "101.25", "1", 337_499_999_999_999_999_966),
        ] {
            assert_eq!(n(a).times_both(n(b), n(c)).unwrap(), Number(units), "{a} {b} {c}");
        }
        let most = n("999999999999999");
        assert!(most.times_both(n("1"), n("1000000")).is_err() && most.times_both(most, n("0")).is_err());
    }

    #[test]
    fn shares_round_towards_zero() {
        assert_eq!(n("100").share(n("1"), n("3")).unwrap().to_string(), "33.333333333333333333");
        assert_eq!(n("-100").share(n("2"), n("3")).unwrap().to_string(), "-66.666666666666666666");
        assert_eq!(n("5").share(n("1"), Number::ZERO).unwrap(), Number::ZERO);
        assert_eq!(n("7").share(n("0.3"), n("0.3")).unwrap(), n("7"));
    }

    #[test]
    fn floats_of_series() {
        assert_eq!(Number::of_float(101.25), Some(n("101.25")));
        assert_eq!(Number::of_float(0.1), Some(n("0.1")));
        assert_eq!(
            (Number::of_float(f64::NAN), Number::of_float(1e30), Number::of_float(1e-30)),
            (None, None, None)
        );
        // More digits than there are: the last ones go.
        assert_eq!(Number::of_float(0.005 / 3.0), Some(n("0.001666666666666667")));
        assert_eq!(Number::of_float(-1.6e-18).map(Number::units), Some(-2));
        assert!((n("-101.25").to_f64() + 101.25).abs() < 1e-12);
    }

    fn number() -> impl Strategy<Value = Number> {
        (-1_000_000_000_000_000_i64..1_000_000_000_000_000, 0..ONE)
            .prop_map(|(whole, part)| Number(i128::from(whole) * ONE + part * i128::from(whole.signum())))
    }

    proptest! {
        #[test]
        fn text_and_back(number in number()) {
            prop_assert_eq!(number.to_string().parse::<Number>().unwrap(), number);
        }

        /// Against numbers that are small enough for one machine word.
        #[test]
        fn shares_agree_with_small_ones(a in -1_000_000_i64..1_000_000, b in 1_i64..1_000_000, c in 1_i64..1_000_000) {
            let want = Number((i128::from(a) * ONE * i128::from(b)) / i128::from(c));
            prop_assert_eq!(Number::whole(a).share(Number::whole(b), Number::whole(c)).unwrap(), want);
            // The same with parts of pieces, which take the long way.
            let part = |n: i64| Number(i128::from(n) * (ONE / 1_000));
            prop_assert_eq!(Number::whole(a).share(part(b), part(c)).unwrap(), want);
            prop_assert_eq!(Number::whole(a).share(Number(i128::from(b) * ONE / 7), Number(i128::from(b) * ONE / 7)).unwrap(), Number::whole(a));
        }

        #[test]
        fn products_agree_with_small_ones(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000) {
            let cents = |n: i64| Number(i128::from(n) * (ONE / 100));
            prop_assert_eq!(cents(a).times(cents(b)).unwrap(), Number(i128::from(a) * i128::from(b) * (ONE / 10_000)));
        }

        /// Seven digits each are twenty-one: three too many.
        #[test]
        fn products_of_three_agree_with_small_ones(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000, c in -1_000_000_i64..1_000_000) {
            let small = |n: i64| Number(i128::from(n) * (ONE / 10_000_000));
            let exact = i128::from(a) * i128::from(b) * i128::from(c);
            let (size, rest) = (exact.abs() / 1_000, exact.abs() % 1_000);
            let size = size + i128::from(rest > 500 || (rest == 500 && size % 2 == 1));
            prop_assert_eq!(small(a).times_both(small(b), small(c)).unwrap(), Number(size * exact.signum()));
            // The order does not matter, and nothing is lost where it fits.
            prop_assert_eq!(small(c).times_both(small(a), small(b)).unwrap(), Number(size * exact.signum()));
            prop_assert_eq!(small(a).times_both(Number::whole(b), Number::ONE).unwrap(), small(a).times(Number::whole(b)).unwrap());
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,70}") {
            let _ = text.parse::<Number>();
        }
    }
}
