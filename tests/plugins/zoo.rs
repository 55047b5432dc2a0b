//! Hostile components against a host that serves writes and queries meanwhile: one after another, then all at once. No client sees
//! a failure, every honest answer is right, and at rest the host is as it was.

// One builder of components for the runtime's tests and for these.
#[allow(dead_code)]
#[path = "../../host/runtime/src/tests/guest.rs"]
mod guest;

use super::hostile::hostile;
use super::{DAY_S, LAST_DAY, LATE, eventually, goes_on, retention, runs, stock, with_data};
use crate::support::{Host, Said, bars, request};
use guest::{CONFIG, LOG, Wat};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const EMPTY: &str = "(i32.const 16)";
const LATER: &str = "[plugins.@.limits]\ndeadline = \"200 ms\"\n";
/// Memory that a host may keep after the zoo was there once: the heap's own slack.
const KEPT_BYTES: u64 = 64 << 20;

/// Components written as text: name, component, tables with `@` for the name, words of the error.
fn beasts() -> Vec<(&'static str, Wat, &'static str, &'static [&'static str])> {
    let policy = |body: &str| Wat::policy(body);
    let fields = |body: &str, fields: &str| Wat::policy(body).fields(fields);
    let plan = |count: &str| {
        format!(
            "(i32.store (i32.const 20) (i32.const 1024)) (i32.store (i32.const 24) (i32.const {count})) (i32.const 16)"
        )
    };
    let endless = "(loop $l (br $l)) unreachable";
    vec![
        ("spins", policy(endless), LATER, &["limits.deadline"]),
        (
            "fills",
            fields(
                "(loop $l (memory.fill (i32.const 65536) (i32.const 1) (i32.const 33554432)) (br $l)) unreachable",
                "(memory (export \"memory\") 600)",
            ),
            LATER,
            &["limits.deadline"],
        ),
        (
            "copies",
            fields(
                "(loop $l (memory.copy (i32.const 0) (i32.const 65536) (i32.const 33554432)) (br $l)) unreachable",
                "(memory (export \"memory\") 600)",
            ),
            LATER,
            &["limits.deadline"],
        ),
        (
            "spins-in-start",
            fields(EMPTY, "(memory (export \"memory\") 2) (func $begin (loop $l (br $l))) (start $begin)"),
            LATER,
            &["limits.deadline"],
        ),
        (
            "spins-in-realloc",
            policy("(call $config (i32.const 32)) (i32.const 16)").import(CONFIG).realloc(endless),
            LATER,
            &["limits.deadline"],
        ),
        (
            "spins-in-post-return",
            policy(EMPTY).post_return("plan", "(loop $l (br $l))"),
            LATER,
            &["limits.deadline"],
        ),
        (
            "calls-for-ever",
            policy("(loop $l (call $log (i32.const 1) (i32.const 64) (i32.const 4000)) (br $l)) unreachable")
                .import(LOG),
            LATER,
            &["limits.deadline"],
        ),
        ("burns-fuel", policy(endless), "[plugins.@.limits]\nfuel = 1000000\n", &["limits.fuel"]),
        (
            "grows",
            policy("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (i32.const 16)"),
            "",
            &["limits.memory"],
        ),
        ("begins-with-4-gib", fields(EMPTY, "(memory (export \"memory\") 65536)"), "", &["limits.memory"]),
        (
            "holds-what-it-may",
            fields(
                "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 66060288)) unreachable",
                "(memory (export \"memory\") 1024)",
            ),
            "",
            &["unreachable"],
        ),
        (
            "grows-its-table",
            fields(
                "(loop $l (br_if $l (i32.ne (table.grow (ref.null func) (i32.const 100)) (i32.const -1)))) (i32.const 16)",
                "(memory (export \"memory\") 2) (table 1 funcref)",
            ),
            "",
            &["limits.table_entries"],
        ),
        ("recurses", policy("(call $plan (local.get $cursor) (local.get $now))"), "", &["stack"]),
        ("stops", policy("unreachable"), "", &["unreachable"]),
        ("stops-in-post-return", policy(EMPTY).post_return("plan", "unreachable"), "", &["unreachable"]),
        ("answers-nowhere", policy("(i32.const -8)"), "", &["trapped"]),
        ("answers-with-two-gib", policy(&plan("0x80000000")), "", &["trapped"]),
        (
            "acts-too-often",
            fields(&plan("20000"), "(memory (export \"memory\") 20)"),
            "",
            &["limits.actions"],
        ),
        (
            "says-a-giant-line",
            fields(
                "(call $log (i32.const 1) (i32.const 0) (i32.const 60000000)) (i32.const 16)",
                "(memory (export \"memory\") 1000)",
            )
            .import(LOG),
            "",
            &["limits.reply"],
        ),
        (
            "says-what-is-no-text",
            fields(
                "(call $log (i32.const 1) (i32.const 64) (i32.const 2)) (i32.const 16)",
                "(memory (export \"memory\") 2) (data (i32.const 64) \"\\ff\\fe\")",
            )
            .import(LOG),
            "",
            &["trapped"],
        ),
        (
            "takes-nowhere",
            policy("(call $config (i32.const 32)) (i32.const 16)").import(CONFIG).realloc("(i32.const -1)"),
            "",
            &["realloc"],
        ),
        (
            "calls-in-realloc",
            policy("(call $config (i32.const 32)) (i32.const 16)")
                .import(CONFIG)
                .import(LOG)
                .realloc("(call $log (i32.const 1) (i32.const 64) (i32.const 4)) (i32.const 1024)"),
            "",
            &["trapped"],
        ),
        (
            "data-beyond",
            fields(EMPTY, "(memory (export \"memory\") 2) (data (i32.const -1) \"a\")"),
            "",
            &["out of bounds"],
        ),
        (
            "seventeen-memories",
            fields(EMPTY, &format!("(memory (export \"memory\") 2) {}", "(memory 1)".repeat(16))),
            "",
            &["limits.memories = 16"],
        ),
        ("cut-short", policy(EMPTY), "", &["not a valid"]),
        ("flipped", policy(EMPTY), "", &["not a valid"]),
        (
            "elsewhere",
            Wat::new("skill-indexer")
                .function("index", &format!("(param {})", "i32 ".repeat(14)), EMPTY)
                .function("expand", "(param i32 i32)", EMPTY),
            "",
            &["skill-indexer"],
        ),
        ("too-big", policy(EMPTY), "", &["component_max = 64 MiB"]),
    ]
}

/// Puts the components into a folder; the manifest that names them.
fn plant(folder: &Path) -> String {
    let mut manifest = String::new();
    for (name, wat, tables, _) in beasts() {
        let mut file = wat.build();
        match name {
            "cut-short" => file.truncate(file.len() / 2),
            "flipped" => file[8] ^= 0x7f,
            "too-big" => file.resize(100_000_000, 0),
            _ => {}
        }
        let path = folder.join(format!("{name}.wasm"));
        std::fs::write(&path, file).unwrap();
        let tables = tables.replace('@', name);
        manifest.push_str(&format!(
            "[plugins.{name}]\ncomponent = \"{}\"\nworld = \"retention-policy\"\n{tables}\n",
            path.display()
        ));
    }
    manifest
}

/// What goes on meanwhile, and what went wrong with it.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    wrong: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Two writers, two readers and one who asks for the health, each as fast as it is answered.
    fn start(host: &Host) -> Self {
        let token = host.token("load", "write");
        let (stop, answered, wrong) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Self { stop, answered, wrong, threads: Vec::new() };
        for symbol in ["LOADA", "LOADB"] {
            let lines = bars(symbol, LAST_DAY * DAY_S, 50);
            load.client(
                host,
                &token,
                "POST",
                "/api/v2/write?org=o&bucket=market&precision=s",
                lines,
                |status, _| status == 204,
            );
            let query = format!("{{\"bucket\":\"market\",\"measurement\":\"bar.1m.{symbol}\"}}");
            // Before its first write there is no such series.
            load.client(host, &token, "POST", "/v1/series/query", query, |status, body| {
                status == 404
                    || (status == 200 && (body.contains("\"rows\":50") || body.contains("\"rows\":0")))
            });
        }
        load.client(host, &token, "GET", "/health", String::new(), |status, _| status == 200);
        load
    }

    fn client(
        &mut self,
        host: &Host,
        token: &str,
        method: &'static str,
        path: &str,
        body: String,
        right: fn(u16, &str) -> bool,
    ) {
        let (stop, answered, wrong) = (self.stop.clone(), self.answered.clone(), self.wrong.clone());
        let (url, auth) = (host.url(path), format!("Token {token}"));
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let answer = request(&url, method, &[("Authorization", &auth)], body.as_bytes());
                if !right(answer.status, &answer.body) {
                    wrong.lock().unwrap().push(format!("{method} {url}: {answer:?}"));
                    return;
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client got no answer");
        }
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
        self.answered.load(Ordering::Relaxed)
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    resident_bytes: u64,
    threads: u64,
    files: usize,
    children: usize,
}

fn held(host: &Host) -> Held {
    let pid = host.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |key: &str| -> u64 {
        let line = status.lines().find(|l| l.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let children = std::fs::read_dir("/proc").unwrap().filter(|e| {
        let stat = e.as_ref().ok().and_then(|e| std::fs::read_to_string(e.path().join("stat")).ok());
        // After the name, which may hold anything: state and parent.
        stat.and_then(|s| s.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok()))
            == Some(pid)
    });
    Held {
        resident_bytes: number("VmRSS:") << 10,
        threads: number("Threads:"),
        files: std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
        children: children.count(),
    }
}

/// Files of the data folder that something under way would have left.
fn litter(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            out.extend(litter(&path));
        } else if name.contains("partial") || name.ends_with(".wasm") || name.ends_with(".tmp") {
            out.push(path.display().to_string());
        }
    }
    out
}

#[test]
fn a_host_under_load_outlives_the_zoo() {
    let folder = tempfile::tempdir().unwrap();
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut manifest = retention() + &plant(folder.path());
    all.extend(beasts().iter().map(|(name, _, _, words)| (*name, words.to_vec())));
    for (name, toml, words) in hostile() {
        manifest.push_str(&toml);
        all.push((name, words));
    }
    for (name, _) in &all {
        manifest.push_str(&format!("[plugins.{name}.on_failure]\ndisable_after = 0\n"));
    }
    assert!(all.len() >= 40, "{}", all.len());
    let host = with_data(&manifest);
    let load = Load::start(&host);
    let before = stock(&host);
    let mut first = None;
    for round in 0..2 {
        for (name, words) in &all {
            let answered = load.answered();
            let said = host.run(&["plugins", "run", name, "--now", LATE]);
            said.fails(1, words);
            assert!(!said.err.contains('\u{1b}') && said.err.len() < 64 << 10, "{name}: {said:?}");
            if round == 0 {
                goes_on(&host, name);
                assert_eq!(stock(&host), before, "after {name}");
            }
            eventually("clients are answered", &host, || load.answered() > answered);
        }
        first.get_or_insert_with(|| held(&host));
    }
    let together: Vec<_> = all
        .iter()
        .map(|(name, _)| {
            let mut command = host.command(&["plugins", "run", name, "--now", LATE]);
            let run = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            (name, run.spawn().unwrap())
        })
        .collect();
    for (name, run) in together {
        let said = Said::from(run.wait_with_output().unwrap());
        said.fails(1, &[name]);
        assert!(!said.err.contains('\u{1b}'), "{name}: {said:?}");
    }
    goes_on(&host, "all of them");
    assert_eq!(stock(&host), before);
    let answered = load.end();
    assert!(answered > 100, "{answered} answers are no load");
    let first = first.unwrap();
    eventually("the host is at rest as it was", &host, || {
        let now = held(&host);
        now.children == 0
            && now.files <= first.files
            && now.threads <= first.threads
            && now.resident_bytes <= first.resident_bytes + KEPT_BYTES
    });
    assert_eq!(litter(&host.data()), Vec::<String>::new());
    // Each of those that ran has a sentence; those that could not be loaded have no runs.
    for name in ["spins", "stops", "loops", "hoards"] {
        assert!(runs(&host, name).iter().all(|r| r["state"] == "failed" && r["error"].is_string()), "{name}");
    }
    host.run(&["verify"]).ok();
    host.run(&["audit", "verify"]).ok();
}
