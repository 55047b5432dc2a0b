//! Writes and reads where it may and where it may not, and logs how it went: one line each, `WHAT: ok` or `WHAT: CODE`.

use hostile::{
    Column, Cursor, Error, Frame, Guest, PlanResult, SeriesKey, TimeRange, Values, done, key, log, series,
};

const DAY_NS: i64 = 86_400_000_000_000;

struct Writer;

impl Guest for Writer {
    fn plan(_cursor: Cursor, now: i64) -> Result<PlanResult, Error> {
        let day = now - now.rem_euclid(DAY_NS);
        let granted = key("market", "bar.1d.WRITER");
        say("granted write", write(&granted, row(day, 1.0)));
        say("the same time again", write(&granted, row(day, 2.0)));
        say("ungranted write", write(&key("market", "tick.AAPL"), row(day, 1.0)));
        say("ungranted bucket", write(&key("metrics", "bar.1d.WRITER"), row(day, 1.0)));
        say(
            "columns of different lengths",
            write(&granted, Frame { times: vec![day, day + 1], ..row(day, 1.0) }),
        );
        say("not a number", write(&granted, row(day + 2, f64::NAN)));
        say("the end of time", write(&granted, row(i64::MAX, 1.0)));
        let range = || TimeRange { start: i64::MIN, end: i64::MAX };
        let read =
            |key: &SeriesKey| series::open_scan(key, range(), &[]).and_then(|s| s.next(u32::MAX)).map(|_| ());
        say("granted read", read(&granted));
        say("ungranted read", read(&key("market", "secret.POSITIONS")));
        done(Vec::new())
    }
}

fn write(key: &SeriesKey, frame: Frame) -> Result<(), hostile::shiphold::host::types::Error> {
    series::write(key, &frame).map(|_| ())
}

fn row(time: i64, close: f64) -> Frame {
    let column = Column { name: "close".into(), values: Values::Floats(vec![close]), valid: Vec::new() };
    Frame { times: vec![time], columns: vec![column] }
}

fn say(what: &str, outcome: Result<(), hostile::shiphold::host::types::Error>) {
    let how = match outcome {
        Ok(()) => "ok".into(),
        Err(e) => format!("{e:?}"),
    };
    log::write(log::Level::Info, &format!("{what}: {how}"));
}

hostile::export!(Writer);
