//! How far imports are that were cut off. A position is written after the rows before it are durable, and forgotten before rows of
//! its series are deleted: otherwise an import that goes on would leave a hole.

use crate::caller::pattern_matches;
use crate::error::{Error, Result};
use crate::schema::now_ns;
use crate::series::Selector;
use crate::sqlite::Database;
use std::sync::Arc;

/// Positions that are kept: those of imports that nobody began again go, the oldest first.
pub const POSITIONS_MAX: i64 = 1_000;

/// What names an import that can go on.
#[derive(Debug, Clone)]
pub(super) struct Name {
    /// Of the file's bytes and of how they are read.
    pub(super) digest: String,
    pub(super) bucket: String,
    /// `None`: the file has several, or might.
    pub(super) measurement: Option<String>,
}

#[derive(Debug)]
pub(in crate::series) struct Positions {
    db: Arc<Database>,
}

impl Positions {
    pub(in crate::series) const fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    /// The import begins, or goes on: rows of the file that were written before.
    pub(super) fn begin(&self, name: &Name) -> Result<u64> {
        self.db.write(|tx| {
            tx.prepare_cached(
                "INSERT INTO series_imports(digest, bucket, measurement, file_rows, noted_ns)
                 VALUES (?1, ?2, ?3, 0, ?4) ON CONFLICT DO UPDATE SET noted_ns = excluded.noted_ns",
            )?
            .execute((&name.digest, &name.bucket, &name.measurement, now_ns()))?;
            tx.prepare_cached(
                "DELETE FROM series_imports WHERE digest IN
                 (SELECT digest FROM series_imports ORDER BY noted_ns DESC, digest DESC LIMIT -1 OFFSET ?1)",
            )?
            .execute([POSITIONS_MAX])?;
            let mut statement =
                tx.prepare_cached("SELECT file_rows FROM series_imports WHERE digest = ?1")?;
            Ok(statement.query_row([&name.digest], |r| r.get::<_, i64>(0))?.unsigned_abs())
        })
    }

    /// Notes that the first `rows` of the file are written; not of an import that was forgotten since it began, for its first rows
    /// might be gone.
    pub(super) fn note(&self, digest: &str, rows: u64) -> Result<()> {
        let rows = i64::try_from(rows).map_err(|_| Error::internal("a file of so many rows"))?;
        self.db.write(|tx| {
            tx.prepare_cached("UPDATE series_imports SET file_rows = ?2, noted_ns = ?3 WHERE digest = ?1")?
                .execute((digest, rows, now_ns()))?;
            Ok(())
        })
    }

    /// The import is done.
    pub(super) fn forget(&self, digest: &str) -> Result<()> {
        self.db.write_always(|tx| {
            tx.prepare_cached("DELETE FROM series_imports WHERE digest = ?1")?.execute([digest])?;
            Ok(())
        })
    }

    /// Forgets how far the imports are that might have written to one of these series.
    pub(in crate::series) fn forget_of(&self, selector: &Selector) -> Result<()> {
        let chosen = |bucket: &str, measurement: Option<&str>| {
            selector.bucket.as_deref().is_none_or(|b| b == bucket)
                && selector.measurement.as_deref().zip(measurement).is_none_or(|(p, m)| pattern_matches(p, m))
        };
        let gone: Vec<String> = self.db.read(|c| {
            let mut statement = c.prepare_cached("SELECT digest, bucket, measurement FROM series_imports")?;
            let mut rows = statement.query([])?;
            let mut gone = Vec::new();
            while let Some(r) = rows.next()? {
                let (bucket, measurement): (String, Option<String>) = (r.get(1)?, r.get(2)?);
                if chosen(&bucket, measurement.as_deref()) {
                    gone.push(r.get(0)?);
                }
            }
            Ok(gone)
        })?;
        gone.iter().try_for_each(|digest| self.forget(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Options;

    fn name(digest: &str, bucket: &str, measurement: Option<&str>) -> Name {
        Name { digest: digest.into(), bucket: bucket.into(), measurement: measurement.map(String::from) }
    }

    fn positions(dir: &tempfile::TempDir) -> Positions {
        let path = dir.path().join("a.db");
        Positions::new(Arc::new(
            Database::open(&path, Options::default(), crate::schema::MIGRATIONS).unwrap(),
        ))
    }

    #[test]
    fn a_position_is_kept_until_its_rows_might_be_gone() {
        let dir = tempfile::tempdir().unwrap();
        let p = positions(&dir);
        let all = [
            name("one", "b", Some("bar.1m.A")),
            name("many", "b", None),
            name("other", "c", Some("bar.1m.A")),
        ];
        let begun = || all.each_ref().map(|n| p.begin(n).unwrap());
        let select = |bucket: Option<&str>, measurement: Option<&str>| Selector {
            bucket: bucket.map(String::from),
            measurement: measurement.map(String::from),
            tags: Vec::new(),
        };
        for (selector, want) in [
            (select(Some("b"), Some("bar.1m.*")), [0, 0, 9]),
            (select(Some("b"), Some("tick.*")), [9, 0, 9]),
            (select(None, Some("bar.1m.A")), [0, 0, 0]),
            (select(Some("c"), None), [9, 9, 0]),
            (select(Some("d"), None), [9, 9, 9]),
        ] {
            begun();
            all.iter().for_each(|n| p.note(&n.digest, 9).unwrap());
            assert_eq!(begun(), [9, 9, 9]);
            p.forget_of(&selector).unwrap();
            // One that goes on meanwhile does not bring it back.
            let before = begun();
            assert_eq!(before, want, "{selector:?}");
            all.iter().for_each(|n| p.forget(&n.digest).unwrap());
            all.iter().for_each(|n| p.note(&n.digest, 5).unwrap());
            assert_eq!(begun(), [0, 0, 0]);
        }
    }

    #[test]
    fn positions_have_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let p = positions(&dir);
        for i in 0..=POSITIONS_MAX {
            p.begin(&name(&format!("{i:04}"), "b", None)).unwrap();
            p.note(&format!("{i:04}"), 1).unwrap();
        }
        assert_eq!(p.begin(&name("0001", "b", None)).unwrap(), 1);
        assert_eq!(p.begin(&name("0000", "b", None)).unwrap(), 0);
    }
}
