//! Dependencies between skills: they must exist, must not run in a circle, and one version of each must do for all who need it.
//!
//! Chosen is the highest active version that everybody's range takes; a draft, and then a retired one, only where no active one
//! will do. Where the highest leads to a conflict, the next one is tried, so that what can be met is met (`solver`).

mod solver;

use super::status::wanted;
use super::store::{Skills, may_read, read_by_id};
use super::types::check_name;
use super::{SkillName, Status};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use rusqlite::Connection;
use semver::{Version, VersionReq};
use serde::Serialize;
use solver::{Solution, Solver};
use std::collections::BTreeMap;

/// Skills of one resolution.
pub const RESOLVED_MAX: usize = 1_000;
/// Versions and ranges that one resolution may look at.
pub const STEPS_MAX: u64 = 1_000_000;
/// Versions that were passed over for each that was chosen, in an answer; the others are counted.
pub const PASSED_OVER_MAX: usize = 10;

type Depends = BTreeMap<String, VersionReq>;

/// A skill, the version that was chosen of it, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolved {
    pub name: String,
    pub version: Version,
    pub status: Status,
    /// In words.
    pub why: String,
    /// Who needs it; nobody but the caller needs the skill that was asked for.
    pub required_by: Vec<Requirement>,
    /// Higher versions that were not chosen, the highest first, at most [`PASSED_OVER_MAX`].
    pub passed_over: Vec<PassedOver>,
    /// Further ones.
    pub passed_over_more: u64,
}

/// A skill that needs another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Requirement {
    #[serde(flatten)]
    pub by: SkillName,
    pub range: VersionReq,
}

/// A version that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    pub version: Version,
    pub because: String,
}

impl Skills {
    /// A skill (its current version, unless another one is asked for) and all that it needs, each after what it depends on, with
    /// the reasons of each choice. Where no choice will do, the error names who needs what.
    pub fn resolve(&self, caller: &Caller, name: &str, version: Option<&Version>) -> Result<Vec<Resolved>> {
        may_read(caller)?;
        check_name(name)?;
        self.db.read(|c| {
            let (_, id, chosen) = wanted(c, name, version)?;
            let depends = read_by_id(c, id)?.depends;
            let mut solver = Solver::new(c);
            let solution = solver.solve(name, chosen, depends, STEPS_MAX)?;
            let why = match version {
                Some(_) => "it was asked for",
                None => "it is the current version",
            };
            explain(&mut solver, &solution, super::status::of(c, id)?, why)
        })
    }
}

/// Refuses dependencies that are missing, that no choice of versions meets, or that lead back to `name`.
pub(super) fn check(c: &Connection, name: &str, depends: &Depends) -> Result<()> {
    if depends.is_empty() {
        return Ok(());
    }
    // The version is not stored yet; nothing can depend on it but in a circle.
    Solver::new(c).solve(name, Version::new(0, 0, 0), depends.clone(), STEPS_MAX).map(drop)
}

/// Checks many versions of one state of the database, within steps that they share.
pub(super) struct Checker<'c> {
    solver: Solver<'c>,
    steps_max: u64,
    left: u64,
}

impl<'c> Checker<'c> {
    pub(super) fn new(c: &'c Connection, steps_max: u64) -> Self {
        Self { solver: Solver::new(c), steps_max, left: steps_max }
    }

    /// [`check`] of the stored version with this number.
    pub(super) fn check(&mut self, name: &str, id: i64) -> Result<()> {
        let depends = self.solver.depends_of(id)?;
        if depends.is_empty() {
            return Ok(());
        }
        let most = self.left.min(STEPS_MAX);
        let done = self.solver.solve(name, Version::new(0, 0, 0), (*depends).clone(), most);
        self.left = self.left.saturating_sub(self.solver.steps());
        match done {
            Err(e) if e.kind() == Kind::Limit && self.left == 0 => Err(Error::limit(
                "checking the dependencies of all of them",
                format!("{} steps", self.steps_max),
                "import the library in parts",
            )),
            done => done.map(drop),
        }
    }
}

fn too_many_steps(name: &str, most: u64) -> Error {
    Error::limit(
        format!("choosing versions for the dependencies of `{name}`"),
        format!("{most} steps"),
        "narrow the ranges of its dependencies, or split the library",
    )
}

fn explain(
    solver: &mut Solver<'_>,
    solution: &Solution,
    root: Status,
    why_root: &str,
) -> Result<Vec<Resolved>> {
    let mut out = Vec::with_capacity(solution.order.len());
    for &level in &solution.order {
        let Some(chosen) = solution.chosen.get(level) else { continue };
        let mut resolved = Resolved {
            name: chosen.name.clone(),
            version: chosen.version.clone(),
            status: if level == 0 { root } else { chosen.status },
            why: why_root.into(),
            required_by: solution.required_by(level),
            passed_over: Vec::new(),
            passed_over_more: 0,
        };
        if level > 0 {
            let fit = passed_over(solver, solution, level, &mut resolved)?;
            resolved.why = why(&resolved, fit);
        }
        out.push(resolved);
    }
    Ok(out)
}

fn why(resolved: &Resolved, fit: usize) -> String {
    let within = match fit {
        1 => "the only version".to_string(),
        _ => format!("of the {fit} versions"),
    };
    let ranges = match resolved.required_by.as_slice() {
        [one] => format!("within {} of {}", one.range, one.by),
        all => format!("within the ranges of all {} that need it", all.len()),
    };
    let best = match resolved.status {
        Status::Active => "the highest active one".to_string(),
        other => format!("no active one will do; it is the highest {other}"),
    };
    match (fit, resolved.status) {
        (1, Status::Active) => format!("{within} {ranges}"),
        (1, other) => format!("{within} {ranges}; it is {other}"),
        _ => format!("{within} {ranges}, {best} that everything fits"),
    }
}

/// Higher versions than the chosen one, each with what kept it from being chosen; gives how many versions are within all ranges.
fn passed_over(
    solver: &mut Solver<'_>,
    solution: &Solution,
    level: usize,
    resolved: &mut Resolved,
) -> Result<usize> {
    let candidates = solver.candidates(&resolved.name)?;
    let outside = |v: &Version| resolved.required_by.iter().find(|r| !r.range.matches(v));
    let fit = candidates.iter().filter(|c| outside(&c.version).is_none()).count();
    let mut higher: Vec<_> = candidates.iter().filter(|c| c.version > resolved.version).collect();
    higher.sort_by(|a, b| b.version.cmp(&a.version));
    let mut passed = Vec::new();
    for one in higher.iter().take(PASSED_OVER_MAX) {
        let because = match outside(&one.version) {
            Some(r) => format!("`{}` needs {}", r.by, r.range),
            None if one.status > resolved.status => format!("it is {}", one.status),
            None => {
                let depends = solver.depends_of(one.id)?;
                let obstacle = solution.obstacle(level, &depends);
                obstacle.unwrap_or_else(|| "what it needs leads to a conflict".into())
            }
        };
        passed.push(PassedOver { version: one.version.clone(), because });
    }
    resolved.passed_over = passed;
    resolved.passed_over_more = higher.len().saturating_sub(PASSED_OVER_MAX) as u64;
    Ok(fit)
}
