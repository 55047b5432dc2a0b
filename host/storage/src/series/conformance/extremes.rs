//! Names, texts, numbers and times at their worst.

use super::*;

/// Names that line protocol, Flux, CSV or SQL could trip over; both engines hold all of them.
pub(in crate::series) const HOSTILE: &[&str] = &[
    "a b",
    "a,b",
    "a=b",
    "a\"b",
    "\"quoted\"",
    "it's",
    "back\\slash",
    "back\\nslash",
    "dollar ${x} $",
    "\") |> drop() //",
    "\"); DROP TABLE log; --",
    "x\" OR \"1\"=\"1",
    "schräg 日本 🦀",
    " lead and trail ",
    "1234",
    "-5i",
    "true",
    "%_*",
    "table",
    "result",
    "a.b/c:d;e",
    "{\"json\": [1]}",
];

pub(super) fn hostile_names(engine: &dyn SeriesEngine, bucket: &str) {
    let mut batch = WriteBatch::default();
    for (i, name) in HOSTILE.iter().enumerate() {
        let key = key(bucket, name, &[(name, name), ("plain", "x")]);
        batch.series.push((key, frame(&[1, 2], vec![floats(name, &[i as f64, 0.5])])));
    }
    assert_eq!(engine.write(batch.clone()).unwrap().written, 2 * HOSTILE.len() as u64);
    let found = rows_of_all(engine, &batch);
    for (i, name) in HOSTILE.iter().enumerate() {
        let number = format!("f {i}.0");
        assert_eq!(found[i], want(&[(1, &[(name, &number)]), (2, &[(name, "f 0.5")])]), "{name}");
        let exact = select(bucket, name, &[(name, name)]);
        // A `*` in a name is a pattern in a selector: others may match, too.
        assert!(engine.latest(&exact).unwrap().iter().any(|l| l.key == batch.series[i].0), "{name}");
    }
    let listed: BTreeSet<SeriesKey> =
        engine.list(&select(bucket, "*", &[("plain", "x")])).unwrap().into_iter().map(|i| i.key).collect();
    assert_eq!(listed, batch.series.iter().map(|(k, _)| k.clone()).collect());
    // A delete takes what it names and nothing else.
    for (i, name) in HOSTILE.iter().enumerate().filter(|(_, n)| !n.contains('*')) {
        engine.delete(&select(bucket, name, &[(name, name)]), range(1, 2)).unwrap();
        assert_eq!(rows(engine, &batch.series[i].0), want(&[(2, &[(name, "f 0.5")])]), "{name}");
    }
    let untouched = HOSTILE.iter().position(|n| n.contains('*')).unwrap();
    assert_eq!(rows(engine, &batch.series[untouched].0).len(), 2);
}

fn rows_of_all(engine: &dyn SeriesEngine, batch: &WriteBatch) -> Vec<Rows> {
    batch.series.iter().map(|(key, _)| rows(engine, key)).collect()
}

pub(super) fn hostile_texts(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let long = "long \"text\", ".repeat(2_000);
    let mut texts: Vec<String> = HOSTILE.iter().map(|s| (*s).to_string()).collect();
    texts.extend(
        [
            "",
            "\n",
            "\r\n",
            "a\rb",
            "\\n",
            "a\r\n#datatype,string\r\n,b",
            "\\",
            "\\\\",
            "\"",
            "\\\"",
            ",",
            "\t",
        ]
        .map(String::from),
    );
    texts.push(long);
    let times: Vec<i64> = (0..texts.len() as i64).collect();
    write(engine, &key, frame(&times, vec![Column::new("s", Values::String(texts.clone()))]));
    let found: Vec<String> = rows(engine, &key).into_values().map(|r| r["s"][2..].to_string()).collect();
    for (found, text) in found.iter().zip(&texts) {
        assert!(found == text, "{:?}", &text[..text.len().min(80)]);
    }
    assert_eq!(found.len(), texts.len());
    let last = texts.len() - 1;
    write(
        engine,
        &key,
        frame(&[times[last] + 1], vec![Column::new("s", Values::String(vec!["a\r\nb\rc\\n".into()]))]),
    );
    let latest = engine.latest(&select(bucket, "m", &[])).unwrap();
    assert_eq!(latest[0].fields[0].value, Value::String("a\r\nb\rc\\n".into()));
}

pub(super) fn extreme_numbers(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let f = [
        -0.0,
        0.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        0.1 + 0.2,
        1.0 / 3.0,
        1e15 + 0.3,
        9007199254740993.0,
        123456789.12345679,
        f64::EPSILON,
    ];
    let i = [i64::MIN, i64::MAX, 0, -1, 1 << 53, (1 << 53) + 1, i64::MAX - 1, 7, 8, 9, 10, 11];
    let u = [u64::MAX, 0, u64::MAX - 1, 1 << 63, (1 << 63) - 1, (1 << 53) + 1, 1, 2, 3, 4, 5, 6];
    let times: Vec<i64> = (0..f.len() as i64).collect();
    let columns = vec![
        floats("f", &f),
        Column::new("i", Values::Integer(i.to_vec())),
        Column::new("u", Values::Unsigned(u.to_vec())),
    ];
    write(engine, &key, frame(&times, columns));
    let found = rows(engine, &key);
    for (at, row) in times.iter().map(|t| &found[t]).enumerate() {
        assert_eq!(row["f"], shown(&Value::Float(f[at])));
        assert_eq!(row["i"], shown(&Value::Integer(i[at])));
        assert_eq!(row["u"], shown(&Value::Unsigned(u[at])));
    }
}

pub(super) fn extreme_times(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let times = [TIME_MIN_NS, TIME_MIN_NS + 1, -1, 0, 1, TIME_MAX_NS - 1, TIME_MAX_NS];
    write(engine, &key, frame(&times, vec![floats("v", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])]));
    assert_eq!(rows(engine, &key).into_keys().collect::<Vec<_>>(), times);
    let latest = engine.latest(&select(bucket, "m", &[])).unwrap();
    assert_eq!((latest[0].fields[0].time, &latest[0].fields[0].value), (TIME_MAX_NS, &Value::Float(7.0)));
    let info = &engine.list(&select(bucket, "m", &[])).unwrap()[0];
    assert_eq!((info.rows, info.min_time, info.max_time), (7, Some(TIME_MIN_NS), Some(TIME_MAX_NS)));
    for bad in [TIME_MIN_NS - 1, i64::MIN, TIME_MAX_NS + 1, i64::MAX] {
        let error = try_write(engine, &key, frame(&[bad], vec![floats("v", &[1.0])])).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{bad}");
    }
    engine.delete(&select(bucket, "m", &[]), range(i64::MIN, 0)).unwrap();
    assert_eq!(rows(engine, &key).into_keys().collect::<Vec<_>>(), times[3..]);
    engine.delete(&select(bucket, "m", &[]), range(TIME_MAX_NS, i64::MAX)).unwrap();
    assert_eq!(rows(engine, &key).into_keys().collect::<Vec<_>>(), times[3..6]);
    engine.delete(&select(bucket, "m", &[]), range(i64::MIN, i64::MAX)).unwrap();
    assert_eq!(rows(engine, &key), Rows::new());
}

pub(super) fn what_no_engine_holds_is_refused(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = try_write(engine, &key, frame(&[1, 2], vec![floats("v", &[1.0, bad])])).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{bad}");
    }
    for columns in [
        vec![floats("", &[1.0, 2.0])],
        vec![floats("v", &[1.0])],
        vec![floats("v", &[1.0, 2.0]), floats("v", &[1.0, 2.0])],
    ] {
        let error = try_write(engine, &key, frame(&[1, 2], columns)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }
    // The batch is refused whole: its good series is not there, either.
    let good = self::key(bucket, "good", &[]);
    let batch = WriteBatch {
        series: vec![
            (good.clone(), frame(&[1], vec![floats("v", &[1.0])])),
            (key, frame(&[1], vec![floats("v", &[f64::NAN])])),
        ],
    };
    assert!(engine.write(batch).is_err());
    assert_eq!(rows(engine, &good), Rows::new());
}
