//! `kill -9` at random while everything goes on at once: writers, late data, sealing, compaction, retention with its rollups.
//!
//! Twenty rounds run with the other scenarios, two hundred with `cargo xtask soak kill`. The moments come from a seed
//! (`SHIPHOLD_SOAK_SEED`); what each writer was told comes from the host.

use crate::main_job::trader;
use crate::support::{Answer, Host, try_request};
use serde_json::{Value, json};
use shiphold_storage::testing::random::{Random, number};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const ROUNDS: u64 = 20;
const SEED: u64 = 5;
/// Writers beside the feed of bars.
const WRITERS: usize = 3;
/// Rows of one batch in each of its two series: all of them or none must be there.
const BATCH: i64 = 60;
/// So many batches come in reverse, so that chunks overlap.
const LATE: i64 = 4;
/// Bars of one day of the feed, and the volume of each.
const DAY_ROWS: i64 = 144;
const VOLUME: i64 = 10;
const DAY_S: i64 = 86_400;
const FIRST_DAY: i64 = 18_000;
/// Rounds between two looks at everything that was ever acknowledged.
const WHOLE_EVERY: u64 = 10;

/// What goes on beside the writers, again and again. A new kind of job is a line here.
const JOBS: [(&str, &str); 4] = [
    ("/v1/plugins/retention/run", "{}"),
    ("/v1/series/seal", ""),
    ("/v1/series/compact", ""),
    ("/v1/series/verify", ""),
];
/// Jobs that do nothing when they are done again: the path, and the figures of the report that are 0 the second time.
const REPEATED: [(&str, &[&str]); 1] =
    [("/v1/plugins/retention/run", &["/report/rollup_bars", "/report/dropped_rows"])];

/// A writer of batches that are never written twice.
#[derive(Debug, Default)]
struct Writer {
    next: i64,
    acknowledged: Vec<i64>,
    /// Batches before this one were looked at.
    checked: i64,
}

impl Writer {
    /// The first second of a batch.
    fn place(batch: i64) -> i64 {
        let (group, at) = (batch.div_euclid(LATE), batch.rem_euclid(LATE));
        (group * LATE + LATE - 1 - at) * BATCH
    }

    fn lines(number: usize, batch: i64) -> String {
        let mut out = String::new();
        for row in 0..BATCH {
            let time = Self::place(batch) + row;
            for side in ["a", "b"] {
                out.push_str(&format!(
                    "work{number},side={side} batch={batch}i,value={}.5 {time}\n",
                    batch * BATCH + row
                ));
            }
        }
        out
    }
}

struct Soak {
    host: Host,
    feed: String,
    admin: String,
    writers: Vec<Writer>,
    /// Days of the feed that were acknowledged; the next one may be there too.
    days: i64,
}

impl Soak {
    fn new() -> Self {
        let mut host = trader().with(
            "[series.embedded]\nhead_max = \"1 MiB\"\nchunk_rows = 1024\nseal_after = \"100 ms\"\ncompact_every = \"100 ms\"\n",
        );
        host.edit(|manifest| manifest.replace("bar_1m_days = 90", "bar_1m_days = 5"));
        host.serve();
        let (feed, admin) = (host.token("feed", "write"), host.token("operator", "admin"));
        let writers = (0..WRITERS).map(|_| Writer::default()).collect();
        Self { host, feed, admin, writers, days: 0 }
    }

    fn post(host: &Host, token: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let auth = format!("Token {token}");
        let headers = [("Authorization", auth.as_str()), ("Content-Type", "application/json")];
        try_request(&host.url(path), "POST", &headers, body.as_bytes())
    }

    /// Everything at once, until the host is killed after `life`.
    fn live(&mut self, life: Duration) {
        let Self { host, feed, admin, writers, days } = self;
        let over = AtomicBool::new(false);
        let write = "/api/v2/write?org=o&bucket=market&precision=s";
        std::thread::scope(|scope| {
            let (over, shared): (&AtomicBool, &Host) = (&over, host);
            let (feed, admin) = (feed.as_str(), admin.as_str());
            for (number, writer) in writers.iter_mut().enumerate() {
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        let batch = writer.next;
                        writer.next += 1;
                        match Self::post(shared, feed, write, &Writer::lines(number, batch)) {
                            Ok(answer) if answer.status == 204 => writer.acknowledged.push(batch),
                            Ok(answer) => panic!("a batch was refused: {answer:?}"),
                            Err(_) => return,
                        }
                    }
                });
            }
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    // A day in doubt is written again, as a client does.
                    match Self::post(shared, feed, write, &day(*days)) {
                        Ok(answer) if answer.status == 204 => *days += 1,
                        Ok(answer) => panic!("a day was refused: {answer:?}"),
                        Err(_) => return,
                    }
                }
            });
            scope.spawn(move || {
                for (path, body) in JOBS.iter().cycle() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    match Self::post(shared, admin, path, body) {
                        Ok(answer) => assert!(answer.status < 300, "{path}: {answer:?}"),
                        Err(_) => return,
                    }
                }
            });
            std::thread::sleep(life);
            // Only the process dies: the threads see it by their connections.
            let killed = std::process::Command::new("kill").args(["-9", &shared.pid().to_string()]).status();
            assert!(killed.unwrap().success());
            over.store(true, Ordering::SeqCst);
        });
        host.kill_nine();
    }

    /// The rows of a query: time, then the fields as whole numbers.
    fn rows(&self, query: &Value) -> Vec<Vec<i64>> {
        let answer = Self::post(&self.host, &self.admin, "/v1/series/query", &query.to_string());
        let answer = answer.unwrap_or_else(|e| panic!("{query}: {e}: {}", self.host.log()));
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let table = answer.json();
        assert_eq!(table["truncated"], false, "{query}");
        let whole =
            |v: &Value| v.as_i64().or(v.as_f64().map(|v| v as i64)).unwrap_or_else(|| panic!("{query}: {v}"));
        let mut columns: Vec<_> = table["columns"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| c["values"].as_array().unwrap_or_else(|| panic!("{query}: {c}")).iter())
            .collect();
        let rows = columns.first().map_or(0, |c| c.len());
        (0..rows).map(|_| columns.iter_mut().filter_map(Iterator::next).map(whole).collect()).collect()
    }

    /// What was acknowledged is there, and every batch is whole or absent.
    fn check_writers(&mut self, whole: bool) {
        for (number, writer) in self.writers.iter().enumerate() {
            let from = if whole { 0 } else { writer.checked - writer.checked.rem_euclid(LATE) };
            for side in ["a", "b"] {
                let found = self.rows(&json!({
                    "measurement": format!("work{number}"), "tags": [["side", side]], "fields": ["batch", "value"],
                    "start": from * BATCH * 1_000_000_000,
                }));
                let mut rows = vec![0; usize::try_from(writer.next - from).unwrap()];
                for row in found {
                    let [time, batch, value] = row[..] else { panic!("{row:?}") };
                    let at = time / 1_000_000_000 - Writer::place(batch);
                    assert!((0..BATCH).contains(&at), "batch {batch} of writer {number} has a row at {time}");
                    assert_eq!(value, batch * BATCH + at, "batch {batch} of writer {number}");
                    rows[usize::try_from(batch - from).unwrap()] += 1;
                }
                for (batch, rows) in (from..).zip(&rows) {
                    assert!(
                        *rows == 0 || *rows == BATCH,
                        "batch {batch} of writer {number}, side {side}, is there by {rows} of {BATCH} rows"
                    );
                }
                for batch in writer.acknowledged.iter().filter(|b| **b >= from) {
                    assert_eq!(
                        rows[usize::try_from(batch - from).unwrap()],
                        BATCH,
                        "batch {batch} of writer {number}, side {side}, was acknowledged and is gone"
                    );
                }
            }
        }
        self.writers.iter_mut().for_each(|w| w.checked = w.next);
    }

    /// Every acknowledged day has all of its bars, or none of them and all of its rollups.
    fn check_days(&self) {
        let per_day = |measurement: &str, fields: &[&str]| {
            let found = self.rows(&json!({ "measurement": measurement, "fields": fields }));
            let mut days = std::collections::BTreeMap::<i64, Vec<Vec<i64>>>::new();
            for row in found {
                days.entry(row[0] / 1_000_000_000 / DAY_S - FIRST_DAY).or_default().push(row[1..].to_vec());
            }
            days
        };
        if self.days == 0 {
            return;
        }
        let raw = per_day("bar.1m.KILL", &["volume"]);
        let rolled = |timeframe: &str| {
            let listed = self.host.rows(&format!("bar.{timeframe}.KILL"));
            let fields = ["volume", "source_rows"];
            if listed == 0 { Default::default() } else { per_day(&format!("bar.{timeframe}.KILL"), &fields) }
        };
        let (hours, daily) = (rolled("1h"), rolled("1d"));
        for day in 0..self.days {
            let rows = raw.get(&day).map_or(0, Vec::len) as i64;
            if rows == DAY_ROWS {
                continue;
            }
            assert_eq!(rows, 0, "day {day} has {rows} of its {DAY_ROWS} bars");
            assert_eq!(
                daily.get(&day),
                Some(&vec![vec![DAY_ROWS * VOLUME, DAY_ROWS]]),
                "day {day} was dropped: its daily bar"
            );
            assert_eq!(
                hours.get(&day),
                Some(&vec![vec![DAY_ROWS * VOLUME / 24, DAY_ROWS / 24]; 24]),
                "day {day} was dropped: its hours"
            );
        }
        let more: Vec<&i64> = raw.keys().filter(|d| **d >= self.days).collect();
        assert!(more.is_empty() || more == [&self.days], "days that nobody wrote: {more:?}");
        let doubtful = raw.get(&self.days).map_or(0, Vec::len) as i64;
        assert!(doubtful == 0 || doubtful == DAY_ROWS, "day {} has {doubtful} bars", self.days);
    }

    /// The jobs can be run again, and when nobody writes, they then have nothing to do.
    fn check_jobs(&self) {
        for (path, figures) in REPEATED {
            let run = || {
                let answer = Self::post(&self.host, &self.admin, path, "{}").unwrap();
                assert_eq!(answer.status, 200, "{path}: {answer:?}");
                answer.json()
            };
            run();
            let again = run();
            for figure in figures {
                let rows = again.pointer(figure).unwrap_or_else(|| panic!("no {figure} in {again}"));
                assert_eq!(*rows, 0, "{path} again, {figure}: {again}");
            }
        }
    }
}

/// A day of the feed.
fn day(number: i64) -> String {
    let first = (FIRST_DAY + number) * DAY_S;
    let line = |slot: i64| {
        format!(
            "bar,symbol=KILL,timeframe=1m open=1,high=2,low=0.5,close=1.5,volume={VOLUME} {}\n",
            first + slot * (DAY_S / DAY_ROWS)
        )
    };
    (0..DAY_ROWS).map(line).collect()
}

#[test]
fn kills_while_everything_goes_on_lose_nothing_and_tear_nothing() {
    let (rounds, seed) = (number("SHIPHOLD_SOAK_ROUNDS", ROUNDS), number("SHIPHOLD_SOAK_SEED", SEED));
    let mut random = Random::new(seed);
    let mut soak = Soak::new();
    for round in 1..=rounds {
        let life = Duration::from_millis(20 + random.next() % 380);
        soak.live(life);
        soak.host.serve();
        let whole = round % WHOLE_EVERY == 0 || round == rounds;
        soak.check_writers(whole);
        soak.check_days();
        soak.check_jobs();
        soak.check_days();
        soak.host.run(&["verify"]).ok();
        if rounds > ROUNDS && round % WHOLE_EVERY == 0 {
            let batches: usize = soak.writers.iter().map(|w| w.acknowledged.len()).sum();
            eprintln!("{round} of {rounds} rounds; {batches} batches and {} days acknowledged", soak.days);
        }
    }
    for writer in &soak.writers {
        assert!(writer.acknowledged.len() as u64 > rounds, "a writer made no progress: {writer:.200?}");
    }
    assert!(soak.days > 5, "only {} days", soak.days);
    assert!(soak.host.rows("bar.1d.KILL") > 0, "retention rolled nothing up");
    soak.host.run(&["audit", "verify"]).ok();
}
