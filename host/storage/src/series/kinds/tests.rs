use super::*;
use chrono_tz::Tz;
use proptest::prelude::*;

fn ns(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap()
}

fn tf(text: &str) -> Timeframe {
    text.parse().unwrap()
}

fn key(measurement: &str, tags: &[(&str, &str)]) -> SeriesKey {
    let tags = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    SeriesKey::new("market", measurement, tags).unwrap()
}

#[test]
fn measurements_have_kinds() {
    for (name, kind) in [
        ("bar.1m.AAPL", Kind::Bar),
        ("bar.1d.BRK.B", Kind::Bar),
        ("bar", Kind::Other),
        ("bar.", Kind::Other),
        ("bar.1m", Kind::Other),
        ("bar.1m.", Kind::Other),
        ("bar.7h.AAPL", Kind::Other),
        ("tick.BTC/USD", Kind::Tick),
        ("tick", Kind::Other),
        ("book.A", Kind::Book),
        ("signal.momentum", Kind::Signal),
        ("metric.feed", Kind::Metric),
        ("metrics.feed", Kind::Other),
        ("barometer.1m.X", Kind::Other),
        ("", Kind::Other),
    ] {
        assert_eq!(Kind::of(name), kind, "{name}");
    }
    assert_eq!(timeframe_of("bar.15m.BRK.B"), Some("15m"));
    assert_eq!(symbol_of("bar.15m.BRK.B"), Some("BRK.B"));
    assert_eq!(symbol_of("tick.BRK.B"), Some("BRK.B"));
    assert_eq!(symbol_of("signal.x"), None);
    assert_eq!(timeframe_of("tick.X"), None);
}

#[test]
fn lines_become_typed_measurements_or_stay_what_they_are() {
    let bar = typed_key(key("bar", &[("symbol", "BRK.B"), ("timeframe", "1m"), ("venue", "X")]));
    assert_eq!(bar, key("bar.1m.BRK.B", &[("venue", "X")]));
    assert_eq!(typed_key(key("tick", &[("symbol", "A")])), key("tick.A", &[]));
    assert_eq!(typed_key(key("book", &[("symbol", "A")])), key("book.A", &[]));
    assert_eq!(
        typed_key(key("signal", &[("strategy", "m"), ("symbol", "A")])),
        key("signal.m", &[("symbol", "A")])
    );
    for name in ["metric", "metrics"] {
        assert_eq!(
            typed_key(key(name, &[("component", "feed"), ("host", "h")])),
            key("metric.feed", &[("host", "h")])
        );
    }
    for free in [
        key("bar", &[("symbol", "A")]),
        key("bar", &[("timeframe", "1m")]),
        key("bar", &[("symbol", "A"), ("timeframe", "7h")]),
        key("bar", &[("symbol", "A"), ("timeframe", "1.m")]),
        key("tick", &[("sym", "A")]),
        key("cpu", &[("symbol", "A"), ("timeframe", "1m")]),
        key("bar.1m.A", &[("symbol", "B"), ("timeframe", "5m")]),
    ] {
        assert_eq!(typed_key(free.clone()), free);
    }
}

#[test]
fn rollups_have_names_only_where_they_make_sense() {
    for (source, target, want) in [
        ("bar.1m.AAPL", "1h", Some("bar.1h.AAPL")),
        ("tick.BRK.B", "1m", Some("bar.1m.BRK.B")),
        ("bar.1h.A", "1d", Some("bar.1d.A")),
        ("bar.1d.A", "1w", Some("bar.1w.A")),
        ("bar.1d.A", "1mo", Some("bar.1mo.A")),
        ("bar.1m.A", "1m", None),
        ("bar.60m.A", "1h", None),
        ("bar.1h.A", "1m", None),
        ("bar.45m.A", "1h", None),
        ("bar.1w.A", "1mo", None),
        ("bar.2d.A", "1w", None),
        ("book.A", "1m", None),
        ("metric.A", "1m", None),
        ("bar.1m.A", "soon", None),
    ] {
        assert_eq!(rollup_measurement(source, target).as_deref(), want, "{source} to {target}");
    }
}

#[test]
fn timeframes_are_read_and_shown() {
    for text in
        ["1s", "5s", "1m", "5m", "15m", "1h", "4h", "12h", "1d", "1w", "1mo", "3mo", "43200s", "1000d"]
    {
        assert_eq!(tf(text).to_string(), text);
        assert_eq!(
            serde_json::from_str::<Timeframe>(&serde_json::to_string(&tf(text)).unwrap()).unwrap(),
            tf(text)
        );
    }
    for text in [
        "",
        "1",
        "m",
        "0m",
        "01m",
        "7h",
        "24h",
        "86400s",
        "1001d",
        "1 m",
        "-1m",
        "1M",
        "1y",
        "1.5h",
        "99999999999s",
        "1min",
        "4294967295d",
    ] {
        let e = text.parse::<Timeframe>().unwrap_err();
        assert!(e.hint_text().is_some() && e.kind() == crate::Kind::Invalid, "{text}: {e}");
    }
}

#[test]
fn bars_of_utc() {
    let t = ns("2024-03-10T15:47:31.5Z");
    for (frame, start, end) in [
        ("1s", "2024-03-10T15:47:31Z", "2024-03-10T15:47:32Z"),
        ("15m", "2024-03-10T15:45:00Z", "2024-03-10T16:00:00Z"),
        ("4h", "2024-03-10T12:00:00Z", "2024-03-10T16:00:00Z"),
        ("1d", "2024-03-10T00:00:00Z", "2024-03-11T00:00:00Z"),
        ("1w", "2024-03-04T00:00:00Z", "2024-03-11T00:00:00Z"),
        ("1mo", "2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z"),
        ("3mo", "2024-01-01T00:00:00Z", "2024-04-01T00:00:00Z"),
    ] {
        assert_eq!(tf(frame).bar_at(t, Tz::UTC), Bar { start: ns(start), end: ns(end) }, "{frame}");
    }
    // Before the epoch too.
    assert_eq!(tf("1d").floor(-1, Tz::UTC), ns("1969-12-31T00:00:00Z"));
    assert_eq!(tf("1w").floor(-1, Tz::UTC), ns("1969-12-29T00:00:00Z"));
    assert_eq!(tf("1mo").floor(-1, Tz::UTC), ns("1969-12-01T00:00:00Z"));
}

#[test]
fn days_of_new_york_have_23_24_or_25_hours() {
    let ny = Tz::America__New_York;
    let spring = tf("1d").bar_at(ns("2024-03-10T15:00:00Z"), ny);
    assert_eq!(spring, Bar { start: ns("2024-03-10T05:00:00Z"), end: ns("2024-03-11T04:00:00Z") });
    let autumn = tf("1d").bar_at(ns("2024-11-03T15:00:00Z"), ny);
    assert_eq!(autumn, Bar { start: ns("2024-11-03T04:00:00Z"), end: ns("2024-11-04T05:00:00Z") });
    // A week across the change begins and ends on a local Monday.
    let week = tf("1w").bar_at(ns("2024-03-06T12:00:00Z"), ny);
    assert_eq!(week, Bar { start: ns("2024-03-04T05:00:00Z"), end: ns("2024-03-11T04:00:00Z") });
    let month = tf("1mo").bar_at(ns("2024-03-31T23:30:00-04:00"), ny);
    assert_eq!(month, Bar { start: ns("2024-03-01T00:00:00-05:00"), end: ns("2024-04-01T00:00:00-04:00") });
    // Four-hour bars of the short day: five of four hours and one of three.
    let last = tf("4h").bar_at(ns("2024-03-11T03:59:59Z"), ny);
    assert_eq!(last, Bar { start: ns("2024-03-11T01:00:00Z"), end: ns("2024-03-11T04:00:00Z") });
}

#[test]
fn odd_zones_have_days_too() {
    // Half an hour off: hours are counted from local midnight.
    assert_eq!(tf("1h").floor(ns("2024-01-02T10:05:00Z"), Tz::Asia__Kolkata), ns("2024-01-02T09:30:00Z"));
    // Midnight did not exist in São Paulo when clocks went forward.
    let day = tf("1d").bar_at(ns("2018-11-04T12:00:00Z"), Tz::America__Sao_Paulo);
    assert_eq!(day, Bar { start: ns("2018-11-04T03:00:00Z"), end: ns("2018-11-05T02:00:00Z") });
    // Samoa skipped 30 December 2011.
    let apia = Tz::Pacific__Apia;
    let before = tf("1d").bar_at(ns("2011-12-30T09:59:59Z"), apia);
    let after = tf("1d").bar_at(ns("2011-12-30T10:00:00Z"), apia);
    assert_eq!(before.end, after.start);
    assert_eq!(after.end - after.start, 86_400 * 1_000_000_000);
}

#[test]
fn local_times_that_are_skipped_or_repeated_have_an_instant() {
    let local = |text: &str| chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
    let ny = Tz::America__New_York;
    assert_eq!(instant_of_local(local("2024-03-10 02:30"), ny), ns("2024-03-10T07:00:00Z"));
    assert_eq!(instant_of_local(local("2024-11-03 01:30"), ny), ns("2024-11-03T05:30:00Z"));
    assert!(zone("timezone", Some("Mars/Phobos")).unwrap_err().message().contains("Mars/Phobos"));
    assert_eq!(zone("timezone", None).unwrap(), Tz::UTC);
}

fn zones() -> impl Strategy<Value = Tz> {
    prop::sample::select(vec![
        Tz::UTC,
        Tz::America__New_York,
        Tz::America__Sao_Paulo,
        Tz::America__St_Johns,
        Tz::Asia__Kolkata,
        Tz::Australia__Lord_Howe,
        Tz::Europe__London,
        Tz::Pacific__Apia,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bars_are_a_partition(
        t in -2_000_000_000_i64..5_000_000_000,
        frame in prop::sample::select(vec!["1s", "15m", "1h", "4h", "1d", "3d", "1w", "2w", "1mo", "3mo"]),
        zone in zones(),
    ) {
        let (t, frame) = (t * 1_000_000_000 + 1, tf(frame));
        let bar = frame.bar_at(t, zone);
        prop_assert!(bar.start <= t && t < bar.end, "{bar:?}");
        prop_assert_eq!(frame.bar_at(bar.start, zone), bar);
        prop_assert_eq!(frame.bar_at(bar.end - 1, zone), bar);
        prop_assert_eq!(frame.bar_at(bar.end, zone).start, bar.end);
    }

    #[test]
    fn no_time_and_no_text_panics(t in any::<i64>(), zone in zones(), text in "[0-9]{0,5}(s|m|h|d|w|mo|x)?") {
        if let Ok(frame) = text.parse::<Timeframe>() {
            let bar = frame.bar_at(t, zone);
            prop_assert!(bar.start <= bar.end);
            prop_assert_eq!(text, frame.to_string());
        }
        for frame in ["1s", "4h", "1d", "1000w", "1mo"] {
            let bar = tf(frame).bar_at(t, zone);
            prop_assert!(bar.start <= t.max(crate::series::model::TIME_MIN_NS) && (t < bar.end || bar.end == i64::MAX));
        }
    }
}
