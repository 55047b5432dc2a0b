//! A backup becomes a data folder: copied beside its place, proven, then moved there. On failure nothing is left.

use super::check::{Source, database_faults, mismatch, refuse};
use super::copy::{Partial, copy, digest, exists, make_dirs, open_immutable};
use super::export::rows_of;
use super::format::{BucketEntry, Engine, Place};
use super::remote::write_lines;
use super::{BackupReport, Progress};
use crate::error::{Error, Kind, Result};
use crate::layer::{OUTBOX_FILE, SERIES_FILE, STRUCTURED_FILE, open_embedded, open_influx};
use crate::manifest::{EngineKind, Manifest};
use crate::series::influx::outbox_at_rest;
use crate::series::{Budget, SeriesEngine as _};
use crate::units::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Restores a backup into `data`, which must not exist, verified before it is moved into place. File stores of the
/// manifest whose root lies elsewhere keep their root; the default roots are below `data`. A dry run makes every check
/// and writes nothing.
pub fn restore(
    from: &Path,
    data: &Path,
    manifest: Option<&Manifest>,
    dry_run: bool,
    progress: Progress<'_>,
) -> Result<BackupReport> {
    let source = Source::open(from)?;
    let data = std::path::absolute(data).map_err(|e| Error::io(data.display(), e))?;
    let plan = Plan::new(&source, &data, manifest)?;
    let mut report = source.contents.report();
    if dry_run {
        source.verify(progress)?;
    } else {
        report.warnings = plan.run(&source, progress)?;
    }
    report.warnings.splice(0..0, plan.warnings);
    Ok(report)
}

/// Where everything goes.
struct Plan<'a> {
    data: PathBuf,
    manifest: Option<&'a Manifest>,
    /// Stores with a root of their own, by name.
    elsewhere: BTreeMap<String, PathBuf>,
    /// Of those, the ones that hold every object already.
    there: BTreeSet<String>,
    warnings: Vec<String>,
}

impl<'a> Plan<'a> {
    fn new(source: &Source, data: &Path, manifest: Option<&'a Manifest>) -> Result<Self> {
        if exists(data)? {
            return Err(Error::conflict(format!("{} exists", data.display())).hint(
                "a restore never overwrites: give the path of a new folder, then point `host.data` to it",
            ));
        }
        if manifest.is_some_and(|m| m.series.engine == EngineKind::Influxdb2)
            && source.contents.engine == Engine::Embedded
        {
            return Err(Error::invalid(
                "the backup holds the embedded engine's file, and the manifest's engine is `influxdb2`",
            )
            .hint("restore with `series.engine = \"embedded\"`"));
        }
        let mut plan = Self {
            data: data.to_path_buf(),
            manifest,
            elsewhere: BTreeMap::new(),
            there: BTreeSet::new(),
            warnings: Vec::new(),
        };
        for store in stores(source) {
            let Some(m) = manifest else { continue };
            let Some(config) = m.files.get(&store) else {
                plan.warnings.push(format!(
                    "the manifest has no file store `{store}`: it was restored to {}",
                    plan.default_root(data, &store).display()
                ));
                continue;
            };
            if config.root == plan.default_root(&m.host.data, &store) {
                continue;
            }
            if occupied(&config.root)? {
                same_objects(source, &store, &config.root)?;
                plan.there.insert(store.clone());
            }
            plan.elsewhere.insert(store, config.root.clone());
        }
        Ok(plan)
    }

    fn default_root(&self, data: &Path, store: &str) -> PathBuf {
        data.join("files").join(store)
    }

    fn run(&self, source: &Source, progress: Progress<'_>) -> Result<Vec<String>> {
        let mut partial = Partial::create(&self.data)?;
        let mut roots: BTreeMap<&str, Partial> = BTreeMap::new();
        for (store, root) in self.elsewhere.iter().filter(|(s, _)| !self.there.contains(*s)) {
            root.parent().map_or(Ok(()), make_dirs)?;
            roots.insert(store, Partial::create(root)?);
        }
        let total = source.contents.bytes();
        let mut done = 0_u64;
        let mut advance = |n: u64| {
            done = done.saturating_add(n);
            progress(done.min(total), total);
        };
        self.copy(source, &partial.path, &roots, &mut advance)?;
        refuse(&source.root, database_faults(&source.contents, &partial.path))?;
        let warnings = self.series(source, &partial.path, &mut advance)?;
        // The stores first: a data folder is in place only when everything that it names is.
        for root in roots.values_mut() {
            root.publish()?;
        }
        partial.publish()?;
        roots.into_values().for_each(Partial::keep);
        partial.keep();
        Ok(warnings)
    }

    fn copy(
        &self,
        source: &Source,
        data: &Path,
        roots: &BTreeMap<&str, Partial>,
        advance: &mut dyn FnMut(u64),
    ) -> Result<()> {
        for entry in &source.contents.files {
            let to = match entry.place() {
                Some(Place::Structured) => data.join(STRUCTURED_FILE),
                Some(Place::Series) => data.join(SERIES_FILE),
                Some(Place::Outbox) => data.join(OUTBOX_FILE),
                Some(Place::Object { store, .. }) if self.there.contains(store) => continue,
                Some(Place::Object { store, hash }) => {
                    let root =
                        roots.get(store).map_or_else(|| self.default_root(data, store), |p| p.path.clone());
                    root.join("objects").join(hash.get(..2).unwrap_or_default()).join(hash)
                }
                // Lines are not copied: they are written into the engine.
                Some(Place::Lines) | None => continue,
            };
            to.parent().map_or(Ok(()), make_dirs)?;
            let mut file = source.file(entry)?;
            let found = copy(&mut file, &to, entry.bytes, entry.sha256.is_some(), advance)?;
            refuse(&source.root, mismatch(entry, &found).into_iter().collect())?;
        }
        Ok(())
    }

    /// Opens the restored series as a host would, and counts and re-reads them. What was damaged already when the backup
    /// was taken is a warning: its bytes are what was copied, and the rest of the store is sound.
    fn series(&self, source: &Source, data: &Path, advance: &mut dyn FnMut(u64)) -> Result<Vec<String>> {
        let want = source.contents.series_rows;
        let outbox = data.join(OUTBOX_FILE);
        let has_outbox = source.contents.files.iter().any(|f| f.place() == Some(Place::Outbox));
        if let Some(manifest) = self.manifest.filter(|m| m.series.engine == EngineKind::Influxdb2) {
            written(want, to_server(source, manifest, advance)?)?;
            // The host delivers what waits when it starts.
            let damaged = match has_outbox {
                true => outbox_at_rest::look(&open_immutable(&outbox)?)?.damaged,
                false => Vec::new(),
            };
            return Ok(damaged
                .into_iter()
                .map(|d| format!("damaged when the backup was taken: {d}"))
                .collect());
        }
        let engine = open_embedded(&data.join(SERIES_FILE), self.manifest)?;
        let (counted, mut warnings) = match source.contents.engine {
            Engine::Influxdb2 => (write_lines(source, &engine, advance)?, Vec::new()),
            Engine::Embedded => {
                let of = |f: crate::series::Fault| {
                    format!("{} was damaged when the backup was taken: {}", f.object, f.problem)
                };
                (rows_of(&engine)?, engine.verify(&Budget::default())?.into_iter().map(of).collect())
            }
        };
        if has_outbox {
            let found = outbox_at_rest::replay(&open_immutable(&outbox)?, &engine)?;
            warnings.extend(
                found.damaged.iter().map(|d| format!("left out, damaged when the backup was taken: {d}")),
            );
            if found.refused > 0 {
                let there = source.root.join(OUTBOX_FILE);
                let n = found.refused;
                warnings.push(format!("what InfluxDB had refused ({n} parts) stays in {}", there.display()));
            }
            std::fs::remove_file(&outbox).map_err(|e| Error::io(outbox.display(), e))?;
        }
        engine.close()?;
        written(want, counted)?;
        Ok(warnings)
    }
}

/// Into InfluxDB. Its buckets get their retention when all rows are there: until then it would refuse the old ones.
fn to_server(source: &Source, manifest: &Manifest, advance: &mut dyn FnMut(u64)) -> Result<u64> {
    let (engine, settings) = open_influx(manifest)?;
    let engine = engine.without_retention();
    let again = |e: Error| match e.kind() {
        Kind::Unavailable | Kind::Busy => {
            let what =
                "what was written stays in InfluxDB and does no harm: see that it runs, and restore again";
            e.hint(what)
        }
        _ => e,
    };
    let mut fill = || -> Result<u64> {
        let rows = write_lines(source, &engine, advance)?;
        let there = engine.retentions()?;
        // One that has a retention already was made by somebody who chose it.
        let open = |b: &&BucketEntry| there.get(&b.name).is_none_or(Option::is_none);
        for bucket in source.contents.buckets.iter().filter(open) {
            let keep = settings.retention.get(&bucket.name).copied();
            engine.restore_bucket(&bucket.name, keep.or(bucket.keep_s.map(Span::from_secs)))?;
        }
        Ok(rows)
    };
    fill().map_err(again)
}

fn written(want: u64, have: u64) -> Result<()> {
    if want == have {
        return Ok(());
    }
    Err(Error::corrupt(format!("{SERIES_FILE}: {have} rows are there instead of {want}"))
        .hint("use another backup"))
}

fn stores(source: &Source) -> BTreeSet<String> {
    let store = |f: &super::format::FileEntry| match f.place() {
        Some(Place::Object { store, .. }) => Some(store.to_string()),
        _ => None,
    };
    source.contents.files.iter().filter_map(store).collect()
}

/// Is there a folder with something in it?
fn occupied(root: &Path) -> Result<bool> {
    match std::fs::read_dir(root) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(root.display(), e)),
    }
}

/// A root that is in use already is left as it is if it holds exactly what the backup does.
fn same_objects(source: &Source, store: &str, root: &Path) -> Result<()> {
    let differs = |why: String| {
        Err(Error::conflict(format!("the root {} of store `{store}` is not empty: {why}", root.display()))
            .hint("a restore never overwrites: move that folder away, or give the store another `root`"))
    };
    let mut want: BTreeMap<&str, u64> = BTreeMap::new();
    for f in &source.contents.files {
        if let Some(Place::Object { store: s, hash }) = f.place() {
            if s == store {
                want.insert(hash, f.bytes);
            }
        }
    }
    for (hash, path) in objects_at(root)? {
        if want.remove(hash.as_str()).is_none() {
            return differs(format!("it has the object {hash}, which the backup has not"));
        }
        let mut object = std::fs::File::open(&path).map_err(|e| Error::io(path.display(), e))?;
        if digest(&mut object, u64::MAX - 1, false, &hash, &mut |_| Ok(()))?.blake3 != hash {
            return differs(format!("its object {hash} is damaged"));
        }
    }
    match want.keys().next() {
        Some(hash) => differs(format!("it lacks the object {hash}")),
        None => Ok(()),
    }
}

/// The objects below a store's root, as they lie there.
fn objects_at(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = |path: &Path| match std::fs::read_dir(path) {
        Ok(entries) => entries
            .map(|e| e.map(|e| e.path()))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|e| Error::io(path.display(), e)),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(e) => Err(Error::io(path.display(), e)),
    };
    let mut out = Vec::new();
    for folder in entries(&root.join("objects"))? {
        for path in entries(&folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            out.push((name, path));
        }
    }
    Ok(out)
}
