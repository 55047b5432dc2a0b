//! Decimals over any engine: what is declared comes back to the last digit, and the engine holds integers.

use super::*;
use crate::manifest::DecimalFields;
use crate::series::decimals::{Decimal, DecimalEngine, Face, Scales};
use crate::series::query::{Aggregate, Fill, Function, Query, Time, Window, execute};

const BUCKET: &str = "decimals";

fn scales() -> Arc<Scales> {
    let entry = |measurement: &str, fields: &[&str], scale| DecimalFields {
        bucket: BUCKET.into(),
        measurement: measurement.into(),
        fields: fields.iter().map(|f| (*f).to_string()).collect(),
        scale,
    };
    Arc::new(Scales::new(&[
        entry("m*", &["close", "bid_*"], 2),
        entry("edge.0", &["v"], 0),
        entry("edge.18", &["v"], 18),
    ]))
}

fn of(key: &SeriesKey, times: &[i64], columns: Vec<Column>) -> WriteBatch {
    WriteBatch { series: vec![(key.clone(), frame(times, columns))] }
}

fn texts(values: &[&str]) -> Values {
    Values::String(values.iter().map(|s| (*s).to_string()).collect())
}

fn cents(units: i64) -> String {
    format!("d {}", Decimal { units, scale: 2 })
}

fn all_of(rows: &Rows, field: &str) -> Vec<String> {
    rows.values().filter_map(|row| row.get(field).cloned()).collect()
}

/// Every check, in one bucket.
pub fn run_decimals(engine: Arc<dyn SeriesEngine>) {
    let exact = DecimalEngine::over(engine.clone(), &scales(), Face::Exact);
    every_form_of_a_number(exact.as_ref(), engine.as_ref());
    edges(exact.as_ref(), engine.as_ref());
    refusals(exact.as_ref(), engine.as_ref());
    windows(&exact, &engine);
}

fn every_form_of_a_number(exact: &dyn SeriesEngine, stored: &dyn SeriesEngine) {
    let key = key(BUCKET, "m", &[]);
    let forms = [
        (1, texts(&["101.25"]), 10_125),
        (2, Values::Float(vec![0.1]), 10),
        (3, Values::Integer(vec![-7]), -700),
        (4, Values::Unsigned(vec![7]), 700),
        (5, Values::Decimal(vec![12_500], 3), 1_250),
        (6, Values::Decimal(vec![-1], 2), -1),
        (7, texts(&["1.5e1"]), 1_500),
    ];
    for (time, values, _) in &forms {
        write(exact, &key, frame(&[*time], vec![Column::new("close", values.clone())]));
    }
    // Fields merge, the last write wins, and what is not declared is as ever.
    write(exact, &key, frame(&[1], vec![Column::new("bid_1", texts(&["2"])), floats("size", &[0.5])]));
    write(exact, &key, frame(&[7], vec![Column::new("close", texts(&["15.01"]))]));
    let mut want: Vec<String> = forms.iter().map(|(_, _, units)| cents(*units)).collect();
    want[6] = cents(1_501);
    let found = rows(exact, &key);
    assert_eq!(all_of(&found, "close"), want);
    assert_eq!((found[&1]["bid_1"].as_str(), found[&1]["size"].as_str()), ("d 2.00", "f 0.5"));
    // Beneath there are the units.
    assert_eq!(rows(stored, &key)[&1]["close"], "i 10125");
    let chosen = select(BUCKET, "m", &[]);
    let fields = |engine: &dyn SeriesEngine| engine.list(&chosen).unwrap()[0].fields.clone();
    assert!(fields(exact).contains(&("close".into(), FieldType::Decimal(2))));
    assert!(fields(stored).contains(&("close".into(), FieldType::Integer)));
    let newest = exact.latest(&chosen).unwrap()[0].fields.clone();
    let close = newest.iter().find(|f| f.name == "close").unwrap();
    assert_eq!((close.time, &close.value), (7, &Value::Decimal(Decimal { units: 1_501, scale: 2 })));
    // A decimal in a field that is none is the nearest float.
    let other = self::key(BUCKET, "other", &[]);
    write(exact, &other, frame(&[1], vec![Column::new("close", Values::Decimal(vec![10], 2))]));
    assert_eq!(rows(exact, &other)[&1]["close"], "f 0.1");
}

fn edges(exact: &dyn SeriesEngine, stored: &dyn SeriesEngine) {
    for (measurement, least, greatest) in [
        ("edge.0", "-9223372036854775808", "9223372036854775807"),
        ("edge.18", "-9.223372036854775808", "9.223372036854775807"),
    ] {
        let key = key(BUCKET, measurement, &[]);
        write(exact, &key, frame(&[1, 2, 3], vec![Column::new("v", texts(&[least, greatest, "0"]))]));
        let found = all_of(&rows(exact, &key), "v");
        let zero = if measurement == "edge.0" { "d 0" } else { "d 0.000000000000000000" };
        assert_eq!(found, [format!("d {least}"), format!("d {greatest}"), zero.into()]);
        assert_eq!(rows(stored, &key)[&1]["v"], format!("i {}", i64::MIN));
    }
}

/// Rows with a value that is none of the scale are refused one by one, as rows with a value of another type are.
fn refusals(exact: &dyn SeriesEngine, stored: &dyn SeriesEngine) {
    let key = key(BUCKET, "m.refused", &[]);
    let close = texts(&["1.00", "1.001", "92233720368547758.08", "NaN", "2"]);
    let columns = vec![Column::new("close", close), floats("size", &[1.0, 2.0, 3.0, 4.0, 5.0])];
    let said = exact.write(of(&key, &[1, 2, 3, 4, 5], columns)).unwrap();
    assert_eq!((said.written, said.dropped), (2, 3));
    let told: Vec<_> = said.conflicts.iter().map(|c| (c.have, c.got, c.value.clone().unwrap())).collect();
    assert_eq!(told, [(FieldType::Decimal(2), FieldType::Float, "1.001".to_string())], "one for each field");
    let found = rows(exact, &key);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 5]);
    for (values, got) in [
        (Values::Boolean(vec![true]), FieldType::Boolean),
        (Values::Float(vec![0.001]), FieldType::Float),
        (Values::Integer(vec![i64::MAX]), FieldType::Integer),
        (Values::Unsigned(vec![u64::MAX]), FieldType::Unsigned),
        (Values::Decimal(vec![1], 3), FieldType::Decimal(3)),
        (texts(&["dear"]), FieldType::String),
    ] {
        let said = exact.write(of(&key, &[9], vec![Column::new("close", values)])).unwrap();
        assert_eq!((said.written, said.dropped), (0, 1), "{got}");
        assert_eq!((said.conflicts[0].have, said.conflicts[0].got), (FieldType::Decimal(2), got));
    }
    // A conflict of another field is the engine's, and is told as ever.
    let said = exact.write(of(&key, &[9], vec![Column::new("size", Values::Boolean(vec![true]))])).unwrap();
    assert_eq!((said.dropped, said.conflicts[0].have), (1, FieldType::Float));
    assert_eq!(rows(stored, &key).len(), 2);
}

/// Windows of sealed chunks and of rows, by the executor: what is pushed down is what the rows say.
fn windows(exact: &Arc<dyn SeriesEngine>, stored: &Arc<dyn SeriesEngine>) {
    const SECOND: i64 = 1_000_000_000;
    let key = key(BUCKET, "m.windows", &[]);
    let times: Vec<i64> = (0..3_000).map(|i| i * SECOND).collect();
    let price = |i: i64| 10_000 + (i * 7_919) % 501;
    let units: Vec<i64> = (0..3_000).map(price).collect();
    write(exact.as_ref(), &key, frame(&times, vec![Column::new("close", Values::Decimal(units.clone(), 2))]));
    exact.seal().unwrap();
    exact.compact().unwrap();
    let ask = |engine: &dyn SeriesEngine, every: &str, functions: &[Function], fill: Fill| {
        let aggregates = functions.iter().map(|function| Aggregate {
            field: "close".into(),
            function: *function,
            q: (*function == Function::Quantile).then_some(0.5),
        });
        let query = Query {
            bucket: Some(BUCKET.into()),
            measurement: "m.windows".into(),
            window: Some(Window { every: every.into(), aggregates: aggregates.collect() }),
            start: Some(Time::Ns(0)),
            end: Some(Time::Ns(3_600 * SECOND)),
            fill,
            ..Query::default()
        };
        execute(engine, &query, &Budget::default(), 10_000).unwrap()
    };
    let functions = [
        Function::First,
        Function::Last,
        Function::Min,
        Function::Max,
        Function::Sum,
        Function::Mean,
        Function::Count,
        Function::Stddev,
        Function::Quantile,
    ];
    // With values that need no single row the chunks' summaries are enough.
    for some in [&functions[..7], &functions[..]] {
        let table = ask(exact.as_ref(), "10m", some, Fill::None);
        assert_eq!(table.rows(), 5);
        for (row, part) in units.chunks(600).enumerate() {
            let cell = |name: &str| table.column(name).unwrap().get(row).unwrap();
            let decimal = |units: i64| Value::Decimal(Decimal { units, scale: 2 });
            assert_eq!(cell("close_first"), decimal(part[0]));
            assert_eq!(cell("close_last"), decimal(part[599]));
            assert_eq!(cell("close_min"), decimal(*part.iter().min().unwrap()));
            assert_eq!(cell("close_max"), decimal(*part.iter().max().unwrap()));
            assert_eq!(cell("close_sum"), decimal(part.iter().sum()));
            assert_eq!(cell("close_count"), Value::Integer(600));
            let mean = part.iter().sum::<i64>() as f64 / 100.0 / 600.0;
            assert!((cell("close_mean").as_f64().unwrap() - mean).abs() < 1e-9, "{mean}");
            if some.len() > 7 {
                let mut sorted = part.to_vec();
                sorted.sort_unstable();
                let median = (sorted[299] + sorted[300]) as f64 / 200.0;
                assert!((cell("close_quantile_0.5").as_f64().unwrap() - median).abs() < 1e-9);
                let squares: f64 = part.iter().map(|u| (*u as f64 / 100.0 - mean).powi(2)).sum();
                assert!((cell("close_stddev").as_f64().unwrap() - (squares / 599.0).sqrt()).abs() < 1e-9);
            }
        }
    }
    // One window of whole chunks.
    let whole = ask(exact.as_ref(), "1h", &functions[..7], Fill::None);
    let text = |name: &str| match whole.column(name).unwrap().get(0) {
        Some(Value::Decimal(d)) => d.units,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!((text("close_first"), text("close_last")), (units[0], units[2_999]));
    assert_eq!(text("close_min"), *units.iter().min().unwrap());
    assert_eq!(text("close_max"), *units.iter().max().unwrap());
    assert_eq!(text("close_sum"), units.iter().sum::<i64>());
    // The same for whoever knows only floats.
    let floats = DecimalEngine::over(stored.clone(), &scales(), Face::Float);
    let table = ask(floats.as_ref(), "10m", &functions[..7], Fill::None);
    assert_eq!(
        table.column("close_max").unwrap().get(0).unwrap().as_f64(),
        units[..600].iter().max().map(|u| *u as f64 / 100.0)
    );
    assert_eq!(table.column("close_sum").unwrap().values.field_type(), FieldType::Float);
}

#[test]
fn the_model_keeps_decimals() {
    run_decimals(Arc::new(super::super::model_engine::ModelEngine::default()));
}

#[test]
fn embedded_keeps_decimals() {
    let dir = tempfile::tempdir().unwrap();
    let config = crate::Manifest::parse("", &dir.path().join("shiphold.toml")).unwrap().series.embedded;
    let config = crate::manifest::Embedded { chunk_rows: 1_024, ..config };
    let path = dir.path().join("series.db");
    let engine = super::super::embedded::EmbeddedEngine::open(
        &path,
        &config,
        super::super::embedded::EngineOptions::default(),
    )
    .unwrap();
    run_decimals(Arc::new(engine));
}
