//! A `skills.json`, as Voyager writes it, of a trader's own functions.

use super::*;
use crate::audit::{Audit, AuditFilter};
use crate::error::Kind;
use crate::sqlite::{Database, Options};
use std::sync::Arc;

const OP: Caller = Caller::Operator;
/// Four functions, two of which call others.
const FIXTURE: &str = include_str!("../../../../../tests/fixtures/skills/voyager.json");

fn skills() -> (tempfile::TempDir, Arc<Database>, Skills) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = Arc::new(Database::open(&path, Options::default(), crate::schema::MIGRATIONS).unwrap());
    (dir, db.clone(), Skills::new(db, Arc::default()))
}

fn import(s: &Skills, text: &str, options: &VoyagerOptions) -> Result<Imported> {
    s.voyager(&OP, &mut text.as_bytes(), options, &mut |_, _| Ok(()))
}

#[test]
fn functions_become_skills_with_their_calls_as_dependencies() {
    let (_dir, db, s) = skills();
    let options = VoyagerOptions {
        author: Some("gpt-4".into()),
        run: Some("trial1".into()),
        status: Some(Status::Draft),
        ..VoyagerOptions::default()
    };
    let done = import(&s, FIXTURE, &options).unwrap();
    assert_eq!((done.added.skills, done.added.versions, done.left_out.len()), (4, 4, 0));
    let buy = s.get(&OP, "buy-the-dip", None).unwrap();
    assert_eq!((buy.language.as_str(), buy.status), ("javascript", Status::Draft));
    assert_eq!(buy.description, "Buys when the price is below its moving average and the trend is up.");
    assert!(buy.code.starts_with("async function buyTheDip(bot)"));
    assert_eq!(buy.metadata["voyager"]["name"], "buyTheDip");
    assert_eq!(buy.depends.keys().collect::<Vec<_>>(), ["moving-average", "size-position"]);
    assert_eq!(
        (buy.provenance.author.as_deref(), buy.provenance.run.as_deref()),
        (Some("gpt-4"), Some("trial1"))
    );
    assert_eq!(buy.provenance.import, Some(done.digest.clone()));
    // Not wrapped, with something more beside it.
    let size = s.get(&OP, "size-position", None).unwrap();
    assert_eq!(size.description, "Sizes a position by volatility.");
    assert_eq!(size.metadata["voyager"]["uses"], 3);
    let order: Vec<String> =
        s.resolve(&OP, "trade-one-day", None).unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(order, ["moving-average", "size-position", "buy-the-dip", "trade-one-day"]);
    // Again: nothing new, whatever was put meanwhile.
    let newer = NewVersion {
        name: "moving-average".into(),
        language: "javascript".into(),
        code: "mine".into(),
        ..NewVersion::default()
    };
    s.put(&OP, newer).unwrap();
    let again = import(&s, FIXTURE, &options).unwrap();
    assert_eq!((again.added.versions, again.kept.versions, again.digest), (0, 4, done.digest));
    assert_eq!(s.get(&OP, "moving-average", None).unwrap().code, "mine");
    let filter = AuditFilter { action: Some("skills.import".into()), ..AuditFilter::default() };
    assert_eq!(Audit::new(db).list(&OP, &filter).unwrap().len(), 2);
    // Another content is the next version.
    let changed = FIXTURE.replace("20)", "50)");
    assert_eq!(import(&s, &changed, &options).unwrap().added.versions, 1);
}

#[test]
fn a_dry_run_changes_nothing_and_one_mistake_refuses_all() {
    let (_dir, _db, s) = skills();
    let dry = import(&s, FIXTURE, &VoyagerOptions { dry_run: true, ..VoyagerOptions::default() }).unwrap();
    assert!(dry.dry_run && dry.added.skills == 4);
    let empty = r#"{"good":{"code":"x","description":"d"},"bad":{"code":"","description":"d"}}"#;
    assert_eq!(import(&s, empty, &VoyagerOptions::default()).unwrap_err().kind(), Kind::Invalid);
    assert!(s.list(&OP, &crate::skills::SkillFilter::default()).unwrap().is_empty());
    for (text, word) in [
        ("", "no skills.json"),
        ("[]", "an object from names to"),
        ("{\"a\":1}", "no skills.json"),
        ("{\"a\":{\"description\":\"d\"}}", "missing field `code`"),
        ("{\"a\":{\"code\":\"x\"},\"a\":{\"code\":\"y\"}}", "`a` stands there twice"),
        ("{\"fooBar\":{\"code\":\"x\"},\"foo-bar\":{\"code\":\"y\"}}", "would both become skill `foo-bar`"),
        ("{\"../up\":{\"code\":\"x\"}}", "is not a name of a skill"),
        ("{\"\":{\"code\":\"x\"}}", "is not a name of a skill"),
    ] {
        let e = import(&s, text, &VoyagerOptions::default()).unwrap_err();
        assert!(e.message().contains(word), "{word}: {e:?}");
    }
    let wrong = VoyagerOptions { author: Some("a\nb".into()), ..VoyagerOptions::default() };
    assert_eq!(import(&s, FIXTURE, &wrong).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn calls_in_a_circle_are_left_out_and_named() {
    let (_dir, _db, s) = skills();
    let text = r#"{"a":{"code":"b(); a()"},"b":{"code":"c ()"},"c":{"code":"a() || b()"},"d":{"code":"x.a(); function c() {} ab()"}}"#;
    let done = import(&s, text, &VoyagerOptions::default()).unwrap();
    let left = done.left_out.join("\n");
    assert_eq!(done.left_out.len(), 2, "{left}");
    assert!(left.contains("`c` calls `a`") && left.contains("`c` calls `b`"), "{left}");
    let depends = |name: &str| s.get(&OP, name, None).unwrap().depends.into_keys().collect::<Vec<_>>();
    assert_eq!(
        (depends("a"), depends("b"), depends("c"), depends("d")),
        (vec!["b".into()], vec!["c".into()], vec![], vec![])
    );
}

#[test]
fn names_become_ours() {
    for (old, want) in [
        ("mineWoodLog", "mine-wood-log"),
        ("craftTNTBlock", "craft-tnt-block"),
        ("craft4Planks", "craft4-planks"),
        ("already-ours", "already-ours"),
        ("snake_case", "snake_case"),
        ("With Space", "with-space"),
        ("ABC", "abc"),
    ] {
        assert_eq!(ours(old).unwrap(), want, "{old}");
    }
    assert!(ours("🙂").is_err() && ours("a/b").is_err() && ours("-x").is_err());
}

#[test]
fn descriptions_lose_their_function_only_if_they_have_one() {
    let wrapped = "async function f(bot) {\n    // First.\n    // Second.\n}";
    assert_eq!(unwrapped("f", wrapped), "First. Second.");
    for other in [
        "plain",
        "",
        "async function g(bot) {\n// x\n}",
        "async function f(bot) {\n  code();\n}",
        "async function f(bot) {\n}",
    ] {
        assert_eq!(unwrapped("f", other), other, "{other}");
    }
}

#[test]
fn bounds_hold_at_their_edges() {
    let (_dir, _db, s) = skills();
    let many = |n: usize| {
        let all: Map<String, Value> = (0..n).map(|i| (format!("s{i:05}"), json!({ "code": "x" }))).collect();
        json!(all).to_string()
    };
    let dry = VoyagerOptions { dry_run: true, ..VoyagerOptions::default() };
    let e = import(&s, &many(VOYAGER_SKILLS_MAX + 1), &dry).unwrap_err();
    assert!(e.message().contains("more than 10000 skills"), "{e:?}");
    assert_eq!(skills_of(many(VOYAGER_SKILLS_MAX).as_bytes(), &dry).unwrap().0.len(), VOYAGER_SKILLS_MAX);
    // Spaces behind the end of the JSON.
    let padded = |n: u64| {
        use std::io::Write as _;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let text = b"{\"a\":{\"code\":\"x\"}}";
        gz.write_all(text).unwrap();
        let mut left = n - text.len() as u64;
        while left > 0 {
            let part = left.min(1 << 20);
            gz.write_all(&vec![b' '; part as usize]).unwrap();
            left -= part;
        }
        gz.finish().unwrap()
    };
    let take = |bytes: Vec<u8>| s.voyager(&OP, &mut bytes.as_slice(), &dry, &mut |_, _| Ok(()));
    assert!(take(padded(VOYAGER_BYTES_MAX)).is_ok());
    let bomb = padded(VOYAGER_BYTES_MAX + 1);
    assert!(bomb.len() < 1 << 20);
    let e = take(bomb).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.message().contains("67108864 bytes"), "{e:?}");
}
