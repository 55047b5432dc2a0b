//! The door itself: who may do what, and within which bounds.

use super::*;
use crate::Grants;
use crate::series::line_protocol::Precision;
use crate::series::model_engine::ModelEngine;
use crate::series::query::{self, Query};
use crate::series::{Column, Frame, Selector, TimeRange, Value, Values, WriteBatch, WriteReport};
use crate::sqlite::Options;

const OP: Caller = Caller::Operator;

pub(in crate::series) fn store(toml: &str) -> (tempfile::TempDir, SeriesStore) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = Manifest::parse(toml, &dir.path().join("shiphold.toml")).unwrap();
    std::fs::create_dir_all(&manifest.host.data).unwrap();
    let db = Arc::new(
        Database::open(&dir.path().join("a.db"), Options::default(), crate::schema::MIGRATIONS).unwrap(),
    );
    let limits = crate::manifest::Disk {
        warn_below: crate::units::ByteSize(0),
        read_only_below: crate::units::ByteSize(0),
        reserve: crate::units::ByteSize(0),
    };
    let disk = Arc::new(DiskGuard::new(dir.path(), &limits));
    (
        dir,
        SeriesStore::new(
            Arc::new(ModelEngine::default()),
            &manifest,
            disk,
            Arc::new(Audit::new(db)),
            Arc::default(),
        ),
    )
}

fn plugin(read: &[&str], write: &[&str], overwrite: bool) -> Caller {
    let list = |l: &[&str]| l.iter().map(|s| (*s).into()).collect();
    Caller::Plugin {
        name: "p".into(),
        grants: Arc::new(Grants {
            series_read: list(read),
            series_write: list(write),
            overwrite,
            ..Grants::default()
        }),
    }
}

#[test]
fn lines_in_and_rows_out() {
    let (_dir, s) = store("");
    let r = s
        .write_lines(
            &OP,
            "market",
            b"bar,symbol=A,timeframe=1m open=1,high=2,low=1,close=2,volume=5 60",
            Precision::S,
        )
        .unwrap();
    assert_eq!((r.written, r.dropped), (1, 0));
    let q = Query { measurement: "bar.1m.A".into(), ..Query::default() };
    assert_eq!(s.query(&OP, &q, &Budget::default()).unwrap().frame.times, [60_000_000_000]);
    assert_eq!(s.write_lines(&OP, "market", b"# nothing", Precision::S).unwrap(), WriteReport::default());
    for bad in ["", "_internal", "a/b", "a\nb", &"b".repeat(BUCKET_BYTES_MAX + 1)] {
        assert_eq!(
            s.write_lines(&OP, bad, b"m v=1", Precision::S).unwrap_err().kind(),
            Kind::Invalid,
            "{bad}"
        );
    }
    assert!(s.write_lines(&OP, &"b".repeat(BUCKET_BYTES_MAX), b"m v=1", Precision::S).is_ok());
}

#[test]
fn a_batch_has_a_bound() {
    let (_dir, s) = store("[limits]\nwrite_rows = 2");
    assert!(s.write_lines(&OP, "b", b"m v=1 1\nm v=1 2", Precision::Ns).is_ok());
    let e = s.write_lines(&OP, "b", b"m v=1 1\nm v=1 2\nm v=1 3", Precision::Ns).unwrap_err();
    assert_eq!(e.kind(), Kind::Limit);
    assert!(e.message().contains("write_rows"));
}

#[test]
fn scopes_and_grants() {
    let (_dir, s) = store("");
    let token = |scope| Caller::Token { id: 1, name: "t".into(), scope };
    assert_eq!(
        s.write_lines(&token(Scope::Read), "market", b"m v=1", Precision::Ns).unwrap_err().kind(),
        Kind::Denied
    );
    s.write_lines(&token(Scope::Write), "market", b"m v=1 1\nn v=1 1", Precision::Ns).unwrap();
    assert_eq!(
        s.delete(&token(Scope::Write), &Selector::default(), TimeRange::ALL).unwrap_err().kind(),
        Kind::Denied
    );
    let p = plugin(&["market/m"], &["market/out"], false);
    assert_eq!(s.list(&p, &Selector::default()).unwrap().len(), 1);
    assert_eq!(s.latest(&p, &Selector::default(), None, &Budget::default()).unwrap().len(), 1);
    let all = Query { measurement: "*".into(), ..Query::default() };
    assert_eq!(s.query(&p, &all, &Budget::default()).unwrap_err().kind(), Kind::Denied);
    assert_eq!(s.write_lines(&p, "market", b"m v=2 2", Precision::Ns).unwrap_err().kind(), Kind::Denied);
    s.write_lines(&p, "market", b"out v=1 1", Precision::Ns).unwrap();
    s.write_lines(&p, "market", b"out v=1 2", Precision::Ns).unwrap();
    assert_eq!(s.write_lines(&p, "market", b"out v=9 2", Precision::Ns).unwrap_err().kind(), Kind::Conflict);
    s.write_lines(&plugin(&[], &["market/out"], true), "market", b"out v=9 2", Precision::Ns).unwrap();
}

#[test]
fn a_join_reads_only_what_may_be_read() {
    let (_dir, s) = store("");
    s.write_lines(&OP, "market", b"m v=1 5\nn v=2 4", Precision::Ns).unwrap();
    s.write_lines(&OP, "other", b"n v=3 4", Precision::Ns).unwrap();
    let joined = |bucket: Option<&str>, measurement: &str| Query {
        measurement: "m".into(),
        asof: Some(query::Asof {
            bucket: bucket.map(String::from),
            measurement: measurement.into(),
            ..query::Asof::default()
        }),
        ..Query::default()
    };
    let value = |p: &Caller, q: &Query| {
        let table = s.query(p, q, &Budget::default()).map_err(|e| (e.kind(), e.to_string()))?;
        let column = table.column("right_v").unwrap().get(0);
        // The same rows one after another.
        let mut rows = 0;
        s.query_into(p, q, &Budget::default(), &mut |frame| {
            rows += frame.len();
            Ok(())
        })
        .unwrap();
        assert_eq!(rows, table.rows());
        Ok(column.and_then(|v| v.as_f64()))
    };
    let both = plugin(&["market/m", "market/n"], &[], false);
    assert_eq!(value(&both, &joined(None, "n")), Ok(Some(2.0)));
    assert_eq!(value(&OP, &joined(Some("other"), "n")), Ok(Some(3.0)));
    for (bucket, measurement) in [(Some("other"), "n"), (None, "*"), (None, "m*")] {
        let (kind, said) = value(&both, &joined(bucket, measurement)).unwrap_err();
        assert!(kind == Kind::Denied && said.contains("series.read"), "{bucket:?} {measurement}: {said}");
    }
    let left_only = plugin(&["market/m"], &[], false);
    assert_eq!(value(&left_only, &joined(None, "n")).unwrap_err().0, Kind::Denied);
    let right_only = plugin(&["market/n"], &[], false);
    assert_eq!(value(&right_only, &joined(None, "n")).unwrap_err().0, Kind::Denied);
    let e = s.query_into(&left_only, &joined(None, "n"), &Budget::default(), &mut |_| Ok(())).unwrap_err();
    assert_eq!(e.kind(), Kind::Denied);
}

#[test]
fn a_session_is_one_of_the_manifest() {
    let (_dir, s) = store("[calendars.short]\ntimezone = \"UTC\"\nopen = \"00:00\"\nclose = \"00:01\"");
    s.write_lines(&OP, "market", b"m v=1 0\nm v=2 61", Precision::S).unwrap();
    let asked = |name: &str| {
        let session = Some(Sessions::Named(name.into()));
        let q = Query { measurement: "m".into(), session, ..Query::default() };
        s.query(&OP, &q, &Budget::default()).map(|t| t.rows())
    };
    assert_eq!(asked("short").unwrap(), 1);
    let e = asked("long").unwrap_err();
    assert!(e.kind() == Kind::Invalid && e.hint_text().unwrap().contains("short"), "{e:?}");
}

#[test]
fn a_book_has_fifty_levels_a_side() {
    let (_dir, s) = store("");
    let write = |field: &str| {
        let line = format!("book,symbol=A {field}=1 1");
        s.write_lines(&OP, "market", line.as_bytes(), Precision::Ns).map_err(|e| e.kind())
    };
    for good in ["bid_price_1", "ask_size_50", "bid_size_49", "bid_price", "sequence_51", "bid_price_mean"] {
        assert_eq!(write(good).map(|r| r.written), Ok(1), "{good}");
    }
    for bad in ["bid_price_51", "ask_size_0", "bid_size_01", "ask_price_99999999999"] {
        assert_eq!(write(bad), Err(Kind::Limit), "{bad}");
    }
    // What is not the book of a symbol may have fields of any name.
    assert!(s.write_lines(&OP, "market", b"deep bid_price_51=1 1", Precision::Ns).is_ok());
}

/// A feed and a plugin write the same times at once: whoever comes first, the plugin replaces nothing.
#[test]
fn no_row_comes_between_the_look_of_a_plugin_and_its_write() {
    let (_dir, s) = store("");
    let p = plugin(&[], &["market/m"], false);
    for t in 0..200 {
        let line = |v| format!("m v={v} {t}");
        let refused = std::thread::scope(|scope| {
            let feed = scope.spawn(|| s.write_lines(&OP, "market", line(1).as_bytes(), Precision::Ns));
            let refused = s.write_lines(&p, "market", line(2).as_bytes(), Precision::Ns).is_err();
            feed.join().unwrap().unwrap();
            refused
        });
        let q = Query { measurement: "m".into(), ..Query::default() };
        let table = s.query(&OP, &q, &Budget::default()).unwrap();
        // The feed may replace the plugin's row, never the other way round.
        assert_eq!(table.frame.columns[0].get(t), Some(Value::Float(1.0)), "{t}, refused {refused}");
    }
}

#[test]
fn whole_numbers_fit_into_fields_of_bars() {
    let (_dir, s) = store("");
    let key = SeriesKey::new("market", "bar.1m.A", Vec::new()).unwrap();
    let write = |values| {
        let columns = vec![Column::new("volume", values)];
        s.write(&OP, WriteBatch { series: vec![(key.clone(), Frame { times: vec![1], columns })] }).unwrap()
    };
    for values in [Values::Float(vec![1.5]), Values::Integer(vec![-7]), Values::Unsigned(vec![7])] {
        assert_eq!(write(values).dropped, 0);
    }
    let q = Query { measurement: "bar.1m.A".into(), ..Query::default() };
    let table = s.query(&OP, &q, &Budget::default()).unwrap();
    assert_eq!(table.frame.column("volume").unwrap().floats().unwrap(), [7.0]);
}

#[test]
fn a_delete_is_audited() {
    let (_dir, s) = store("");
    s.write_lines(&OP, "market", b"m v=1 1\nm v=1 2", Precision::Ns).unwrap();
    let chosen = Selector { measurement: Some("m".into()), ..Selector::default() };
    assert_eq!(s.delete(&OP, &chosen, TimeRange { start: 0, end: 2 }).unwrap().rows, Some(1));
    let entries = s.audit.list(&OP, &crate::audit::AuditFilter::default()).unwrap();
    let told: Vec<_> = entries.iter().map(|e| (e.action.as_str(), e.detail["rows"].as_u64())).collect();
    assert_eq!(
        told,
        [("series.deleted", Some(1)), ("series.delete", None)],
        "the intent first, then the result"
    );
}
