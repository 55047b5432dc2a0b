//! A text as words that can be compared: lower case, without small words and numbers, stemmed.
//!
//! The stemmer is small on purpose. It only has to bring the forms of one word together, the same in the vocabulary and in
//! the text; what it makes need not be a word.

/// What joins words and means nothing here. `up`, `out`, `in` or `on` are not among them: `break out` is not `break`, and
/// `risk on` is not `risk`. `future` is: it is a time, only `futures` are contracts.
const SMALL: &[&str] = &[
    "a", "after", "an", "and", "are", "as", "at", "be", "been", "by", "for", "from", "future", "had", "has",
    "i", "into", "is", "it", "its", "my", "of", "or", "our", "s", "t", "than", "that", "the", "their",
    "then", "these", "this", "those", "to", "towards", "was", "we", "when", "where", "which", "while",
    "with", "your",
];

/// Where a phrase ends in any case.
const BREAKS: [char; 17] =
    ['.', ',', ';', ':', '!', '?', '(', ')', '[', ']', '{', '}', '"', '=', '|', '<', '>'];

/// The words of a text as they are written, in lower case. An empty word is a break that no phrase reaches across.
///
/// `snake_case`, `kebab-case` and `camelCase` fall apart. Numbers are parameters, not words: `the rising 20 EMA` and
/// `EMA20` say `ema`.
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let word = run.strip_suffix(|c: char| !c.is_alphanumeric()).unwrap_or(run);
        for part in humps(word) {
            let part = part.to_lowercase();
            if !part.chars().all(char::is_numeric) && !SMALL.contains(&part.as_str()) {
                words.push(part);
            }
        }
        if run.ends_with(BREAKS) && words.last().is_some_and(|w| !w.is_empty()) {
            words.push(String::new());
        }
    }
    words
}

/// The words of a text, stemmed, with its breaks.
pub fn stems(text: &str) -> Vec<String> {
    split(text).iter().map(|word| stem(word)).collect()
}

/// What forms of one word have in common: `dips`, `dipped` and `dipping` are `dip`.
pub fn stem(word: &str) -> String {
    let word = singular(word);
    let word = ["ing", "ed"]
        .iter()
        .filter(|_| !word.ends_with("eed"))
        .find_map(|end| word.strip_suffix(end).filter(|rest| is_stem(rest)).map(undoubled))
        .unwrap_or(&word);
    // `hedge` as `hedging`.
    word.strip_suffix('e').filter(|rest| rest.len() >= 3 && !rest.ends_with('e')).unwrap_or(word).into()
}

fn singular(word: &str) -> String {
    if let Some(rest) = word.strip_suffix("ies").or_else(|| word.strip_suffix("ied"))
        && rest.len() >= 2
    {
        return format!("{rest}y");
    }
    let end = if ["sses", "xes", "ches", "shes"].iter().any(|end| word.ends_with(end)) { "es" } else { "s" };
    let kept = ["ss", "us", "is"].iter().any(|end| word.ends_with(end));
    word.strip_suffix(end).filter(|rest| !kept && rest.len() >= 3).unwrap_or(word).into()
}

/// Long enough to be a word of its own, and with a vowel: `swing` has no ending.
fn is_stem(rest: &str) -> bool {
    rest.len() >= 3 && rest.contains(['a', 'e', 'i', 'o', 'u', 'y'])
}

/// `dipp` as `dip`; `sell`, `loss` and `add` stay.
fn undoubled(stem: &str) -> &str {
    let mut back = stem.chars().rev();
    match (back.next(), back.next()) {
        (Some(last), Some(before))
            if last == before && stem.len() > 3 && !['l', 's', 'z'].contains(&last) =>
        {
            stem.strip_suffix(last).unwrap_or(stem)
        }
        _ => stem,
    }
}

/// The parts of `meanReversion`, `RSISignal` and `ema20`. The plural of an acronym, `ETFs`, stays whole.
fn humps(word: &str) -> Vec<&str> {
    let chars: Vec<(usize, char)> = word.char_indices().collect();
    let char_at = |i: usize| chars.get(i).map(|(_, c)| *c);
    let is_lower = |i: usize| char_at(i).is_some_and(char::is_lowercase);
    let (mut parts, mut start) = (Vec::new(), 0);
    for (i, pair) in chars.windows(2).enumerate() {
        let &[(_, before), (at, c)] = pair else { continue };
        let acronym_ends = before.is_uppercase()
            && c.is_uppercase()
            && is_lower(i + 2)
            && (char_at(i + 2) != Some('s') || is_lower(i + 3));
        if before.is_numeric() != c.is_numeric()
            || (before.is_lowercase() && c.is_uppercase())
            || acronym_ends
        {
            parts.extend(word.get(start..at));
            start = at;
        }
    }
    parts.extend(word.get(start..).filter(|rest| !rest.is_empty()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fall_apart_into_words() {
        for (text, words) in [
            ("", &[][..]),
            ("...((", &[]),
            ("the 52-week HIGH", &["week", "high"]),
            ("mean_reversion meanReversion", &["mean", "reversion", "mean", "reversion"]),
            ("RSISignal ETFs EMA20 x2", &["rsi", "signal", "etfs", "ema", "x"]),
            ("Stop. Loss, at 0.5%", &["stop", "", "loss", ""]),
            ("Überkauft 超買 ½", &["überkauft", "超買"]),
        ] {
            assert_eq!(split(text), words, "{text}");
        }
    }

    #[test]
    fn forms_of_one_word_meet() {
        for forms in [
            &["dip", "dips", "dipped", "dipping"][..],
            &["hedge", "hedges", "hedged", "hedging"],
            &["rally", "rallies", "rallied"],
            &["loss", "losses"],
            &["sell", "sells", "selling"],
            &["swing", "swings", "swinging"],
            &["trade", "trades", "traded", "trading"],
            &["cross", "crosses", "crossed", "crossing"],
            &["ema", "emas"],
            &["index", "indexes"],
        ] {
            let stems: Vec<String> = forms.iter().map(|form| stem(form)).collect();
            assert!(stems.iter().all(|s| Some(s) == stems.first()), "{forms:?}: {stems:?}");
        }
    }

    #[test]
    fn what_only_looks_like_an_ending_stays() {
        for word in
            ["basis", "swing", "speed", "gas", "add", "momentum", "fee", "ing", "ed", "s", "", "é", "ßs"]
        {
            assert_eq!(stem(word), word);
        }
    }
}
