//! What is refused before anything runs: by `check`, and by loading, with the same words.

use super::guest::{CLOCK, EMPTY, Guest, LIST, RANDOM, dummy, with_about};
use super::{Host, OP, manifest};
use crate::compile::Compiler;
use crate::{Plugins, check, inspect};
use shiphold_storage::{DataLayer, Kind};

/// Checks and loads a file as the plugin `p`; what is wrong with it, the same both ways.
async fn refused(file: &[u8], keys: &str, tables: &str) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), file).unwrap();
    let manifest = manifest(dir.path(), keys, tables);
    let problems = check(&manifest);
    let layer = DataLayer::open(&manifest).unwrap();
    let plugins = Plugins::load_with(layer, &Compiler::InProcess).await.unwrap();
    let status = plugins.list(&OP).unwrap().remove(0);
    assert_eq!(status.loaded, problems.is_empty(), "{problems:?} {status:?}");
    let said = status.error.unwrap_or_default();
    for (key, message) in &problems {
        assert!(key.starts_with("plugins.p."), "{key}");
        assert!(said.contains(message), "{message} is not in {said}");
    }
    if !problems.is_empty() {
        let e = plugins.run(&OP, "p", crate::RunOptions::default()).await.unwrap_err();
        assert!(e.message().contains("`p`") && e.message().contains(&problems[0].1), "{e}");
    }
    problems
}

#[track_caller]
fn one(problems: &[(String, String)], key: &str, words: &[&str]) {
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].0, format!("plugins.p.{key}"), "{problems:?}");
    for word in words {
        assert!(problems[0].1.contains(word), "no `{word}` in {problems:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_beyond_the_grants_are_refused_with_the_whole_list() {
    let guest = Guest::new(EMPTY).imports(&[CLOCK, RANDOM, LIST]);
    // wit-component drops an import that nothing calls.
    let called = "(drop (call $now)) (call $random (i32.const 0) (i32.const 32))
        (call $list (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)) (i32.const 16)";
    let guest = Guest { body: called, ..guest };
    let all = "clock = true\nrandom = true\nseries = { read = [\"*/*\"] }";
    let asks = guest.about("[grants]\nclock = true\nrandom = true\nseries = { read = [\"*/*\"] }");
    let problems = refused(&asks.build(), "", "").await;
    assert_eq!(problems.len(), 3, "{problems:?}");
    for (problem, word) in problems.iter().zip(["clock", "random", "series"]) {
        assert!(problem.1.contains(word) && problem.1.contains("manifest does not grant"), "{problem:?}");
    }
    let problems = refused(&asks.build(), "", "[plugins.p.grants]\nclock = true").await;
    assert_eq!(problems.len(), 2, "{problems:?}");
    // Given and not asked for is not enough.
    let silent = asks.about("");
    let problems = refused(&silent.build(), "", &format!("[plugins.p.grants]\n{all}")).await;
    assert!(problems.len() == 3 && problems.iter().all(|p| p.1.contains("without asking")), "{problems:?}");
    let asks = silent.about("[grants]\nclock = true\nrandom = true\nseries = { read = [\"*/*\"] }");
    let host = Host::new(&asks, "", &format!("[plugins.p.grants]\n{all}")).await;
    host.run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_without_a_plugin_toml_is_refused() {
    let file = Guest::new(EMPTY).about(None).build();
    one(&refused(&file, "", "").await, "component", &["plugin.toml", "p.wasm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_digest_than_the_pinned_one_is_refused() {
    let file = Guest::new(EMPTY).build();
    let digest = crate::inspect::sha256(&file);
    assert!(refused(&file, &format!("sha256 = \"{digest}\""), "").await.is_empty());
    let other = format!("sha256 = \"{}\"", "0".repeat(64));
    one(&refused(&file, &other, "").await, "sha256", &[&digest, "p.wasm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_world_is_refused_by_both_names() {
    for world in ["skill-indexer", "query-builder", "backup-target"] {
        let file = dummy(&format!("{world}-plugin"));
        let problems = refused(&file, "", "").await;
        assert!(
            problems
                .iter()
                .any(|(k, m)| k == "plugins.p.world" && m.contains(world) && m.contains("retention-policy")),
            "{world}: {problems:?}"
        );
        // In its own place it is right; this version runs all but one.
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("p.wasm"),
            with_about(file, &format!("name='p'\nversion='1'\nworld='{world}'")),
        )
        .unwrap();
        let seen = inspect(&dir.path().join("p.wasm")).unwrap();
        assert_eq!(seen.world.as_deref(), Some(world));
        let text = |enabled: bool| {
            format!("[plugins.p]\ncomponent = \"p.wasm\"\nworld = \"{world}\"\nenabled = {enabled}")
        };
        let parse = |t: &str| {
            shiphold_storage::Manifest::parse(t, &dir.path().join("shiphold.toml"))
                .unwrap_or_else(|e| panic!("{e}"))
        };
        let said = check(&parse(&text(true)));
        assert!(!said.iter().any(|(k, _)| k == "plugins.p.world"), "{world}: {said:?}");
        let said = check(&parse(&text(false)));
        assert!(!said.iter().any(|(k, _)| k == "plugins.p.world"), "{world}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_named() {
    let guest = Guest::new(EMPTY);
    one(&refused(&guest.core(), "", "").await, "component", &["core module", "p.wasm"]);
    one(&refused(b"#!/bin/sh\n", "", "").await, "component", &["not a valid"]);
    one(&refused(b"", "", "").await, "component", &["p.wasm"]);
    let whole = guest.build();
    for len in [4, 8, 9, whole.len() / 3, whole.len() - 1] {
        let problems = refused(&whole[..len], "", "").await;
        assert!(!problems.is_empty(), "cut to {len}");
    }
    for at in (8..whole.len()).step_by(61) {
        let mut bad = whole.clone();
        bad[at] ^= 0x55;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.wasm"), bad).unwrap();
        // It may still be a component; it must not panic.
        let _ = check(&manifest(dir.path(), "", ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_names_its_key() {
    let schema = "[config]\ntype = \"object\"\nrequired = [\"days\"]\nadditionalProperties = false\n[config.properties.days]\ntype = \"integer\"\nminimum = 1";
    let file = Guest::new(EMPTY).about(schema).build();
    for (config, key, word) in [
        ("", "config.days", "missing"),
        ("[plugins.p.config]\ndays = 0", "config.days", "outside"),
        ("[plugins.p.config]\ndays = \"two\"", "config.days", "integer"),
        ("[plugins.p.config]\ndays = 1\ndayz = 2", "config.dayz", "unknown key"),
    ] {
        one(&refused(&file, "", config).await, key, &[word]);
    }
    assert!(refused(&file, "", "[plugins.p.config]\ndays = 1").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_problems_are_told_at_once() {
    let guest = Guest::new("(drop (call $now)) (i32.const 16)")
        .imports(&[CLOCK])
        .about("[grants]\nclock = true\n[config]\ntype = \"object\"\nrequired = [\"days\"]");
    let problems = refused(&guest.build(), "", "").await;
    let keys: Vec<&str> = problems.iter().map(|p| p.0.as_str()).collect();
    assert_eq!(keys, ["plugins.p.grants", "plugins.p.config.days"], "{problems:?}");
}

#[test]
fn inspect_tells_what_it_is_and_wants_and_runs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.wasm");
    let guest = Guest::new("(drop (call $now)) (i32.const 16)")
        .imports(&[CLOCK])
        .about("[grants]\nclock = true\n[reasons]\nclock = \"to see the time\"");
    let file = guest.build();
    std::fs::write(&path, &file).unwrap();
    let seen = inspect(&path).unwrap();
    assert_eq!(seen.world.as_deref(), Some("retention-policy"));
    assert_eq!(seen.size, file.len() as u64);
    assert_eq!(seen.sha256, crate::inspect::sha256(&file));
    assert!(seen.imports.iter().any(|i| i.starts_with("shiphold:host/clock@")), "{:?}", seen.imports);
    assert!(!seen.imports.iter().any(|i| i.starts_with("shiphold:host/random@")), "{:?}", seen.imports);
    assert!(
        seen.exports.iter().any(|e| e.starts_with("shiphold:host/retention-policy@")),
        "{:?}",
        seen.exports
    );
    let about = seen.plugin.unwrap();
    assert_eq!((about.version.as_str(), about.reasons["clock"].as_str()), ("1.2.3", "to see the time"));
    std::fs::write(&path, with_about(file, "name = \"again\"")).unwrap();
    assert!(inspect(&path).unwrap_err().message().contains("two sections"));
    assert_eq!(inspect(&dir.path().join("none.wasm")).unwrap_err().kind(), Kind::NotFound);
    // A file of the size bound plus one is not read.
    let big = std::fs::File::create(&path).unwrap();
    big.set_len(crate::inspect::COMPONENT_BYTES_MAX + 1).unwrap();
    assert_eq!(inspect(&path).unwrap_err().kind(), Kind::Limit);
}
