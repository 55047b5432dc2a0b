//! What a plan does, once and again, whole and cut off.

use super::*;
use crate::audit::AuditFilter;
use crate::files::FileStat;
use crate::retention::marks;

fn full(before: i64) -> Vec<Action> {
    vec![
        down("tick.A", "1h", before),
        down("tick.A", "1d", before),
        archive("tick.A", before),
        drop_before("tick.A", before),
    ]
}

fn files(s: &Store) -> Vec<FileStat> {
    s.layer.files().list(&OP, "cold", "", None, 1_000).unwrap()
}

#[test]
fn raw_rows_become_bars_and_a_file_before_they_go() {
    let s = Store::new();
    s.ticks("A", steady(5));
    let before = START + 3 * DAY + 5 * HOUR + 7;
    let plan = s.check(full(before));
    assert!(plan.is_allowed(), "{plan:#?}");
    assert_eq!((plan.drop_rows, plan.store_rows), (3 * 144, 5 * 144));
    assert_eq!(plan.steps[0].action, down("tick.A", "1h", START + 3 * DAY + 5 * HOUR), "whole hours");
    assert_eq!(
        plan.steps[3].action,
        drop_before("tick.A", START + 3 * DAY),
        "whole days, for the daily bars"
    );
    assert_eq!(plan.steps[0].target.as_deref(), Some("market/bar.1h.A"));
    assert_eq!(
        plan.steps.iter().map(|s| s.rows).collect::<Vec<_>>(),
        [3 * 144 + 30, 3 * 144, 3 * 144 + 31, 3 * 144]
    );
    let mut seen = Vec::new();
    let report = s.r().execute(&s.plugin, &plan, &mut |n| seen.push(n)).unwrap();
    assert_eq!(seen, [1, 2, 3, 4]);
    assert_eq!((report.steps, report.rollup_bars, report.dropped_rows), (4, 77 + 3, 3 * 144));
    let ticks = s.rows("tick.A");
    assert_eq!((ticks.len(), ticks[0].0), (2 * 144, START + 3 * DAY));
    let daily = s.rows("bar.1d.A");
    assert_eq!(daily.len(), 3);
    for (name, want) in [("open", 144.0), ("high", 287.0), ("low", 144.0), ("close", 287.0)] {
        assert_eq!(field(&daily, START + DAY, name), want, "{name}");
    }
    assert_eq!(s.rows("bar.1h.A").len(), 77);
    assert_eq!(files(&s).len(), 4, "a file per day");
    let trail = s
        .layer
        .audit()
        .list(&OP, &AuditFilter { action: Some("retention.".into()), ..AuditFilter::default() })
        .unwrap();
    assert!(trail.iter().all(|e| e.actor == "plugin:keeper"));
    let actions: Vec<&str> = trail.iter().rev().map(|e| e.action.as_str()).collect();
    assert_eq!(actions.first(), Some(&"retention.plan"));
    assert_eq!(actions.last(), Some(&"retention.done"));
    for action in ["retention.downsample", "retention.archive", "retention.drop"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    let dropped = trail.iter().find(|e| e.action == "retention.drop").unwrap();
    assert_eq!(dropped.object, "series:market/tick.A");
    assert_eq!(
        (&dropped.detail["rows"], &dropped.detail["before"]),
        (&serde_json::json!(432), &serde_json::json!(START + 3 * DAY))
    );
}

#[test]
fn a_plan_that_runs_twice_does_no_more() {
    let s = Store::new();
    s.ticks("A", steady(5));
    let before = START + 3 * DAY;
    s.run(full(before));
    let (state, archived) = (s.state(), files(&s));
    let again = s.run(full(before));
    assert_eq!((again.rollup_bars, again.dropped_rows), (0, 0));
    assert_eq!(s.state(), state);
    assert_eq!(files(&s), archived, "what is archived already gets no new version");
}

#[test]
fn a_plan_cut_off_after_any_step_can_be_run_again() {
    let before = START + 3 * DAY;
    let want = {
        let s = Store::new();
        s.ticks("A", steady(5));
        s.run(full(before));
        (s.state(), files(&s).into_iter().map(|f| (f.path, f.version, f.blake3)).collect::<Vec<_>>())
    };
    for done in 0..=4 {
        let s = Store::new();
        s.ticks("A", steady(5));
        if done > 0 {
            let mut plan = s.check(full(before));
            plan.steps.truncate(done);
            s.r().execute(&s.plugin, &plan, &mut |_| ()).unwrap();
        }
        s.run(full(before));
        let files: Vec<_> = files(&s).into_iter().map(|f| (f.path, f.version, f.blake3)).collect();
        assert_eq!((s.state(), files), want, "after {done} steps");
    }
}

#[test]
fn a_death_between_the_mark_and_the_drop_does_no_harm() {
    let s = Store::new();
    s.ticks("A", steady(5));
    let before = START + 3 * DAY;
    let mut plan = s.check(full(before));
    plan.steps.truncate(3);
    s.r().execute(&s.plugin, &plan, &mut |_| ()).unwrap();
    let rolled = s.rows("bar.1d.A");
    s.layer.database().write(|tx| marks::set_dropped(tx, &key("tick.A"), before)).unwrap();
    // The rows are there although the mark says that they are not: they count as late, and change nothing.
    s.run(full(before));
    assert_eq!(s.rows("bar.1d.A"), rolled);
    assert_eq!(s.rows("tick.A").len(), 2 * 144);
}

#[test]
fn bars_are_rolled_up_into_coarser_bars() {
    let s = Store::new();
    s.layer
        .series()
        .engine()
        .write(crate::layer::tests::bars("A", (0..3 * 1_440).map(|i| START + i * 60 * SECOND)))
        .unwrap();
    let report = s.run(vec![down("bar.1m.A", "1h", START + DAY), drop_before("bar.1m.A", START + DAY)]);
    assert_eq!((report.rollup_bars, report.dropped_rows), (24, 1_440));
    assert_eq!(s.rows("bar.1h.A").len(), 24);
    // The rollups are series like any other: the next coarser one is made from them.
    s.run(vec![down("bar.1h.A", "1d", START + DAY), drop_before("bar.1h.A", START + DAY)]);
    assert_eq!((s.rows("bar.1h.A").len(), s.rows("bar.1d.A").len()), (0, 1));
}

#[test]
fn kinds_without_rollups_may_go_as_they_are() {
    let s = Store::new();
    let frame = || Frame {
        times: (0..240).map(|i| START + i * HOUR).collect(),
        columns: vec![Column::float("v", vec![1.0; 240])],
    };
    for kind in ["book.A", "signal.x", "metric.cpu", "weather"] {
        s.put(kind, frame());
    }
    let report = s
        .run(["book.A", "signal.x", "metric.cpu", "weather"].map(|k| drop_before(k, START + 5 * DAY)).into());
    assert_eq!(report.dropped_rows, 4 * 120);
}

#[test]
fn a_policy_sees_what_it_may_read_and_how_far_it_was_rolled_up() {
    let s = Store::new();
    s.ticks("A", steady(5));
    s.ticks("B", steady(1));
    s.run(vec![down("tick.A", "1h", START + 2 * DAY + 30)]);
    // Three versions, of which two share an object.
    for content in ["abc", "four", "abc"] {
        s.layer.files().put(&OP, "cold", "x/1", &mut content.as_bytes(), Default::default()).unwrap();
    }
    let mut grants = all_grants();
    (grants.series_read, grants.files_read) =
        (vec!["market/tick.A".into(), "market/bar.*".into()], vec!["cold/x/*".into()]);
    let seen = s.r().summaries(&plugin(grants)).unwrap();
    let names: Vec<String> = seen
        .iter()
        .map(|x| match x {
            Summary::Series(x) => format!("{} {:?} {}", x.key, x.timeframe, x.rows),
            Summary::File(x) => format!("{}/{} {} {}:{}", x.store, x.path, x.size, x.versions, x.bytes),
        })
        .collect();
    assert_eq!(names, ["market/bar.1h.A Some(\"1h\") 48", "market/tick.A None 720", "cold/x/1 3 3:7"]);
    let Summary::Series(ticks) = &seen[1] else { panic!() };
    assert_eq!((ticks.first, ticks.last), (START, START + 5 * DAY - 600 * SECOND));
    assert_eq!(ticks.rolled, BTreeMap::from([("1h".to_string(), START + 2 * DAY)]));
    assert!(s.r().summaries(&plugin(Grants::default())).unwrap().is_empty());
    assert_eq!(s.r().summaries(&OP).unwrap().len(), 4);
}

#[test]
fn an_archive_holds_the_rows_and_queries_still_read_them() {
    let s = Store::new();
    s.ticks("A", steady(2));
    let all = |s: &Store| {
        let rows = s.layer.series().engine().scan(&key("tick.A"), TimeRange::ALL, None, &Budget::default());
        crate::series::model_engine::rows_of(rows.unwrap()).unwrap()
    };
    let before = all(&s);
    s.run(vec![archive("tick.A", START + DAY), drop_before("tick.A", START + DAY)]);
    assert_eq!((s.rows("tick.A").len(), before.len()), (144, 288));
    assert_eq!(all(&s), before, "rows of the file and of the engine");
    let file = &files(&s)[0];
    assert!(
        file.path.starts_with("tick/tick.A-")
            && file.path.contains("/2024-10-04/")
            && file.path.ends_with(".parquet"),
        "{}",
        file.path
    );
    assert_eq!(file.metadata["rows"], 144);
    // A policy sees the rows of the engine, and does nothing about the others.
    let all_summaries = s.r().summaries(&s.plugin).unwrap();
    let summary = all_summaries.iter().find_map(|one| match one {
        Summary::Series(of) => Some(of),
        Summary::File(_) => None,
    });
    assert_eq!(summary.map(|of| (of.rows, of.first)), Some((144, START + DAY)));
    let again = s.run(vec![archive("tick.A", START + DAY), drop_before("tick.A", START + DAY)]);
    assert_eq!((again.archived_rows, again.dropped_rows), (0, 0));
    // The file is the only copy: no plan drops it.
    let far = i64::MAX / 4;
    let drop = vec![Action::DropFile { store: "cold".into(), path: file.path.clone() }];
    let plan = s.r().check(&s.plugin, drop, far, true).unwrap();
    assert!(plan.steps[0].refused.as_deref().unwrap().contains("only copy"), "{plan:#?}");
}

#[test]
fn rows_that_are_written_while_others_go_do_not_go_with_them() {
    let s = Store::new();
    s.ticks("A", steady(3));
    let before = START + 2 * DAY;
    let plan = s.check(vec![archive("tick.A", before), drop_before("tick.A", before)]);
    let layer = s.layer.clone();
    let over = std::sync::atomic::AtomicBool::new(false);
    // Someone who corrects old rows again and again; the last correction of each stands.
    let last: Vec<f64> = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut last = vec![0.0; 8];
            let mut n = 0;
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                n += 1;
                let row = n % last.len();
                let frame = Frame {
                    times: vec![START + row as i64 * HOUR],
                    columns: vec![Column::float("price", vec![n as f64])],
                };
                layer.series().write(&OP, WriteBatch { series: vec![(key("tick.A"), frame)] }).unwrap();
                last[row] = n as f64;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            last
        });
        // It may say that the rows are written all the time, and then nothing was dropped.
        let _ = s.r().execute(&s.plugin, &plan, &mut |_| ());
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        writer.join().unwrap()
    });
    s.run(vec![archive("tick.A", before), drop_before("tick.A", before)]);
    let rows = s.layer.series().engine().scan(&key("tick.A"), TimeRange::ALL, None, &Budget::default());
    let rows = crate::series::model_engine::rows_of(rows.unwrap()).unwrap();
    assert_eq!(rows.len(), 3 * 144);
    for (row, price) in last.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        let time = START + row as i64 * HOUR;
        let (_, have) = rows.iter().find(|(t, _)| *t == time).unwrap();
        assert_eq!(have["price"], crate::series::Value::Float(*price), "the row at {time}");
    }
}

#[test]
fn a_rollup_that_cannot_be_stored_stops_the_plan_before_the_drop() {
    let s = Store::new();
    s.ticks("A", steady(3));
    // Nothing may be written: the disk of the archive is full.
    s.free.store(0, std::sync::atomic::Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(600));
    let plan = s.check(vec![archive("tick.A", START + DAY), drop_before("tick.A", START + DAY)]);
    assert!(plan.is_allowed());
    let e = s.r().execute(&s.plugin, &plan, &mut |_| panic!("a step was done")).unwrap_err();
    assert!(e.message().contains("step 1 of 2"), "{e:?}");
    assert_eq!(s.rows("tick.A").len(), 3 * 144);
}

#[test]
fn weeks_and_months_are_rounded_to_a_day_that_begins_both() {
    let s = Store::new();
    let days = 2_000;
    let columns = ["open", "high", "low", "close"].map(|n| Column::float(n, vec![1.0; days])).into();
    s.put("bar.1d.A", Frame { times: (0..days as i64).map(|i| START + i * DAY).collect(), columns });
    let before = START + 1_900 * DAY + HOUR;
    let plan = s.check(vec![
        down("bar.1d.A", "1w", before),
        down("bar.1d.A", "1mo", before),
        drop_before("bar.1d.A", before),
    ]);
    assert!(plan.is_allowed(), "{plan:#?}");
    let Action::DropBefore { before: rounded, .. } = plan.steps[2].action else { panic!() };
    let day = chrono::DateTime::from_timestamp_nanos(rounded);
    assert_eq!(day.format("%A %d %H:%M:%S").to_string(), "Monday 01 00:00:00", "{day}");
    s.r().execute(&s.plugin, &plan, &mut |_| ()).unwrap();
    assert_eq!(s.rows("bar.1d.A")[0].0, rounded);
}
