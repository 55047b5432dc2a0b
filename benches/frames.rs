//! A month of one symbol from the real binary into a data frame of pandas over HTTP, in every form that the host speaks, beside InfluxDB.

use crate::answer::{Answer, Figure, Figures};
use crate::data::{self, BEGIN_NS, FIELDS, MINUTE_NS};
use crate::host::{Body, Host, Server, influxd};
use crate::{Run, Table};
use serde_json::json;
use shiphold_storage::series::{Column, Frame};
use shiphold_storage::testing::influxd::Influxd;
use std::path::Path;
use std::process::{Command, Stdio};

const BATCH_LINES: usize = 10_000;
/// Thirty days of minutes.
const MONTH_ROWS: usize = 43_200;
const SYMBOL: usize = 3;
/// How long each form is asked, in seconds; one in the quick form.
const TIMED_S: usize = 5;
/// What `frames.py` calls them, what they are, and the target in milliseconds.
const FORMS: [(&str, &str, &str); 6] = [
    ("arrow", "a month to pandas as Arrow", "5"),
    ("parquet", "a month to pandas as Parquet, by export", ""),
    ("csv", "a month to pandas as CSV", ""),
    ("json", "a month to pandas as JSON", ""),
    ("ndjson", "a month to pandas as NDJSON", ""),
    ("flux", "a month to pandas by Flux, the same client for both", ""),
];
const OF_INFLUXDB: &str = "influxdb";

pub fn run(run: &Run, table: &mut Table) {
    let Some(python) = std::env::var_os("SHIPHOLD_BENCH_PYTHON") else {
        let why = std::env::var("SHIPHOLD_BENCH_PYTHON_MISSING");
        table.note(format!(
            "Left out, for there is no pandas: {}",
            why.unwrap_or_else(|_| "run `cargo xtask bench`".into())
        ));
        return;
    };
    let per_symbol = run.size(50_000, 5_000);
    let month = MONTH_ROWS.min(per_symbol);
    let host = Host::start();
    let influxd = influxd();
    let mut servers = vec![host.server()];
    servers.extend(influxd.as_ref().map(Server::of_influxd));
    let bars = data::bars(per_symbol);
    for server in &servers {
        let mut connection = server.connect();
        for body in data::bodies(&bars, BATCH_LINES) {
            connection.write(&Body::new(&body, false));
        }
    }
    let mut connection = servers[0].connect();
    for path in ["/v1/series/seal", "/v1/series/compact"] {
        let (status, said) = connection.post(path, &Body::new("{}", false));
        assert!(status.contains(" 200 "), "{path}: {status}{said}");
    }
    let name = format!("SYM{SYMBOL:02}");
    let told = json!({
        "shiphold": { "port": servers[0].port, "token": servers[0].token, "org": "bench", "bucket": "market" },
        "influxdb": servers.get(1).map(|s| json!({ "port": s.port, "token": s.token, "org": Influxd::ORG, "bucket": Influxd::BUCKET })),
        "timed_s": run.size(TIMED_S, 1), "measurement": data::key(SYMBOL).measurement, "symbol": name, "start": BEGIN_NS, "end": BEGIN_NS + month as i64 * MINUTE_NS,
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/python/frames.py");
    let output =
        Command::new(python).arg(script).arg(told.to_string()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "frames.py ended with {}", output.status);
    let figures: Figures = serde_json::from_slice(&output.stdout).unwrap();
    table.note(format!(
        "{month} rows of five fields of one of {} symbols, asked by a Python process over a connection that is kept, until they are a data \
         frame. All answers are compared with the rows that were written.",
        data::SYMBOLS
    ));
    let stored = &bars[SYMBOL];
    let columns = FIELDS.iter().zip(&stored.fields);
    let columns = columns.map(|(name, values)| Column::float(*name, values[..month].to_vec())).collect();
    let written = Answer::of(&[Frame { times: stored.times[..month].to_vec(), columns }]);
    for (name, Figure { answer, .. }) in &figures {
        let differs = answer.as_ref().map(|a| written.differs(a));
        assert_eq!(differs, Some(None), "{name} is not what was written");
    }
    let theirs = figures.get(OF_INFLUXDB).map(|f| ("InfluxDB 2, Flux", f.value));
    if theirs.is_none() {
        table.note("InfluxDB 2 is left out: run `cargo xtask peers` once.");
    }
    for (name, what, target) in FORMS {
        match figures.get(name) {
            Some(figure) => table.cost(what, "ms", figure.value, theirs, target),
            None => table.note(format!("The host does not offer {name} (target: {target} ms).")),
        }
    }
}
