use super::*;
use crate::sqlite::Options;
use serde_json::json;

fn trail(entries: i64) -> (tempfile::TempDir, Arc<Database>, Audit) {
    let dir = tempfile::tempdir().unwrap();
    let db = Arc::new(
        Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap(),
    );
    let audit = Audit::new(db.clone());
    for i in 0..entries {
        let entry = Entry::new(
            &Caller::Operator,
            if i % 2 == 0 { "skills.put" } else { "settings.set" },
            format!("o:{i}"),
        );
        audit.record(&entry.change(None, Some("d".into())).detail(json!({ "i": i }))).unwrap();
    }
    (dir, db, audit)
}

/// What someone with the file and no scruples can do.
fn tamper(dir: &tempfile::TempDir, sql: &str) {
    let raw = Connection::open(dir.path().join("a.db")).unwrap();
    raw.execute_batch(&format!(
        "DROP TRIGGER audit_is_append_only_1; DROP TRIGGER audit_is_append_only_2; {sql}"
    ))
    .unwrap();
}

#[test]
fn a_sound_chain_is_proven() {
    let (_dir, _db, audit) = trail(25);
    let proof = audit.verify(&Caller::Operator).unwrap();
    assert_eq!((proof.entries, proof.broken), (25, None));
    assert_ne!(proof.head, "0".repeat(64));
}

#[test]
fn every_kind_of_tampering_is_named_with_its_place() {
    for (sql, seq, word) in [
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 7", 7, "changed"),
        ("UPDATE audit SET detail = '{\"i\":1}' WHERE seq = 1", 1, "changed"),
        ("UPDATE audit SET after = NULL WHERE seq = 3", 3, "changed"),
        ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 9", 9, "changed"),
        ("DELETE FROM audit WHERE seq = 5", 5, "missing"),
        ("DELETE FROM audit WHERE seq < 4", 1, "missing"),
        (
            "UPDATE audit SET seq = 100 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 100",
            2,
            "changed",
        ),
    ] {
        let (dir, _db, audit) = trail(12);
        tamper(&dir, sql);
        let broken = audit.verify(&Caller::Operator).unwrap().broken.unwrap_or_else(|| panic!("{sql}"));
        assert_eq!(broken.seq, seq, "{sql}: {broken:?}");
        assert!(broken.problem.contains(word), "{sql}: {broken:?}");
    }
}

#[test]
fn the_table_refuses_changes() {
    let (_dir, db, _audit) = trail(2);
    for sql in [
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        "REPLACE INTO audit SELECT * FROM audit WHERE seq = 1",
    ] {
        assert!(db.write(|tx| Ok(tx.execute(sql, [])?)).is_err(), "{sql}");
    }
}

#[test]
fn an_entry_goes_with_the_transaction_that_it_records() {
    let (_dir, db, audit) = trail(1);
    let undone: Result<()> = db.write(|tx| {
        Audit::append(tx, &Entry::new(&Caller::Operator, "skills.put", "x"))?;
        Err(Error::invalid("no"))
    });
    assert!(undone.is_err());
    assert_eq!(audit.len().unwrap(), 1);
}

#[test]
fn filters_and_pages() {
    let (_dir, _db, audit) = trail(10);
    let list =
        |f: AuditFilter| audit.list(&Caller::Operator, &f).unwrap().iter().map(|e| e.seq).collect::<Vec<_>>();
    assert_eq!(
        list(AuditFilter { action: Some("settings.".into()), ..AuditFilter::default() }),
        [10, 8, 6, 4, 2]
    );
    assert_eq!(list(AuditFilter { object: Some("o:3".into()), ..AuditFilter::default() }), [4]);
    assert_eq!(list(AuditFilter { limit: Some(2), before_seq: Some(5), ..AuditFilter::default() }), [4, 3]);
    assert_eq!(list(AuditFilter { actor: Some("token:x".into()), ..AuditFilter::default() }), [0_i64; 0]);
    assert!(
        audit
            .list(&Caller::Operator, &AuditFilter { limit: Some(PAGE_MAX), ..AuditFilter::default() })
            .is_ok()
    );
    assert!(
        audit
            .list(&Caller::Operator, &AuditFilter { limit: Some(PAGE_MAX + 1), ..AuditFilter::default() })
            .is_err()
    );
}

#[test]
fn a_detail_has_a_bound() {
    let (_dir, _db, audit) = trail(0);
    let entry = |n: usize| Entry::new(&Caller::Operator, "a.b", "x").detail(Value::String("y".repeat(n - 2)));
    assert!(audit.record(&entry(DETAIL_BYTES_MAX)).is_ok());
    assert_eq!(audit.record(&entry(DETAIL_BYTES_MAX + 1)).unwrap_err().kind(), crate::Kind::Limit);
}

fn walked(audit: &Audit, signed: &[Signed], key: &SigningKey) -> AuditProof {
    let checkpoints = signed.iter().map(|s| s.check(&key.verifying()).unwrap()).collect();
    audit.verify_against(&Caller::Operator, checkpoints, Some(key.verifying())).unwrap()
}

#[test]
fn a_checkpoint_shows_a_cut_tail_and_a_trail_that_was_written_anew() {
    let (key, _) = SigningKey::generate().unwrap();
    let (dir, db, audit) = trail(10);
    let signed = audit.checkpoint(&Caller::Operator, &key, "desk").unwrap();
    audit.record(&Entry::new(&Caller::Operator, "a.b", "x")).unwrap();
    let proof = walked(&audit, std::slice::from_ref(&signed), &key);
    assert_eq!((proof.entries, proof.checkpoints, &proof.broken), (11, 1, &None));
    assert_eq!(audit.checkpoints(&Caller::Operator, 10).unwrap(), std::slice::from_ref(&signed));

    // The chain alone does not notice that its end is missing.
    tamper(&dir, "DELETE FROM audit WHERE seq > 9");
    assert_eq!(audit.verify(&Caller::Operator).unwrap().broken, None);
    let broken = walked(&audit, std::slice::from_ref(&signed), &key).broken.unwrap();
    assert_eq!(broken.seq, 10);
    assert!(broken.problem.contains("entries 10 to 10 are missing"), "{broken:?}");
    let refused = audit.checkpoint(&Caller::Operator, &key, "desk").unwrap_err();
    assert!(refused.message().contains("entries 10 to 10 are missing"), "{refused:?}");

    // Nor that another tenth entry was put in its place.
    audit.record(&Entry::new(&Caller::Operator, "a.b", "another")).unwrap();
    drop(db);
    let broken = walked(&audit, std::slice::from_ref(&signed), &key).broken.unwrap();
    assert_eq!(broken.seq, 10);
    assert!(broken.problem.contains("written anew"), "{broken:?}");
    assert_eq!(audit.checkpoint(&Caller::Operator, &key, "desk").unwrap_err().kind(), crate::Kind::Corrupt);
}

#[test]
fn only_the_signed_text_of_the_right_key_passes() {
    let ((key, text), (other, _)) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    assert_eq!(SigningKey::from_pem(&text).unwrap().verifying(), key.verifying());
    assert!(!format!("{key:?}").contains(text.lines().nth(1).unwrap()));
    let (_dir, _db, audit) = trail(3);
    let signed = audit.checkpoint(&Caller::Operator, &key, "desk").unwrap();
    let checkpoint = signed.check(&key.verifying()).unwrap();
    assert_eq!((checkpoint.seq, checkpoint.host.as_str()), (3, "desk"));
    assert!(signed.check(&other.verifying()).is_err());
    for changed in [
        Signed { document: signed.document.replace("\"seq\":3", "\"seq\":2"), ..signed.clone() },
        Signed { document: format!("{} ", signed.document), ..signed.clone() },
        Signed { signature: format!("00{}", &signed.signature[2..]), ..signed.clone() },
        Signed { signature: String::new(), ..signed.clone() },
        Signed { signature: "é".repeat(64), ..signed.clone() },
        Signed { document: "x".repeat(DOCUMENT_BYTES_MAX + 1), ..signed },
    ] {
        assert_eq!(changed.check(&key.verifying()).unwrap_err().kind(), crate::Kind::Invalid);
    }
    for bad in [
        "",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
        &text.replace("MC4", "MD4"),
        &"x".repeat(5000),
    ] {
        assert!(SigningKey::from_pem(bad).is_err(), "{bad}");
    }
    assert!("12".parse::<VerifyingKey>().is_err());
    assert_eq!(key.verifying().to_string().parse::<VerifyingKey>().unwrap(), key.verifying());
}

#[test]
fn a_sealed_segment_goes_on_in_the_next_one() {
    let (dir, db, audit) = trail(7);
    let first = audit.seal(&Caller::Operator).unwrap().unwrap();
    assert_eq!((first.id, first.first_seq, first.last_seq, first.entries()), (1, 1, 7, 7));
    for i in 0..3 {
        audit.record(&Entry::new(&Caller::Operator, "skills.put", format!("o:{i}"))).unwrap();
    }
    assert_eq!(audit.seal_when(5).unwrap(), None);
    let second = audit.seal_when(4).unwrap().unwrap();
    assert_eq!((second.id, second.first_seq, second.last_seq, second.previous), (2, 8, 11, first.head));
    let proof = audit.verify(&Caller::Operator).unwrap();
    assert_eq!((proof.entries, proof.broken, audit.len().unwrap()), (12, None, 12));
    // A list goes through all of them, and pages over their ends.
    let seqs = |before_seq, limit| {
        let filter = AuditFilter { before_seq, limit: Some(limit), ..AuditFilter::default() };
        audit.list(&Caller::Operator, &filter).unwrap().iter().map(|e| e.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(None, 100), (1..=12).rev().collect::<Vec<_>>());
    assert_eq!(seqs(Some(9), 3), [8, 7, 6]);
    let skills = AuditFilter { action: Some("skills.".into()), ..AuditFilter::default() };
    assert_eq!(audit.list(&Caller::Operator, &skills).unwrap().len(), 4 + 3);
    for table in ["audit", "audit_segment_1", "audit_segment_2"] {
        for sql in [format!("UPDATE {table} SET actor = 'x'"), format!("DELETE FROM {table}")] {
            assert!(db.write(|tx| Ok(tx.execute(&sql, [])?)).is_err(), "{sql}");
        }
    }
    let insert = "INSERT INTO audit_segment_1 SELECT 99, time, actor, action, object, before, after, detail, hash, request FROM audit_segment_1 WHERE seq = 1";
    assert!(db.write(|tx| Ok(tx.execute(insert, [])?)).is_err());
    for (sql, seq) in [
        ("DELETE FROM audit_segment_1 WHERE seq = 7", 7),
        ("DELETE FROM audit_segment_1", 1),
        ("UPDATE audit_segment_2 SET object = 'y' WHERE seq = 9", 9),
        ("DELETE FROM audit_segments WHERE id = 1", 1),
        ("DELETE FROM audit_segments WHERE id = 2; DROP TABLE audit_segment_2", 8),
    ] {
        let copy = tempfile::tempdir().unwrap();
        db.checkpoint().unwrap();
        std::fs::copy(dir.path().join("a.db"), copy.path().join("a.db")).unwrap();
        let raw = Connection::open(copy.path().join("a.db")).unwrap();
        let triggers: Vec<String> = raw
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name LIKE 'audit%'")
            .unwrap()
            .query_map([], |r| r.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for name in triggers {
            raw.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
        raw.execute_batch(sql).unwrap();
        let broken = Audit::verify_connection(&raw).unwrap().broken.unwrap_or_else(|| panic!("{sql}"));
        assert_eq!(broken.seq, seq, "{sql}: {broken:?}");
    }
}

#[test]
fn an_export_is_walked_without_its_database() {
    let (key, _) = SigningKey::generate().unwrap();
    let (_dir, _db, audit) = trail(8);
    audit.seal(&Caller::Operator).unwrap();
    let entry =
        Entry::new(&Caller::Operator, "a.b", "ünï\n\"code").detail(json!({ "x": [1.5e300, "\u{7f}"] }));
    RequestId::new("r-1").unwrap().during(|| {
        let entry = Entry { request: RequestId::current(), ..entry };
        audit.record(&entry).unwrap();
    });
    let signed = audit.checkpoint(&Caller::Operator, &key, "desk").unwrap();
    let checkpoint = signed.check(&key.verifying()).unwrap();
    let lines = |after| {
        let mut text = String::new();
        let given = audit.export(&Caller::Operator, after, &mut |line| {
            text.push_str(&serde_json::to_string(line).unwrap());
            text.push('\n');
            Ok(())
        });
        (given.unwrap(), text)
    };
    let (given, whole) = lines(0);
    assert_eq!(given, 10);
    let walk = |text: &str| verify_export(text.as_bytes(), vec![checkpoint.clone()]);
    let proof = walk(&whole).unwrap();
    assert_eq!((proof.entries, proof.checkpoints, proof.broken), (10, 1, None));
    let (given, part) = lines(6);
    assert_eq!(given, 4);
    assert_eq!(walk(&part).unwrap().broken, None);
    let cut: String = whole.lines().take(9).map(|l| format!("{l}\n")).collect();
    assert_eq!(walk(&cut).unwrap().broken.unwrap().seq, 10);
    assert_eq!(walk(&whole.replace("o:4", "o:5")).unwrap().broken.unwrap().seq, 5);
    assert_eq!(walk(&whole.replace("r-1", "r-2")).unwrap().broken.unwrap().seq, 10);
    assert_eq!(walk("").unwrap().broken.unwrap().seq, 1);
    for bad in ["x\n", "{}\n", "{\"seq\":0}\n"] {
        assert_eq!(walk(bad).unwrap_err().kind(), crate::Kind::Invalid, "{bad}");
    }
    let long = format!("\"{}\"", "x".repeat(usize::try_from(LINE_BYTES_MAX).unwrap()));
    assert_eq!(walk(&long).unwrap_err().kind(), crate::Kind::Limit);
    let found = AuditFilter { request: Some("r-1".into()), ..AuditFilter::default() };
    assert_eq!(audit.list(&Caller::Operator, &found).unwrap()[0].object, "ünï\n\"code");
}

#[test]
fn a_list_since_a_time_is_the_same_however_it_is_read() {
    let (_dir, _db, audit) = trail(8);
    audit.seal(&Caller::Operator).unwrap();
    for n in 0..4 {
        audit.record(&Entry::new(&Caller::Operator, "a.b", format!("late:{n}"))).unwrap();
    }
    let all = audit.list(&Caller::Operator, &AuditFilter::default()).unwrap();
    assert_eq!(all.len(), 13);
    for since in all.iter().map(|e| e.time).chain([0, i64::MAX]) {
        for limit in 1..15 {
            let filter = AuditFilter { since: Some(since), limit: Some(limit), ..AuditFilter::default() };
            let wanted: Vec<_> =
                all.iter().filter(|e| e.time >= since).take(limit as usize).cloned().collect();
            let found = audit.list(&Caller::Operator, &filter).unwrap();
            assert_eq!(found, wanted, "{limit} since {since}");
        }
    }
}
