//! The executor against definitions that are obviously right.

use super::*;

/// Of the quantiles below.
const QUANTILE: f64 = 0.3;

/// What an aggregate is, by its definition, over the values of one window.
fn naive(function: Function, values: &[Value]) -> Option<Value> {
    let numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
    let sum: f64 = numbers.iter().sum();
    let n = numbers.len() as f64;
    match function {
        Function::Count => Some(Value::Integer(values.len() as i64)),
        _ if values.is_empty() => None,
        Function::First => values.first().cloned(),
        Function::Last => values.last().cloned(),
        Function::Min => numbers.iter().copied().reduce(f64::min).map(Value::Float),
        Function::Max => numbers.iter().copied().reduce(f64::max).map(Value::Float),
        Function::Sum => Some(Value::Float(sum)),
        Function::Mean => Some(Value::Float(sum / n)),
        Function::Quantile => {
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let place = QUANTILE * (n - 1.0);
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            Some(Value::Float(sorted[below] + (sorted[above] - sorted[below]) * place.fract()))
        }
        Function::Stddev if values.len() < 2 => None,
        Function::Stddev => {
            let mean = sum / n;
            let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
            Some(Value::Float((squares / (n - 1.0)).sqrt()))
        }
    }
}

fn close_to(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(x), Some(y)) => (x - y).abs() <= 1e-9 * (1.0 + x.abs().max(y.abs())),
            _ => a == b,
        },
        (a, b) => a == b,
    }
}

fn a_row() -> impl Strategy<Value = Row> {
    let float = || (-1_000_i32..1_000).prop_map(|c| Value::Float(f64::from(c) / 8.0));
    (
        prop::option::weighted(0.8, float()),
        prop::option::weighted(0.5, (-50_i64..50).prop_map(Value::Integer)),
        prop::option::weighted(0.3, "[a-c]".prop_map(Value::String)),
    )
        .prop_map(|(f, i, s)| {
            [("f", f), ("i", i), ("s", s)]
                .into_iter()
                .filter_map(|(k, v)| Some((k.to_string(), v?)))
                .collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn windows_agree_with_their_definition(
        // Around the end of summer time in New York, minutes.
        rows in prop::collection::btree_map(0_i64..12_000, a_row(), 0..60),
        frame_rows in 1_usize..9,
        every in prop::sample::select(vec!["15m", "1h", "4h", "1d", "1w", "1mo"]),
        zone in prop::sample::select(vec!["UTC", "America/New_York", "Asia/Kolkata"]),
        range in (0_i64..12_000, 0_i64..12_000),
        descending: bool,
        limit in prop::option::of(1_u64..20),
    ) {
        let begin = ns("2024-10-30T00:00:00Z");
        let rows: BTreeMap<i64, Row> =
            rows.into_iter().filter(|(_, r)| !r.is_empty()).map(|(m, r)| (begin + m * MINUTE, r)).collect();
        let engine = ModelEngine::with_frame_rows(frame_rows);
        let all: Vec<(i64, Row)> = rows.iter().map(|(t, r)| (*t, r.clone())).collect();
        engine.write(WriteBatch { series: vec![(key("m", &[]), frame_of(&all))] }).unwrap();

        let (start, end) = (begin + range.0.min(range.1) * MINUTE, begin + range.0.max(range.1) * MINUTE);
        let functions = [
            ("f", Function::First), ("f", Function::Last), ("f", Function::Min), ("f", Function::Max),
            ("f", Function::Sum), ("f", Function::Mean), ("f", Function::Count), ("f", Function::Stddev),
            ("f", Function::Quantile), ("i", Function::Quantile), ("i", Function::Sum), ("i", Function::Min), ("i", Function::Mean), ("s", Function::First),
            ("s", Function::Last), ("s", Function::Count),
        ];
        let known: Vec<(&str, Function)> =
            functions.into_iter().filter(|(f, _)| rows.values().any(|r| r.contains_key(*f))).collect();
        let aggregates: Vec<Aggregate> =
            known.iter().map(|(f, function)| {
                let q = (*function == Function::Quantile).then_some(QUANTILE);
                Aggregate { field: f.to_string(), function: *function, q }
            }).collect();
        prop_assume!(!aggregates.is_empty());
        let q = Query {
            start: Some(start.into()),
            end: Some(end.into()),
            window: Some(Window { every: every.into(), aggregates }),
            timezone: Some(zone.into()),
            descending,
            limit,
            ..query("m")
        };
        let table = ask(&engine, &q);

        let (timeframe, tz): (Timeframe, Tz) = (every.parse().unwrap(), zone.parse().unwrap());
        let mut windows: BTreeMap<i64, Vec<&Row>> = BTreeMap::new();
        for (time, row) in rows.range(start..end) {
            if known.iter().any(|(f, _)| row.contains_key(*f)) {
                windows.entry(timeframe.floor(*time, tz)).or_default().push(row);
            }
        }
        let mut want: Vec<(i64, Vec<Option<Value>>)> = windows
            .into_iter()
            .map(|(time, rows)| {
                let cell = |(field, function): &(&str, Function)| {
                    let values: Vec<Value> = rows.iter().filter_map(|r| r.get(*field).cloned()).collect();
                    naive(*function, &values)
                };
                (time, known.iter().map(cell).collect())
            })
            .collect();
        if descending {
            want.reverse();
        }
        let count = want.len();
        want.truncate(limit.map_or(usize::MAX, |l| l as usize));
        prop_assert_eq!(table.truncated, want.len() < count);
        prop_assert_eq!(&table.frame.times, &want.iter().map(|(t, _)| *t).collect::<Vec<_>>());
        for (i, (_, cells)) in want.iter().enumerate() {
            for (cell, column) in cells.iter().zip(&table.frame.columns) {
                prop_assert!(close_to(column.get(i).as_ref(), cell.as_ref()), "{} {:?} {:?}", column.name, column.get(i), cell);
            }
        }
    }

    #[test]
    fn rows_agree_with_the_model(
        rows in prop::collection::btree_map(0_i64..500, a_row(), 0..80),
        frame_rows in 1_usize..20,
        range in (0_i64..500, 0_i64..500),
        fields in prop::option::of(prop::sample::subsequence(vec!["f", "i", "s"], 1..3)),
        descending: bool,
        limit in prop::option::of(1_u64..30),
    ) {
        // Times that cluster, so that a search from the end misses at first.
        let rows: Vec<(i64, Row)> =
            rows.into_iter().filter(|(_, r)| !r.is_empty()).map(|(t, r)| (t * t * t, r)).collect();
        let engine = ModelEngine::with_frame_rows(frame_rows);
        engine.write(WriteBatch { series: vec![(key("m", &[]), frame_of(&rows))] }).unwrap();
        let (start, end) = (range.0.min(range.1).pow(3), range.0.max(range.1).pow(3));
        let fields: Option<Vec<String>> = fields
            .map(|f| f.into_iter().filter(|f| rows.iter().any(|(_, r)| r.contains_key(*f))).map(String::from).collect::<Vec<_>>())
            .filter(|f| !f.is_empty());
        let q = Query {
            start: Some(start.into()), end: Some(end.into()), fields: fields.clone(), descending, limit,
            ..query("m")
        };
        let table = ask(&engine, &q);
        let mut want: Vec<(i64, Row)> = rows
            .into_iter()
            .filter(|(t, _)| start <= *t && *t < end)
            .map(|(t, mut r)| {
                r.retain(|name, _| fields.as_ref().is_none_or(|f| f.contains(name)));
                (t, r)
            })
            .filter(|(_, r)| !r.is_empty())
            .collect();
        if descending {
            want.reverse();
        }
        let count = want.len();
        want.truncate(limit.map_or(usize::MAX, |l| l as usize));
        prop_assert_eq!(table.truncated, want.len() < count);
        let got: Vec<(i64, Row)> = (0..table.rows())
            .map(|i| {
                let cells = table.frame.columns.iter().filter_map(|c| Some((c.name.clone(), c.get(i)?)));
                (table.frame.times[i], cells.collect())
            })
            .collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_text_of_a_time_panics(text in "[-0-9T:Z+. ]{0,30}") {
        let _ = parse_time("t", &text, Tz::America__New_York);
    }
}
