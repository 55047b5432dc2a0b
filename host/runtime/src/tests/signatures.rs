//! Components that only a trusted key's signature lets in. The signatures are made by minisign's own code.

use super::guest::{EMPTY, Guest};
use super::{OP, manifest};
use crate::compile::Compiler;
use crate::{Plugins, check};
use minisign::KeyPair;
use shiphold_storage::{DataLayer, Manifest};
use std::io::Cursor;
use std::path::Path;

fn signed(key: &KeyPair, bytes: &[u8]) -> String {
    minisign::sign(None, &key.sk, Cursor::new(bytes), None, None).unwrap().into_string()
}

fn trust(keys: &[(&str, &KeyPair)]) -> String {
    let lines = keys.iter().map(|(name, key)| format!("{name} = \"{}\"\n", key.pk.to_base64()));
    format!("[trust.keys]\n{}", lines.collect::<String>())
}

/// What is wrong with the plugin, the same from `check` and from loading.
async fn problems(manifest: &Manifest) -> Vec<String> {
    let said: Vec<String> = check(manifest).into_iter().map(|(key, text)| format!("{key}: {text}")).collect();
    let plugins = Plugins::load_with(DataLayer::open(manifest).unwrap(), &Compiler::InProcess).await.unwrap();
    let status = plugins.list(&OP).unwrap().remove(0);
    assert_eq!(status.loaded, said.is_empty(), "{said:?} {status:?}");
    said
}

fn put(dir: &Path, component: &[u8], signature: Option<&str>) {
    std::fs::write(dir.join("p.wasm"), component).unwrap();
    let beside = dir.join("p.wasm.minisig");
    match signature {
        Some(text) => std::fs::write(beside, text).unwrap(),
        None => drop(std::fs::remove_file(beside)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_trusted_key_signed_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob, mallory] = [(); 3].map(|()| KeyPair::generate_unencrypted_keypair().unwrap());
    let component = Guest::new(EMPTY).build();
    put(dir.path(), &component, None);
    let both = manifest(dir.path(), "", &trust(&[("alice", &alice), ("bob", &bob)]));
    for key in [&alice, &bob] {
        put(dir.path(), &component, Some(&signed(key, &component)));
        assert_eq!(problems(&both).await, Vec::<String>::new());
    }
    let only_alice =
        manifest(dir.path(), "signed_by = [\"alice\"]", &trust(&[("alice", &alice), ("bob", &bob)]));
    let refused = problems(&only_alice).await;
    assert!(refused.len() == 1 && refused[0].contains("not signed by alice:"), "{refused:?}");

    put(dir.path(), &component, Some(&signed(&mallory, &component)));
    let refused = problems(&both).await;
    assert!(
        refused[0].starts_with("plugins.p.signed_by: ") && refused[0].contains("alice or bob"),
        "{refused:?}"
    );
    // Signed, and then changed.
    let mut changed = component.clone();
    changed.extend(b"\0\x02\x01x");
    put(dir.path(), &changed, Some(&signed(&alice, &component)));
    assert!(problems(&both).await[0].contains("of other bytes"));
    put(dir.path(), &component, None);
    let refused = problems(&both).await;
    assert!(refused[0].contains("p.wasm.minisig") && refused[0].contains("minisign -S"), "{refused:?}");
    for (text, word) in [("garbage".to_string(), "no minisign signature"), ("x".repeat(4097), "4096 bytes")] {
        put(dir.path(), &component, Some(&text));
        let refused = problems(&both).await;
        assert!(refused[0].contains(word), "{word}: {refused:?}");
    }
    // Without a key nothing is asked.
    put(dir.path(), &component, None);
    assert_eq!(problems(&manifest(dir.path(), "", "")).await, Vec::<String>::new());
    let asked_of_nobody =
        manifest(dir.path(), "", &format!("[trust]\nrequired = false\n{}", trust(&[("alice", &alice)])));
    assert_eq!(problems(&asked_of_nobody).await, Vec::<String>::new());
}

#[test]
fn a_manifest_names_only_keys_that_are_there_and_whole() {
    let key = KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64();
    let read = |text: String| Manifest::parse(&text, Path::new("/x/shiphold.toml")).map(|m| m.trust);
    let trust = read(format!("[trust.keys]\na = \"{key}\"")).unwrap();
    assert!(trust.required && trust.keys["a"] == key);
    for (text, want) in [
        ("[trust]\nrequired = true".to_string(), "no key in [trust.keys]"),
        (format!("[trust.keys]\na = \"{}\"", &key[1..]), "no minisign public key"),
        (format!("[trust.keys]\na = \"{key}A\""), "no minisign public key"),
        ("[trust.keys]\na = 1".to_string(), "trust.keys.a"),
        ("[trust]\nrequird = true".to_string(), "requird"),
    ] {
        let said = read(text.clone()).unwrap_err().to_string();
        assert!(said.contains(want), "{text}: {said}");
    }
    let stranger = "[plugins.p]\ncomponent = \"p.wasm\"\nworld = \"query-builder\"\nsigned_by = [\"eve\"]";
    assert!(read(stranger.into()).unwrap_err().to_string().contains("has no `eve`"));
}
