//! The versions of a skill, page by page.

use super::status::skill_of;
use super::store::{Skills, may_read, parse, parse_version, read_by_id};
use super::types::{PAGE_MAX, check_name};
use super::{SkillName, SkillVersion, Status, Version, VersionFilter, VersionSummary};
use crate::caller::Caller;
use crate::error::{Error, Result};
use rusqlite::Connection;

/// Bytes of code and prompts in one answer.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

impl Skills {
    /// Every version of a skill, highest first. More than [`PAGE_MAX`] of them, or than [`ANSWER_BYTES_MAX`], are refused: ask for
    /// pages, or for what is short of them.
    pub fn versions(&self, caller: &Caller, name: &str) -> Result<Vec<SkillVersion>> {
        self.versions_of(caller, name, &VersionFilter::default())
    }

    /// A page of the versions of a skill, highest first.
    pub fn versions_of(
        &self,
        caller: &Caller,
        name: &str,
        filter: &VersionFilter,
    ) -> Result<Vec<SkillVersion>> {
        may_read(caller)?;
        check_name(name)?;
        self.db.read(|c| {
            let mut bytes = 0;
            page(c, name, filter)?
                .into_iter()
                .map(|(_, id)| {
                    let version = read_by_id(c, id)?;
                    bytes += version.code.len() + version.provenance.prompt.as_ref().map_or(0, String::len);
                    if bytes > ANSWER_BYTES_MAX {
                        return Err(Error::limit(
                            format!("the versions of skill `{name}` in one answer"),
                            format!("{ANSWER_BYTES_MAX} bytes of code and prompts"),
                            "ask for pages (`before` and `limit`), or without code (`brief`)",
                        ));
                    }
                    Ok(version)
                })
                .collect()
        })
    }

    /// [`Skills::versions_of`] without what is long.
    pub fn version_summaries(
        &self,
        caller: &Caller,
        name: &str,
        filter: &VersionFilter,
    ) -> Result<Vec<VersionSummary>> {
        may_read(caller)?;
        check_name(name)?;
        self.db.read(|c| {
            page(c, name, filter)?.into_iter().map(|(version, id)| summary(c, version, id)).collect()
        })
    }
}

/// Versions and their numbers, highest first.
fn page(c: &Connection, name: &str, filter: &VersionFilter) -> Result<Vec<(Version, i64)>> {
    let limit = filter.limit.unwrap_or(PAGE_MAX);
    if limit > PAGE_MAX {
        return Err(Error::limit(format!("a page of {limit} versions"), PAGE_MAX, "page with `before`"));
    }
    let skill = skill_of(c, name)?;
    let mut statement = c.prepare_cached("SELECT version, id FROM skill_versions WHERE skill_id = ?1")?;
    let rows = statement.query_map([skill], |r| Ok((r.get::<_, String>(0)?, r.get(1)?)))?;
    let mut all = Vec::new();
    for row in rows {
        let (version, id) = row?;
        let version = parse_version(&version)?;
        if filter.before.as_ref().is_none_or(|b| version < *b) {
            all.push((version, id));
        }
    }
    all.sort_by(|a, b| b.cmp(a));
    if filter.limit.is_none() && all.len() as u64 > PAGE_MAX {
        return Err(Error::limit(
            format!("the versions of skill `{name}` in one answer"),
            PAGE_MAX,
            "ask for pages: `limit`, and `before` the last version of the page",
        ));
    }
    all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(all)
}

fn summary(c: &Connection, version: Version, id: i64) -> Result<VersionSummary> {
    let (summary, (parent, tags)) = c
        .prepare_cached(
            "SELECT v.id = s.current_id, v.hash, v.language, v.description, v.created_at, v.created_by, p.author, p.run, ps.name, pv.version,
                    (SELECT t.status FROM skill_statuses t WHERE t.version_id = v.id ORDER BY t.set_at DESC, t.id DESC LIMIT 1), v.tags
             FROM skill_versions v JOIN skills s ON s.id = v.skill_id LEFT JOIN skill_provenance p ON p.version_id = v.id
             LEFT JOIN skill_versions pv ON pv.id = p.parent_id LEFT JOIN skills ps ON ps.id = pv.skill_id
             WHERE v.id = ?1",
        )?
        .query_row([id], |r| {
            let summary = VersionSummary {
                version,
                current: r.get(0)?,
                status: r.get::<_, Option<Status>>(10)?.unwrap_or_default(),
                hash: r.get(1)?,
                language: r.get(2)?,
                description: r.get(3)?,
                tags: Vec::new(),
                author: r.get(6)?,
                parent: None,
                run: r.get(7)?,
                created_at: r.get(4)?,
                created_by: r.get(5)?,
            };
            let parent: Option<String> = r.get(8)?;
            Ok((summary, (parent.zip(r.get::<_, Option<String>>(9)?), r.get::<_, String>(11)?)))
        })?;
    let parent = parent.map(|(name, v)| Ok::<_, Error>(SkillName { name, version: parse_version(&v)? }));
    Ok(VersionSummary { parent: parent.transpose()?, tags: parse(&tags, "tags")?, ..summary })
}
