//! Files that are not what they were.

use super::*;
use crate::error::Kind;
use crate::series::model_engine::ModelEngine;
use crate::series::revisions::tests::{recorder_of, tick as passed};
use std::path::PathBuf;

fn object(dir: &Path, hash: &str) -> PathBuf {
    dir.join(STORE).join("objects").join(&hash[..2]).join(hash)
}

/// Two days in files of their own, and a third in the engine.
fn desk() -> (tempfile::TempDir, Cold, SeriesKey) {
    let dir = tempfile::tempdir().unwrap();
    let tick = key("tick.A");
    let engine = Arc::new(ModelEngine::default());
    let cold = Cold::open(engine.clone(), dir.path());
    let hours: Vec<(i64, i64)> = (0..72).map(|n| (START + n * HOUR, n)).collect();
    put(cold.engine().as_ref(), &tick, "price", &hours);
    cold.archive(&tick, START + 2 * DAY).unwrap();
    // Nothing is kept open.
    let cold = Cold::open(engine, dir.path());
    (dir, cold, tick)
}

#[test]
fn a_flipped_bit_and_a_lost_file_are_named_and_the_rest_is_served() {
    let (dir, cold, tick) = desk();
    let all = cold.rows(&tick);
    assert_eq!(all.len(), 72);
    let first = cold.index()[0].clone();
    let path = object(dir.path(), &first.blake3);
    let sound = std::fs::read(&path).unwrap();
    let engine = cold.archived.raw().clone();
    for damage in 0..4 {
        let mut bytes = sound.clone();
        match damage {
            0 => bytes[sound.len() / 2] ^= 1,
            1 => bytes.truncate(sound.len() - 3),
            2 => bytes.clear(),
            _ => {}
        }
        std::fs::remove_file(&path).unwrap();
        if damage < 3 {
            std::fs::write(&path, &bytes).unwrap();
        }
        let cold = Cold::open(engine.clone(), dir.path());
        let e = rows(cold.engine().as_ref(), &tick, TimeRange::ALL).unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt, "{e:?}");
        assert!(e.message().contains("archive 1 of `market/tick.A` (`cold/tick/tick.A-"), "{e:?}");
        assert!(e.hint_text().unwrap().contains("backup"));
        let rest = TimeRange { start: START + DAY, end: i64::MAX };
        assert_eq!(rows(cold.engine().as_ref(), &tick, rest).unwrap().len(), 48, "the rest is served");
        assert_eq!(cold.engine().list(&Selector::default()).unwrap()[0].rows, 72);
        assert_eq!(
            cold.restore(&tick, TimeRange { start: START, end: START + 1 }).unwrap_err().kind(),
            Kind::Corrupt
        );
        std::fs::write(&path, &sound).unwrap();
        assert_eq!(Cold::open(engine.clone(), dir.path()).rows(&tick), all, "put back, it is as it was");
    }
    // Who gives the rows up gets an answer again.
    std::fs::remove_file(&path).unwrap();
    let cold = Cold::open(engine, dir.path());
    let day = TimeRange { start: START, end: START + DAY };
    let report = cold.engine().delete(&Selector::of(&tick), day).unwrap();
    assert_eq!(report.rows, Some(24), "the index knows how many whole files have");
    assert_eq!(cold.rows(&tick).len(), 48);
    cold.files.delete(&OP, STORE, &first.path, true).unwrap();
}

/// Revisions are kept of what a deletion takes away: of what cannot be read, that it is gone.
#[test]
fn damaged_rows_of_a_series_with_revisions_are_given_up_too() {
    let (dir, cold, tick) = desk();
    let engine = cold.archived.raw().clone();
    let price = |t: i64| vec![(START + t * HOUR, 7)];
    // Between the two files, and in the span of the damaged one.
    let late = recorder_of(cold.engine(), "market");
    put(late.as_ref(), &tick, "price", &price(5));
    let before = passed(&late);
    let first = cold.index()[0].clone();
    std::fs::remove_file(object(dir.path(), &first.blake3)).unwrap();
    let cold = Cold::open(engine, dir.path());
    let recorder = recorder_of(cold.engine(), "market");
    let all = |engine: &dyn SeriesEngine| rows(engine, &tick, TimeRange::ALL).map(|rows| rows.len());
    assert_eq!(all(recorder.as_ref()).unwrap_err().kind(), Kind::Corrupt);
    let report = recorder.delete(&Selector::of(&tick), TimeRange::ALL).unwrap();
    assert_eq!(report.series, 1);
    assert_eq!(all(recorder.as_ref()).unwrap(), 0);
    let then = recorder.as_known_at(before).unwrap();
    let known = rows(then.as_ref(), &tick, TimeRange::ALL).unwrap();
    assert_eq!(known.len(), 48, "what could be read is known");
    assert_eq!(known[0].0, START + DAY, "what could not be read is gone, with the row beside it");
}

/// A part of the damaged file, and none of what is sound.
#[test]
fn a_part_of_a_damaged_file_is_given_up_with_revisions() {
    let (dir, cold, tick) = desk();
    let engine = cold.archived.raw().clone();
    std::fs::remove_file(object(dir.path(), &cold.index()[0].blake3)).unwrap();
    let cold = Cold::open(engine, dir.path());
    let recorder = recorder_of(cold.engine(), "market");
    let before = passed(&recorder);
    let span = TimeRange { start: START + 5 * HOUR, end: START + 30 * HOUR };
    assert_eq!(recorder.delete(&Selector::of(&tick), span).unwrap().rows, None, "nobody can count them");
    let rest = TimeRange { start: START + DAY, end: i64::MAX };
    assert_eq!(rows(recorder.as_ref(), &tick, rest).unwrap().len(), 42);
    let then = recorder.as_known_at(before).unwrap();
    assert_eq!(rows(then.as_ref(), &tick, rest).unwrap().len(), 48);
    let e = rows(recorder.as_ref(), &tick, TimeRange::ALL).unwrap_err();
    assert_eq!(e.kind(), Kind::Corrupt, "what is left of it is still an error");
}

#[test]
fn verify_names_what_the_index_has_and_the_store_has_not() {
    let (_dir, cold, tick) = desk();
    assert!(cold.archived.verify(&Budget::default()).unwrap().is_empty());
    let first = cold.index()[0].clone();
    cold.db
        .write(|tx| {
            tx.execute("DELETE FROM file_versions WHERE path = ?1", [&first.path])?;
            Ok(())
        })
        .unwrap();
    let faults = cold.archived.verify(&Budget::default()).unwrap();
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].object.contains("archive 1 of") && faults[0].problem.contains("not there"),
        "{faults:?}"
    );
    let e = rows(cold.engine().as_ref(), &tick, TimeRange::ALL).unwrap_err();
    assert_eq!(e.kind(), Kind::Corrupt);
}

#[test]
fn another_file_of_that_name_is_not_taken_for_it() {
    let (_dir, cold, tick) = desk();
    let second = cold.index()[1].clone();
    // A version more: the index names the first one.
    cold.files.put(&OP, STORE, &second.path, &mut &b"PAR1"[..], crate::files::PutOptions::default()).unwrap();
    assert_eq!(cold.rows(&tick).len(), 72);
    cold.db
        .write(|tx| {
            tx.execute("UPDATE archives SET version = 2 WHERE id = ?1", [second.id])?;
            Ok(())
        })
        .unwrap();
    let cold = Cold {
        archived: Archived::open(
            cold.archived.raw().clone(),
            cold.db.clone(),
            cold.files.clone(),
            std::env::temp_dir(),
        )
        .unwrap(),
        ..cold
    };
    let e = rows(cold.engine().as_ref(), &tick, TimeRange::ALL).unwrap_err();
    assert!(e.kind() == Kind::Corrupt && e.message().contains("another one"), "{e:?}");
}
