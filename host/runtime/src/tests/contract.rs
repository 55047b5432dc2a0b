//! The WIT package as it was published: whoever built a plugin against a version finds that version as it was.

use std::path::{Path, PathBuf};
use wit_component::WitPrinter;
use wit_parser::{Docs, PackageId, Resolve, TypeDefKind};

fn package() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let (id, _) = resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")).unwrap();
    (resolve, id)
}

/// The contract without its prose, in one order.
fn printed(resolve: &Resolve, id: PackageId) -> String {
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    printer.print(resolve, id, &[]).unwrap();
    printer.output.to_string()
}

fn published(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../wit/published/{version}.wit"))
}

#[test]
fn a_published_interface_does_not_change_without_a_new_version() {
    let (resolve, id) = package();
    let version = resolve.packages[id].name.version.clone().unwrap().to_string();
    let now = printed(&resolve, id);
    let path = published(&version);
    // To publish a version: its file is written once, and never again.
    if std::env::var_os("SHIPHOLD_PUBLISH_WIT").is_some() && !path.exists() {
        std::fs::write(&path, &now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap_or_else(|e| {
        panic!("{}: {e}; a version is published with SHIPHOLD_PUBLISH_WIT=1", path.display())
    });
    let changed: Vec<String> = then
        .lines()
        .filter(|line| !now.lines().any(|l| l == *line))
        .map(|line| format!("- {line}"))
        .chain(now.lines().filter(|line| !then.lines().any(|l| l == *line)).map(|line| format!("+ {line}")))
        .collect();
    assert!(
        now == then,
        "shiphold:host@{version} is published and has changed: plugins built against it would break. Give every file of \
         wit/ a new version and publish that.\n{}",
        changed.join("\n")
    );
}

/// A version that was published is a package of its own that still parses.
#[test]
fn every_published_version_parses() {
    let folder = published("x").parent().unwrap().to_path_buf();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut resolve = Resolve::default();
        let id = resolve.push_file(&path).unwrap();
        let version = resolve.packages[id].name.version.clone().unwrap().to_string();
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), version);
        seen += 1;
    }
    assert!(seen >= 1);
}

#[test]
fn every_interface_and_function_says_what_it_is() {
    let (resolve, _) = package();
    let said = |docs: &Docs| docs.contents.as_deref().is_some_and(|text| text.len() > 10);
    let mut silent = Vec::new();
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.clone().unwrap_or_default();
        if !said(&interface.docs) {
            silent.push(name.clone());
        }
        silent.extend(
            interface.functions.values().filter(|f| !said(&f.docs)).map(|f| format!("{name}.{}", f.name)),
        );
        for (type_name, id) in &interface.types {
            let of = &resolve.types[*id];
            let own = !matches!(of.kind, TypeDefKind::Type(wit_parser::Type::Id(_)));
            if own && !said(&of.docs) {
                silent.push(format!("{name}.{type_name}"));
            }
        }
    }
    assert!(silent.is_empty(), "without a word in wit/: {}", silent.join(", "));
}

/// Everything that can fail fails with the one error of the package.
#[test]
fn there_is_one_error() {
    let (resolve, _) = package();
    let error = resolve
        .interfaces
        .iter()
        .find_map(|(_, i)| i.types.get("error").filter(|_| i.name.as_deref() == Some("types")));
    let error = *error.unwrap();
    let mut fallible = 0;
    for (_, interface) in &resolve.interfaces {
        for function in interface.functions.values() {
            let Some(wit_parser::Type::Id(id)) = function.result else { continue };
            let TypeDefKind::Result(result) = &resolve.types[id].kind else { continue };
            let Some(wit_parser::Type::Id(mut err)) = result.err else {
                panic!("{} fails without an error", function.name)
            };
            while let TypeDefKind::Type(wit_parser::Type::Id(of)) = resolve.types[err].kind {
                err = of;
            }
            assert_eq!(err, error, "{}", function.name);
            fallible += 1;
        }
    }
    assert!(fallible > 20, "{fallible}");
}
