//! `manifest.json`: what a backup says of itself. It is written last, and nothing in it is trusted.

use super::BackupReport;
use crate::error::{Error, Kind, Result};
use crate::layer::{OUTBOX_FILE, SERIES_FILE, STRUCTURED_FILE};
use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

/// The version of the folder's layout. 2 has `outbox.db` and the buckets of InfluxDB.
pub const FORMAT: u32 = 2;
/// The oldest that is read.
const FORMAT_MIN: u32 = 1;
pub const MANIFEST_FILE: &str = "manifest.json";
/// Bytes of `manifest.json`.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// Bytes of one file of a backup: no count in a manifest makes a reader go on for ever.
pub const FILE_BYTES_MAX: u64 = 1 << 50;

/// The outer form: the contents, and the BLAKE3 of their compact JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    seal: String,
    contents: Contents,
}

/// Which engine the series came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    /// `series.db` is a copy of the engine's file.
    Embedded,
    /// `series/` holds line protocol, and `outbox.db` what was not delivered yet.
    Influxdb2,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contents {
    pub format: u32,
    pub host: String,
    /// Nanoseconds since the Unix epoch.
    pub taken_at: i64,
    /// The version that wrote it.
    pub software: String,
    /// The newest migration of `shiphold.db`.
    pub schema: u32,
    pub engine: Engine,
    pub series_rows: u64,
    /// Records in `outbox.db` that wait for InfluxDB, if there is that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox_records: Option<u64>,
    /// The buckets of InfluxDB, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<BucketEntry>,
    pub audit_entries: u64,
    pub audit_head: String,
    pub barrier_us: u64,
    /// Ordered by path.
    pub files: Vec<FileEntry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEntry {
    pub path: String,
    pub bytes: u64,
    pub blake3: String,
    /// Of databases and line protocol, for `sha256sum`; objects are named by their BLAKE3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of line protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// A bucket of InfluxDB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BucketEntry {
    pub name: String,
    /// How long InfluxDB keeps its rows; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_s: Option<u64>,
}

/// What a path of the fixed layout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Structured,
    Series,
    Outbox,
    Lines,
    Object { store: &'a str, hash: &'a str },
}

impl FileEntry {
    /// Only the paths of the layout are paths: nothing else is ever opened.
    pub(super) fn place(&self) -> Option<Place<'_>> {
        match self.path.as_str() {
            STRUCTURED_FILE => return Some(Place::Structured),
            SERIES_FILE => return Some(Place::Series),
            OUTBOX_FILE => return Some(Place::Outbox),
            _ => {}
        }
        let mut parts = self.path.split('/');
        let place = match (parts.next()?, parts.next()?, parts.next(), parts.next()) {
            ("series", name, None, None) => {
                let number = name.strip_suffix(".lp.gz")?;
                (number.len() == 8 && number.bytes().all(|b| b.is_ascii_digit())).then_some(Place::Lines)?
            }
            ("objects", store, Some(folder), Some(hash)) => {
                (is_store(store) && is_hash(hash) && hash.get(..2) == Some(folder))
                    .then_some(Place::Object { store, hash })?
            }
            _ => return None,
        };
        parts.next().is_none().then_some(place)
    }
}

/// The path of an object.
pub(super) fn object_path(store: &str, hash: &str) -> String {
    format!("objects/{store}/{}/{hash}", hash.get(..2).unwrap_or_default())
}

/// The names that a manifest of a host allows for stores.
pub(super) fn is_store(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        && !name.starts_with(['-', '_'])
}

pub(super) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Contents {
    /// The file's bytes.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let json = |e: serde_json::Error| Error::internal(format!("{MANIFEST_FILE}: {e}"));
        let seal = blake3::hash(&serde_json::to_vec(self).map_err(json)?).to_hex().to_string();
        serde_json::to_vec_pretty(&Sealed { seal, contents: self.clone() }).map_err(json)
    }

    /// Reads and checks a manifest; `place` is the backup's folder, for errors.
    pub(super) fn read(dir: &Dir, place: &Path) -> Result<Self> {
        let path = place.join(MANIFEST_FILE);
        let file = dir.open(MANIFEST_FILE).map_err(|e| {
            Error::io(path.display(), e)
                .hint("a backup is complete only with its manifest.json, which is written last")
        })?;
        let mut bytes = Vec::new();
        file.take(MANIFEST_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io(path.display(), e))?;
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(Error::limit(
                path.display(),
                format!("{MANIFEST_BYTES_MAX} bytes"),
                "this is no backup of shiphold",
            ));
        }
        Self::from_bytes(&bytes).map_err(|e| e.context(path.display()))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        // The version first: a newer layout has other keys, and its reader deserves a better word than "unknown field".
        #[derive(Deserialize)]
        struct Version {
            contents: OnlyFormat,
        }
        #[derive(Deserialize)]
        struct OnlyFormat {
            format: u32,
        }
        let unreadable = |e: serde_json::Error| Error::corrupt(format!("it cannot be read: {e}"));
        let version: Version = serde_json::from_slice(bytes).map_err(unreadable)?;
        let format = version.contents.format;
        if !(FORMAT_MIN..=FORMAT).contains(&format) {
            return Err(Error::new(
                Kind::Incompatible,
                format!("the backup has format {format}, this binary reads {FORMAT_MIN} to {FORMAT}"),
            )
            .hint("restore it with the version that wrote it"));
        }
        let Sealed { seal, contents } = serde_json::from_slice(bytes).map_err(unreadable)?;
        let body = serde_json::to_vec(&contents).map_err(unreadable)?;
        if blake3::hash(&body).to_hex().as_str() != seal {
            return Err(Error::corrupt("its seal does not match: it was changed after it was written"));
        }
        contents.check()?;
        Ok(contents)
    }

    fn check(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for file in &self.files {
            let name = || file.path.escape_debug();
            let place = file
                .place()
                .ok_or_else(|| Error::corrupt(format!("`{}` is not a path of a backup", name())))?;
            if !seen.insert(file.path.as_str()) {
                return Err(Error::corrupt(format!("`{}` is named twice", name())));
            }
            let object = match place {
                Place::Object { hash, .. } => hash == file.blake3,
                _ => true,
            };
            if !is_hash(&file.blake3) || !file.sha256.as_deref().is_none_or(is_hash) || !object {
                return Err(Error::corrupt(format!("the digest of `{}` is none", name())));
            }
            if file.bytes > FILE_BYTES_MAX {
                return Err(Error::corrupt(format!("`{}` cannot have {} bytes", name(), file.bytes)));
            }
            let lines = matches!(place, Place::Lines);
            if lines != file.bucket.is_some()
                || lines != file.rows.is_some()
                || lines && self.engine == Engine::Embedded
            {
                return Err(Error::corrupt(format!("`{}` does not fit the engine of this backup", name())));
            }
        }
        let has = |name: &str| seen.contains(name);
        if has(OUTBOX_FILE) != self.outbox_records.is_some()
            || has(OUTBOX_FILE) && self.engine == Engine::Embedded
        {
            return Err(Error::corrupt(format!("`{OUTBOX_FILE}` does not fit the engine of this backup")));
        }
        if !has(STRUCTURED_FILE) || has(SERIES_FILE) != (self.engine == Engine::Embedded) {
            return Err(Error::corrupt("it lacks a database"));
        }
        Ok(())
    }

    pub(super) fn report(&self) -> BackupReport {
        let objects = |f: &&FileEntry| matches!(f.place(), Some(Place::Object { .. }));
        let databases =
            |f: &&FileEntry| matches!(f.place(), Some(Place::Structured | Place::Series | Place::Outbox));
        BackupReport {
            taken_at: self.taken_at,
            host: self.host.clone(),
            databases: self.files.iter().filter(databases).count() as u64,
            objects: self.files.iter().filter(objects).count() as u64,
            bytes: self.bytes(),
            audit_entries: self.audit_entries,
            audit_head: self.audit_head.clone(),
            series_rows: self.series_rows,
            outbox_records: self.outbox_records.unwrap_or_default(),
            barrier_us: self.barrier_us,
            warnings: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, f| sum.saturating_add(f.bytes))
    }
}
