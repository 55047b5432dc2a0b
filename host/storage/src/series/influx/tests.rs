//! The engine against servers that answer badly, late or not at all.

use super::InfluxEngine;
use super::fake_server::{FakeServer, Reply, engine};
use super::lines::{REQUEST_BYTES_MAX, REQUEST_LINES_MAX};
use crate::error::Kind;
use crate::series::{
    Budget, Column, FieldType, Frame, Selector, SeriesEngine, SeriesKey, TimeRange, Values, WriteBatch,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

mod texts;
mod whole;

/// Longer than any single request of these tests may take.
const PATIENT_MS: u64 = 20_000;

fn key() -> SeriesKey {
    SeriesKey::new("market", "m", vec![("s".into(), "A".into())]).unwrap()
}

fn batch(rows: usize) -> WriteBatch {
    let frame =
        Frame { times: (0..rows as i64).collect(), columns: vec![Column::float("v", vec![1.0; rows])] };
    WriteBatch { series: vec![(key(), frame)] }
}

fn scan(engine: &dyn SeriesEngine, budget: &Budget) -> crate::Result<Vec<Frame>> {
    engine.scan(&key(), TimeRange::ALL, None, budget)?.collect()
}

const HEAD: &str = "#datatype,string,long,dateTime:RFC3339,double,string,string,string\r\n\
    #group,false,false,false,false,true,true,true\r\n#default,_result,,,,,,\r\n\
    ,result,table,_time,_value,_field,_measurement,s\r\n";

#[test]
fn a_malformed_reply_is_an_error_and_never_a_panic() {
    let good = format!("{HEAD},,0,1970-01-01T00:00:00Z,1,v,m,A\r\n\r\n");
    let replies: Vec<Vec<u8>> = vec![
        b"garbage\r\n\r\n".to_vec(),
        b"".to_vec(),
        vec![0xff; 4096],
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n,result".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<html>\xff\r\n".to_vec(),
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", &good[..good.len() - 4]).into_bytes(),
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{HEAD},,0,1970\r\n\r\n").into_bytes(),
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec(),
    ];
    for reply in replies {
        let shown = String::from_utf8_lossy(&reply).chars().take(80).collect::<String>();
        let told = reply.clone();
        let server = FakeServer::start(move |_, _| Reply::Raw(told.clone()));
        let engine = server.engine(PATIENT_MS);
        let said = scan(&engine, &Budget::default());
        assert_eq!(said.unwrap_err().kind(), Kind::Unavailable, "{shown}");
        if reply.starts_with(b"HTTP/1.1 204") {
            // To others than queries it says that all is well.
            continue;
        }
        for error in [
            engine.list(&Selector::default()).unwrap_err(),
            engine.latest(&Selector::of(&key())).unwrap_err(),
            engine.write(batch(1)).unwrap_err(),
            engine.verify(&Budget::default()).unwrap_err(),
            engine.delete(&Selector::of(&key()), TimeRange::ALL).unwrap_err(),
            engine.stats().unwrap_err(),
            engine.retentions().unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::Unavailable, "{shown}: {error:?}");
        }
    }
}

#[test]
fn a_row_that_was_not_asked_for_is_refused() {
    let reply = format!("{HEAD},,0,1970-01-01T00:00:00Z,1,v,m,A\r\n\r\n");
    let server = FakeServer::start(move |_, _| Reply::http(200, "", &reply));
    let engine = server.engine(PATIENT_MS);
    let range = TimeRange::new(10, 20).unwrap();
    let said: crate::Result<Vec<Frame>> =
        engine.scan(&key(), range, None, &Budget::default()).unwrap().collect();
    assert!(said.unwrap_err().to_string().contains("not asked for"));
}

type Question = (&'static str, fn(&InfluxEngine) -> crate::Result<()>);

/// Everything that is asked of a server and changes nothing when it is asked twice, each in one request.
const QUESTIONS: [Question; 5] = [
    ("scan", |e| scan(e, &Budget::default()).map(drop)),
    ("list", |e| e.list(&Selector::of(&key())).map(drop)),
    ("latest", |e| e.latest(&Selector::of(&key())).map(drop)),
    // It asks first which series there are.
    ("delete", |e| e.delete(&Selector::of(&key()), TimeRange::ALL).map(drop)),
    ("buckets", |e| e.retentions().map(drop)),
];

#[test]
fn a_status_becomes_a_kind_with_a_hint() {
    for (status, want) in [
        (400, Kind::Invalid),
        (401, Kind::Unauthenticated),
        (403, Kind::Denied),
        (404, Kind::NotFound),
        (413, Kind::Limit),
        (500, Kind::Unavailable),
        (302, Kind::Unavailable),
        (418, Kind::Unavailable),
    ] {
        let server = FakeServer::start(move |_, _| {
            Reply::http(status, "Location: http://127.0.0.1:1/\r\n", r#"{"code":"x","message":"because"}"#)
        });
        let engine = server.engine(PATIENT_MS);
        for (n, (what, ask)) in QUESTIONS.iter().enumerate() {
            let error = ask(&engine).unwrap_err();
            assert_eq!(error.kind(), want, "{what}, {status}: {error:?}");
            if status == 401 {
                assert!(error.hint_text().unwrap().contains("`influx`"), "{what}: {error:?}");
            }
            assert_eq!(server.asked.lock().unwrap().len(), n + 1, "{what}, {status}: it is not tried again");
        }
    }
}

#[test]
fn a_busy_server_is_tried_again_a_bounded_number_of_times() {
    for status in [429, 503] {
        let server = FakeServer::start(move |n, asked| match n {
            0 if asked.line.contains("/query") => Reply::http(200, "", "\r\n"),
            1 | 2 => Reply::http(status, "", "{}"),
            _ => Reply::http(204, "", ""),
        });
        let said = server.engine(PATIENT_MS).write(batch(3)).unwrap();
        assert_eq!((said.written, said.dropped), (3, 0));
        let asked = server.asked.lock().unwrap();
        assert_eq!(asked.len(), 4);
        assert_eq!(asked[1].body, asked[3].body);

        let server = FakeServer::start(move |_, _| Reply::http(status, "Retry-After: 0\r\n", "{}"));
        assert_eq!(server.engine(PATIENT_MS).write(batch(1)).unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(server.asked.lock().unwrap().len() as u32, super::client::TRIES_MAX);

        for (what, ask) in QUESTIONS {
            let server = FakeServer::start(move |_, _| Reply::http(status, "Retry-After: 3600\r\n", "{}"));
            assert_eq!(ask(&server.engine(PATIENT_MS)).unwrap_err().kind(), Kind::Unavailable, "{what}");
            assert_eq!(server.asked.lock().unwrap().len(), 1, "{what}: an hour is not waited for");

            let server = FakeServer::start(move |_, _| Reply::http(status, "Retry-After: 0\r\n", "{}"));
            assert_eq!(ask(&server.engine(PATIENT_MS)).unwrap_err().kind(), Kind::Unavailable, "{what}");
            assert_eq!(server.asked.lock().unwrap().len() as u32, super::client::TRIES_MAX, "{what}");

            let server = FakeServer::start(move |n, asked| match n {
                0 | 1 => Reply::http(status, "", "{}"),
                _ if asked.line.contains("/buckets") => Reply::http(200, "", r#"{"buckets":[]}"#),
                _ => Reply::http(200, "", "\r\n"),
            });
            ask(&server.engine(PATIENT_MS)).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        }
    }
}

/// What comes after the question which series there are: it is told, and may be asked again.
#[test]
fn a_delete_that_the_server_does_not_take_is_told() {
    let one = format!("{HEAD},,0,1970-01-01T00:00:00Z,1,v,m,A\r\n\r\n");
    let replies: [(Kind, fn() -> Reply); 7] = [
        (Kind::Unavailable, || Reply::http(500, "", "{}")),
        (Kind::Unavailable, || Reply::http(429, "Retry-After: 3600\r\n", "{}")),
        (Kind::Unavailable, || Reply::Raw(b"garbage\r\n\r\n".to_vec())),
        (Kind::Unavailable, || Reply::Raw(b"HTTP/1.1 204 No".to_vec())),
        (Kind::Unavailable, || Reply::Raw(Vec::new())),
        (Kind::Unavailable, || Reply::Hang),
        (Kind::Denied, || Reply::http(403, "", "{}")),
    ];
    for (want, reply) in replies {
        let rows = one.clone();
        let server = FakeServer::start(move |_, asked| match asked.line.contains("/delete") {
            true => reply(),
            false => Reply::http(200, "", &rows),
        });
        let error = server.engine(300).delete(&Selector::of(&key()), TimeRange::ALL).unwrap_err();
        assert_eq!(error.kind(), want, "{error:?}");
        let asked = server.asked.lock().unwrap();
        assert_eq!(asked.iter().filter(|a| a.line.contains("/delete")).count(), 1);
    }
}

#[test]
fn a_list_of_buckets_is_read_page_by_page_and_never_believed() {
    let page = |from: usize, count: usize| {
        let one = |i: usize| {
            let keep = [0_u64, 86_400, 3_153_600_000][i % 3];
            format!(
                r#"{{"id":"{i:016x}","name":"b{i:03}","retentionRules":[{{"type":"expire","everySeconds":{keep}}}]}}"#
            )
        };
        let all: Vec<String> = (from..from + count).map(one).collect();
        format!(r#"{{"buckets":[{{"id":"0f","name":"_monitoring"}},{}]}}"#, all.join(","))
    };
    let server = FakeServer::start(move |n, _| match n {
        0 => Reply::http(200, "", &page(0, 99)),
        1 => Reply::http(200, "", &page(99, 99)),
        _ => Reply::http(200, "", &page(198, 3)),
    });
    let found = server.engine(PATIENT_MS).retentions().unwrap();
    assert_eq!(found.len(), 201);
    assert_eq!(found["b000"], None);
    assert_eq!(found["b001"], Some(crate::units::Span::from_secs(86_400)));
    assert_eq!(found["b002"], Some(crate::units::Span::from_secs(3_153_600_000)), "a hundred years");
    let asked = server.asked.lock().unwrap();
    assert!(asked[1].line.contains(&format!("after={:016x}", 98)), "{:?}", asked[1]);
    drop(asked);
    for bad in [
        "",
        "null",
        "[]",
        r#"{"buckets":{}}"#,
        r#"{"buckets":[{"name":"b"}]}"#,
        r#"{"buckets":[{"id":"../x","name":"b"}]}"#,
        r#"{"buckets":[{"id":"0f","name":"b","retentionRules":[{"everySeconds":-1}]}]}"#,
        r#"{"buckets":[{"id":"0f","name":"b""#,
    ] {
        let server = FakeServer::start(move |_, _| Reply::http(200, "", bad));
        let error = server.engine(PATIENT_MS).retentions().unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{bad}: {error:?}");
    }
}

#[test]
fn a_hanging_server_costs_the_timeout_and_no_more() {
    let server = FakeServer::start(|_, _| Reply::Hang);
    let engine = server.engine(200);
    let error = scan(&engine, &Budget::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("200 ms"), "{error:?}");
    assert_eq!(engine.write(batch(1)).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(engine.verify(&Budget::default()).unwrap_err().kind(), Kind::Unavailable);
    for (what, ask) in QUESTIONS {
        assert_eq!(ask(&engine).unwrap_err().kind(), Kind::Unavailable, "{what}");
    }
    let before = server.asked.lock().unwrap().len();

    // A nearer deadline and a cancel end the wait at once, while the request still hangs.
    let engine = server.engine(3_600_000);
    let budget = Budget { deadline: Some(Instant::now() + Duration::from_millis(50)), ..Budget::default() };
    assert_eq!(scan(&engine, &budget).unwrap_err().kind(), Kind::Timeout);
    let cancel = Arc::new(AtomicBool::new(false));
    let budget = Budget { cancel: Some(cancel.clone()), ..Budget::default() };
    std::thread::scope(|s| {
        s.spawn(|| {
            while server.asked.lock().unwrap().len() < before + 2 {
                std::thread::sleep(Duration::from_millis(1));
            }
            cancel.store(true, Ordering::Relaxed);
        });
        assert_eq!(scan(&engine, &budget).unwrap_err().kind(), Kind::Cancelled);
    });
}

#[test]
fn nobody_there_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let engine = engine(&format!("http://127.0.0.1:{port}"), "o", "t", PATIENT_MS);
    for error in [
        scan(&engine, &Budget::default()).unwrap_err(),
        engine.write(batch(1)).unwrap_err(),
        engine.list(&Selector::default()).unwrap_err(),
        engine.verify(&Budget::default()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.hint_text().unwrap().contains("running"), "{error:?}");
    }
}

#[test]
fn it_works_on_threads_of_another_runtime() {
    let server = FakeServer::start(|_, _| Reply::http(200, "", "\r\n"));
    let engine = Arc::new(server.engine(PATIENT_MS));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let other = engine.clone();
        let found = tokio::task::spawn_blocking(move || scan(&*other, &Budget::default())).await.unwrap();
        assert_eq!(found.unwrap(), []);
        // Even where blocking is bad manners, and where the last handle goes.
        assert_eq!(scan(&*engine, &Budget::default()).unwrap(), []);
        drop(engine);
    });
}

#[test]
fn a_large_batch_goes_out_in_bounded_requests() {
    let server = FakeServer::start(|_, asked| {
        if asked.line.contains("/query") { Reply::http(200, "", "\r\n") } else { Reply::http(204, "", "") }
    });
    let rows = REQUEST_LINES_MAX as usize + 1;
    assert_eq!(server.engine(PATIENT_MS).write(batch(rows)).unwrap().written, rows as u64);
    let writes = |server: &FakeServer| -> Vec<String> {
        let asked = server.asked.lock().unwrap();
        asked.iter().filter(|a| a.line.contains("/write")).map(|a| a.body.clone()).collect()
    };
    let sent = writes(&server);
    assert_eq!(sent.iter().map(|b| b.lines().count()).collect::<Vec<_>>(), [rows - 1, 1]);

    // Long rows are cut by bytes.
    let text = "x".repeat(1 << 20);
    let frame =
        Frame { times: (0..9).collect(), columns: vec![Column::new("t", Values::String(vec![text; 9]))] };
    let server = FakeServer::start(|_, asked| {
        if asked.line.contains("/query") { Reply::http(200, "", "\r\n") } else { Reply::http(204, "", "") }
    });
    server.engine(PATIENT_MS).write(WriteBatch { series: vec![(key(), frame)] }).unwrap();
    let sent = writes(&server);
    assert_eq!(sent.iter().map(|b| b.lines().count()).sum::<usize>(), 9);
    assert!(sent.len() >= 2 && sent.iter().all(|b| b.len() < REQUEST_BYTES_MAX + (2 << 20)));
}

#[test]
fn a_conflict_that_the_server_finds_is_reported() {
    let server = FakeServer::start(|_, asked| {
        if asked.line.contains("/query") {
            return Reply::http(200, "", "\r\n");
        }
        let said = r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: input field \"v\" on measurement \"m\" is type float, already exists as type integer dropped=2"}"#;
        Reply::http(422, "", said)
    });
    let said = server.engine(PATIENT_MS).write(batch(5)).unwrap();
    assert_eq!((said.written, said.dropped, said.conflicts.len()), (3, 2, 1));
    let conflict = &said.conflicts[0];
    assert_eq!((conflict.bucket.as_str(), conflict.field.as_str()), ("market", "v"));
    assert_eq!((conflict.have, conflict.got), (FieldType::Integer, FieldType::Float));

    let server = FakeServer::start(|_, asked| {
        if asked.line.contains("/query") {
            return Reply::http(200, "", "\r\n");
        }
        Reply::http(
            422,
            "",
            r#"{"code":"x","message":"partial write: points beyond retention policy dropped=99"}"#,
        )
    });
    let said = server.engine(PATIENT_MS).write(batch(5)).unwrap();
    assert_eq!((said.written, said.dropped), (0, 5), "a count is not believed beyond what was sent");
}

#[test]
fn an_unhealthy_server_is_a_fault() {
    let server = FakeServer::start(|_, _| {
        Reply::http(
            503,
            "Content-Type: application/json\r\n",
            r#"{"name":"influxdb","message":"starting","status":"fail","checks":[]}"#,
        )
    });
    let faults = server.engine(PATIENT_MS).verify(&Budget::default()).unwrap();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].problem, "starting");
}

#[test]
fn names_that_influxdb_cannot_hold_are_refused_before_anything_is_sent() {
    let server = FakeServer::start(|_, _| Reply::http(500, "", ""));
    let engine = server.engine(PATIENT_MS);
    let one = |bucket: &str, measurement: &str, tag: (&str, &str), field: &str| {
        let key = SeriesKey {
            bucket: bucket.into(),
            measurement: measurement.into(),
            tags: vec![(tag.0.into(), tag.1.into())],
        };
        let frame = Frame { times: vec![1], columns: vec![Column::float(field, vec![1.0])] };
        engine.write(WriteBatch { series: vec![(key, frame)] }).unwrap_err()
    };
    for (bucket, measurement, tag, field) in [
        ("_system", "m", ("s", "A"), "v"),
        ("a\"b", "m", ("s", "A"), "v"),
        ("b", "", ("s", "A"), "v"),
        ("b", "a\nb", ("s", "A"), "v"),
        ("b", "a\\", ("s", "A"), "v"),
        ("b", "#m", ("s", "A"), "v"),
        ("b", "m", ("time", "A"), "v"),
        ("b", "m", ("_field", "A"), "v"),
        ("b", "m", ("s", ""), "v"),
        ("b", "m", ("s", "A\\"), "v"),
        ("b", "m", ("s", "a\\,b"), "v"),
        ("b", "m", ("s", "A"), "time"),
        ("b", "m", ("s", "A"), "v\r"),
        ("b", "m", ("s", "A"), "v\\\""),
    ] {
        let error = one(bucket, measurement, tag, field);
        assert_eq!(error.kind(), Kind::Invalid, "{bucket:?} {measurement:?} {tag:?} {field:?}: {error:?}");
    }
    let long = "x".repeat(40_000);
    assert_eq!(one("b", "m", ("s", &long), "v").kind(), Kind::Limit);
    assert!(server.asked.lock().unwrap().is_empty());
}
