//! Files of other writers' making, files that lie, and files that are changed at random.

mod decimals;
mod fuzz;
mod lies;
mod made;

use super::*;
use crate::series::exchange::import::Import;
use crate::series::store::tests::store;
use crate::series::{Budget, SeriesStore, TimeRange, Value};
use crate::{Caller, Kind};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

/// Values of a column; `None` is a null.
enum Of {
    Bool(Vec<Option<bool>>),
    I32(Vec<Option<i32>>),
    I64(Vec<Option<i64>>),
    I96(Vec<Option<Int96>>),
    F32(Vec<Option<f32>>),
    F64(Vec<Option<f64>>),
    Text(Vec<Option<&'static str>>),
    Fixed(usize, Vec<Option<Vec<u8>>>),
}

type Column<'a> = (&'a str, Option<LogicalType>, Of);

fn physical(of: &Of) -> Physical {
    match of {
        Of::Bool(_) => Physical::BOOLEAN,
        Of::I32(_) => Physical::INT32,
        Of::I64(_) => Physical::INT64,
        Of::I96(_) => Physical::INT96,
        Of::F32(_) => Physical::FLOAT,
        Of::F64(_) => Physical::DOUBLE,
        Of::Text(_) => Physical::BYTE_ARRAY,
        Of::Fixed(..) => Physical::FIXED_LEN_BYTE_ARRAY,
    }
}

fn split<T: Clone, U>(values: &[Option<T>], made: impl Fn(T) -> U) -> (Vec<i16>, Vec<U>) {
    let levels = values.iter().map(|v| i16::from(v.is_some())).collect();
    (levels, values.iter().flatten().cloned().map(made).collect())
}

/// A file as the crate writes it, with these properties, all columns optional, one row group.
fn written(
    columns: &[Column<'_>],
    how: impl Fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder,
) -> Vec<u8> {
    let leaf = |(name, logical, of): &Column<'_>| {
        let mut built = Type::primitive_type_builder(name, physical(of))
            .with_logical_type(logical.clone())
            .with_repetition(Repetition::OPTIONAL);
        if let Of::Fixed(length, _) = of {
            built = built.with_length(*length as i32);
        }
        if let Some(LogicalType::Decimal { scale, precision }) = logical {
            built = built.with_scale(*scale).with_precision(*precision);
        }
        Arc::new(built.build().unwrap())
    };
    let schema =
        Type::group_type_builder("rows").with_fields(columns.iter().map(leaf).collect()).build().unwrap();
    let properties = Arc::new(how(WriterProperties::builder()).build());
    let mut out = Vec::new();
    let mut file = SerializedFileWriter::new(&mut out, Arc::new(schema), properties).unwrap();
    let mut group = file.next_row_group().unwrap();
    for (_, _, of) in columns {
        let mut column = group.next_column().unwrap().unwrap();
        match (column.untyped(), of) {
            (ColumnWriter::BoolColumnWriter(w), Of::Bool(v)) => {
                let (levels, values) = split(v, |v| v);
                w.write_batch(&values, Some(&levels), None).unwrap()
            }
            (ColumnWriter::Int32ColumnWriter(w), Of::I32(v)) => {
                let (levels, values) = split(v, |v| v);
                w.write_batch(&values, Some(&levels), None).unwrap()
            }
            (ColumnWriter::Int64ColumnWriter(w), Of::I64(v)) => {
                let (levels, values) = split(v, |v| v);
                w.write_batch(&values, Some(&levels), None).unwrap()
            }
            (ColumnWriter::Int96ColumnWriter(w), Of::I96(v)) => {
                let (levels, values) = split(v, |v| v);
                w.write_batch(&values, Some(&levels), None).unwrap()
            }
            (ColumnWriter::FloatColumnWriter(w), Of::F32(v)) => {
                let (levels, values) = split(v, |v| v);
                w.write_batch(&values, Some(&levels), None).unwrap()
            }
            (ColumnWriter::DoubleColumnWriter(w), Of::F64(v)) => {
                let (levels, values) = split(v, |v| v);
                w.write_batch(&values, Some(&levels), None).unwrap()
            }
            (ColumnWriter::ByteArrayColumnWriter(w), Of::Text(v)) => {
                let (levels, values) = split(v, ByteArray::from);
                w.write_batch(&values, Some(&levels), None).unwrap()
            }
            (ColumnWriter::FixedLenByteArrayColumnWriter(w), Of::Fixed(_, v)) => {
                let made = |v: Vec<u8>| FixedLenByteArray::from(ByteArray::from(Bytes::from(v)));
                let (levels, values) = split(v, made);
                w.write_batch(&values, Some(&levels), None).unwrap()
            }
            _ => panic!("a column of another type"),
        };
        column.close().unwrap();
    }
    group.close().unwrap();
    file.close().unwrap();
    out
}

fn import(s: &SeriesStore, file: &[u8], how: &Import) -> Result<crate::series::exchange::Imported> {
    s.import(&Caller::Operator, &mut &*file, how, &Budget::default(), &mut |_, _, _| {})
}

fn of_m() -> Import {
    Import { measurement: Some("m".into()), ..Import::default() }
}

/// Times and the values of one field of `m`.
fn field(s: &SeriesStore, name: &str) -> Vec<(i64, Option<Value>)> {
    let infos = s.engine().list(&Default::default()).unwrap();
    let mut out = Vec::new();
    for info in infos {
        for frame in s.engine().scan(&info.key, TimeRange::ALL, None, &Budget::default()).unwrap() {
            let frame = frame.unwrap();
            let cell = |row| frame.column(name).and_then(|c| c.get(row));
            out.extend(frame.times.iter().enumerate().map(|(row, time)| (*time, cell(row))));
        }
    }
    out
}

fn utc(unit: TimeUnit) -> Option<LogicalType> {
    Some(LogicalType::Timestamp { is_adjusted_to_u_t_c: true, unit })
}

const VERSIONS: [WriterVersion; 2] = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0];

#[test]
fn every_encoding_gives_the_same_rows() {
    let count = 20_000_i64;
    let each = |gap: i64, made: &dyn Fn(i64) -> i64| {
        (0..count).map(|i| (i % gap != 0).then(|| made(i))).collect::<Vec<_>>()
    };
    let words = ["", "a", "ü", "a longer text that is there often"];
    let columns = [
        ("ts", utc(TimeUnit::MICROS), Of::I64((0..count).map(Some).collect())),
        ("whole", None, Of::I64(each(7, &|i| i * i - 5))),
        ("small", None, Of::I32(each(5, &|i| i % 11).into_iter().map(|v| v.map(|v| v as i32)).collect())),
        ("yes", None, Of::Bool((0..count).map(|i| (i % 3 != 0).then_some(i % 2 == 0)).collect())),
        ("real", None, Of::F64((0..count).map(|i| (i % 9 != 0).then_some(i as f64 / 3.0)).collect())),
        ("single", None, Of::F32((0..count).map(|i| Some(i as f32 / 3.0)).collect())),
        (
            "word",
            Some(LogicalType::String),
            Of::Text((0..count).map(|i| words.get(i as usize % 5).copied()).collect()),
        ),
        ("none", None, Of::F64(vec![None; count as usize])),
    ];
    let expected =
        |s: &SeriesStore| ["whole", "small", "yes", "real", "single", "word", "none"].map(|n| field(s, n));
    let (_dir, first) = store("");
    let plain = written(&columns, |p| p.set_dictionary_enabled(false));
    import(&first, &plain, &of_m()).unwrap();
    let want = expected(&first);
    assert_eq!(want[0][1], (1_000, Some(Value::Integer(-4))));
    assert_eq!(want[4][1], (1_000, Some(Value::Float(f64::from(1.0_f32 / 3.0)))));
    assert_eq!(want[5][3], (3_000, Some(Value::String("a longer text that is there often".into()))));
    for version in VERSIONS {
        for (dictionary, encoding) in [
            (true, None),
            (false, Some(("whole", Encoding::DELTA_BINARY_PACKED))),
            (false, Some(("word", Encoding::DELTA_LENGTH_BYTE_ARRAY))),
            (false, Some(("real", Encoding::BYTE_STREAM_SPLIT))),
            (false, Some(("yes", Encoding::RLE))),
        ] {
            let file = written(&columns, |p| {
                let p = p
                    .set_writer_version(version)
                    .set_dictionary_enabled(dictionary)
                    .set_data_page_row_count_limit(700)
                    .set_write_batch_size(100)
                    // The second version's own choice is one that is not read.
                    .set_column_encoding("word".into(), Encoding::PLAIN)
                    .set_compression(Compression::ZSTD(Default::default()));
                match encoding {
                    Some((name, encoding)) => p.set_column_encoding(name.into(), encoding),
                    None => p,
                }
            });
            let (_dir, s) = store("");
            let done = import(&s, &file, &of_m()).unwrap_or_else(|e| panic!("{version:?} {encoding:?}: {e}"));
            assert_eq!(done.rows, count as u64);
            assert_eq!(expected(&s), want, "{version:?} {encoding:?}");
        }
    }
}

#[test]
fn every_kind_of_time_and_number() {
    let day = 86_400_000_000_000_i64;
    let mut julian = Int96::new();
    julian.set_data(7, 0, 2_440_588 + 1);
    let half = |bits: u16| Some(bits.to_le_bytes().to_vec());
    let decimal = Some(LogicalType::Decimal { scale: 2, precision: 9 });
    for (of, logical, zone, want) in [
        (Of::I64(vec![Some(5)]), utc(TimeUnit::MILLIS), None, 5_000_000),
        (Of::I64(vec![Some(5)]), utc(TimeUnit::MICROS), None, 5_000),
        (Of::I64(vec![Some(-5)]), utc(TimeUnit::NANOS), Some("America/New_York"), -5),
        (
            Of::I64(vec![Some(0)]),
            Some(LogicalType::Timestamp { is_adjusted_to_u_t_c: false, unit: TimeUnit::NANOS }),
            Some("America/New_York"),
            5 * 3_600_000_000_000,
        ),
        (Of::I32(vec![Some(2)]), Some(LogicalType::Date), None, 2 * day),
        (Of::I96(vec![Some(julian)]), None, None, day + 7),
        (Of::Text(vec![Some("1970-01-03")]), Some(LogicalType::String), None, 2 * day),
    ] {
        let v = ("v", None, Of::F64(vec![Some(1.0)]));
        let file = written(&[("ts", logical.clone(), of), v], |p| p);
        let how = Import { timezone: zone.map(String::from), ..of_m() };
        let (_dir, s) = store("");
        import(&s, &file, &how).unwrap_or_else(|e| panic!("{logical:?}: {e}"));
        assert_eq!(field(&s, "v"), [(want, Some(Value::Float(1.0)))], "{logical:?}");
    }
    let unsigned = Some(LogicalType::Integer { bit_width: 32, is_signed: false });
    for (logical, of, want) in [
        (unsigned, Of::I32(vec![Some(-1)]), Ok(Value::Unsigned(u64::from(u32::MAX)))),
        (decimal.clone(), Of::I32(vec![Some(-18_970)]), Ok(Value::Float(-189.7))),
        (decimal.clone(), Of::Fixed(4, vec![Some(vec![0, 0, 0x4a, 0x1a])]), Ok(Value::Float(189.7))),
        (
            Some(LogicalType::Decimal { scale: 2, precision: 18 }),
            Of::I64(vec![Some(90_071_992_547_409_931)]),
            Err("no float holds"),
        ),
        (Some(LogicalType::Float16), Of::Fixed(2, vec![half(0x3e00)]), Ok(Value::Float(1.5))),
        (Some(LogicalType::Uuid), Of::Fixed(16, vec![Some(vec![0; 16])]), Err("no field")),
        (utc(TimeUnit::NANOS), Of::I64(vec![Some(1)]), Err("holds times")),
        (None, Of::F64(vec![Some(f64::INFINITY)]), Err("finite")),
    ] {
        let ts = ("ts", utc(TimeUnit::NANOS), Of::I64(vec![Some(1)]));
        let file = written(&[ts, ("v", logical.clone(), of)], |p| p);
        let (_dir, s) = store("");
        let how = Import { time: Some("ts".into()), ..of_m() };
        match (import(&s, &file, &how), want) {
            (Ok(_), Ok(want)) => assert_eq!(field(&s, "v"), [(1, Some(want))], "{logical:?}"),
            (Err(e), Err(words)) => {
                let whole = format!("{e}");
                assert!(whole.contains(words) && e.hint_text().is_some(), "{logical:?}: {whole}");
            }
            (got, _) => panic!("{logical:?}: {got:?}"),
        }
    }
}

#[test]
fn numbers_that_are_no_values_and_numbers_that_are_no_times() {
    let numbers =
        |of| written(&[("ts", None, of), ("v", None, Of::F64(vec![Some(1.0), Some(f64::NAN)]))], |p| p);
    let (_dir, s) = store("");
    let file = numbers(Of::I64(vec![Some(1), Some(2)]));
    let e = import(&s, &file, &of_m()).unwrap_err();
    assert!(e.message().contains("`ts`") && e.hint_text().unwrap().contains("unit"), "{e}");
    let how = Import { unit: Some("s".into()), ..of_m() };
    let done = import(&s, &file, &how).unwrap();
    assert_eq!((done.rows, done.written, done.empty, done.nan), (2, 1, 1, 1));
    let e = import(&s, &numbers(Of::I64(vec![Some(1), None])), &how).unwrap_err();
    assert!(e.message().contains("row 2") && e.message().contains("no time"), "{e}");
    let e = import(&s, &numbers(Of::F64(vec![Some(1.0), Some(2.0)])), &how).unwrap_err();
    assert!(e.message().contains("no times"), "{e}");
    let e = import(&s, &numbers(Of::I64(vec![Some(i64::MAX), Some(2)])), &how).unwrap_err();
    assert!(e.message().contains("row 1"), "{e}");
}
