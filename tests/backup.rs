//! A backup that restores, and one that was tampered with.

use crate::support::{Host, bars};
use std::path::Path;

fn filled() -> Host {
    let host = Host::new().with("[files.models]\nkind = \"models\"");
    let model = host.path().join("m.bin");
    std::fs::write(&model, vec![7_u8; 300_000]).unwrap();
    host.run(&["files", "put", "models", "momentum/2026-06-26/m.bin", model.to_str().unwrap()]).ok();
    host.run(&["settings", "set", "system", "risk.max", "5"]).ok();
    host
}

#[test]
fn a_backup_taken_while_the_host_writes_restores_to_one_instant() {
    let mut host = filled();
    host.serve();
    let token = host.token("feed", "write");
    assert_eq!(host.write_lines(&token, "market", &bars("A", 0, 1_000)).status, 204);
    let to = host.path().join("backup");
    host.run(&["backup", "export", to.to_str().unwrap()]).ok();
    // What comes later is not in it.
    assert_eq!(host.write_lines(&token, "market", &bars("A", 60_000, 1_000)).status, 204);
    host.run(&["backup", "check", to.to_str().unwrap()]).ok();

    let restored = Host::new().with("[files.models]\nkind = \"models\"");
    host.run(&["backup", "restore", to.to_str().unwrap(), restored.data().to_str().unwrap()]).ok();
    assert_eq!(restored.rows("bar.1m.A"), 1_000);
    assert_eq!(host.rows("bar.1m.A"), 2_000);
    restored.run(&["verify"]).ok();
    let out = restored.path().join("out.bin");
    restored
        .run(&["files", "get", "models", "momentum/2026-06-26/m.bin", "--output", out.to_str().unwrap()])
        .ok();
    assert_eq!(std::fs::read(out).unwrap(), vec![7_u8; 300_000]);
    assert!(restored.run(&["settings", "get", "system", "risk.max"]).ok().contains('5'));
    // The token of the one host opens the other: it is the same state.
    let mut restored = restored;
    restored.serve();
    assert_eq!(restored.write_lines(&token, "market", &bars("A", 0, 1)).status, 204);
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let host = filled();
    let to = host.path().join("backup");
    host.run(&["backup", "export", to.to_str().unwrap()]).ok();
    let object = newest_object(&to);
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    let name = object.file_name().unwrap().to_str().unwrap().to_string();
    host.run(&["backup", "check", to.to_str().unwrap()]).fails(1, &[&name]);
    let into = host.path().join("restored");
    host.run(&["backup", "restore", to.to_str().unwrap(), into.to_str().unwrap()]).fails(1, &[&name]);
    assert!(!into.exists());
}

#[test]
fn a_restore_never_overwrites() {
    let host = filled();
    let to = host.path().join("backup");
    host.run(&["backup", "export", to.to_str().unwrap()]).ok();
    host.run(&["backup", "export", to.to_str().unwrap()]).fails(1, &["hint:"]);
    host.run(&["backup", "restore", to.to_str().unwrap(), host.data().to_str().unwrap()])
        .fails(1, &["hint:"]);
    let dry = host.path().join("dry");
    host.run(&["backup", "restore", to.to_str().unwrap(), dry.to_str().unwrap(), "--dry-run"]).ok();
    assert!(!dry.exists());
}

fn newest_object(backup: &Path) -> std::path::PathBuf {
    fn walk(dir: &Path, out: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, out) } else { out.push(path) }
        }
    }
    let mut all = Vec::new();
    walk(backup, &mut all);
    all.into_iter().find(|p| p.file_name().unwrap().len() == 64).expect("an object named by its hash")
}
