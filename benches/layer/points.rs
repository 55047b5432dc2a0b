//! One skill by its name: out of memory, out of the file, over HTTP.

use super::{OP, fill_skills, name, percentile, plain, plain_point};
use crate::host::{Host, Server};
use crate::{Run, Table};
use shiphold_storage::DataLayer;
use shiphold_storage::testing::random::Random;
use shiphold_storage::units::ByteSize;
use std::time::{Duration, Instant};

/// Skills that are asked for again and again.
const HOT: usize = 1_000;
const THREADS: usize = 4;
/// Requests a second that come whether or not the ones before were answered, over so many connections.
const RATE: usize = 1_000;
const CONNECTIONS: usize = 8;

pub fn run(run: &Run, table: &mut Table) {
    let (count, reads) = (run.size(100_000, 2_000), run.size(200_000, 5_000));
    let mut host = Host::new("");
    let mut manifest = host.manifest();
    let path = manifest.host.data.join("shiphold.db");
    let kept = std::mem::replace(&mut manifest.limits.cache_max, ByteSize(0));
    let layer = DataLayer::open(&manifest).unwrap();
    fill_skills(&layer, count);
    table.note(format!(
        "{count} skills of half a kilobyte. A point read gives one of them as a typed value; `rusqlite` does the same with one prepared \
         statement on the same file, {HOT} of them again and again where memory is asked, all of them where the file is."
    ));
    let all = chosen(count, reads);
    let hot = chosen(HOT.min(count), reads);
    let ours = |layer: &DataLayer, names: &[String]| {
        each(names, |n| drop(layer.skills().shared(&OP, n, None).unwrap()))
    };
    let theirs = |names: &[String]| {
        let c = plain(&path, false);
        each(names, |n| assert!(plain_point(&c, n) > 100))
    };
    let mut told = |what: &str, ours: &[f64], theirs: &[f64]| {
        for (percent, target) in [(50, "20"), (99, "")] {
            let what = format!("point read of a skill, {what}, p{percent}");
            table.cost(
                &what,
                "µs",
                percentile(ours, percent),
                Some(("rusqlite", percentile(theirs, percent))),
                target,
            );
        }
    };
    told("from the file", &ours(&layer, &all), &theirs(&all));
    let of_file =
        at_once(&hot, |names| names.iter().for_each(|n| drop(layer.skills().shared(&OP, n, None).unwrap())));
    drop(layer);
    manifest.limits.cache_max = kept;
    let layer = DataLayer::open(&manifest).unwrap();
    ours(&layer, &hot);
    told("in memory", &ours(&layer, &hot), &theirs(&hot));
    let in_memory =
        at_once(&hot, |names| names.iter().for_each(|n| drop(layer.skills().shared(&OP, n, None).unwrap())));
    let plain_at_once = at_once(&hot, |names| {
        let c = plain(&path, false);
        names.iter().for_each(|n| assert!(plain_point(&c, n) > 100));
    });
    for (what, ours) in [("from the file", of_file), ("in memory", in_memory)] {
        table.rate(
            &format!("point reads, {THREADS} threads, {what}"),
            "/s",
            ours,
            Some(("rusqlite", plain_at_once)),
            "",
        );
    }
    drop(layer);
    host.serve();
    over_http(run, table, &host.server(), &hot);
}

fn over_http(run: &Run, table: &mut Table, server: &Server, hot: &[String]) {
    let mut connection = server.connect();
    let paths: Vec<String> = hot.iter().map(|n| format!("/v1/skills/{n}")).collect();
    let mut ask = |n: usize| -> Vec<f64> {
        each(&paths[..n.min(paths.len())], |path| assert!(connection.get(path).contains("Buys the dip")))
    };
    ask(run.size(2_000, 200));
    let one = ask(run.size(20_000, 500));
    table.cost("over HTTP, one after another, p50", "µs", percentile(&one, 50), None, "200");
    table.cost("over HTTP, one after another, p99", "µs", percentile(&one, 99), None, "");
    let paced = paced(server, &paths, Duration::from_secs(run.size(10, 1) as u64));
    for (percent, target) in [(50, "200"), (99, "1,000")] {
        let what = format!("over HTTP, {RATE} requests a second over {CONNECTIONS} connections, p{percent}");
        table.cost(&what, "µs", percentile(&paced, percent), None, target);
    }
}

/// So many names out of the first `of`, in no order.
fn chosen(of: usize, count: usize) -> Vec<String> {
    let mut random = Random::new(1);
    (0..count).map(|_| name(random.below(of))).collect()
}

/// Microseconds of each, in order of length.
fn each<T>(all: &[T], mut f: impl FnMut(&T)) -> Vec<f64> {
    let mut taken: Vec<f64> = all
        .iter()
        .map(|one| {
            let begin = Instant::now();
            f(one);
            begin.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    taken
}

/// Reads a second of several threads, each of which reads all names.
fn at_once(names: &[String], f: impl Fn(&[String]) + Sync) -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| f(names));
        }
    });
    (THREADS * names.len()) as f64 / begin.elapsed().as_secs_f64()
}

/// Microseconds of requests that come at their times: one that has to wait for the one before it has waited since its own.
fn paced(server: &Server, paths: &[String], time: Duration) -> Vec<f64> {
    let gap = Duration::from_secs(1) / RATE as u32;
    let begin = Instant::now() + Duration::from_millis(100);
    let mut all: Vec<f64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|client| {
                scope.spawn(move || {
                    let mut connection = server.connect();
                    let mut taken = Vec::new();
                    for i in (client..).step_by(CONNECTIONS) {
                        let due = begin + gap * i as u32;
                        if due >= begin + time {
                            return taken;
                        }
                        let mut from = due;
                        if let Some(early) =
                            due.checked_duration_since(Instant::now()).filter(|e| !e.is_zero())
                        {
                            std::thread::sleep(early);
                            // A thread wakes a little late: that is not the host's time.
                            from = Instant::now();
                        }
                        connection.get(&paths[i % paths.len()]);
                        taken.push(from.elapsed().as_secs_f64() * 1e6);
                    }
                    taken
                })
            })
            .collect();
        clients.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    all.sort_by(f64::total_cmp);
    all
}
