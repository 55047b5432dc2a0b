//! Questions and skills that share no word but mean the same, and those that do not.

use crate::config::Synonyms;
use crate::index::*;
use crate::vocabulary::Vocabulary;
use crate::words::stems;
use std::collections::BTreeSet;

/// What the host takes for near.
const NEAR: f32 = 0.2;

fn vocabulary() -> Vocabulary {
    Vocabulary::with(&[]).unwrap()
}

fn skill<'s>(name: &'s str, description: &'s str) -> Skill<'s> {
    Skill { name, description, tags: &[], code: "" }
}

fn described(name: &str, description: &str) -> Entry {
    index(&vocabulary(), &skill(name, description))
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// Concepts that the question names and the skill is strong in, and how near the two are.
fn shared(question: &str, entry: &Entry) -> (Vec<String>, f32) {
    let expansion = expand(&vocabulary(), question);
    let shared = entry.tags.iter().filter(|tag| expansion.terms.contains(tag)).cloned().collect();
    (shared, cosine(&expansion.vector, &entry.vector))
}

#[test]
fn buy_dips_in_an_uptrend() {
    let entry = described(
        "ema-retracement",
        "Enters after a retracement towards the rising 20 EMA and leaves at the prior high",
    );
    let (concepts, near) = shared("buy dips in an uptrend", &entry);
    assert_eq!(concepts, ["pullback", "uptrend"]);
    assert!(near > 0.6, "{near}");
    for term in ["pullback", "uptrend", "dip"] {
        assert!(entry.terms.iter().any(|t| t == term), "{term}: {:?}", entry.terms);
    }
    assert!(!entry.terms.iter().any(|t| t == "retracement"), "full text finds it by this");
}

#[test]
fn questions_find_skills_that_share_no_word() {
    for (concept, question, name, description) in [
        (
            "uptrend",
            "what works when prices make higher highs",
            "slope",
            "Holds while the rising SMA points up",
        ),
        (
            "meanreversion",
            "fade extremes, expect a bounce",
            "z",
            "Bets on reversion after a move was stretched",
        ),
        (
            "pairs",
            "trade the spread between two correlated stocks",
            "ko-pep",
            "Relative value of a cola couple",
        ),
        (
            "volpremium",
            "earn income by writing options",
            "wheel",
            "Covered calls and cash-secured puts, monthly",
        ),
        (
            "marketmaking",
            "earn the bid-ask spread",
            "as-quoter",
            "Quotes on both sides with an inventory skew",
        ),
        ("arbitrage", "price difference between exchanges", "tri", "Triangular arbitrage of three coins"),
        (
            "funding",
            "collect perp funding",
            "harvest",
            "Is paid the perpetual swap premium every eight hours",
        ),
        ("stoploss", "cut losers early", "guard", "Every position has a protective stop"),
        ("trailingstop", "lock in gains as it runs", "chandelier", "Ratchets three ATR below the peak"),
        ("sizing", "how much to buy per trade", "half-kelly", "Lot size from edge and odds"),
        ("breakout", "buy 52 week highs", "turtle-entry", "Goes long when price leaves its range"),
        ("highvolatility", "survive turbulent markets", "storm", "Made for wild swings and panic"),
        ("sideways", "strategy for choppy markets", "box", "Oscillates between walls of a trading range"),
        ("momentum", "accelerating prices", "tsmom", "Keeps past winners for a quarter"),
        (
            "seasonality",
            "calendar anomalies",
            "santa",
            "Buys at the turn of the month, before January effect",
        ),
        ("earnings", "drift following quarterly results", "pead", "Long after a positive EPS surprise"),
        ("dca", "monthly savings plan", "stacker", "Dollar cost averaging into one coin"),
        ("hedging", "protect my portfolio against a crash", "shield", "Insurance through a cheap collar"),
        ("intraday", "day trading, flat by close", "opener", "Works within the session only"),
        ("orderexecution", "work a large order quietly", "slicer", "TWAP in small slices, never one iceberg"),
        (
            "machinelearning",
            "deep learning model for returns",
            "forest",
            "XGBoost classifier on lagged features",
        ),
        ("shortselling", "profit from falling shares", "bear-hunter", "Sells short what collapses"),
        ("valueinvesting", "cheap stocks", "graham", "Buys below intrinsic value with a margin of safety"),
        ("carry", "high yielding currencies", "fx-roll", "Earns the interest rate differential"),
    ] {
        let own: BTreeSet<String> = stems(&format!("{name} {description}")).into_iter().collect();
        let said: BTreeSet<String> = stems(question).into_iter().filter(|w| !w.is_empty()).collect();
        assert!(own.is_disjoint(&said), "{question}: {:?}", own.intersection(&said).collect::<Vec<_>>());
        let entry = described(name, description);
        let (concepts, near) = shared(question, &entry);
        assert!(
            concepts.iter().any(|c| c == concept),
            "{question} / {description}: {concepts:?}, {:?}",
            entry.tags
        );
        assert!(near > NEAR, "{question} / {description}: {near}");
    }
}

#[test]
fn what_means_something_else_stays_apart() {
    for (question, name, description) in [
        ("buy dips in an uptrend", "basis", "Holds spot against perpetual futures and earns funding"),
        ("earn the bid-ask spread", "dca", "Invests regularly, a fixed sum on every payday"),
        ("trade earnings surprises", "grid", "Evenly spaced orders in a trading range"),
        ("pairs trading", "fx-trend", "Follows the trend of every currency pair"),
        ("volatility squeeze", "gme", "Hunts a short squeeze of heavily shorted names"),
        ("carry trade", "runner", "Will carry out orders that others send"),
        ("bull market", "limits", "Sets a risk budget and scales trades down"),
        ("futures", "oracle", "Knows nothing of the future"),
        ("long short equity", "swing", "Has a long lookback and a short warm-up"),
        ("relative strength of sectors", "rsi-two", "Relative strength index below ten"),
    ] {
        let (concepts, near) = shared(question, &described(name, description));
        assert!(concepts.is_empty(), "{question} / {description}: {concepts:?}");
        assert!(near < 0.5, "{question} / {description}: {near}");
    }
}

#[test]
fn everyday_words_hint_at_what_nobody_named() {
    let words = stems("what does the taxman take, is there a deduction");
    assert!(vocabulary().find(&words).is_empty(), "it names nothing");
    let entry = described("lots", "Chooses tax lots so that losses are realised first");
    let (concepts, near) = shared("what does the taxman take, is there a deduction", &entry);
    assert_eq!(concepts, ["tax"]);
    assert!(near > NEAR, "{near}");
    assert!(
        entry.terms.iter().any(|t| t == "taxman"),
        "a skill is found by what hints at it: {:?}",
        entry.terms
    );
    let weak = expand(&vocabulary(), "taxman");
    assert!(weak.terms.is_empty() && !weak.vector.is_empty(), "one hint points but adds no words: {weak:?}");
}

#[test]
fn what_is_named_comes_before_what_is_hinted_at() {
    let named = expand(&vocabulary(), "buy dips, the taxman and a deduction");
    assert_eq!(named.terms.get(..2).unwrap(), ["pullback", "tax"]);
    let vocabulary = vocabulary();
    let hints: Vec<&str> =
        (0..vocabulary.size()).flat_map(|c| vocabulary.hints(c)).map(|hint| hint.0).collect();
    let everything = hints.join(" ");
    let words = stems(&everything);
    let named: BTreeSet<usize> = vocabulary.find(&words).into_iter().collect();
    let hinted = vocabulary.hinted(&words);
    let strong = hinted.iter().filter(|(c, much)| !named.contains(c) && **much >= MEANT_MIN).count();
    assert!(strong > HINTED_MAX, "{strong}");
    let meant = meant(&vocabulary, &words).0;
    assert_eq!(meant.len(), named.len() + HINTED_MAX);
    assert!(meant.iter().take(named.len()).all(|c| named.contains(c)));
}

#[test]
fn related_concepts_are_near_but_less() {
    let near = |question| shared(question, &described("x", "Buys oversold readings")).1;
    let (same, related, other) = (near("oversold"), near("mean reversion"), near("merger arbitrage"));
    assert!(same > 0.99 && same > related && related > NEAR && NEAR > other, "{same} {related} {other}");
}

#[test]
fn code_counts_less_than_what_is_said() {
    let code = "def trailing_stop(self):\n    \"\"\"Chandelier exit by ATR.\"\"\"\n    return self.trailStop";
    let entry = index(&vocabulary(), &Skill { code, ..skill("donchian", "A channel breakout") });
    assert_eq!(entry.tags, ["donchian"]);
    assert_eq!(entry.terms.first().map(String::as_str), Some("donchian"));
    assert!(entry.terms.iter().any(|t| t == "trailingstop"));
    let near = |question| cosine(&expand(&vocabulary(), question).vector, &entry.vector);
    assert!(near("donchian") > 2.0 * near("trailing stop"));
    let bare = index(&vocabulary(), &Skill { code, ..skill("x", "y") });
    assert!(bare.tags.is_empty() && !bare.vector.is_empty());
    let python =
        Skill { code: "options = {}; for pair in options.items(): future.set(pair)", ..skill("x", "y") };
    assert_eq!(index(&vocabulary(), &python), Entry::default());
}

#[test]
fn tags_are_read_one_by_one() {
    let read = |tags: &[&str]| {
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        index(&vocabulary(), &Skill { tags: &tags, ..skill("x", "") }).tags
    };
    assert_eq!(read(&["mean-reversion", "ETFs"]), ["meanreversion", "etf"]);
    assert_eq!(read(&["order-flow"]), ["orderflow"]);
    assert!(read(&["order", "flow"]).is_empty());
}

#[test]
fn nothing_found_is_nothing_said() {
    for text in ["", " ", "the of and", "quarterback", "🦀", "\0", "超買", "0.5 200"] {
        assert_eq!(expand(&vocabulary(), text), Expansion::default(), "{text:?}");
        assert_eq!(described(text, text), Entry::default(), "{text:?}");
    }
}

#[test]
fn the_same_is_said_again() {
    let (name, description) =
        ("all", "RSI, MACD and VWAP with a stop loss in a bull market; hedged by options");
    assert_eq!(described(name, description), described(name, description));
    let question = "hedge a bull market with options and rsi";
    assert_eq!(expand(&vocabulary(), question), expand(&vocabulary(), question));
    assert_eq!(expand(&vocabulary(), question).terms.get(..3).unwrap(), ["hedging", "bull", "options"]);
}

/// The name of every concept, many times over.
fn everything() -> String {
    let vocabulary = vocabulary();
    let ids: Vec<&str> = (0..vocabulary.size()).map(|c| vocabulary.id(c)).collect();
    ids.join(", ").repeat(10)
}

fn is_bounded(entry: &Entry) {
    assert!(entry.terms.len() <= TERMS_MAX && entry.tags.len() <= TAGS_MAX);
    is_direction(&entry.vector);
    assert_eq!(entry.terms.iter().collect::<BTreeSet<_>>().len(), entry.terms.len(), "each term once");
    assert!(entry.terms.iter().chain(&entry.tags).all(|t| t.len() <= 64));
}

fn is_direction(vector: &[f32]) {
    if !vector.is_empty() {
        assert_eq!(vector.len(), vocabulary().size());
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-5);
        assert!(vector.iter().all(|v| (0.0..=1.0).contains(v)));
    }
}

#[test]
fn the_bounds_hold_when_everything_is_said() {
    let all = everything();
    let tags = vec![all.clone(); 1_000];
    let entry = index(&vocabulary(), &Skill { name: &all, description: &all, tags: &tags, code: &all });
    is_bounded(&entry);
    assert_eq!((entry.terms.len(), entry.tags.len()), (TERMS_MAX, TAGS_MAX));
    let expansion = expand(&vocabulary(), &all);
    assert_eq!(expansion.terms.len(), EXPANSION_TERMS_MAX);
    is_direction(&expansion.vector);
}

#[test]
fn hostile_texts_do_no_harm() {
    let megabytes = 10 << 20;
    for text in [
        "a".repeat(megabytes),
        "A".repeat(megabytes),
        "é".repeat(megabytes / 2),
        "x🦀".repeat(megabytes / 5),
        "aB1".repeat(megabytes / 3),
        "dip ".repeat(megabytes / 4),
        ".".repeat(megabytes),
        "İ\u{0301}ﬁ ".repeat(megabytes / 8),
        "\u{0}\u{feff}\u{202e}".into(),
    ] {
        let tags = vec![text.clone(); 3];
        is_bounded(&index(
            &vocabulary(),
            &Skill { name: &text, description: &text, tags: &tags, code: &text },
        ));
        is_direction(&expand(&vocabulary(), &text).vector);
    }
}

#[test]
fn only_the_beginning_of_a_text_is_read() {
    let late = |before: usize| format!("{} dip", "é".repeat(before));
    assert_eq!(described("x", &late(TEXT_BYTES_MAX / 2 - 4)).tags, ["pullback"]);
    assert!(described("x", &late(TEXT_BYTES_MAX / 2)).tags.is_empty());
}

#[test]
fn an_operators_phrases_are_found() {
    let with = |concept: &str, phrase: &str| {
        Vocabulary::with(&[Synonyms { concept: concept.into(), phrases: vec![phrase.into()] }])
    };
    let more = with("pullback", "Abschläge").unwrap();
    assert_eq!(more.size(), vocabulary().size());
    assert!(expand(&more, "kauft abschläge").terms.iter().any(|t| t == "pullback"));
    assert!(expand(&more, "buy dips").terms.iter().any(|t| t == "abschläge"));
    assert!(with("pullback", "buy the dips").is_ok(), "it means that already");
    let long = "é".repeat(65);
    for (concept, phrase, words) in [
        ("carry", long.as_str(), "each of at most 128 bytes"),
        ("pulback", "discount", "`synonyms`: the vocabulary has no concept `pulback`"),
        ("uptrend", "dips", "`synonyms`: the phrase `dips` is taken by pullback"),
        ("carry", "carries out", "is taken by an idiom"),
        ("carry", "the 20", "is no phrase of one to 4 words"),
        ("carry", "one. two", "is no phrase"),
        ("carry", "one two three four five", "is no phrase"),
    ] {
        let error = with(concept, phrase).unwrap_err();
        assert!(error.contains(words), "{concept}, {phrase}: {error}");
    }
}
