//! Names what is not there, twice and out of order, at times that cannot be.

use hostile::{
    Action, Archive, Cursor, Downsample, DropBefore, DropFile, Error, Guest, PlanResult, SeriesKey, key, log,
    metrics,
};

struct Liar;

impl Guest for Liar {
    fn plan(cursor: Cursor, now: i64) -> Result<PlanResult, Error> {
        // Counts and names that no honest guest gives.
        cursor.next(0);
        cursor.next(u32::MAX);
        for (name, value) in [("nan", f64::NAN), ("endless", f64::INFINITY), ("BAD NAME\n", 1.0), ("", 0.0)] {
            let _ = metrics::gauge(name, value);
        }
        let _ = metrics::gauge(&"n".repeat(1 << 16), 1.0);
        log::write(log::Level::Error, "\u{1b}[2J\r\nforged line\u{0}");
        log::write(log::Level::Warn, &"x".repeat(1 << 20));

        let unsorted = SeriesKey {
            bucket: "market".into(),
            measurement: "tick.AAPL".into(),
            tags: vec![("z".into(), "1".into()), ("a".into(), "2".into()), ("z".into(), "1".into())],
        };
        let mut actions = Vec::new();
        for key in [
            key("", ""),
            key("no such bucket", "../../etc"),
            key("market", "tick.*"),
            unsorted,
            key("market", "bar.1m.AAPL"),
        ] {
            for before in [i64::MAX, i64::MIN, now, -1] {
                actions.push(Action::DropBefore(DropBefore { key: key.clone(), before }));
                for timeframe in ["", "0m", "-1h", "1m", "99999999999999999999d", "1y\u{0}"] {
                    actions.push(Action::Downsample(Downsample {
                        key: key.clone(),
                        timeframe: timeframe.into(),
                        before,
                    }));
                }
                for store in ["", "..", "/", "models"] {
                    actions.push(Action::Archive(Archive { key: key.clone(), store: store.into(), before }));
                }
            }
        }
        for path in ["", "../../shiphold.db", "/etc/passwd", "a\u{0}b"] {
            actions.push(Action::DropFile(DropFile { store: "models".into(), path: path.into() }));
        }
        Ok(PlanResult { actions, more: true })
    }
}

hostile::export!(Liar);
