//! Line protocol over HTTP into the real binary, and into a real InfluxDB beside it: client and server share the machine's cores.

use crate::data::{self, BEGIN_NS};
use crate::host::{Body, Host, Server, influxd};
use crate::machine::{self, memory_mib};
use crate::{Run, Table};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CONNECTIONS: [usize; 3] = [1, 2, 4];
const BATCH_LINES: [usize; 2] = [1_000, 10_000];
/// Bytes of a line, about: what the disk is asked in comparison with a point.
const PAGE_BYTES: usize = 4_096;

pub fn run(run: &Run, table: &mut Table) {
    let host = Host::start();
    std::thread::sleep(Duration::from_secs(2));
    let (rest, _) = memory_mib(host.pid());
    table.cost("host at rest, example plugin loaded", "MiB", rest, None, "60");
    let influxd = influxd();
    let mut servers = vec![host.server()];
    match &influxd {
        Some(server) => servers.push(Server::of_influxd(server)),
        None => table.note("InfluxDB 2 is left out: run `cargo xtask peers` once"),
    }
    let per_symbol = run.size(50_000, 1_000);
    let lines = per_symbol * data::SYMBOLS;
    let raw = machine::synced_writes_per_s(host.folder(), PAGE_BYTES);
    table.note(format!(
        "{lines} lines of bars for each figure, made and packed before the clock starts; each batch is durable when answered, of both \
         servers. The clients share the cores with the server. The disk does {raw:.0} writes with fdatasync of {PAGE_BYTES} bytes a second."
    ));
    let mut bars = data::bars(per_symbol);
    let mut sent = 0;
    for batch in BATCH_LINES {
        for packed in [false, true] {
            for connections in CONNECTIONS {
                let texts = data::bodies(&bars, batch);
                let bodies: Vec<Body> = texts.iter().map(|text| Body::new(text, packed)).collect();
                let rates: Vec<f64> = servers
                    .iter()
                    .map(|s| lines as f64 / write(s, &bodies, connections).as_secs_f64())
                    .collect();
                let (many, form) =
                    (if connections == 1 { "" } else { "s" }, if packed { "gzip" } else { "plain" });
                let what = format!("batches of {batch}, {form}, {connections} connection{many}");
                let target = if batch == BATCH_LINES[1] { "1 M" } else { "" };
                table.beside(&what, "lines/s", true, rates[0], &beside(&servers, &rates), target);
                sent += lines;
                // The same rows again would be stored once: move them on instead.
                let span = per_symbol as i64 * data::MINUTE_NS;
                bars.iter_mut().for_each(|b| b.times.iter_mut().for_each(|t| *t += span));
            }
        }
    }
    let (_, peak) = memory_mib(host.pid());
    table.cost(&format!("peak of the host while {sent} rows came in"), "MiB", peak, None, "400");
    for connections in [1, 4] {
        let each: Vec<Vec<f64>> =
            servers.iter().map(|s| points(s, connections, run.size(2_000, 100))).collect();
        for (share, name) in [(50, "p50"), (99, "p99")] {
            let of_share: Vec<f64> = each.iter().map(|all| all[all.len() * share / 100]).collect();
            let many = if connections == 1 { "" } else { "s at once" };
            let what = format!("a point, {connections} connection{many}, {name}");
            table.beside(&what, "ms", false, of_share[0], &beside(&servers, &of_share), "");
        }
    }
    table.cost("a write with fdatasync of that disk", "ms", 1e3 / raw, None, "");
}

/// The peers with their figures: the first server is ours.
fn beside<'a>(servers: &[Server], figures: &[f64]) -> Vec<(&'a str, f64)> {
    servers.iter().map(|s| s.name).zip(figures.iter().copied()).skip(1).collect()
}

/// Sends all bodies, each connection the next one as soon as it is free.
fn write(server: &Server, bodies: &[Body], connections: usize) -> Duration {
    let next = AtomicUsize::new(0);
    let mut open: Vec<_> = (0..connections).map(|_| server.connect()).collect();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for connection in &mut open {
            scope.spawn(|| {
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    connection.write(body);
                }
            });
        }
    });
    begin.elapsed()
}

/// Milliseconds of writes of one point each, in order of length.
fn points(server: &Server, connections: usize, rounds: usize) -> Vec<f64> {
    let mut all: Vec<f64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|client| {
                scope.spawn(move || {
                    let mut connection = server.connect();
                    let one = |round: usize| {
                        let time = BEGIN_NS + round as i64 * 1_000_000;
                        let line = format!(
                            "tick,symbol=POINT{connections}{client} price={round}.25,size=1 {time}\n"
                        );
                        let body = Body::new(&line, false);
                        let begin = Instant::now();
                        connection.write(&body);
                        begin.elapsed().as_secs_f64() * 1e3
                    };
                    (0..rounds).map(one).collect::<Vec<f64>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    all.sort_by(f64::total_cmp);
    all
}
