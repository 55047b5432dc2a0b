//! The migrations of the structured store, embedded in the binary.

use crate::sqlite::Migration;

macro_rules! migration {
    ($number:literal, $name:literal, $file:literal) => {
        Migration::new($number, $name, include_str!(concat!("../../../migrations/", $file)))
    };
}

/// The newest migration of a version that was released: of each up to this one a database is kept in `tests/fixtures/structured/`, and
/// must open for ever.
pub const RELEASED: u32 = 13;

/// Forward-only; a released file is never changed.
pub const MIGRATIONS: &[Migration] = &[
    migration!(1, "skills", "0001_skills.sql"),
    migration!(2, "files", "0002_files.sql"),
    migration!(3, "settings", "0003_settings.sql"),
    migration!(4, "audit", "0004_audit.sql"),
    migration!(5, "tokens and plugins", "0005_tokens_plugins.sql"),
    migration!(6, "skill index", "0006_skill_index.sql"),
    migration!(7, "revisions of series", "0007_revisions.sql"),
    migration!(8, "rollups", "0008_rollups.sql"),
    migration!(9, "segments of the audit trail", "0009_audit_segments.sql"),
    migration!(10, "changes and schemas of settings", "0010_settings.sql"),
    migration!(11, "commits", "0011_commits.sql"),
    migration!(12, "decimals of series", "0012_decimals.sql"),
    migration!(13, "imports", "0013_imports.sql"),
    migration!(14, "skill documents", "0014_skill_documents.sql"),
    migration!(15, "provenance of skills", "0015_skill_provenance.sql"),
    migration!(16, "state of strategies", "0016_state.sql"),
    migration!(17, "indexes", "0017_indexes.sql"),
    migration!(18, "trading record", "0018_trades.sql"),
    migration!(19, "files and logs", "0019_files.sql"),
    migration!(20, "archives of series", "0020_archives.sql"),
];

/// Nanoseconds since the Unix epoch, by the wall clock.
pub fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
