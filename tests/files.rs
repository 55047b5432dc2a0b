//! Files and logs as an operator and a trader meet them: models with labels, uploads that are cut off, damage, lines of a log.

use crate::support::{Answer, Host, try_request};
use serde_json::Value;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

const STORES: &str = "[files.models]\nkind = \"models\"\nkeep_versions = 2\n[files.logs]\nkind = \"logs\"\n[logs]\nstore = \"logs\"\nsegment = \"64 KiB\"";

/// Bytes that cannot be compressed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn file(host: &Host, name: &str, content: &[u8]) -> String {
    let path = host.path().join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn a_model_goes_from_training_to_production_and_back() {
    let mut host = Host::new().with(STORES);
    let mut weights = noise(1, 400_000);
    for running in [false, true] {
        if running {
            host.serve();
        }
        let name = format!("momentum/2026-06-26/{running}.bin");
        let label = format!("production-{running}");
        for (version, at) in [("1.0.0", 0), ("1.1.0", 1000), ("1.2.0", 200_000)] {
            weights[at] ^= 0xff;
            let source = file(&host, "w.bin", &weights);
            let skill = format!("momentum@{version}");
            host.run(&[
                "files",
                "put",
                "models",
                &name,
                &source,
                "--skill",
                &skill,
                "--data",
                "bar.1m.X=2026-01-01..2026-06-26",
            ])
            .ok();
            if at == 0 {
                // At once: a host takes away by itself what its rules do not keep.
                let label = ["files", "label", "models", &label, &name, "--version", "1"];
                host.run(&[&label[..], &["--expect", "absent"]].concat()).ok();
            }
        }
        let find = |args: &[&str]| {
            let all = host.run(&[&["--json", "files", "find", "models"], args].concat()).json();
            let of_name = |f: &&Value| f["path"] == name.as_str();
            all.as_array()
                .unwrap()
                .iter()
                .filter(of_name)
                .map(|f| f["version"].as_u64().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(find(&["--skill", "momentum"]), [1, 2, 3]);
        assert_eq!(find(&["--skill", "momentum", "--skill-version", "1.1.0"]), [2]);
        assert_eq!(find(&["--measurement", "bar.1m.X", "--at", "2026-03-01"]), [1, 2, 3]);
        assert_eq!(find(&["--measurement", "bar.1m.X", "--at", "2026-06-26"]), Vec::<u64>::new());
        let shown = host.run(&["--json", "files", "show", "models", &name]).json();
        assert_eq!(shown["provenance"]["skill"]["version"], "1.2.0");

        host.run(&["files", "label", "models", &label, &name, "--expect", "absent"]).fails(1, &["is there"]);
        host.run(&["files", "label", "models", &label, &name, "--expect", "7"])
            .fails(1, &["revision 1, not 7"]);
        let to = host.path().join("got.bin");
        let got = |args: &[&str]| {
            host.run(&[&["files", "get", "models", "-o", to.to_str().unwrap()], args].concat()).ok();
            std::fs::read(&to).unwrap()
        };
        assert_eq!(got(&[&name]), weights);
        let production = got(&["--label", &label]);
        assert!(production != weights && production.len() == weights.len());
        // Two versions stay, and the one with the label.
        assert!(host.run(&["files", "prune", "models", "--dry-run"]).ok().starts_with("0 versions would go"));
        host.run(&["files", "put", "models", &name, &file(&host, "w.bin", b"small")]).ok();
        assert!(host.run(&["files", "prune", "models", "--dry-run"]).ok().starts_with("1 versions would go"));
        host.run(&["files", "prune", "models", "--yes"]).ok();
        let versions = host.run(&["--json", "files", "versions", "models", &name]).json();
        let versions: Vec<u64> =
            versions.as_array().unwrap().iter().map(|v| v["version"].as_u64().unwrap()).collect();
        assert_eq!(versions, [4, 3, 1]);
        host.run(&["files", "delete", "models", &name, "--purge", "--yes"]).fails(1, &[&label, "unlabel"]);
        assert_eq!(got(&["--label", &label]), production);
        host.run(&["files", "gc", "models"]).ok();
        assert_eq!(got(&["--label", &label]), production);
        host.run(&["files", "unlabel", "models", &label]).ok();
        assert!(host.run(&["files", "labels", "models", &label]).ok().contains("momentum"));
        // Nothing keeps the first version any more.
        host.run(&["files", "prune", "models", "--yes"]).ok();
        host.run(&["verify"]).ok();
    }
    let stores = host.run(&["--json", "files", "list"]).json();
    let models = stores.as_array().unwrap().iter().find(|s| s["store"] == "models").unwrap();
    assert!(models["stored_bytes"].as_u64().unwrap() < 900_000, "{models}");
    // A backup has each of them as a file that anybody can check, and comes back.
    let backup = host.path().join("backup");
    host.run(&["backup", "export", backup.to_str().unwrap()]).ok();
    let large =
        walk(&backup.join("objects/models")).into_iter().filter(|p| p.metadata().unwrap().len() == 400_000);
    for object in large {
        let hash = blake3::hash(&std::fs::read(&object).unwrap()).to_hex().to_string();
        assert_eq!(object.file_name().unwrap().to_str().unwrap(), hash);
    }
    host.run(&["backup", "check", backup.to_str().unwrap()]).ok();
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}

fn send(host: &Host, token: &str, method: &str, path: &str, body: &[u8]) -> std::io::Result<Answer> {
    let auth = format!("Bearer {token}");
    try_request(&host.url(path), method, &[("Authorization", &auth)], body)
}

#[test]
fn an_upload_goes_on_after_the_host_was_killed() {
    let mut host = Host::new().with(STORES);
    host.serve();
    let token = host.token("trader", "write");
    let content = noise(3, 3_000_000);
    let begun =
        send(&host, &token, "POST", "/v1/files/models/uploads", br#"{"path":"big/2026-06-26/a.bin"}"#)
            .unwrap();
    assert_eq!(begun.status, 201, "{begun:?}");
    let id = begun.json()["id"].as_str().unwrap().to_string();
    let at = format!("/v1/files/models/uploads/{id}");
    let mut kills = 0;
    loop {
        let received = send(&host, &token, "GET", &at, b"").unwrap().json()["received"].as_u64().unwrap();
        let from = usize::try_from(received).unwrap();
        assert_eq!(from % 300_000, 0, "a part is whole or not there");
        let Some(part) = content.get(from..from + 300_000) else { break };
        let hash = blake3::hash(part).to_hex();
        let path = format!("{at}?offset={received}&blake3={hash}");
        let answer = send(&host, &token, "PATCH", &path, part).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let again = send(&host, &token, "PATCH", &path, part).unwrap();
        assert_eq!(again.status, 409, "{again:?}");
        if from % 900_000 == 0 {
            host.kill_nine();
            host.serve();
            kills += 1;
        }
    }
    assert!(kills > 2);
    let whole = blake3::hash(&content).to_hex();
    let finish = format!("{{\"blake3\":\"{whole}\",\"size\":3000000}}");
    let made = send(&host, &token, "POST", &format!("{at}/finish"), finish.as_bytes()).unwrap();
    assert_eq!((made.status, made.json()["version"].as_u64()), (201, Some(1)), "{made:?}");
    host.kill_nine();
    host.serve();
    let again = send(&host, &token, "POST", &format!("{at}/finish"), finish.as_bytes()).unwrap();
    assert_eq!(again.json(), made.json());
    let to = host.path().join("a.bin");
    host.run(&["files", "get", "models", "big/2026-06-26/a.bin", "-o", to.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read(to).unwrap(), content);
    // The command line does all of this.
    let source = file(&host, "b.bin", &noise(4, 100_000));
    assert!(
        host.run(&["files", "upload", "models", "big/2026-06-26/b.bin", &source]).ok().contains("version 1")
    );
    assert!(host.run(&["files", "uploads", "models"]).ok().contains("no upload"));
}

#[test]
fn a_folder_of_small_files_and_a_bit_that_flips() {
    let host = Host::new().with(STORES);
    let folder = host.path().join("folder/below");
    std::fs::create_dir_all(&folder).unwrap();
    for i in 0..1_200_u64 {
        std::fs::write(folder.join(format!("{i}.txt")), format!("file {i}")).unwrap();
    }
    let above = folder.parent().unwrap().to_str().unwrap().to_string();
    assert!(
        host.run(&["files", "put-folder", "models", &above, "--prefix", "t/2026-06-26"])
            .ok()
            .contains("1200 files")
    );
    assert!(
        host.run(&["files", "list", "models", "--prefix", "t/2026-06-26/below/1199"])
            .ok()
            .contains("1199.txt")
    );
    let get = |i: u64| host.run(&["files", "get", "models", &format!("t/2026-06-26/below/{i}.txt")]);
    assert_eq!(get(77).ok(), "file 77");
    // Somewhere in a pack.
    let pack = walk(&host.data().join("files/models/packs")).remove(0);
    let mut bytes = Vec::new();
    let mut open = std::fs::OpenOptions::new().read(true).write(true).open(pack).unwrap();
    open.read_to_end(&mut bytes).unwrap();
    open.seek(SeekFrom::Start(3)).unwrap();
    open.write_all(&[bytes[3] ^ 1]).unwrap();
    drop(open);
    let report = host.run(&["--json", "files", "verify", "models", "--rate", "100MiB"]);
    let said: Value = serde_json::from_str(&report.out).unwrap();
    let faults = said[0]["report"]["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
    let hit = faults[0]["files"][0].as_str().unwrap().to_string();
    let number: u64 = hit.rsplit('/').next().unwrap().trim_end_matches(".txt").parse().unwrap();
    get(number).fails(1, &["set aside", &hit]);
    assert_eq!(get(number + 1).ok(), format!("file {}", number + 1));
    let source = file(&host, "again", format!("file {number}").as_bytes());
    host.run(&["files", "put", "models", "anywhere", &source]).ok();
    assert_eq!(get(number).ok(), format!("file {number}"));
    host.run(&["verify"]).ok();
}

#[test]
fn lines_of_a_trader_are_found_again() {
    let mut host = Host::new().with(STORES);
    let lines = |from: u64, n: u64| -> String {
        (from..from + n)
            .map(|i| {
                let level = if i.is_multiple_of(100) { "error" } else { "info" };
                format!(
                    "{{\"ts\":{},\"level\":\"{level}\",\"msg\":\"order {i} filled\"}}\n",
                    1_750_000_000 + i
                )
            })
            .collect()
    };
    let source = file(&host, "a.jsonl", lines(0, 2_000).as_bytes());
    assert!(host.run(&["logs", "push", "trader", &source]).ok().contains("2000 lines"));
    host.serve();
    let token = host.token("trader", "write");
    for batch in 0..10 {
        let answer =
            send(&host, &token, "POST", "/v1/logs/trader", lines(2_000 + batch * 100, 100).as_bytes())
                .unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        if batch == 5 {
            host.kill_nine();
            host.serve();
        }
    }
    let streams = host.run(&["--json", "logs", "list"]).json();
    assert_eq!(streams[0]["lines"], 3_000);
    assert!(streams[0]["segments"].as_u64().unwrap() >= 2, "{streams}");
    let errors = host.run(&["--json", "logs", "search", "trader", "--level", "error"]).json();
    assert_eq!(errors["lines"].as_array().unwrap().len(), 30);
    let found = host.run(&["--json", "logs", "search", "trader", "order 2999"]).json();
    assert_eq!(found["lines"][0]["number"], 3_000);
    let day = host
        .run(&[
            "--json",
            "logs",
            "search",
            "trader",
            "--from",
            "1750000010000000000",
            "--to",
            "1750000020000000000",
        ])
        .json();
    assert_eq!(day["lines"].as_array().unwrap().len(), 10);
    assert!(host.run(&["logs", "tail", "trader", "-n", "2"]).ok().contains("order 2999 filled"));
    host.run(&["logs", "search", "nobody"]).fails(1, &["no stream"]);
    host.run(&["logs", "rotate", "trader"]).ok();
    let all = send(&host, &token, "GET", "/v1/logs/trader?limit=10000", b"").unwrap().json();
    let numbers: Vec<u64> =
        all["lines"].as_array().unwrap().iter().map(|l| l["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=3_000).collect::<Vec<_>>());
    host.run(&["verify"]).ok();
}
