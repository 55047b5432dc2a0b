use super::*;
use crate::series::model_engine::ModelEngine;
use crate::series::{Budget, Column, Frame, SeriesEngine, SeriesKey, Values, WriteBatch};
use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

fn key(measurement: &str, tags: &[(&str, &str)]) -> SeriesKey {
    let tags = tags.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
    SeriesKey::new("market", measurement, tags).unwrap()
}

fn with(series: Vec<(SeriesKey, Frame)>) -> ModelEngine {
    let engine = ModelEngine::default();
    assert_eq!(engine.write(WriteBatch { series }).unwrap().dropped, 0);
    engine
}

fn asked(measurement: &str) -> Export {
    Export { bucket: Some("market".into()), measurement: measurement.into(), ..Export::default() }
}

fn written(engine: &ModelEngine, request: &Export, format: Format) -> (Exported, Vec<u8>) {
    let mut out = Vec::new();
    let done = export(engine, request, format, &Budget::default(), &mut out).unwrap();
    (done, out)
}

/// Every type at its edges, in two series of unlike tags.
fn edges() -> ModelEngine {
    let tricky = vec![String::new(), "\\".into(), "a,\"b\"\nü".into()];
    let columns = vec![
        Column::float("f", vec![-0.0, 5e-324, f64::MAX]),
        Column::new("i", Values::Integer(vec![i64::MIN, 0, i64::MAX])),
        Column::new("u", Values::Unsigned(vec![u64::MAX, 0, 1 << 63])),
        Column {
            valid: Some(vec![true, false, true]),
            ..Column::new("b", Values::Boolean(vec![true, false, false]))
        },
        Column::new("s", Values::String(tricky)),
        Column::float("time", vec![1.0, 2.0, 3.0]),
    ];
    let times = vec![i64::MIN + 2, 1, i64::MAX - 2];
    let other = Frame { times: vec![7], columns: vec![Column::float("f", vec![0.1])] };
    with(vec![
        (key("m", &[("exchange", "XNAS")]), Frame { times, columns }),
        (key("m", &[("tag:odd", "\\x")]), other),
    ])
}

fn rows(file: Vec<u8>) -> Vec<Row> {
    let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
    reader.get_row_iter(None).unwrap().map(|row| row.unwrap()).collect()
}

#[test]
fn parquet_has_every_type_tag_and_gap() {
    let (done, file) = written(&edges(), &asked("m"), Format::Parquet);
    assert_eq!(done, Exported { series: 2, rows: 4 });
    let rows = rows(file);
    let cell = |row: usize, name: &str| -> Field {
        rows[row].get_column_iter().find(|(n, _)| *n == name).map(|(_, f)| f.clone()).unwrap()
    };
    assert_eq!(cell(0, "time"), Field::Long(i64::MIN + 2));
    assert_eq!(cell(2, "time"), Field::Long(i64::MAX - 2));
    assert_eq!(cell(0, "measurement"), Field::Str("m".into()));
    assert_eq!(cell(0, "tag:exchange"), Field::Str("XNAS".into()));
    assert_eq!(cell(3, "tag:exchange"), Field::Null);
    assert_eq!(cell(3, "tag:tag:odd"), Field::Str("\\x".into()));
    let Field::Double(zero) = cell(0, "f") else { panic!("no float") };
    assert_eq!(zero.to_bits(), (-0.0_f64).to_bits());
    assert_eq!(cell(1, "f"), Field::Double(5e-324));
    assert_eq!(cell(0, "i"), Field::Long(i64::MIN));
    assert_eq!(cell(0, "u"), Field::ULong(u64::MAX));
    assert_eq!(
        (cell(0, "b"), cell(1, "b"), cell(2, "b")),
        (Field::Bool(true), Field::Null, Field::Bool(false))
    );
    assert_eq!(cell(0, "s"), Field::Str(String::new()));
    assert_eq!(cell(1, "s"), Field::Str("\\".into()));
    assert_eq!(cell(3, "s"), Field::Null);
    // A field that is called as another column.
    assert_eq!(cell(0, "field:time"), Field::Double(1.0));
}

#[test]
fn decimals_have_every_digit() {
    let units = vec![i64::MIN, -1, 0, 150, i64::MAX];
    for (scale, want) in [
        (0_u8, ["-9223372036854775808", "-1", "0", "150", "9223372036854775807"]),
        (2, ["-92233720368547758.08", "-0.01", "0.00", "1.50", "92233720368547758.07"]),
    ] {
        let mut price = Column::new("price", Values::Decimal(units.clone(), scale));
        price.valid = Some(vec![true, true, true, true, true]);
        let mut gaps = Column::new("gaps", Values::Decimal(units.clone(), scale));
        gaps.valid = Some(vec![true, false, true, false, true]);
        let frame = Frame { times: (0..5).collect(), columns: vec![price, gaps] };
        let engine = with(vec![(key("m", &[]), frame)]);
        let (_, file) = written(&engine, &asked("m"), Format::Parquet);
        let reader = SerializedFileReader::new(Bytes::from(file.clone())).unwrap();
        let described = reader.metadata().file_metadata().schema_descr_ptr();
        let leaf = described.columns().iter().find(|c| c.name() == "price").unwrap().clone();
        assert_eq!((leaf.type_precision(), leaf.type_scale()), (19, i32::from(scale)));
        for (at, row) in rows(file).iter().enumerate() {
            for (name, there) in [("price", true), ("gaps", at % 2 == 0)] {
                let cell = row.get_column_iter().find(|(n, _)| *n == name).map(|(_, f)| f.clone()).unwrap();
                match cell {
                    Field::Decimal(d) if there => {
                        // As any reader has it: a big-endian number with its sign.
                        let sign = if d.data()[0] & 0x80 == 0 { 0_i128 } else { -1 };
                        let number = d.data().iter().fold(sign, |n, byte| n << 8 | i128::from(*byte));
                        assert_eq!((number, d.scale()), (i128::from(units[at]), i32::from(scale)));
                    }
                    Field::Null => assert!(!there),
                    other => panic!("{other:?}"),
                }
            }
        }
        let (_, file) = written(&engine, &asked("m"), Format::Csv);
        let text = String::from_utf8(file).unwrap();
        assert!(
            text.starts_with(&format!("time,measurement,gaps:decimal({scale}),price:decimal({scale})")),
            "{text}"
        );
        let prices: Vec<&str> = text.lines().skip(1).map(|l| l.rsplit(',').next().unwrap()).collect();
        assert_eq!(prices, want);
    }
}

#[test]
fn csv_says_its_types_and_tells_nothing_from_empty() {
    let (done, file) = written(&edges(), &asked("m"), Format::Csv);
    assert_eq!(done.rows, 4);
    let text = String::from_utf8(file).unwrap();
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some(
            "time,measurement,tag:exchange,tag:tag:odd,b:boolean,f:float,i:integer,s:string,field:time:float,u:unsigned"
        )
    );
    assert_eq!(
        lines.next(),
        Some("1677-09-21T00:12:43.145224194Z,m,XNAS,,true,-0,-9223372036854775808,\\,1,18446744073709551615")
    );
    assert!(lines.next().unwrap().contains(",0,\\\\,2,0"), "{text}");
    assert_eq!(lines.next_back(), Some("1970-01-01T00:00:00.000000007Z,m,,\\x,,0.1,,,,"));
}

#[test]
fn groups_are_bounded_by_rows_and_by_bytes() {
    let group_rows = |file: Vec<u8>| -> Vec<i64> {
        let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
        reader.metadata().row_groups().iter().map(|g| g.num_rows()).collect()
    };
    let bound = GROUP_ROWS as i64;
    for (rows, want) in [(bound - 1, vec![bound - 1]), (bound, vec![bound]), (bound + 1, vec![bound, 1])] {
        let frame = Frame {
            times: (0..rows).collect(),
            columns: vec![Column::float("v", (0..rows).map(|i| i as f64).collect())],
        };
        let (_, file) = written(&with(vec![(key("m", &[]), frame)]), &asked("m"), Format::Parquet);
        assert_eq!(group_rows(file), want);
    }
    // 100 rows of a mebibyte each.
    let texts = (100..200).map(|i| format!("{i:04}").repeat(1 << 18)).collect();
    let frame = Frame { times: (0..100).collect(), columns: vec![Column::new("s", Values::String(texts))] };
    let (_, file) = written(&with(vec![(key("m", &[]), frame)]), &asked("m"), Format::Parquet);
    let most = (GROUP_BYTES >> 20) as i64;
    assert!(group_rows(file).iter().all(|rows| *rows <= most));
}

#[test]
fn what_is_asked_for_is_what_is_there() {
    let series = |symbol: &str, value: f64| {
        let columns = vec![
            Column::float("a", vec![value; 4]),
            Column { valid: Some(vec![true, false, true, true]), ..Column::float("b", vec![1.0; 4]) },
        ];
        (key("m", &[("symbol", symbol)]), Frame { times: vec![10, 20, 30, 40], columns })
    };
    let engine = with(vec![series("A", 1.0), series("B", 2.0), series("C", 3.0)]);
    let request = Export {
        filters: vec![crate::series::query::TagFilter {
            tag: "symbol".into(),
            any_of: Some(vec!["B".into(), "C".into()]),
            ..Default::default()
        }],
        fields: Some(vec!["b".into()]),
        start: Some(10.into()),
        end: Some(40.into()),
        ..asked("m")
    };
    let (done, file) = written(&engine, &request, Format::Csv);
    assert_eq!(done, Exported { series: 2, rows: 4 }, "rows without the field are none");
    assert_eq!(String::from_utf8(file).unwrap().lines().nth(2), Some("1970-01-01T00:00:00.000000030Z,m,B,1"));
    // Nothing is a file too.
    let (done, file) = written(&engine, &asked("none"), Format::Parquet);
    assert_eq!((done.rows, rows(file).len()), (0, 0));
    assert_eq!(written(&engine, &asked("none"), Format::Csv).1, b"time,measurement\n");
    let refused = |request: Export| {
        let mut out = Vec::new();
        let e = export(&engine, &request, Format::Csv, &Budget::default(), &mut out).unwrap_err();
        assert!(out.is_empty(), "nothing is written of what is refused");
        e.message().to_string()
    };
    assert!(refused(Export { fields: Some(vec!["z".into()]), ..asked("m") }).contains("`z`"));
    assert!(
        refused(Export { start: Some(2.into()), end: Some(1.into()), ..asked("m") })
            .contains("`start` is after")
    );
}

#[test]
fn a_field_of_two_types_and_too_many_columns_are_refused() {
    let one = |measurement: &str, values| {
        (key(measurement, &[]), Frame { times: vec![1], columns: vec![Column::new("v", values)] })
    };
    let engine = with(vec![one("a", Values::Float(vec![1.0])), one("b", Values::Integer(vec![1]))]);
    let e = export(&engine, &asked("*"), Format::Csv, &Budget::default(), &mut Vec::new()).unwrap_err();
    assert!(e.message().contains("`v` is a float in `market/a` and a integer in `market/b`"), "{e}");
    let wide = |columns: usize| {
        let columns = (0..columns).map(|i| Column::float(format!("f{i}"), vec![1.0])).collect();
        let engine = with(vec![(key("w", &[]), Frame { times: vec![1], columns })]);
        export(&engine, &asked("w"), Format::Csv, &Budget::default(), &mut Vec::new()).map(|e| e.rows)
    };
    assert_eq!(wide(COLUMNS_MAX).unwrap(), 1);
    assert!(wide(COLUMNS_MAX + 1).unwrap_err().message().contains("10000"));
}

#[test]
fn a_file_that_cannot_be_written_and_a_client_that_went_away_end_it() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in [Format::Csv, Format::Parquet] {
        for room in [0, 4, 300] {
            let e = export(&edges(), &asked("m"), format, &Budget::default(), &mut Full(room)).unwrap_err();
            assert_eq!(e.kind(), crate::Kind::Full, "{format:?} {room}: {e}");
        }
    }
    let gone = Budget { cancel: Some(std::sync::Arc::new(true.into())), ..Budget::default() };
    let e = export(&edges(), &asked("m"), Format::Csv, &gone, &mut Vec::new()).unwrap_err();
    assert_eq!(e.kind(), crate::Kind::Cancelled);
}
