//! The stores of one fixture: a real data layer in a folder that goes when the fixture is done.

use serde_json::{Map, Value, json};
use shiphold_kit::Project;
use shiphold_kit::fixture::{File, Fixture, Series};
use shiphold_storage::caller::pattern_matches;
use shiphold_storage::files::PutOptions;
use shiphold_storage::series::Budget;
use shiphold_storage::series::exchange::Import;
use shiphold_storage::series::line_protocol::Precision;
use shiphold_storage::series::query::parse_time;
use shiphold_storage::settings::Expect;
use shiphold_storage::skills::NewVersion;
use shiphold_storage::units::Span;
use shiphold_storage::{Caller, DataLayer, Error, Manifest, Result};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::Path;
use std::sync::Arc;

/// Rows of generated lines that are written at once.
const BATCH_ROWS: u64 = 10_000;
/// Where the host keeps compiled components in a data folder.
const CACHE: &str = "data/cache";
/// The fixture's secrets, beside the manifest.
const SECRETS: &str = "secrets";

const UTC: chrono_tz::Tz = chrono_tz::UTC;

/// One fixture's folder and what is in it. The fields go in this order: the stores before their folder.
pub(super) struct Sandbox {
    pub layer: Arc<DataLayer>,
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// Opens empty stores and fills them. `before` is the sandbox of the fixture before: what was compiled for it is taken
    /// along.
    pub fn open(
        project: &Project,
        component: &Path,
        fixture: &Fixture,
        beside: &Path,
        before: Option<Self>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("shiphold-test-")
            .tempdir()
            .map_err(|e| Error::io("a folder for the stores", e))?;
        if let Some(before) = before {
            let from = before.folder.path().join(CACHE);
            drop(before.layer);
            if from.is_dir() {
                let to = folder.path().join(CACHE);
                let parent = to.parent().unwrap_or(folder.path());
                std::fs::create_dir_all(parent)
                    .and_then(|()| std::fs::rename(&from, &to))
                    .map_err(|e| Error::io("taking compiled code along", e))?;
            }
        }
        secrets(fixture, &folder.path().join(SECRETS))?;
        let path = folder.path().join("shiphold.toml");
        let text = toml::to_string(&manifest(project, component, fixture)?)
            .map_err(|e| Error::invalid(format!("the fixture makes no manifest: {e}")))?;
        std::fs::write(&path, text).map_err(|e| Error::io(path.display(), e))?;
        let manifest = Manifest::load(&path).map_err(|e| named(&e, &path))?;
        let layer = DataLayer::open(&manifest)?;
        let sandbox = Self { layer, folder };
        sandbox.fill(fixture, beside)?;
        Ok(sandbox)
    }

    fn fill(&self, fixture: &Fixture, beside: &Path) -> Result<()> {
        let layer = &self.layer;
        for series in &fixture.series {
            self.series(series, beside).map_err(|e| e.context("series"))?;
        }
        for s in &fixture.settings {
            layer
                .settings()
                .set(&Caller::Operator, &s.namespace, &s.key, s.value.clone(), Expect::Any)
                .map_err(|e| e.context(format!("setting `{}/{}`", s.namespace, s.key)))?;
        }
        for skill in &fixture.skills {
            let new: NewVersion = serde_json::from_value(Value::Object(skill.clone()))
                .map_err(|e| Error::invalid(format!("a skill: {e}")))?;
            let name = new.name.clone();
            layer.skills().put(&Caller::Operator, new).map_err(|e| e.context(format!("skill `{name}`")))?;
        }
        for (number, file) in (0_u8..).zip(&fixture.files) {
            self.file(file, number)?;
        }
        Ok(())
    }

    fn series(&self, s: &Series, beside: &Path) -> Result<()> {
        let store = self.layer.series();
        let bucket = s.bucket.as_deref().unwrap_or(&self.layer.manifest().series.bucket);
        let write = |lines: &str, precision| {
            let report = store.write_lines(&Caller::Operator, bucket, lines.as_bytes(), precision)?;
            match report.conflicts.first() {
                None => Ok(()),
                Some(c) => Err(Error::conflict(format!(
                    "the field `{}` of `{}` is {} here and {} in another line",
                    c.field, c.measurement, c.got, c.have
                ))),
            }
        };
        if let Some(lines) = &s.lines {
            return write(lines, s.precision.as_deref().unwrap_or("ns").parse()?);
        }
        if let Some(csv) = &s.csv {
            let path = beside.join(csv);
            let mut file = std::fs::File::open(&path).map_err(|e| Error::io(path.display(), e))?;
            let bars = Import {
                bucket: s.bucket.clone(),
                symbol: s.symbol.clone(),
                timeframe: s.timeframe.clone(),
                ..Import::default()
            };
            let budget = Budget::default();
            let done = store.import(&Caller::Operator, &mut file, &bars, &budget, &mut |_, _, _| {});
            return done.map(drop).map_err(|e| e.context(path.display()));
        }
        let (line, count) = (s.line.as_deref().unwrap_or_default(), s.count.unwrap_or_default());
        let from = parse_time("from", s.from.as_deref().unwrap_or_default(), UTC)?;
        let every: Span = s
            .every
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|e| Error::invalid(format!("`every`: {e}")))?;
        let every = every.as_nanos_i64();
        let mut lines = String::new();
        for i in 0..count {
            let time =
                i64::try_from(i).ok().and_then(|i| i.checked_mul(every)).and_then(|t| t.checked_add(from));
            let time = time.ok_or_else(|| Error::invalid("`count` times `every` is beyond the year 2262"))?;
            let _ = writeln!(lines, "{line} {time}");
            if (i + 1) % BATCH_ROWS == 0 || i + 1 == count {
                write(&lines, Precision::Ns)?;
                lines.clear();
            }
        }
        Ok(())
    }

    fn file(&self, file: &File, number: u8) -> Result<()> {
        let mut content: Box<dyn Read> = match file.bytes {
            None => Box::new(file.text.as_bytes()),
            // Equal contents would be one object.
            Some(bytes) => Box::new(std::io::repeat(number).take(bytes)),
        };
        let put = self.layer.files().put(
            &Caller::Operator,
            &file.store,
            &file.path,
            &mut content,
            PutOptions::default(),
        );
        put.map(drop).map_err(|e| e.context(format!("file `{}/{}`", file.store, file.path)))
    }
}

/// Its problems are about the fixture: nobody sees the manifest that they are named by.
fn named(e: &Error, path: &Path) -> Error {
    let text: Vec<String> = e
        .message()
        .replace(&path.display().to_string(), "")
        .lines()
        .map(|l| l.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit()).trim_start().to_string())
        .collect();
    Error::invalid(text.join("; "))
}

/// The secrets of a fixture, a file each, for the owner alone.
fn secrets(fixture: &Fixture, folder: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if fixture.secrets.is_empty() {
        return Ok(());
    }
    std::fs::create_dir(folder).map_err(|e| Error::io(folder.display(), e))?;
    for (name, value) in &fixture.secrets {
        // The manifest checks names; here one must not be a path.
        if name.contains(['/', '.']) {
            return Err(Error::invalid(format!("`{}` is no name of a secret", name.escape_debug())));
        }
        let path = folder.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut f| f.write_all(value.as_bytes())).map_err(|e| Error::io(path.display(), e))?;
    }
    Ok(())
}

/// A plugin may ask for any store, `*/*`; an operator grants those that there are.
fn of_stores(grants: &mut toml::Table, stores: &BTreeSet<String>) {
    let files = grants.get_mut("files").and_then(toml::Value::as_table_mut);
    for patterns in files.into_iter().flat_map(|t| t.iter_mut()).filter_map(|(_, p)| p.as_array_mut()) {
        let asked = std::mem::take(patterns);
        for pattern in asked {
            match pattern.as_str().and_then(|p| p.split_once('/')) {
                Some((any, names)) if any.contains('*') => {
                    let meant = stores.iter().filter(|s| pattern_matches(any, s));
                    patterns.extend(meant.map(|s| format!("{s}/{names}").into()));
                }
                _ => patterns.push(pattern),
            }
        }
    }
}

/// As an operator would write it who grants all that is asked, or what the fixture grants.
fn manifest(project: &Project, component: &Path, fixture: &Fixture) -> Result<toml::Table> {
    let toml = |what: &str, map: &Map<String, Value>| {
        toml::Table::try_from(map).map_err(|e| Error::invalid(format!("`{what}` of the fixture: {e}")))
    };
    let mut grants = match &fixture.grants {
        Some(given) => toml("grants", given)?,
        None => project.grants.clone(),
    };
    let mut stores: BTreeSet<String> = fixture.files.iter().map(|f| f.store.clone()).collect();
    let patterns =
        grants.get("files").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let patterns = patterns.filter_map(toml::Value::as_array).flatten().filter_map(toml::Value::as_str);
    stores
        .extend(patterns.filter_map(|p| p.split('/').next()).filter(|s| !s.contains('*')).map(String::from));
    if fixture.grants.is_none() {
        of_stores(&mut grants, &stores);
    }
    let mut plugin = toml::Table::new();
    plugin.insert("component".into(), component.to_string_lossy().into_owned().into());
    plugin.insert("world".into(), project.world.name().into());
    plugin.insert("grants".into(), grants.into());
    plugin.insert("config".into(), toml("config", &fixture.config)?.into());
    if let Some(limits) = &fixture.limits {
        plugin.insert("limits".into(), toml("limits", limits)?.into());
    }
    let mut whole = json!({
        "host": { "name": "fixture", "data": "data" },
        "disk": { "warn_below": "2 MiB", "read_only_below": "1 MiB", "reserve": "1 MiB" },
        "plugins": {},
        "files": {},
    });
    for store in stores {
        if let Some(files) = whole.get_mut("files").and_then(Value::as_object_mut) {
            files.insert(store, json!({ "kind": "objects" }));
        }
    }
    let mut whole = toml::Table::try_from(&whole).map_err(|e| Error::internal(e.to_string()))?;
    if let Some(safety) = &fixture.safety {
        whole.insert("safety".into(), toml("safety", safety)?.into());
    }
    if !fixture.secrets.is_empty() {
        let file = |name: &String| {
            toml::Table::from_iter([("file".to_string(), format!("{SECRETS}/{name}").into())])
        };
        let all = fixture.secrets.keys().map(|name| (name.clone(), file(name).into()));
        whole.insert("secrets".into(), toml::Table::from_iter(all).into());
    }
    let plugins = toml::Table::from_iter([(project.name.clone(), plugin.into())]);
    whole.insert("plugins".into(), plugins.into());
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_any_store_is_granted_of_those_that_there_are() {
        let asked = "[files]\nread = [\"*/in*\", \"cold/x\"]\nwrite = [\"c*/*\"]\ndelete = [\"z*/*\"]\n[series]\nread = [\"*/*\"]";
        let mut grants: toml::Table = toml::from_str(asked).unwrap();
        of_stores(&mut grants, &BTreeSet::from(["box".into(), "cold".into()]));
        let granted = "[files]\nread = [\"box/in*\", \"cold/in*\", \"cold/x\"]\nwrite = [\"cold/*\"]\ndelete = []\n[series]\nread = [\"*/*\"]";
        assert_eq!(grants, toml::from_str(granted).unwrap());
    }
}
