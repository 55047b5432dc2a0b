//! Lines that two texts have in common, and what is left as a unified diff.
//!
//! The search is that of `diff`: E. W. Myers, "An O(ND) Difference Algorithm and Its Variations", Algorithmica 1 (1986), in its form
//! that needs memory for two rows only. What it costs grows with the product of length and difference, so its steps are bounded:
//! parts that are left when they run out are shown as replaced. The same texts give the same diff on every machine.
//!
//! `similar` 3.2 was measured for this. Two texts of a mebibyte, of sixteen kinds of lines in no order, took 20 s by its Myers, 34 by its
//! Patience and 24 by its Histogram, on a busy machine; this ends with its steps. The bound that it takes is a time by the clock, with
//! which a slower machine would show another diff.

use std::collections::HashMap;

/// Steps of one search; a tenth of a second or so.
pub(super) const STEPS_MAX: u64 = 20_000_000;

/// Two texts, line by line.
#[derive(Debug)]
pub(super) struct Diff<'a> {
    old: Vec<&'a str>,
    new: Vec<&'a str>,
    /// Is a line of the old text, or of the new one, one that both have? The n-th of one is the n-th of the other.
    kept_old: Vec<bool>,
    kept_new: Vec<bool>,
    /// No diff has fewer lines.
    pub(super) shortest: bool,
}

/// A run of lines that both have, or not.
#[derive(Debug, Clone, Copy)]
struct Edit {
    old: (usize, usize),
    new: (usize, usize),
}

impl<'a> Diff<'a> {
    pub(super) fn of(old: &'a str, new: &'a str) -> Self {
        Self::within(old, new, STEPS_MAX)
    }

    pub(super) fn within(old: &'a str, new: &'a str, steps: u64) -> Self {
        let (old, new): (Vec<&str>, Vec<&str>) =
            (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut number = |lines: &[&'a str]| -> Vec<u32> {
            let one = |line: &&'a str| {
                let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                *numbers.entry(*line).or_insert(next)
            };
            lines.iter().map(one).collect()
        };
        let (a, b) = (number(&old), number(&new));
        let mut search = Search {
            kept_old: vec![false; a.len()],
            kept_new: vec![false; b.len()],
            a,
            b,
            forth: Vec::new(),
            back: Vec::new(),
            steps,
            shortest: true,
        };
        search.run();
        let Search { kept_old, kept_new, shortest, .. } = search;
        Self { old, new, kept_old, kept_new, shortest }
    }

    pub(super) fn added(&self) -> u64 {
        self.kept_new.iter().filter(|k| !**k).count() as u64
    }

    pub(super) fn removed(&self) -> u64 {
        self.kept_old.iter().filter(|k| !**k).count() as u64
    }

    /// Runs of lines that are not in both, in order.
    fn edits(&self) -> Vec<Edit> {
        let (mut i, mut j) = (0, 0);
        let mut out = Vec::new();
        let gone = |kept: &[bool], from: usize| from + kept.iter().skip(from).take_while(|k| !**k).count();
        while i < self.old.len() || j < self.new.len() {
            let (to_i, to_j) = (gone(&self.kept_old, i), gone(&self.kept_new, j));
            if to_i > i || to_j > j {
                out.push(Edit { old: (i, to_i), new: (j, to_j) });
            }
            (i, j) = (to_i + 1, to_j + 1);
        }
        out
    }

    /// As `diff -u` writes it; empty if the texts are the same.
    pub(super) fn unified(&self, old_title: &str, new_title: &str, context: usize) -> String {
        let edits = self.edits();
        let mut out = String::new();
        let mut rest = edits.as_slice();
        while let Some(first) = rest.first() {
            // Changes whose surroundings touch are one hunk.
            let touching = rest.windows(2).take_while(|w| match w {
                [one, next] => next.old.0 - one.old.1 <= context.saturating_mul(2),
                _ => false,
            });
            let n = 1 + touching.count();
            let (hunk, further) = rest.split_at(n);
            let last = hunk.last().unwrap_or(first);
            let before = context.min(first.old.0);
            let after = context.min(self.old.len() - last.old.1);
            if out.is_empty() {
                out.push_str(&format!("--- {old_title}\n+++ {new_title}\n"));
            }
            let span = |from: usize, to: usize| {
                // An empty span is named by the line before it.
                let at = if from == to { from } else { from + 1 };
                if to - from == 1 { at.to_string() } else { format!("{at},{}", to - from) }
            };
            out.push_str(&format!(
                "@@ -{} +{} @@\n",
                span(first.old.0 - before, last.old.1 + after),
                span(first.new.0 - before, last.new.1 + after)
            ));
            let mut at = first.old.0 - before;
            for edit in hunk {
                push(&mut out, ' ', &self.old, (at, edit.old.0));
                push(&mut out, '-', &self.old, edit.old);
                push(&mut out, '+', &self.new, edit.new);
                at = edit.old.1;
            }
            push(&mut out, ' ', &self.old, (at, last.old.1 + after));
            rest = further;
        }
        out
    }
}

fn push(out: &mut String, sign: char, lines: &[&str], (from, to): (usize, usize)) {
    for line in lines.get(from..to).unwrap_or_default() {
        out.push(sign);
        out.push_str(line);
        if !line.ends_with('\n') {
            out.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// Lines as numbers: equal lines have equal ones.
#[derive(Debug)]
struct Search {
    a: Vec<u32>,
    b: Vec<u32>,
    kept_old: Vec<bool>,
    kept_new: Vec<bool>,
    /// The furthest places on each diagonal, from the beginning and from the end.
    forth: Vec<u32>,
    back: Vec<u32>,
    steps: u64,
    shortest: bool,
}

/// Parts of both texts.
#[derive(Debug, Clone, Copy)]
struct Part {
    a: (usize, usize),
    b: (usize, usize),
}

impl Search {
    fn run(&mut self) {
        let mut parts = vec![Part { a: (0, self.a.len()), b: (0, self.b.len()) }];
        while let Some(part) = parts.pop() {
            let part = self.trim(part);
            if part.a.0 == part.a.1 || part.b.0 == part.b.1 {
                continue;
            }
            match self.split(part) {
                Some((x, y)) => {
                    parts.push(Part { a: (x, part.a.1), b: (y, part.b.1) });
                    parts.push(Part { a: (part.a.0, x), b: (part.b.0, y) });
                }
                None => self.shortest = false,
            }
        }
    }

    /// Keeps the lines at both ends that are the same.
    fn trim(&mut self, mut part: Part) -> Part {
        let same = |a: Option<&u32>, b: Option<&u32>| a.is_some() && a == b;
        while part.a.0 < part.a.1 && part.b.0 < part.b.1 && same(self.a.get(part.a.0), self.b.get(part.b.0)) {
            self.keep(part.a.0, part.b.0);
            (part.a.0, part.b.0) = (part.a.0 + 1, part.b.0 + 1);
        }
        while part.a.0 < part.a.1
            && part.b.0 < part.b.1
            && same(self.a.get(part.a.1 - 1), self.b.get(part.b.1 - 1))
        {
            (part.a.1, part.b.1) = (part.a.1 - 1, part.b.1 - 1);
            self.keep(part.a.1, part.b.1);
        }
        part
    }

    fn keep(&mut self, a: usize, b: usize) {
        self.kept_old.iter_mut().skip(a).take(1).for_each(|k| *k = true);
        self.kept_new.iter_mut().skip(b).take(1).for_each(|k| *k = true);
    }

    /// A place on a shortest way through a part whose ends differ: neither its beginning nor its end. `None`: the steps ran out.
    fn split(&mut self, part: Part) -> Option<(usize, usize)> {
        let (a, b) = (self.a.get(part.a.0..part.a.1)?, self.b.get(part.b.0..part.b.1)?);
        let (n, m) = (a.len().cast_signed(), b.len().cast_signed());
        let delta = n - m;
        let most = (n + m + 1) / 2;
        // Diagonals from -most - 1 to most + 1.
        let size = usize::try_from(2 * most + 3).ok()?;
        self.forth.clear();
        self.forth.resize(size, 0);
        self.back.clear();
        self.back.resize(size, 0);
        let place = |k: isize| (k + most + 1).cast_unsigned();
        let get = |row: &[u32], k: isize| row.get(place(k)).map_or(0, |x| *x as isize);
        for d in 0..=most {
            // Diagonals that have left the part lead nowhere.
            let (low, high) = (-(d - 2 * (d - m).max(0)), d - 2 * (d - n).max(0));
            for forth in [true, false] {
                let mut k = low;
                while k <= high {
                    let row = if forth { &self.forth } else { &self.back };
                    let down = k == -d || (k != d && get(row, k - 1) < get(row, k + 1));
                    let mut x = if down { get(row, k + 1) } else { get(row, k - 1) + 1 };
                    let begin = x;
                    let line = |x: isize, y: isize| {
                        let (x, y) = if forth { (x, y) } else { (n - 1 - x, m - 1 - y) };
                        let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
                        Some((a.get(x)?, b.get(y)?))
                    };
                    while line(x, x - k).is_some_and(|(a, b)| a == b) {
                        x += 1;
                    }
                    let walked = 1 + (x - begin).unsigned_abs() as u64;
                    self.steps = self.steps.checked_sub(walked)?;
                    let row = if forth { &mut self.forth } else { &mut self.back };
                    row.iter_mut().skip(place(k)).take(1).for_each(|to| *to = u32::try_from(x).unwrap_or(0));
                    // Where both ways meet, a shortest one goes.
                    let other = delta - k;
                    let (reach, opposite) = if forth { (d - 1, &self.back) } else { (d, &self.forth) };
                    if (delta % 2 != 0) == forth && other.abs() <= reach && x + get(opposite, other) >= n {
                        let (x, y) = if forth { (begin, begin - k) } else { (n - x, m - (x - k)) };
                        return Some((
                            part.a.0 + usize::try_from(x).ok()?,
                            part.b.0 + usize::try_from(y).ok()?,
                        ));
                    }
                    k += 2;
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The new text, made of the old one by the hunks of a diff.
    fn patched(old: &str, diff: &str) -> String {
        let lines: Vec<&str> = old.split_inclusive('\n').collect();
        let (mut out, mut at) = (String::new(), 0);
        let mut hunks = diff.split_inclusive('\n').skip(2).peekable();
        while let Some(line) = hunks.next() {
            let whole = match hunks.peek() {
                Some(next) if next.starts_with('\\') => {
                    hunks.next();
                    line.trim_end_matches('\n')
                }
                _ => line,
            };
            let (sign, text) = whole.split_at(1);
            match sign {
                "@" => {
                    let span = whole.split(' ').nth(1).unwrap().trim_start_matches('-');
                    let (from, n) = span.split_once(',').unwrap_or((span, "1"));
                    let from: usize = from.parse().unwrap();
                    let from = if n == "0" { from } else { from - 1 };
                    out.extend(lines[at..from].iter().copied());
                    at = from;
                }
                "+" => out.push_str(text),
                " " | "-" => {
                    assert_eq!(lines[at], text);
                    at += 1;
                    if sign == " " {
                        out.push_str(text);
                    }
                }
                _ => panic!("{whole:?}"),
            }
        }
        out.extend(lines[at..].iter().copied());
        out
    }

    /// The fewest lines that must go and come, by the plain table.
    fn fewest(old: &str, new: &str) -> usize {
        let (a, b): (Vec<&str>, Vec<&str>) =
            (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
        let mut row: Vec<usize> = vec![0; b.len() + 1];
        for x in &a {
            let mut corner = 0;
            for (j, y) in b.iter().enumerate() {
                let above = row[j + 1];
                row[j + 1] = if x == y { corner + 1 } else { above.max(row[j]) };
                corner = above;
            }
        }
        a.len() + b.len() - 2 * row[b.len()]
    }

    fn unified(old: &str, new: &str) -> String {
        Diff::of(old, new).unified("a", "b", 3)
    }

    #[test]
    fn it_is_what_diff_writes() {
        assert_eq!(unified("a\nb\n", "a\nb\n"), "");
        assert_eq!(unified("", ""), "");
        assert_eq!(unified("", "a\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+a\n");
        assert_eq!(unified("a\n", ""), "--- a\n+++ b\n@@ -1 +0,0 @@\n-a\n");
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n18\n";
        assert_eq!(
            unified(old, new),
            "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n@@ -14,5 +14,4 @@\n 14\n 15\n 16\n-17\n 18\n"
        );
        assert_eq!(
            Diff::of(old, new).unified("a", "b", 0),
            "--- a\n+++ b\n@@ -5 +5 @@\n-5\n+five\n@@ -17 +16,0 @@\n-17\n"
        );
        assert_eq!(
            unified("a\nb", "a\nb\n"),
            "--- a\n+++ b\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"
        );
        assert_eq!(unified("a\r\n", "a\n"), "--- a\n+++ b\n@@ -1 +1 @@\n-a\r\n+a\n");
    }

    #[test]
    fn what_takes_too_many_steps_is_shown_as_replaced() {
        let text = |word: &str| (0..400).map(|i| format!("{word}{i}\n")).collect::<String>();
        let (old, new) = (format!("same\n{}end\n", text("a")), format!("same\n{}end\n", text("b")));
        let cut = Diff::within(&old, &new, 1_000);
        assert!(!cut.shortest && Diff::of(&old, &new).shortest);
        assert_eq!((cut.added(), cut.removed()), (400, 400));
        assert_eq!(patched(&old, &cut.unified("a", "b", 3)), new);
    }

    #[test]
    fn texts_of_a_mebibyte_end_in_steps_that_are_counted() {
        let lines = |seed: u32| {
            let mut state = seed;
            (0..250_000)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    format!("{:02x}\n", state >> 26)
                })
                .collect::<String>()
        };
        let (old, new) = (lines(1), lines(2));
        let diff = Diff::of(&old, &new);
        assert_eq!(patched(&old, &diff.unified("a", "b", 0)), new);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(512))]
        /// The old text and the diff give the new text, and no diff is shorter.
        #[test]
        fn a_diff_leads_from_one_text_to_the_other(
            old in "([abc]{0,1}\n){0,14}[ab]{0,1}", new in "([abc]{0,1}\n){0,14}[ab]{0,1}", context in 0_usize..5
        ) {
            let diff = Diff::of(&old, &new);
            let text = diff.unified("a", "b", context);
            assert_eq!(patched(&old, &text), new, "{text}");
            assert!(diff.shortest);
            assert_eq!((diff.added() + diff.removed()) as usize, fewest(&old, &new), "{text}");
            let cut = Diff::within(&old, &new, 6);
            assert_eq!(patched(&old, &cut.unified("a", "b", context)), new);
        }
    }
}
