//! The migrations of the structured store, embedded in the binary.

use crate::sqlite::Migration;

macro_rules! migration {
    ($number:literal, $name:literal, $file:literal) => {
        Migration { number: $number, name: $name, sql: include_str!(concat!("../../../migrations/", $file)) }
    };
}

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
    migration!(11, "skill documents", "0011_skill_documents.sql"),
];

/// Nanoseconds since the Unix epoch, by the wall clock.
pub fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
