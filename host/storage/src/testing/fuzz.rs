//! Cases without end: each is made by its seed, so that a failure can be had again.
//!
//! A target is a test `fuzz::NAME` beside what it feeds, which calls [`run`]; `cargo xtask fuzz --target NAME` runs it for
//! longer. A panic is a failure, and so is a case that does not end.

#![allow(clippy::panic, clippy::print_stdout, clippy::print_stderr)] // All of it is tests.

use super::random::{Random, number};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a target goes on, and where it begins, unless the environment says otherwise.
const SECONDS: u64 = 2;
const SEED: u64 = 20_261_126;
/// No case is so large that it could take so long.
const HANGS: Duration = Duration::from_secs(60);
/// Cases of a run that is too short for more.
const CASES_MIN: u64 = 20;

/// Runs `case` until the time is over; a panic names the seed, and a case that hangs ends the process. `true` of a case says that
/// its input was taken.
pub fn run(target: &str, case: impl Fn(&mut Random) -> bool) {
    let (seconds, base) = (number("SHIPHOLD_FUZZ_SECONDS", SECONDS), number("SHIPHOLD_FUZZ_SEED", SEED));
    let end = Instant::now() + Duration::from_secs(seconds);
    let (cases, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let again = |n: u64| {
        let seed = base.wrapping_add(n);
        format!("seed {seed} (again: `cargo xtask fuzz --target {target} --seconds 0 --seed {seed}`)")
    };
    let mut taken = 0_u64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut last, mut since) = (u64::MAX, Instant::now());
            while !over.load(Ordering::Relaxed) {
                let now = cases.load(Ordering::Relaxed);
                if now != last {
                    (last, since) = (now, Instant::now());
                } else if since.elapsed() > HANGS {
                    eprintln!("{target} hangs at {}", again(now));
                    std::process::exit(1);
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let ended = catch_unwind(AssertUnwindSafe(|| {
            while Instant::now() < end || cases.load(Ordering::Relaxed) < CASES_MIN {
                let n = cases.load(Ordering::Relaxed);
                taken += u64::from(case(&mut Random::new(base.wrapping_add(n))));
                cases.fetch_add(1, Ordering::Relaxed);
            }
        }));
        over.store(true, Ordering::Relaxed);
        if ended.is_err() {
            panic!("{target} fails at {}", again(cases.load(Ordering::Relaxed)));
        }
    });
    let cases = cases.into_inner();
    println!("{target}: {cases} cases, {taken} of them taken");
    // Where all are refused at the door, nothing behind it is tried.
    assert!(taken * 20 >= cases, "only {taken} of {cases} were taken");
}

/// Bytes that counts, lengths and flags turn over at.
const EDGES: [u8; 8] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];

/// One to four changes of `bytes`; `other` is what parts are taken from.
pub fn mutated(random: &mut Random, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(out.len() + 1).min(out.len().saturating_sub(1));
        let to = (at + random.below(24)).min(out.len());
        match random.below(8) {
            0 | 1 => {
                let bit = 1 << random.below(8);
                out.iter_mut().skip(at).take(1).for_each(|b| *b ^= bit);
            }
            2 => {
                let edge = random.pick(&EDGES).copied().unwrap_or(0);
                out.iter_mut().skip(at).take(1).for_each(|b| *b = edge);
            }
            3 => {
                // A length or a time.
                let wide = random.next().to_le_bytes();
                let keep = random.below(9);
                out.iter_mut().skip(at).zip(wide).take(keep).for_each(|(b, w)| *b = w);
            }
            4 => out.truncate(random.below(out.len() + 1)),
            5 => drop(out.drain(at..to)),
            6 => {
                let part: Vec<u8> = out.get(at..to).unwrap_or_default().to_vec();
                let place = random.below(out.len() + 1);
                out.splice(place..place, part);
            }
            _ => {
                let from = random.below(other.len() + 1);
                let length = random.below(64);
                let part = other.iter().skip(from).take(length).copied().collect::<Vec<_>>();
                out.splice(at..to, part);
            }
        }
    }
    out
}
