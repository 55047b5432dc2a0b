//! An answer is whole or an error, in bounded memory and over bounded connections; who waits no longer is told to the server.

use super::super::client::{PAGE_BYTES_MAX, REPLY_BYTES_MAX};
use super::super::fake_server::{FakeServer, Reply};
use super::{HEAD, PATIENT_MS, batch, key, scan};
use crate::error::Kind;
use crate::series::pieces::{Even, Part, Piece, Wanted, WantedField};
use crate::series::{Budget, FieldType, Selector, SeriesEngine, TimeRange};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests at once, as `client.rs` has it.
const CONNECTIONS_MAX: usize = 16;

fn good() -> String {
    let row = |t: u32, v: &str| format!(",,0,1970-01-01T00:00:0{t}Z,{v},v,m,A\r\n");
    format!("{HEAD}{}{}\r\n", row(1, "1"), row(2, "2.5"))
}

fn raw(head: &str, body: &str) -> Reply {
    Reply::Raw(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n{body}").into_bytes())
}

fn rows(reply: impl Fn() -> Reply + Send + Sync + 'static) -> crate::Result<usize> {
    let server = FakeServer::start(move |_, _| reply());
    let frames = scan(&server.engine(PATIENT_MS), &Budget::default())?;
    Ok(frames.iter().map(|f| f.len()).sum())
}

#[test]
fn a_body_that_ends_with_its_connection_is_not_taken_for_a_whole_one() {
    let good = good();
    let length = format!("Content-Length: {}\r\n", good.len());
    let chunk = format!("{:x}\r\n{good}\r\n", good.len());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let with = |head: String, body: String| rows(move || raw(&head, &body));
    assert_eq!(with(length.clone(), good.clone()).unwrap(), 2);
    assert_eq!(with(chunked.into(), format!("{chunk}0\r\n\r\n")).unwrap(), 2);
    // Nothing says where it ends.
    let error = with(String::new(), good.clone()).unwrap_err();
    assert!(
        error.kind() == Kind::Unavailable && error.message().contains("where its answer ends"),
        "{error}"
    );
    // Every row is there, and no end.
    assert_eq!(with(chunked.into(), chunk).unwrap_err().kind(), Kind::Unavailable);
    for cut in (0..good.len()).step_by(7) {
        let part = good[..cut].to_string();
        assert_eq!(with(length.clone(), part.clone()).unwrap_err().kind(), Kind::Unavailable, "cut at {cut}");
        // A proxy that cut it says that it is whole.
        let length = format!("Content-Length: {cut}\r\n");
        assert_eq!(with(length, part).unwrap_err().kind(), Kind::Unavailable, "cut at {cut} and said so");
    }
}

#[test]
fn an_error_on_the_way_ends_the_answer() {
    let error =
        "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,out of luck,\r\n";
    let body = format!("{}{error}", good());
    let said = rows(move || Reply::http(200, "", &body)).unwrap_err();
    assert!(said.kind() == Kind::Unavailable && said.message().contains("out of luck"), "{said}");
}

#[test]
fn a_page_that_is_too_long_is_asked_for_in_shorter_ones() {
    let limits = |server: &FakeServer| -> Vec<usize> {
        let asked = server.asked.lock().unwrap();
        let limit = |body: &str| body.split("limit(n: ").nth(1)?.split(')').next()?.parse().ok();
        asked.iter().filter_map(|a| limit(&a.body)).collect()
    };
    // What says that it is too long is not waited for.
    let long = |bytes: usize| raw(&format!("Content-Length: {bytes}\r\n"), "");
    let server = FakeServer::start(move |n, asked| match asked.body.contains("limit(n: ") {
        true if n < 3 => long(PAGE_BYTES_MAX + 1),
        _ => Reply::http(200, "", &good()),
    });
    let frames = scan(&server.engine(PATIENT_MS), &Budget::default()).unwrap();
    assert_eq!(frames.iter().map(|f| f.len()).sum::<usize>(), 2);
    assert_eq!(limits(&server), [1_024, 128, 16]);
    // The shortest one is too long.
    let server = FakeServer::start(move |_, asked| match asked.body.contains("limit(n: ") {
        true => long(PAGE_BYTES_MAX + 1),
        false => Reply::http(200, "", &good()),
    });
    assert_eq!(scan(&server.engine(PATIENT_MS), &Budget::default()).unwrap_err().kind(), Kind::Limit);
    assert_eq!(limits(&server), [1_024, 128, 16]);
    let server = FakeServer::start(move |_, _| long(REPLY_BYTES_MAX + 1));
    let engine = server.engine(PATIENT_MS);
    assert_eq!(engine.list(&Selector::of(&key())).unwrap_err().kind(), Kind::Limit);
    // One that does not say so is read up to the bound.
    let body = "x".repeat(PAGE_BYTES_MAX + 1);
    let endless = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let server = FakeServer::start(move |_, asked| match asked.body.contains("limit(n: ") {
        true => raw("Transfer-Encoding: chunked\r\n", &endless),
        false => Reply::http(200, "", &good()),
    });
    assert_eq!(scan(&server.engine(PATIENT_MS), &Budget::default()).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn windows_that_nobody_asked_for_are_refused() {
    let table = |result: &str, of: &str, rows: &[(&str, &str)]| {
        let rows: String = rows.iter().map(|(t, v)| format!(",,0,{t},{v},v,A\r\n")).collect();
        format!(
            "#datatype,string,long,dateTime:RFC3339,{of},string,string\r\n#group,false,false,false,false,true,true\r\n\
             #default,{result},,,,,\r\n,result,table,_time,_value,_field,s\r\n{rows}\r\n"
        )
    };
    let time = |s: u32| format!("1970-01-01T00:{:02}:{:02}Z", s / 60, s % 60);
    let ask = |body: String| -> crate::Result<Vec<Piece>> {
        let server = FakeServer::start(move |_, _| Reply::http(200, "", &body));
        let fields = vec![WantedField {
            name: "v".into(),
            of: FieldType::Float,
            parts: vec![Part::First, Part::Count],
        }];
        let windows = Some(Even { length: 60_000_000_000, first: 0 });
        let wanted = Wanted { within: Arc::new(|_, _| true), windows, fields };
        let range = TimeRange { start: 0, end: 3_600_000_000_000 };
        let engine = server.engine(PATIENT_MS);
        let pieces = engine.scan_pieces(&key(), range, Some(&["v".into()]), wanted, &Budget::default())?;
        pieces.collect()
    };
    let first = |rows: &[(&str, &str)]| table("first", "double", rows);
    let (zero, one, hour) = (time(0), time(60), "1970-01-01T01:00:00Z");
    let two = [(zero.as_str(), "1"), (one.as_str(), "2")];
    assert_eq!(ask(first(&two) + &table("count", "long", &two)).unwrap().len(), 2);
    for (body, word) in [
        (first(&[two[1], two[0]]), "a time"),
        (first(&[two[0], two[0]]), "a window twice"),
        (table("last", "double", &two), "a result"),
        (table("first", "string", &two), "two types"),
        (table("count", "double", &two), "two types"),
        (first(&two).replace(",v,A", ",w,A"), "a field"),
        ("garbage\r\n\r\n".into(), "annotated CSV"),
        (first(&two)[..40].into(), "cannot be read"),
    ] {
        let error = ask(body.clone()).unwrap_err();
        assert!(error.message().contains(word), "{word}: {error}\n{body}");
    }
    // What lies behind the range is left out.
    let late = [two[0], (hour, "5")];
    assert_eq!(ask(first(&late) + &table("count", "long", &late)).unwrap().len(), 1);
    // Without a count the windows are in doubt, and come as rows.
    let rows = ask(first(&two)).unwrap();
    assert!(matches!(rows.as_slice(), [Piece::Rows(frame)] if frame.len() == 2), "{rows:?}");
}

#[test]
fn connections_are_bounded_and_who_waits_for_one_keeps_its_deadline() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (now.clone(), most.clone());
    let server = FakeServer::start(move |_, _| {
        peak.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        counted.fetch_sub(1, Ordering::SeqCst);
        Reply::http(200, "", "\r\n")
    });
    let engine = server.engine(PATIENT_MS);
    std::thread::scope(|s| {
        for _ in 0..3 * CONNECTIONS_MAX {
            s.spawn(|| assert_eq!(scan(&engine, &Budget::default()).unwrap(), []));
        }
    });
    let most = most.load(Ordering::SeqCst);
    assert!((2..=CONNECTIONS_MAX).contains(&most), "{most} at once");

    let server = FakeServer::start(|_, _| Reply::Hang);
    let engine = server.engine(3_600_000);
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|s| {
        for _ in 0..CONNECTIONS_MAX {
            let budget = Budget { cancel: Some(over.clone()), ..Budget::default() };
            let engine = &engine;
            s.spawn(move || assert_eq!(scan(engine, &budget).unwrap_err().kind(), Kind::Cancelled));
        }
        while server.asked.lock().unwrap().len() < CONNECTIONS_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        let budget =
            Budget { deadline: Some(Instant::now() + Duration::from_millis(50)), ..Budget::default() };
        assert_eq!(scan(&engine, &budget).unwrap_err().kind(), Kind::Timeout, "all are taken");
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(server.asked.lock().unwrap().len(), CONNECTIONS_MAX, "it never got one");
}

/// Waits until so many clients went away.
fn gone(server: &FakeServer, wanted: usize) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(PATIENT_MS) {
        if server.gone.load(Ordering::SeqCst) >= wanted {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

#[test]
fn the_end_of_a_query_reaches_the_server() {
    let server = FakeServer::start(|_, _| Reply::Hang);
    let engine = server.engine(3_600_000);
    let soon = || Budget { deadline: Some(Instant::now() + Duration::from_millis(50)), ..Budget::default() };
    assert_eq!(scan(&engine, &soon()).unwrap_err().kind(), Kind::Timeout);
    assert!(gone(&server, 1), "the connection is closed, and the server stops");
    assert_eq!(engine.choose(&Selector::of(&key()), &soon()).unwrap_err().kind(), Kind::Timeout);
    assert!(gone(&server, 2));
    let times = engine.times(&key(), TimeRange::ALL, &soon()).unwrap().next().unwrap();
    assert_eq!(times.unwrap_err().kind(), Kind::Timeout);
    assert!(gone(&server, 3));
    let cancel = Arc::new(AtomicBool::new(false));
    let budget = Budget { cancel: Some(cancel.clone()), ..Budget::default() };
    std::thread::scope(|s| {
        s.spawn(|| {
            while server.asked.lock().unwrap().len() < 4 {
                std::thread::sleep(Duration::from_millis(1));
            }
            cancel.store(true, Ordering::Relaxed);
        });
        assert_eq!(scan(&engine, &budget).unwrap_err().kind(), Kind::Cancelled);
    });
    assert!(gone(&server, 4));
    // A server that hangs costs its timeout.
    assert_eq!(server.engine(100).write(batch(1)).unwrap_err().kind(), Kind::Unavailable);
    assert!(gone(&server, 5));
}
