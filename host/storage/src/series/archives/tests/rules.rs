//! What stands in the index, what is written twice, and what wins.

use super::*;
use crate::error::Kind;
use crate::series::model_engine::ModelEngine;
use crate::series::pieces::Piece;
use crate::series::{FieldType, Value};

fn desk() -> (tempfile::TempDir, Cold) {
    let dir = tempfile::tempdir().unwrap();
    let cold = Cold::open(Arc::new(ModelEngine::with_frame_rows(100)), dir.path());
    (dir, cold)
}

fn states(cold: &Cold) -> Vec<State> {
    cold.index().into_iter().map(|a| a.state).collect()
}

/// A row an hour over ten days.
fn hours() -> Vec<(i64, i64)> {
    (0..240).map(|n| (START + n * HOUR, n)).collect()
}

#[test]
fn rows_are_read_where_they_are_and_come_back() {
    let (_dir, cold) = desk();
    let tick = key("tick.A");
    put(cold.engine().as_ref(), &tick, "price", &hours());
    let all = cold.rows(&tick);
    let before = START + 5 * DAY + HOUR;
    assert_eq!(cold.copy(&tick, before).unwrap(), 121);
    assert_eq!(states(&cold), [State::Copy; 6], "a file a day");
    assert_eq!(cold.rows(&tick), all);
    // Once more: everything is there.
    assert_eq!(cold.copy(&tick, before).unwrap(), 121);
    assert_eq!(cold.index().len(), 6);
    cold.archive(&tick, before).unwrap();
    assert_eq!(states(&cold), [State::Only; 6]);
    assert_eq!(rows(cold.live().as_ref(), &tick, TimeRange::ALL).unwrap().len(), 119);
    assert_eq!(cold.rows(&tick), all);
    let info = &cold.engine().list(&Selector::default()).unwrap()[0];
    assert_eq!((info.rows, info.min_time, info.max_time), (240, Some(START), Some(START + 239 * HOUR)));
    let one = &cold.index()[1];
    assert_eq!(
        (one.rows, one.first, one.last, one.fields.as_slice()),
        (24, START + DAY, START + DAY + 23 * HOUR, [("price".to_string(), FieldType::Integer)].as_slice())
    );
    assert!(one.path.starts_with("tick/tick.A-") && one.path.contains("/2024-10-05/"), "{}", one.path);
    // Nothing of it is archived again.
    assert_eq!(cold.archive(&tick, before).unwrap(), 0);
    assert_eq!(cold.index().len(), 6);
    // A range brings whole files back.
    let range = TimeRange { start: START + DAY + 7, end: START + 2 * DAY };
    assert_eq!(cold.restore(&tick, range).unwrap(), 24);
    assert_eq!(states(&cold).iter().filter(|s| **s == State::Restored).count(), 1);
    assert_eq!(cold.rows(&tick), all);
    assert_eq!(cold.restore(&tick, TimeRange::ALL).unwrap(), 97);
    assert_eq!(rows(cold.live().as_ref(), &tick, TimeRange::ALL).unwrap(), all);
    assert_eq!(cold.restore(&tick, TimeRange::ALL).unwrap(), 0);
    // And again: the files that are there are used.
    let files = cold.files.stats(STORE).unwrap();
    cold.archive(&tick, before).unwrap();
    assert_eq!(cold.files.stats(STORE).unwrap(), files);
    assert_eq!(cold.rows(&tick), all);
}

#[test]
fn the_engine_wins_and_then_the_later_archive() {
    let (_dir, cold) = desk();
    let m = key("m");
    let engine = cold.engine();
    put(engine.as_ref(), &m, "a", &[(START, 1), (START + 1, 1), (START + 2, 1)]);
    put(engine.as_ref(), &m, "b", &[(START, 7)]);
    cold.archive(&m, START + DAY).unwrap();
    put(engine.as_ref(), &m, "a", &[(START + 1, 2), (START + 2, 2)]);
    cold.archive(&m, START + DAY).unwrap();
    put(engine.as_ref(), &m, "a", &[(START + 2, 3), (START + 3, 3)]);
    let a: Vec<Option<Value>> = cold.rows(&m).iter().map(|(_, row)| row.get("a").cloned()).collect();
    assert_eq!(a, [1, 2, 3, 3].map(|v| Some(Value::Integer(v))));
    assert_eq!(cold.rows(&m)[0].1.get("b"), Some(&Value::Integer(7)));
    let latest = &engine.latest(&Selector::default()).unwrap()[0];
    let newest: Vec<(&str, i64)> = latest.fields.iter().map(|f| (f.name.as_str(), f.time)).collect();
    assert_eq!(newest, [("a", START + 3), ("b", START)]);
    // What comes back does not stand over what is newer.
    assert_eq!(cold.restore(&m, TimeRange::ALL).unwrap(), 2);
    let live = rows(cold.live().as_ref(), &m, TimeRange::ALL).unwrap();
    assert_eq!(
        live.iter().map(|(_, r)| r.get("a").cloned().unwrap()).collect::<Vec<_>>(),
        [1, 2, 3, 3].map(Value::Integer)
    );
}

/// A process ends between the note that files are the only copy and the drop: the same plan finds them, and makes no others.
#[test]
fn rows_that_did_not_leave_after_all_are_in_the_files_that_have_them() {
    let (_dir, cold) = desk();
    let tick = key("tick.A");
    put(cold.engine().as_ref(), &tick, "price", &hours());
    let all = cold.rows(&tick);
    let before = START + 3 * DAY;
    cold.copy(&tick, before).unwrap();
    cold.archived.leave(&tick, before, |_| Ok(())).unwrap();
    assert_eq!(cold.rows(&tick), all);
    assert_eq!(cold.archive(&tick, before).unwrap(), 72);
    assert_eq!(states(&cold), [State::Only; 3]);
    assert_eq!(cold.engine().list(&Selector::default()).unwrap()[0].rows, 240);
    assert_eq!(cold.rows(&tick), all);
    // What was corrected in between is in a later file, and right; also where it is as an older one has it.
    for value in [99, 1] {
        put(cold.engine().as_ref(), &tick, "price", &[(START + HOUR, value)]);
        assert_eq!(cold.archive(&tick, before).unwrap(), 1);
        assert_eq!(cold.rows(&tick)[1].1["price"], Value::Integer(value));
    }
    assert_eq!(states(&cold), [State::Only; 5]);
    // The day whole as the first file has it, which is not the last one of it.
    let (engine, day) = (cold.archived.raw(), TimeRange { start: START, end: START + DAY });
    put(engine.as_ref(), &tick, "price", &hours()[..24]);
    assert_eq!(cold.archive(&tick, before).unwrap(), 24);
    assert_eq!(cold.rows(&tick), all);
    assert!(rows(engine.as_ref(), &tick, day).unwrap().is_empty());
    // The row of the last file is where it is; what is before and after it has two more.
    assert_eq!(cold.index().len(), 7);
}

#[test]
fn a_copy_that_was_changed_is_made_anew() {
    let (_dir, cold) = desk();
    let m = key("m");
    let engine = cold.engine();
    put(engine.as_ref(), &m, "a", &hours());
    cold.copy(&m, START + 2 * DAY).unwrap();
    put(engine.as_ref(), &m, "a", &[(START + HOUR, 99)]);
    engine.delete(&Selector::of(&m), TimeRange { start: START + 2 * HOUR, end: START + 3 * HOUR }).unwrap();
    let all = cold.rows(&m);
    cold.archive(&m, START + 2 * DAY).unwrap();
    assert_eq!(states(&cold), [State::Replaced, State::Only]);
    assert_eq!(cold.rows(&m), all);
    assert_eq!(all[1].1["a"], Value::Integer(99));
    // A copy whose file somebody deleted, too.
    cold.copy(&m, START + 4 * DAY).unwrap();
    let copy = cold.index().pop().unwrap();
    cold.files.delete(&OP, STORE, &copy.path, true).unwrap();
    cold.archive(&m, START + 4 * DAY).unwrap();
    assert_eq!(cold.rows(&m), all);
}

/// A file of the very rows does not do, where what was deleted of it would stay hidden.
#[test]
fn rows_that_were_deleted_and_written_again_as_they_were_stay() {
    let (_dir, cold) = desk();
    let m = key("m");
    let engine = cold.engine();
    put(engine.as_ref(), &m, "a", &hours());
    cold.copy(&m, START + 2 * DAY).unwrap();
    let all = cold.rows(&m);
    engine.delete(&Selector::of(&m), TimeRange { start: START, end: START + DAY }).unwrap();
    put(engine.as_ref(), &m, "a", &hours());
    assert_eq!(cold.rows(&m), all);
    cold.archive(&m, START + 2 * DAY).unwrap();
    assert_eq!(cold.rows(&m), all);
    assert_eq!(cold.restore(&m, TimeRange::ALL).unwrap(), 48);
    assert_eq!(cold.rows(&m), all);
}

#[test]
fn what_was_deleted_does_not_come_back() {
    let (_dir, cold) = desk();
    let m = key("m");
    let engine = cold.engine();
    put(engine.as_ref(), &m, "a", &hours());
    cold.archive(&m, START + 4 * DAY).unwrap();
    let gone = TimeRange { start: START + DAY, end: START + 5 * DAY };
    let report = engine.delete(&Selector::of(&m), gone).unwrap();
    assert_eq!((report.series, report.rows), (1, Some(96)));
    let left = cold.rows(&m);
    assert_eq!(left.len(), 240 - 96);
    let archive = &cold.index()[0];
    assert_eq!((archive.rows, archive.last), (24, START + 23 * HOUR));
    assert_eq!(engine.delete(&Selector::of(&m), gone).unwrap().rows, Some(0));
    assert_eq!(cold.restore(&m, TimeRange::ALL).unwrap(), 24);
    assert_eq!(cold.rows(&m), left);
    // All of one that only an archive has.
    cold.archive(&m, START + 20 * DAY).unwrap();
    let report = engine.delete(&Selector::default(), TimeRange::ALL).unwrap();
    assert_eq!((report.series, report.rows), (1, Some(144)));
    assert!(cold.rows(&m).is_empty() && engine.list(&Selector::default()).unwrap().is_empty());
    assert!(engine.latest(&Selector::default()).unwrap().is_empty());
    assert!(
        states(&cold).iter().all(|s| matches!(s, State::Deleted | State::Restored)),
        "{:?}",
        states(&cold)
    );
}

#[test]
fn only_copies_are_protected_and_types_hold() {
    let (_dir, cold) = desk();
    let m = key("m");
    let engine = cold.engine();
    put(engine.as_ref(), &m, "a", &hours());
    cold.archive(&m, START + 20 * DAY).unwrap();
    let path = cold.index()[0].path.clone();
    for purge in [false, true] {
        let e = cold.files.delete(&OP, STORE, &path, purge).unwrap_err();
        assert!(
            e.kind() == Kind::Conflict && e.message().contains("only copy of 240 rows of `market/m`"),
            "{e:?}"
        );
        assert!(e.hint_text().unwrap().contains("series restore"));
    }
    let wrong = Frame {
        times: vec![START + 30 * DAY, START + 31 * DAY],
        columns: vec![
            Column { valid: Some(vec![true, false]), ..Column::float("a", vec![1.5, 0.0]) },
            Column::float("b", vec![1.0, 2.0]),
        ],
    };
    let batch = WriteBatch { series: vec![(m.clone(), wrong)] };
    assert_eq!(cold.archived.takes(&batch).unwrap_err().kind(), Kind::Conflict);
    let report = cold.archived.write(batch).unwrap();
    assert_eq!((report.written, report.dropped, report.conflicts.len()), (1, 1, 1));
    assert_eq!((report.conflicts[0].have, report.conflicts[0].got), (FieldType::Integer, FieldType::Float));
    cold.restore(&m, TimeRange::ALL).unwrap();
    cold.files.delete(&OP, STORE, &path, true).unwrap();
    assert_eq!(cold.rows(&m).len(), 241);
}

#[test]
fn files_have_a_bound_and_sums_are_used_behind_the_last_of_them() {
    let (_dir, cold) = desk();
    let m = key("m");
    let rows: Vec<(i64, i64)> = (0..FILE_ROWS_MAX as i64 + 1).map(|n| (START + n, n)).collect();
    put(cold.engine().as_ref(), &m, "a", &rows);
    assert_eq!(cold.archive(&m, i64::MAX).unwrap(), rows.len() as u64);
    let sizes: Vec<u64> = cold.index().iter().map(|a| a.rows).collect();
    assert_eq!(sizes, [FILE_ROWS_MAX as u64, 1]);
    assert_eq!(cold.rows(&m).len(), rows.len());
    put(cold.engine().as_ref(), &m, "a", &[(START + DAY, 5)]);
    let wanted =
        || crate::series::pieces::Wanted { within: Arc::new(|_, _| true), windows: None, fields: Vec::new() };
    let range = TimeRange { start: START + FILE_ROWS_MAX as i64 - 1, end: i64::MAX };
    let pieces = cold.archived.scan_pieces(&m, range, None, wanted(), &Budget::default()).unwrap();
    let counted: usize = pieces
        .map(|p| match p.unwrap() {
            Piece::Rows(frame) => frame.len(),
            Piece::Summary(_) => 0,
        })
        .sum();
    assert_eq!(counted, 3);
    let times = cold.archived.times(&m, range, &Budget::default()).unwrap();
    assert_eq!(times.flat_map(|t| t.unwrap()).count(), 3);
}

#[test]
fn a_deadline_and_a_cancel_end_a_read() {
    let (_dir, cold) = desk();
    let m = key("m");
    put(cold.engine().as_ref(), &m, "a", &hours());
    cold.archive(&m, i64::MAX).unwrap();
    let late = Budget { deadline: Some(std::time::Instant::now()), ..Budget::default() };
    let end = match cold.archived.scan(&m, TimeRange::ALL, None, &late) {
        Err(e) => e,
        Ok(mut rows) => rows.find_map(Result::err).unwrap(),
    };
    assert_eq!(end.kind(), Kind::Timeout);
    let rows_of = |most| {
        let few = Budget { rows_max: Some(most), ..Budget::default() };
        cold.archived.scan(&m, TimeRange::ALL, None, &few).unwrap().collect::<Result<Vec<_>>>()
    };
    assert!(rows_of(240).is_ok());
    assert_eq!(rows_of(239).unwrap_err().kind(), Kind::Limit);
    // Sums behind the last archived row count, too.
    put(cold.engine().as_ref(), &m, "a", &[(START + 30 * DAY, 1), (START + 31 * DAY, 1)]);
    let pieces_of = |most| {
        let few = Budget { rows_max: Some(most), ..Budget::default() };
        let wanted = crate::series::pieces::Wanted {
            within: Arc::new(|_, _| true),
            windows: None,
            fields: Vec::new(),
        };
        let mut pieces = cold.archived.scan_pieces(&m, TimeRange::ALL, None, wanted, &few).unwrap();
        pieces.try_for_each(|p| p.map(drop)).map_err(|e| e.kind())
    };
    assert_eq!((pieces_of(242), pieces_of(241)), (Ok(()), Err(Kind::Limit)));
    // Outside of its times an archive is not opened.
    let range = TimeRange { start: START + 20 * DAY, end: START + 30 * DAY };
    let none = cold.archived.scan(&m, range, None, &Budget::default()).unwrap().count();
    assert_eq!(none, 0);
}

/// Of what must be read of files; what is known without them goes on.
#[test]
fn a_deadline_ends_the_newest_values_and_a_deletion_before_it_begins() {
    let (_dir, cold) = desk();
    let m = key("m");
    put(cold.engine().as_ref(), &m, "a", &hours());
    cold.archive(&m, i64::MAX).unwrap();
    let all = cold.rows(&m);
    let late = Budget { deadline: Some(std::time::Instant::now()), ..Budget::default() };
    let cancelled = Budget { cancel: Some(Arc::new(true.into())), ..Budget::default() };
    for (budget, kind) in [(late, Kind::Timeout), (cancelled, Kind::Cancelled)] {
        let archives: Vec<_> = cold.archived.index.chosen(&Selector::default());
        let e = cold.archived.with_newest(Vec::new(), archives, &budget).unwrap_err();
        assert_eq!(e.kind(), kind);
        assert_eq!(cold.archived.latest_within(&Selector::default(), &budget).unwrap_err().kind(), kind);
        for range in [TimeRange::ALL, TimeRange { start: START + HOUR, end: START + 2 * HOUR }] {
            let e = cold.archived.delete_within(&Selector::of(&m), range, &budget).unwrap_err();
            assert_eq!(e.kind(), kind);
        }
        assert_eq!(cold.rows(&m), all, "nothing was deleted");
        assert!(cold.index()[0].cuts.is_empty());
    }
    assert_eq!(cold.engine().latest(&Selector::default()).unwrap().len(), 1, "and nothing of it is kept");
}

/// Whole files go by what the index says of them, also where nobody can read them; rows beside them are counted.
#[test]
fn deletions_count_rows_by_the_index_where_it_knows() {
    let (dir, cold) = desk();
    let (tick, engine) = (key("tick.A"), cold.engine());
    put(engine.as_ref(), &tick, "price", &hours());
    cold.archive(&tick, START + 6 * DAY).unwrap();
    std::fs::remove_dir_all(dir.path().join(STORE).join("objects")).unwrap();
    let day = |n: i64| TimeRange { start: START + n * DAY, end: START + (n + 1) * DAY };
    let delete = |range| engine.delete(&Selector::of(&tick), range).unwrap().rows;
    assert_eq!(delete(day(0)), Some(24));
    assert_eq!(delete(TimeRange { start: START + DAY, end: START + 7 * DAY }), Some(144), "no file was read");
    assert_eq!(cold.rows(&tick).len(), 72);
}

#[test]
fn too_many_deletions_of_one_file_are_refused_whole() {
    let (_dir, cold) = desk();
    let m = key("m");
    let rows: Vec<(i64, i64)> = (0..10).map(|n| (START + n * HOUR, n)).collect();
    put(cold.engine().as_ref(), &m, "a", &rows);
    cold.archive(&m, i64::MAX).unwrap();
    let mut full = cold.index()[0].clone();
    full.cuts = (0..CUTS_MAX as i64)
        .map(|n| TimeRange { start: START + 1 + 2 * n, end: START + 2 + 2 * n })
        .collect();
    cold.archived.index.edit(&[full]).unwrap();
    let one = TimeRange { start: START + 2 * HOUR, end: START + 2 * HOUR + 1 };
    let e = cold.engine().delete(&Selector::of(&m), one).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.hint_text().unwrap().contains("series restore"), "{e:?}");
    assert_eq!(cold.rows(&m).len(), 10);
    // Beside one that is there it is one with it.
    let near = TimeRange { start: START + 2, end: START + HOUR + 1 };
    assert_eq!(cold.engine().delete(&Selector::of(&m), near).unwrap().rows, Some(1));
}

#[test]
fn so_many_archives_may_overlap_and_no_more() {
    let (_dir, cold) = desk();
    let m = key("m");
    let one = |n: i64| {
        put(cold.engine().as_ref(), &m, "a", &[(START + n, n), (START + 1_000 + n, n)]);
        cold.archive(&m, i64::MAX).unwrap();
    };
    (0..OPEN_MAX as i64).for_each(one);
    put(cold.engine().as_ref(), &m, "a", &[(START + 500, 0)]);
    assert_eq!(cold.rows(&m).len(), 2 * OPEN_MAX + 1);
    // One more would be one too many to read: its rows stay, and all of them are answered.
    put(cold.engine().as_ref(), &m, "a", &[(START + 100, 0), (START + 1_100, 0)]);
    let all = cold.rows(&m);
    assert_eq!(all.len(), 2 * OPEN_MAX + 3);
    let e = cold.archive(&m, i64::MAX).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.hint_text().unwrap().contains("series restore"), "{e:?}");
    assert_eq!(cold.rows(&m), all);
    // Back again they become few: one in the place of the copy, and what is before and after it.
    cold.restore(&m, TimeRange::ALL).unwrap();
    assert_eq!(cold.rows(&m), all);
    cold.archive(&m, i64::MAX).unwrap();
    assert!(states(&cold).iter().filter(|s| **s == State::Only).count() <= 3, "{:?}", states(&cold));
    assert_eq!(cold.rows(&m), all);
}

#[test]
fn a_series_has_so_many_archives_in_use_and_no_more() {
    let (_dir, cold) = desk();
    let m = key("m");
    put(cold.engine().as_ref(), &m, "a", &[(START, 1)]);
    cold.copy(&m, START + 1).unwrap();
    let add = |more: usize| {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO archives(bucket, measurement, tags, state, format, from_ns, until_ns, first_ns, last_ns, rows, fields, store, path, version, hash, bytes, digest, created_at)
             SELECT bucket, measurement, tags, 'only', format, i, i + 1, i, i, rows, fields, store, path, version, hash, bytes, digest, created_at FROM archives, n WHERE id = 1";
        cold.db.write(|tx| Ok(tx.execute(sql, [more as i64])?)).unwrap();
    };
    add(SERIES_ARCHIVES_MAX - 2);
    put(cold.engine().as_ref(), &m, "a", &[(START + DAY, 1)]);
    cold.copy(&m, START + 2 * DAY).unwrap();
    put(cold.engine().as_ref(), &m, "a", &[(START + 3 * DAY, 1)]);
    let e = cold.copy(&m, START + 4 * DAY).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.hint_text().unwrap().contains("series restore"), "{e:?}");
    assert_eq!(states(&cold).len(), LISTED_MAX, "a page of them");
}

#[test]
fn files_have_a_bound_of_bytes_too() {
    let dir = tempfile::tempdir().unwrap();
    let cold = Cold::open(Arc::new(ModelEngine::with_frame_rows(4)), dir.path());
    let m = key("m");
    let text = |n: i64| format!("{n}{}", "x".repeat(1 << 20));
    let times: Vec<i64> = (0..72).map(|n| START + n).collect();
    let texts = (0..72).map(text).collect();
    let frame = Frame { times, columns: vec![Column::new("t", Values::String(texts))] };
    cold.engine().write(WriteBatch { series: vec![(m.clone(), frame)] }).unwrap();
    let all = cold.rows(&m);
    cold.archive(&m, i64::MAX).unwrap();
    assert_eq!(cold.index().iter().map(|a| a.rows).collect::<Vec<_>>(), [64, 8]);
    assert!(cold.rows(&m) == all);
}

#[test]
fn an_engine_with_a_store_conforms() {
    let (_dir, cold) = desk();
    crate::series::conformance::run(cold.archived.as_ref());
}
