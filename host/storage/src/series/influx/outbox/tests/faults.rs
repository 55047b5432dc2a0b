//! Outages, a full outbox, what the server refuses, damage; and servers that answer badly.

use super::super::deliver::Pumped;
use super::super::{read, tables};
use super::*;
use crate::series::Values;
use crate::series::influx::fake_server::{FakeServer, Reply};
use crate::series::influx::lines::REQUEST_LINES_MAX;
use crate::series::record;

fn integers(key: &SeriesKey, time: i64) -> WriteBatch {
    let columns = vec![Column::new("v", Values::Integer(vec![1]))];
    WriteBatch { series: vec![(key.clone(), Frame { times: vec![time], columns })] }
}

fn waiting(outbox: &Outbox) -> u64 {
    outbox.stats().unwrap().outbox_records
}

#[test]
fn an_outage_is_survived_and_what_waits_is_delivered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    let outbox = open(&server, dir.path(), options());
    outbox.write(batch(&key("m"), &[1], 1.0)).unwrap();
    assert_eq!(outbox.core.deliver_next(), Pumped::Delivered);
    server.set_down(true);
    for (time, value) in [(2, 2.0), (1, 3.0), (1, 4.0)] {
        assert_eq!(outbox.write(batch(&key("m"), &[time], value)).unwrap().written, 1);
        assert_eq!(outbox.core.deliver_next(), Pumped::Later(None));
    }
    // Reads and deletes say so; figures are there.
    assert_eq!(rows(&outbox, &key("m")).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(outbox.latest(&Selector::default()).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(outbox.list(&Selector::default()).unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(outbox.seal().unwrap_err().kind(), Kind::Unavailable);
    let refused = outbox.delete(&Selector::of(&key("m")), TimeRange::ALL).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    let stats = outbox.stats().unwrap();
    assert_eq!((stats.outbox_records, stats.outbox_refused), (3, 0));
    assert!(stats.outbox_bytes > 0);
    assert!(outbox.verify(&Budget::default()).unwrap()[0].problem.contains("down"));
    // The host is started again in the middle of it.
    outbox.close().unwrap();
    drop(outbox);
    let outbox = open(&server, dir.path(), options());
    assert_eq!(waiting(&outbox), 3);
    assert_eq!(server.rows(&key("m")), 1);
    server.set_down(false);
    assert_eq!(outbox.core.deliver_next(), Pumped::Delivered);
    assert_eq!((waiting(&outbox), outbox.core.deliver_next()), (0, Pumped::Idle));
    let found = rows(&*server, &key("m")).unwrap();
    let values: Vec<_> = found.iter().map(|(t, r)| (*t, r["v"].as_f64().unwrap())).collect();
    assert_eq!(values, [(1, 4.0), (2, 2.0)], "the last write wins");
}

#[test]
fn the_outbox_has_a_bound() {
    let server = Arc::<Server>::default();
    let one =
        record::encode(&record::cut(batch(&key("m"), &[1], 1.0).series, &[]).0[0]).unwrap().len() as u64;
    for (room, fits) in [(3 * one, 3), (3 * one - 1, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(&server, dir.path(), OutboxOptions { bytes_max: room, ..options() });
        server.set_down(true);
        for time in 0..fits {
            outbox.write(batch(&key("m"), &[time], 1.0)).unwrap();
        }
        let full = outbox.write(batch(&key("m"), &[9], 1.0)).unwrap_err();
        assert_eq!(full.kind(), Kind::Busy, "{full:?}");
        assert!(full.message().contains("outbox_max"), "{full:?}");
        assert_eq!(waiting(&outbox), fits as u64, "what was refused is not there");
        server.set_down(false);
        outbox.seal().unwrap();
        outbox.write(batch(&key("m"), &[9], 1.0)).unwrap();
    }
    // What could never fit is told apart from what may fit later.
    let dir = tempfile::tempdir().unwrap();
    for (room, fits) in [(one, true), (one - 1, false)] {
        let outbox = open(&server, dir.path(), OutboxOptions { bytes_max: room, ..options() });
        match outbox.write(batch(&key("m"), &[1], 1.0)) {
            Ok(_) => assert!(fits),
            Err(e) => assert!(!fits && e.kind() == Kind::Limit, "{e:?}"),
        }
        outbox.seal().unwrap();
    }
}

#[test]
fn writers_side_by_side_are_all_answered_when_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    server.set_down(true);
    let outbox = open(&server, dir.path(), OutboxOptions { bytes_max: 4_000, ..options() });
    let stored: u64 = std::thread::scope(|s| {
        let writers: Vec<_> = (0..8_i64)
            .map(|w| {
                let outbox = &outbox;
                s.spawn(move || {
                    let said = (0..20).map(|i| outbox.write(batch(&key("m"), &[w * 100 + i], 1.0)));
                    said.filter(|r| r.as_ref().map_or_else(|e| e.kind() != Kind::Busy, |_| true))
                        .map(|r| r.unwrap().written)
                        .sum::<u64>()
                })
            })
            .collect();
        writers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert!(stored > 0 && stored < 160);
    server.set_down(false);
    outbox.seal().unwrap();
    assert_eq!(server.rows(&key("m")) as u64, stored);
}

#[test]
fn a_conflict_is_told_at_once_where_the_types_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    let outbox = open(&server, dir.path(), options());
    outbox.write(batch(&key("m"), &[1], 1.0)).unwrap();
    let said = outbox.write(integers(&key("m"), 2)).unwrap();
    assert_eq!((said.written, said.dropped, said.conflicts.len()), (0, 1, 1), "by what waits");
    server.set_down(true);
    assert_eq!(outbox.write(integers(&key("m"), 2)).unwrap().dropped, 1, "also when the server is away");
    drop(outbox);
    let outbox = open(&server, dir.path(), options());
    assert_eq!(outbox.write(integers(&key("m"), 2)).unwrap().dropped, 1, "also after a start");
}

#[test]
fn what_the_server_refuses_is_set_aside_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    let outbox = open(&server, dir.path(), options());
    outbox.write(batch(&key("m"), &[1], 1.0)).unwrap();
    outbox.seal().unwrap();
    drop(outbox);
    // Nobody can be asked for the types.
    server.set_down(true);
    let outbox = open(&server, dir.path(), options());
    outbox.write(batch(&key("n"), &[1], 1.0)).unwrap();
    assert_eq!(outbox.write(integers(&key("m"), 7)).unwrap().dropped, 0);
    outbox.write(batch(&key("n"), &[2], 2.0)).unwrap();
    server.set_down(false);
    outbox.seal().unwrap();
    assert_eq!((server.rows(&key("m")), server.rows(&key("n"))), (1, 2));
    let of = |outbox: &Outbox| {
        let stats = outbox.stats().unwrap();
        (stats.outbox_records, stats.outbox_refused)
    };
    assert_eq!(of(&outbox), (0, 1));
    drop(outbox);
    let outbox = open(&server, dir.path(), options());
    assert_eq!(of(&outbox), (0, 1));
    let faults = outbox.verify(&Budget::default()).unwrap();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].object.contains("1 rows of `market/m,s=A`, 7 ns to 7 ns"), "{faults:?}");
    assert!(faults[0].problem.contains("a conflict"), "{faults:?}");
    // Now that the server was asked, it is told at once.
    assert_eq!(outbox.write(integers(&key("m"), 8)).unwrap().dropped, 1);
    // A delete takes what lies in its range as a whole.
    outbox.delete(&Selector::of(&key("m")), TimeRange::new(0, 7).unwrap()).unwrap();
    assert_eq!(of(&outbox), (0, 1));
    outbox.delete(&Selector::of(&key("n")), TimeRange::ALL).unwrap();
    assert_eq!(of(&outbox), (0, 1));
    outbox.delete(&Selector::of(&key("m")), TimeRange::new(7, 8).unwrap()).unwrap();
    assert_eq!(of(&outbox), (0, 0));
    assert!(outbox.verify(&Budget::default()).unwrap().is_empty());
}

#[test]
fn a_damaged_record_is_named_and_the_others_are_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    let outbox = open(&server, dir.path(), options());
    for time in 1..=3 {
        outbox.write(batch(&key("m"), &[time], 1.0)).unwrap();
    }
    let flip = |at: usize| {
        outbox
            .core
            .db
            .write(|tx| {
                let mut record = tables::one(tx, 2)?.unwrap();
                record[at] ^= 0x10;
                tx.execute("UPDATE outbox SET record = ?1 WHERE seq = 2", [record])?;
                Ok(())
            })
            .unwrap();
    };
    let size = outbox.core.db.read(|c| tables::one(c, 2)).unwrap().unwrap().len();
    for at in 0..size {
        flip(at);
        let record = outbox.core.db.read(|c| tables::one(c, 2)).unwrap().unwrap();
        assert_eq!(record::decode(&record).unwrap_err().kind(), Kind::Corrupt, "byte {at}");
        assert!(record::decode(&record[..at]).is_err());
        flip(at);
    }
    flip(size / 2);
    let faults = outbox.verify(&Budget::default()).unwrap();
    assert_eq!((faults.len(), faults[0].object.as_str()), (1, "record 2 of the outbox"));
    drop(outbox);
    let outbox = open(&server, dir.path(), options());
    outbox.seal().unwrap();
    assert_eq!(server.rows(&key("m")), 2);
    assert_eq!(outbox.stats().unwrap().outbox_refused, 1);
    assert!(outbox.verify(&Budget::default()).unwrap()[0].object.contains("record 2"));
}

#[test]
fn small_writes_go_out_together_in_bounded_requests() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    let outbox = open(&server, dir.path(), options());
    let half = REQUEST_LINES_MAX as i64 / 2;
    for first in [0, half, 2 * half] {
        let times: Vec<i64> = (first..first + half).collect();
        outbox.write(batch(&key("m"), &times, 1.0)).unwrap();
    }
    for time in 0..100 {
        outbox.write(batch(&key("n"), &[time], 1.0)).unwrap();
    }
    outbox.seal().unwrap();
    let half = half as usize;
    assert_eq!(*server.deliveries.lock().unwrap(), [2 * half, half + 100]);
}

/// An outbox before a server that answers writes as a test says; it knows no types and no rows.
fn before(server: &FakeServer, timeout_ms: u64, folder: &Path, manual: bool) -> Outbox {
    let options = OutboxOptions { manual, ..options() };
    Outbox::open(Arc::new(server.engine(timeout_ms)), &folder.join("outbox.db"), options).unwrap()
}

fn writes(server: &FakeServer) -> Vec<String> {
    let asked = server.asked.lock().unwrap();
    asked.iter().filter(|a| a.line.contains("/write")).map(|a| a.body.clone()).collect()
}

#[test]
fn whatever_a_sick_server_answers_the_rows_come_in_the_end_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let sick = std::sync::atomic::AtomicUsize::new(0);
    let server = FakeServer::start(move |_, asked| {
        if asked.line.contains("/query") {
            return Reply::http(200, "", "\r\n");
        }
        match sick.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::http(500, "", "{}"),
            1 => Reply::http(429, "Retry-After: 0\r\n", "{}"),
            2 => Reply::http(503, "Retry-After: 0\r\n", "{}"),
            3 => Reply::Raw(b"garbage\r\n\r\n".to_vec()),
            4 => Reply::Raw(b"HTTP/1.1 204 No".to_vec()),
            5 => Reply::Raw(b"HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\n{".to_vec()),
            6 => Reply::Raw(Vec::new()),
            7 => Reply::Hang,
            8 => Reply::http(401, "", "{}"),
            9 => Reply::http(200, "", "<html>a proxy</html>"),
            _ => Reply::http(204, "", ""),
        }
    });
    // The engine's own thread would wait longer and longer in between.
    let outbox = before(&server, 300, dir.path(), true);
    for time in 0..20 {
        assert_eq!(outbox.write(batch(&key("m"), &[time], 1.0)).unwrap().written, 1);
        outbox.core.deliver_next();
    }
    while outbox.core.deliver_next() != Pumped::Idle {}
    let sent = writes(&server);
    assert!(sent[..10].iter().all(|b| b.starts_with("m,s=A v=1.0 0\n")), "nothing is left out or overtaken");
    let taken: Vec<&str> = sent[10..].iter().flat_map(|b| b.lines()).collect();
    let wanted: Vec<String> = (0..20).map(|t| format!("m,s=A v=1.0 {t}")).collect();
    assert_eq!(taken, wanted);
    assert_eq!(outbox.stats().map_or(0, |s| s.outbox_refused), 0);
}

/// The records that wait, without asking the server for its figures.
fn waiting_only(outbox: &Outbox) -> u64 {
    read(&outbox.core.head).records()
}

#[test]
fn a_server_says_when_it_wants_to_be_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = FakeServer::start(|_, asked| {
        if asked.line.contains("/query") {
            return Reply::http(200, "", "\r\n");
        }
        Reply::http(429, "Retry-After: 17\r\n", "{}")
    });
    let outbox = before(&server, 20_000, dir.path(), true);
    outbox.write(batch(&key("m"), &[1], 1.0)).unwrap();
    assert_eq!(outbox.core.deliver_next(), Pumped::Later(Some(Duration::from_secs(17))));
    assert_eq!(writes(&server).len(), 1, "it is not asked again before");
}

#[test]
fn a_refused_record_is_found_among_others() {
    let dir = tempfile::tempdir().unwrap();
    let server = FakeServer::start(|_, asked| {
        if asked.line.contains("/query") {
            return Reply::http(200, "", "\r\n");
        }
        if asked.body.contains(" 7\n") {
            return Reply::http(400, "", r#"{"code":"invalid","message":"unable to parse"}"#);
        }
        if asked.body.contains(" 8\n") {
            let said = "partial write: points beyond retention policy dropped=1";
            return Reply::http(422, "", &format!(r#"{{"code":"x","message":"{said}"}}"#));
        }
        Reply::http(204, "", "")
    });
    let outbox = before(&server, 20_000, dir.path(), true);
    for time in 5..=9 {
        outbox.write(batch(&key("m"), &[time], 1.0)).unwrap();
    }
    assert_eq!(outbox.core.deliver_next(), Pumped::Delivered);
    assert_eq!(waiting_only(&outbox), 0);
    let refused = outbox.core.db.read(|c| tables::refused(c, 10)).unwrap();
    assert_eq!(refused.iter().map(|r| (r.min, r.rows)).collect::<Vec<_>>(), [(7, 1), (8, 1)]);
    assert!(refused[0].why.contains("unable to parse") && refused[1].why.contains("retention"));
    let sent = writes(&server);
    assert!(sent[1..].contains(&"m,s=A v=1.0 9\n".to_string()), "what follows is delivered: {sent:?}");
}

#[test]
fn a_hanging_server_holds_up_neither_writes_nor_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = FakeServer::start(|_, asked| {
        if asked.line.contains("/query") { Reply::http(200, "", "\r\n") } else { Reply::Hang }
    });
    // A wait for the answer would be an hour.
    let outbox = before(&server, 3_600_000, dir.path(), false);
    outbox.write(batch(&key("m"), &[1], 1.0)).unwrap();
    while writes(&server).is_empty() {
        std::thread::sleep(Duration::from_millis(1));
        outbox.write(batch(&key("m"), &[2], 1.0)).unwrap();
    }
    outbox.close().unwrap();
    let left = waiting_only(&outbox);
    drop(outbox);
    assert!(left >= 1);
    assert_eq!(waiting_only(&before(&server, 100, dir.path(), true)), left);
}

#[test]
fn long_bodies_are_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let server = FakeServer::start(|_, asked| {
        if asked.line.contains("/query") { Reply::http(200, "", "\r\n") } else { Reply::http(204, "", "") }
    });
    let outbox = before(&server, 20_000, dir.path(), true);
    for n in [1, 1_000] {
        outbox.write(batch(&key("m"), &(0..n).collect::<Vec<_>>(), 1.0)).unwrap();
        outbox.core.deliver_next();
    }
    let asked = server.asked.lock().unwrap();
    let sent: Vec<_> = asked
        .iter()
        .filter(|a| a.line.contains("/write"))
        .map(|a| (a.packed, a.body.lines().count()))
        .collect();
    assert_eq!(sent, [(false, 1), (true, 1_000)]);
}
