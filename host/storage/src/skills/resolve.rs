//! Dependencies between skills: they must exist, must not run in a circle, and have an order.

use super::store::{Skills, may_read, parse, parse_version, unknown};
use super::types::check_name;
use crate::caller::Caller;
use crate::error::{Error, Result};
use rusqlite::Connection;
use semver::{Version, VersionReq};
use serde::Serialize;
use std::collections::BTreeMap;

/// Skills that one resolution may touch.
pub const RESOLVED_MAX: usize = 1_000;

/// A skill and the version chosen of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolved {
    pub name: String,
    pub version: Version,
}

type Depends = BTreeMap<String, VersionReq>;

impl Skills {
    /// The skill and all that it needs, each after what it depends on. Of several versions that will do, the
    /// highest is chosen; where two skills ask for ranges that no one version meets, both are named.
    pub fn resolve(&self, caller: &Caller, name: &str) -> Result<Vec<Resolved>> {
        may_read(caller)?;
        check_name(name)?;
        self.db.read(|c| {
            let current: String = c
                .prepare_cached("SELECT v.version FROM skills s JOIN skill_versions v ON v.id = s.current_id WHERE s.name = ?1")?
                .query_row([name], |r| r.get(0))
                .map_err(|_| unknown(name))?;
            let mut walk = Walk::new(c);
            let chosen = parse_version(&current)?;
            let depends = walk.depends_of(name, &chosen)?;
            walk.visit(name, &chosen, &depends)?;
            Ok(walk.order)
        })
    }
}

/// Refuses dependencies that are missing or lead back to `name`.
pub(super) fn check(c: &Connection, name: &str, depends: &Depends) -> Result<()> {
    Walk::new(c).visit(name, &Version::new(0, 0, 0), depends)
}

struct Walk<'c> {
    connection: &'c Connection,
    /// From the root to where the walk stands: a name met again closes a circle.
    path: Vec<String>,
    /// What was chosen, and who asked for it.
    chosen: BTreeMap<String, (Version, String)>,
    order: Vec<Resolved>,
}

impl<'c> Walk<'c> {
    fn new(connection: &'c Connection) -> Self {
        Self { connection, path: Vec::new(), chosen: BTreeMap::new(), order: Vec::new() }
    }

    fn visit(&mut self, name: &str, version: &Version, depends: &Depends) -> Result<()> {
        self.path.push(name.into());
        // The path is the depth of this recursion, so one bound holds for both.
        if self.path.len() > RESOLVED_MAX || self.chosen.len() > RESOLVED_MAX {
            return Err(Error::limit(
                format!("the dependencies of `{name}`"),
                format!("{RESOLVED_MAX} skills"),
                "split the library",
            ));
        }
        for (needed, range) in depends {
            if self.path.contains(needed) {
                let circle = self
                    .path
                    .iter()
                    .skip_while(|p| *p != needed)
                    .chain([needed])
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(" → ");
                return Err(Error::invalid(format!("the dependencies run in a circle: {circle}"))
                    .hint("remove one of these dependencies"));
            }
            if let Some((there, by)) = self.chosen.get(needed) {
                if !range.matches(there) {
                    return Err(Error::conflict(format!(
                        "`{name}` needs `{needed}` {range}, but `{by}` already led to {there}"
                    ))
                    .hint("widen one of the two ranges"));
                }
                continue;
            }
            let best = self.best(needed, range, name)?;
            self.chosen.insert(needed.clone(), (best.clone(), name.into()));
            let further = self.depends_of(needed, &best)?;
            self.visit(needed, &best, &further)?;
        }
        self.path.pop();
        self.order.push(Resolved { name: name.into(), version: version.clone() });
        Ok(())
    }

    /// The highest version within the range.
    fn best(&self, name: &str, range: &VersionReq, by: &str) -> Result<Version> {
        let mut statement = self.connection.prepare_cached(
            "SELECT v.version FROM skills s JOIN skill_versions v ON v.skill_id = s.id WHERE s.name = ?1",
        )?;
        let all: Vec<Version> = statement
            .query_map([name], |r| r.get::<_, String>(0))?
            .map(|v| parse_version(&v?))
            .collect::<Result<_>>()?;
        if all.is_empty() {
            return Err(Error::not_found(format!("`{by}` depends on `{name}`, which does not exist"))
                .hint(format!("store `{name}` first")));
        }
        let newest = all.iter().max().map(ToString::to_string).unwrap_or_default();
        all.into_iter().filter(|v| range.matches(v)).max().ok_or_else(|| {
            Error::not_found(format!(
                "`{by}` depends on `{name}` {range}, and no version of it will do (the newest is {newest})"
            ))
            .hint("store a version within the range, or widen it")
        })
    }

    fn depends_of(&self, name: &str, version: &Version) -> Result<Depends> {
        let text: String = self
            .connection
            .prepare_cached("SELECT v.depends FROM skills s JOIN skill_versions v ON v.skill_id = s.id WHERE s.name = ?1 AND v.version = ?2")?
            .query_row((name, version.to_string()), |r| r.get(0))?;
        parse(&text, "dependencies")
    }
}
