//! An outbox that stands still for a backup.

use super::super::at_rest;
use super::super::deliver::Pumped;
use super::*;

#[test]
fn nothing_is_delivered_or_deleted_while_it_is_held_and_writes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    let outbox = open(&server, dir.path(), options());
    outbox.write(batch(&key("m"), &[1], 1.0)).unwrap();
    outbox.seal().unwrap();
    let held = outbox.hold().unwrap();
    outbox.write(batch(&key("m"), &[2], 2.0)).unwrap();
    assert_eq!(outbox.core.deliver_next(), Pumped::Held);
    assert_eq!((server.rows(&key("m")), rows(held.server(), &key("m")).unwrap().len()), (1, 1));
    assert_eq!(rows(&outbox, &key("m")).unwrap().len(), 2, "reads show what waits");
    assert_eq!(outbox.list(&Selector::default()).unwrap()[0].max_time, Some(2));
    let refused = outbox.delete(&Selector::of(&key("m")), TimeRange::ALL).unwrap_err();
    for e in [refused, outbox.seal().unwrap_err(), outbox.hold().unwrap_err()] {
        assert!(e.kind() == Kind::Busy && e.message().contains("backup") && e.hint_text().is_some(), "{e:?}");
    }
    drop(held);
    outbox.seal().unwrap();
    assert_eq!(server.rows(&key("m")), 2);
    assert_eq!(outbox.delete(&Selector::of(&key("m")), TimeRange::ALL).unwrap().series, 1);
    drop(outbox.hold().unwrap());
}

#[test]
fn its_thread_goes_on_when_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    let outbox = open(&server, dir.path(), OutboxOptions { manual: false, ..options() });
    for round in 0..20 {
        let held = outbox.hold().unwrap();
        outbox.write(batch(&key("m"), &[round], 1.0)).unwrap();
        assert_eq!(server.rows(&key("m")), round as usize);
        drop(held);
        outbox.seal().unwrap();
        assert_eq!(server.rows(&key("m")), round as usize + 1);
    }
    // Closing does not wait for whoever holds it.
    let held = outbox.hold().unwrap();
    outbox.write(batch(&key("m"), &[99], 1.0)).unwrap();
    outbox.close().unwrap();
    drop(held);
}

#[test]
fn what_was_acknowledged_before_the_barrier_is_in_the_server_or_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    let outbox = Arc::new(open(&server, dir.path(), OutboxOptions { manual: false, ..options() }));
    let (over, acknowledged) = (AtomicBool::new(false), std::sync::atomic::AtomicI64::new(0));
    std::thread::scope(|s| {
        let writer = s.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let next = acknowledged.load(Ordering::SeqCst);
                outbox.write(batch(&key("m"), &[next], 1.0)).unwrap();
                acknowledged.store(next + 1, Ordering::SeqCst);
            }
        });
        for _ in 0..20 {
            let held = outbox.hold().unwrap();
            let connection = held.database().connection().unwrap();
            let still = held.barrier();
            let least = acknowledged.load(Ordering::SeqCst);
            let pinned = crate::sqlite::Pinned::new(connection).unwrap();
            drop(still);
            while acknowledged.load(Ordering::SeqCst) < least + 3 {
                std::thread::yield_now();
            }
            let both = ModelEngine::default();
            let waits = at_rest::replay(&pinned, &both).unwrap();
            assert!(waits.damaged.is_empty());
            let stored = server.rows(&key("m")) as i64;
            let found = stored + rows(&both, &key("m")).unwrap().len() as i64;
            // The one that was being written at the instant may be in it.
            assert!(found == least || found == least + 1, "{stored} + {waits:?}, {least} acknowledged");
        }
        over.store(true, Ordering::SeqCst);
        writer.join().unwrap();
    });
    outbox.seal().unwrap();
    assert_eq!(server.rows(&key("m")) as i64, acknowledged.load(Ordering::SeqCst));
}
