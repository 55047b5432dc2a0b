//! Data that comes late, or twice.

use super::*;
use proptest::prelude::*;

fn plan(before: i64) -> Vec<Action> {
    vec![down("tick.A", "1h", before), drop_before("tick.A", before)]
}

#[test]
fn a_late_row_re_opens_its_bucket_while_the_raw_rows_are_there() {
    let s = Store::new();
    s.ticks("A", steady(4));
    s.run(vec![down("tick.A", "1h", START + 2 * DAY)]);
    let volume = field(&s.rows("bar.1h.A"), START, "volume");
    s.ticks("A", [(START + 5, 999.0)]);
    let report = s.run(vec![down("tick.A", "1h", START + 2 * DAY)]);
    assert_eq!(report.rollup_bars, 1, "only the bar that changed is written");
    let bars = s.rows("bar.1h.A");
    assert_eq!(field(&bars, START, "high"), 999.0);
    assert!(field(&bars, START, "volume") > volume);
    assert_eq!(field(&bars, START, "close"), 5.0);
}

#[test]
fn a_row_that_comes_after_its_bucket_was_dropped_widens_the_bar_and_no_more() {
    let s = Store::new();
    s.ticks("A", steady(4));
    s.run(plan(START + 2 * DAY));
    let before = s.rows("bar.1h.A");
    s.ticks("A", [(START + 5, 999.0), (START + 6, -7.0), (START + HOUR + 5, 7.0)]);
    let report = s.run(plan(START + 2 * DAY));
    assert_eq!(report.dropped_rows, 3, "late rows go in the same run");
    let after = s.rows("bar.1h.A");
    assert_eq!((field(&after, START, "high"), field(&after, START, "low")), (999.0, -7.0));
    for name in ["open", "close", "volume"] {
        assert_eq!(field(&after, START, name), field(&before, START, name), "{name}");
    }
    assert_eq!(after[1..], before[1..], "a row within the bar changes nothing");
}

#[test]
fn data_that_is_sent_again_after_it_was_dropped_is_not_counted_twice() {
    let s = Store::new();
    s.ticks("A", steady(4));
    s.run(plan(START + 2 * DAY));
    let want = s.state();
    for _ in 0..3 {
        s.ticks("A", steady(2));
        s.run(plan(START + 2 * DAY));
        assert_eq!(s.state(), want);
    }
}

#[test]
fn a_late_row_where_no_bar_is_makes_one() {
    let s = Store::new();
    s.ticks("A", steady(4));
    s.run(plan(START + 2 * DAY));
    s.ticks("A", [(START - 10 * DAY, 3.0)]);
    s.run(plan(START + 2 * DAY));
    let bars = s.rows("bar.1h.A");
    assert_eq!(bars[0].0, START - 10 * DAY);
    assert_eq!(field(&bars, START - 10 * DAY, "open"), 3.0);
}

#[test]
fn late_rows_reach_the_rollup_also_if_the_plan_only_drops() {
    let s = Store::new();
    s.ticks("A", steady(4));
    s.run(vec![down("tick.A", "1h", START + 2 * DAY)]);
    s.ticks("A", [(START + 5, 999.0)]);
    s.run(vec![drop_before("tick.A", START + 2 * DAY)]);
    assert_eq!(field(&s.rows("bar.1h.A"), START, "high"), 999.0);
}

#[test]
fn a_step_rolls_nothing_up_while_somebody_has_the_series_alone() {
    let s = Store::new();
    s.ticks("A", steady(4));
    let alone = s.layer.series().alone();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| s.run(vec![down("tick.A", "1h", START + 2 * DAY)]));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!run.is_finished() && s.rows("bar.1h.A").is_empty());
        drop(alone);
        assert_eq!(run.join().unwrap().rollup_bars, 48);
    });
}

#[test]
fn late_rows_get_an_archive_of_their_own() {
    let s = Store::new();
    s.ticks("A", steady(4));
    let plan = || vec![archive("tick.A", START + 2 * DAY), drop_before("tick.A", START + 2 * DAY)];
    s.run(plan());
    let list = || s.layer.files().list(&OP, "cold", "", None, 100).unwrap();
    let before = list();
    s.ticks("A", [(START + 5, 999.0)]);
    s.run(plan());
    let after = list();
    assert_eq!((before.len(), after.len()), (2, 3));
    assert!(before.iter().all(|f| after.contains(f)), "what was archived stays as it is");
    let rows = s.layer.series().engine().scan(&key("tick.A"), TimeRange::ALL, None, &Budget::default());
    let rows = crate::series::model_engine::rows_of(rows.unwrap()).unwrap();
    assert_eq!(rows.len(), 4 * 144 + 1);
    let (time, row) = &rows[1];
    assert_eq!((*time, &row["price"]), (START + 5, &crate::series::Value::Float(999.0)));
}

#[test]
fn a_target_that_is_added_later_begins_with_what_is_still_there() {
    let s = Store::new();
    s.ticks("A", steady(6));
    s.run(plan(START + 2 * DAY + 6 * HOUR));
    s.run(vec![
        down("tick.A", "1d", START + 4 * DAY),
        down("tick.A", "1h", START + 4 * DAY),
        drop_before("tick.A", START + 4 * DAY),
    ]);
    let daily = s.rows("bar.1d.A");
    assert_eq!(daily.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [START + 2 * DAY, START + 3 * DAY]);
    assert_eq!(field(&daily, START + 3 * DAY, "volume"), 144.0);
    assert_eq!(s.rows("bar.1h.A").len(), 96, "the older target loses nothing");
}

/// Two sources, one target: a feed that sends its own bars beside its ticks.
#[test]
fn bars_of_a_feed_stay_as_they_are_unless_the_plan_may_overwrite() {
    let s = Store::new();
    s.ticks("A", steady(4));
    let values =
        |v: f64| ["open", "high", "low", "close", "volume"].map(|n| Column::float(n, vec![v])).to_vec();
    s.put("bar.1h.A", Frame { times: vec![START + HOUR], columns: values(77.0) });
    s.run(plan(START + 2 * DAY));
    let bars = s.rows("bar.1h.A");
    assert_eq!(bars.len(), 48);
    assert_eq!((field(&bars, START, "source_rows"), field(&bars, START, "close")), (6.0, 5.0));
    for name in ["open", "high", "low", "close", "volume"] {
        assert_eq!(field(&bars, START + HOUR, name), 77.0, "{name}");
    }
    // Late rows widen what the rollup made, and nothing else.
    s.ticks("A", [(START + 5, 999.0), (START + HOUR + 5, 999.0)]);
    s.run(plan(START + 2 * DAY));
    let bars = s.rows("bar.1h.A");
    assert_eq!((field(&bars, START, "high"), field(&bars, START + HOUR, "high")), (999.0, 77.0));

    let s = Store::new();
    s.ticks("A", steady(4));
    s.put("bar.1h.A", Frame { times: vec![START + HOUR], columns: values(77.0) });
    let may = plugin(Grants { overwrite: true, ..all_grants() });
    let checked = s.r().check(&may, plan(START + 2 * DAY), s.now(), false).unwrap();
    s.r().execute(&may, &checked, &mut |_| ()).unwrap();
    assert_eq!(field(&s.rows("bar.1h.A"), START + HOUR, "close"), 11.0);
}

/// What a bar says of its own rows is not rolled on: an hour of 60 minutes has 60.
#[test]
fn the_rows_of_a_rollup_are_those_of_its_direct_source() {
    let s = Store::new();
    s.ticks("A", steady(6));
    s.run(vec![down("tick.A", "10m", START + 4 * DAY)]);
    s.run(vec![down("bar.10m.A", "1h", START + 3 * DAY)]);
    let (fine, hourly) = (s.rows("bar.10m.A"), s.rows("bar.1h.A"));
    assert_eq!((field(&fine, START, "source_rows"), field(&hourly, START, "source_rows")), (1.0, 6.0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes when: each bar's high and low are those of every row that was ever written, whole buckets
    /// count all their rows, and a second run changes nothing.
    #[test]
    fn no_row_is_lost_to_the_rollup(
        batches in prop::collection::vec((prop::collection::vec((0_i64..72, 0_i64..60, -50_i32..50), 1..20), 0_i64..72), 1..6)
    ) {
        let s = Store::new();
        // A newest row far ahead, so that everything here is old enough.
        s.ticks("A", [(START + 30 * DAY, 0.0)]);
        let mut ever: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut reached = 0;
        for (rows, until) in batches {
            // A (hour, minute) has one price for ever: what overwrites is another matter.
            let rows: Vec<(i64, f64)> = rows.into_iter().filter(|(h, m, _)| seen.insert((*h, *m)))
                .map(|(h, m, p)| (START + h * HOUR + m * 60 * SECOND, f64::from(p))).collect();
            for (t, p) in &rows {
                ever.entry((t - START) / HOUR).or_default().push(*p);
            }
            s.ticks("A", rows);
            reached = reached.max(until);
            s.run(plan(START + until * HOUR));
            let once = s.state();
            s.run(plan(START + until * HOUR));
            prop_assert_eq!(&s.state(), &once);
        }
        s.run(plan(START + reached * HOUR));
        let bars = s.rows("bar.1h.A");
        for (hour, prices) in ever.iter().filter(|(h, _)| **h < reached) {
            let high = prices.iter().copied().fold(f64::MIN, f64::max);
            let low = prices.iter().copied().fold(f64::MAX, f64::min);
            prop_assert_eq!(field(&bars, START + hour * HOUR, "high"), high);
            prop_assert_eq!(field(&bars, START + hour * HOUR, "low"), low);
        }
    }
}
