//! Huge, strange and broken input, each refused by a bound that is named.

use super::super::types::*;
use super::*;

fn refused(s: &Skills, new: NewVersion) -> crate::error::Error {
    s.put(&OP, new).unwrap_err()
}

#[test]
fn a_million_tags_are_refused_by_their_bound() {
    let (_dir, _db, s) = skills();
    let many = NewVersion { tags: (0..1_000_000).map(|i| format!("t{i}")).collect(), ..new("s", "x") };
    let e = refused(&s, many);
    assert_eq!(e.kind(), Kind::Limit);
    assert!(
        e.message().contains("number of tags")
            && e.message().contains("1000000")
            && e.message().contains("64"),
        "{e:?}"
    );
    for tag in ["тренд", "趋势", "मोमेंटम", "اتجاه", "トレンド", "ä", "🚀"] {
        assert!(s.put(&OP, described(&format!("t{}", tag.len()), tag, &[tag])).is_ok(), "{tag}");
    }
    let tag = |n: usize| described("tag", "", &[&"t".repeat(n)]);
    assert!(s.put(&OP, tag(TAG_BYTES_MAX)).is_ok());
    assert_eq!(refused(&s, tag(TAG_BYTES_MAX + 1)).kind(), Kind::Invalid);
}

#[test]
fn numbers_of_versions_and_ranges_have_bounds() {
    let (_dir, _db, s) = skills();
    s.put(&OP, new("base", "x")).unwrap();
    let long = |n: usize| format!("1.0.0-{}", "a".repeat(n - 6));
    let at = |n: usize| NewVersion { version: Some(v(&long(n))), ..new("s", "x") };
    assert!(s.put(&OP, at(VERSION_BYTES_MAX)).is_ok());
    assert_eq!(refused(&s, at(VERSION_BYTES_MAX + 1)).kind(), Kind::Limit);
    let range = |n: usize| needs("r", &[("base", &format!(">=0.0.1-{}", "a".repeat(n - 8)))]);
    assert!(s.put(&OP, range(RANGE_BYTES_MAX)).is_ok());
    let e = refused(&s, range(RANGE_BYTES_MAX + 1));
    assert!(e.kind() == Kind::Limit && e.message().contains("range of a dependency"), "{e:?}");
    let many = |n: usize| NewVersion {
        depends: (0..n).map(|i| (format!("d{i}"), VersionReq::STAR)).collect(),
        ..new("m", "x")
    };
    assert_eq!(refused(&s, many(DEPENDS_MAX + 1)).kind(), Kind::Limit);
    assert_eq!(refused(&s, many(DEPENDS_MAX)).kind(), Kind::NotFound, "within the bound; they do not exist");
}

#[test]
fn an_error_is_not_as_long_as_what_it_refuses() {
    let (_dir, _db, s) = skills();
    let huge = "ä ".repeat(1 << 20);
    for new in [
        new(&huge, "x"),
        NewVersion { language: huge.clone(), ..new("s", "x") },
        described("s", "", &[&huge]),
        needs("s", &[(&huge, "*")]),
    ] {
        let e = refused(&s, new);
        assert!(e.kind() == Kind::Invalid && e.message().len() < 1_000, "{} bytes", e.message().len());
    }
}

#[test]
fn metadata_has_a_bound_and_figures_have_one() {
    let (_dir, _db, s) = skills();
    let with = |n: usize| NewVersion { metadata: json!({ "k": "v".repeat(n - 8) }), ..new("s", "x") };
    assert_eq!(with(METADATA_BYTES_MAX).metadata.to_string().len(), METADATA_BYTES_MAX);
    assert!(s.put(&OP, with(METADATA_BYTES_MAX)).is_ok());
    assert_eq!(refused(&s, with(METADATA_BYTES_MAX + 1)).kind(), Kind::Limit);
    let base = Performance {
        period_start: i64::MIN,
        period_end: i64::MAX,
        returns: FIGURE_MAX,
        sharpe: -FIGURE_MAX,
        win_rate: 1.0,
        max_drawdown: 1.0,
        samples: SAMPLES_MAX,
    };
    let record = |p: &Performance| {
        s.record_performance(&OP, "s", &v("0.1.0"), p).map_err(|e| (e.kind(), e.message().to_string()))
    };
    record(&base).unwrap();
    for (p, word) in [
        (Performance { samples: SAMPLES_MAX + 1, ..base.clone() }, "samples"),
        (Performance { returns: FIGURE_MAX * 1.01, ..base.clone() }, "figure"),
        (Performance { sharpe: -FIGURE_MAX * 1.01, ..base.clone() }, "figure"),
    ] {
        let (kind, message) = record(&p).unwrap_err();
        assert!(kind == Kind::Limit && message.contains(word), "{message}");
    }
    let all = s.believed(&OP, "s", None, None).unwrap().versions.remove(0).performance.unwrap();
    assert_eq!((all.samples, all.returns), (SAMPLES_MAX, Some(FIGURE_MAX)));
    // The longest period there can be: more than half of what an integer holds.
    assert!(all.sharpe_error.is_finite());
}

#[test]
fn no_new_query_scans_a_table() {
    let (_dir, db, _s) = library();
    for sql in [
        "SELECT status FROM skill_statuses WHERE version_id = 1 AND set_at <= 9 ORDER BY set_at DESC, id DESC LIMIT 1",
        "SELECT version_id FROM skill_currents WHERE skill_id = 1 AND since <= 9 ORDER BY since DESC, id DESC LIMIT 1",
        "SELECT max(recorded_at) FROM skill_performance WHERE version_id = 1",
        "SELECT returns FROM skill_performance WHERE version_id = 1 AND recorded_at <= 9 ORDER BY period_start, period_end",
        "SELECT id FROM skill_performance WHERE version_id = 1 AND recorded_at = 2 AND period_start = 3 AND samples = 4",
        "SELECT v.version FROM skill_versions v LEFT JOIN skill_provenance p ON p.version_id = v.id WHERE v.id = 1",
        "SELECT id FROM skill_imports WHERE digest = 'x'",
        "SELECT id FROM skill_versions WHERE id > 1 AND id <= 9 ORDER BY id LIMIT 10",
    ] {
        let plan: Vec<String> = db
            .read(|c| {
                let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let rows = statement.query_map([], |r| r.get(3))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .unwrap();
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{sql}: {plan:?}");
    }
}
