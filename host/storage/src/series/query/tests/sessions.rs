//! Trading sessions.

use super::*;
use crate::series::kinds::Session;

fn session(session: Session, q: Query) -> Query {
    Query { session: Some(Sessions::Given(session)), ..q }
}

/// A value every half an hour of two days around Independence Day 2024; the day before closes early.
fn july() -> ModelEngine {
    let begin = ns("2024-07-03T00:00:00-04:00");
    let rows = (0..3 * 48).map(|i| (begin + i * 30 * MINUTE, bar(1.0, 1.0, 1.0, i as f64, 1.0)));
    engine(&[(key("bar.30m.A", &[]), rows.collect())])
}

#[test]
fn rows_outside_are_left_out() {
    let table = ask(&july(), &session(Session::new_york(), query("bar.30m.A")));
    // Half past nine until one on the third, nothing on the fourth, until four on the fifth.
    assert_eq!(table.rows(), 7 + 13);
    assert_eq!(table.frame.times[0], ns("2024-07-03T09:30:00-04:00"));
    assert_eq!(table.frame.times[6], ns("2024-07-03T12:30:00-04:00"));
    assert_eq!(table.frame.times[7], ns("2024-07-05T09:30:00-04:00"));
    assert_eq!(table.frame.times[19], ns("2024-07-05T15:30:00-04:00"));
    let newest = Query { descending: true, limit: Some(14), ..query("bar.30m.A") };
    let table = ask(&july(), &session(Session::new_york(), newest));
    assert_eq!((table.frame.times[13], table.truncated), (ns("2024-07-03T12:30:00-04:00"), true));
}

#[test]
fn windows_begin_with_the_session() {
    let windows = |every: &str, fill| {
        let q = Query {
            window: Some(Window {
                every: every.into(),
                aggregates: vec![Aggregate { field: "volume".into(), function: Function::Sum, q: None }],
            }),
            fill,
            ..query("bar.30m.A")
        };
        let table = ask(&july(), &session(Session::new_york(), q));
        table.frame.times.iter().copied().zip(floats(&table, "volume_sum")).collect::<Vec<_>>()
    };
    let (third, fifth) = (ns("2024-07-03T09:30:00-04:00"), ns("2024-07-05T09:30:00-04:00"));
    assert_eq!(windows("1d", Fill::None), [(third, Some(7.0)), (fifth, Some(13.0))]);
    assert_eq!(
        windows("1w", Fill::None),
        [(ns("2024-07-01T09:30:00-04:00"), Some(20.0))],
        "the week's first session"
    );
    let hours = windows("4h", Fill::Null);
    let at = |begin: i64, h: i64| begin + h * 60 * MINUTE;
    assert_eq!(
        hours,
        [(third, Some(7.0)), (fifth, Some(8.0)), (at(fifth, 4), Some(5.0))],
        "no window where nobody trades, and the last of a session ends with it"
    );
    let bars = Query { resample: Some("1d".into()), ..query("bar.30m.A") };
    let table = ask(&july(), &session(Session::new_york(), bars));
    assert_eq!(floats(&table, "close"), some(&[25.0, 127.0]));
}

#[test]
fn a_fill_goes_from_session_to_session() {
    let v = |x| row(&[("v", Value::Float(x))]);
    let engine = engine(&[(
        key("m", &[]),
        vec![(ns("2024-07-03T12:10:00-04:00"), v(1.0)), (ns("2024-07-05T10:40:00-04:00"), v(2.0))],
    )]);
    let q = Query {
        window: Some(Window {
            every: "30m".into(),
            aggregates: vec![Aggregate { field: "v".into(), function: Function::Last, q: None }],
        }),
        fill: Fill::Previous,
        ..query("m")
    };
    let table = ask(&engine, &session(Session::new_york(), q));
    let times = ["03T12:00", "03T12:30", "05T09:30", "05T10:00", "05T10:30"]
        .map(|t| ns(&format!("2024-07-{t}:00-04:00")));
    assert_eq!(table.frame.times, times);
    assert_eq!(floats(&table, "v_last"), some(&[1.0, 1.0, 1.0, 1.0, 2.0]));
}

#[test]
fn a_session_over_midnight_is_of_the_date_that_it_closes_on() {
    let futures = Session {
        timezone: "America/Chicago".into(),
        open: "17:00".into(),
        close: "16:00".into(),
        holidays: Vec::new(),
        early: [("2024-07-03".to_string(), "12:15".to_string())].into(),
        ..Session::new_york()
    };
    // Every hour from Sunday noon to Wednesday midnight.
    let begin = ns("2024-06-30T12:00:00-05:00");
    let rows = (0..84).map(|i| (begin + i * 60 * MINUTE, bar(1.0, 1.0, 1.0, 1.0, 1.0)));
    let engine = engine(&[(key("bar.1h.ES", &[]), rows.collect())]);
    let days = Query { resample: Some("1d".into()), ..query("bar.1h.ES") };
    let table = ask(&engine, &session(futures, days));
    let opens = ["06-30", "07-01", "07-02", "07-03"].map(|d| ns(&format!("2024-{d}T17:00:00-05:00")));
    assert_eq!(table.frame.times, opens);
    assert_eq!(floats(&table, "volume"), some(&[23.0, 23.0, 20.0, 7.0]));
}

#[test]
fn the_zone_of_the_session_is_that_of_the_query() {
    let q = Query { start: Some("2024-07-05 15:00".into()), ..query("bar.30m.A") };
    assert_eq!(ask(&july(), &session(Session::new_york(), q.clone())).rows(), 2);
    let utc = Query { timezone: Some("UTC".into()), ..q };
    assert_eq!(ask(&july(), &session(Session::new_york(), utc)).rows(), 10);
}

#[test]
fn a_session_that_makes_no_sense_is_refused() {
    let with = |change: fn(&mut Session)| {
        let mut s = Session::new_york();
        change(&mut s);
        let e = refused(&july(), &session(s, query("bar.30m.A")));
        e.message().to_string()
    };
    for (change, word) in [
        ((|s| s.timezone = "Mars".into()) as fn(&mut Session), "`Mars`"),
        (|s| s.open = "9.30".into(), "`session.open`: `9.30`"),
        (|s| s.weekdays = vec!["monday".into()], "`monday`"),
        (|s| s.weekdays = vec![], "no date would have"),
        (|s| s.holidays = vec!["04.07.2024".into()], "`04.07.2024`"),
        (|s| drop(s.early.insert("2024-07-08".into(), "09:00".into())), "2024-07-08"),
        (|s| drop(s.early.insert("2024-07-08".into(), "16:00".into())), "2024-07-08"),
    ] {
        let message = with(change);
        assert!(message.contains(word), "{word}: {message}");
    }
    let dates = |n: usize| {
        let day = |i: usize| {
            (chrono::NaiveDate::from_ymd_opt(2000, 1, 1).unwrap() + chrono::Days::new(i as u64)).to_string()
        };
        Session { holidays: (0..n).map(day).collect(), ..Session::new_york() }
    };
    use crate::series::kinds::SESSION_DATES_MAX;
    assert!(dates(SESSION_DATES_MAX).calendar("session").is_ok());
    assert!(dates(SESSION_DATES_MAX + 1).calendar("session").is_err());
    let named = Query { session: Some(Sessions::Named("nyse".into())), ..query("bar.30m.A") };
    assert!(refused(&july(), &named).hint_text().unwrap().contains("calendars"));
    // Bars of an hour begin at nine: the first half hour of the session would be missing.
    let engine = engine(&[(key("bar.1h.A", &[]), vec![(1, bar(1.0, 1.0, 1.0, 1.0, 1.0))])]);
    let hours = Query { resample: Some("1d".into()), ..query("bar.1h.A") };
    assert!(refused(&engine, &session(Session::new_york(), hours)).message().contains("do not begin"));
}

#[test]
fn the_json_form() {
    let q: Query = serde_json::from_value(json!({ "measurement": "m", "session": "nyse" })).unwrap();
    assert_eq!(q.session, Some(Sessions::Named("nyse".into())));
    let given = json!({ "timezone": "America/New_York", "open": "09:30", "close": "16:00", "holidays": ["2024-07-04"],
        "early": { "2024-07-03": "13:00" } });
    let q: Query = serde_json::from_value(json!({ "measurement": "m", "session": given })).unwrap();
    assert_eq!(q.session, Some(Sessions::Given(Session::new_york())));
    let e = serde_json::from_value::<Query>(json!({ "measurement": "m", "session": { "opens": "09:30" } }))
        .unwrap_err();
    assert!(e.to_string().contains("unknown field `opens`"), "{e}");
}

proptest! {
    /// A row is in a session when a bar holds it, bars of a session follow each other without a gap, and clocks that change
    /// change nothing about it.
    #[test]
    fn bars_are_parts_of_sessions(
        t in 0_i64..2_000_000_000,
        frame in prop::sample::select(vec!["1m", "30m", "4h", "1d", "3d", "1w", "1mo"]),
        zone in prop::sample::select(vec!["America/New_York", "Europe/London", "Australia/Lord_Howe", "UTC"]),
        hours in (0_u32..24, 0_u32..24),
        weekend: bool,
    ) {
        let mut given = Session {
            timezone: zone.into(),
            open: format!("{:02}:30", hours.0),
            close: format!("{:02}:00", hours.1),
            early: BTreeMap::new(),
            ..Session::new_york()
        };
        if weekend {
            given.weekdays = vec!["sat".into()];
        }
        let calendar = given.calendar("session").unwrap();
        let (t, frame): (i64, Timeframe) = (t * 1_000_000_000, frame.parse().unwrap());
        let (date, session) = calendar.session_from(t).unwrap();
        prop_assert!(session.end > t && session.start < session.end);
        prop_assert!(!given.holidays.contains(&date.to_string()));
        prop_assert_eq!(calendar.within(&[t]), [session.start <= t]);
        let bar = calendar.bar_from(frame, t).unwrap();
        prop_assert!(bar.start <= t.max(session.start) && t.max(session.start) < bar.end);
        prop_assert_eq!(calendar.bar_from(frame, bar.start), Some(bar));
        prop_assert_eq!(calendar.bar_from(frame, bar.end - 1), Some(bar));
        let next = calendar.bar_from(frame, bar.end).unwrap();
        prop_assert!(next.start >= bar.end, "{:?} {:?}", bar, next);
    }
}
