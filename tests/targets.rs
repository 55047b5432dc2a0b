//! Backups on a target that is a plugin: pushed, listed, verified, pulled, restored, forgotten — and what a target that lost
//! something comes to.

use crate::main_job::sparse_bars;
use crate::support::{Host, guests};
use serde_json::Value;

/// A host whose backups go to a file store of its own, which is no part of them.
pub fn with_folder() -> Host {
    let component = guests().join("folder-target.wasm");
    let manifest = format!(
        r#"[files.models]
kind = "models"
[files.offsite]
kind = "archives"
backup = false
[secrets.repository]
env = "REPOSITORY_PASSWORD"
[plugins.folder]
component = "{}"
world = "backup-target"
[plugins.folder.grants.files]
read = ["offsite/*"]
write = ["offsite/*"]
delete = ["offsite/*"]
[plugins.folder.config]
store = "offsite"
prefix = "repo"
[backup.nightly]
plugin = "folder"
password = "repository"
keep_last = 1
keep_daily = 0
keep_weekly = 0
keep_monthly = 0
"#,
        component.display()
    );
    Host::new().with(&manifest).with_env("REPOSITORY_PASSWORD", "correct horse battery staple")
}

/// Bars, a skill and a file.
pub fn fill(host: &mut Host) {
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &sparse_bars("AAPL", 20_000, 20)).status, 204);
    for (name, content) in [("code.py", "print(1)\n"), ("weights", "a model's weights")] {
        std::fs::write(host.path().join(name), content).unwrap();
    }
    let at = |name: &str| host.path().join(name).to_str().unwrap().to_string();
    host.run(&["skills", "put", "pullback", "--code", &at("code.py"), "--description", "buys dips"]).ok();
    host.run(&["files", "put", "models", "momentum/1", &at("weights")]).ok();
}

/// A snapshot of `[backup.nightly]` as a new host's data; the same questions, answered alike.
pub fn comes_back(host: &Host, id: &str) {
    let (folder, data) =
        (host.path().join(format!("pulled-{id}")), host.path().join(format!("restored-{id}")));
    let (folder, data) = (folder.to_str().unwrap(), data.to_str().unwrap());
    let pulled = host.run(&["backup", "pull", "nightly", id, folder]);
    assert!(pulled.ok().contains("verified"), "{pulled:?}");
    host.run(&["backup", "restore", folder, data]).ok();
    let other = Host::new().with("[files.models]\nkind = \"models\"\n[files.offsite]\nkind = \"archives\"\n");
    std::fs::rename(data, other.data()).unwrap();
    for question in [
        &["--json", "skills", "list"][..],
        &["--json", "series", "list"],
        &["--json", "files", "list", "models"],
    ] {
        assert_eq!(other.run(question).json(), host.run(question).json(), "{question:?}");
    }
    other.run(&["verify"]).ok();
}

fn snapshots(host: &Host) -> Vec<Value> {
    host.run(&["--json", "backup", "snapshots", "nightly"]).json().as_array().unwrap().clone()
}

#[test]
fn a_backup_goes_to_a_plugin_and_comes_back() {
    let mut host = with_folder();
    fill(&mut host);
    host.run(&["backup", "snapshots", "nightly"]).fails(1, &["no repository yet", "backup push"]);
    let said = host.run(&["backup", "push", "nightly"]);
    assert!(said.ok().contains("read back and compared"), "{said:?}");
    let first = snapshots(&host);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0]["host"], "test");

    // The second costs next to nothing, and the store that holds the backups is not in them.
    let pushed = host.run(&["--json", "backup", "push", "nightly"]).json();
    assert!(
        pushed["created"] == false && pushed["snapshot"]["added_bytes"].as_u64().unwrap() < 200_000,
        "{pushed}"
    );
    assert!(host.run(&["backup", "verify", "nightly", "--read-data"]).ok().contains("2 snapshots"));
    comes_back(&host, "latest");

    // Nothing of it is readable where it lies.
    let list = host.run(&["--json", "files", "list", "offsite"]).json();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert!(names.contains(&"repo/config") && names.iter().any(|n| n.starts_with("repo/data/")), "{names:?}");

    let dry = host.run(&["backup", "forget", "nightly", "--dry-run"]);
    assert!(dry.ok().contains("1 snapshots would be forgotten, 1 kept"), "{dry:?}");
    assert_eq!(snapshots(&host).len(), 2);
    host.run(&["backup", "forget", "nightly"]).ok();
    assert_eq!(snapshots(&host).len(), 1);
    comes_back(&host, snapshots(&host)[0]["id"].as_str().unwrap().get(..8).unwrap());

    let trail = host.run(&["--json", "audit", "list", "--limit", "50"]).ok().to_string();
    for action in ["backup.push", "backup.pull", "backup.forget"] {
        assert!(trail.contains(action), "{action} is not in {trail}");
    }
    host.run(&["audit", "verify"]).ok();
}

#[test]
fn what_a_target_lost_is_found_and_a_wrong_password_opens_nothing() {
    let mut host = with_folder();
    fill(&mut host);
    host.run(&["backup", "push", "nightly"]).ok();
    let list = host.run(&["--json", "files", "list", "offsite"]).json();
    let mut names = list.as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap().to_string());
    let pack = names.rfind(|n| n.starts_with("repo/data/")).unwrap();
    host.run(&["files", "delete", "offsite", &pack, "--purge", "--yes"]).ok();
    let said = host.run(&["backup", "verify", "nightly", "--read-data"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains(pack.rsplit('/').next().unwrap().get(..8).unwrap()), "{said:?}");

    let wrong = with_folder_of(&host);
    wrong.run(&["backup", "snapshots", "nightly"]).fails(1, &["password does not open"]);
}

/// The same data under another password, once its host has ended.
fn with_folder_of(host: &Host) -> Host {
    let other = with_folder().with_env("REPOSITORY_PASSWORD", "another one");
    let folder = other.path().join("pulled");
    let (folder, data) = (folder.to_str().unwrap().to_string(), other.data());
    // What is in the store goes along as files: the repository is nothing but blobs.
    let list = host.run(&["--json", "files", "list", "offsite"]).json();
    for file in list.as_array().unwrap() {
        let name = file["path"].as_str().unwrap();
        host.run(&["files", "get", "offsite", name, "--output", &folder]).ok();
        other.run(&["files", "put", "offsite", name, &folder]).ok();
    }
    assert!(data.is_dir());
    other
}

#[test]
fn a_backup_section_that_fits_nothing_is_named() {
    let cases = [
        (
            "plugin = \"folder\"\npassword = \"repository\"",
            "plugin = \"nobody\"\npassword = \"repository\"",
            "[plugins.nobody]",
        ),
        ("password = \"repository\"", "password = \"none\"", "[secrets.none]"),
        ("keep_last = 1", "keep_last = 0", "keep_last"),
        ("keep_last = 1", "keep_lost = 1", "keep_lost"),
    ];
    for (old, new, words) in cases {
        let mut host = with_folder();
        host.edit(|manifest| {
            assert!(manifest.contains(old));
            manifest.replace(old, new)
        });
        host.run(&["check"]).fails(2, &[words]);
    }
    with_folder().run(&["check"]).ok();
    with_folder().run(&["backup", "push", "weekly"]).fails(1, &["[backup.weekly]", "nightly"]);
}

/// Each way in which a target can be wrong, and what is said of it.
const WRONG: [(&str, &[&str]); 11] = [
    ("forgets", &["took `keys/", "it is not there"]),
    ("says-another-size", &["took `keys/", "it has 100 bytes"]),
    ("names-another", &["says `other` when it is asked for `keys/"]),
    ("says-it-is-there", &["took `keys/", "it has 100 bytes"]),
    ("refuses", &["not \\u{1b}[2J here"]),
    ("traps-at-write", &["trapped"]),
    ("never-finishes", &["limits.deadline"]),
    ("lists-without-end", &["lists more than 1000000 blobs"]),
    ("lists-too-many", &["lists 1001 blobs when it is asked for 1000"]),
    ("lists-the-same-again", &["out of order"]),
    ("lists-others", &["among names that begin with `locks/`"]),
];

#[test]
fn a_target_that_lies_is_found_out_and_the_host_goes_on() {
    for (how, words) in WRONG {
        let manifest = format!(
            "[secrets.repository]\nenv = \"REPOSITORY_PASSWORD\"\n[plugins.forgets]\ncomponent = \"{}\"\nworld = \"backup-target\"\n\
             [plugins.forgets.limits]\ndeadline = \"500 ms\"\n[plugins.forgets.on_failure]\nretries = 0\n\
             [plugins.forgets.config]\nhow = \"{how}\"\n[backup.nightly]\nplugin = \"forgets\"\npassword = \"repository\"\n",
            guests().join("forgets.wasm").display()
        );
        let mut host = Host::new().with(&manifest).with_env("REPOSITORY_PASSWORD", "of a test");
        host.serve();
        let said = host.run(&["backup", "push", "nightly"]);
        assert_eq!(said.code, 1, "{how}: {said:?}");
        for word in words {
            assert!(said.err.contains(word), "{how}: no `{word}` in {said:?}");
        }
        assert_eq!(host.http("GET", "/health", None, b"").status, 200, "after {how}");
        assert!(!host.data().join("outgoing").exists(), "{how} leaves no export behind");
        let trail = host.run(&["--json", "audit", "list"]).ok().to_string();
        assert!(how.starts_with("lists") || trail.contains("backup.push"), "{how} is in the trail: {trail}");
    }
}
