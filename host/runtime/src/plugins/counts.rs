//! What is counted of a plugin since the host started; kept over a reload.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    runs_ok: AtomicU64,
    runs_failed: AtomicU64,
    run_us: AtomicU64,
    calls_ok: AtomicU64,
    calls_failed: AtomicU64,
    call_us: AtomicU64,
    memory_peak_bytes: AtomicU64,
    fuel: AtomicU64,
    reloads_ok: AtomicU64,
    reloads_refused: AtomicU64,
}

/// [`Counts`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PluginCounts {
    pub runs_ok: u64,
    pub runs_failed: u64,
    /// Of all runs together.
    pub run_seconds: f64,
    /// Calls of an indexer or a query.
    pub calls_ok: u64,
    pub calls_failed: u64,
    pub call_seconds: f64,
    /// The most that one run had.
    pub memory_peak_bytes: u64,
    /// Instructions, where fuel is metered.
    pub fuel: u64,
    pub reloads_ok: u64,
    pub reloads_refused: u64,
}

fn add(to: &AtomicU64, n: u64) {
    to.fetch_add(n, Ordering::Relaxed);
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

impl Counts {
    pub(crate) fn ran(&self, ok: bool, took: Duration, memory_peak_bytes: u64, fuel: Option<u64>) {
        add(if ok { &self.runs_ok } else { &self.runs_failed }, 1);
        add(&self.run_us, micros(took));
        self.used(memory_peak_bytes, fuel);
    }

    pub(crate) fn called(&self, ok: bool, took: Duration) {
        add(if ok { &self.calls_ok } else { &self.calls_failed }, 1);
        add(&self.call_us, micros(took));
    }

    pub(crate) fn used(&self, memory_peak_bytes: u64, fuel: Option<u64>) {
        self.memory_peak_bytes.fetch_max(memory_peak_bytes, Ordering::Relaxed);
        add(&self.fuel, fuel.unwrap_or(0));
    }

    pub(super) fn reloaded(&self, ok: bool) {
        add(if ok { &self.reloads_ok } else { &self.reloads_refused }, 1);
    }

    pub(super) fn now(&self) -> PluginCounts {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let seconds = |n: &AtomicU64| Duration::from_micros(of(n)).as_secs_f64();
        PluginCounts {
            runs_ok: of(&self.runs_ok),
            runs_failed: of(&self.runs_failed),
            run_seconds: seconds(&self.run_us),
            calls_ok: of(&self.calls_ok),
            calls_failed: of(&self.calls_failed),
            call_seconds: seconds(&self.call_us),
            memory_peak_bytes: of(&self.memory_peak_bytes),
            fuel: of(&self.fuel),
            reloads_ok: of(&self.reloads_ok),
            reloads_refused: of(&self.reloads_refused),
        }
    }
}
