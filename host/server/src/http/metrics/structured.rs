//! The structured store: its readers, its writer, and what is kept in memory.

use crate::telemetry::Text;
use shiphold_storage::DataLayer;
use shiphold_storage::sqlite::{Noun, ValueCounts, WAIT_BOUNDS};

pub(super) fn write(layer: &DataLayer, t: &mut Text) {
    let counts = layer.structured_counts();
    let readers = counts.readers;
    for (name, help, value) in [
        ("shiphold_readers_max", "Reader connections that there may be.", readers.max),
        ("shiphold_readers_open", "Reader connections, idle or in use.", readers.open),
        ("shiphold_readers_in_use", "Reader connections in use.", readers.in_use),
        ("shiphold_readers_waiting", "Reads that wait for a connection.", readers.waiting),
    ] {
        t.one(name, "gauge", help, f64::from(value));
    }
    let name = "shiphold_reader_wait_seconds";
    t.head(name, "histogram", "Time that reads waited for a connection.");
    for (bound, n) in WAIT_BOUNDS.iter().zip(readers.waited) {
        t.value(&format!("{name}_bucket"), &[("le", &bound.as_secs_f64().to_string())], n as f64);
    }
    t.value(&format!("{name}_bucket"), &[("le", "+Inf")], readers.reads as f64);
    t.value(&format!("{name}_sum"), &[], readers.wait_time.as_secs_f64());
    t.value(&format!("{name}_count"), &[], readers.reads as f64);
    for (name, help, value) in [
        ("shiphold_reader_refused_total", "Reads that no connection came free for in time.", readers.refused),
        ("shiphold_writer_writes_total", "Transactions that were acknowledged.", counts.written.writes),
        (
            "shiphold_writer_commits_total",
            "Commits that they took, each with a sync.",
            counts.written.commits,
        ),
    ] {
        t.one(name, "counter", help, value as f64);
    }
    t.one(
        "shiphold_cache_max_bytes",
        "gauge",
        "Bytes that kept skills, settings and tokens may take: limits.cache_max.",
        counts.values_bytes_max as f64,
    );
    let mut each = |name: &str, kind: &str, help: &str, value: &dyn Fn(&ValueCounts) -> f64| {
        t.head(name, kind, help);
        for (noun, of_noun) in Noun::ALL.iter().zip(&counts.values) {
            t.value(name, &[("noun", noun.name())], value(of_noun));
        }
    };
    each("shiphold_cache_entries", "gauge", "Values in memory.", &|c| c.entries as f64);
    each("shiphold_cache_bytes", "gauge", "Bytes of the values in memory.", &|c| c.bytes as f64);
    each("shiphold_cache_hits_total", "counter", "Values that were found in memory.", &|c| c.hits as f64);
    each("shiphold_cache_misses_total", "counter", "Values that had to be read.", &|c| c.misses as f64);
    each("shiphold_cache_hit_ratio", "gauge", "Share of the values that were found, 0 to 1.", &|c| {
        c.hits as f64 / (c.hits + c.misses).max(1) as f64
    });
    each("shiphold_cache_outdated_total", "counter", "Values that a commit made untrue.", &|c| {
        c.outdated as f64
    });
    each("shiphold_cache_evicted_total", "counter", "Values that went to make room.", &|c| c.evicted as f64);
}
