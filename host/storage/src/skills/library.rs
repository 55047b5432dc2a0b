//! A whole library of skills as one file, and back.
//!
//! The file is lines of JSON (UTF-8, each at most [`LINE_BYTES_MAX`]), packed with gzip, zstd or not at all. The first says the
//! format, the last counts and has the digest of all between them: a file that was cut off or changed is not taken. Between them
//! stand, each behind what it names: skills, versions with their provenance, what statuses they got, which of them was current
//! from when on, and what they achieved. `docs/library.md` describes each line.
//!
//! An export is one instant, without a long transaction: all of it is only ever added to, so what there was at its beginning is
//! found by number. An import is checked whole and then made in one transaction, or not at all; the same again changes nothing.

mod apply;
mod check;
mod export;
mod lines;
mod pack;

#[cfg(test)]
mod tests;

pub use lines::{FORMAT, LINE_BYTES_MAX};
pub use pack::{Pack, UNPACKED_BYTES_MAX};

pub(super) use apply::{audit, import_number};
pub(super) use pack::unpacked;

use super::resolve::Checker;
use super::store::Skills;
use crate::caller::{Caller, Scope};
use crate::changes::Change;
use crate::disk::DiskGuard;
use crate::error::{Error, Kind, Result};
use crate::layer::DataLayer;
use crate::nameless::{BLOCK_BYTES, keep, nameless};
use crate::sqlite::Tx;
use lines::Lines;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;

/// Bytes of a file that is imported, as it is sent.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// Versions of one file.
pub const VERSIONS_MAX: u64 = 100_000;
/// Records of performance, and changes of statuses and of current versions, of one file.
pub const RECORDS_MAX: u64 = 1_000_000;
/// Steps of all resolutions of an import together.
const STEPS_MAX: u64 = 5_000_000;

/// What a library has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryCounts {
    pub skills: u64,
    pub versions: u64,
    pub statuses: u64,
    pub currents: u64,
    pub performance: u64,
}

/// How a library is imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportOptions {
    /// Of skills that are here already, too: make the file's current versions current, and give versions the file's statuses.
    pub adopt: bool,
    /// Change nothing; say what would be.
    pub dry_run: bool,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// `library/1`, `voyager`
    pub format: String,
    /// BLAKE3 of the content of the file, in hexadecimal.
    pub digest: String,
    pub dry_run: bool,
    pub added: LibraryCounts,
    /// What was here already.
    pub kept: LibraryCounts,
    /// Current versions and statuses that were taken over for skills that were here already.
    pub adopted: u64,
    /// Entries that indexers made of what is new.
    pub indexed: u64,
    /// What could not be taken over and was left out, in words.
    pub left_out: Vec<String>,
}

/// The bounds of a file; others than the constants in tests only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) file_bytes: u64,
    pub(super) unpacked_bytes: u64,
    pub(super) line_bytes: u64,
    pub(super) versions: u64,
    pub(super) records: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            file_bytes: FILE_BYTES_MAX,
            unpacked_bytes: UNPACKED_BYTES_MAX,
            line_bytes: LINE_BYTES_MAX,
            versions: VERSIONS_MAX,
            records: RECORDS_MAX,
        }
    }
}

impl DataLayer {
    /// Takes a library in, all of it or nothing. Versions that are here with the same content are left; one with other content
    /// refuses the file. Admin, for it writes history in others' names; audited. `progress` gets what is done and bytes or lines
    /// so far, and may cancel.
    pub fn import_skills(
        &self,
        caller: &Caller,
        input: &mut dyn Read,
        options: ImportOptions,
        progress: &mut dyn FnMut(&str, u64) -> Result<()>,
    ) -> Result<Imported> {
        caller.require(Scope::Admin, "import a library of skills")?;
        let bounds = Bounds::default();
        let file = received(input, &self.manifest().host.data, self.disk(), &bounds, progress)?;
        let mut done = self.skills().import(caller, &file, options, &bounds, progress)?;
        self.skills().indexed_after(caller, &mut done, progress);
        Ok(done)
    }
}

impl Skills {
    /// [`DataLayer::import_skills`] of a file that is here.
    pub(super) fn import(
        &self,
        caller: &Caller,
        file: &File,
        options: ImportOptions,
        bounds: &Bounds,
        progress: &mut dyn FnMut(&str, u64) -> Result<()>,
    ) -> Result<Imported> {
        let checked = check::check(&mut opened(file, bounds)?, bounds, progress)?;
        self.all_or_nothing(caller, options.dry_run, |tx| {
            let mut apply = apply::Apply::new(tx, caller, options, &checked)?;
            let mut lines = opened(file, bounds)?;
            while let Some((number, line)) = lines.next_line()? {
                apply.line(line).map_err(|e| e.context(format!("line {number}")))?;
                progress("importing, in lines", number)?;
            }
            apply.end(&mut Checker::new(tx, STEPS_MAX))
        })
    }

    /// One transaction, which a dry run takes back; afterwards whoever waits for changes of skills is told.
    pub(super) fn all_or_nothing(
        &self,
        caller: &Caller,
        dry_run: bool,
        work: impl FnOnce(&Tx<'_>) -> Result<(Imported, BTreeSet<i64>)>,
    ) -> Result<Imported> {
        let mut tried = None;
        let made = self.db.write(|tx| {
            let made = work(tx)?;
            match dry_run {
                false => Ok(made),
                true => {
                    tried = Some(made.0);
                    Err(Error::new(Kind::Cancelled, "a dry run changes nothing"))
                }
            }
        });
        if let Some(tried) = tried {
            return Ok(Imported { dry_run: true, ..tried });
        }
        let (done, touched) = made?;
        let any = !touched.is_empty();
        touched.into_iter().for_each(|skill| self.touched(skill));
        self.follow();
        if any && self.changes.wanted(caller) {
            self.changes.tell([Change::Skill]);
        }
        Ok(done)
    }

    /// Asks the indexers for what is new. The import stands whatever they say: what they fail at waits for `skills reindex`.
    pub(super) fn indexed_after(
        &self,
        caller: &Caller,
        done: &mut Imported,
        progress: &mut dyn FnMut(&str, u64) -> Result<()>,
    ) {
        if done.dry_run || done.added.versions + done.adopted == 0 {
            return;
        }
        match self.reindex(caller, false, &mut |n| progress("indexing, in entries", n).is_ok()) {
            Ok(indexed) => done.indexed = indexed.indexed,
            Err(e) => tracing::warn!(error = %e, "imported skills wait for the indexers"),
        }
    }
}

/// The file from its beginning, line by line.
fn opened<'f>(file: &'f File, bounds: &Bounds) -> Result<Lines<Box<dyn io::BufRead + 'f>>> {
    let mut file = file;
    file.rewind().map_err(|e| Error::io("the file that is imported", e))?;
    Ok(Lines::new(unpacked(BufReader::with_capacity(BLOCK_BYTES, file))?, bounds))
}

/// A body as a file without a name: it is read twice.
fn received(
    input: &mut dyn Read,
    folder: &Path,
    disk: &DiskGuard,
    bounds: &Bounds,
    progress: &mut dyn FnMut(&str, u64) -> Result<()>,
) -> Result<File> {
    let mut file = nameless(folder)?;
    keep(
        input,
        &mut file,
        disk,
        bounds.file_bytes,
        &|e| unreadable(e, bounds.file_bytes),
        &mut |_, bytes| progress("receiving, in bytes", bytes),
    )?;
    Ok(file)
}

/// The file is longer than files may be.
pub fn too_large(most: u64) -> Error {
    Error::limit("the file that is imported", format!("{most} bytes"), "pack it, or import it in parts")
}

pub(super) fn unreadable(e: &io::Error, most: u64) -> Error {
    match e.kind() {
        io::ErrorKind::FileTooLarge => too_large(most),
        io::ErrorKind::TimedOut => Error::new(Kind::Timeout, format!("the file: {e}")),
        _ => Error::invalid(format!("the file cannot be read to its end: {e}")).hint("send it again"),
    }
}
