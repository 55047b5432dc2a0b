//! Archives as an operator makes them, and has them back.

use super::*;
use crate::backup::lines::SeriesReader;
use crate::error::Kind;
use crate::files::PutOptions;
use crate::series::archives::{Archiving, Restore, Restored};
use crate::series::query::Time;

fn restore(s: &Store, request: &Restore) -> crate::Result<Restored> {
    s.layer.archives().restore(&OP, request, &Budget::default(), &mut |_, _| ())
}

#[test]
fn old_rows_go_by_a_word_and_come_back_by_another() {
    let s = Store::new();
    s.ticks("A", steady(2));
    let by_hand = |dry_run| {
        let request = Archiving {
            bucket: Some("market".into()),
            measurement: "tick.*".into(),
            tags: Vec::new(),
            store: "cold".into(),
            before: Time::Ns(START + DAY),
            copy: false,
            confirm: false,
            dry_run,
        };
        s.layer.archives().archive(&OP, &request, &mut |_, _| ()).unwrap()
    };
    let dry = by_hand(true);
    assert_eq!((dry.plan.steps.len(), dry.plan.drop_rows, dry.report), (2, 144, None));
    assert_eq!(s.rows("tick.A").len(), 288);
    let report = by_hand(false).report.unwrap();
    assert_eq!((report.archived_rows, report.dropped_rows), (144, 144));
    assert!(by_hand(false).plan.steps.is_empty(), "nothing is left to do");
    let mut request = Restore {
        bucket: Some("market".into()),
        measurement: Some("*".into()),
        dry_run: true,
        ..Restore::default()
    };
    let dry = restore(&s, &request).unwrap();
    assert_eq!((dry.files, dry.rows, dry.written, s.rows("tick.A").len()), (1, 144, 0, 144));
    request.dry_run = false;
    let done = restore(&s, &request).unwrap();
    assert_eq!((done.series, done.rows, done.written, s.rows("tick.A").len()), (1, 144, 144, 288));
    assert_eq!(restore(&s, &request).unwrap().files, 0);
}

#[test]
fn an_archive_of_line_protocol_is_listed_and_brought_back() {
    let s = Store::new();
    s.ticks("A", [(START + 1, 7.0)]);
    let columns = vec![Column::float("price", vec![1.5, 2.5])];
    let old = Frame { times: vec![START, START + 1], columns };
    let stream: crate::series::FrameStream = Box::new(std::iter::once(Ok(old)));
    let mut content = SeriesReader::new(&key("tick.A"), stream).unwrap();
    let metadata = serde_json::json!({
        "format": "line protocol, nanoseconds", "bucket": "market", "rows": 2, "first": START, "last": START + 1,
    });
    let options =
        PutOptions { media_type: Some("application/gzip".into()), metadata, ..PutOptions::default() };
    let path = "tick/2024-10-04/tick.A-1a2b3c4d.lp.gz";
    s.layer.files().put(&OP, "cold", path, &mut content, options).unwrap();
    assert_eq!(s.layer.archives().old(&OP).unwrap().len(), 1);
    let mut request = Restore { file: Some(format!("cold/{path}")), dry_run: true, ..Restore::default() };
    let dry = restore(&s, &request).unwrap();
    assert_eq!((dry.rows, dry.written, s.rows("tick.A").len()), (2, 0, 1));
    request.dry_run = false;
    let done = restore(&s, &request).unwrap();
    assert_eq!((done.rows, done.written), (2, 1));
    let rows = s.rows("tick.A");
    assert_eq!(
        (field(&rows, START, "price"), field(&rows, START + 1, "price")),
        (1.5, 7.0),
        "what is there stays"
    );
    assert_eq!(restore(&s, &request).unwrap().written, 0);
    request.file = Some("cold/none".into());
    assert_eq!(restore(&s, &request).unwrap_err().kind(), Kind::NotFound);
}
