//! Where a version comes from: who wrote it, what it was made from, and which prompt of which run made it. It is stored with the
//! version and never changes.

use super::status::wanted;
use super::store::{Skills, get_in, may_read, parse_version, version_id};
use super::types::{check_line, check_name};
use super::{Status, Version};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::sqlite::{Source, Tx};
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Bytes of the name of an author.
pub const AUTHOR_BYTES_MAX: usize = 128;
/// Bytes of the name of a run.
pub const RUN_BYTES_MAX: usize = 256;
/// Bytes of a prompt.
pub const PROMPT_BYTES_MAX: usize = 256 << 10;
/// Versions of a line of descent in one answer.
pub const LINEAGE_MAX: usize = 1_000;
/// The same, unless a number is asked for.
pub const LINEAGE_DEFAULT: usize = 100;

/// What is said of a version that is to be stored. All of it is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewProvenance {
    /// Who wrote it: a person, or a model. Who stores it is noted anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What it was made from. Default: the version that was the current one until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// What the model was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The run in which it was made, by the trader's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Number of the import that it comes with.
    #[serde(skip)]
    pub(crate) import: Option<i64>,
}

/// A version that another one was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Default: the same skill. Another one: this is a fork of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub version: Version,
}

/// What is known of a stored version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provenance {
    pub author: Option<String>,
    pub parent: Option<SkillName>,
    pub prompt: Option<String>,
    pub run: Option<String>,
    /// BLAKE3 of the content of the file that it came in with.
    pub import: Option<String>,
}

impl Provenance {
    /// Bytes of its texts.
    pub fn bytes(&self) -> usize {
        let texts = [&self.author, &self.prompt, &self.run, &self.import];
        let parent = self.parent.as_ref().map_or(0, |p| p.name.len());
        parent + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

/// A version of a skill.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkillName {
    pub name: String,
    pub version: Version,
}

impl std::fmt::Display for SkillName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// A version in a line of descent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ancestor {
    #[serde(flatten)]
    pub of: SkillName,
    /// What it was made from; `None`: it is the first, or nobody said.
    pub parent: Option<SkillName>,
    pub author: Option<String>,
    pub run: Option<String>,
    /// Nanoseconds since the Unix epoch.
    pub created_at: i64,
    pub created_by: String,
}

impl NewProvenance {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every part within its bound.
    pub(super) fn check(&self, skill: &str) -> Result<()> {
        self.author.as_ref().map_or(Ok(()), |a| check_line("author", a, AUTHOR_BYTES_MAX))?;
        self.run.as_ref().map_or(Ok(()), |r| check_line("run", r, RUN_BYTES_MAX))?;
        if let Some(name) = self.parent.as_ref().and_then(|p| p.name.as_ref()) {
            check_name(name)?;
        }
        match &self.prompt {
            Some(p) if p.is_empty() => Err(Error::invalid(format!("the prompt of skill `{skill}` is empty"))
                .hint("leave it out where there was none")),
            Some(p) if p.len() > PROMPT_BYTES_MAX => Err(Error::limit(
                format!("the prompt of skill `{skill}` in bytes ({})", p.len()),
                PROMPT_BYTES_MAX,
                "store it as a file and name it in the run or the metadata",
            )),
            _ => Ok(()),
        }
    }

    /// What the audit trail says of it; a prompt only by its digest.
    pub(super) fn detail(&self, status: Option<Status>) -> Value {
        if self.is_empty() && status.is_none() {
            return Value::Null;
        }
        let digest = |p: &String| blake3::hash(p.as_bytes()).to_hex().to_string();
        let mut detail = json!(Self { prompt: self.prompt.as_ref().map(digest), ..self.clone() });
        if let (Some(status), Some(map)) = (status, detail.as_object_mut()) {
            map.insert("status".into(), json!(status));
        }
        detail
    }
}

/// The version that a parent names, which must be there.
pub(super) fn parent_id(c: &Connection, skill: &str, parent: &Parent) -> Result<i64> {
    let name = parent.name.as_deref().unwrap_or(skill);
    version_id(c, name, &parent.version)
        .map_err(|e| e.context(format!("the parent of a version of skill `{skill}`")))
}

/// Stores what is said of a version. `before`: the version that was the current one until now.
pub(super) fn insert(
    tx: &Tx<'_>,
    skill: &str,
    version: i64,
    given: &NewProvenance,
    before: Option<i64>,
) -> Result<()> {
    let parent = match &given.parent {
        Some(p) => Some(parent_id(tx, skill, p)?),
        None => before,
    };
    if parent == Some(version) {
        return Err(Error::invalid(format!("a version of skill `{skill}` is its own parent")));
    }
    if parent.is_none() && given.is_empty() {
        return Ok(());
    }
    insert_row(tx, version, given, parent)
}

pub(super) fn insert_row(
    tx: &Tx<'_>,
    version: i64,
    given: &NewProvenance,
    parent: Option<i64>,
) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO skill_provenance(version_id, author, parent_id, prompt, run, import_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((version, &given.author, parent, &given.prompt, &given.run, given.import))?;
    tx.touches(Source::SkillVersion(version));
    Ok(())
}

/// Is what is given already what a stored version says? What is not given is not asked.
pub(super) fn agrees(c: &Connection, skill: &str, version: &Version, given: &NewProvenance) -> Result<bool> {
    if given.is_empty() {
        return Ok(true);
    }
    let there = get_in(c, skill, Some(version))?.provenance;
    let same = |given: &Option<String>, there: &Option<String>| given.is_none() || given == there;
    let parent = given.parent.as_ref().is_none_or(|p| {
        there
            .parent
            .as_ref()
            .is_some_and(|t| t.version == p.version && t.name == p.name.as_deref().unwrap_or(skill))
    });
    Ok(parent
        && same(&given.author, &there.author)
        && same(&given.prompt, &there.prompt)
        && same(&given.run, &there.run))
}

impl Skills {
    /// A version (default: the current one) and what it was made from, and so on; the newest first, at most `limit` (default
    /// [`LINEAGE_DEFAULT`]). There is more where the last one has a parent: ask for the descent of that.
    pub fn lineage(
        &self,
        caller: &Caller,
        name: &str,
        version: Option<&Version>,
        limit: Option<usize>,
    ) -> Result<Vec<Ancestor>> {
        may_read(caller)?;
        check_name(name)?;
        let limit = limit.unwrap_or(LINEAGE_DEFAULT);
        if limit > LINEAGE_MAX {
            let hint = "ask for the descent of the last one's parent";
            return Err(Error::limit(format!("a descent of {limit} versions"), LINEAGE_MAX, hint));
        }
        self.db.read(|c| {
            let mut next = Some(wanted(c, name, version)?.1);
            let mut line = Vec::new();
            while let Some(id) = next.filter(|_| line.len() < limit) {
                let (ancestor, parent) = ancestor(c, id)?;
                line.push(ancestor);
                next = parent;
            }
            Ok(line)
        })
    }
}

fn ancestor(c: &Connection, id: i64) -> Result<(Ancestor, Option<i64>)> {
    let (version, parent, rest) = c
        .prepare_cached(
            "SELECT v.version, p.parent_id, s.name, p.author, p.run, v.created_at, v.created_by
             FROM skill_versions v JOIN skills s ON s.id = v.skill_id LEFT JOIN skill_provenance p ON p.version_id = v.id
             WHERE v.id = ?1",
        )?
        .query_row([id], |r| {
            let rest = Ancestor {
                of: SkillName { name: r.get(2)?, version: Version::new(0, 0, 0) },
                parent: None,
                author: r.get(3)?,
                run: r.get(4)?,
                created_at: r.get(5)?,
                created_by: r.get(6)?,
            };
            Ok((r.get::<_, String>(0)?, r.get::<_, Option<i64>>(1)?, rest))
        })
        .optional()?
        .ok_or_else(|| Error::corrupt(format!("the version of a skill with the number {id} is gone")))?;
    let of = SkillName { version: parse_version(&version)?, ..rest.of };
    let parent_name = parent.map(|p| named(c, p)).transpose()?;
    Ok((Ancestor { of, parent: parent_name, ..rest }, parent))
}

/// The name of the version with a number.
pub(super) fn named(c: &Connection, id: i64) -> Result<SkillName> {
    let (name, version): (String, String) = c
        .prepare_cached("SELECT s.name, v.version FROM skill_versions v JOIN skills s ON s.id = v.skill_id WHERE v.id = ?1")?
        .query_row([id], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(SkillName { name, version: parse_version(&version)? })
}
