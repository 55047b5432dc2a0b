use super::*;
use crate::manifest::Manifest;
use crate::series::WriteBatch;
use crate::series::exchange::{Export, Format, export};
use crate::series::store::tests::store;
use crate::series::{Column, Frame, SeriesKey, TimeRange, Value, Values};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const OP: Caller = Caller::Operator;

fn key(measurement: &str, tags: &[(&str, &str)]) -> SeriesKey {
    let tags = tags.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
    SeriesKey::new("market", measurement, tags).unwrap()
}

fn import(s: &SeriesStore, file: &[u8], how: &Import) -> Result<Imported> {
    s.import(&OP, &mut &*file, how, &Budget::default(), &mut |_, _, _| {})
}

fn bars(symbol: &str) -> Import {
    Import { symbol: Some(symbol.into()), timeframe: Some("1d".into()), ..Import::default() }
}

fn of(measurement: &str) -> Import {
    Import { measurement: Some(measurement.into()), ..Import::default() }
}

fn all(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_string()).collect()
}

/// Everything that is stored, as text: a row a line, floats by their bits.
fn rows(s: &SeriesStore) -> Vec<String> {
    let mut out = Vec::new();
    for info in s.engine().list(&Selector::default()).unwrap() {
        for frame in s.engine().scan(&info.key, TimeRange::ALL, None, &Budget::default()).unwrap() {
            let frame = frame.unwrap();
            for (row, time) in frame.times.iter().enumerate() {
                let cell = |c: &Column| {
                    let value = match c.get(row)? {
                        Value::Float(v) => format!("{:x}", v.to_bits()),
                        other => format!("{other:?}"),
                    };
                    Some(format!("{}={value}", c.name))
                };
                let mut cells: Vec<String> = frame.columns.iter().filter_map(cell).collect();
                cells.sort();
                out.push(format!("{} {time} {}", info.key, cells.join(" ")));
            }
        }
    }
    out
}

/// Every type at its edges, in series of unlike tags and measurements.
fn edges(s: &SeriesStore) {
    let columns = vec![
        Column::float("f", vec![-0.0, 5e-324, f64::MAX]),
        Column::new("i", Values::Integer(vec![i64::MIN, 0, i64::MAX])),
        Column::new("u", Values::Unsigned(vec![u64::MAX, 0, 1 << 63])),
        Column {
            valid: Some(vec![true, false, true]),
            ..Column::new("b", Values::Boolean(vec![true, false, false]))
        },
        Column::new("s", Values::String(all(&["", "\\", "a,\"b\"\r\nü NaN"]))),
        Column::float("time", vec![1.0, 2.0, 3.0]),
        Column::float("x:float", vec![0.1, 0.2, 0.3]),
    ];
    let times = vec![i64::MIN + 2, 1, i64::MAX - 2];
    let plain = |value| Frame { times: vec![7], columns: vec![Column::float("f", vec![value])] };
    let series = vec![
        (key("m", &[("exchange", "XNAS")]), Frame { times, columns }),
        (key("m", &[("tag:odd", "\\x"), ("exchange", " ")]), plain(0.1)),
        (key("bar", &[("symbol", "A"), ("timeframe", "1m")]), plain(0.2)),
        (key("ü", &[]), plain(0.3)),
    ];
    assert_eq!(s.engine().write(WriteBatch { series }).unwrap().dropped, 0);
}

fn exported(s: &SeriesStore, format: Format) -> Vec<u8> {
    let asked = Export { bucket: Some("market".into()), measurement: "*".into(), ..Export::default() };
    let mut out = Vec::new();
    export(s.engine().as_ref(), &asked, format, &Budget::default(), &mut out).unwrap();
    out
}

#[test]
fn an_export_comes_back_as_it_was() {
    let (_one, from) = store("");
    edges(&from);
    for format in [Format::Parquet, Format::Csv] {
        let (_two, to) = store("");
        let done = import(&to, &exported(&from, format), &Import::default()).unwrap();
        assert_eq!((done.rows, done.written, done.empty, done.nan), (6, 6, 0, 0), "{format:?}");
        assert_eq!(rows(&to), rows(&from), "{format:?}");
        // Once more changes nothing.
        import(&to, &exported(&from, format), &Import::default()).unwrap();
        assert_eq!(rows(&to), rows(&from), "{format:?}");
    }
    // Into another bucket, and nothing at all.
    let (_three, to) = store("");
    let elsewhere = Import { bucket: Some("b".into()), ..Import::default() };
    import(&to, &exported(&from, Format::Csv), &elsewhere).unwrap();
    assert!(rows(&to).iter().all(|r| r.starts_with("b/")) && rows(&to).len() == 6);
    let (_none, empty) = store("");
    for format in [Format::Parquet, Format::Csv] {
        assert_eq!(import(&to, &exported(&empty, format), &Import::default()).unwrap(), Imported::default());
    }
}

#[test]
fn bars_have_columns_in_any_order_and_case() {
    let (_dir, s) = store("");
    let text = "\u{feff}Volume,CLOSE,Adj Close,low,High,Open,Date,Note\n100, 1.5,,0.5,2,1,2024-01-02,x\n200,2.5,2.4,1.5,3,2,1/3/2024,\n";
    assert_eq!(import(&s, text.as_bytes(), &bars("A")).unwrap().written, 2);
    let two = |v: f64| format!("{:x}", v.to_bits());
    assert_eq!(
        rows(&s),
        [
            format!(
                "market/bar.1d.A 1704153600000000000 close={} high={} low={} open={} volume={}",
                two(1.5),
                two(2.0),
                two(0.5),
                two(1.0),
                two(100.0)
            ),
            format!(
                "market/bar.1d.A 1704240000000000000 adj_close={} close={} high={} low={} open={} volume={}",
                two(2.4),
                two(2.5),
                two(3.0),
                two(1.5),
                two(2.0),
                two(200.0)
            ),
        ]
    );
}

#[test]
fn errors_name_the_place_and_the_next_step() {
    let (_dir, s) = store("");
    for (text, words) in [
        (
            "Date,Open,High,Low,Close\n2024-01-02,1,2,0.5,1.5\n2024-01-03,1,two,0.5,1.5\n",
            &["line 3", "High", "two"][..],
        ),
        ("Date,Open,High,Low,Shut\n2024-01-02,1,2,0.5,1.5\n", &["close", "`Shut`"]),
        ("Open,High,Low,Close\n1,1,1,1\n", &["time", "`Open`"]),
        ("Date,Open,High,Low,Close\nsoon,1,2,0.5,1.5\n", &["line 2", "Date", "soon"]),
        ("Date,Open,High,Low,Close\n2024-01-02,1,2,0.5\n", &["line 2", "4 cells"]),
        ("Date,Open,High,Low,Close\n2024-01-02,1,0.4,0.5,1.5\n", &["line 2", "0.4"]),
        ("Date,Open,High,Low,Close\n2024-01-02,NaN,2,0.5,1.5\n", &["line 2", "open"]),
        ("Date,Open,High,Low,Close\n2024-01-02,inf,2,0.5,1.5\n", &["line 2", "Open"]),
        ("Date,Open,High,Low,Close\n", &["no rows"]),
        ("", &["empty"]),
    ] {
        let e = import(&s, text.as_bytes(), &bars("A")).unwrap_err();
        assert!(words.iter().all(|w| e.message().contains(w)), "{text:?}: {e}");
        assert!(e.hint_text().is_some(), "{e}");
    }
    for (text, how, words) in [
        ("time,v\n1,1\n", of("m"), &["line 2", "`time`", "unit"][..]),
        ("time,v\n2024-01-02,1\n", Import::default(), &["measurement", "`v`"]),
        ("time,v\n2024-01-02,1\n", Import { time: Some("t".into()), ..of("m") }, &["`t`", "`v`"]),
        ("time,v\n2024-01-02,1\n", Import { fields: all(&["w"]), ..of("m") }, &["`w`"]),
        ("time,v\n2024-01-02,1\n", Import { tags: all(&["w"]), ..of("m") }, &["`w`"]),
        ("time,v\n2024-01-02,1.5\n", Import { fields: all(&["v:integer"]), ..of("m") }, &["line 2", "1.5"]),
        ("time,v\n2024-01-02,9007199254740993\n", of("m"), &["line 2", "float", "integer"]),
        ("time,v\n2024-01-02,\n", of("m"), &["no column for a field"]),
        ("time,v\n3000-01-01T00:00:00Z,1\n", of("m"), &["line 2", "3000"]),
        ("time,v\n2024-01-02,1\n", Import { bucket: Some("_x".into()), ..of("m") }, &["_x"]),
        ("time,v\n2024-01-02,1\n", Import { measurement: Some("m".into()), ..bars("A") }, &["symbol"]),
        ("time,a,b\n2024-01-02,1,2\n", Import { fields: all(&["v=a", "v=b"]), ..of("m") }, &["`v`", "two"]),
        (
            "time,tag:k,v\n2024-01-02,x,2\n",
            Import { tag: vec![("k".into(), "y".into())], ..of("m") },
            &["`k`", "twice"],
        ),
    ] {
        let e = import(&s, text.as_bytes(), &how).unwrap_err();
        let whole = format!("{e} {}", e.hint_text().unwrap_or_default());
        assert!(words.iter().all(|w| whole.contains(w)), "{text:?}: {whole}");
    }
    assert!(s.engine().list(&Selector::default()).unwrap().is_empty());
}

#[test]
fn a_file_that_is_wrong_at_its_end_stores_nothing() {
    let (_dir, s) = store("");
    let mut text = String::from("time,open,high,low,close\n");
    for i in 0..70_000 {
        text.push_str(&format!("{i},1,1,1,1\n"));
    }
    let e = import(&s, format!("{text}70000,1,1,1,one\n").as_bytes(), &bars("A")).unwrap_err();
    assert!(e.message().contains("line 70002"), "{e}");
    assert!(s.list(&OP, &Selector::default()).unwrap().is_empty());
    assert_eq!(import(&s, text.as_bytes(), &bars("A")).unwrap().written, 70_000);
}

#[test]
fn columns_are_mapped_and_typed() {
    let (_dir, s) = store("");
    let text = "ts,sym,venue,px,qty,id,ok,note\n\
                1000,AAPL,XNAS,189.5,10,9007199254740993,True,\n\
                1001,KO,,60.25,nan,2,False,\"a\nb\"\n\
                1001,KO,,,,,,\n";
    let how = Import {
        time: Some("ts".into()),
        unit: Some("ms".into()),
        tags: all(&["symbol=sym", "venue"]),
        tag: vec![("source".into(), "x".into())],
        fields: all(&["price=px", "size=qty", "id:integer", "ok", "note"]),
        ..of("tick")
    };
    let done = import(&s, text.as_bytes(), &how).unwrap();
    assert_eq!((done.rows, done.written, done.empty), (3, 2, 1));
    let float = |v: f64| format!("{:x}", v.to_bits());
    assert_eq!(
        rows(&s),
        [
            format!(
                "market/tick.AAPL,source=x,venue=XNAS 1000000000 id=Integer(9007199254740993) ok=Boolean(true) price={} size={}",
                float(189.5),
                float(10.0)
            ),
            format!(
                "market/tick.KO,source=x 1001000000 id=Integer(2) note=String(\"a\\nb\") ok=Boolean(false) price={}",
                float(60.25)
            ),
        ]
    );
}

#[test]
fn a_type_that_the_series_has_is_asked_for_before_a_row_is_written() {
    let (_dir, s) = store("");
    import(&s, b"time,v:integer\n2024-01-01,1\n", &of("m")).unwrap();
    let e = import(&s, b"time,v\n2024-01-02,1\n2024-01-03,2\n", &of("m")).unwrap_err();
    assert!(e.kind() == Kind::Conflict && e.hint_text().unwrap().contains("v:integer"), "{e}");
    assert_eq!(rows(&s).len(), 1);
    let typed = Import { fields: all(&["v:integer"]), ..of("m") };
    assert_eq!(import(&s, b"time,v\n2024-01-02,1\n2024-01-03,2\n", &typed).unwrap().written, 2);
}

#[test]
fn callers_and_sizes_are_bounded() {
    let (_dir, s) = store("[limits]\nimport_file = \"20 B\"");
    let text = b"time,v\n2024-01-02,10\n";
    let fits = text.get(..20).unwrap();
    assert_eq!(import(&s, fits, &of("m")).unwrap().written, 1);
    let e = import(&s, text, &of("m")).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.message().contains("import_file"), "{e}");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &[b'x'; 1 << 20]).unwrap();
    let bomb = gz.finish().unwrap();
    assert_eq!(import(&s, &bomb, &of("m")).unwrap_err().kind(), Kind::Limit);
    let reader = Caller::Token { id: 1, name: "t".into(), scope: Scope::Read };
    let e = s.import(&reader, &mut &text[..], &of("m"), &Budget::default(), &mut |_, _, _| {}).unwrap_err();
    assert_eq!(e.kind(), Kind::Denied);
    assert!(s.desk.folder.read_dir().unwrap().next().is_none(), "no file is left");
}

#[test]
fn what_gzip_packed_is_unpacked() {
    let (_dir, s) = store("");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, b"time,v\n2024-01-02,1\n").unwrap();
    assert_eq!(import(&s, &gz.finish().unwrap(), &of("m")).unwrap().written, 1);
}

#[test]
fn a_line_has_a_bound() {
    let (_dir, s) = store("");
    let file = |bytes: usize| {
        let head = "time,v\n2024-01-02,\"";
        let row = bytes - "2024-01-02,\"\"\n".len();
        format!("{head}{}\"\n2024-01-03,x\n", "a".repeat(row)).into_bytes()
    };
    let most = usize::try_from(LINE_BYTES_MAX).unwrap();
    assert_eq!(import(&s, &file(most), &of("m")).unwrap().written, 2);
    for more in [1, 1 << 20] {
        let e = import(&s, &file(most + more), &of("m")).unwrap_err();
        assert!(e.kind() == Kind::Limit && e.message().contains("line 2"), "{e}");
    }
}

/// Rows of a CSV file and of a Parquet file: as many as are two pieces and one row.
fn long() -> [Vec<u8>; 2] {
    let (_dir, s) = store("");
    let count = 2 * PIECE_ROWS as i64 + 1;
    let frame = Frame {
        times: (0..count).map(|i| i * 1_000_000_000).collect(),
        columns: vec![Column::float("v", (0..count).map(|i| i as f64 * 0.5).collect())],
    };
    s.engine().write(WriteBatch { series: vec![(key("m", &[]), frame)] }).unwrap();
    [exported(&s, Format::Csv), exported(&s, Format::Parquet)]
}

/// Ends an import once so many pieces are written.
fn cut_off(s: &SeriesStore, file: &[u8], pieces: u64) -> Error {
    let cancel = Arc::new(AtomicBool::new(false));
    let budget = Budget { cancel: Some(cancel.clone()), ..Budget::default() };
    let told = &mut |stage, done, _| {
        if matches!(stage, Stage::Writing { .. }) && done >= pieces * PIECE_ROWS {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    s.import(&OP, &mut &*file, &Import::default(), &budget, told).unwrap_err()
}

#[test]
fn an_import_that_was_cut_off_goes_on_and_ends_with_the_same_rows() {
    for file in long() {
        let (_one, never) = store("");
        assert_eq!(import(&never, &file, &Import::default()).unwrap().resumed, 0);
        for pieces in [1, 2] {
            let (_two, s) = store("");
            let e = cut_off(&s, &file, pieces);
            let rows_there = pieces * PIECE_ROWS;
            assert!(e.kind() == Kind::Cancelled && e.message().contains(&rows_there.to_string()), "{e}");
            assert_eq!(rows(&s).len() as u64, rows_there);
            let done = import(&s, &file, &Import::default()).unwrap();
            let rest = 2 * PIECE_ROWS + 1 - rows_there;
            assert_eq!((done.rows, done.resumed, done.written), (2 * PIECE_ROWS + 1, rows_there, rest));
            assert_eq!(rows(&s), rows(&never));
            // What is done is forgotten: once more, all of it is written.
            assert_eq!(import(&s, &file, &Import::default()).unwrap().resumed, 0);
            assert_eq!(rows(&s), rows(&never));
        }
    }
}

#[test]
fn what_is_not_the_same_import_or_might_miss_rows_begins_anew() {
    let [file, _] = long();
    let (_dir, s) = store("");
    cut_off(&s, &file, 1);
    let other = Import { tag: vec![("k".into(), "v".into())], ..Import::default() };
    assert_eq!(import(&s, &file, &other).unwrap().resumed, 0);
    let mut changed = file.clone();
    changed.extend_from_slice(b"2024-01-01T00:00:00Z,m,1\n");
    assert_eq!(import(&s, &changed, &Import::default()).unwrap().resumed, 0);
    let of_m = Selector { bucket: Some("market".into()), measurement: Some("m".into()), tags: Vec::new() };
    for forget in [true, false] {
        cut_off(&s, &file, 1);
        let range = TimeRange { start: 0, end: 10 };
        if forget {
            s.forget(&of_m, range, Some(range.start)).unwrap();
        } else {
            s.delete(&OP, &of_m, range).unwrap();
        }
        let done = import(&s, &file, &Import::default()).unwrap();
        assert_eq!((done.resumed, done.written), (0, 2 * PIECE_ROWS + 1));
    }
}

#[test]
fn an_import_is_audited() {
    let (_dir, s) = store("");
    import(&s, b"time,v\n2024-01-02,1\n", &of("m")).unwrap();
    let entries = s.audit.list(&OP, &crate::audit::AuditFilter::default()).unwrap();
    let told: Vec<_> = entries.iter().map(|e| (e.action.as_str(), e.object.as_str())).collect();
    assert_eq!(told, [("series.imported", "series:market/m"), ("series.import", "series:market/m")]);
    assert_eq!(entries[0].detail["written"], 1);
    assert_eq!(entries[1].detail["rows"], 1);
}

#[test]
fn pieces_are_bounded_by_rows_and_by_bytes() {
    let mut plan =
        Plan::new(&of("m"), "b", &[head("time", Of::Time), head("s", Of::Type(FieldType::String))]).unwrap();
    plan.fields[0].of = Some(FieldType::String);
    let sizes = |rows: usize, text: &str, write_rows: u64| {
        let shared = Text::from(text.as_bytes().to_vec());
        let block = Block {
            times: (0..rows as i64).collect(),
            fields: vec![Cells::Text(vec![Some(shared); rows])],
            ..Block::default()
        };
        let mut pieces = Pieces::new(&plan, write_rows);
        let mut sizes = Vec::new();
        pieces
            .take(&block, 0, &mut |piece| {
                assert!(piece.batch.series[0].1.size_bytes() <= PIECE_BYTES + (1 << 20));
                sizes.push(piece.rows);
                Ok(())
            })
            .unwrap();
        sizes.push(pieces.end().rows);
        sizes
    };
    let most = PIECE_ROWS as usize;
    assert_eq!(sizes(most - 1, "x", u64::MAX), [PIECE_ROWS - 1]);
    assert_eq!(sizes(most, "x", u64::MAX), [PIECE_ROWS, 0]);
    assert_eq!(sizes(most + 1, "x", u64::MAX), [PIECE_ROWS, 1]);
    assert_eq!(sizes(5, "x", 2), [2, 2, 1]);
    // One text of a dictionary that every row has.
    let many = sizes(most, &"y".repeat(64 << 10), u64::MAX);
    assert!(many.len() > 100 && many.iter().sum::<u64>() == PIECE_ROWS, "{}", many.len());
}

fn head(name: &str, of: Of) -> Head {
    Head { name: name.into(), of }
}

#[test]
fn real_bars_are_imported_whole_and_twice() {
    let (_dir, s) = store("");
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/trader/data/sp500.csv");
    let file = std::fs::read(file).unwrap();
    for _ in 0..2 {
        let done = import(&s, &file, &bars("SPX")).unwrap();
        assert_eq!((done.written, done.dropped), (5_031, 0));
    }
    let l = s.list(&OP, &Selector::default()).unwrap();
    assert_eq!((l[0].key.to_string().as_str(), l[0].rows), ("market/bar.1d.SPX", 5_031));
}

#[test]
fn a_manifest_says_how_large_a_file_may_be() {
    let parse = |toml: &str| Manifest::parse(toml, std::path::Path::new("/shiphold.toml"));
    assert_eq!(parse("").unwrap().limits.import_file, crate::units::ByteSize::gib(4));
    assert!(parse("[limits]\nimport_file = \"0 B\"").is_err());
}
