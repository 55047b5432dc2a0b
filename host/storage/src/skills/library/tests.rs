//! Libraries that go out and come back, and files that are not what they should be.

use super::lines::{End, Line};
use super::*;
use crate::audit::{Audit, AuditFilter};
use crate::error::Kind;
use crate::skills::{NewVersion, Performance, SkillFilter, Status, Version};
use crate::sqlite::{Database, Options};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;

const OP: Caller = Caller::Operator;

struct Here {
    _dir: tempfile::TempDir,
    db: Arc<Database>,
    skills: Skills,
}

fn empty() -> Here {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = Arc::new(Database::open(&path, Options::default(), crate::schema::MIGRATIONS).unwrap());
    Here { _dir: dir, skills: Skills::new(db.clone(), Arc::default()), db }
}

fn put(here: &Here, new: Value) {
    here.skills.put(&OP, serde_json::from_value::<NewVersion>(new).unwrap()).unwrap();
}

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn figures(returns: f64) -> Performance {
    Performance {
        period_start: 0,
        period_end: 10,
        returns,
        sharpe: 1.5,
        win_rate: 0.5,
        max_drawdown: 0.1,
        samples: 10,
    }
}

/// A library with everything that one can have.
fn full() -> Here {
    let here = empty();
    put(
        &here,
        json!({ "name": "base", "language": "python", "code": "b\u{0}\n", "description": "Grundlage 基础" }),
    );
    put(
        &here,
        json!({ "name": "top", "language": "python", "code": "1", "tags": ["z", "a"], "metadata": { "n": 0.1, "deep": [null] },
                "depends": { "base": "^0.1" }, "provenance": { "author": "m", "run": "r1", "prompt": "p" } }),
    );
    put(&here, json!({ "name": "top", "language": "python", "code": "2", "status": "draft" }));
    put(
        &here,
        json!({ "name": "fork", "language": "js", "code": "f", "provenance": { "parent": { "name": "top", "version": "0.1.0" } } }),
    );
    let s = &here.skills;
    s.record_performance(&OP, "top", &v("0.1.0"), &figures(0.02)).unwrap();
    s.record_performance(&OP, "top", &v("0.1.1"), &figures(-0.1)).unwrap();
    s.set_status(&OP, "top", Some(&v("0.1.1")), Status::Retired, Some("decayed")).unwrap();
    s.rollback(&OP, "top", &v("0.1.0")).unwrap();
    s.record_use(&OP, "top").unwrap();
    here
}

fn exported(here: &Here, pack: Pack) -> Vec<u8> {
    let mut out = Vec::new();
    here.skills.export(&OP, pack, &mut out).unwrap();
    out
}

fn take(here: &Here, bytes: &[u8], options: ImportOptions, bounds: &Bounds) -> Result<Imported> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    here.skills.import(&OP, &file, options, bounds, &mut |_, _| Ok(()))
}

fn import(here: &Here, bytes: &[u8]) -> Result<Imported> {
    take(here, bytes, ImportOptions::default(), &Bounds::default())
}

/// What a library holds, without when it was exported.
fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// The same lines with a digest and counts that fit them.
fn sealed(lines: &[Value]) -> Vec<u8> {
    let mut out = format!("{}\n", json!({ "library": { "format": FORMAT } }));
    let mut hasher = blake3::Hasher::new();
    let mut counts = json!({ "skills": 0, "versions": 0, "statuses": 0, "currents": 0, "performance": 0 });
    for line in lines {
        let kind = line.as_object().and_then(|o| o.keys().next()).unwrap().clone();
        let key = match kind.as_str() {
            "skill" => "skills",
            "version" => "versions",
            "status" => "statuses",
            "current" => "currents",
            _ => "performance",
        };
        counts[key] = json!(counts[key].as_u64().unwrap() + 1);
        let text = format!("{line}\n");
        hasher.update(text.as_bytes());
        out.push_str(&text);
    }
    let blake3 = hasher.finalize().to_hex().to_string();
    out.push_str(&format!("{}\n", json!({ "end": { "counts": counts, "blake3": blake3 } })));
    out.into_bytes()
}

/// A version as it stands in a library.
fn version_line(name: &str, version: &str, depends: &Value) -> Value {
    let new = NewVersion {
        name: name.into(),
        version: Some(v(version)),
        language: "x".into(),
        code: version.into(),
        metadata: json!({}),
        depends: serde_json::from_value(depends.clone()).unwrap(),
        ..NewVersion::default()
    };
    json!({ "version": { "name": name, "version": version, "hash": new.hash(), "language": "x", "code": version, "metadata": {},
            "depends": depends, "created_at": 1, "created_by": "somebody" } })
}

fn skill_line(name: &str) -> Value {
    json!({ "skill": { "name": name, "created_at": 1 } })
}

fn current_line(name: &str, version: &str) -> Value {
    json!({ "current": { "name": name, "version": version, "since": 1, "set_by": "somebody" } })
}

/// A skill with one version.
fn whole(name: &str, version: &str, depends: &Value) -> [Value; 3] {
    [skill_line(name), version_line(name, version, depends), current_line(name, version)]
}

#[test]
fn a_library_comes_back_as_it_was_however_it_is_packed() {
    let from = full();
    let plain = exported(&from, Pack::None);
    for pack in [Pack::None, Pack::Gzip, Pack::Zstd] {
        let to = empty();
        let done = import(&to, &exported(&from, pack)).unwrap();
        let counts = LibraryCounts { skills: 3, versions: 4, statuses: 2, currents: 5, performance: 2 };
        assert_eq!((done.added, done.kept), (counts, LibraryCounts::default()), "{pack:?}");
        assert_eq!(lines(&exported(&to, Pack::None)), lines(&plain), "{pack:?}: and goes out as it came");
        for name in ["base", "top", "fork"] {
            let (a, b) = (from.skills.versions(&OP, name).unwrap(), to.skills.versions(&OP, name).unwrap());
            for (a, b) in a.iter().zip(&b) {
                assert_eq!(b.provenance.import.as_deref(), Some(done.digest.as_str()));
                let origin = crate::skills::Provenance { import: None, ..b.provenance.clone() };
                assert_eq!(&crate::skills::SkillVersion { provenance: origin, ..b.clone() }, a);
            }
            assert_eq!(a.len(), b.len());
            let ask = |s: &Skills| json!(s.believed(&OP, name, None, Some(i64::MAX)).unwrap());
            assert_eq!(ask(&from.skills), ask(&to.skills));
            assert_eq!(to.skills.statuses(&OP, name).unwrap(), from.skills.statuses(&OP, name).unwrap());
        }
        assert_eq!(
            to.skills.list(&OP, &SkillFilter::default()).unwrap(),
            from.skills.list(&OP, &SkillFilter::default()).unwrap()
        );
        assert_eq!(Audit::new(to.db.clone()).verify(&OP).unwrap().broken, None);
        // What is found is what came.
        let found =
            crate::skills::SkillQuery { text: "Grundlage".into(), ..crate::skills::SkillQuery::default() };
        assert_eq!(to.skills.search(&OP, &found).unwrap().hits.len(), 1);
    }
}

#[test]
fn the_same_library_again_changes_nothing_and_is_audited() {
    let (from, to) = (full(), empty());
    let file = exported(&from, Pack::Zstd);
    let first = import(&to, &file).unwrap();
    let before = lines(&exported(&to, Pack::None));
    // Exported at another time it is the same content.
    std::thread::sleep(std::time::Duration::from_millis(2));
    for again in [file, exported(&from, Pack::Gzip)] {
        let done = import(&to, &again).unwrap();
        assert_eq!(done.digest, first.digest);
        assert_eq!((done.added, done.kept, done.adopted), (LibraryCounts::default(), first.added, 0));
    }
    assert_eq!(lines(&exported(&to, Pack::None)), before);
    let trail = |action: &str| {
        let filter = AuditFilter { action: Some(action.into()), ..AuditFilter::default() };
        Audit::new(to.db.clone()).list(&OP, &filter).unwrap()
    };
    assert_eq!(trail("skills.import").len(), 3);
    assert_eq!((trail("skills.put").len(), trail("skills.performance").len()), (4, 2));
    assert_eq!(trail("skills.put")[0].detail["import"], json!(first.digest));
    let imports: i64 =
        to.db.read(|c| Ok(c.query_row("SELECT count(*) FROM skill_imports", [], |r| r.get(0))?)).unwrap();
    assert_eq!(imports, 1);
}

#[test]
fn what_is_here_stays_unless_the_file_is_to_be_followed() {
    let (from, to) = (full(), empty());
    import(&to, &exported(&from, Pack::None)).unwrap();
    put(&to, json!({ "name": "top", "language": "python", "code": "3" }));
    to.skills.set_status(&OP, "base", None, Status::Retired, None).unwrap();
    put(&from, json!({ "name": "base", "language": "python", "code": "new" }));
    from.skills.record_performance(&OP, "base", &v("0.1.0"), &figures(0.5)).unwrap();
    let file = exported(&from, Pack::None);
    let current = |name: &str| to.skills.get(&OP, name, None).unwrap();
    let dry = take(&to, &file, ImportOptions { dry_run: true, adopt: true }, &Bounds::default()).unwrap();
    assert!(dry.dry_run && dry.added.versions == 1 && dry.adopted == 3, "{dry:?}");
    assert_eq!(to.skills.versions(&OP, "base").unwrap().len(), 1, "a dry run changes nothing");
    let done = import(&to, &file).unwrap();
    assert_eq!((done.added.versions, done.added.performance, done.adopted), (1, 1, 0));
    assert_eq!((current("top").code.as_str(), current("base").code.as_str()), ("3", "b\u{0}\n"));
    let done = take(&to, &file, ImportOptions { dry_run: false, adopt: true }, &Bounds::default()).unwrap();
    assert_eq!((done.added, done.adopted), (LibraryCounts::default(), 3));
    assert_eq!((current("top").code.as_str(), current("base").code.as_str()), ("1", "new"));
    assert_eq!(to.skills.get(&OP, "base", Some(&v("0.1.0"))).unwrap().status, Status::Active);
    let again = take(&to, &file, ImportOptions { dry_run: false, adopt: true }, &Bounds::default()).unwrap();
    assert_eq!(again.adopted, 0);
}

#[test]
fn a_version_with_other_content_refuses_all_of_it() {
    let (from, to) = (full(), empty());
    put(&to, json!({ "name": "top", "version": "0.1.1", "language": "python", "code": "mine" }));
    let before = lines(&exported(&to, Pack::None));
    let e = import(&to, &exported(&from, Pack::None)).unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict);
    assert!(e.message().contains("top@0.1.1 is here with other content"), "{e:?}");
    assert_eq!(lines(&exported(&to, Pack::None)), before);
    assert_eq!(to.skills.get(&OP, "base", None).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_file_that_is_not_whole_is_not_taken() {
    let plain = exported(&full(), Pack::None);
    let text = String::from_utf8(plain.clone()).unwrap();
    let all: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| format!("{}\n", lines.join("\n")).into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "does not begin with the head"),
        (b"{}".to_vec(), "line 1 is no line of a library"),
        (joined(&all[1..]), "does not begin with the head"),
        (joined(&all[..all.len() - 1]), "was cut off"),
        (plain[..plain.len() / 2].to_vec(), "no line of a library"),
        (joined(&[all[0], all[2], all[1], all[all.len() - 1]]), "was changed"),
        (text.replace("Grundlage", "Grundlagen").into_bytes(), "not what its hash says"),
        (text.replace("decayed", "improved").into_bytes(), "was changed"),
        (
            [plain.clone(), b"{\"skill\":{\"name\":\"x\",\"created_at\":0}}\n".to_vec()].concat(),
            "behind the end",
        ),
        ([plain.clone(), plain.clone()].concat(), "behind the end"),
        (text.replacen("\"format\":1", "\"format\":2", 1).into_bytes(), "format 2, this host reads 1"),
        (text.replacen("\"created_at\"", "\"cretaed_at\"", 1).into_bytes(), "cretaed_at"),
        (exported(&full(), Pack::Gzip)[..200].to_vec(), "cannot be unpacked"),
        (exported(&full(), Pack::Zstd)[..200].to_vec(), "cannot be unpacked"),
    ];
    for (file, word) in cases {
        let to = empty();
        let e = import(&to, &file).unwrap_err();
        assert!(e.message().contains(word), "{word}: {e:?}");
        assert!(to.skills.list(&OP, &SkillFilter::default()).unwrap().is_empty());
    }
}

#[test]
fn lines_must_fit_each_other() {
    let [skill, version, current] = whole("a", "1.0.0", &json!({}));
    let performance = |name: &str, win_rate: f64| {
        let figures = Performance { win_rate, ..figures(0.1) };
        json!({ "performance": { "name": name, "version": "1.0.0", "performance": figures, "recorded_at": 1, "recorded_by": "x" } })
    };
    let status = |by: &str| json!({ "status": { "name": "a", "version": "1.0.0", "status": "draft", "set_at": 1, "set_by": by } });
    let with = |more: Value| vec![skill.clone(), version.clone(), current.clone(), more];
    let mut orphan = version_line("a", "2.0.0", &json!({}));
    orphan["version"]["provenance"] = json!({ "parent": { "name": "gone", "version": "1.0.0" } });
    for (lines, word) in [
        (vec![version.clone(), skill.clone()], "no line before for skill `a`"),
        (vec![skill.clone(), version.clone()], "which version of skill `a` is current"),
        (vec![skill.clone(), current.clone(), version.clone()], "no line before for a@1.0.0"),
        (with(skill.clone()), "skill `a` stands twice"),
        (with(version.clone()), "a@1.0.0 stands twice"),
        (with(performance("b", 0.5)), "no line before for skill `b`"),
        (with(performance("a", 1.5)), "does not add up"),
        (with(status("a\nb")), "name of who did it"),
        (with(skill_line("../up")), "is not a name of a skill"),
        (with(json!({ "skill": { "name": "b", "created_at": 1, "uses": u64::MAX } })), "uses of skill `b`"),
        (with(orphan), "the parent of a@2.0.0"),
        (whole("a", "1.0.0", &json!({ "gone": "*" })).to_vec(), "`gone`, which does not exist"),
        (
            [whole("a", "1.0.0", &json!({ "b": "*" })), whole("b", "1.0.0", &json!({ "a": "*" }))].concat(),
            "run in a circle",
        ),
    ] {
        let to = empty();
        let e = import(&to, &sealed(&lines)).unwrap_err();
        assert!(e.message().contains(word), "{word}: {e:?}");
        assert!(to.skills.list(&OP, &SkillFilter::default()).unwrap().is_empty(), "{word}");
    }
    assert_eq!(import(&empty(), &sealed(&with(status("a")))).unwrap().added.statuses, 1);
    // Dependencies may stand behind who needs them.
    let later = [whole("a", "1.0.0", &json!({ "b": "*" })), whole("b", "1.0.0", &json!({}))].concat();
    assert_eq!(import(&empty(), &sealed(&later)).unwrap().added.versions, 2);
}

#[test]
fn bounds_hold_at_their_edges() {
    let lines: Vec<Value> = (0..3).flat_map(|i| whole(&format!("s{i}"), "1.0.0", &json!({}))).collect();
    let file = sealed(&lines);
    let longest = file.split_inclusive(|b| *b == b'\n').map(<[u8]>::len).max().unwrap() as u64;
    let exact = Bounds {
        file_bytes: file.len() as u64,
        unpacked_bytes: file.len() as u64,
        line_bytes: longest,
        versions: 3,
        records: 3,
    };
    take(&empty(), &file, ImportOptions::default(), &exact).unwrap();
    for (bounds, word) in [
        (Bounds { unpacked_bytes: exact.unpacked_bytes - 1, ..exact }, "the unpacked library"),
        (Bounds { line_bytes: longest - 1, ..exact }, "line"),
        (Bounds { versions: 2, ..exact }, "the number of skills in one library"),
        (Bounds { records: 2, ..exact }, "the number of changes of current versions in one library"),
    ] {
        let e = take(&empty(), &file, ImportOptions::default(), &bounds).unwrap_err();
        assert!(e.kind() == Kind::Limit && e.message().contains(word), "{word}: {e:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let limits = crate::manifest::Manifest::parse("", std::path::Path::new("/shiphold.toml")).unwrap().disk;
    let disk = DiskGuard::with_probe(dir.path(), &limits, Box::new(|| Ok(u64::MAX)));
    let receive = |most: u64| {
        let bounds = Bounds { file_bytes: most, ..exact };
        received(&mut file.as_slice(), dir.path(), &disk, &bounds, &mut |_, _| Ok(()))
    };
    assert!(receive(file.len() as u64).is_ok());
    let e = receive(file.len() as u64 - 1).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.message().contains("the file that is imported"), "{e:?}");
}

#[test]
fn a_small_file_that_becomes_a_large_one_is_stopped_at_a_bound() {
    let bombs = |content: &dyn Fn(&mut dyn Write)| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        content(&mut gz);
        let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 19).unwrap();
        content(&mut zstd);
        [gz.finish().unwrap(), zstd.finish().unwrap()]
    };
    let head = b"{\"library\":{\"format\":1}}\n";
    // One line without an end; and lines without an end.
    let one: &dyn Fn(&mut dyn Write) = &|out| {
        out.write_all(head).unwrap();
        (0..48).for_each(|_| out.write_all(&vec![b' '; 1 << 20]).unwrap());
    };
    let many: &dyn Fn(&mut dyn Write) = &|out| {
        out.write_all(head).unwrap();
        let line = format!("{}{}\n", " ".repeat(1 << 20), skill_line("a"));
        (0..48).for_each(|_| out.write_all(line.as_bytes()).unwrap());
    };
    for (content, word) in
        [(one, "line 2 of the library exceeds the limit of 16777216 bytes"), (many, "stands twice")]
    {
        for bomb in bombs(content) {
            assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
            let e = import(&empty(), &bomb).unwrap_err();
            assert!(e.message().contains(word), "{e:?}");
        }
    }
    // With a name for each line it is the whole that is too much.
    let names: &dyn Fn(&mut dyn Write) = &|out| {
        out.write_all(head).unwrap();
        for i in 0..48 {
            let line = format!("{}{}\n", " ".repeat(1 << 20), skill_line(&format!("s{i}")));
            out.write_all(line.as_bytes()).unwrap();
        }
    };
    let small = Bounds { unpacked_bytes: 8 << 20, ..Bounds::default() };
    for bomb in bombs(names) {
        let e = take(&empty(), &bomb, ImportOptions::default(), &small).unwrap_err();
        assert!(
            e.kind() == Kind::Limit
                && e.message().contains("the unpacked library exceeds the limit of 8388608 bytes"),
            "{e:?}"
        );
    }
    // A window that would take more memory than a file may.
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(&vec![b' '; 1 << 20]).unwrap();
    let e = import(&empty(), &wide.finish().unwrap()).unwrap_err();
    assert!(e.message().contains("cannot be unpacked"), "{e:?}");
}

#[test]
fn a_chain_of_ten_thousand_in_a_file_is_refused_by_name() {
    let lines: Vec<Value> = (0..10_000)
        .flat_map(|i| {
            let depends = if i == 0 { json!({}) } else { json!({ format!("s{}", i - 1): "*" }) };
            whole(&format!("s{i}"), "1.0.0", &depends)
        })
        .collect();
    let to = empty();
    let e = import(&to, &sealed(&lines)).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.message().contains("s9999@1.0.0"), "{e:?}");
    assert!(e.message().contains("1000 skills"), "{e:?}");
    assert!(to.skills.list(&OP, &SkillFilter::default()).unwrap().is_empty());
}

#[test]
fn steps_are_shared_by_all_of_an_import() {
    let from = full();
    let here = &from.db;
    here.read(|c| {
        let id = c.query_row("SELECT v.id FROM skill_versions v JOIN skills s ON s.id = v.skill_id WHERE s.name = 'top' LIMIT 1", [], |r| r.get(0))?;
        let mut few = Checker::new(c, 4);
        let e = (0..10).find_map(|_| few.check("top", id).err()).unwrap();
        assert!(e.kind() == Kind::Limit && e.message().contains("4 steps"), "{e:?}");
        let mut many = Checker::new(c, 1_000);
        (0..100).try_for_each(|_| many.check("top", id))
    })
    .unwrap();
}

#[test]
fn an_import_can_be_cancelled_and_leaves_nothing() {
    let file = exported(&full(), Pack::None);
    for stage in ["checking", "importing"] {
        let to = empty();
        let mut body = tempfile::tempfile().unwrap();
        body.write_all(&file).unwrap();
        let stop = &mut |what: &str, n: u64| match what.starts_with(stage) && n > 3 {
            true => Err(Error::new(Kind::Cancelled, "the caller went away")),
            false => Ok(()),
        };
        let e = to.skills.import(&OP, &body, ImportOptions::default(), &Bounds::default(), stop).unwrap_err();
        assert_eq!(e.kind(), Kind::Cancelled);
        assert!(to.skills.list(&OP, &SkillFilter::default()).unwrap().is_empty());
    }
}

#[test]
fn an_empty_library_is_one() {
    let file = exported(&empty(), Pack::None);
    assert_eq!(lines(&file).len(), 1);
    assert_eq!(import(&empty(), &file).unwrap().added, LibraryCounts::default());
    let end: Line = serde_json::from_value(lines(&file).remove(0)).unwrap();
    let digest = blake3::hash(b"").to_hex().to_string();
    assert_eq!(end, Line::End(End { counts: LibraryCounts::default(), blake3: digest }));
}

mod fuzz {
    use super::*;
    use crate::testing::fuzz::{mutated, run};

    /// Changed libraries, most of them sealed anew, so that what is behind the digest is reached.
    #[test]
    fn library() {
        let plain = exported(&full(), Pack::None);
        let packed = [exported(&full(), Pack::Gzip), exported(&full(), Pack::Zstd)];
        let to = empty();
        run("library", |random| {
            let file = match random.below(8) {
                0 => mutated(random, &packed[0], &plain),
                1 => mutated(random, &packed[1], &plain),
                2 => mutated(random, &plain, &packed[0]),
                _ => {
                    let mut all = lines(&plain);
                    all.pop();
                    for _ in 0..random.below(3) {
                        let (a, b) = (random.below(all.len()), random.below(all.len()));
                        match random.below(4) {
                            0 => drop(all.remove(a)),
                            1 => all.swap(a, b),
                            2 => all.insert(a, all[b].clone()),
                            _ => {
                                let text = all[a].to_string();
                                let changed = mutated(random, text.as_bytes(), b"\"0.1.0\":{}[]null");
                                let changed = std::str::from_utf8(&changed)
                                    .ok()
                                    .and_then(|t| serde_json::from_str(t).ok());
                                if let Some(changed) =
                                    changed.filter(|c: &Value| c.as_object().is_some_and(|o| !o.is_empty()))
                                {
                                    all[a] = changed;
                                }
                            }
                        }
                    }
                    sealed(&all)
                }
            };
            let options = ImportOptions { dry_run: true, adopt: random.coin() };
            take(&to, &file, options, &Bounds::default()).is_ok()
        });
        assert!(to.skills.list(&OP, &SkillFilter::default()).unwrap().is_empty());
    }
}
