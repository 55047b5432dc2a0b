//! Series as line protocol.

use super::super::lines::{ROWS_PER_MEMBER, SeriesReader, each_member, read_series};
use super::*;
use crate::series::model_engine::ModelEngine;
use crate::series::{Budget, Column, Frame, SeriesKey, TimeRange, Values, WriteBatch};

fn awkward() -> (SeriesKey, Frame) {
    let key =
        SeriesKey::new("market", "weather, or =not", vec![("city =,".into(), "São \\ Paulo, \"SP\"".into())])
            .unwrap();
    let n = ROWS_PER_MEMBER * 2 + 7;
    let columns = vec![
        Column::float("f", (0..n).map(|i| [0.1 + 0.2, -0.0, 1e300, 5e-324, 123_456_789.0][i % 5]).collect()),
        Column::new(
            "i =,x",
            Values::Integer((0..n).map(|i| if i % 2 == 0 { i64::MIN } else { i64::MAX }).collect()),
        ),
        Column::new("u", Values::Unsigned((0..n).map(|i| u64::MAX - i as u64).collect())),
        Column {
            valid: Some((0..n).map(|i| i % 3 == 0).collect()),
            ..Column::new("b", Values::Boolean((0..n).map(|i| i % 2 == 0).collect()))
        },
        Column::new(
            "s",
            Values::String(
                (0..n).map(|i| ["", "a \"quoted\" \\ thing", "two\nlines", "ü, =x"][i % 4].into()).collect(),
            ),
        ),
    ];
    (key, Frame { times: (0..n as i64).map(|i| i * 1_000 - 5_000).collect(), columns })
}

fn all(engine: &ModelEngine, key: &SeriesKey) -> Vec<Frame> {
    engine.scan(key, TimeRange::ALL, None, &Budget::default()).unwrap().map(|f| f.unwrap()).collect()
}

fn bytes_of(engine: &ModelEngine, key: &SeriesKey) -> (Vec<u8>, u64) {
    let mut reader =
        SeriesReader::new(key, engine.scan(key, TimeRange::ALL, None, &Budget::default()).unwrap()).unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    (bytes, reader.rows)
}

#[test]
fn every_value_and_name_comes_back_as_it_was() {
    let (key, frame) = awkward();
    let engine = ModelEngine::default();
    let rows = frame.len() as u64;
    engine.write(WriteBatch { series: vec![(key.clone(), frame)] }).unwrap();
    let (bytes, written) = bytes_of(&engine, &key);
    assert_eq!(written, rows);
    let back = ModelEngine::default();
    assert_eq!(read_series("market", &mut bytes.as_slice(), "x", &back).unwrap(), rows);
    assert_eq!(all(&back, &key), all(&engine, &key));
    let mut members = 0;
    let mut count = |_: &[u8]| {
        members += 1;
        Ok(())
    };
    each_member(&mut bytes.as_slice(), "x", &mut count).unwrap();
    assert_eq!(members, 3);
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let (key, frame) = awkward();
    let engine = ModelEngine::default();
    engine.write(WriteBatch { series: vec![(key.clone(), frame.clone())] }).unwrap();
    let one: Vec<crate::Result<Frame>> = vec![Ok(frame)];
    let mut reader = SeriesReader::new(&key, Box::new(one.into_iter())).unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes_of(&engine, &key).0, bytes, "however the engine cuts its frames");
}

#[test]
fn damaged_gzip_is_named() {
    let (key, frame) = awkward();
    let engine = ModelEngine::default();
    engine.write(WriteBatch { series: vec![(key.clone(), frame)] }).unwrap();
    let (bytes, _) = bytes_of(&engine, &key);
    let half = &bytes[..bytes.len() / 2];
    for bad in [half, b"no gzip", &[bytes.as_slice(), b"tail"].concat()] {
        let e =
            read_series("market", &mut &*bad, "series/00000001.lp.gz", &ModelEngine::default()).unwrap_err();
        assert!(e.kind() == Kind::Corrupt && e.message().contains("00000001"), "{e:?}");
    }
}

#[test]
fn a_name_that_line_protocol_cannot_hold_is_refused() {
    for name in ["two\nlines", "back\\", "#comment"] {
        let key = SeriesKey { bucket: "b".into(), measurement: name.into(), tags: Vec::new() };
        assert_eq!(
            SeriesReader::new(&key, Box::new(std::iter::empty())).err().unwrap().kind(),
            Kind::Invalid,
            "{name:?}"
        );
    }
}

#[test]
fn a_backup_of_an_engine_elsewhere_restores_into_the_embedded_one() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), "");
    let engine = Arc::new(ModelEngine::default());
    for (symbol, rows) in [("A", 300), ("B", 1)] {
        engine.write(bars(symbol, (0..rows).map(|i| i * 60_000_000_000))).unwrap();
    }
    let (layer, _) = crate::layer::tests::layer_over(&m, Some(engine.clone()));
    let backup = dir.path().join("backup");
    let report = layer.export(&OP, &backup, &mut |_, _| ()).unwrap();
    assert_eq!((report.databases, report.series_rows), (1, 301));
    assert_eq!(
        tree(&backup),
        ["manifest.json", "series/00000000.lp.gz", "series/00000001.lp.gz", "shiphold.db"]
    );
    assert_eq!(check(&backup, &mut |_, _| ()).unwrap(), report);
    let data = dir.path().join("restored");
    assert_eq!(restore(&backup, &data, Some(&m), false, &mut |_, _| ()).unwrap(), report);
    let there = open(&data);
    for info in engine.list(&Selector::default()).unwrap() {
        let stream =
            there.series().engine().scan(&info.key, TimeRange::ALL, None, &Budget::default()).unwrap();
        let rows: usize = stream.map(|f| f.unwrap().len()).sum();
        assert_eq!(rows as u64, info.rows, "{}", info.key);
    }
    let file = backup.join("series/00000000.lp.gz");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let e = restore(&backup, &dir.path().join("r2"), Some(&m), false, &mut |_, _| ()).unwrap_err();
    assert!(e.message().contains("00000000.lp.gz"), "{e:?}");
    assert!(!dir.path().join("r2").exists());
}

#[test]
fn what_was_known_at_a_time_is_in_the_backup() {
    let dir = tempfile::tempdir().unwrap();
    let rule = "[[series.revisions]]\nmeasurement = \"bar.*\"\nwindow = \"1 d\"\n";
    let m = crate::layer::tests::manifest(dir.path(), rule);
    let (layer, _) = crate::layer::tests::layer_over(&m, Some(Arc::new(ModelEngine::default())));
    let asked = |layer: &DataLayer, at: Option<i64>| {
        let query = crate::series::query::Query {
            measurement: "bar.1m.A".into(),
            as_known_at: at.map(Into::into),
            ..Default::default()
        };
        layer.series().query(&OP, &query, &Budget::default()).unwrap()
    };
    layer.series().write(&OP, bars("A", [0, 60_000_000_000])).unwrap();
    let (at, seen) = (crate::schema::now_ns(), asked(&layer, None));
    let mut corrected = bars("A", [0]);
    corrected.series[0].1.columns[1] = Column::float("high", vec![99.0]);
    layer.series().write(&OP, corrected).unwrap();
    assert_ne!(asked(&layer, None), seen);
    let backup = dir.path().join("backup");
    let report = layer.export(&OP, &backup, &mut |_, _| ()).unwrap();
    assert_eq!(report.series_rows, 4, "two rows, and two of the log");
    let data = dir.path().join("restored");
    restore(&backup, &data, Some(&m), false, &mut |_, _| ()).unwrap();
    let mut m = m;
    m.host.data = data;
    let there = DataLayer::open(&m).unwrap();
    assert_eq!(asked(&there, Some(at)), seen);
    assert_eq!(asked(&there, None), asked(&layer, None));
}
