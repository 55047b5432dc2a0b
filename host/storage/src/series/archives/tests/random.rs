//! Random writes, deletions, archives and restores: always the rows of a model.

use super::*;
use crate::series::model_engine::ModelEngine;
use proptest::prelude::*;

/// Slots of an hour, over three months.
const SLOTS: i64 = 90 * 24;

#[derive(Debug, Clone)]
enum Op {
    Write(u8, Vec<(i64, u8, i64)>),
    Delete(u8, i64, i64),
    Copy(u8, i64),
    Archive(u8, i64),
    Restore(u8, i64, i64),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || prop_oneof![0..SLOTS, 0..40_i64];
    let cell = (slot(), 0..3_u8, any::<i64>());
    prop_oneof![
        4 => (0..2_u8, prop::collection::vec(cell, 1..40)).prop_map(|(m, cells)| Op::Write(m, cells)),
        2 => (0..2_u8, slot(), slot()).prop_map(|(m, a, b)| Op::Delete(m, a.min(b), a.max(b))),
        1 => (0..2_u8, slot()).prop_map(|(m, at)| Op::Copy(m, at)),
        3 => (0..2_u8, slot()).prop_map(|(m, at)| Op::Archive(m, at)),
        2 => (0..2_u8, slot(), slot()).prop_map(|(m, a, b)| Op::Restore(m, a.min(b), a.max(b))),
        1 => Just(Op::Reopen),
    ]
}

fn at(slot: i64) -> i64 {
    START + slot * HOUR
}

fn series(m: u8) -> SeriesKey {
    key(if m == 0 { "tick.A" } else { "m" })
}

fn write(engine: &dyn SeriesEngine, m: u8, cells: &[(i64, u8, i64)]) {
    for (slot, field, value) in cells {
        put(engine, &series(m), &format!("f{field}"), &[(at(*slot), *value)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn archives_equal_a_model(ops in prop::collection::vec(op(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let raw: Arc<dyn SeriesEngine> = Arc::new(ModelEngine::with_frame_rows(11));
        let model = ModelEngine::with_frame_rows(13);
        let memory = FaultVfs::new("archives-random").unwrap();
        let mut cold = Cold::quick(raw.clone(), dir.path(), &memory);
        for op in &ops {
            match op {
                Op::Write(m, cells) => {
                    write(cold.engine().as_ref(), *m, cells);
                    write(&model, *m, cells);
                }
                Op::Delete(m, a, b) => {
                    let range = TimeRange { start: at(*a), end: at(*b) };
                    let got = cold.engine().delete(&Selector::of(&series(*m)), range).unwrap();
                    prop_assert_eq!(got, model.delete(&Selector::of(&series(*m)), range).unwrap());
                }
                Op::Copy(m, before) => {
                    cold.copy(&series(*m), at(*before)).unwrap();
                }
                Op::Archive(m, before) => {
                    cold.archive(&series(*m), at(*before)).unwrap();
                    let old = TimeRange { start: TIME_MIN_NS, end: at(*before) };
                    prop_assert!(rows(raw.as_ref(), &series(*m), old).unwrap().is_empty());
                }
                Op::Restore(m, a, b) => {
                    let range = TimeRange { start: at(*a), end: at(*b) };
                    cold.restore(&series(*m), range).unwrap();
                    let live = rows(raw.as_ref(), &series(*m), range).unwrap();
                    prop_assert_eq!(live, rows(&model, &series(*m), range).unwrap());
                }
                Op::Reopen => cold = Cold::quick(raw.clone(), dir.path(), &memory),
            }
            let all = Selector::default();
            for m in 0..2 {
                prop_assert_eq!(cold.rows(&series(m)), rows(&model, &series(m), TimeRange::ALL).unwrap());
                let range = TimeRange { start: at(20), end: at(400) };
                let own = rows(cold.engine().as_ref(), &series(m), range).unwrap();
                prop_assert_eq!(own, rows(&model, &series(m), range).unwrap());
            }
            prop_assert_eq!(cold.engine().latest(&all).unwrap(), model.latest(&all).unwrap());
            let (mine, theirs) = (cold.engine().list(&all).unwrap(), model.list(&all).unwrap());
            prop_assert_eq!(mine.len(), theirs.len());
            for (a, b) in mine.iter().zip(&theirs) {
                prop_assert_eq!((&a.key, a.min_time, a.max_time), (&b.key, b.min_time, b.max_time));
                prop_assert!(a.rows >= b.rows);
            }
        }
    }
}
