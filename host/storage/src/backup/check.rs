//! Re-reading a backup: digests, sizes, `integrity_check`, the audit chain, and that nothing is missing or unnamed.

use super::copy::{digest, open_immutable};
use super::format::{Contents, FileEntry, MANIFEST_FILE, Place, object_path};
use super::{BackupReport, Progress};
use crate::audit::Audit;
use crate::error::{Error, Kind, Result};
use crate::layer::{OUTBOX_FILE, SERIES_FILE, STRUCTURED_FILE, integrity};
use crate::series::influx::outbox_at_rest;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Faults named in one error.
const FAULTS_SHOWN: usize = 20;
/// How deep a backup's folders go.
const DEPTH_MAX: usize = 4;

/// Re-reads a backup and compares every digest, `integrity_check` and the audit chain.
pub fn check(from: &Path, progress: Progress<'_>) -> Result<BackupReport> {
    let source = Source::open(from)?;
    source.verify(progress)?;
    Ok(source.contents.report())
}

/// A backup's folder, opened once: no name in its manifest leads out of it.
pub(super) struct Source {
    pub(super) root: PathBuf,
    pub(super) dir: Dir,
    pub(super) contents: Contents,
}

impl Source {
    pub(super) fn open(from: &Path) -> Result<Self> {
        let root = std::path::absolute(from).map_err(|e| Error::io(from.display(), e))?;
        let dir = Dir::open_ambient_dir(&root, ambient_authority()).map_err(|e| {
            Error::io(root.display(), e).hint("give the folder that `shiphold backup export` made")
        })?;
        let contents = Contents::read(&dir, &root)?;
        if contents.schema > newest_schema() {
            return Err(Error::new(
                Kind::Incompatible,
                format!(
                    "the backup was written by version {}, whose database is newer than this binary knows",
                    contents.software
                ),
            )
            .hint("install that version or a newer one"));
        }
        Ok(Self { root, dir, contents })
    }

    pub(super) fn file(&self, entry: &FileEntry) -> Result<cap_std::fs::File> {
        let place = self.root.join(&entry.path);
        let file = self.dir.open(&entry.path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::corrupt(format!("{} is missing", entry.path)),
            _ => Error::io(place.display(), e),
        })?;
        if !file.metadata().map_err(|e| Error::io(place.display(), e))?.is_file() {
            return Err(Error::corrupt(format!("{} is not a plain file", entry.path)));
        }
        Ok(file)
    }

    /// Everything; all faults are named in one error.
    pub(super) fn verify(&self, progress: Progress<'_>) -> Result<()> {
        let mut faults = self.unnamed()?;
        let total = self.contents.bytes();
        let mut done = 0_u64;
        for entry in &self.contents.files {
            let mut one = || -> Result<Option<String>> {
                let mut file = self.file(entry)?;
                let found =
                    digest(&mut file, entry.bytes, entry.sha256.is_some(), &entry.path, &mut |part| {
                        done = done.saturating_add(part.len() as u64);
                        progress(done.min(total), total);
                        Ok(())
                    })?;
                Ok(mismatch(entry, &found))
            };
            match one() {
                Ok(fault) => faults.extend(fault),
                Err(e) => faults.push(e.to_string()),
            }
        }
        // A database whose bytes are not what was written is not opened.
        if faults.is_empty() {
            faults.extend(database_faults(&self.contents, &self.root));
        }
        refuse(&self.root, faults)
    }

    /// What is in the folder and not in the manifest.
    fn unnamed(&self) -> Result<Vec<String>> {
        let named: BTreeSet<&str> = self.contents.files.iter().map(|f| f.path.as_str()).collect();
        let mut out = Vec::new();
        self.walk(&self.dir, "", 0, &named, &mut out)?;
        Ok(out)
    }

    fn walk(
        &self,
        dir: &Dir,
        prefix: &str,
        depth: usize,
        named: &BTreeSet<&str>,
        out: &mut Vec<String>,
    ) -> Result<()> {
        let io = |e| Error::io(self.root.join(prefix).display(), e);
        for entry in dir.entries().map_err(io)? {
            let entry = entry.map_err(io)?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().map_err(io)?.is_dir() && depth < DEPTH_MAX {
                self.walk(&entry.open_dir().map_err(io)?, &format!("{path}/"), depth + 1, named, out)?;
            } else if path != MANIFEST_FILE && !named.contains(path.as_str()) && out.len() <= FAULTS_SHOWN {
                out.push(format!("{} is not named by {MANIFEST_FILE}", path.escape_debug()));
            }
        }
        Ok(())
    }
}

fn newest_schema() -> u32 {
    crate::schema::MIGRATIONS.iter().map(|m| m.number).max().unwrap_or(0)
}

/// What does not fit a file's entry.
pub(super) fn mismatch(entry: &FileEntry, found: &super::copy::Digest) -> Option<String> {
    if found.bytes != entry.bytes {
        let more = if found.bytes > entry.bytes { "more than " } else { "" };
        let have = found.bytes.min(entry.bytes);
        return Some(format!("{} has {more}{have} bytes instead of {}", entry.path, entry.bytes));
    }
    let same = found.blake3 == entry.blake3 && (entry.sha256.is_none() || found.sha256 == entry.sha256);
    (!same).then(|| format!("{} is damaged: its content does not match its digest", entry.path))
}

/// What is wrong inside the databases, in the folder where they are.
pub(super) fn database_faults(contents: &Contents, folder: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let mut look = |name: &str, found: Result<Vec<String>>| {
        let found = found.unwrap_or_else(|e| vec![e.to_string()]);
        faults.extend(found.into_iter().map(|f| format!("{name}: {f}")));
    };
    look(STRUCTURED_FILE, structured_faults(contents, &folder.join(STRUCTURED_FILE)));
    let has = |place| contents.files.iter().any(|f| f.place() == Some(place));
    if has(Place::Series) {
        look(SERIES_FILE, open_immutable(&folder.join(SERIES_FILE)).and_then(|c| integrity(&c)));
    }
    if has(Place::Outbox) {
        look(OUTBOX_FILE, outbox_faults(contents, &folder.join(OUTBOX_FILE)));
    }
    faults
}

fn outbox_faults(contents: &Contents, path: &Path) -> Result<Vec<String>> {
    let connection = open_immutable(path)?;
    let mut faults = integrity(&connection)?;
    if faults.is_empty() {
        let found = outbox_at_rest::look(&connection)?.records;
        let want = contents.outbox_records.unwrap_or_default();
        if found != want {
            faults.push(format!("{found} records are there instead of {want}"));
        }
    }
    Ok(faults)
}

fn structured_faults(contents: &Contents, path: &Path) -> Result<Vec<String>> {
    let connection = open_immutable(path)?;
    let mut faults = integrity(&connection)?;
    if !faults.is_empty() {
        return Ok(faults);
    }
    let proof = Audit::verify_connection(&connection)?;
    if let Some(broken) = &proof.broken {
        faults.push(format!("the audit trail breaks at entry {}: {}", broken.seq, broken.problem));
    } else if (proof.entries, &proof.head) != (contents.audit_entries, &contents.audit_head) {
        faults.push(format!(
            "the audit trail ends at entry {}, not at {} as the backup says",
            proof.entries, contents.audit_entries
        ));
    }
    let schema: u32 = connection.query_row("SELECT max(number) FROM schema_migrations", [], |r| r.get(0))?;
    if schema != contents.schema {
        faults.push(format!("it is at migration {schema}, not {}", contents.schema));
    }
    let mut objects: BTreeSet<&str> = contents
        .files
        .iter()
        .filter(|f| matches!(f.place(), Some(Place::Object { .. })))
        .map(|f| f.path.as_str())
        .collect();
    let mut statement = connection.prepare("SELECT store, hash FROM file_objects ORDER BY store, hash")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (store, hash): (String, String) = (row.get(0)?, row.get(1)?);
        if !objects.remove(object_path(&store, &hash).as_str()) && faults.len() <= FAULTS_SHOWN {
            faults.push(format!(
                "object {hash} of store `{}` is named by a row and not in the backup",
                store.escape_debug()
            ));
        }
    }
    faults.extend(objects.into_iter().take(FAULTS_SHOWN).map(|o| format!("{o} is named by no row")));
    Ok(faults)
}

/// One error for all faults.
pub(super) fn refuse(root: &Path, faults: Vec<String>) -> Result<()> {
    if faults.is_empty() {
        return Ok(());
    }
    let more = faults.len().saturating_sub(FAULTS_SHOWN);
    let shown: Vec<String> = faults.into_iter().take(FAULTS_SHOWN).collect();
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Error::corrupt(format!("the backup {} is damaged: {}{rest}", root.display(), shown.join("; "))).hint(
        "use another backup; the files that are named can be copied from one that holds the same objects",
    ))
}
