//! An hour without the server, with a write in each second of it; the time is moved by hand.

use super::super::clock::{ByHand, Clock};
use super::super::deliver::BACKOFF_MAX;
use super::super::{lock, read};
use super::*;
use crate::series::influx::fake_server::{FakeServer, Reply};
use std::sync::atomic::AtomicU64;

pub(super) const HOUR_S: i64 = 3_600;
/// Tries of an hour: one in half of the longest wait, and those before the waits are long.
pub(super) const TRIES_MAX: u64 = HOUR_S as u64 / (BACKOFF_MAX.as_secs() / 2) + 20;

/// Waits until the thread has done what was due: it sleeps longer than until now, or nothing waits.
pub(super) fn settle(outbox: &Outbox, clock: &ByHand) {
    while read(&outbox.core.head).records() > 0
        && lock(&outbox.core.paused_until).is_none_or(|until| until <= clock.now())
    {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Waits until everything is delivered.
pub(super) fn drain(outbox: &Outbox, clock: &ByHand) {
    while read(&outbox.core.head).records() > 0 {
        clock.advance(BACKOFF_MAX);
        settle(outbox, clock);
    }
}

pub(super) fn by_hand(clock: &Arc<ByHand>) -> OutboxOptions {
    OutboxOptions { manual: false, clock: Clock::ByHand(clock.clone()), ..options() }
}

/// Writes a row in each second, and moves the time on.
pub(super) fn write_seconds(outbox: &Outbox, clock: &ByHand, seconds: std::ops::Range<i64>) {
    for second in seconds {
        assert_eq!(outbox.write(batch(&key("m"), &[second], 1.0)).unwrap().written, 1);
        settle(outbox, clock);
        clock.advance(Duration::from_secs(1));
    }
    settle(outbox, clock);
}

#[test]
fn an_hour_is_survived_in_order_and_the_server_is_asked_seldom() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ByHand::new());
    let down = Arc::new(AtomicBool::new(true));
    let (of_server, asked) = (down.clone(), Arc::new(AtomicU64::new(0)));
    let count = asked.clone();
    let server = FakeServer::start(move |n, asked| {
        if of_server.load(Ordering::SeqCst) {
            count.fetch_add(1, Ordering::SeqCst);
            return if n % 2 == 0 { Reply::Raw(Vec::new()) } else { Reply::http(500, "", "{}") };
        }
        if asked.line.contains("/query") { Reply::http(200, "", "\r\n") } else { Reply::http(204, "", "") }
    });
    let open = || {
        let engine = Arc::new(server.engine(20_000));
        Outbox::open(engine, &dir.path().join("outbox.db"), by_hand(&clock)).unwrap()
    };
    let outbox = open();
    write_seconds(&outbox, &clock, 0..HOUR_S / 2);
    let first_half = lock(&outbox.core.progress).failures;
    // The host is started again in the middle of it.
    drop(outbox);
    let outbox = open();
    write_seconds(&outbox, &clock, HOUR_S / 2..HOUR_S);
    let tries = first_half + lock(&outbox.core.progress).failures;
    assert!((100..=TRIES_MAX).contains(&tries), "{tries} tries of a delivery in an hour");
    // Each try asks for the types first, which is all that it does while nobody answers; and so do writes, at most every
    // five seconds.
    let all = asked.load(Ordering::SeqCst);
    let of_writes = HOUR_S as u64 / super::super::core::ASK_PAUSE.as_secs();
    assert!(all <= TRIES_MAX + of_writes, "{all} requests in an hour");
    println!("an hour: {tries} tries of a delivery, {all} requests");

    down.store(false, Ordering::SeqCst);
    drain(&outbox, &clock);
    let asked = server.asked.lock().unwrap();
    let taken = asked.iter().filter(|a| a.line.contains("/write"));
    let lines: Vec<&str> = taken.flat_map(|a| a.body.lines()).collect();
    let wanted: Vec<String> = (0..HOUR_S).map(|t| format!("m,s=A v=1.0 {t}")).collect();
    assert_eq!(lines, wanted, "each once, in order");
}

#[test]
fn a_full_outbox_holds_writers_back_and_takes_them_again() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ByHand::new());
    let server = Arc::<Server>::default();
    server.set_down(true);
    let options = OutboxOptions { bytes_max: 20_000, ..by_hand(&clock) };
    let outbox = open(&server, dir.path(), options);
    let mut taken = 0;
    let full = loop {
        match outbox.write(batch(&key("m"), &[taken], 1.0)) {
            Ok(_) => taken += 1,
            Err(e) => break e,
        }
        clock.advance(Duration::from_secs(1));
        settle(&outbox, &clock);
    };
    assert!(taken > 100, "{taken}");
    assert_eq!(full.kind(), Kind::Busy);
    assert!(full.message().contains("outbox_max") && full.message().contains("server is down"), "{full:?}");
    assert!(full.hint_text().unwrap().contains("bring InfluxDB back"), "{full:?}");
    server.set_down(false);
    drain(&outbox, &clock);
    outbox.write(batch(&key("m"), &[taken], 1.0)).unwrap();
    outbox.seal().unwrap();
    assert_eq!(server.rows(&key("m")) as i64, taken + 1, "what was refused came when it was sent again");
}
