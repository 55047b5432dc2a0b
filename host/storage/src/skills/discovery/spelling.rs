//! How far two words are apart, for words that somebody misspelt.

use std::collections::HashMap;

/// Letters of a word that is looked at; longer ones are not words that somebody mistypes.
const LETTERS_MAX: usize = 32;
/// Words that share trigrams with a misspelt one and are measured against it, those that share most first.
const MEASURED_MAX: usize = 512;

/// How many slips of the hand are forgiven in a word of so many letters.
pub(super) fn forgiven(letters: usize) -> usize {
    match letters {
        0..=3 => 0,
        4..=6 => 1,
        _ => 2,
    }
}

/// Can it be a misspelt word? Numbers are what they are.
pub(super) fn is_word(word: &str) -> bool {
    let letters = word.chars().count();
    (3..=LETTERS_MAX).contains(&letters) && word.chars().all(char::is_alphabetic)
}

/// Which words have which three letters in a row. Each end of a word counts as a letter. Of what is not misspelt, such as numbers,
/// only the beginning is kept.
#[derive(Debug, Default)]
pub(super) struct Trigrams {
    words: HashMap<[char; 3], Vec<u32>>,
}

fn trigrams(word: &str) -> Vec<[char; 3]> {
    let letters: Vec<char> = ['^'].into_iter().chain(word.chars()).chain(['$']).collect();
    let mut all: Vec<[char; 3]> = letters.windows(3).filter_map(|w| <[char; 3]>::try_from(w).ok()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The beginning of a word, by its first two letters; a single one, as unspaced scripts have them, stands for itself.
fn beginning(word: &str) -> Option<[char; 3]> {
    let mut letters = word.chars();
    Some(['^', letters.next()?, letters.next().unwrap_or('$')])
}

fn kept(word: &str) -> Vec<[char; 3]> {
    let mut kept = if is_word(word) { trigrams(word) } else { beginning(word).into_iter().collect() };
    // So that one character finds the pairs that begin with it.
    if let Some(first) = word.chars().next().filter(|c| !c.is_ascii() && word.chars().count() <= 2) {
        kept.push(['^', first, '^']);
    }
    kept
}

impl Trigrams {
    /// Words that begin with the first two letters of `text`, or with its only one in a script of many characters.
    pub(super) fn begin(&self, text: &str) -> &[u32] {
        let mut letters = text.chars();
        let key = match (letters.next(), letters.next()) {
            (Some(one), Some(two)) => ['^', one, two],
            (Some(one), None) => ['^', one, '^'],
            _ => return &[],
        };
        self.words.get(&key).map_or(&[], |ids| ids)
    }

    pub(super) fn add(&mut self, word: &str, id: u32) {
        for trigram in kept(word) {
            self.words.entry(trigram).or_default().push(id);
        }
    }

    pub(super) fn remove(&mut self, word: &str, id: u32) {
        for trigram in kept(word) {
            if let Some(ids) = self.words.get_mut(&trigram) {
                ids.retain(|there| *there != id);
                if ids.is_empty() {
                    self.words.remove(&trigram);
                }
            }
        }
    }

    /// Words that may be within reach: those that share most trigrams with it, ties by `text` of the word.
    pub(super) fn near<'t>(&self, word: &str, text: impl Fn(u32) -> &'t str) -> Vec<u32> {
        let mut shared: HashMap<u32, usize> = HashMap::new();
        for trigram in trigrams(word) {
            for id in self.words.get(&trigram).into_iter().flatten() {
                *shared.entry(*id).or_default() += 1;
            }
        }
        let letters = word.chars().count();
        let reach = forgiven(letters);
        let mut near: Vec<(u32, usize)> = shared
            .into_iter()
            .filter(|(id, _)| text(*id).chars().count().abs_diff(letters) <= reach)
            .collect();
        near.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| text(a.0).cmp(text(b.0))));
        near.into_iter().take(MEASURED_MAX).map(|(id, _)| id).collect()
    }
}

/// Letters left out, put in, replaced, or swapped with a neighbour; `None` beyond `most`.
pub(super) fn distance(one: &str, other: &str, most: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let of = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut best = (of(&row, j) + usize::from(x != y)).min(of(&row, j + 1) + 1).min(of(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(of(&before, j - 1) + 1);
            }
            next.push(best);
        }
        if next.iter().all(|d| *d > most) {
            return None;
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().filter(|d| *d <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_counted() {
        for (one, other, apart) in [
            ("momentum", "momentum", 0),
            ("momentm", "momentum", 1),
            ("brekout", "breakout", 1),
            ("rnage", "range", 1),
            ("breakuot", "breakout", 1),
            ("ichimoko", "ichimoku", 1),
            ("partiy", "parity", 1),
            ("", "ab", 2),
            ("größe", "grösse", 2),
        ] {
            assert_eq!(distance(one, other, 2), Some(apart), "{one} {other}");
            assert_eq!(distance(other, one, 2), Some(apart), "{other} {one}");
            assert_eq!(
                distance(one, other, apart.wrapping_sub(1).min(2)),
                if apart == 0 { Some(0) } else { None }
            );
        }
        assert_eq!(distance("trend", "spread", 2), None);
    }

    #[test]
    fn words_come_near_and_go() {
        let words = ["momentum", "moment", "monument", "spread"];
        let mut t = Trigrams::default();
        for (id, word) in (0..).zip(words) {
            t.add(word, id);
        }
        let text = |id: u32| words[id as usize];
        assert_eq!(
            t.near("momentm", text),
            [1, 0, 2],
            "`moment` shares one more: its beginning is all of it"
        );
        t.remove("momentum", 0);
        assert_eq!(t.near("momentm", text), [1, 2]);
        (1..4).for_each(|id| t.remove(words[id as usize], id));
        assert!(t.words.is_empty());
    }
}
