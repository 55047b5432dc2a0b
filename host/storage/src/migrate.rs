//! How far the databases of a data folder are in their migrations, and bringing them on. Opening the folder does the same; this
//! shows it before, and tries it on a copy.

use crate::disk::FolderLock;
use crate::error::{Error, Result};
use crate::layer::{OUTBOX_FILE, SERIES_FILE, STRUCTURED_FILE, integrity};
use crate::manifest::{EngineKind, Manifest};
use crate::series::{embedded, influx};
use crate::sqlite::{self, Migration, MigrationState};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The migrations of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseMigrations {
    /// Its name in the data folder.
    pub file: String,
    /// `false`: it is made when it is needed, at the newest migration.
    pub exists: bool,
    pub migrations: Vec<MigrationState>,
}

impl DatabaseMigrations {
    /// How many are not applied yet.
    pub fn pending(&self) -> usize {
        self.migrations.iter().filter(|m| self.exists && m.applied_at.is_none()).count()
    }
}

fn databases(manifest: &Manifest) -> Vec<(&'static str, &'static [Migration])> {
    let series = match manifest.series.engine {
        EngineKind::Embedded => (SERIES_FILE, embedded::MIGRATIONS),
        EngineKind::Influxdb2 => (OUTBOX_FILE, influx::MIGRATIONS),
    };
    vec![(STRUCTURED_FILE, crate::schema::MIGRATIONS), series]
}

/// How far each database is; nothing changes, and a host may run.
pub fn status(manifest: &Manifest) -> Result<Vec<DatabaseMigrations>> {
    databases(manifest)
        .into_iter()
        .map(|(file, migrations)| {
            let path = manifest.host.data.join(file);
            let exists = path.exists();
            let states = match exists {
                true => sqlite::migration_states(&read_only(&path)?, &path, migrations)?,
                false => migrations.iter().map(Migration::state).collect(),
            };
            Ok(DatabaseMigrations { file: file.into(), exists, migrations: states })
        })
        .collect()
}

/// Applies what is pending, each database backed up first; with `dry_run` to a copy that is checked and removed. What was pending. No
/// host may run. A database that does not exist is left to whoever opens it.
pub fn up(manifest: &Manifest, dry_run: bool) -> Result<Vec<DatabaseMigrations>> {
    let _lock = FolderLock::acquire(&manifest.host.data)?;
    let before = status(manifest)?;
    for (state, (file, migrations)) in before.iter().zip(databases(manifest)) {
        let path = manifest.host.data.join(file);
        if state.exists {
            sqlite::refuse_unknown(&read_only(&path)?, &path, migrations)?;
        }
        if state.pending() == 0 {
            continue;
        }
        if dry_run {
            rehearse(&path, migrations).map_err(|e| e.context("the rehearsal"))?;
        } else {
            sqlite::migrate(&path, migrations)?;
        }
    }
    Ok(before)
}

fn read_only(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|e| Error::from(e).context(path.display()))
}

/// A copy that goes with the value.
struct Copy(PathBuf);

impl Copy {
    fn remove(&self) {
        let (Some(folder), Some(name)) = (self.0.parent(), self.0.file_name()) else { return };
        let Ok(files) = std::fs::read_dir(folder) else { return };
        let name = name.to_string_lossy();
        // Its logs, and the backup that was made of it, too.
        for file in files.flatten().filter(|f| f.file_name().to_string_lossy().starts_with(name.as_ref())) {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.remove();
    }
}

fn rehearse(path: &Path, migrations: &[Migration]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".rehearsal");
    let copy = Copy(path.with_file_name(name));
    // What a rehearsal that was killed left.
    copy.remove();
    let text = copy.0.to_str().ok_or_else(|| Error::invalid(format!("{} is not UTF-8", copy.0.display())))?;
    read_only(path)?
        .execute("VACUUM INTO ?1", [text])
        .map_err(|e| Error::from(e).context(format!("copying {}", path.display())))?;
    sqlite::migrate(&copy.0, migrations)?;
    let problems = integrity(&read_only(&copy.0)?)?;
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::corrupt(format!("{} after its migrations: {}", path.display(), problems.join("; ")))
        .hint("nothing was changed; restore a backup, or report it"))
}

#[cfg(test)]
mod fills;
#[cfg(test)]
mod fixtures;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::layer::DataLayer;
    use crate::layer::tests::manifest;
    use crate::{Caller, settings::Expect};
    use serde_json::json;

    /// A database as an earlier version left it: with the first migrations only.
    fn older(data: &Path, migrations: usize) {
        std::fs::create_dir_all(data).unwrap();
        let of = crate::schema::MIGRATIONS.get(..migrations).unwrap();
        sqlite::migrate(&data.join(STRUCTURED_FILE), of).unwrap();
    }

    #[test]
    fn what_is_pending_is_shown_rehearsed_and_applied() {
        let dir = tempfile::tempdir().unwrap();
        let m = manifest(dir.path(), "");
        assert!(status(&m).unwrap().iter().all(|d| !d.exists && d.pending() == 0));
        older(&m.host.data, 3);
        Connection::open(m.host.data.join(STRUCTURED_FILE))
            .unwrap()
            .execute("INSERT INTO setting_revisions VALUES ('a', 'b', 1, '7', 5, 'operator')", [])
            .unwrap();
        let newest = crate::schema::MIGRATIONS.len();
        let pending = |d: Vec<DatabaseMigrations>| (d[0].exists, d[0].pending());
        assert_eq!(pending(status(&m).unwrap()), (true, newest - 3));
        let files = || {
            let mut names: Vec<_> = std::fs::read_dir(&m.host.data)
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .filter(|n| !n.ends_with("-wal") && !n.ends_with("-shm"))
                .collect();
            names.sort();
            names
        };
        assert_eq!(pending(up(&m, true).unwrap()), (true, newest - 3));
        assert_eq!(files(), ["lock", STRUCTURED_FILE], "a rehearsal leaves nothing");
        assert_eq!(pending(status(&m).unwrap()), (true, newest - 3));
        assert_eq!(pending(up(&m, false).unwrap()), (true, newest - 3));
        assert_eq!(files(), ["lock", STRUCTURED_FILE, "shiphold.db.before-0004"]);
        assert_eq!(pending(up(&m, false).unwrap()), (true, 0));
        let layer = DataLayer::open(&m).unwrap();
        assert_eq!(layer.settings().get(&Caller::Operator, "a", "b", None).unwrap().value, Some(json!(7)));
        assert_eq!(layer.settings().last_change().unwrap(), 1, "earlier changes are part of the feed");
        layer.settings().set(&Caller::Operator, "a", "b", json!(8), Expect::Revision(1)).unwrap();
        assert_eq!(up(&m, false).unwrap_err().kind(), Kind::Busy, "no host may run");
        assert!(status(&m).unwrap().iter().all(|d| d.exists && d.pending() == 0));
    }

    #[test]
    fn another_text_or_a_newer_version_is_named_and_nothing_changes() {
        let dir = tempfile::tempdir().unwrap();
        let m = manifest(dir.path(), "");
        older(&m.host.data, 2);
        let db = Connection::open(m.host.data.join(STRUCTURED_FILE)).unwrap();
        db.execute("UPDATE schema_migrations SET checksum = 'x' WHERE number = 2", []).unwrap();
        assert!(status(&m).unwrap()[0].migrations[1].changed);
        for dry_run in [true, false] {
            assert_eq!(up(&m, dry_run).unwrap_err().kind(), Kind::Incompatible);
        }
        db.execute("INSERT INTO schema_migrations VALUES (999, 'later', 'x', 0)", []).unwrap();
        let newer = up(&m, false).unwrap_err();
        assert!(newer.message().contains("newer version"), "{newer:?}");
    }

    /// Nothing is pending, but a start would refuse the folder: so does this.
    #[test]
    fn a_folder_with_everything_that_a_start_would_refuse_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let m = manifest(dir.path(), "");
        older(&m.host.data, crate::schema::MIGRATIONS.len());
        let db = Connection::open(m.host.data.join(STRUCTURED_FILE)).unwrap();
        for (sql, says) in [
            ("INSERT INTO schema_migrations VALUES (999, 'later', 'x', 0)", "newer version"),
            (
                "DELETE FROM schema_migrations WHERE number = 999; UPDATE schema_migrations SET checksum = 'x' WHERE number = 2",
                "another text",
            ),
        ] {
            db.execute_batch(sql).unwrap();
            for dry_run in [true, false] {
                let refused = up(&m, dry_run).unwrap_err();
                assert_eq!(refused.kind(), Kind::Incompatible);
                assert!(refused.message().contains(says), "{refused:?}");
            }
        }
    }
}
