//! Libraries of skills that nobody wrote: many words used as language uses them, or few words that nearly all skills have.

/// Words that a library uses, and how often each.
pub enum Words {
    /// The n-th most frequent of so many words comes 1/n as often as the first (Zipf's law).
    Zipf { cumulated: Vec<f64> },
    /// 48 words, each in a quarter of all skills: the worst case.
    Few,
}

const SYLLABLES: [&str; 32] = [
    "mo", "ti", "ra", "ve", "lo", "spe", "ga", "ri", "con", "del", "pa", "tre", "ni", "bo", "sta", "qua",
    "fi", "mer", "dro", "lu", "han", "ki", "zo", "per", "sal", "tor", "win", "bra", "cy", "fle", "gno", "up",
];

const FEW: [&str; 48] = [
    "momentum",
    "reversion",
    "breakout",
    "pullback",
    "trend",
    "volatility",
    "spread",
    "carry",
    "pairs",
    "arbitrage",
    "gap",
    "fade",
    "scalp",
    "swing",
    "opening",
    "closing",
    "auction",
    "volume",
    "imbalance",
    "order",
    "flow",
    "range",
    "channel",
    "average",
    "true",
    "band",
    "oscillator",
    "divergence",
    "regime",
    "bull",
    "bear",
    "sideways",
    "risk",
    "parity",
    "hedge",
    "delta",
    "gamma",
    "skew",
    "earnings",
    "drift",
    "seasonal",
    "rotation",
    "sector",
    "index",
    "future",
    "option",
    "crypto",
    "currency",
];

/// The same numbers in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() * n as f64) as usize
    }
}

impl Words {
    pub fn zipf(count: usize) -> Self {
        let mut sum = 0.0;
        Self::Zipf {
            cumulated: (1..=count)
                .map(|n| {
                    sum += 1.0 / n as f64;
                    sum
                })
                .collect(),
        }
    }

    pub fn word(&self, dice: &mut Dice) -> String {
        match self {
            Self::Few => FEW[dice.below(FEW.len())].into(),
            Self::Zipf { cumulated } => {
                let at = dice.roll() * cumulated.last().unwrap();
                spelt(cumulated.partition_point(|sum| *sum < at))
            }
        }
    }

    pub fn text(&self, dice: &mut Dice, words: usize) -> String {
        (0..words).map(|_| self.word(dice)).collect::<Vec<_>>().join(" ")
    }
}

/// The n-th word: frequent words are short.
fn spelt(mut n: usize) -> String {
    let mut word = SYLLABLES[n % 32].to_string();
    n = n / 32 + 1;
    while n > 0 {
        word += SYLLABLES[(n * 7) % 32];
        n /= 32;
    }
    word
}

/// Two letters swapped.
pub fn misspelt(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let middle = letters.len() / 2;
    letters.swap(middle - 1, middle);
    letters.into_iter().collect()
}
