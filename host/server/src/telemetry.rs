//! The log on standard error, and the counters behind `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// For the host: what `RUST_LOG` says, else `info`.
pub(crate) fn init(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log file is no terminal: colours would be noise in it.
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second call (tests) keeps the first log.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

/// For a command: only what goes wrong.
pub(crate) fn init_quiet() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

/// Upper bounds of the duration histogram, in seconds.
const BUCKETS_S: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// What is counted of requests. Routes are patterns and methods come from a short list, so that no client can make
/// the sets grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: Mutex<BTreeMap<(String, &'static str, u16), u64>>,
    durations: Mutex<BTreeMap<String, Durations>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    pub in_flight: AtomicI64,
    pub maintenance_failures: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Durations {
    buckets: [u64; BUCKETS_S.len()],
    count: u64,
    sum: Duration,
}

impl Counters {
    /// A request was answered; the time until the head of its answer.
    pub(crate) fn answered(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        *lock(&self.requests).entry((route.into(), method, status)).or_default() += 1;
        let mut all = lock(&self.durations);
        if !all.contains_key(route) {
            all.insert(route.into(), Durations::default());
        }
        if let Some(d) = all.get_mut(route) {
            d.count += 1;
            d.sum += took;
            for (bound, n) in BUCKETS_S.iter().zip(d.buckets.iter_mut()) {
                *n += u64::from(took.as_secs_f64() <= *bound);
            }
        }
    }

    /// A request was refused before it reached its route.
    pub(crate) fn refused(&self, why: &'static str) {
        *lock(&self.refused).entry(why).or_default() += 1;
    }

    /// What was counted, as text.
    pub(crate) fn write(&self, t: &mut Text) {
        t.head("shiphold_http_requests_total", "counter", "Requests by route, method and status.");
        for ((route, method, status), n) in lock(&self.requests).iter() {
            let labels = [("route", route.as_str()), ("method", method), ("status", &status.to_string())];
            t.value("shiphold_http_requests_total", &labels, *n as f64);
        }
        let name = "shiphold_http_request_duration_seconds";
        t.head(name, "histogram", "Time until the head of the answer.");
        for (route, d) in lock(&self.durations).iter() {
            let bucket = format!("{name}_bucket");
            for (bound, n) in BUCKETS_S.iter().zip(d.buckets) {
                t.value(&bucket, &[("route", route), ("le", &bound.to_string())], n as f64);
            }
            t.value(&bucket, &[("route", route), ("le", "+Inf")], d.count as f64);
            t.value(&format!("{name}_sum"), &[("route", route)], d.sum.as_secs_f64());
            t.value(&format!("{name}_count"), &[("route", route)], d.count as f64);
        }
        t.head("shiphold_http_refused_total", "counter", "Requests refused before their route, by reason.");
        for (why, n) in lock(&self.refused).iter() {
            t.value("shiphold_http_refused_total", &[("why", why)], *n as f64);
        }
        t.one(
            "shiphold_http_requests_in_flight",
            "gauge",
            "Requests whose answer is not sent whole yet.",
            self.in_flight.load(Ordering::Relaxed) as f64,
        );
        t.one(
            "shiphold_maintenance_failures_total",
            "counter",
            "Rounds of background work that failed.",
            self.maintenance_failures.load(Ordering::Relaxed) as f64,
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prometheus' text format.
#[derive(Debug, Default)]
pub(crate) struct Text(pub String);

impl Text {
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    pub(crate) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (i, (key, label)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{key}=\"{}\"", if i == 0 { '{' } else { ',' }, escape(label));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub(crate) fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.value(name, &[], value);
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut t = Text::default();
        t.value("x", &[("a", "q\"\\\n"), ("b", "c")], 1.0);
        t.value("y", &[], 2.5);
        assert_eq!(t.0, "x{a=\"q\\\"\\\\\\n\",b=\"c\"} 1\ny 2.5\n");
    }

    #[test]
    fn buckets_are_cumulative() {
        let c = Counters::default();
        c.answered("/r", "GET", 200, Duration::from_millis(4));
        c.answered("/r", "GET", 404, Duration::from_secs(100));
        c.refused("host");
        let mut t = Text::default();
        c.write(&mut t);
        for line in [
            "shiphold_http_requests_total{route=\"/r\",method=\"GET\",status=\"404\"} 1\n",
            "_bucket{route=\"/r\",le=\"0.0025\"} 0\n",
            "_bucket{route=\"/r\",le=\"0.005\"} 1\n",
            "_bucket{route=\"/r\",le=\"60\"} 1\n",
            "_bucket{route=\"/r\",le=\"+Inf\"} 2\n",
            "shiphold_http_refused_total{why=\"host\"} 1\n",
        ] {
            assert!(t.0.contains(line), "{line} in {}", t.0);
        }
    }
}
