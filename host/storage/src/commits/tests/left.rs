//! Rows that are durable and not in the series store, or in it without a note of it.

use super::*;
use crate::series::line_protocol::Precision;
use crate::series::{SeriesEngine, TimeRange};

/// Lets the note that the rows of a commit are applied fail, or be made again.
fn notes_fail(layer: &DataLayer, fail: bool) {
    let sql = match fail {
        true => {
            "CREATE TRIGGER no_room BEFORE DELETE ON commit_rows BEGIN SELECT RAISE(ABORT, 'no room'); END"
        }
        false => "DROP TRIGGER no_room",
    };
    layer.database().write_always(|tx| Ok(tx.execute_batch(sql)?)).unwrap();
}

#[test]
fn what_is_applied_and_not_noted_is_read_and_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), TOML);
    let engine = Arc::new(ModelEngine::default());
    let (layer, _) = layer_over(&m, Some(engine.clone()));
    let written = || engine.stats().unwrap().rows_written;
    let write = |layer: &DataLayer| {
        layer.series().write_lines(&OP, "market", b"signal.pullback n=7i 1000", Precision::Ns)
    };
    notes_fail(&layer, true);
    layer.commit(&OP, &commit(1)).unwrap();
    assert_eq!(written(), 2);
    // It is there, and is not applied again by whoever reads.
    assert_eq!(seen(&layer), [1; 7]);
    assert_eq!(written(), 2);
    // What is written over it now would be gone at the next start.
    let delete = |layer: &DataLayer| layer.series().delete(&OP, &Selector::default(), TimeRange::ALL);
    for refused in
        [write(&layer).unwrap_err(), delete(&layer).unwrap_err(), layer.commit(&OP, &commit(2)).unwrap_err()]
    {
        assert_eq!(refused.kind(), Kind::Unavailable, "{refused:?}");
        assert!(refused.message().contains("commit 1") && refused.hint_text().is_some(), "{refused:?}");
    }
    assert_eq!(seen(&layer), [1; 7]);
    notes_fail(&layer, false);
    write(&layer).unwrap();
    assert_eq!((seen(&layer), written()), ([7, 1, 1, 1, 1, 1, 1], 3));
    drop(layer);
    let (layer, _) = layer_over(&m, Some(engine.clone()));
    assert_eq!((seen(&layer), written()), ([7, 1, 1, 1, 1, 1, 1], 3));
    // A host that ends before it could note it applies it once more, before anybody writes.
    notes_fail(&layer, true);
    layer.commit(&OP, &commit(2)).unwrap();
    drop(layer);
    let (layer, _) = layer_over(&m, Some(engine.clone()));
    assert_eq!((seen(&layer), written()), ([2; 7], 7));
    assert_eq!(write(&layer).unwrap_err().kind(), Kind::Unavailable);
    notes_fail(&layer, false);
    write(&layer).unwrap();
    assert_eq!(seen(&layer), [7, 2, 2, 2, 2, 2, 2]);
}

#[test]
fn what_can_never_be_applied_is_set_aside_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let m = manifest(dir.path(), TOML);
    let engine = Arc::new(ModelEngine::default());
    let (layer, _) = layer_over(&m, Some(engine.clone()));
    layer.commit(&OP, &commit(1)).unwrap();
    // As if somebody had written past the host between the look and the write.
    engine.fail_writes_with(Some(Kind::Invalid));
    layer.commit(&OP, &commit(2)).unwrap();
    engine.fail_writes(false);
    assert_eq!(seen(&layer), [1, 2, 2, 2, 2, 2, 2], "nobody waits for ever");
    layer.commit(&OP, &commit(3)).unwrap();
    assert_eq!(seen(&layer), [3; 7]);
    let report = layer.verify(&OP, &mut |_| ()).unwrap();
    assert!(!report.ok && format!("{:?}", report.faults).contains("commit 2"), "{report:?}");
    drop(layer);
    let (layer, _) = layer_over(&m, Some(engine));
    assert_eq!(seen(&layer), [3; 7], "what is set aside stays there");
}

/// Of a series without rows no list tells the types.
#[test]
fn a_field_keeps_its_type_when_its_rows_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    layer.commit(&OP, &commit(1)).unwrap();
    layer.series().delete(&OP, &Selector::default(), TimeRange::ALL).unwrap();
    let mut other = commit(2);
    other.series[0].lines = "signal.pullback n=\"text\" 1000\nsignal.other n=2i 1000".into();
    let refused = layer.commit(&OP, &other).unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict, "{refused:?}");
    assert!(refused.message().contains("`n` of `market/signal.pullback` is integer"), "{refused:?}");
    assert_eq!(seen(&layer), [0, 1, 1, 1, 1, 1, 1]);
    layer.commit(&OP, &commit(2)).unwrap();
    assert_eq!(seen(&layer), [2; 7]);
}
