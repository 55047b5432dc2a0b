use super::*;
use crate::error::Kind as ErrorKind;
use crate::series::model::Value;
use proptest::prelude::*;

fn one(line: &str) -> (SeriesKey, Frame) {
    let batch = parse("b", line.as_bytes(), Precision::Ns, 7).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    assert_eq!(batch.series.len(), 1, "{line:?}");
    batch.series.into_iter().next().unwrap()
}

fn refused(line: &str) -> String {
    let e = parse("b", line.as_bytes(), Precision::Ns, 7).expect_err(line);
    assert_eq!(e.kind(), ErrorKind::Invalid);
    e.message().to_string()
}

#[test]
fn every_type_and_escape() {
    let (key, frame) = one(r#"we\,a\ th\=er,l\,o\ c=us\=mid\ w\,est,z=1 f=1.5,i=-3i,u=7u,t=T,s="a \"q\" \\ b,c = d",k\,e\=y\ x=2 99"#);
    assert_eq!(key.measurement, r"we,a th\=er");
    assert_eq!(key.tags, [("l,o c".into(), "us=mid w,est".into()), ("z".to_string(), "1".to_string())]);
    assert_eq!(frame.times, [99]);
    for (name, want) in [
        ("f", Value::Float(1.5)),
        ("i", Value::Integer(-3)),
        ("u", Value::Unsigned(7)),
        ("t", Value::Boolean(true)),
        ("s", Value::String(r#"a "q" \ b,c = d"#.into())),
        ("k,e=y x", Value::Float(2.0)),
    ] {
        assert_eq!(frame.column(name).and_then(|c| c.get(0)), Some(want), "{name}");
    }
}

#[test]
fn lines_between_lines() {
    let body = "# comment with \"a quote\n\n  \r\nm v=1 1\r\n\tm v=2 2   \nm v=\"a\nb\" 3";
    let batch = parse("b", body.as_bytes(), Precision::Ns, 7).unwrap();
    // The string is another type of the same field: a group of its own, for the engine to decide.
    assert_eq!(batch.series.iter().map(|(_, f)| f.times.clone()).collect::<Vec<_>>(), [vec![1, 2], vec![3]]);
    assert_eq!(batch.series[1].1.column("v").unwrap().get(0), Some(Value::String("a\nb".into())));
    assert_eq!(one("m v=1").1.times, [7], "the default time");
    assert_eq!(parse("b", b"", Precision::Ns, 7).unwrap().rows(), 0);
}

#[test]
fn precisions() {
    for (p, want) in [(Precision::Ns, 5), (Precision::Us, 5_000), (Precision::Ms, 5_000_000), (Precision::S, 5_000_000_000)] {
        assert_eq!(parse("b", b"m v=1 5", p, 0).unwrap().series[0].1.times, [want]);
    }
}

#[test]
fn gaps_and_repeated_fields() {
    let batch = parse("b", b"m a=1,b=2 1\nm b=3 2\nm c=4,a=5 3\nm a=6,a=7 4", Precision::Ns, 0).unwrap();
    let (_, f) = &batch.series[0];
    let column = |n: &str| (0..4).map(|r| f.column(n).unwrap().get(r).and_then(|v| v.as_f64())).collect::<Vec<_>>();
    assert_eq!(column("a"), [Some(1.0), None, Some(5.0), Some(7.0)]);
    assert_eq!(column("b"), [Some(2.0), Some(3.0), None, None]);
    assert_eq!(column("c"), [None, None, Some(4.0), None]);
    f.validate().unwrap();
}

#[test]
fn refusals_in_the_words_of_the_real_server() {
    for (line, why) in [
        ("m v= 2", "missing field value"),
        ("m v=", "missing field value"),
        ("m v=,w=1", "missing field value"),
        (",t=1 v=1", "missing measurement"),
        ("m", "missing fields"),
        ("m,t=1", "missing fields"),
        ("m ", "missing fields"),
        ("m =1", "missing field key"),
        ("m v=1,=2", "missing field key"),
        ("m,=1 v=1", "missing tag key"),
        ("m,t= v=1", "missing tag value"),
        ("m,t v=1", "missing tag value"),
        ("m, v=1", "missing tag key"),
        ("m,t=1,t=2 v=1", "duplicate tags"),
        ("m,t=a=b v=1", "invalid tag format"),
        ("m v", "invalid field format"),
        ("m v=1,w", "invalid field format"),
        ("m v=1x", "invalid number"),
        ("m v=NaN", "invalid number"),
        ("m v=tru", "invalid boolean"),
        ("m v=\"abc", "unbalanced quotes"),
        ("m v=1 12x", "bad timestamp"),
        ("m v=1 1.5", "bad timestamp"),
        ("m v=1 1 1", "point is invalid"),
        ("m v=1 9223372036854775807", "time outside range"),
        ("m v=1 -9223372036854775808", "time outside range"),
    ] {
        let message = refused(line);
        assert!(message.starts_with(&format!("unable to parse '{}'", line.trim_end_matches('\n'))), "{message}");
        assert!(message.contains(why), "{line:?}: {message}");
    }
    let many = refused("m v=1 1\nbad\nm v=2 2\nworse x=");
    assert_eq!(many.lines().count(), 2, "{many}");
    assert!(refused(&"bad\n".repeat(FAULTS_NAMED_MAX + 3)).ends_with("and 3 more lines"));
}

#[test]
fn bounds_at_their_edge() {
    let key = |n: usize| format!("{} v=1 1", "m".repeat(n));
    assert_eq!(one(&key(KEY_BYTES_MAX)).0.measurement.len(), KEY_BYTES_MAX);
    assert!(refused(&key(KEY_BYTES_MAX + 1)).contains("max key length exceeded"));
    let string = |n: usize| format!("m v=\"{}\" 1", "x".repeat(n));
    one(&string(STRING_BYTES_MAX));
    assert!(refused(&string(STRING_BYTES_MAX + 1)).contains("exceeds"));
    one(&format!("m v=1 {TIME_MAX_NS}"));
    one(&format!("m v=1 {TIME_MIN_NS}"));
}

#[test]
fn typed_fields_are_floats_whatever_the_literal() {
    let batch = parse("b", b"bar,symbol=A,timeframe=1m open=1,volume=100i 1\nbar,symbol=A,timeframe=1m open=2i,volume=100.5 2", Precision::Ns, 0).unwrap();
    assert_eq!(batch.series.len(), 1);
    let (key, frame) = &batch.series[0];
    assert_eq!(key.measurement, "bar.1m.A");
    assert_eq!(frame.column("volume").unwrap().floats().unwrap(), [100.0, 100.5]);
    assert_eq!(frame.column("open").unwrap().floats().unwrap(), [1.0, 2.0]);
    assert!(refused("tick,symbol=A price=9007199254740993i 1").contains("no exact float"));
    assert_eq!(one("free v=1i 1").1.column("v").unwrap().get(0), Some(Value::Integer(1)));
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Zéß€ ,=\\.\"]{1,8}[a-z]"
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Value::Float),
        any::<i64>().prop_map(Value::Integer),
        any::<u64>().prop_map(Value::Unsigned),
        any::<bool>().prop_map(Value::Boolean),
        "[ -~é\\\\\"\n]{0,20}".prop_map(Value::String),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(prop_oneof![Just(b' '), Just(b','), Just(b'='), Just(b'\\'), Just(b'"'), Just(b'\n'), Just(b'm'), Just(b'1'), any::<u8>()], 0..80)) {
        let _ = parse("b", &body, Precision::S, 0);
    }

    #[test]
    fn what_is_formatted_reads_back(measurement in "[a-zé][a-z ,.é]{0,6}", tags in proptest::collection::btree_map(name(), name(), 0..3), fields in proptest::collection::btree_map(name(), value(), 1..4), time in TIME_MIN_NS..=TIME_MAX_NS) {
        let key = SeriesKey::new("b", measurement, tags.into_iter().collect()).unwrap();
        let columns = fields.iter().map(|(n, v)| {
            let values = match v {
                Value::Float(x) => Values::Float(vec![*x]),
                Value::Integer(x) => Values::Integer(vec![*x]),
                Value::Unsigned(x) => Values::Unsigned(vec![*x]),
                Value::Boolean(x) => Values::Boolean(vec![*x]),
                Value::String(x) => Values::String(vec![x.clone()]),
            };
            Column::new(n.clone(), values)
        }).collect();
        let frame = Frame { times: vec![time], columns };
        let mut line = String::new();
        format_row(&mut line, &key, &frame, 0);
        let batch = parse("b", line.as_bytes(), Precision::Ns, 0).map_err(|e| TestCaseError::fail(format!("{line:?}: {e}")))?;
        prop_assert_eq!(&batch.series, &vec![(key, frame)], "{}", line);
    }
}
