//! A field keeps the type of its first write.

use super::*;

pub(super) fn conflicts_are_counted(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[("s", "A")]);
    write(engine, &key, frame(&[1], vec![floats("v", &[1.0]), floats("w", &[1.0])]));
    // Another series of the measurement: the type is the measurement's. Only rows with the field are refused.
    let other = self::key(bucket, "m", &[("s", "B")]);
    let mut v = Column::new("v", Values::Integer(vec![5, 0, 5, 0]));
    v.valid = Some(vec![true, false, true, false]);
    let said =
        try_write(engine, &other, frame(&[1, 2, 3, 4], vec![v, floats("w", &[1.0, 2.0, 3.0, 4.0])])).unwrap();
    assert_eq!((said.written, said.dropped), (2, 2));
    assert_eq!(said.conflicts.len(), 1);
    let conflict = &said.conflicts[0];
    assert_eq!(
        (conflict.bucket.as_str(), conflict.measurement.as_str(), conflict.field.as_str()),
        (bucket, "m", "v")
    );
    assert_eq!((conflict.have, conflict.got), (FieldType::Float, FieldType::Integer));
    assert_eq!(rows(engine, &other), want(&[(2, &[("w", "f 2.0")]), (4, &[("w", "f 4.0")])]));
    assert_eq!(rows(engine, &key).len(), 1);
    // Every other type is refused, too, and another measurement is free.
    for values in [Values::Unsigned(vec![1]), Values::Boolean(vec![true]), Values::String(vec!["1.0".into()])]
    {
        let got = values.field_type();
        let said = try_write(engine, &key, frame(&[9], vec![Column::new("v", values)])).unwrap();
        assert_eq!((said.written, said.dropped, said.conflicts.len()), (0, 1, 1));
        assert_eq!(said.conflicts[0].got, got);
    }
    write(
        engine,
        &self::key(bucket, "n", &[]),
        frame(&[1], vec![Column::new("v", Values::Integer(vec![1]))]),
    );
}

pub(super) fn conflicts_within_one_batch(engine: &dyn SeriesEngine, bucket: &str) {
    let (a, b) = (key(bucket, "m", &[("s", "A")]), key(bucket, "m", &[("s", "B")]));
    let batch = WriteBatch {
        series: vec![
            (a.clone(), frame(&[1, 2], vec![floats("v", &[1.0, 2.0])])),
            (b.clone(), frame(&[1, 2, 3], vec![Column::new("v", Values::Boolean(vec![true; 3]))])),
        ],
    };
    assert_eq!(engine.takes(&batch).unwrap_err().kind(), Kind::Conflict);
    assert!(rows(engine, &a).is_empty(), "a look writes nothing");
    let said = engine.write(batch).unwrap();
    assert_eq!((said.written, said.dropped, said.conflicts.len()), (2, 3, 1), "the first one decides");
    assert_eq!((rows(engine, &a).len(), rows(engine, &b).len()), (2, 0));
}

pub(super) fn a_type_holds_for_all_times(engine: &dyn SeriesEngine, bucket: &str) {
    let key = key(bucket, "m", &[]);
    write(engine, &key, frame(&[0], vec![floats("v", &[1.0])]));
    let years = 50 * 365 * 86_400_000_000_000;
    let said =
        try_write(engine, &key, frame(&[years], vec![Column::new("v", Values::Integer(vec![1]))])).unwrap();
    assert_eq!((said.written, said.dropped), (0, 1));
    assert_eq!(rows(engine, &key).len(), 1);
}
