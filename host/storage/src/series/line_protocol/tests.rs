mod fuzz;

use super::*;
use crate::manifest::DecimalFields;
use crate::series::decimals::Scales;
use crate::series::{Column, FieldType, Frame, TimeRange, Value, Values};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: i64 = 1_700_000_000_123_456_789;

fn ok(body: &str) -> WriteBatch {
    parse("b", body.as_bytes(), Precision::Ns, NOW).unwrap_or_else(|e| panic!("{body:?}: {e:?}"))
}

fn message(body: &str) -> String {
    parse("b", body.as_bytes(), Precision::Ns, NOW).expect_err(body).message().to_string()
}

fn key(measurement: &str, tags: &[(&str, &str)]) -> SeriesKey {
    let tags = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    SeriesKey::new("b", measurement, tags).unwrap()
}

/// The one row of a body of one line.
fn row(body: &str) -> (SeriesKey, i64, Vec<(String, Value)>) {
    let batch = ok(body);
    assert_eq!(batch.series.len(), 1, "{body:?}");
    let (key, frame) = &batch.series[0];
    assert_eq!(frame.len(), 1, "{body:?}");
    let fields = frame.columns.iter().map(|c| (c.name.clone(), c.get(0).unwrap())).collect();
    (key.clone(), frame.times[0], fields)
}

fn text(value: &str) -> Value {
    Value::String(value.into())
}

#[test]
fn bars_become_columns() {
    let batch = ok("bar,symbol=A open=1,high=2.5,volume=100i 60\n\
                    bar,symbol=B open=7,high=8,volume=1i 60\n\
                    bar,symbol=A open=2,high=3,volume=200i 120\n");
    assert_eq!(batch.rows(), 3);
    assert_eq!(
        batch.series,
        [
            (
                key("bar", &[("symbol", "A")]),
                Frame {
                    times: vec![60, 120],
                    columns: vec![
                        Column::float("open", vec![1.0, 2.0]),
                        Column::float("high", vec![2.5, 3.0]),
                        Column::new("volume", Values::Integer(vec![100, 200])),
                    ]
                }
            ),
            (
                key("bar", &[("symbol", "B")]),
                Frame {
                    times: vec![60],
                    columns: vec![
                        Column::float("open", vec![7.0]),
                        Column::float("high", vec![8.0]),
                        Column::new("volume", Values::Integer(vec![1])),
                    ]
                }
            ),
        ]
    );
}

#[test]
fn every_type_of_value_is_read() {
    for (value, want) in [
        ("1", Value::Float(1.0)),
        ("-1.5e-3", Value::Float(-0.0015)),
        (".5", Value::Float(0.5)),
        ("1.", Value::Float(1.0)),
        ("1e+3", Value::Float(1000.0)),
        ("0.1", Value::Float(0.1)),
        ("123456789.123456789012345", Value::Float("123456789.123456789012345".parse().unwrap())),
        ("-7i", Value::Integer(-7)),
        ("9223372036854775807i", Value::Integer(i64::MAX)),
        ("18446744073709551615u", Value::Unsigned(u64::MAX)),
        ("t", Value::Boolean(true)),
        ("True", Value::Boolean(true)),
        ("FALSE", Value::Boolean(false)),
        ("\"\"", text("")),
        ("\"a b,c=d\"", text("a b,c=d")),
        (r#""say \"hi\" \\ \n""#, text(r#"say "hi" \ \n"#)),
        ("\"two\nlines\"", text("two\nlines")),
        ("\"two\r\nlines\"", text("two\r\nlines")),
        ("\"žluťoučký\"", text("žluťoučký")),
    ] {
        for line in [format!("m v={value} 5"), format!("m x=1,v={value},y=2 5\nm x=1,v={value},y=2 6")] {
            let batch = ok(&line);
            let column = batch.series[0].1.column("v").unwrap();
            assert_eq!(column.get(0), Some(want.clone()), "{line}");
        }
    }
}

#[test]
fn escapes_are_undone() {
    let (k, _, fields) = row(r"my\ m\,x=1,tag\ key=va\,l\=ue,b\\b=c\d f\ 1\,\=\x=1 1");
    assert_eq!(k, key("my m,x=1", &[("tag key", "va,l=ue"), (r"b\\b", r"c\d")]));
    assert_eq!(fields[0].0, r"f 1,=\x");
    // An equals sign and quotes in a measurement or a tag's value need no backslash or take none.
    let (k, ..) = row("a=b\"c\",t=\"q\" v=1 1");
    assert_eq!(k, key("a=b\"c\"", &[("t", "\"q\"")]));
}

/// What a real InfluxDB 2.7.12 stored.
#[test]
fn quotes_may_open_again_within_a_text() {
    for (value, stored) in [
        (r#""hi, ""x""#, r#"hi, ""x"#),
        (r#""a"b"c""#, r#"a"b"c"#),
        (r#""""""#, r#""""#),
        (r#"""a"""#, r#""a""#),
        (r#""a"\ b"c""#, r#"a"\ b"c"#),
        (r#""a\\"b"c""#, r#"a\"b"c"#),
        (r#""a"\\"b""#, r#"a"\"b"#),
        ("\"a\"\"\n\"", "a\"\"\n"),
        (r#""x\",""#, r#"x","#),
    ] {
        let (_, time, fields) = row(&format!("m s={value},n=1 7"));
        assert_eq!(time, 7, "{value}");
        assert_eq!(
            fields,
            [("s".to_string(), text(stored)), ("n".to_string(), Value::Float(1.0))],
            "{value}"
        );
    }
    for (value, why) in [
        (r#"""""#, "unbalanced quotes"),
        (r#""a"\"b""#, "unbalanced quotes"),
        (r#""a"\,b"c""#, "invalid field format"),
        (r#""a"=b"c""#, "invalid field format"),
        (r#""a",b"c""#, "invalid field format"),
        // The real server stores a text without its last byte.
        (r#""a"b"#, "invalid field format"),
        (r#""a"\"#, "invalid field format"),
    ] {
        let said = message(&format!("m s={value}"));
        assert!(said.contains(why), "{value}: {said}");
    }
}

#[test]
fn space_comments_and_line_ends() {
    let batch =
        ok("# a comment, with=\"quotes\n\n   \n \tm v=1 1  \nm v=2   2\r\n\r\nm   v=3 3\nm v=4\r\n#end");
    assert_eq!(batch.series[0].1.times, [1, 2, 3, NOW]);
    assert!(ok("").series.is_empty());
    assert!(ok("\n#x\n").series.is_empty());
    assert_eq!(ok("m v=1 1\nm v=2 2").rows(), 2, "the last line needs no end");
}

#[test]
fn times_have_a_precision() {
    let at =
        |precision, body: &str| parse("b", body.as_bytes(), precision, NOW).map(|b| b.series[0].1.times[0]);
    assert_eq!(at(Precision::S, "m v=1 1700000000").unwrap(), 1_700_000_000_000_000_000);
    assert_eq!(at(Precision::Ms, "m v=1 -5").unwrap(), -5_000_000);
    assert_eq!(at(Precision::Us, "m v=1 7").unwrap(), 7_000);
    assert_eq!(at(Precision::Ns, "m v=1 1700000000123456789").unwrap(), NOW);
    // Without one: now, in whole units.
    assert_eq!(at(Precision::S, "m v=1").unwrap(), 1_700_000_000_000_000_000);
    assert_eq!(at(Precision::Ns, "m v=1").unwrap(), NOW);
    assert_eq!(at(Precision::Ns, "m v=1 9223372036854775805").unwrap(), i64::MAX - 2);
    assert_eq!(at(Precision::Ns, "m v=1 -9223372036854775806").unwrap(), i64::MIN + 2);
    let range = "time outside range -9223372036854775806 - 9223372036854775805";
    for (precision, time) in [
        (Precision::Ns, "9223372036854775806"),
        (Precision::Ns, "9223372036854775807"),
        (Precision::Ns, "-9223372036854775807"),
        (Precision::Ns, "99999999999999999999999"),
        (Precision::S, "9223372037"),
        (Precision::Ms, "9999999999999999"),
    ] {
        let e = at(precision, &format!("m v=1 {time}")).unwrap_err();
        assert!(e.message().ends_with(range), "{time}: {e}");
    }
    for (name, want) in
        [("ns", Precision::Ns), ("u", Precision::Us), ("ms", Precision::Ms), ("s", Precision::S)]
    {
        assert_eq!(name.parse::<Precision>().unwrap(), want);
    }
    assert!("h".parse::<Precision>().is_err());
}

#[test]
fn an_unparsable_line_is_named_in_the_real_servers_words() {
    for (line, reason) in [
        ("m v= 2", "missing field value"),
        ("m v=", "missing field value"),
        ("m v=,x=1", "missing field value"),
        ("m =1", "missing field key"),
        ("m a=1,=2", "missing field key"),
        (",t=1 v=1", "missing measurement"),
        ("m", "missing fields"),
        ("m,t=1", "missing fields"),
        ("m ", "invalid field format"),
        ("m v", "invalid field format"),
        ("m a=1,b", "invalid field format"),
        ("m a=1, b=2", "invalid field format"),
        ("m a=\"x\"y", "invalid field format"),
        ("m, v=1", "missing tag key"),
        ("m,=1 v=1", "missing tag key"),
        ("m,t v=1", "missing tag value"),
        ("m,t= v=1", "missing tag value"),
        ("m,t=,u=1 v=1", "missing tag value"),
        ("m,t=a=b v=1", "invalid tag format"),
        ("m,a=1,a=2 v=1", "duplicate tags"),
        ("m,b=1,a=1,b=1 v=1", "duplicate tags"),
        ("m,time=1 v=1", "cannot use reserved tag key \"time\""),
        ("m,_field=1 v=1", "cannot use reserved tag key \"_field\""),
        ("m time=1", "cannot use reserved field key \"time\""),
        ("m v=1x", "invalid number"),
        ("m v=NaN", "invalid number"),
        ("m v=-inf", "invalid number"),
        ("m v=1.2.3 5", "invalid number"),
        ("m v=1e999", "invalid float"),
        ("m v=inf", "invalid boolean"),
        ("m v=+1", "invalid boolean"),
        ("m v=tru", "invalid boolean"),
        ("m v='x'", "invalid boolean"),
        ("m v=\"abc", "unbalanced quotes"),
        ("m v=1 soon", "bad timestamp"),
        ("m v=1 1.5", "bad timestamp"),
        ("m v=1 -", "bad timestamp"),
        ("m v=1 1 1", "point is invalid"),
        ("m a=1,a=\"x\" 1", "a field is given twice with two types"),
    ] {
        assert_eq!(message(line), format!("unable to parse '{line}': {reason}"));
        // Also after a line that is right.
        let second = format!("m v=1,a=1 1\n{line}");
        assert_eq!(message(&second), format!("unable to parse '{line}': {reason}"), "{second}");
    }
    let invalid = parse("b", b"m\xff v=1 1", Precision::Ns, 0).unwrap_err();
    assert!(invalid.message().ends_with("invalid UTF-8 sequence"), "{invalid}");
    let invalid = parse("b", b"m v=\"\xff\" 1", Precision::Ns, 0).unwrap_err();
    assert!(invalid.message().ends_with("invalid UTF-8 sequence"), "{invalid}");
}

#[test]
fn every_failing_line_is_named_with_its_number() {
    let e = parse("b", b"m v=1 1\nm v= 2\n# c\nm v=x 3\nm v=4 4\n", Precision::Ns, 0).unwrap_err();
    assert_eq!(e.kind(), Kind::Invalid);
    assert_eq!(
        e.message(),
        "unable to parse 'm v= 2': missing field value\nunable to parse 'm v=x 3': invalid boolean"
    );
    assert!(e.hint_text().unwrap().starts_with("lines 2, 4 of the body"), "{e:?}");
    // Neither many nor long lines make a long answer.
    let many = "m v=\n".repeat(FAILED_LINES_MAX + 3);
    let e = parse("b", many.as_bytes(), Precision::Ns, 0).unwrap_err();
    assert!(e.message().ends_with("and 3 more lines"), "{e}");
    assert_eq!(e.message().lines().count(), FAILED_LINES_MAX + 1);
    let long = format!("m v={}", "x".repeat(10 * SHOWN_BYTES_MAX));
    assert!(message(&long).len() < 2 * SHOWN_BYTES_MAX);
}

#[test]
fn names_and_strings_have_bounds() {
    let measurement = "m".repeat(KEY_BYTES_MAX - 5);
    ok(&format!("{measurement} v=1 1"));
    assert!(message(&format!("{measurement}m v=1 1")).contains("max key length exceeded: 65536 > 65535"));
    assert!(message(&format!("{} v=1 1", "m".repeat(KEY_BYTES_MAX + 1))).contains("max key length exceeded"));
    let string = "x".repeat(STRING_BYTES_MAX);
    ok(&format!("m v=\"{string}\" 1\nm v=\"{string}\" 2"));
    assert!(message(&format!("m v=\"\" 1\nm v=\"{string}x\" 1")).contains("max string length exceeded"));
    let tags = |n: usize| (0..n).map(|i| format!(",t{i}=1")).collect::<String>();
    ok(&format!("m{} v=1 1", tags(TAGS_MAX)));
    assert!(message(&format!("m{} v=1 1", tags(TAGS_MAX + 1))).contains("max tags exceeded"));
}

#[test]
fn a_bound_on_rows_counts_lines_with_data() {
    let body = "# c\nm v=1 1\n\nm v=2 2\nn v=3 3\n";
    let at_most = |rows| parse_typed("b", body.as_bytes(), Precision::Ns, 0, rows);
    assert_eq!(at_most(3).unwrap().rows(), 3);
    let e = at_most(2).unwrap_err();
    assert_eq!(e.kind(), Kind::Limit);
    assert!(e.message().contains("limits.write_rows"), "{e}");
}

#[test]
fn the_order_of_tags_names_the_same_series() {
    let batch = ok("m,a=1,b=2 v=1 1\nm,b=2,a=1 v=2 1\nm,a=1,b=2 v=3 1\n");
    assert_eq!(batch.series.len(), 1);
    assert_eq!(batch.series[0].1.columns[0], Column::float("v", vec![1.0, 2.0, 3.0]));
}

#[test]
fn rows_may_have_different_fields() {
    let batch = ok("m a=1,b=2 1\nm b=3 2\nm c=\"x\",a=4 3\nm a=5,a=6 4\n");
    let frame = &batch.series[0].1;
    frame.validate().unwrap();
    let cells = |name: &str| (0..4).map(|i| frame.column(name).unwrap().get(i)).collect::<Vec<_>>();
    let float = |v| Some(Value::Float(v));
    assert_eq!(
        cells("a"),
        [float(1.0), None, float(4.0), float(6.0)],
        "of a field given twice the last one wins"
    );
    assert_eq!(cells("b"), [float(2.0), float(3.0), None, None]);
    assert_eq!(cells("c"), [None, None, Some(text("x")), None]);
}

#[test]
fn a_field_that_changes_its_type_begins_a_frame() {
    let batch = ok("m v=1 1\nm v=\"x\" 2\nm w=1 3\nm v=3 4\n");
    let types: Vec<_> = batch
        .series
        .iter()
        .map(|(_, f)| (f.times.clone(), f.column("v").map(|c| c.values.field_type())))
        .collect();
    assert_eq!(
        types,
        [
            (vec![1], Some(FieldType::Float)),
            (vec![2, 3], Some(FieldType::String)),
            (vec![4], Some(FieldType::Float))
        ]
    );
}

#[test]
fn fields_that_never_meet_do_not_fill_memory_with_gaps() {
    let body: String = (0..5_000).map(|i| format!("m f{i}=1 {i}\n")).collect();
    let batch = ok(&body);
    assert_eq!(batch.rows(), 5_000);
    let cells: usize = batch.series.iter().map(|(_, f)| f.len() * f.columns.len()).sum();
    assert!(cells < 5_000 * 20, "{cells}");
    // Many fields in one line are found again.
    let wide: String = (0..3_000).map(|i| format!("f{i}={i}")).collect::<Vec<_>>().join(",");
    let batch = ok(&format!("m {wide} 1\nm f2999=7,f0=1 2\nm {wide} 3\n"));
    assert_eq!(batch.series[0].1.columns.len(), 3_000);
    assert_eq!(batch.series[0].1.column("f2999").unwrap().get(1), Some(Value::Float(7.0)));
}

#[test]
fn typed_lines_become_typed_measurements_and_floats() {
    let body = "bar,symbol=A,timeframe=1m close=1.5,volume=1200i,trades=3i 1\n\
                bar,timeframe=1m,symbol=A close=2,volume=1300,trades=4i 2\n\
                bar.1m.A close=3i,volume=5u,trades=5i 3\n\
                metrics,component=feed,host=h queue=3i 1\n\
                bar,symbol=A close=1 1\n";
    let batch = parse_typed("b", body.as_bytes(), Precision::S, 0, 10).unwrap();
    let keys: Vec<&SeriesKey> = batch.series.iter().map(|(k, _)| k).collect();
    assert_eq!(
        keys,
        [&key("bar.1m.A", &[]), &key("metric.feed", &[("host", "h")]), &key("bar", &[("symbol", "A")])]
    );
    let bars = &batch.series[0].1;
    assert_eq!(bars.columns[0], Column::float("close", vec![1.5, 2.0, 3.0]));
    assert_eq!(bars.columns[1], Column::float("volume", vec![1200.0, 1300.0, 5.0]));
    assert_eq!(bars.columns[2], Column::new("trades", Values::Integer(vec![3, 4, 5])));
    assert_eq!(batch.series[1].1.columns[0], Column::new("queue", Values::Integer(vec![3])));
}

/// What a batch stores: per series and time the fields, the last one winning.
type Stored = BTreeMap<SeriesKey, BTreeMap<i64, BTreeMap<String, String>>>;

fn stored(batch: &WriteBatch) -> Stored {
    let mut out = Stored::new();
    for (key, frame) in &batch.series {
        frame.validate().unwrap();
        for (i, time) in frame.times.iter().enumerate() {
            assert!(TimeRange::ALL.contains(*time));
            let row = out.entry(key.clone()).or_default().entry(*time).or_default();
            row.extend(
                frame.columns.iter().filter_map(|c| c.get(i).map(|v| (c.name.clone(), format!("{v:?}")))),
            );
        }
    }
    out
}

fn escaped(text: &str, special: &str) -> String {
    text.chars().flat_map(|c| special.contains(c).then_some('\\').into_iter().chain([c])).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Float(v) => format!("{v:?}"),
        Value::Integer(v) => format!("{v}i"),
        Value::Unsigned(v) => format!("{v}u"),
        Value::Decimal(v) => v.to_string(),
        Value::Boolean(v) => v.to_string(),
        Value::String(v) => format!("\"{}\"", escaped(v, "\"\\")),
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c]{1,2}", 1 => "[a-c ,=\"é]{1,4}", 1 => "[a-z]\\\\[a-z]"]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Value::Float),
        (-100_000_i64..100_000).prop_map(|c| Value::Float(c as f64 / 100.0)),
        any::<i64>().prop_map(Value::Integer),
        any::<u64>().prop_map(Value::Unsigned),
        any::<bool>().prop_map(Value::Boolean),
        "[a-z \n\"\\\\=,é]{0,8}".prop_map(Value::String),
    ]
}

type Point = (SeriesKey, BTreeMap<String, Value>, i64);

fn point() -> impl Strategy<Value = Point> {
    (
        name().prop_filter("no comment", |n| !n.starts_with([' ', ','])),
        prop::collection::btree_map(name(), name(), 0..3),
        prop::collection::btree_map(name(), value(), 1..5),
        prop_oneof![0_i64..20, -(1_i64 << 61)..1 << 61],
    )
        .prop_map(|(measurement, tags, fields, time)| {
            (SeriesKey::new("b", measurement, tags.into_iter().collect()).unwrap(), fields, time)
        })
}

fn line_of((key, fields, time): &Point) -> String {
    let mut out = escaped(&key.measurement, ", ");
    for (k, v) in &key.tags {
        out += &format!(",{}={}", escaped(k, ", ="), escaped(v, ", ="));
    }
    let fields: Vec<_> =
        fields.iter().map(|(k, v)| format!("{}={}", escaped(k, ", =\""), shown(v))).collect();
    format!("{out} {} {time}", fields.join(","))
}

/// Alike: both refuse with the same words, or both store the same.
fn same_slowly(body: &[u8]) -> std::result::Result<(), TestCaseError> {
    let scales = decimals();
    for scales in [None, Some(&scales)] {
        let mapping = Mapping { scales, ..Mapping::typed(u64::MAX) };
        let quick = read_body("b", body, Precision::Us, NOW, &mapping, true);
        let slow = read_body("b", body, Precision::Us, NOW, &mapping, false);
        match (quick, slow) {
            (Ok(quick), Ok(slow)) => prop_assert_eq!(stored(&quick), stored(&slow)),
            (Err(quick), Err(slow)) => prop_assert_eq!(quick.message(), slow.message()),
            (quick, slow) => prop_assert!(false, "{:?} but slowly {:?}", quick, slow),
        }
    }
    Ok(())
}

/// Some fields of every measurement are decimals.
fn decimals() -> Scales {
    Scales::new(&[DecimalFields {
        bucket: "b".into(),
        measurement: "*".into(),
        fields: ["v", "x", "price", "volume", "m*"].map(String::from).to_vec(),
        scale: 2,
    }])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_is_written_is_read(points in prop::collection::vec(point(), 1..20)) {
        let body: String = points.iter().map(|p| line_of(p) + "\n").collect();
        let mut want = Stored::new();
        for (key, fields, time) in &points {
            let row = want.entry(key.clone()).or_default().entry(*time).or_default();
            row.extend(fields.iter().map(|(k, v)| (k.clone(), format!("{v:?}"))));
        }
        prop_assert_eq!(stored(&ok(&body)), want, "{}", body);
    }

    #[test]
    fn no_bytes_panic_and_the_fast_path_changes_nothing(
        body in prop::collection::vec(
            prop_oneof![
                8 => prop::sample::select(b"m,=\\ \"\n\r#\t0123456789.-+eiutf\0".to_vec()),
                1 => any::<u8>(),
            ],
            0..80,
        )
    ) {
        same_slowly(&body)?;
    }

    #[test]
    fn damaged_lines_neither(
        points in prop::collection::vec(point(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..4),
    ) {
        let mut body: Vec<u8> = points.iter().map(|p| line_of(p) + "\n").collect::<String>().into_bytes();
        for (place, byte, cut) in damage {
            let at = place.index(body.len());
            if cut {
                body.truncate(at.max(1));
            } else {
                body[at] = byte;
            }
        }
        same_slowly(&body)?;
    }

    #[test]
    fn usual_lines_take_either_path_alike(
        lines in prop::collection::vec(
            "(bar,symbol=[AB],timeframe=1m|tick,symbol=A|m) (v|w|close)=(1|2\\.5|3i|t|\"x\"|1e2|-0)(,(x|y|volume)=[0-9]{1,21}(i|u)?){0,2}( [0-9]{1,20})?(\r)?",
            1..12,
        )
    ) {
        same_slowly(lines.join("\n").as_bytes())?;
    }
}
