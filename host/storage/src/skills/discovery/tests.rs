//! Words and stems; the index follows what it would be if it were made anew.

use super::stem::stem;
use super::words::{asked, words};
use super::*;
use proptest::prelude::*;
use rusqlite::Connection;

fn stored(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    words(text, |w| out.push(w.to_string()));
    out
}

#[test]
fn words_of_every_script() {
    for (text, want) in [
        ("Buy-the_DIP 2x", vec!["buy", "the", "dip", "2x"]),
        ("traders' don't; 'tis", vec!["traders", "dont", "tis"]),
        ("Größe naïve ŽELVA", vec!["große", "naive", "zelva"]),
        ("ΜΈΣΟΣ μέσος Возврат", vec!["μεσοσ", "μεσοσ", "возврат"]),
        ("ﬁll Ｆｕｌｌ", vec!["fill", "full"]),
        ("均值回归", vec!["均值", "值回", "回归", "归"]),
        ("RSI指标x", vec!["rsi", "指标", "标", "x"]),
        ("가격", vec!["가격", "격"]),
        ("がく", vec!["がく", "く"]),
        ("औसत", vec!["औसत"]),
        ("שלום", vec!["שלום"]),
        ("!!! \u{0} 🙂", vec![]),
    ] {
        assert_eq!(stored(text), want, "{text}");
    }
    assert_eq!(asked("均值回归 x"), ["均值", "值回", "回归", "x"], "a question has no lone end");
    assert_eq!(asked("金"), ["金"]);
    let long = "ä".repeat(100);
    assert_eq!(stored(&long), ["a".repeat(words::WORD_BYTES_MAX)]);
    assert_eq!(stored(&format!("{long}b")), asked(&long));
}

/// What FTS5's tokenizer makes of some words.
fn porter(words: &[String]) -> Vec<String> {
    let c = Connection::open_in_memory().unwrap();
    c.execute_batch(
        "CREATE VIRTUAL TABLE t USING fts5(x, tokenize = 'porter unicode61');
         CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance');",
    )
    .unwrap();
    for (i, word) in words.iter().enumerate() {
        c.execute("INSERT INTO t(rowid, x) VALUES (?1, ?2)", (i as i64, word)).unwrap();
    }
    let mut statement = c.prepare("SELECT term FROM v ORDER BY doc").unwrap();
    let found = statement.query_map([], |r| r.get(0)).unwrap();
    found.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn stems_are_those_of_fts5() {
    let text = include_str!("../../../../../tests/discovery/skills.tsv");
    let mut all = stored(text);
    all.extend(
        "caresses ponies ties caress cats feed agreed plastered bled motoring sing conflated troubled sized hopping tanned falling
         hissing fizzed failing filing happy sky relational conditional rational valenci hesitanci digitizer conformabli radicalli
         differentli vileli analogousli vietnamization predication operator feudalism decisiveness hopefulness callousness
         formaliti sensitiviti sensibiliti triplicate formative formalize electriciti electrical hopeful goodness revival allowance
         inference airliner gyroscopic adjustable defensible irritant replacement adjustment dependent adoption homologou
         communism activate angulariti homologous effective bowdlerize probate rate cease controll roll by yes say analogy
         die dies lying ed ing eed"
            .split_whitespace()
            .map(str::to_string),
    );
    all.sort();
    all.dedup();
    assert!(all.len() > 1_500, "{}", all.len());
    for (word, want) in all.iter().zip(porter(&all)) {
        assert_eq!(stem(word), want, "{word}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Words that nobody wrote, from the endings that the rules are about.
    #[test]
    fn any_word_has_the_stem_of_fts5(words in prop::collection::vec("[a-z]{0,6}(y|s|ed|ing|at|bl|iz|ss|al|ent|ion|ational|iviti|ize|er|e|ll|ness|ful)?(s|ed|ing|e|y|li|ment)?", 50)) {
        let words: Vec<String> = words.into_iter().filter(|w| !w.is_empty()).collect();
        for (word, want) in words.iter().zip(porter(&words)) {
            prop_assert_eq!(stem(word), want, "{}", word);
        }
    }

    /// Syntax is text: whatever is asked is a question, or an error that says which bound it breaks.
    #[test]
    fn any_text_is_a_question(text in "\\PC{0,200}|[\"*()^:{}+\\-~'“”a-c ]{0,60}|(AND|OR|NOT|NEAR|\"|\\*|a|均|\\(| )*") {
        match Question::parse(&text) {
            Ok(q) => {
                prop_assert!(!q.words.is_empty() && q.words.len() <= question::WORDS_MAX);
                prop_assert!(q.phrases.iter().all(|p| p.len() > 1));
            }
            Err(e) => prop_assert!(matches!(e.kind(), crate::error::Kind::Invalid | crate::error::Kind::Limit)),
        }
    }
}

#[test]
fn a_question_has_bounds() {
    use crate::error::Kind;
    let kind = |text: String| Question::parse(&text).map(|_| ()).map_err(|e| e.kind());
    let (bytes, count) = (question::QUESTION_BYTES_MAX, question::WORDS_MAX);
    assert_eq!((kind("a".repeat(bytes)), kind("a".repeat(bytes + 1))), (Ok(()), Err(Kind::Limit)));
    let many = |n: usize| (0..n).map(|i| format!("w{i} the ")).collect::<String>();
    assert_eq!((kind(many(count)), kind(many(count + 1))), (Ok(()), Err(Kind::Limit)));
    assert_eq!(kind("w ".repeat(2_000)), Ok(()), "each counts once");
    let phrases = |n: usize| "\"a b\" ".repeat(n);
    let most = question::PHRASES_MAX;
    assert_eq!((kind(phrases(most)), kind(phrases(most + 1))), (Ok(()), Err(Kind::Limit)));
}

#[test]
fn what_a_question_says() {
    let parse = |t: &str| Question::parse(t).unwrap();
    assert_eq!(parse("what is the dip").words, ["dip"]);
    assert_eq!(parse("what is the").words, ["what", "is", "the"], "rather than nothing");
    assert_eq!(parse("mom* break").begun, ["mom"]);
    assert_eq!((parse("buy dip").typing, parse("buy dip ").typing), (Some("dip".into()), None));
    assert_eq!(parse("say \"buy the dip\" and \"x").phrases, [["buy", "the", "dip"]]);
    assert_eq!(parse("“a b” \"c\" \"d e\"").phrases, [["a", "b"], ["d", "e"]]);
}
