//! Archives of before there was an index: line protocol in gzip. No query reads them; they can be brought back.

use crate::backup::lines::each_member;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::files::{FileStat, FileStores};
use serde::Serialize;
use std::io::BufReader;

/// What their metadata says of their form.
const FORMAT: &str = "line protocol, nanoseconds";
/// Files of one page.
const PAGE: u64 = 10_000;
/// Files that a list shows.
pub const OLD_LISTED_MAX: usize = 10_000;

/// A file of line protocol that retention wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OldArchive {
    pub store: String,
    pub path: String,
    pub bucket: String,
    pub rows: u64,
    pub first: i64,
    pub last: i64,
}

fn known(file: &FileStat) -> Option<OldArchive> {
    let of = &file.metadata;
    (of.get("format")?.as_str()? == FORMAT).then_some(())?;
    Some(OldArchive {
        store: file.store.clone(),
        path: file.path.clone(),
        bucket: of.get("bucket")?.as_str()?.to_string(),
        rows: of.get("rows")?.as_u64()?,
        first: of.get("first")?.as_i64()?,
        last: of.get("last")?.as_i64()?,
    })
}

/// Those of every store, by store and path; at most [`OLD_LISTED_MAX`].
pub(super) fn list(files: &FileStores) -> Result<Vec<OldArchive>> {
    let mut out = Vec::new();
    for store in files.names() {
        let mut after: Option<String> = None;
        loop {
            let page = files.list(&Caller::Operator, store, "", after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.path.clone());
            out.extend(page.iter().filter_map(known));
            if out.len() >= OLD_LISTED_MAX {
                out.truncate(OLD_LISTED_MAX);
                return Ok(out);
            }
        }
    }
    Ok(out)
}

/// One of them by its name.
pub(super) fn find(files: &FileStores, store: &str, path: &str) -> Result<OldArchive> {
    let file = files.stat(&Caller::Operator, store, path, None)?;
    known(&file).ok_or_else(|| {
        Error::invalid(format!("`{store}/{path}` is no archive of line protocol"))
            .hint("`shiphold series archives --old` lists them; those in Parquet are chosen by their series")
    })
}

/// Hands every part of a file on: the lines of some rows.
pub(super) fn parts(
    files: &FileStores,
    old: &OldArchive,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let place = format!("{}/{}", old.store, old.path);
    let (_, content) = files.get(&Caller::Operator, &old.store, &old.path, None, None)?;
    each_member(&mut BufReader::new(content), &place, each)
}
