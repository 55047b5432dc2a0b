//! The subset over the model engine; `tests/with_influxd` compares the same texts with a real server.

use super::*;
use crate::error::Kind;
use crate::series::line_protocol::{Precision, parse_typed};
use crate::series::model_engine::ModelEngine;
use crate::series::{Budget, SeriesEngine, SeriesKey, Value};
use proptest::prelude::*;

pub(super) const NOW: i64 = 300_000_000_000;
const FROM: &str = "from(bucket: \"b\") |> range(start: 0) ";

fn engine(lines: &str) -> ModelEngine {
    let engine = ModelEngine::default();
    let batch = parse_typed("b", lines.as_bytes(), Precision::S, NOW, 1_000).unwrap();
    assert_eq!(engine.write(batch).unwrap().dropped, 0);
    engine
}

fn cpu() -> ModelEngine {
    engine(
        "cpu,host=a,Zone=x usage=1.5,n=1i 1\ncpu,host=a,Zone=x usage=2.5 2\ncpu,host=a,Zone=x usage=3.25,n=3i,s=\"t\" 61\n\
         cpu,host=b usage=10,ok=true,u=5u 1\ncpu,host=b usage=20,ok=false,u=6u 121\nmem,host=a free=0.5 1\n",
    )
}

/// Tables as text: `result/number measurement field tags: time=value …`, times in seconds.
fn ask_of(engine: &ModelEngine, text: &str, rows_max: u64) -> crate::Result<Vec<String>> {
    tables_of(engine, text, rows_max, &Budget::default())
}

pub(super) fn tables_of(
    engine: &dyn SeriesEngine,
    text: &str,
    rows_max: u64,
    budget: &Budget,
) -> crate::Result<Vec<String>> {
    let query = FluxQuery::parse(text, NOW, Vec::new())?;
    let mut tables: Vec<String> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let readable = |key: &SeriesKey| key.tag("secret").is_none();
    run(engine, &query, budget, rows_max, &readable, &mut |part| {
        match part {
            Part::End => {}
            Part::Head(head) => {
                let fixed = head.columns.iter().filter_map(|c| match &c.fixed {
                    Some(Fixed::Text(text)) => Some(format!(" {}={text}", c.name)),
                    _ => None,
                });
                tables.push(format!("{}/{}{}:", head.result, head.table, fixed.collect::<String>()));
                let free = head.columns.iter().filter(|c| c.fixed.is_none() && c.name != "_time");
                names = free.map(|c| c.name.clone()).collect();
            }
            Part::Rows(frame) => {
                assert_eq!(
                    frame.columns.iter().map(|c| &c.name).collect::<Vec<_>>(),
                    names.iter().collect::<Vec<_>>()
                );
                let table = tables.last_mut().unwrap();
                for (row, time) in frame.times.iter().enumerate() {
                    table.push_str(&format!(" {}", *time as f64 / 1e9));
                    for column in &frame.columns {
                        let value = match column.get(row) {
                            None => "-".into(),
                            Some(Value::Float(v)) => v.to_string(),
                            Some(Value::Integer(v)) => v.to_string(),
                            Some(Value::Unsigned(v)) => v.to_string(),
                            Some(Value::Decimal(v)) => v.to_string(),
                            Some(Value::Boolean(v)) => v.to_string(),
                            Some(Value::String(v)) => v,
                        };
                        table.push_str(&format!("={value}"));
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(tables)
}

#[track_caller]
fn ask(engine: &ModelEngine, steps: &str) -> Vec<String> {
    ask_of(engine, &format!("{FROM}{steps}"), 1_000).unwrap()
}

#[track_caller]
fn refused(text: &str) -> String {
    let e = ask_of(&cpu(), text, 1_000).unwrap_err();
    assert_eq!(e.kind(), Kind::Invalid, "{text}: {e}");
    format!("{e} ({})", e.hint_text().unwrap_or_default())
}

#[test]
fn a_table_per_series_and_field() {
    assert_eq!(
        ask(&cpu(), "|> filter(fn: (r) => r._measurement == \"cpu\" and r.host == \"b\")"),
        [
            "_result/0 _field=ok _measurement=cpu host=b: 1=true 121=false",
            "_result/1 _field=u _measurement=cpu host=b: 1=5 121=6",
            "_result/2 _field=usage _measurement=cpu host=b: 1=10 121=20",
        ]
    );
    assert_eq!(ask(&cpu(), "").len(), 7);
    assert!(ask(&cpu(), "|> filter(fn: (r) => r._measurement == \"none\")").is_empty());
}

#[test]
fn predicates_over_tags_fields_values_and_times() {
    let count = |predicate: &str| {
        ask(
            &cpu(),
            &format!(
                "|> filter(fn: (r) => r._field == \"usage\") |> filter(fn: (r) => {predicate}) |> count()"
            ),
        )
        .iter()
        .map(|t| t.rsplit('=').next().unwrap().parse::<u32>().unwrap())
        .sum::<u32>()
    };
    for (predicate, rows) in [
        ("true", 5),
        ("r[\"host\"] == \"a\"", 3),
        ("\"a\" == r.host", 3),
        ("r.host =~ /^(a|b)$/", 5),
        ("r.host !~ /a/", 2),
        ("r.Zone != \"y\"", 5),
        ("r.Zone != \"\"", 3),
        ("r.Zone == \"\"", 0),
        ("exists r.Zone", 3),
        ("not exists r.Zone", 2),
        ("r.Zone =~ /^$/", 2),
        ("r._value > 2", 4),
        ("2.5 <= r._value and not (r.host == \"b\")", 2),
        ("r._value > \"a\"", 0),
        ("r._value == 10.0 or r.host == \"a\"", 4),
        ("r._time >= 1970-01-01T00:01:01Z", 2),
        ("contains(value: r.host, set: [\"b\", \"c\"])", 2),
        ("r._measurement == \"cpu\" and (r.host == \"x\" or r.host == \"b\")", 2),
    ] {
        assert_eq!(count(predicate), rows, "{predicate}");
    }
}

#[test]
fn windows_with_and_without_values() {
    let usage = "|> filter(fn: (r) => r._field == \"usage\" and r.host == \"a\") ";
    let of = |arguments: &str| {
        let tables = ask(&cpu(), &format!("{usage} |> aggregateWindow(every: 1m, {arguments})"));
        assert_eq!(tables.len(), 1, "{arguments}");
        tables[0].split_once(": ").unwrap().1.to_string()
    };
    assert_eq!(of("fn: mean"), "60=2 120=3.25 180=- 240=- 300=-");
    assert_eq!(of("fn: count"), "60=2 120=1 180=0 240=0 300=0");
    assert_eq!(of("fn: sum, createEmpty: false"), "60=4 120=3.25");
    assert_eq!(of("fn: max, offset: 10s"), "10=2.5 70=3.25 130=- 190=- 250=- 300=-");
    assert_eq!(of("fn: last, timeSrc: \"_start\", createEmpty: false"), "0=2.5 60=3.25");
    assert_eq!(of("fn: stddev, createEmpty: false"), "60=0.7071067811865476 120=NaN");
    assert_eq!(of("fn: first, createEmpty: false) |> limit(n: 1"), "60=1.5");
    // The ends of the range cut windows off.
    let cut = ask_of(
        &cpu(),
        "from(bucket: \"b\") |> range(start: 1970-01-01T00:00:30Z, stop: 1970-01-01T00:01:30Z) \
         |> filter(fn: (r) => r._field == \"usage\") |> aggregateWindow(every: 1m, fn: count)",
        1_000,
    );
    assert_eq!(cut.unwrap(), ["_result/0 Zone=x _field=usage _measurement=cpu host=a: 60=0 90=1"]);
}

#[test]
fn one_row_of_each_table_and_pages() {
    let usage = "|> filter(fn: (r) => r._field == \"usage\" and r.host == \"a\") ";
    let of = |step: &str| {
        let tables = ask(&cpu(), &format!("{usage} |> {step}"));
        tables.iter().map(|t| t.split_once(": ").unwrap().1.to_string()).collect::<Vec<_>>().join("|")
    };
    assert_eq!(of("first()"), "1=1.5");
    assert_eq!(of("last()"), "61=3.25");
    assert_eq!(of("max()"), "61=3.25");
    assert_eq!(of("min(column: \"_value\")"), "1=1.5");
    assert_eq!(of("sum()"), "0=7.25");
    assert_eq!(of("limit(n: 1, offset: 1)"), "2=2.5");
    assert_eq!(of("limit(n: 5, offset: 3)"), "");
    assert_eq!(of("limit(n: 0)"), "");
    assert_eq!(of("sort(desc: true)"), "61=3.25 2=2.5 1=1.5");
    assert_eq!(of("sort(columns: [\"_time\"], desc: true) |> limit(n: 2)"), "61=3.25 2=2.5");
    assert_eq!(of("filter(fn: (r) => r._value < 3.0) |> last()"), "2=2.5");
    assert_eq!(of("aggregateWindow(every: 1m, fn: mean) |> last()"), "120=3.25");
}

#[test]
fn fields_become_columns() {
    let steps = "|> filter(fn: (r) => r._measurement == \"cpu\") \
                 |> pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\")";
    assert_eq!(
        ask(&cpu(), steps),
        [
            "_result/0 Zone=x _measurement=cpu host=a: 1=1=-=1.5 2=-=-=2.5 61=3=t=3.25",
            "_result/1 _measurement=cpu host=b: 1=true=5=10 121=false=6=20",
        ]
    );
    let windows = ask(
        &cpu(),
        "|> filter(fn: (r) => r._field == \"usage\" or r._field == \"n\") |> aggregateWindow(every: 1m, fn: mean, createEmpty: false) \
         |> pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\") |> sort(columns: [\"usage\"], desc: true) |> limit(n: 1)",
    );
    assert_eq!(windows[0], "_result/0 Zone=x _measurement=cpu host=a: 120=3=3.25");
}

#[test]
fn what_was_mapped_is_found_as_it_was_written_and_as_it_is_stored() {
    let e = engine(
        "bar,symbol=A,timeframe=1m close=1 1\nbar,symbol=B,timeframe=1m close=2 1\nmetrics,component=c v=1 1\n",
    );
    let of = |predicate: &str| ask(&e, &format!("|> filter(fn: (r) => {predicate})"));
    let written = "_result/0 _field=close _measurement=bar symbol=B timeframe=1m: 1=2";
    assert_eq!(of("r._measurement == \"bar\" and r.symbol == \"B\""), [written]);
    assert_eq!(of("r.symbol == \"B\""), [written]);
    assert_eq!(of("r._measurement == \"bar.1m.B\""), ["_result/0 _field=close _measurement=bar.1m.B: 1=2"]);
    assert_eq!(of("r._measurement =~ /^bar\\.1m\\./").len(), 2);
    assert_eq!(of("r._measurement != \"bar\""), ["_result/0 _field=v _measurement=metric component=c: 1=1"]);
    assert_eq!(
        of("r._measurement == \"metrics\""),
        ["_result/0 _field=v _measurement=metrics component=c: 1=1"]
    );
    assert_eq!(of("r._measurement == \"metric\" or r._measurement == \"bar\"").len(), 3);
}

#[test]
fn several_results_and_names() {
    let text = "import \"date\"\n// a comment\noption now = () => 1970-01-01T00:02:00Z\n\
                option v = {timeRangeStart: -1h, timeRangeStop: now(), windowPeriod: 1m, defaultBucket: \"b\"}\n\
                data = from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop) \
                |> filter(fn: (r) => r._field == \"usage\")\n\
                data |> aggregateWindow(every: v.windowPeriod, fn: count, createEmpty: false) |> yield(name: \"n\")\n\
                data |> last() |> yield(name: \"last\")";
    assert_eq!(
        ask_of(&cpu(), text, 1_000).unwrap(),
        [
            "n/0 Zone=x _field=usage _measurement=cpu host=a: 60=2 120=1",
            "n/1 _field=usage _measurement=cpu host=b: 60=1",
            "last/0 Zone=x _field=usage _measurement=cpu host=a: 61=3.25",
            "last/1 _field=usage _measurement=cpu host=b: 1=10",
        ]
    );
    let given = vec![("start".into(), Given::Time(0)), ("host".into(), Given::Text("b\" or true".into()))];
    let text = "from(bucket: \"b\") |> range(start: start) |> filter(fn: (r) => r.host == host)";
    let query = FluxQuery::parse(text, NOW, given).unwrap();
    let engine = cpu();
    let mut parts = 0;
    let count = &mut |_: Part<'_>| {
        parts += 1;
        Ok(())
    };
    run(&engine, &query, &Budget::default(), 10, &|_| true, count).unwrap();
    assert_eq!(parts, 1, "a value is never part of the text: there is an end, and no table");
}

#[test]
fn what_is_not_in_the_subset_is_told_plainly() {
    for (text, words) in [
        ("", "gives no result"),
        ("from(bucket: \"b\")", "cannot submit unbounded read"),
        ("from(bucket: \"b\") |> range(start: 10, stop: 0)", "cannot query an empty range"),
        (&format!("{FROM} |> foo()"), "`foo` is not in the subset"),
        (&format!("{FROM} |> group(columns: [\"host\"])"), "aggregateWindow"),
        (&format!("{FROM} |> map(fn: (r) => ({{r with x: 1}}))"), "expected"),
        (&format!("import \"math\"\n{FROM} |> math.abs()"), "`math.abs` is not in the subset"),
        (&format!("{FROM} |> aggregateWindow(every: 1m, fn: median)"), "undefined identifier median"),
        (&format!("{FROM} |> aggregateWindow(every: 0s, fn: mean)"), "a length above 0"),
        (&format!("{FROM} |> aggregateWindow(every: 1m, fn: mean)"), "unsupported input type for mean"),
        (&format!("{FROM} |> count() |> aggregateWindow(every: 1m, fn: mean)"), "no time"),
        (&format!("{FROM} |> limit(n: -1)"), "below 0"),
        (&format!("{FROM} |> limit(n: 1, column: \"x\")"), "the argument `column` of `limit`"),
        (&format!("{FROM} |> limit(n: 1, n: 1)"), "given twice"),
        (&format!("{FROM} |> filter(fn: (r) => r.host =~ /(/)"), "is none"),
        (&format!("{FROM} |> filter(fn: (r) => r.host > \"a\")"), "the order of tags"),
        (&format!("{FROM} |> filter(fn: (r) => r._value + 1 > 2)"), "the operator `+`"),
        (&format!("{FROM} |> filter(fn: (r) => r.host == \"${{x}}\")"), "an expression within a string"),
        (&format!("{FROM} |> filter(fn: (r) => {{ return r.host == \"a\" }})"), "a function with statements"),
        (&format!("{FROM}\n{FROM}"), "more than one result"),
        ("from(bucket: \"b\" |> range(", "error @1:"),
        ("x = 1 x", "stands alone"),
        ("from(bucket: \"b\") |> range(start: -99999y)", "further away than can be stored"),
        ("\u{1F980}", "is no part of Flux"),
    ] {
        let said = refused(text);
        assert!(said.contains(words), "{text}: {said}");
    }
}

#[test]
fn the_bounds_hold_at_their_edges() {
    let limit = |text: &str| ask_of(&cpu(), text, 1_000).map_err(|e| e.kind());
    let padded = |n: usize| format!("{FROM}{}", " ".repeat(n - FROM.len()));
    assert!(limit(&padded(QUERY_BYTES_MAX)).is_ok());
    assert_eq!(limit(&padded(QUERY_BYTES_MAX + 1)), Err(Kind::Limit));
    let words = |n: usize| format!("{FROM} |> filter(fn: (r) => {} true)", "true or ".repeat(n));
    let own = token::tokens(&words(0)).unwrap().len();
    let most = (TOKENS_MAX - own) / 2;
    // More words than bytes allow are short ones.
    let short = |n: usize| format!("{FROM} |> filter(fn: (r) => true){}", "[".repeat(n));
    assert_eq!(limit(&short(TOKENS_MAX)), Err(Kind::Limit));
    assert!(most > 1_000 && limit(&words(1_000)).is_ok());
    let deep = |n: usize| format!("{FROM} |> filter(fn: (r) => {}true{})", "(".repeat(n), ")".repeat(n));
    assert!(limit(&deep(60)).is_ok());
    assert_eq!(limit(&deep(64)), Err(Kind::Limit));
    for chain in [
        "-".repeat(5_000),
        "not ".repeat(5_000),
        "[".repeat(5_000),
        "a.".repeat(5_000) + "a",
        "a()".repeat(9_000),
    ] {
        assert!(limit(&chain).is_err());
    }
    let steps = |n: usize| format!("{FROM}{}", "|> limit(n: 9)".repeat(n));
    assert!(limit(&steps(STAGES_MAX)).is_ok());
    assert_eq!(limit(&steps(STAGES_MAX + 1)), Err(Kind::Limit));
    let results = |n: usize| (0..n).map(|i| format!("{FROM} |> yield(name: \"{i}\")\n")).collect::<String>();
    assert!(limit(&results(PIPELINES_MAX)).is_ok());
    assert_eq!(limit(&results(PIPELINES_MAX + 1)), Err(Kind::Limit));
    // Rows: 13 in all.
    assert!(ask_of(&cpu(), FROM, 13).is_ok());
    assert_eq!(ask_of(&cpu(), FROM, 12).unwrap_err().kind(), Kind::Limit);
    // A billion windows are not made.
    let empty = "from(bucket: \"b\") |> range(start: 0) |> filter(fn: (r) => r._field == \"usage\") |> aggregateWindow(every: 1ns, fn: mean)";
    assert_eq!(limit(empty), Err(Kind::Limit));
    assert_eq!(ask_of(&cpu(), &format!("{empty} |> limit(n: 2)"), 1_000).unwrap().len(), 2);
}

#[test]
fn what_may_not_be_read_is_not_there() {
    let e = engine("cpu,host=a v=1 1\ncpu,secret=s v=2 1\n");
    assert_eq!(ask(&e, "").len(), 1);
}

/// Words that Flux has, so that many random texts get far.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "from",
        "(",
        ")",
        "bucket",
        ":",
        "\"b\"",
        "|>",
        "range",
        "start",
        "0",
        "-1h",
        "1d",
        "filter",
        "fn",
        "r",
        "=>",
        "==",
        "=~",
        "/a/",
        "and",
        "or",
        "not",
        "exists",
        ".",
        "_value",
        "_field",
        "[",
        "]",
        "{",
        "}",
        ",",
        "aggregateWindow",
        "every",
        "mean",
        "limit",
        "n",
        "pivot",
        "yield",
        "import",
        "option",
        "now",
        "=",
        "2020-01-01T00:00:00Z",
        "1.5",
        "-",
        "9223372036854775807",
        "true",
        "sort",
        "\n",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|w| w.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ask_of(&ModelEngine::default(), &String::from_utf8_lossy(&bytes), 10);
    }

    #[test]
    fn no_words_bring_it_down(text in words()) {
        let _ = ask_of(&cpu(), &format!("{FROM} |> {text}"), 100);
        let _ = ask_of(&cpu(), &text, 100);
    }

    /// Any piece of a good query, with any byte changed.
    #[test]
    fn no_change_brings_it_down(cut in 0_usize..400, at in 0_usize..400, byte in any::<u8>()) {
        let good = "import \"x\"\nv = {a: [1, 2.5, \"µ\"], b: -1mo}\nfrom(bucket: \"b\") |> range(start: v.b, stop: now()) |> filter(fn: (r) => \
            (r._field =~ /a\\/b/ or not exists r[\"t\"]) and r._value >= -1.5) |> aggregateWindow(every: 1mo, fn: max, offset: -3d) |> pivot(rowKey: \
            [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\") |> sort(columns: [\"x\"]) |> limit(n: 3, offset: 1) |> yield(name: \"n\")";
        prop_assert!(ask_of(&cpu(), good, 100).is_ok());
        let mut bytes = good.as_bytes().get(..cut.min(good.len())).unwrap().to_vec();
        if let Some(b) = bytes.get_mut(at) {
            *b = byte;
        }
        let _ = ask_of(&cpu(), &String::from_utf8_lossy(&bytes), 100);
    }

    /// Whatever a tag holds, its literal finds exactly it.
    #[test]
    fn a_text_finds_what_it_names(value in "[^\\n\\r\\x00]{1,20}") {
        prop_assume!(!value.ends_with('\\') && !value.starts_with('#'));
        let literal: String = value.chars().map(|c| match c {
            '"' | '\\' | '$' => format!("\\{c}"),
            c => c.to_string(),
        }).collect();
        let tags = vec![("t".to_string(), value)];
        let key = SeriesKey::new("b", "m", tags).unwrap();
        let columns = vec![crate::series::Column::float("v", vec![1.0])];
        let other = SeriesKey::new("b", "m", vec![("t".into(), "other than any".into())]).unwrap();
        let engine = ModelEngine::default();
        for key in [key, other] {
            let frame = crate::series::Frame { times: vec![1], columns: columns.clone() };
            engine.write(crate::series::WriteBatch { series: vec![(key, frame)] }).unwrap();
        }
        let steps = format!("|> filter(fn: (r) => r.t == \"{literal}\")");
        prop_assert_eq!(ask(&engine, &steps).len(), 1);
    }
}
