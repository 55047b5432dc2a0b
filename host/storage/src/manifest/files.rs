//! `[files.NAME]` and `[logs]`: stores of files by kind, and where lines of logs go.

use super::load::{NAME_RULE, NEVER, SIZE_MAX, is_name, overlaps, place};
use super::reader::Section;
use super::{FileKind, FileStore, Keep, Layout, Logs};
use crate::units::{ByteSize, Span};
use std::collections::BTreeMap;
use std::path::Path;

const KINDS: [(&str, FileKind); 6] = [
    ("models", FileKind::Models),
    ("objects", FileKind::Objects),
    ("archives", FileKind::Archives),
    ("templates", FileKind::Templates),
    ("logs", FileKind::Logs),
    ("debug", FileKind::Debug),
];

/// What a kind has unless the manifest says otherwise: its quota, how long versions stay (zero: for ever), and whether a whole name
/// goes when all of it is older.
fn defaults(kind: FileKind) -> (ByteSize, Span, bool) {
    const DAY: u64 = 86_400;
    match kind {
        FileKind::Models | FileKind::Objects => (ByteSize::gib(10), Span::default(), false),
        FileKind::Archives => (ByteSize::gib(100), Span::default(), false),
        FileKind::Templates => (ByteSize::gib(1), Span::default(), false),
        FileKind::Logs => (ByteSize::gib(10), Span::from_secs(90 * DAY), true),
        FileKind::Debug => (ByteSize::gib(5), Span::from_secs(14 * DAY), true),
    }
}

pub(super) fn read_files(root: &Section<'_, '_>, base: &Path, data: &Path) -> BTreeMap<String, FileStore> {
    let inside = data.join("files");
    let mut out: BTreeMap<String, FileStore> = BTreeMap::new();
    for (name, s) in root.named("files") {
        if !is_name(&name) {
            s.problem("", NAME_RULE);
        }
        s.required("kind", "\"models\"");
        let kind = s.choice("kind", FileKind::Objects, &KINDS);
        let store = match s.text("root") {
            None => inside.join(&name),
            Some(text) => {
                let store = place(base, &text);
                if overlaps(&store, data) {
                    s.problem(
                        "root",
                        format!(
                            "{} overlaps the data folder {}; leave `root` out, or choose a folder apart",
                            store.display(),
                            data.display()
                        ),
                    );
                }
                if store.exists() && !store.is_dir() {
                    s.problem("root", format!("{} exists and is not a folder", store.display()));
                }
                store
            }
        };
        if let Some((other, _)) = out.iter().find(|(_, o)| overlaps(&o.root, &store)) {
            s.problem("root", format!("{} overlaps the root of [files.{other}]", store.display()));
        }
        let (room, keep_for, whole_names) = defaults(kind);
        let quota = s.size("quota", room, ByteSize(1)..=SIZE_MAX);
        let quota_files = s.number("quota_files", 100_000, 1..=100_000_000);
        let versions = s.number("keep_versions", 0, 0..=1_000_000);
        let span = s.time("keep_for", keep_for, Span::default()..=NEVER);
        let store = FileStore {
            kind,
            root: store,
            quota,
            quota_files,
            caller_quota: s.size("caller_quota", quota, ByteSize(1)..=SIZE_MAX),
            caller_quota_files: s.number("caller_quota_files", quota_files, 1..=100_000_000),
            layout: s.choice("layout", Layout::Free, &[("free", Layout::Free), ("dated", Layout::Dated)]),
            keep: Keep {
                versions: (versions > 0).then_some(versions),
                span: (span > Span::default()).then_some(span),
                whole_names,
            },
            file_max: s.size("file_max", ByteSize::gib(2).min(quota), ByteSize(1)..=SIZE_MAX),
            backup: s.flag("backup", true),
        };
        if store.file_max > store.quota {
            s.problem(
                "file_max",
                format!("{} is more than the quota of the store ({})", store.file_max, store.quota),
            );
        }
        s.finish();
        out.insert(name, store);
    }
    out
}

/// Bytes of one line, at most: a line is held in memory and is a row.
const LINE_BYTES_MAX: ByteSize = ByteSize(1 << 20);

pub(super) fn read_logs(s: &Section<'_, '_>, files: &BTreeMap<String, FileStore>) -> Logs {
    let store = s.text("store");
    match store.as_ref().map(|name| (name, files.get(name))) {
        Some((name, None)) => {
            s.problem("store", format!("names the file store `{name}`, but there is no [files.{name}]"));
        }
        Some((name, Some(store))) if store.kind != FileKind::Logs => {
            s.problem("store", format!("[files.{name}] is not of the kind `logs`"));
        }
        _ => {}
    }
    let logs = Logs {
        store,
        segment: s.size("segment", ByteSize::mib(8), ByteSize(64 << 10)..=ByteSize::mib(64)),
        segment_age: s.time(
            "segment_age",
            Span::from_secs(3_600),
            Span::from_secs(1)..=Span::from_secs(86_400),
        ),
        line_max: s.size("line_max", ByteSize(64 << 10), ByteSize(256)..=LINE_BYTES_MAX),
    };
    s.finish();
    logs
}
