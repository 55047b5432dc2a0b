//! Stems of English words, by M. F. Porter's algorithm ("An algorithm for suffix stripping", 1980, with its author's later
//! rules for `logi` and `bli`), as FTS5's tokenizer `porter` has it; a test holds the two to the same stems.
//! `rust-stemmers` has his second algorithm only, whose stems are others.

/// Longer words are left as they are, as FTS5 does.
const STEMMED_BYTES_MAX: usize = 64;

/// The stem of a lower-case word. Words of other than the letters a to z are their own stems.
pub(super) fn stem(word: &str) -> String {
    let plain = word.bytes().all(|b| b.is_ascii_lowercase());
    if !plain || word.len() <= 2 || word.len() > STEMMED_BYTES_MAX {
        return word.into();
    }
    let mut s = Stem(word.into());
    s.plurals();
    s.past_and_progressive();
    if s.0.ends_with('y') && s.has_vowel(s.0.len() - 1) {
        s.replace(1, "i");
    }
    s.first_that_ends(&STEP_2, |s, left| s.measure(left) > 0);
    s.first_that_ends(&STEP_3, |s, left| s.measure(left) > 0);
    s.first_that_ends(&STEP_4, |s, left| {
        s.measure(left) > 1 && (!s.0.ends_with("ion") || matches!(s.at(left.wrapping_sub(1)), b's' | b't'))
    });
    s.final_letters();
    s.0
}

/// Longer endings before those that end them.
const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("logi", "log"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
];
const STEP_3: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];
const STEP_4: [(&str, &str); 19] = [
    ("al", ""),
    ("ance", ""),
    ("ence", ""),
    ("er", ""),
    ("ic", ""),
    ("able", ""),
    ("ible", ""),
    ("ant", ""),
    ("ement", ""),
    ("ment", ""),
    ("ent", ""),
    ("ion", ""),
    ("ou", ""),
    ("ism", ""),
    ("ate", ""),
    ("iti", ""),
    ("ous", ""),
    ("ive", ""),
    ("ize", ""),
];

/// Bytes a to z only, so every place is a place between characters.
struct Stem(String);

impl Stem {
    fn at(&self, i: usize) -> u8 {
        self.0.as_bytes().get(i).copied().unwrap_or_default()
    }

    fn replace(&mut self, cut: usize, by: &str) {
        self.0.truncate(self.0.len().saturating_sub(cut));
        self.0.push_str(by);
    }

    /// `y` is a vowel after a consonant.
    fn is_vowel(&self, i: usize) -> bool {
        match self.at(i) {
            b'a' | b'e' | b'i' | b'o' | b'u' => true,
            b'y' => i > 0 && !self.is_vowel(i - 1),
            _ => false,
        }
    }

    fn has_vowel(&self, left: usize) -> bool {
        (0..left).any(|i| self.is_vowel(i))
    }

    /// How often a vowel is followed by a consonant among the first `left` letters.
    fn measure(&self, left: usize) -> usize {
        (1..left).filter(|i| !self.is_vowel(*i) && self.is_vowel(i - 1)).count()
    }

    /// Do the first `left` letters end with consonant, vowel, consonant, the last not w, x or y?
    fn ends_short(&self, left: usize) -> bool {
        left >= 3
            && !self.is_vowel(left - 1)
            && self.is_vowel(left - 2)
            && !self.is_vowel(left - 3)
            && !matches!(self.at(left - 1), b'w' | b'x' | b'y')
    }

    fn plurals(&mut self) {
        let w = &self.0;
        let cut = if w.ends_with("sses") || (w.len() > 3 && w.ends_with("ies")) {
            2
        } else {
            usize::from(w.ends_with('s') && !w.ends_with("ss"))
        };
        self.replace(cut, "");
    }

    fn past_and_progressive(&mut self) {
        let n = self.0.len();
        if n > 3 && self.0.ends_with("eed") {
            if self.measure(n - 3) > 0 {
                self.replace(1, "");
            }
            return;
        }
        let Some(cut) = ["ed", "ing"].into_iter().find(|e| self.0.ends_with(e)).map(str::len) else { return };
        if !self.has_vowel(n - cut) {
            return;
        }
        self.replace(cut, "");
        let n = self.0.len();
        let last = self.at(n.wrapping_sub(1));
        if ["at", "bl", "iz"].iter().any(|e| self.0.ends_with(e)) {
            self.0.push('e');
        } else if n >= 2
            && last == self.at(n - 2)
            && !matches!(last, b'a' | b'e' | b'i' | b'o' | b'u' | b'l' | b's' | b'z')
        {
            self.replace(1, "");
        } else if self.measure(n) == 1 && self.ends_short(n) {
            self.0.push('e');
        }
    }

    /// Only the first ending that fits is looked at, whether its condition holds or not.
    fn first_that_ends(&mut self, rules: &[(&str, &str)], holds: impl Fn(&Self, usize) -> bool) {
        let found = rules.iter().find(|(end, _)| self.0.len() > end.len() && self.0.ends_with(end));
        if let Some((end, by)) = found
            && holds(self, self.0.len() - end.len())
        {
            self.replace(end.len(), by);
        }
    }

    fn final_letters(&mut self) {
        let n = self.0.len();
        if self.0.ends_with('e') {
            let left = n - 1;
            if self.measure(left) > 1 || (self.measure(left) == 1 && !self.ends_short(left)) {
                self.replace(1, "");
            }
        }
        if self.0.ends_with("ll") && self.measure(self.0.len() - 1) > 1 {
            self.replace(1, "");
        }
    }
}
