//! Decimals through the whole data layer.

use super::*;
use crate::commits::{Commit, CommitRows};
use crate::layer::DataLayer;
use crate::layer::tests::{layer_over, manifest};
use crate::series::exchange::import::Import;
use crate::series::exchange::{Export, Format};
use crate::series::flux_query::{FluxQuery, Part};
use crate::series::line_protocol::Precision;
use crate::series::model_engine::{ModelEngine, rows_of};
use crate::series::query::{self, Query, Table};
use crate::series::tail::TailEvent;
use crate::series::{
    Budget, FieldType, Selector, SeriesEngine, SeriesKey, TimeRange, Value, WriteBatch, WriteReport,
};
use crate::{Caller, Error, Kind};
use std::path::Path;

const OP: Caller = Caller::Operator;
const MINUTE: i64 = 60_000_000_000;
const BARS: &str = "[[series.decimals]]\nmeasurement = \"bar.*\"\nfields = [\"open\", \"high\", \"low\", \"close\"]\nscale = 4\n";

fn key(measurement: &str) -> SeriesKey {
    SeriesKey::new("market", measurement, Vec::new()).unwrap()
}

fn open(dir: &Path, text: &str) -> Arc<DataLayer> {
    DataLayer::open(&manifest(dir, text)).unwrap()
}

fn refused(dir: &Path, text: &str) -> Error {
    DataLayer::open(&manifest(dir, text)).unwrap_err()
}

fn lines(layer: &DataLayer, text: &str) -> WriteReport {
    layer.series().write_lines(&OP, "market", text.as_bytes(), Precision::Ns).unwrap()
}

fn ask(layer: &DataLayer, text: &str) -> Table {
    layer.series().query(&OP, &query::text::parse(text).unwrap(), &Budget::default()).unwrap()
}

fn shown(table: &Table, column: &str) -> Vec<String> {
    let column = table.column(column).unwrap_or_else(|| panic!("no {column} in {table:?}"));
    (0..table.rows())
        .map(|row| match column.get(row) {
            Some(Value::Decimal(d)) => d.to_string(),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn lines_are_read_from_their_digits() {
    let dir = tempfile::tempdir().unwrap();
    let layer = open(dir.path(), "[[series.decimals]]\nmeasurement = \"m\"\nfields = [\"v\"]\nscale = 10\n");
    // More digits than a float has.
    let said = lines(
        &layer,
        "m v=123456789.0123456789 1\nm v=-123456789.0123456789 2\nm v=7i 3\nm v=1e-10 4\nm\\  v=1.5 5\n\
         m v=\"0.25\" 6\nm v=0.12345678901 7\nm v=922337203.6854775808 8\nm v=t 9\nm v=922337203.6854775807 10\n\
         m w=0.5,v=2.50 11",
    );
    assert_eq!((said.written, said.dropped), (8, 3), "{said:?}");
    let told: Vec<_> = said.conflicts.iter().map(|c| (c.got, c.value.as_deref().unwrap())).collect();
    assert_eq!(
        told,
        [(FieldType::Float, "0.12345678901"), (FieldType::Boolean, "true")],
        "the first of each type"
    );
    let rows = ask(&layer, "SELECT v FROM m");
    assert_eq!(
        shown(&rows, "v"),
        [
            "123456789.0123456789",
            "-123456789.0123456789",
            "7.0000000000",
            "0.0000000001",
            "0.2500000000",
            "922337203.6854775807",
            "2.5000000000",
        ]
    );
    // What is no number at all refuses the whole body, as ever.
    let e = layer.series().write_lines(&OP, "market", b"m v=NaN 1", Precision::Ns).unwrap_err();
    assert_eq!(e.kind(), Kind::Invalid);
}

#[test]
fn the_typed_mapping_keeps_decimals_and_their_bars() {
    let dir = tempfile::tempdir().unwrap();
    let layer = open(dir.path(), BARS);
    for i in 0..10 {
        let line = format!(
            "bar,symbol=A,timeframe=1m open=100.000{i},high=101.5,low=99i,close=100.5,volume=3i {}",
            i * MINUTE
        );
        assert_eq!(lines(&layer, &line).written, 1);
    }
    let bars = ask(&layer, "SELECT * FROM bar.1m.A RESAMPLE 5m");
    assert_eq!(shown(&bars, "open"), ["100.0000", "100.0005"]);
    assert_eq!(shown(&bars, "low"), ["99.0000", "99.0000"]);
    assert_eq!(bars.column("volume").unwrap().floats(), Some(&[15.0, 15.0][..]));
    // A join has them as they are, and what is filled is on the scale.
    let joined = ask(&layer, "SELECT open FROM bar.1m.A ASOF JOIN bar.1m.A LIMIT 1");
    assert_eq!(
        (shown(&joined, "open"), shown(&joined, "right_open")),
        (vec!["100.0000".into()], vec!["100.0000".into()])
    );
    lines(
        &layer,
        &format!("bar,symbol=B,timeframe=1m close=1 0\nbar,symbol=B,timeframe=1m close=2 {}", 3 * MINUTE),
    );
    let filled = ask(&layer, "SELECT last(close) FROM bar.1m.B GROUP BY 1m FILL linear");
    assert_eq!(shown(&filled, "close_last"), ["1.0000", "1.3333", "1.6667", "2.0000"]);
    let json = serde_json::to_value(&filled).unwrap();
    assert_eq!(json["columns"][1]["type"], "decimal(4)");
    assert_eq!(json["columns"][1]["values"][1], "1.3333");
}

#[test]
fn a_sum_out_of_range_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let layer = open(dir.path(), "[[series.decimals]]\nmeasurement = \"m\"\nfields = [\"v\"]\nscale = 18\n");
    lines(&layer, "m v=9 0\nm v=9 1");
    let asked = query::text::parse("SELECT sum(v) FROM m GROUP BY 1h").unwrap();
    let e = layer.series().query(&OP, &asked, &Budget::default()).unwrap_err();
    assert!(e.message().contains("decimal(18)") && e.hint_text().is_some(), "{e}");
    let mean = ask(&layer, "SELECT mean(v) FROM m GROUP BY 1h");
    assert_eq!(mean.column("v_mean").unwrap().floats(), Some(&[9.0][..]));
}

#[test]
fn an_import_is_exact_or_names_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let layer = open(dir.path(), BARS);
    let options = Import { symbol: Some("A".into()), timeframe: Some("1d".into()), ..Import::default() };
    let import = |text: &str| {
        layer.series().import(&OP, &mut text.as_bytes(), &options, &Budget::default(), &mut |_, _, _| {})
    };
    let said = import("date,open,high,low,close\n2024-01-02,1,2,0.5,1.00001\n").unwrap();
    assert_eq!(
        (said.written, said.dropped, said.conflicts[0].have),
        (0, 1, FieldType::Decimal(4)),
        "{said:?}"
    );
    let head = "date,open,high,low,close,volume\n";
    let said = import(&format!("{head}2024-01-02,99999999999.0001,99999999999.0003,1,99999999999.0002,5\n"))
        .unwrap();
    assert_eq!((said.written, said.dropped), (1, 0));
    let rows = ask(&layer, "SELECT close, volume FROM bar.1d.A");
    assert_eq!(shown(&rows, "close"), ["99999999999.0002"]);
}

/// The scale of rows does not change under them: every other declaration is refused, whatever the engine.
#[test]
fn declarations_stay_while_there_are_rows() {
    let of = |measurement: &str, field: &str, scale: u8| {
        format!(
            "[[series.decimals]]\nmeasurement = \"{measurement}\"\nfields = [\"{field}\"]\nscale = {scale}\n"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    // Without rows anything goes.
    drop(open(dir.path(), &of("m", "v", 2)));
    let layer = open(dir.path(), &of("m", "v", 4));
    lines(&layer, "m v=1.5,n=3i,f=0.5 1");
    layer.close().unwrap();
    drop(layer);
    for (text, words) in [
        (String::new(), &["`v`", "market/m", "decimal(4)", "whole numbers"][..]),
        (of("m", "v", 2), &["`v`", "decimal(4)", "decimal(2)"]),
        (of("x", "v", 4), &["`v`", "decimal(4)"]),
        (of("m", "v", 4) + &of("m", "n", 4), &["`n`", "whole numbers"]),
        (of("m", "v", 4) + &of("m", "f", 4), &["`f`", "float"]),
    ] {
        let e = refused(dir.path(), &text);
        assert_eq!(e.kind(), Kind::Conflict, "{text}: {e:?}");
        assert!(words.iter().all(|w| e.message().contains(w)), "{text}: {e}");
        assert!(e.hint_text().unwrap().contains("back as it was"), "{e:?}");
    }
    // The same meaning in other words, and what has no rows.
    let layer = open(dir.path(), &(of("m*", "v", 4) + &of("other", "x*", 1)));
    assert_eq!(shown(&ask(&layer, "SELECT v FROM m"), "v"), ["1.5000"]);
    // Once its rows are gone a field may be declared anew.
    let chosen = Selector { measurement: Some("m".into()), ..Selector::default() };
    layer.series().delete(&OP, &chosen, TimeRange::ALL).unwrap();
    layer.close().unwrap();
    drop(layer);
    let layer = open(dir.path(), &of("m", "v", 2));
    lines(&layer, "m v=1.25 1");
    assert_eq!(shown(&ask(&layer, "SELECT v FROM m"), "v"), ["1.25"]);
}

#[test]
fn what_cannot_be_looked_at_is_not_taken_for_empty() {
    let dir = tempfile::tempdir().unwrap();
    let influx = |decimals: &str| {
        std::fs::write(dir.path().join("token"), "t").unwrap();
        format!(
            "[series]\nengine = \"influxdb2\"\n[series.influxdb2]\nurl = \"http://127.0.0.1:9\"\norg = \"o\"\ntoken = \"t\"\n\
             timeout = \"200 ms\"\n[secrets.t]\nfile = \"token\"\n{decimals}"
        )
    };
    let e = refused(dir.path(), &influx(BARS));
    assert!(e.kind() == Kind::Unavailable && e.message().contains("[[series.decimals]]"), "{e:?}");
    assert!(e.hint_text().unwrap().contains("reachable"), "{e:?}");
    // Where nothing changed, nobody needs the server to start.
    drop(open(dir.path(), &influx("")));
}

/// A file that was written before there were decimals opens as it is.
#[test]
fn integers_without_a_declaration_stay_integers() {
    let dir = tempfile::tempdir().unwrap();
    let layer = open(dir.path(), "");
    lines(&layer, "m v=150i 1");
    layer.close().unwrap();
    drop(layer);
    let layer = open(dir.path(), BARS);
    assert_eq!(ask(&layer, "SELECT v FROM m").column("v").unwrap().get(0), Some(Value::Integer(150)));
}

#[test]
fn what_was_known_is_shown_and_held_to_its_scale() {
    let dir = tempfile::tempdir().unwrap();
    let kept = format!("{BARS}[[series.revisions]]\nmeasurement = \"bar.*\"\nwindow = \"1 d\"\n");
    let layer = open(dir.path(), &kept);
    lines(&layer, "bar.1m.A close=1.5 1");
    std::thread::sleep(std::time::Duration::from_millis(5));
    let then = crate::schema::now_ns();
    std::thread::sleep(std::time::Duration::from_millis(5));
    lines(&layer, "bar.1m.A close=2.5 1");
    let at = |time| Query {
        measurement: "bar.1m.A".into(),
        as_known_at: Some(query::Time::Ns(time)),
        ..Query::default()
    };
    let known = layer.series().query(&OP, &at(then), &Budget::default()).unwrap();
    assert_eq!(shown(&known, "close"), ["1.5000"]);
    let latest = |at| layer.series().latest(&OP, &Selector::default(), at, &Budget::default()).unwrap();
    for (at, units) in [(Some(then), 15_000), (None, 25_000)] {
        assert_eq!(latest(at)[0].fields[0].value, Value::Decimal(Decimal { units, scale: 4 }), "{at:?}");
    }
    // The rows are gone, but not what was known of them.
    let chosen = Selector { measurement: Some("bar.*".into()), ..Selector::default() };
    layer.series().delete(&OP, &chosen, TimeRange::ALL).unwrap();
    layer.close().unwrap();
    drop(layer);
    let e = refused(dir.path(), &kept.replace("scale = 4", "scale = 2"));
    assert!(e.kind() == Kind::Conflict && e.message().contains("its revisions"), "{e}");
}

fn commit(lines: &str) -> Commit {
    let rows = CommitRows { bucket: None, lines: lines.into(), precision: Precision::Ns };
    Commit { series: vec![rows], ..Commit::default() }
}

/// What is applied late is what was committed, and nobody may give it another meaning meanwhile.
#[test]
fn rows_of_a_commit_that_a_crash_left_are_the_same_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let m = |scale: u8| manifest(dir.path(), &BARS.replace("scale = 4", &format!("scale = {scale}")));
    let engine = Arc::new(ModelEngine::default());
    let layer = layer_over(&m(4), Some(engine.clone())).0;
    engine.fail_writes(true);
    layer.commit(&OP, &commit("bar.1m.A close=101.25,high=103i,low=\"99.5\" 1")).unwrap();
    drop(layer);
    let wrong = DataLayer::check(&m(2)).unwrap().unwrap();
    assert!(wrong.iter().any(|w| w.contains("`close` of `market/bar.1m.A` holds decimal(4)")), "{wrong:?}");
    assert_eq!(DataLayer::open(&m(2)).unwrap_err().kind(), Kind::Conflict);
    engine.fail_writes(false);
    let layer = layer_over(&m(4), Some(engine)).0;
    let rows = ask(&layer, "SELECT close, high, low FROM bar.1m.A");
    for (field, want) in [("close", "101.2500"), ("high", "103.0000"), ("low", "99.5000")] {
        assert_eq!(shown(&rows, field), [want], "{field}");
    }
}

#[test]
fn a_commit_takes_what_a_write_takes_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let layer = open(dir.path(), BARS);
    layer
        .commit(&OP, &commit("bar.1m.A close=1.5 1\nbar.1m.A close=\"2.5\" 2\nbar.1m.A close=3i 3"))
        .unwrap();
    for wrong in ["1.00001", "t", "\"many\""] {
        let e =
            layer.commit(&OP, &commit(&format!("bar.1m.A close=4 4\nbar.1m.A close={wrong} 5"))).unwrap_err();
        assert!(e.kind() == Kind::Conflict && e.message().contains("`close`"), "{wrong}: {e:?}");
        assert!(e.message().contains("decimal(4)") && e.hint_text().is_some(), "{wrong}: {e:?}");
    }
    assert_eq!(shown(&ask(&layer, "SELECT close FROM bar.1m.A"), "close"), ["1.5000", "2.5000", "3.0000"]);
}

#[test]
fn listeners_flux_and_exports_have_them() {
    let dir = tempfile::tempdir().unwrap();
    let layer = open(dir.path(), BARS);
    let (tail, _) = layer.series().tail(&OP, None, "bar.*", None, &Budget::default()).unwrap();
    lines(&layer, "bar.1m.A close=101.25 1\nbar.1m.A close=1.00001 2\nbar.1m.A close=-3 3");
    let told = |want: (i64, i64)| {
        let Some(TailEvent::Rows(rows)) = tail.take() else { panic!("nothing was told of {want:?}") };
        assert_eq!(rows.1.times, [want.0]);
        assert_eq!(rows.1.columns[0].values, Values::Decimal(vec![want.1], 4));
    };
    told((1, 1_012_500));
    told((3, -30_000));
    assert_eq!(tail.take(), None);
    // Flux knows no decimals.
    let text = "from(bucket: \"market\") |> range(start: 0) |> filter(fn: (r) => r._value > 101.2)";
    let asked = FluxQuery::parse(text, MINUTE, Vec::new()).unwrap();
    let mut found = Vec::new();
    let take = &mut |part: Part<'_>| {
        if let Part::Rows(frame) = part {
            found.extend(frame.columns.iter().map(|c| c.values.clone()));
        }
        Ok(())
    };
    layer.series().flux(&OP, &asked, &Budget::default(), take).unwrap();
    assert!(found.contains(&Values::Float(vec![101.25])), "{found:?}");
    let mut out = Vec::new();
    let asked = Export { measurement: "bar.1m.A".into(), ..Export::default() };
    layer.series().export(&OP, &asked, Format::Csv, &Budget::default(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("close:decimal(4)") && text.contains(",101.2500") && text.contains(",-3.0000"),
        "{text}"
    );
}

/// A rollup of decimals is exact where its target is declared, and floats where it is not; done again, nothing is written.
#[test]
fn rollups_keep_them() {
    let rollup = "[rollups.hours]\nfrom = \"bar.1m.*\"\nto = \"1h\"\n";
    for (declared, want) in [("bar.*", "101.2500"), ("bar.1m.*", "Some(Float(101.25))")] {
        let dir = tempfile::tempdir().unwrap();
        let engine: Arc<dyn SeriesEngine> = Arc::new(ModelEngine::default());
        let text = format!("{}{rollup}", BARS.replace("bar.*", declared));
        let layer = layer_over(&manifest(dir.path(), &text), Some(engine.clone())).0;
        for i in 0..120 {
            lines(&layer, &format!("bar.1m.A open=1.5,high=101.25,low=1,close=2.0001 {}", i * MINUTE));
        }
        let run = || layer.rollups().run(&layer, &OP, None, false, &Budget::default()).unwrap();
        assert_eq!(run().errors, Vec::<String>::new());
        let bars = ask(&layer, "SELECT high FROM bar.1h.A");
        assert_eq!(shown(&bars, "high"), [want; 2]);
        let written = engine.stats().unwrap().rows_written;
        lines(&layer, "bar.1m.A open=1.5,high=101.25,low=1,close=2.0001 0");
        run();
        assert_eq!(engine.stats().unwrap().rows_written, written + 1, "only the late row");
    }
}

#[test]
fn plugins_write_what_is_exact() {
    let dir = tempfile::tempdir().unwrap();
    let layer = open(dir.path(), BARS);
    let of = |values: Values| {
        let columns = vec![Column::new("close", values)];
        WriteBatch { series: vec![(key("bar.1m.A"), Frame { times: vec![1], columns })] }
    };
    // As guests do: floats by their shortest text, whole numbers as what they are.
    assert_eq!(layer.series().write(&OP, of(Values::Float(vec![0.1]))).unwrap().written, 1);
    assert_eq!(layer.series().write(&OP, of(Values::Integer(vec![3]))).unwrap().written, 1);
    assert_eq!(layer.series().write(&OP, of(Values::Float(vec![0.1 + 0.2]))).unwrap().dropped, 1);
    let stored =
        layer.series().stored().scan(&key("bar.1m.A"), TimeRange::ALL, None, &Budget::default()).unwrap();
    assert_eq!(rows_of(stored).unwrap()[0].1["close"], Value::Integer(30_000));
}

/// What was written out comes back as it was, to the last digit.
#[test]
fn an_export_in_csv_is_imported_again() {
    let dir = tempfile::tempdir().unwrap();
    let layer = open(dir.path(), BARS);
    lines(
        &layer,
        "bar,symbol=C,timeframe=1m close=99999999999.0002 0\nbar,symbol=C,timeframe=1m close=0.1 60000000000",
    );
    let mut file = Vec::new();
    let export = Export { measurement: "bar.1m.C".into(), ..Export::default() };
    layer.series().export(&OP, &export, Format::Csv, &Budget::default(), &mut file).unwrap();
    let import = Import { measurement: Some("bar.1m.C".into()), ..Import::default() };
    let import =
        || layer.series().import(&OP, &mut file.as_slice(), &import, &Budget::default(), &mut |_, _, _| {});
    // Over what is there, which is of the type that its texts become.
    assert_eq!(import().unwrap().written, 2);
    layer
        .series()
        .delete(
            &OP,
            &Selector { measurement: Some("bar.1m.C".into()), ..Selector::default() },
            TimeRange::ALL,
        )
        .unwrap();
    let said = import().unwrap();
    assert_eq!((said.written, said.dropped), (2, 0), "{said:?}\n{}", String::from_utf8_lossy(&file));
    let rows = ask(&layer, "SELECT close FROM bar.1m.C");
    assert_eq!(shown(&rows, "close"), ["99999999999.0002", "0.1000"]);
}
