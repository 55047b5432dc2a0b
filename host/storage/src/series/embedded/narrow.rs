//! Numbers in less than eight bytes each, to the last bit: whole numbers that are near each other, as what they are above
//! the least of them. Floats first become whole numbers over a power of ten, where all of them are that: prices in steps
//! and sizes mostly are.
//!
//! A float `x` is taken as `n / 10^e` only where dividing gives its very bits, so that no rounding is believed in: -0.0 and
//! what has too many digits is left as it is. Quotients of floats are rounded right (IEEE 754), so that every machine gives
//! the same ones.

/// Digits after the point, at most: beyond them whole numbers are as long as the floats are.
pub(super) const EXPONENT_MAX: u8 = 10;
/// Whole numbers that stand for floats lie between this and its negative: there every sum below is exact.
const WHOLE_MAX: f64 = 2_251_799_813_685_248.0;
/// Added to a float of that range and taken away again, it rounds to the nearest whole number: 1.5 × 2⁵².
const ROUNDING: f64 = 6_755_399_441_055_744.0;
/// Added to a whole number from 0 on, it leaves the number in the lowest bits: 2⁵².
const LOWEST_BITS: f64 = 4_503_599_627_370_496.0;
/// Values that are looked at before all are computed.
const TRIED_FIRST: usize = 32;
/// Values that are computed side by side.
const LANES: usize = 8;
const POWERS: [f64; EXPONENT_MAX as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

/// A number that is narrower than eight bytes.
pub(super) trait Offset: Copy + Default {
    const BYTES: u8;
    /// The lowest bits of a word.
    fn of_bits(bits: u64) -> Self;
    fn to_float(self) -> f64;
    fn to_bits(self) -> u64;
    fn put_all(all: &[Self], out: &mut Vec<u8>);
    /// What [`Offset::put_all`] wrote; bytes at the end that are too few for one are none.
    fn all_of(bytes: &[u8]) -> impl Iterator<Item = Self>;
}

macro_rules! offset {
    ($($t:ty),*) => { $(impl Offset for $t {
        const BYTES: u8 = size_of::<$t>() as u8;
        fn of_bits(bits: u64) -> Self { bits as $t }
        fn to_float(self) -> f64 { f64::from(self) }
        fn to_bits(self) -> u64 { u64::from(self) }
        fn put_all(all: &[Self], out: &mut Vec<u8>) {
            let from = out.len();
            out.resize(from + size_of_val(all), 0);
            if let Some(room) = out.get_mut(from..) {
                room.as_chunks_mut().0.iter_mut().zip(all).for_each(|(to, offset)| *to = offset.to_le_bytes());
            }
        }
        fn all_of(bytes: &[u8]) -> impl Iterator<Item = Self> {
            bytes.as_chunks().0.iter().map(|b| <$t>::from_le_bytes(*b))
        }
    })* };
}
offset!(u8, u16, u32);

/// What offsets are counted from, and the power of ten that the sums are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// The least whole number; of unsigned ones its bits.
    pub least: i64,
    /// 0 for numbers that are whole.
    pub exponent: u8,
}

/// Numbers that fit offsets of four bytes.
#[derive(Debug)]
pub(super) struct Near<'a> {
    pub base: Base,
    /// The greatest offset.
    pub span: u32,
    values: Source<'a>,
}

#[derive(Debug)]
enum Source<'a> {
    /// Whole, and the least of them.
    Floats(Vec<f64>, f64),
    Words(&'a [i64]),
    Unsigned(&'a [u64]),
}

/// A type of numbers that may be near each other.
pub(super) trait Narrow: Copy {
    /// `None`: they are too far from each other, or cannot be had from whole numbers; or there are none.
    fn near(values: &[Self]) -> Option<Near<'_>>;
    /// Adds what offsets stand for. A sum that is out of range wraps: nobody wrote it.
    fn widen<T: Offset>(base: Base, offsets: impl Iterator<Item = T>, out: &mut Vec<Self>);
}

impl Near<'_> {
    /// One for each value. `T` must hold [`Near::span`].
    pub(super) fn offsets<T: Offset>(&self) -> Vec<T> {
        let least = self.base.least.cast_unsigned();
        match &self.values {
            Source::Floats(all, least) => {
                all.iter().map(|n| T::of_bits((n - least + LOWEST_BITS).to_bits())).collect()
            }
            Source::Words(all) => {
                all.iter().map(|n| T::of_bits(n.cast_unsigned().wrapping_sub(least))).collect()
            }
            Source::Unsigned(all) => all.iter().map(|n| T::of_bits(n.wrapping_sub(least))).collect(),
        }
    }
}

impl Narrow for i64 {
    fn near(values: &[Self]) -> Option<Near<'_>> {
        let (least, greatest) = extremes(values)?;
        let span = u32::try_from(greatest.abs_diff(least)).ok()?;
        Some(Near { base: Base { least, exponent: 0 }, span, values: Source::Words(values) })
    }
    fn widen<T: Offset>(base: Base, offsets: impl Iterator<Item = T>, out: &mut Vec<Self>) {
        out.extend(offsets.map(|o| base.least.wrapping_add(o.to_bits().cast_signed())));
    }
}

impl Narrow for u64 {
    fn near(values: &[Self]) -> Option<Near<'_>> {
        let (least, greatest) = extremes(values)?;
        let span = u32::try_from(greatest - least).ok()?;
        let base = Base { least: least.cast_signed(), exponent: 0 };
        Some(Near { base, span, values: Source::Unsigned(values) })
    }
    fn widen<T: Offset>(base: Base, offsets: impl Iterator<Item = T>, out: &mut Vec<Self>) {
        let least = base.least.cast_unsigned();
        out.extend(offsets.map(|o| least.wrapping_add(o.to_bits())));
    }
}

impl Narrow for f64 {
    fn near(values: &[Self]) -> Option<Near<'_>> {
        let mut exponent = 0;
        for x in values.iter().take(TRIED_FIRST) {
            exponent = exponent_of(*x, exponent)?;
        }
        loop {
            match whole(values, power(exponent)?) {
                Whole::All { values, least, greatest } => {
                    let span = greatest - least;
                    if span > f64::from(u32::MAX) {
                        return None;
                    }
                    let base = Base { least: least as i64, exponent };
                    return Some(Near { base, span: span as u32, values: Source::Floats(values, least) });
                }
                // Each time with more digits, so that it ends.
                Whole::AllBut(x) => exponent = exponent_of(x, exponent + 1)?,
                Whole::TooFar => return None,
            }
        }
    }
    fn widen<T: Offset>(base: Base, offsets: impl Iterator<Item = T>, out: &mut Vec<Self>) {
        let least = base.least as f64;
        match power(base.exponent) {
            Some(power) if base.exponent > 0 => out.extend(offsets.map(|o| (least + o.to_float()) / power)),
            _ => out.extend(offsets.map(|o| least + o.to_float())),
        }
    }
}

fn power(exponent: u8) -> Option<f64> {
    POWERS.get(usize::from(exponent)).copied()
}

fn extremes<T: Copy + Ord>(values: &[T]) -> Option<(T, T)> {
    let first = *values.first()?;
    Some(values.iter().fold((first, first), |(lo, hi), v| (lo.min(*v), hi.max(*v))))
}

fn rounded(x: f64, power: f64) -> f64 {
    (x * power + ROUNDING) - ROUNDING
}

/// The fewest digits after the point, `from` so many on, with which `x` is a whole number over a power of ten.
fn exponent_of(x: f64, from: u8) -> Option<u8> {
    (from..=EXPONENT_MAX).find(|exponent| {
        power(*exponent).is_some_and(|power| {
            let n = rounded(x, power);
            n.abs() <= WHOLE_MAX && (n / power).to_bits() == x.to_bits()
        })
    })
}

enum Whole {
    /// Times the power.
    All { values: Vec<f64>, least: f64, greatest: f64 },
    /// One that is no whole number.
    AllBut(f64),
    /// They are too great, or there are none.
    TooFar,
}

/// Written so that the compiler computes several at once.
fn whole(values: &[f64], power: f64) -> Whole {
    let mut all = Vec::with_capacity(values.len() + LANES);
    let (mut least, mut greatest) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    let (blocks, rest) = values.as_chunks::<LANES>();
    // What is left over is a block too, filled up with its first value.
    let last = rest.first().map(|first| {
        let mut block = [*first; LANES];
        block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        block
    });
    for block in blocks.iter().chain(&last) {
        let mut numbers = [0.0; LANES];
        let mut differ = 0;
        for (((x, n), lo), hi) in block.iter().zip(&mut numbers).zip(&mut least).zip(&mut greatest) {
            *n = rounded(*x, power);
            differ |= ((*n / power).to_bits() ^ x.to_bits()) | u64::from(n.is_nan());
            *lo = if *n < *lo { *n } else { *lo };
            *hi = if *n > *hi { *n } else { *hi };
        }
        if differ != 0 {
            let other = block.iter().find(|x| {
                let n = rounded(**x, power);
                n.is_nan() || (n / power).to_bits() != x.to_bits()
            });
            return other.map_or(Whole::TooFar, |x| Whole::AllBut(*x));
        }
        all.extend_from_slice(&numbers);
    }
    all.truncate(values.len());
    let least = least.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = greatest.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if all.is_empty() || least < -WHOLE_MAX || greatest > WHOLE_MAX {
        return Whole::TooFar;
    }
    Whole::All { values: all, least, greatest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Through offsets of a width that holds them, and back.
    fn through<N: Narrow>(values: &[N]) -> Option<(Base, u32, Vec<N>)> {
        fn wide<N: Narrow, T: Offset>(near: &Near<'_>) -> Vec<N> {
            let mut bytes = vec![7];
            T::put_all(&near.offsets::<T>(), &mut bytes);
            let mut out = Vec::new();
            N::widen(near.base, T::all_of(&bytes[1..]), &mut out);
            out
        }
        let near = N::near(values)?;
        let four = wide::<N, u32>(&near);
        let out = match near.span {
            0..=0xff => wide::<N, u8>(&near),
            0x100..=0xffff => wide::<N, u16>(&near),
            _ => four.clone(),
        };
        assert_eq!((out.len(), four.len()), (values.len(), values.len()));
        Some((near.base, near.span, out))
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn prices_are_whole_numbers_over_a_power_of_ten() {
        // Not all of these are their number of cents times 0.01.
        let prices: Vec<f64> = (9_990..10_500).map(|cents| f64::from(cents) / 100.0).collect();
        let (base, span, back) = through(&prices).unwrap();
        assert_eq!((base, span), (Base { least: 9_990, exponent: 2 }, 509));
        assert_eq!(bits(&back), bits(&prices));
        // The one with the most digits comes last.
        let mut prices = vec![1.0; 1_000];
        prices.extend([2.5, -3.25, 0.0001, 7.0]);
        let (base, _, back) = through(&prices).unwrap();
        assert_eq!((base, bits(&back)), (Base { least: -32_500, exponent: 4 }, bits(&prices)));
        for count in [1, 7, 8, 9, 16, 17] {
            let same = vec![0.3; count];
            assert_eq!(through(&same).unwrap(), (Base { least: 3, exponent: 1 }, 0, same));
        }
    }

    #[test]
    fn what_would_lose_a_bit_is_left_as_it_is() {
        assert_eq!(EXPONENT_MAX, 10);
        for (value, fits) in [
            (0.0, true),
            (-0.0, false),
            (0.1 + 0.2, false),
            (1.0 / 3.0, false),
            (1e-10, true),
            (1e-11, false),
            (WHOLE_MAX, true),
            (-WHOLE_MAX, true),
            (WHOLE_MAX + 1.0, false),
            (1e300, false),
            (5e-324, false),
            (f64::MAX, false),
            (f64::INFINITY, false),
            (f64::NEG_INFINITY, false),
            (f64::NAN, false),
        ] {
            // Wherever it stands.
            for before in [0, 3, 8, 40] {
                let mut values = vec![value; before];
                values.push(value);
                assert_eq!(through(&values).is_some(), fits, "{value:e} after {before}");
            }
        }
        // Among others.
        for odd in [-0.0, 0.1 + 0.2, f64::NAN, 5e-324] {
            let mut values = vec![1.5; 100];
            values[61] = odd;
            assert!(through(&values).is_none(), "{odd:e}");
        }
        assert!(through::<f64>(&[]).is_none());
        assert!(through::<i64>(&[]).is_none() && through::<u64>(&[]).is_none());
    }

    #[test]
    fn offsets_hold_what_is_near_to_the_last_number() {
        for span in [0, 1, 0xff, 0x100, 0xffff, 0x1_0000, u32::MAX - 1, u32::MAX] {
            let far = i64::from(span);
            for least in [0, -5, i64::MIN, i64::MAX - far] {
                let words = [least + far, least, least + far / 2];
                assert_eq!(through(&words).unwrap(), (Base { least, exponent: 0 }, span, words.to_vec()));
                let unsigned = words.map(|n| n.cast_unsigned() ^ (1 << 63));
                let (_, got, back) = through(&unsigned).unwrap();
                assert_eq!((got, back), (span, unsigned.to_vec()));
            }
            let floats = [-7.5, (far - 75) as f64 / 10.0];
            let (base, got, back) = through(&floats).unwrap();
            assert_eq!((base.least, got, bits(&back)), (-75, span, bits(&floats)), "{span}");
        }
        assert!(through(&[0, i64::from(u32::MAX) + 1]).is_none());
        assert!(through(&[i64::MIN, i64::MAX]).is_none());
        assert!(through(&[0, u64::from(u32::MAX) + 1]).is_none());
        assert!(through(&[0.0, 4_294_967_296.0]).is_none());
        assert!(through(&[0.5, 429_496_730.1]).is_none());
    }

    proptest! {
        #[test]
        fn whatever_is_narrowed_comes_back(
            units in prop::collection::vec(-10_000_000_000_i64..10_000_000_000, 1..40),
            digits in 0_i32..=12,
        ) {
            let floats: Vec<f64> = units.iter().map(|n| *n as f64 / 10_f64.powi(digits)).collect();
            if let Some((_, _, back)) = through(&floats) {
                prop_assert_eq!(bits(&back), bits(&floats));
            }
            if let Some((_, _, back)) = through(&units) {
                prop_assert_eq!(back, units);
            }
        }

        #[test]
        fn no_float_is_made_another(values in prop::collection::vec(any::<f64>(), 1..20)) {
            if let Some((_, _, back)) = through(&values) {
                prop_assert_eq!(bits(&back), bits(&values));
            }
        }
    }
}
