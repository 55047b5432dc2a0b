//! `[trust]`: whose signature a component must carry.

use super::Trust;
use super::load::{NAME_RULE, is_name};
use super::reader::Section;
use std::collections::BTreeMap;

/// Characters of a minisign public key: base64 of an algorithm, a key's number and an ed25519 key.
const KEY_CHARS: usize = 56;

pub(super) fn read_trust(s: &Section<'_, '_>) -> Trust {
    let named = s.section("keys");
    let mut keys = BTreeMap::new();
    for name in named.keys() {
        let Some(key) = named.text(&name) else { continue };
        if !is_name(&name) {
            named.problem(&name, NAME_RULE);
        }
        let base64 = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
        if key.len() != KEY_CHARS || !key.starts_with("RW") || !key.bytes().all(base64) {
            named.problem(
                &name,
                "is no minisign public key: the second line of `minisign.pub`, 56 characters that begin with RW",
            );
        }
        keys.insert(name, key);
    }
    let required = s.flag("required", !keys.is_empty());
    if required && keys.is_empty() {
        s.problem("required", "there is no key in [trust.keys]: no component could be loaded");
    }
    named.finish();
    s.finish();
    Trust { required, keys }
}

/// The keys of which one must have signed a plugin's component; none: no signature is asked for.
pub(super) fn read_signers(s: &Section<'_, '_>, trust: &Trust) -> BTreeMap<String, String> {
    let names = s.texts("signed_by");
    if names.is_empty() {
        return if trust.required { trust.keys.clone() } else { BTreeMap::new() };
    }
    let mut signers = BTreeMap::new();
    for name in names {
        match trust.keys.get(&name) {
            Some(key) => {
                signers.insert(name, key.clone());
            }
            None => {
                s.problem("signed_by", format!("names the key `{name}`, but [trust.keys] has no `{name}`"))
            }
        }
    }
    signers
}
