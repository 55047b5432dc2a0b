//! What is there, what is newest, and deletes.

use super::*;

pub(super) fn latest_is_per_field(engine: &dyn SeriesEngine, bucket: &str) {
    let (a, b) = (key(bucket, "m.A", &[("s", "A")]), key(bucket, "m.B", &[("s", "B")]));
    write(engine, &b, frame(&[7], vec![floats("v", &[70.0])]));
    write(engine, &a, frame(&[3, 1, 2], vec![floats("v", &[3.0, 1.0, 2.0])]));
    write(engine, &a, frame(&[2], vec![Column::new("w", Values::Integer(vec![20]))]));
    write(engine, &a, frame(&[1], vec![Column::new("z", Values::String(vec!["early".into()]))]));
    let latest = engine.latest(&select(bucket, "m.*", &[])).unwrap();
    assert_eq!(latest.iter().map(|l| &l.key).collect::<Vec<_>>(), [&a, &b], "ordered by key");
    let fields = |at: usize| -> BTreeMap<String, (i64, String)> {
        latest[at].fields.iter().map(|f| (f.name.clone(), (f.time, shown(&f.value)))).collect()
    };
    let wanted = [("v", 3, "f 3.0"), ("w", 2, "i 20"), ("z", 1, "s early")];
    assert_eq!(fields(0), wanted.iter().map(|(n, t, v)| (n.to_string(), (*t, v.to_string()))).collect());
    assert_eq!(fields(1)["v"], (7, "f 70.0".to_string()));
    // The newest is overwritten, then deleted.
    write(engine, &a, frame(&[3], vec![floats("v", &[33.0])]));
    let of_v = |engine: &dyn SeriesEngine| {
        let said = engine.latest(&select(bucket, "*", &[("s", "A")])).unwrap();
        said[0].fields.iter().find(|f| f.name == "v").map(|f| (f.time, shown(&f.value))).unwrap()
    };
    assert_eq!(of_v(engine), (3, "f 33.0".into()));
    engine.delete(&select(bucket, "m.A", &[]), range(3, 4)).unwrap();
    assert_eq!(of_v(engine), (2, "f 2.0".into()));
}

pub(super) fn list(engine: &dyn SeriesEngine, bucket: &str) {
    let (a, b) = (key(bucket, "bar.1m.A", &[("s", "A")]), key(bucket, "bar.1m.B", &[]));
    write(engine, &b, frame(&[5, 6, 7], vec![floats("v", &[1.0, 2.0, 3.0])]));
    let columns = vec![floats("v", &[1.0, 2.0]), Column::new("n", Values::Integer(vec![1, 2]))];
    write(engine, &a, frame(&[-4, 9], columns));
    // A row of other fields counts as a row.
    write(engine, &a, frame(&[1], vec![Column::new("s", Values::String(vec!["x".into()]))]));
    let listed = engine.list(&select(bucket, "*", &[])).unwrap();
    assert_eq!(listed.iter().map(|i| &i.key).collect::<Vec<_>>(), [&a, &b], "ordered by key");
    let of = |at: usize| (listed[at].rows, listed[at].min_time, listed[at].max_time);
    assert_eq!(of(0), (3, Some(-4), Some(9)));
    assert_eq!(of(1), (3, Some(5), Some(7)));
    let fields: BTreeMap<_, _> = listed[0].fields.iter().cloned().collect();
    let wanted = [("n", FieldType::Integer), ("s", FieldType::String), ("v", FieldType::Float)];
    assert_eq!(fields, wanted.iter().map(|(n, t)| (n.to_string(), *t)).collect());
}

pub(super) fn selectors(engine: &dyn SeriesEngine, bucket: &str) {
    let all = [
        key(bucket, "bar.1m.A", &[("x", "1"), ("y", "1")]),
        key(bucket, "bar.1m.A", &[("x", "2")]),
        key(bucket, "bar.5m.A", &[("x", "1")]),
        key(bucket, "tick.A", &[]),
    ];
    for key in &all {
        write(engine, key, frame(&[1], vec![floats("v", &[1.0])]));
    }
    let found = |measurement: &str, tags: &[(&str, &str)]| -> Vec<usize> {
        let keys: Vec<SeriesKey> =
            engine.list(&select(bucket, measurement, tags)).unwrap().into_iter().map(|i| i.key).collect();
        all.iter().enumerate().filter(|(_, k)| keys.contains(k)).map(|(i, _)| i).collect()
    };
    assert_eq!(found("*", &[]), [0, 1, 2, 3]);
    assert_eq!(found("bar.*", &[]), [0, 1, 2]);
    assert_eq!(found("bar.1m.A", &[]), [0, 1]);
    assert_eq!(found("*.A", &[("x", "1")]), [0, 2]);
    assert_eq!(found("*", &[("x", "1"), ("y", "1")]), [0]);
    assert_eq!(found("*", &[("x", "3")]), [] as [usize; 0]);
    assert_eq!(found("*", &[("x", "")]), [] as [usize; 0]);
    assert_eq!(found("bar", &[]), [] as [usize; 0]);
    let everywhere = Selector { bucket: None, measurement: Some("tick.A".into()), tags: Vec::new() };
    assert!(engine.list(&everywhere).unwrap().iter().any(|i| i.key == all[3]));
    let of_bucket = Selector { bucket: Some(bucket.into()), ..Selector::default() };
    assert_eq!(engine.list(&of_bucket).unwrap().len(), all.len());
}

pub(super) fn delete_a_range(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    let times: Vec<i64> = (0..10).collect();
    write(engine, &key, frame(&times, vec![floats("v", &[1.0; 10]), floats("w", &[2.0; 10])]));
    let left = |engine: &dyn SeriesEngine| rows(engine, &key).into_keys().collect::<Vec<_>>();
    let said = engine.delete(&select(bucket, "m", &[]), range(3, 6)).unwrap();
    assert_eq!(said.series, 1);
    assert!(said.rows.is_none_or(|n| n == 3), "{said:?}");
    assert_eq!(left(engine), [0, 1, 2, 6, 7, 8, 9]);
    engine.delete(&select(bucket, "m", &[]), range(6, 6)).unwrap();
    engine.delete(&select(bucket, "m", &[]), range(9, 9)).unwrap();
    assert_eq!(left(engine), [0, 1, 2, 6, 7, 8, 9]);
    engine.delete(&select(bucket, "m", &[]), range(-100, 1)).unwrap();
    engine.delete(&select(bucket, "m", &[]), range(9, 100)).unwrap();
    assert_eq!(left(engine), [1, 2, 6, 7, 8]);
    // Again, what is gone stays gone, and what is written anew is there.
    engine.delete(&select(bucket, "m", &[]), range(3, 6)).unwrap();
    write(engine, &key, frame(&[4], vec![floats("v", &[4.0])]));
    assert_eq!(left(engine), [1, 2, 4, 6, 7, 8]);
}

pub(super) fn delete_by_pattern(engine: &dyn SeriesEngine, bucket: &str) {
    let names = ["bar.1m.A", "bar.1m.B", "bar.5m.A", "tick.A"];
    for name in names {
        write(engine, &key(bucket, name, &[]), frame(&[1, 2], vec![floats("v", &[1.0, 2.0])]));
    }
    let said = engine.delete(&select(bucket, "bar.1m.*", &[]), range(0, 2)).unwrap();
    assert_eq!(said.series, 2);
    assert!(said.rows.is_none_or(|n| n == 2), "{said:?}");
    let left = names.map(|n| rows(engine, &key(bucket, n, &[])).len());
    assert_eq!(left, [1, 1, 2, 2]);
    engine.delete(&select(bucket, "*", &[]), TimeRange::ALL).unwrap();
    assert_eq!(names.map(|n| rows(engine, &key(bucket, n, &[])).len()), [0; 4]);
}

pub(super) fn delete_by_tag(engine: &dyn SeriesEngine, bucket: &str) {
    let all = [
        key(bucket, "m", &[("x", "1")]),
        key(bucket, "m", &[("x", "1"), ("y", "2")]),
        key(bucket, "m", &[("x", "2"), ("y", "2")]),
        key(bucket, "n", &[("x", "1")]),
        key(bucket, "m", &[]),
    ];
    for key in &all {
        write(engine, key, frame(&[1, 2, 3], vec![floats("v", &[1.0, 2.0, 3.0])]));
    }
    let left = |engine: &dyn SeriesEngine| all.each_ref().map(|k| rows(engine, k).len());
    assert_eq!(engine.delete(&select(bucket, "m", &[("x", "1")]), range(1, 2)).unwrap().series, 2);
    assert_eq!(left(engine), [2, 2, 3, 3, 3]);
    engine.delete(&select(bucket, "m", &[("y", "2"), ("x", "1")]), range(2, 3)).unwrap();
    assert_eq!(left(engine), [2, 1, 3, 3, 3]);
    engine.delete(&select(bucket, "*", &[("x", "1")]), TimeRange::ALL).unwrap();
    assert_eq!(left(engine), [0, 0, 3, 0, 3]);
}
