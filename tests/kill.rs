//! What was acknowledged survives `kill -9` at any moment; nothing is stored in half.

mod soak;

use crate::support::{Host, bars, try_request};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Rows of one batch: all of them or none must be there.
const BATCH: i64 = 500;
/// Times that the host is killed during the import.
const KILLS: usize = 20;

#[test]
fn twenty_kills_during_an_import_lose_nothing_and_tear_nothing() {
    let mut host = Host::new();
    host.serve();
    let token = host.token("feed", "write");
    let acknowledged: Arc<Mutex<Vec<i64>>> = Arc::default();
    let next = Arc::new(AtomicI64::new(0));
    // A fixed seed: the moments differ between kills and not between runs.
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;

    for kill in 0..KILLS {
        let (acked, next, url) =
            (acknowledged.clone(), next.clone(), host.url("/api/v2/write?bucket=market&precision=s"));
        let auth = format!("Token {token}");
        let feed = std::thread::spawn(move || {
            loop {
                let batch = next.fetch_add(1, Ordering::SeqCst);
                let body = bars("KILL", batch * BATCH * 60, BATCH);
                match try_request(&url, "POST", &[("Authorization", &auth)], body.as_bytes()) {
                    Ok(answer) if answer.status == 204 => acked.lock().unwrap().push(batch),
                    Ok(answer) => panic!("{answer:?}"),
                    Err(_) => return,
                }
            }
        });
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        std::thread::sleep(Duration::from_millis(20 + dice % 180));
        host.kill_nine();
        feed.join().unwrap_or_else(|_| panic!("kill {kill}: the host refused a batch: {}", host.log()));
        host.serve();
    }

    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() > KILLS, "the import made progress between the kills: {}", acknowledged.len());
    let batches = next.load(Ordering::SeqCst);
    let said = host
        .run(&[
            "--json",
            "series",
            "query",
            "--measurement",
            "bar.1m.KILL",
            "--fields",
            "volume",
            "--start",
            "1970-01-01T00:00:00Z",
            "--end",
            "2200-01-01T00:00:00Z",
            "--limit",
            "5000000",
        ])
        .json();
    let times = crate::support::times_of(&said);
    let mut per_batch = vec![0_i64; usize::try_from(batches).unwrap()];
    for time in &times {
        per_batch[usize::try_from(time / 1_000_000_000 / 60 / BATCH).unwrap()] += 1;
    }
    for batch in acknowledged.iter() {
        assert_eq!(per_batch[usize::try_from(*batch).unwrap()], BATCH, "acknowledged batch {batch}");
    }
    for (batch, rows) in per_batch.iter().enumerate() {
        assert!(*rows == 0 || *rows == BATCH, "batch {batch} has {rows} rows");
    }
    host.run(&["verify"]).ok();
}

#[test]
fn a_clean_shutdown_takes_less_than_two_seconds_and_loses_nothing() {
    for signal in ["INT", "TERM"] {
        let mut host = Host::new();
        host.serve();
        let token = host.token("feed", "write");
        assert_eq!(host.write_lines(&token, "market", &bars("A", 0, 10_000)).status, 204);
        let (took, code) = host.signal(signal);
        assert_eq!(code, Some(0), "{signal}: {}", host.log());
        assert!(took < Duration::from_secs(2), "{signal} took {took:?}");
        assert!(!host.data().join("shiphold.sock").exists());
        assert_eq!(host.rows("bar.1m.A"), 10_000);
    }
}

#[test]
fn one_process_owns_the_data_folder() {
    let mut host = Host::new();
    host.serve();
    let second = host.run(&["serve"]);
    second.fails(1, &["in use", &host.pid().to_string()]);
}
