//! Rows in, rows out.

use super::*;

pub(super) fn every_type_comes_back(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[("a", "1"), ("b", "2")]);
    let columns = vec![
        floats("f", &[1.5, -0.25]),
        Column::new("i", Values::Integer(vec![-7, 7])),
        Column::new("u", Values::Unsigned(vec![0, 7])),
        Column::new("b", Values::Boolean(vec![true, false])),
        Column::new("s", Values::String(vec!["one".into(), "two".into()])),
        gappy("g", &[None, Some(0.5)]),
    ];
    assert_eq!(write(engine, &key, frame(&[10, 20], columns)).written, 2);
    assert_eq!(
        rows(engine, &key),
        want(&[
            (10, &[("f", "f 1.5"), ("i", "i -7"), ("u", "u 0"), ("b", "b true"), ("s", "s one")]),
            (
                20,
                &[
                    ("f", "f -0.25"),
                    ("i", "i 7"),
                    ("u", "u 7"),
                    ("b", "b false"),
                    ("s", "s two"),
                    ("g", "f 0.5")
                ]
            ),
        ])
    );
}

pub(super) fn unordered_and_repeated_times(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let columns = vec![floats("v", &[3.0, 1.0, 2.0, 9.0]), gappy("w", &[Some(30.0), None, Some(20.0), None])];
    write(engine, &key, frame(&[3, 1, 2, 3], columns));
    assert_eq!(
        rows(engine, &key),
        want(&[
            (1, &[("v", "f 1.0")]),
            (2, &[("v", "f 2.0"), ("w", "f 20.0")]),
            (3, &[("v", "f 9.0"), ("w", "f 30.0")]),
        ])
    );
}

pub(super) fn last_wins_and_fields_merge(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[("s", "A")]);
    write(engine, &key, frame(&[1, 2], vec![floats("a", &[1.0, 2.0])]));
    write(engine, &key, frame(&[2, 3], vec![floats("b", &[20.0, 30.0])]));
    write(engine, &key, frame(&[1], vec![floats("a", &[-1.0])]));
    assert_eq!(
        rows(engine, &key),
        want(&[(1, &[("a", "f -1.0")]), (2, &[("a", "f 2.0"), ("b", "f 20.0")]), (3, &[("b", "f 30.0")])])
    );
}

pub(super) fn late_data(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let day = 86_400_000_000_000;
    for (at, value) in [(100, 1.0), (50, 2.0), (75, 3.0), (1, 4.0), (99, 5.0)] {
        write(engine, &key, frame(&[at * day], vec![floats("v", &[value])]));
    }
    let found: Vec<(i64, String)> =
        rows(engine, &key).into_iter().map(|(t, r)| (t / day, r["v"].clone())).collect();
    let wanted = [(1, "f 4.0"), (50, "f 2.0"), (75, "f 3.0"), (99, "f 5.0"), (100, "f 1.0")];
    assert_eq!(found, wanted.map(|(t, v)| (t, v.to_string())));
}

pub(super) fn fields_are_chosen(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let columns = vec![floats("a", &[1.0, 2.0]), floats("b", &[3.0, 4.0]), gappy("c", &[None, Some(5.0)])];
    write(engine, &key, frame(&[1, 2], columns));
    let of = |fields: &[&str]| rows_in(engine, &key, TimeRange::ALL, Some(fields));
    assert_eq!(of(&["b"]), want(&[(1, &[("b", "f 3.0")]), (2, &[("b", "f 4.0")])]));
    assert_eq!(
        of(&["c", "a", "none"]),
        want(&[(1, &[("a", "f 1.0")]), (2, &[("a", "f 2.0"), ("c", "f 5.0")])])
    );
    assert_eq!(of(&["c"]), want(&[(2, &[("c", "f 5.0")])]));
    assert_eq!(of(&["none"]), Rows::new());
    assert_eq!(of(&[]), Rows::new());
}

pub(super) fn ranges_are_half_open(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    write(engine, &key, frame(&[-10, 0, 10, 20], vec![floats("v", &[1.0, 2.0, 3.0, 4.0])]));
    for (start, end, times) in [
        (-10, 20, vec![-10, 0, 10]),
        (-10, 21, vec![-10, 0, 10, 20]),
        (-9, 1, vec![0]),
        (0, 0, vec![]),
        (0, 1, vec![0]),
        (1, 10, vec![]),
        (20, 21, vec![20]),
        (21, 1_000, vec![]),
        (i64::MIN, -10, vec![]),
        (i64::MIN, i64::MAX, vec![-10, 0, 10, 20]),
    ] {
        let found: Vec<i64> = rows_in(engine, &key, range(start, end), None).into_keys().collect();
        assert_eq!(found, times, "{start}..{end}");
    }
}

pub(super) fn nothing_is_an_answer(engine: &dyn SeriesEngine, bucket: &str) {
    let absent = key(bucket, "m", &[]);
    for _ in 0..2 {
        assert_eq!(rows(engine, &absent), Rows::new());
        assert_eq!(engine.latest(&select(bucket, "m", &[])).unwrap(), []);
        assert_eq!(engine.list(&select(bucket, "*", &[])).unwrap(), []);
        assert_eq!(engine.delete(&select(bucket, "m", &[]), TimeRange::ALL).unwrap().series, 0);
        assert_eq!(engine.write(WriteBatch::default()).unwrap(), WriteReport::default());
        // Again, with a bucket that exists and had something.
        write(engine, &key(bucket, "other", &[]), frame(&[1], vec![floats("v", &[1.0])]));
        assert_eq!(rows(engine, &key(bucket, "other", &[])).len(), 1);
        engine.delete(&select(bucket, "other", &[]), TimeRange::ALL).unwrap();
        assert_eq!(rows(engine, &key(bucket, "other", &[])), Rows::new());
    }
    assert_eq!(engine.latest(&select(bucket, "other", &[])).unwrap(), []);
}

pub(super) fn a_series_is_exact(engine: &dyn SeriesEngine, bucket: &str) {
    let series = [
        key(bucket, "m", &[]),
        key(bucket, "m", &[("a", "1")]),
        key(bucket, "m", &[("a", "1"), ("b", "2")]),
        key(bucket, "m", &[("a", "2")]),
        key(bucket, "m", &[("b", "2")]),
        key(bucket, "mm", &[("a", "1")]),
    ];
    for (i, key) in series.iter().enumerate() {
        write(engine, key, frame(&[5], vec![floats("v", &[i as f64])]));
    }
    for (i, key) in series.iter().enumerate() {
        assert_eq!(rows(engine, key), want(&[(5, &[("v", &format!("f {i}.0"))])]), "{key}");
    }
    assert_eq!(rows(engine, &key(bucket, "m", &[("a", "3")])), Rows::new());
}

pub(super) fn buckets_are_apart(engine: &dyn SeriesEngine, bucket: &str) {
    let other = format!("{bucket}, the other/one");
    write(engine, &key(bucket, "m", &[]), frame(&[1], vec![floats("v", &[1.0])]));
    write(engine, &key(&other, "m", &[]), frame(&[1], vec![Column::new("v", Values::Integer(vec![2]))]));
    assert_eq!(rows(engine, &key(bucket, "m", &[])), want(&[(1, &[("v", "f 1.0")])]));
    assert_eq!(rows(engine, &key(&other, "m", &[])), want(&[(1, &[("v", "i 2")])]));
    engine.delete(&select(bucket, "*", &[]), TimeRange::ALL).unwrap();
    assert_eq!(rows(engine, &key(bucket, "m", &[])), Rows::new());
    assert_eq!(rows(engine, &key(&other, "m", &[])).len(), 1);
}

pub(super) fn sparse_fields(engine: &dyn SeriesEngine, bucket: &str) {
    // Fields of very different density, with a gap of years: pages must not tear rows apart.
    let key = key(bucket, "m", &[]);
    let minute = 60_000_000_000;
    let year = 365 * 1_440 * minute;
    let mut times: Vec<i64> = (0..5_000).map(|i| i * minute).collect();
    times.extend((0..300).map(|i| 10 * year + i * minute));
    let every = |n: i64| -> Column {
        gappy(
            &format!("every {n}"),
            &times.iter().map(|t| (t / minute % n == 0).then_some(*t as f64)).collect::<Vec<_>>(),
        )
    };
    write(engine, &key, frame(&times, vec![every(1), every(7), every(1_000)]));
    let found = rows(engine, &key);
    assert_eq!(found.len(), times.len());
    for (t, row) in &found {
        let fields = [1, 7, 1_000].iter().filter(|n| t / minute % **n == 0).count();
        assert_eq!(row.len(), fields, "{t}");
    }
    assert_eq!(rows_in(engine, &key, range(9 * year, 11 * year), None).len(), 300);
    let rare = rows_in(engine, &key, TimeRange::ALL, Some(&["every 1000"]));
    assert_eq!(rare.len(), times.iter().filter(|t| **t / minute % 1_000 == 0).count());
}

pub(super) fn rewriting_changes_nothing(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[("s", "A")]);
    let times: Vec<i64> = (0..1_000).map(|i| i * 1_000).collect();
    let values: Vec<f64> = times.iter().map(|t| *t as f64 / 7.0).collect();
    let batch = || frame(&times, vec![floats("v", &values)]);
    assert_eq!(write(engine, &key, batch()).written, 1_000);
    let once = rows(engine, &key);
    for _ in 0..3 {
        assert_eq!(write(engine, &key, batch()).written, 1_000);
    }
    assert_eq!(rows(engine, &key), once);
    engine.seal().unwrap();
    engine.compact().unwrap();
    assert_eq!(rows(engine, &key), once);
    assert_eq!(engine.list(&select(bucket, "m", &[])).unwrap()[0].rows, 1_000);
    assert_eq!(engine.verify(&Budget::default()).unwrap(), []);
}

pub(super) fn a_large_batch(engine: &dyn SeriesEngine, bucket: &str) {
    const ROWS: usize = 20_000;
    let key = key(bucket, "bar.1m.A", &[("symbol", "A")]);
    let times: Vec<i64> = (0..ROWS as i64).map(|i| 1_600_000_000_000_000_000 + i * 60_000_000_000).collect();
    let price: Vec<f64> = (0..ROWS).map(|i| 100.0 + (i % 997) as f64 / 100.0).collect();
    let volume: Vec<i64> = (0..ROWS as i64).map(|i| i * i).collect();
    let columns = vec![floats("close", &price), Column::new("volume", Values::Integer(volume.clone()))];
    assert_eq!(write(engine, &key, frame(&times, columns)).written, ROWS as u64);
    let mut at = 0;
    for frame in engine.scan(&key, TimeRange::ALL, None, &Budget::default()).unwrap() {
        let frame = frame.unwrap();
        for row in 0..frame.len() {
            assert_eq!(frame.times[row], times[at]);
            assert_eq!(frame.column("close").unwrap().get(row), Some(Value::Float(price[at])));
            assert_eq!(frame.column("volume").unwrap().get(row), Some(Value::Integer(volume[at])));
            at += 1;
        }
    }
    assert_eq!(at, ROWS);
    let info = &engine.list(&select(bucket, "*", &[])).unwrap()[0];
    assert_eq!(
        (info.rows, info.min_time, info.max_time),
        (ROWS as u64, Some(times[0]), times.last().copied())
    );
    assert_eq!(rows_in(engine, &key, range(times[777], times[19_000]), None).len(), 19_000 - 777);
}

pub(super) fn many_series(engine: &dyn SeriesEngine, bucket: &str) {
    const SERIES: usize = 500;
    let keys: Vec<SeriesKey> = (0..SERIES)
        .map(|i| key(bucket, &format!("bar.1m.S{:03}", i / 5), &[("venue", &format!("V{}", i % 5))]))
        .collect();
    let series = keys
        .iter()
        .enumerate()
        .map(|(i, k)| (k.clone(), frame(&[1, 2], vec![floats("v", &[i as f64, 0.0])])));
    assert_eq!(engine.write(WriteBatch { series: series.collect() }).unwrap().written, 2 * SERIES as u64);
    let listed = engine.list(&select(bucket, "*", &[])).unwrap();
    assert_eq!(listed.iter().map(|i| &i.key).collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    assert!(listed.iter().all(|i| i.rows == 2));
    assert_eq!(engine.latest(&select(bucket, "bar.1m.S01*", &[("venue", "V3")])).unwrap().len(), 10);
    for i in [0, 1, 77, SERIES - 1] {
        assert_eq!(rows(engine, &keys[i])[&1]["v"], format!("f {i}.0"));
    }
    assert!(engine.stats().unwrap().rows_written >= 2 * SERIES as u64);
}

pub(super) fn writers_side_by_side(engine: &dyn SeriesEngine, bucket: &str) {
    const WRITERS: i64 = 4;
    const BATCHES: i64 = 5;
    const ROWS: i64 = 200;
    let key = key(bucket, "m", &[]);
    std::thread::scope(|s| {
        for writer in 0..WRITERS {
            let key = &key;
            s.spawn(move || {
                for batch in 0..BATCHES {
                    let first = (writer * BATCHES + batch) * ROWS;
                    let times: Vec<i64> = (first..first + ROWS).collect();
                    write(engine, key, frame(&times, vec![floats("v", &[writer as f64; ROWS as usize])]));
                    assert!(rows_in(engine, key, range(first, first + ROWS), None).len() == ROWS as usize);
                }
            });
        }
    });
    let found = rows(engine, &key);
    assert_eq!(found.len() as i64, WRITERS * BATCHES * ROWS);
    assert!(found.iter().all(|(t, r)| r["v"] == format!("f {}.0", t / (BATCHES * ROWS))));
}

pub(super) fn budgets_end_a_scan(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    write(engine, &key, frame(&[1, 2], vec![floats("v", &[1.0, 2.0])]));
    let said = |budget: Budget| -> crate::Result<Vec<Frame>> {
        engine.scan(&key, TimeRange::ALL, None, &budget)?.collect()
    };
    let late = Budget { deadline: Some(Instant::now()), ..Budget::default() };
    assert_eq!(said(late).unwrap_err().kind(), Kind::Timeout);
    let cancelled = Budget { cancel: Some(Arc::new(AtomicBool::new(true))), ..Budget::default() };
    assert_eq!(said(cancelled).unwrap_err().kind(), Kind::Cancelled);
    let enough = Budget { rows_max: Some(2), ..Budget::default() };
    assert_eq!(said(enough).unwrap().iter().map(Frame::len).sum::<usize>(), 2);
}
