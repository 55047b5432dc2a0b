//! Where versions come from, what changed between them, and what they may be used for.

use super::*;
use crate::audit::AuditFilter;
use serde_json::Value;

fn by(code: &str, provenance: &Value) -> NewVersion {
    NewVersion { provenance: serde_json::from_value(provenance.clone()).unwrap(), ..new("s", code) }
}

#[test]
fn a_version_says_where_it_comes_from() {
    let (_dir, db, s) = skills();
    let first = s
        .put(&OP, by("a", &json!({ "author": "Σοφία", "run": "run-17", "prompt": "Buy\nthe dip." })))
        .unwrap();
    assert_eq!(first.provenance.author.as_deref(), Some("Σοφία"));
    assert_eq!(first.provenance.prompt.as_deref(), Some("Buy\nthe dip."));
    assert_eq!((&first.provenance.parent, &first.provenance.import), (&None, &None));
    // What was current until then is the parent, unless another one is named.
    let second = s.put(&OP, new("s", "b")).unwrap();
    assert_eq!(second.provenance.parent.as_ref().unwrap().to_string(), "s@0.1.0");
    let third = s.put(&OP, by("c", &json!({ "parent": { "version": "0.1.0" } }))).unwrap();
    assert_eq!(third.provenance.parent.as_ref().unwrap().to_string(), "s@0.1.0");
    let fork = NewVersion {
        name: "fork".into(),
        ..by("d", &json!({ "parent": { "name": "s", "version": "0.1.2" } }))
    };
    assert_eq!(s.put(&OP, fork).unwrap().provenance.parent.unwrap().to_string(), "s@0.1.2");
    let line: Vec<String> =
        s.lineage(&OP, "fork", None, None).unwrap().iter().map(|a| a.of.to_string()).collect();
    assert_eq!(line, ["fork@0.1.0", "s@0.1.2", "s@0.1.0"]);
    let page = s.lineage(&OP, "fork", None, Some(2)).unwrap();
    assert_eq!((page.len(), page[1].parent.as_ref().unwrap().to_string()), (2, "s@0.1.0".into()));
    assert_eq!(s.lineage(&OP, "fork", None, Some(LINEAGE_MAX + 1)).unwrap_err().kind(), Kind::Limit);
    assert!(s.lineage(&OP, "fork", None, Some(LINEAGE_MAX)).is_ok());
    // A parent must be there.
    for gone in [
        json!({ "parent": { "version": "9.9.9" } }),
        json!({ "parent": { "name": "no", "version": "0.1.0" } }),
    ] {
        let e = s.put(&OP, by("e", &gone)).unwrap_err();
        assert_eq!(e.kind(), Kind::NotFound);
        assert!(e.message().contains("the parent of a version of skill `s`"), "{e:?}");
    }
    for table in ["skill_provenance", "skill_currents"] {
        assert!(db.write(|tx| Ok(tx.execute(&format!("DELETE FROM {table}"), [])?)).is_err());
        let changed = format!("UPDATE {table} SET version_id = version_id");
        assert!(db.write(|tx| Ok(tx.execute(&changed, [])?)).is_err());
    }
    // The trail has a prompt by its digest only.
    let filter = AuditFilter { object: Some("skill:s@0.1.0".into()), ..AuditFilter::default() };
    let detail = Audit::new(db).list(&OP, &filter).unwrap().remove(0).detail;
    let digest = blake3::hash(b"Buy\nthe dip.").to_hex().to_string();
    assert_eq!(detail, json!({ "author": "Σοφία", "run": "run-17", "prompt": digest }));
}

#[test]
fn content_and_provenance_make_a_version() {
    let (_dir, _db, s) = skills();
    let of = |run: &str| by("same", &json!({ "run": run }));
    assert_eq!(s.put(&OP, of("1")).unwrap().version, v("0.1.0"));
    assert_eq!(s.put(&OP, of("1")).unwrap().version, v("0.1.0"), "again the same");
    assert_eq!(s.put(&OP, new("s", "same")).unwrap().version, v("0.1.0"), "nothing else is said");
    assert_eq!(s.put(&OP, of("2")).unwrap().version, v("0.1.1"), "the same code of another run");
    let numbered = NewVersion { version: Some(v("0.1.0")), ..of("2") };
    let e = s.put(&OP, numbered).unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict);
    assert!(e.message().contains("another provenance"), "{e:?}");
    // A request without any of this is what it was before there was any of this: keys of commits stay valid.
    let plain = json!(new("s", "same"));
    assert_eq!(
        plain.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["code", "depends", "description", "language", "metadata", "name", "tags", "version"]
    );
}

#[test]
fn parts_of_a_provenance_have_bounds() {
    let (_dir, _db, s) = skills();
    let mut code = 0;
    let mut ok = |provenance: Value| {
        code += 1;
        s.put(&OP, by(&code.to_string(), &provenance)).map(drop).map_err(|e| e.kind())
    };
    assert_eq!(ok(json!({ "author": "é".repeat(AUTHOR_BYTES_MAX / 2) })), Ok(()));
    assert_eq!(ok(json!({ "author": "e".repeat(AUTHOR_BYTES_MAX + 1) })), Err(Kind::Limit));
    assert_eq!(ok(json!({ "run": "r".repeat(RUN_BYTES_MAX) })), Ok(()));
    assert_eq!(ok(json!({ "run": "r".repeat(RUN_BYTES_MAX + 1) })), Err(Kind::Limit));
    assert_eq!(ok(json!({ "prompt": "p".repeat(PROMPT_BYTES_MAX) })), Ok(()));
    assert_eq!(ok(json!({ "prompt": "p".repeat(PROMPT_BYTES_MAX + 1) })), Err(Kind::Limit));
    for author in ["李小龍", "Алёна", "שרה", "بثينة", "अनन्या", "小林 さくら", "👩‍🔬"]
    {
        assert_eq!(ok(json!({ "author": author })), Ok(()), "{author}");
    }
    for bad in ["", "  ", "a\nb", "a\u{0}", "\u{202e}live", "\u{1b}[2J"] {
        assert_eq!(ok(json!({ "author": bad })), Err(Kind::Invalid), "{bad:?}");
        assert_eq!(ok(json!({ "run": bad })), Err(Kind::Invalid), "{bad:?}");
    }
    assert_eq!(ok(json!({ "prompt": "" })), Err(Kind::Invalid));
    assert_eq!(ok(json!({ "parent": { "name": "../x", "version": "1.0.0" } })), Err(Kind::Invalid));
}

#[test]
fn a_status_is_set_by_a_call_and_kept_with_its_history() {
    let (_dir, db, s) = skills();
    let draft = NewVersion { status: Some(Status::Draft), ..new("s", "a") };
    assert_eq!(s.put(&OP, draft.clone()).unwrap().status, Status::Draft);
    let list = |status| {
        let filter = SkillFilter { status, ..SkillFilter::default() };
        s.list(&OP, &filter).unwrap().into_iter().map(|l| l.status).collect::<Vec<_>>()
    };
    assert_eq!((list(Some(Status::Draft)), list(Some(Status::Active))), (vec![Status::Draft], vec![]));
    let set = |version: Option<&str>, status, reason| {
        s.set_status(&OP, "s", version.map(v).as_ref(), status, reason).unwrap()
    };
    let live = set(None, Status::Active, Some("three months on paper"));
    assert_eq!((live.version.clone(), live.status), (v("0.1.0"), Status::Active));
    assert_eq!(set(None, Status::Active, Some("again")), live, "it is active already");
    assert_eq!(s.put(&OP, draft).unwrap().status, Status::Active, "what it begins with is said once");
    assert_eq!(list(None), [Status::Active]);
    // Another version has a status of its own, and the skill has that of its current one.
    s.put(&OP, new("s", "b")).unwrap();
    set(Some("0.1.0"), Status::Retired, None);
    assert_eq!(list(None), [Status::Active]);
    s.rollback(&OP, "s", &v("0.1.0")).unwrap();
    assert_eq!((list(None), s.get(&OP, "s", None).unwrap().status), (vec![Status::Retired], Status::Retired));
    let history: Vec<(String, Status)> =
        s.statuses(&OP, "s").unwrap().into_iter().map(|c| (c.version.to_string(), c.status)).collect();
    let past = |status| ("0.1.0".to_string(), status);
    assert_eq!(history, [past(Status::Retired), past(Status::Active), past(Status::Draft)]);
    let filter = AuditFilter { action: Some("skills.status".into()), ..AuditFilter::default() };
    let trail = Audit::new(db.clone()).list(&OP, &filter).unwrap();
    assert_eq!(trail.len(), 2);
    assert_eq!(
        trail[1].detail,
        json!({ "from": "draft", "to": "active", "reason": "three months on paper" })
    );
    assert!(db.write(|tx| Ok(tx.execute("UPDATE skill_statuses SET status = 'draft'", [])?)).is_err());
    assert!(db.write(|tx| Ok(tx.execute("DELETE FROM skill_statuses", [])?)).is_err());
    let wrong = |name: &str, version: Option<&str>, reason: &str| {
        s.set_status(&OP, name, version.map(v).as_ref(), Status::Draft, Some(reason))
            .map(drop)
            .map_err(|e| e.kind())
    };
    assert_eq!(wrong("none", None, "x"), Err(Kind::NotFound));
    assert_eq!(wrong("s", Some("9.0.0"), "x"), Err(Kind::NotFound));
    assert_eq!(wrong("s", None, &"r".repeat(REASON_BYTES_MAX + 1)), Err(Kind::Limit));
    assert_eq!(wrong("s", None, &"r".repeat(REASON_BYTES_MAX)), Ok(()));
    let reader = Caller::Token { id: 1, name: "r".into(), scope: crate::caller::Scope::Read };
    assert_eq!(s.set_status(&reader, "s", None, Status::Active, None).unwrap_err().kind(), Kind::Denied);
    assert!(s.statuses(&reader, "s").is_ok());
}

#[test]
fn a_diff_has_code_by_lines_and_the_rest_by_fields() {
    let (_dir, _db, s) = skills();
    let at = |code: &str, metadata: Value, tags: &[&str]| NewVersion {
        metadata,
        code: code.into(),
        ..described("s", "d", tags)
    };
    s.put(&OP, new("base", "x")).unwrap();
    s.put(&OP, at("a\nb\nc\n", json!({ "n": 1, "deep": { "x": 1 } }), &["t"])).unwrap();
    let mut second = at("a\nB\nc\n", json!({ "n": 1, "deep": { "x": 2 } }), &["t", "u"]);
    second.depends.insert("base".into(), VersionReq::parse("^0.1").unwrap());
    second.status = Some(Status::Draft);
    s.put(&OP, second).unwrap();
    let diff = s.diff(&OP, "s", None, None, None).unwrap();
    assert_eq!((diff.from.to_string(), diff.to.to_string()), ("s@0.1.0".into(), "s@0.1.1".into()));
    assert_eq!(diff.code, "--- s@0.1.0\n+++ s@0.1.1\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
    assert_eq!((diff.added, diff.removed, diff.shortest), (1, 1, true));
    assert_eq!(
        json!(diff.fields),
        json!([
            { "field": "depends/base", "to": "^0.1" },
            { "field": "metadata/deep/x", "from": 1, "to": 2 },
            { "field": "status", "from": "active", "to": "draft" },
            { "field": "tags", "from": ["t"], "to": ["t", "u"] },
        ])
    );
    let back = s.diff(&OP, "s", Some(&v("0.1.1")), Some(&v("0.1.0")), Some(0)).unwrap();
    assert!(back.code.ends_with("@@ -2 +2 @@\n-B\n+b\n"), "{}", back.code);
    let same = s.diff(&OP, "s", Some(&v("0.1.0")), Some(&v("0.1.0")), None).unwrap();
    assert!(same.code.is_empty() && same.fields.is_empty());
    let first = s.diff(&OP, "base", None, None, None).unwrap_err();
    assert!(first.message().contains("what base@0.1.0 was made from"), "{first:?}");
    assert_eq!(s.diff(&OP, "s", Some(&v("7.0.0")), None, None).unwrap_err().kind(), Kind::NotFound);
    assert!(s.diff(&OP, "s", None, None, Some(CONTEXT_MAX)).is_ok());
    assert_eq!(s.diff(&OP, "s", None, None, Some(CONTEXT_MAX + 1)).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn versions_come_in_pages_and_short() {
    let (_dir, _db, s) = skills();
    for code in ["a", "b", "c"] {
        s.put(&OP, by(code, &json!({ "author": "m", "prompt": "long" }))).unwrap();
    }
    let page = |before: Option<&str>, limit| {
        let filter = VersionFilter { before: before.map(v), limit };
        s.version_summaries(&OP, "s", &filter).unwrap()
    };
    let all = page(None, None);
    assert_eq!(all.iter().map(|x| x.version.to_string()).collect::<Vec<_>>(), ["0.1.2", "0.1.1", "0.1.0"]);
    assert_eq!((all[0].current, all[1].current, all[0].author.as_deref()), (true, false, Some("m")));
    assert_eq!(all[0].parent.as_ref().unwrap().to_string(), "s@0.1.1");
    assert_eq!(page(Some("0.1.2"), Some(1))[0].version, v("0.1.1"));
    assert!(page(Some("0.1.0"), None).is_empty());
    let filter = VersionFilter { limit: Some(super::super::types::PAGE_MAX + 1), ..VersionFilter::default() };
    assert_eq!(s.versions_of(&OP, "s", &filter).unwrap_err().kind(), Kind::Limit);
    assert_eq!(s.versions(&OP, "none").unwrap_err().kind(), Kind::NotFound);
}
