//! Pages of an answer.

use super::*;

/// Page after page, until there is no next one.
fn pages(engine: &ModelEngine, q: &Query, limit: u64, between: &mut dyn FnMut()) -> Vec<Table> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = ask(engine, &Query { limit: Some(limit), after, ..q.clone() });
        assert_eq!(page.truncated, page.next.is_some());
        after = page.next.clone();
        all.push(page);
        if after.is_none() {
            return all;
        }
        between();
    }
}

fn joined(pages: &[Table]) -> Frame {
    let mut all = Joined::default();
    for page in pages {
        all.add(page.frame.clone()).unwrap();
    }
    all.frame
}

fn three() -> ModelEngine {
    let v = |x: i64| row(&[("v", Value::Float(x as f64))]);
    let rows = |n: i64| (0..n).map(|i| (i * 10, v(i))).collect::<Vec<_>>();
    engine(&[
        (key("m", &[("host", "a")]), rows(5)),
        (key("m", &[("host", "b")]), rows(1)),
        (key("n", &[]), rows(4)),
    ])
}

#[test]
fn pages_are_the_answer_in_parts() {
    for descending in [false, true] {
        let q = Query { descending, ..query("*") };
        let whole = ask(&three(), &q);
        for limit in 1..=11 {
            let pages = pages(&three(), &q, limit, &mut || ());
            assert_eq!(joined(&pages), whole.frame, "{limit} {descending}");
            assert_eq!(pages.len(), 10_usize.div_ceil(limit as usize), "no page is empty");
        }
    }
}

#[test]
fn rows_that_come_and_go_meanwhile_move_nothing() {
    let engine = three();
    let write = |series: SeriesKey, time: i64| {
        let rows = [(time, row(&[("v", Value::Float(-1.0))]))];
        engine.write(WriteBatch { series: vec![(series, frame_of(&rows))] }).unwrap();
    };
    let mut time = 1;
    let got = pages(&engine, &query("*"), 2, &mut || {
        // Before what was given, and in a series that comes first: neither is on a later page.
        write(key("m", &[("host", "a")]), -time);
        write(key("a", &[]), time);
        time += 1;
    });
    let values: Vec<f64> = got.iter().flat_map(|p| floats(p, "v")).flatten().collect();
    assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    // The series that a page ended in is gone: the next one goes on behind it.
    let first = ask(&three(), &Query { limit: Some(2), ..query("*") });
    let engine = three();
    let gone = crate::series::Selector { tags: vec![("host".into(), "a".into())], ..Default::default() };
    engine.delete(&gone, TimeRange::ALL).unwrap();
    let rest = ask(&engine, &Query { after: first.next, ..query("*") });
    assert_eq!(floats(&rest, "v"), some(&[0.0, 0.0, 1.0, 2.0, 3.0]));
}

#[test]
fn windows_filled_or_not_are_the_same_on_pages() {
    let begin = ns("2024-07-03T12:10:00-04:00");
    let v = |x: f64| row(&[("v", Value::Float(x))]);
    let rows = vec![(begin, v(1.0)), (begin + 7 * MINUTE, v(2.0)), (begin + 3 * 24 * 60 * MINUTE, v(4.0))];
    let engine = engine(&[(key("m", &[("a", "1")]), rows.clone()), (key("m", &[("a", "2")]), rows)]);
    for fill in [Fill::None, Fill::Null, Fill::Previous, Fill::Linear] {
        for every in ["5m", "1h", "1d"] {
            for descending in [false, true] {
                for session in [
                    None,
                    Some(Sessions::Given(crate::series::kinds::Session {
                        holidays: Vec::new(),
                        weekdays: vec!["wed".into(), "sat".into()],
                        ..crate::series::kinds::Session::new_york()
                    })),
                ] {
                    let aggregate = Aggregate { field: "v".into(), function: Function::Mean, q: None };
                    let q = Query {
                        window: Some(Window { every: every.into(), aggregates: vec![aggregate] }),
                        fill,
                        descending,
                        session,
                        ..query("m")
                    };
                    let whole = ask(&engine, &q);
                    let limit = (whole.rows() as u64 / 5).max(1);
                    assert_eq!(joined(&pages(&engine, &q, limit, &mut || ())), whole.frame, "{q:?}");
                }
            }
        }
    }
}

#[test]
fn joined_rows_are_the_same_on_pages() {
    let engine = three();
    for descending in [false, true] {
        let q = Query {
            descending,
            asof: Some(Asof { measurement: "n".into(), exact: false, ..Asof::default() }),
            ..query("m")
        };
        assert_eq!(joined(&pages(&engine, &q, 1, &mut || ())), ask(&engine, &q).frame);
    }
}

#[test]
fn a_cursor_is_of_its_query_and_whole() {
    let engine = three();
    let next = ask(&engine, &Query { limit: Some(2), ..query("*") }).next.unwrap();
    let with = |after: &str, q: Query| Query { after: Some(after.into()), ..q };
    // Another limit and range are the same query.
    let rest = ask(&engine, &with(&next, Query { end: Some(40.into()), limit: Some(3), ..query("*") }));
    assert_eq!(rest.frame.times, [20, 30, 0]);
    for (q, word) in [
        (with(&next, query("m")), "of another query"),
        (with(&next, Query { descending: true, ..query("*") }), "of another query"),
        (with("", query("*")), "empty"),
        (with("0", query("*")), "not what a page gave"),
        (with("zz", query("*")), "not what a page gave"),
        (with("02", query("*")), "another version"),
        (with(&next[..next.len() - 2], query("*")), "cut off"),
        (with(&format!("{next}00"), query("*")), "cut off"),
        (with(&format!("{next}01000000ff"), query("*")), "not what a page gave"),
    ] {
        let e = refused(&engine, &q);
        assert!(e.message().contains(word), "{word}: {e:?}");
    }
    let long = |n| with(&"0".repeat(n), query("*"));
    assert!(refused(&engine, &long(CURSOR_BYTES_MAX)).message().contains("another version"));
    let e = execute(&engine, &long(CURSOR_BYTES_MAX + 1), &Budget::default(), ROWS_MAX).unwrap_err();
    assert_eq!(e.kind(), Kind::Limit);
}

proptest! {
    #[test]
    fn no_cursor_panics(text in "(01)?[0-9a-f]{0,80}") {
        let _ = execute(&three(), &Query { after: Some(text), ..query("*") }, &Budget::default(), ROWS_MAX);
    }
}
