//! Choices that a seed makes: the same on every machine, so that a failure can be had again.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    #[allow(clippy::should_implement_trait)] // It never ends.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n.max(1) as u64)).unwrap_or(0)
    }

    /// From `least` to `most`, both of them possible.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let span = u128::from(most.abs_diff(least)) + 1;
        let more = u128::from(self.next()) % span;
        i64::try_from(i128::from(least) + more.cast_signed()).unwrap_or(least)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub const fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// One of them; `None` where there is none.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }

    /// Some of them, in their order.
    pub fn some<T: Clone>(&mut self, all: &[T]) -> Vec<T> {
        all.iter().filter(|_| self.coin()).cloned().collect()
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes().first().copied().unwrap_or(0)).collect()
    }
}

/// A number of the environment, such as a seed of a failure that is wanted again.
#[allow(clippy::panic)] // A soak with another seed than was asked for is worse than none.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_choices_within_their_bounds() {
        let draw = |seed| {
            let mut r = Random::new(seed);
            (0..1_000).map(|_| (r.below(7), r.between(-3, 3), r.coin())).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let all = draw(3);
        assert!((0..7).all(|n| all.iter().any(|d| d.0 == n)));
        assert!((-3..=3).all(|n| all.iter().any(|d| d.1 == n)));
        let mut r = Random::new(4);
        assert_eq!((r.below(0), r.pick::<u8>(&[]), r.bytes(3).len()), (0, None, 3));
        assert!((0..100).any(|_| r.between(i64::MIN, i64::MAX) < 0));
    }
}
