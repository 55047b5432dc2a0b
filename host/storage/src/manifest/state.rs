//! `[state]`: how many checkpoints of a strategy stay, and where large ones are.

use super::reader::Section;
use super::{FileStore, State};
use std::collections::BTreeMap;

pub(super) fn read_state(s: &Section<'_, '_>, files: &BTreeMap<String, FileStore>) -> State {
    let store = s.text("store");
    match store.as_ref().map(|name| (name, files.get(name))) {
        Some((name, None)) => {
            s.problem("store", format!("names the file store `{name}`, but there is no [files.{name}]"));
        }
        Some((name, Some(store))) if !store.backup => {
            s.problem("store", format!("[files.{name}] is no part of backups, and checkpoints are"));
        }
        _ => {}
    }
    let state = State { store, keep: s.number("keep", 100, 1..=10_000) };
    s.finish();
    state
}
