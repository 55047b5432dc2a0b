//! Reading one version: from memory, where it was read before.

use super::store::{find, may_read, read_version};
use super::types::check_name;
use super::{SkillVersion, Skills};
use crate::caller::Caller;
use crate::error::Result;
use crate::sqlite::{Kept, Noun, Source, bytes_of_json};
use rusqlite::Row;
use semver::Version;
use std::borrow::Cow;
use std::sync::Arc;

impl Kept for SkillVersion {
    const NOUN: Noun = Noun::Skills;

    fn bytes(&self) -> usize {
        let texts = [&self.name, &self.hash, &self.language, &self.code, &self.description, &self.created_by];
        let depends =
            self.depends.keys().map(|name| name.len() + 2 * size_of::<String>() + size_of::<Version>());
        size_of::<Self>()
            + self.provenance.bytes()
            + texts.iter().map(|t| t.len()).sum::<usize>()
            + self.tags.iter().map(|t| t.len() + size_of::<String>()).sum::<usize>()
            + depends.sum::<usize>()
            + bytes_of_json(&self.metadata)
    }
}

/// `pullback`, or `pullback@1.2.0`: no name has an `@`.
fn key<'a>(name: &'a str, version: Option<&Version>) -> Cow<'a, str> {
    version.map_or(Cow::Borrowed(name), |v| Cow::Owned(format!("{name}@{v}")))
}

fn read_with_rows(row: &Row<'_>) -> rusqlite::Result<Result<(SkillVersion, Vec<Source>)>> {
    let rows = vec![Source::Skill(row.get("skill_row")?), Source::SkillVersion(row.get("version_row")?)];
    Ok(read_version(row)?.map(|version| (version, rows)))
}

impl Skills {
    /// A version; the current one without a number.
    pub fn get(&self, caller: &Caller, name: &str, version: Option<&Version>) -> Result<SkillVersion> {
        self.shared(caller, name, version).map(Arc::unwrap_or_clone)
    }

    /// [`Skills::get`] without a copy.
    pub fn shared(
        &self,
        caller: &Caller,
        name: &str,
        version: Option<&Version>,
    ) -> Result<Arc<SkillVersion>> {
        may_read(caller)?;
        check_name(name)?;
        self.db.value(key(name, version).as_bytes(), |c| find(c, name, version, read_with_rows))
    }

    /// [`Skills::shared`], if it is in memory and needs no waiting: for a thread that must not block. Otherwise, and of an error,
    /// `None`.
    pub fn known(&self, caller: &Caller, name: &str, version: Option<&Version>) -> Option<Arc<SkillVersion>> {
        may_read(caller).and_then(|()| check_name(name)).ok()?;
        self.db.known(key(name, version).as_bytes())
    }
}
