//! What was built against an earlier version of the WIT package goes on to load and to do its work: a plugin of last year needs no
//! new build.

use super::guest::{BUMP, CLOCK, LIST, LOG, NEXT, Wat, described, dummy_of};
use super::zoo::{ASKS_SERIES, BUILT, SAME, builder};
use super::{Host, OP, manifest};
use crate::compile::Compiler;
use crate::{Plugins, RunOptions, inspect};
use serde_json::Map;
use shiphold_storage::manifest::World;
use shiphold_storage::series::{Budget, Column, Frame, SeriesKey, WriteBatch};
use shiphold_storage::{DataLayer, Manifest};
use std::path::Path;

/// The published versions, the oldest first.
fn versions() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/published");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string())
        .collect();
    names.sort();
    assert!(names.len() >= 3 && names[..2] == ["0.1.0", "0.1.1"], "{names:?}");
    names
}

/// All that a world can be granted; what a version does not have, nobody misses.
fn grants(world: World) -> &'static str {
    match world {
        World::RetentionPolicy => {
            "clock = true\nrandom = true\ncommits = true\nseries = { read = [\"*/*\"], write = [\"*/*\"] }\n\
             settings = { read = [\"*\"] }\nstate = { read = [\"*\"] }\ntrades = { read = [\"*\"], write = [\"*\"] }\n\
             logs = { read = [\"*\"] }\n"
        }
        World::SkillIndexer => "random = true\nskills = true\nsettings = { read = [\"*\"] }\n",
        World::QueryBuilder => {
            "clock = true\nseries = { read = [\"*/*\"] }\nsettings = { read = [\"*\"] }\nstate = { read = [\"*\"] }\n\
             trades = { read = [\"*\"] }\nlogs = { read = [\"*\"] }\nfiles = { read = [\"box/*\"] }\n"
        }
        World::BackupTarget => {
            "clock = true\nhttp = [\"GET a.example\"]\nsecrets = [\"own\"]\nfiles = { read = [\"box/*\"] }\n"
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_import_of_every_published_version_is_there_as_it_was() {
    for version in versions() {
        for world in World::ALL {
            let (name, granted) = (world.name(), grants(world));
            let dir = tempfile::tempdir().unwrap();
            let file = described(
                dummy_of(&version, &format!("{name}-plugin")),
                name,
                &format!("[grants]\n{granted}"),
            );
            std::fs::write(dir.path().join("p.wasm"), &file).unwrap();
            let imports = inspect(&dir.path().join("p.wasm")).unwrap().imports;
            assert!(
                imports.len() > 5 && imports.iter().all(|i| i.ends_with(&format!("@{version}"))),
                "{imports:?}"
            );
            let text = format!(
                "[disk]\nreserve = \"0 B\"\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\n[files.box]\nkind = \"objects\"\n\
                 [secrets.own]\nenv = \"HOME\"\n[plugins.p]\ncomponent = \"p.wasm\"\nworld = \"{name}\"\n[plugins.p.grants]\n{granted}"
            );
            let manifest =
                Manifest::parse(&text, &dir.path().join("shiphold.toml")).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(crate::check(&manifest), Vec::new(), "{version} {name}");
            let plugins =
                Plugins::load_with(DataLayer::open(&manifest).unwrap(), &Compiler::InProcess).await.unwrap();
            let status = plugins.list(&OP).unwrap().remove(0);
            match world {
                // It is asked for its queries when it is loaded, and has nothing but a trap to say.
                World::QueryBuilder => {
                    let said = status.error.unwrap();
                    assert!(said.contains("trapped"), "{version} {name}: {said}");
                }
                _ => assert!(status.loaded, "{version} {name}: {:?}", status.error),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_of_every_published_version_sees_writes_and_is_heard() {
    for version in versions() {
        // It looks at a page, lists a series, reads the clock and says so.
        let body = "(call $next (local.get $cursor) (i32.const 9) (i32.const 32))
            (drop (call $now))
            (call $list (i32.const 64) (i32.const 6) (i32.const 70) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 256))
            (if (i32.load8_u (i32.const 256)) (then unreachable))
            (if (i32.ne (i32.load (i32.const 264)) (i32.const 1)) (then unreachable))
            (call $log (i32.const 1) (i32.const 64) (i32.const 6)) (i32.const 16)";
        let wat = Wat::policy(body)
            .import(NEXT)
            .import(CLOCK)
            .import(LIST)
            .import(LOG)
            .realloc(BUMP)
            .fields("(memory (export \"memory\") 4) (data (i32.const 64) \"market*\")")
            .about(&format!("[grants]\nclock = true\n{ASKS_SERIES}"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.wasm"), wat.build_at(&version)).unwrap();
        let tables = "[plugins.p.grants]\nclock = true\nseries = { read = [\"market/*\"] }";
        let layer = DataLayer::open(&manifest(dir.path(), "", tables)).unwrap();
        let plugins = Plugins::load_with(layer.clone(), &Compiler::InProcess).await.unwrap();
        let host = Host { dir, layer, plugins }.with_bars(&["A"]);
        let report = host.run().await.unwrap_or_else(|e| panic!("{version}: {e:?}"));
        assert!(report.log.iter().any(|l| l.contains("market")), "{version}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_builder_of_every_published_version_answers() {
    for version in versions() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.wasm"), builder("rows", BUILT, SAME).build_at(&version)).unwrap();
        let text = "[disk]\nreserve = \"0 B\"\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\n[plugins.p]\ncomponent = \"p.wasm\"\n\
                    world = \"query-builder\"\n[plugins.p.grants.series]\nread = [\"market/*\"]";
        let manifest = Manifest::parse(text, &dir.path().join("shiphold.toml")).unwrap();
        let layer = DataLayer::open(&manifest).unwrap();
        let key = SeriesKey::new("market", "bar.1d.A", Vec::new()).unwrap();
        let frame = Frame { times: vec![0, 1], columns: vec![Column::float("close", vec![1.0, 2.0])] };
        layer.series().write(&OP, WriteBatch { series: vec![(key, frame)] }).unwrap();
        let plugins = Plugins::load_with(layer, &Compiler::InProcess).await.unwrap();
        let rows = plugins.ask(&OP, Some("p"), "rows", &Map::new(), &Budget::default()).await;
        assert_eq!(rows.unwrap_or_else(|e| panic!("{version}: {e:?}")).frame.len(), 2);
    }
}

/// The other way round there is no promise: what a later package has, this host says it has not.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_a_later_package_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let wat =
        Wat::policy("(call $log (i32.const 1) (i32.const 64) (i32.const 1)) (i32.const 16)").import(LOG);
    // As long as before, so that it is still a component.
    let bytes = replaced(wat.build(), b"@0.1.2", b"@0.9.1");
    std::fs::write(dir.path().join("p.wasm"), bytes).unwrap();
    let layer = DataLayer::open(&manifest(dir.path(), "", "")).unwrap();
    let plugins = Plugins::load_with(layer, &Compiler::InProcess).await.unwrap();
    let e = plugins.run(&OP, "p", RunOptions::default()).await.unwrap_err();
    assert!(e.message().contains("does not fit this host"), "{e:?}");
}

fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|w| w == from) {
        bytes[at + found..at + found + from.len()].copy_from_slice(to);
        at += found + from.len();
    }
    bytes
}
