//! Chooses one version of each skill that is needed, so that it is within the range of everybody who needs it.
//!
//! One skill after another gets the best version that is left, in the order in which they are first needed. Where none will do, the
//! choice is taken back that had a part in that and was made last, not merely the last one (conflict-directed backjumping: P.
//! Prosser, "Hybrid algorithms for the constraint satisfaction problem", Computational Intelligence 9(3), 1993). What is found is
//! the same each time; where nothing is, the error is the first conflict that was met, that of the best versions.
//!
//! `pubgrub` was looked at and would not make this smaller. It knows sets of versions that are intervals, which a range of Cargo is not:
//! `^1.0.0-a` takes pre-releases of 1.0.0 and of nothing else. It takes circles for solutions, and nothing can be taken back for one
//! afterwards. It counts no steps, only rounds of any length. And it explains a failure by a tree of intervals, in which the ranges
//! that somebody wrote, and whether to store, widen or remove something, would have to be found again.

use super::{Depends, RESOLVED_MAX, Requirement, too_many_steps};
use crate::error::{Error, Result};
use crate::skills::store::{parse, parse_version};
use crate::skills::{SkillName, Status};
use rusqlite::{Connection, OptionalExtension as _};
use semver::{Version, VersionReq};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

const WIDEN: &str = "widen one of the two ranges, or store a version that both take";
/// Ranges of dependencies that are kept from one resolution to the next.
const RANGES_KEPT_MAX: usize = 100_000;

/// A version that may be chosen.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) id: i64,
    pub(super) version: Version,
    pub(super) status: Status,
}

/// A version that was chosen; the first one was given.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) status: Status,
    depends: Rc<Depends>,
}

/// What was chosen, by levels: in the order of the choices.
#[derive(Debug)]
pub(super) struct Solution {
    pub(super) chosen: Vec<Chosen>,
    /// Levels, each after those that it needs.
    pub(super) order: Vec<usize>,
    levels: HashMap<String, usize>,
}

/// A skill whose version is being chosen.
#[derive(Debug)]
struct Frame {
    name: String,
    candidates: Rc<Vec<Candidate>>,
    /// The candidate that is tried next.
    next: usize,
    /// Levels whose choices kept candidates from being chosen.
    culprits: BTreeSet<usize>,
    /// What kept the first candidate within all ranges from being chosen.
    obstacle: Option<Error>,
    chosen: Option<Chosen>,
    /// Asks and the cursor over them as they were before the choice.
    asks: usize,
    cursor: usize,
}

/// How far the needs of a level were walked.
#[derive(Debug, Clone, Default)]
struct Walk {
    begun: bool,
    next: usize,
    done: bool,
}

/// Somebody needs a skill.
#[derive(Debug)]
struct Ask {
    by: usize,
    name: String,
    range: VersionReq,
}

#[derive(Debug)]
pub(super) struct Solver<'c> {
    connection: &'c Connection,
    steps_max: u64,
    steps: u64,
    known: HashMap<String, Rc<Vec<Candidate>>>,
    depends: HashMap<i64, Rc<Depends>>,
    /// Ranges in `depends`.
    ranges_kept: usize,
    frames: Vec<Frame>,
    levels: HashMap<String, usize>,
    asks: Vec<Ask>,
    asked: HashMap<String, Vec<usize>>,
    /// The first conflict.
    first: Option<Error>,
}

impl<'c> Solver<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            steps_max: 0,
            steps: 0,
            known: HashMap::new(),
            depends: HashMap::new(),
            ranges_kept: 0,
            frames: Vec::new(),
            levels: HashMap::new(),
            asks: Vec::new(),
            asked: HashMap::new(),
            first: None,
        }
    }

    /// Steps of the last [`Solver::solve`].
    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    /// Chooses for `name` in a version with these dependencies. What was read for an earlier one is kept: the database must not
    /// have changed since.
    pub(super) fn solve(
        &mut self,
        name: &str,
        version: Version,
        depends: Depends,
        steps_max: u64,
    ) -> Result<Solution> {
        (self.steps, self.steps_max, self.first) = (0, steps_max, None);
        self.frames.clear();
        self.levels.clear();
        self.asks.clear();
        self.asked.clear();
        if self.ranges_kept > RANGES_KEPT_MAX {
            (self.depends, self.ranges_kept) = (HashMap::new(), 0);
        }
        let root = Chosen { name: name.into(), version, status: Status::Active, depends: Rc::new(depends) };
        self.frames.push(Frame {
            name: name.into(),
            candidates: Rc::default(),
            next: 0,
            culprits: BTreeSet::new(),
            obstacle: None,
            chosen: None,
            asks: 0,
            cursor: 0,
        });
        self.choose(0, root);
        loop {
            let Some((cursor, needed)) = self.next_needed() else {
                match self.ordered() {
                    Ok(solution) => return Ok(solution),
                    Err(circle) => self.break_circle(circle)?,
                }
                continue;
            };
            if self.frames.len() == RESOLVED_MAX {
                return Err(Error::limit(
                    format!("the dependencies of `{name}`"),
                    format!("{RESOLVED_MAX} skills"),
                    "split the library",
                ));
            }
            let candidates = self.candidates(&needed)?;
            if candidates.is_empty() {
                let by = self.asks.get(cursor).map_or_else(String::new, |a| self.title(a.by));
                return Err(Error::not_found(format!("{by} depends on `{needed}`, which does not exist"))
                    .hint(format!("store `{needed}` first")));
            }
            let asks = self.asks.len();
            self.frames.push(Frame {
                name: needed,
                candidates,
                next: 0,
                culprits: BTreeSet::new(),
                obstacle: None,
                chosen: None,
                asks,
                cursor,
            });
            self.settle()?;
        }
    }

    fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > self.steps_max {
            let root = self.frames.first().map_or("", |f| f.name.as_str());
            return Err(too_many_steps(root, self.steps_max));
        }
        Ok(())
    }

    /// The first ask for a skill of which nothing is chosen.
    fn next_needed(&self) -> Option<(usize, String)> {
        let from = self.frames.last().map_or(0, |f| f.cursor);
        let mut open = self.asks.iter().enumerate().skip(from);
        let (at, ask) = open.find(|(_, a)| !self.levels.contains_key(&a.name))?;
        Some((at, ask.name.clone()))
    }

    fn choose(&mut self, level: usize, chosen: Chosen) {
        self.levels.insert(chosen.name.clone(), level);
        for (name, range) in chosen.depends.iter() {
            self.asked.entry(name.clone()).or_default().push(self.asks.len());
            self.asks.push(Ask { by: level, name: name.clone(), range: range.clone() });
        }
        if let Some(frame) = self.frames.get_mut(level) {
            frame.chosen = Some(chosen);
        }
    }

    /// Takes the choice of a level back, and all that came after it.
    fn take_back(&mut self, level: usize) {
        for frame in self.frames.drain((level + 1).min(self.frames.len())..) {
            self.levels.remove(&frame.name);
        }
        let Some(frame) = self.frames.get_mut(level) else { return };
        frame.chosen = None;
        self.levels.remove(&frame.name);
        for ask in self.asks.drain(frame.asks.min(self.asks.len())..).rev() {
            if let Some(places) = self.asked.get_mut(&ask.name) {
                places.pop();
            }
        }
    }

    /// Chooses for the last level; where nothing will do, for one before it.
    fn settle(&mut self) -> Result<()> {
        while !self.try_candidates()? {
            let level = self.frames.len() - 1;
            if self.first.is_none() {
                self.first = Some(self.conflict(level)?);
            }
            let Some(frame) = self.frames.get(level) else { break };
            let mut culprits = frame.culprits.clone();
            // Without those who need it there would be nothing to choose.
            culprits.extend(self.asks_for(&frame.name).map(|a| a.by));
            self.go_back(culprits)?;
        }
        Ok(())
    }

    /// Takes back what was chosen last of what had a part in a conflict.
    fn go_back(&mut self, mut culprits: BTreeSet<usize>) -> Result<()> {
        match culprits.pop_last() {
            None | Some(0) => Err(self.first.take().unwrap_or_else(|| {
                Error::internal("the dependencies of a skill were refused without a reason")
            })),
            Some(last) => {
                self.take_back(last);
                if let Some(frame) = self.frames.get_mut(last) {
                    frame.culprits.extend(culprits);
                }
                Ok(())
            }
        }
    }

    fn asks_for(&self, name: &str) -> impl Iterator<Item = &Ask> {
        self.asked.get(name).into_iter().flatten().filter_map(|at| self.asks.get(*at))
    }

    /// Chooses the next candidate of the last level that will do.
    fn try_candidates(&mut self) -> Result<bool> {
        let level = self.frames.len() - 1;
        loop {
            self.step()?;
            let Some(frame) = self.frames.get_mut(level) else { return Ok(false) };
            let Some(candidate) = frame.candidates.get(frame.next).cloned() else { return Ok(false) };
            frame.next += 1;
            let name = frame.name.clone();
            let mut culprits = BTreeSet::new();
            let mut asks = 0;
            for ask in self.asks_for(&name) {
                asks += 1;
                if !ask.range.matches(&candidate.version) {
                    culprits.insert(ask.by);
                }
            }
            self.steps += asks;
            let mut obstacle = None;
            if culprits.is_empty() {
                let depends = self.depends_of(candidate.id)?;
                let mut fits = true;
                for (needed, range) in depends.iter() {
                    self.step()?;
                    let Some((of, why)) = self.obstacle(level, &candidate, needed, range)? else { continue };
                    fits = false;
                    culprits.extend(of);
                    obstacle = obstacle.or(Some(why));
                }
                if fits {
                    let Candidate { version, status, .. } = candidate;
                    self.choose(level, Chosen { name, version, status, depends });
                    return Ok(true);
                }
            }
            if let Some(frame) = self.frames.get_mut(level) {
                frame.culprits.extend(culprits);
                frame.obstacle = frame.obstacle.take().or(obstacle);
            }
        }
    }

    /// What keeps a candidate from having what it needs: whose choices do, and why. What it needs may be chosen already, or asked
    /// for by others in ranges that no one version meets together with this one.
    fn obstacle(
        &mut self,
        level: usize,
        candidate: &Candidate,
        needed: &str,
        range: &VersionReq,
    ) -> Result<Option<(BTreeSet<usize>, Error)>> {
        if let Some(at) = self.levels.get(needed).copied() {
            if at == 0 {
                return Ok(Some((BTreeSet::from([0]), self.circle_to_root(level))));
            }
            let there = self.frames.get(at).and_then(|f| f.chosen.as_ref());
            let fits = there.is_none_or(|c| range.matches(&c.version));
            return Ok(
                (!fits).then(|| (BTreeSet::from([at]), self.mismatch(level, candidate, needed, range)))
            );
        }
        let candidates = self.candidates(needed)?;
        let mut looked = 0;
        let met = candidates.is_empty()
            || candidates.iter().any(|c| {
                looked += 1;
                range.matches(&c.version)
                    && self.asks_for(needed).all(|a| {
                        looked += 1;
                        a.range.matches(&c.version)
                    })
            });
        self.steps += looked;
        Ok((!met).then(|| {
            let of = self.asks_for(needed).map(|a| a.by).collect();
            (of, self.mismatch(level, candidate, needed, range))
        }))
    }

    /// Everything in the order in which it can be loaded; the levels of a circle, if there is one.
    fn ordered(&self) -> std::result::Result<Solution, Vec<usize>> {
        let chosen: Vec<Chosen> = self.frames.iter().filter_map(|f| f.chosen.clone()).collect();
        let needs: Vec<Vec<usize>> = chosen
            .iter()
            .map(|c| c.depends.keys().filter_map(|n| self.levels.get(n).copied()).collect())
            .collect();
        let mut order = Vec::with_capacity(chosen.len());
        let mut walks = vec![Walk::default(); chosen.len()];
        let mut path = vec![0_usize];
        while let Some(&at) = path.last() {
            let Some(walk) = walks.get_mut(at) else { break };
            walk.begun = true;
            let Some(&below) = needs.get(at).and_then(|n| n.get(walk.next)) else {
                walk.done = true;
                order.push(at);
                path.pop();
                continue;
            };
            walk.next += 1;
            match walks.get(below) {
                Some(w) if w.done => {}
                Some(w) if w.begun => {
                    let begin = path.iter().position(|p| *p == below).unwrap_or_default();
                    return Err(path.split_off(begin));
                }
                _ => path.push(below),
            }
        }
        Ok(Solution { chosen, order, levels: self.levels.clone() })
    }

    /// Takes back the last choice of a circle, and chooses anew.
    fn break_circle(&mut self, circle: Vec<usize>) -> Result<()> {
        if self.first.is_none() {
            let names = circle.iter().filter_map(|l| self.frames.get(*l)).map(|f| f.name.clone()).collect();
            self.first = Some(in_a_circle(names));
        }
        self.go_back(circle.into_iter().collect())?;
        self.settle()
    }

    /// The way to a candidate that needs what everything is for.
    fn circle_to_root(&self, level: usize) -> Error {
        let mut names = Vec::new();
        let mut at = level;
        while let Some(frame) = self.frames.get(at) {
            names.push(frame.name.clone());
            match self.asks_for(&frame.name).next() {
                // Who asked first came before.
                Some(ask) if ask.by < at => at = ask.by,
                _ => break,
            }
        }
        names.reverse();
        in_a_circle(names)
    }

    /// A candidate needs what does not go together with what others need.
    fn mismatch(&self, level: usize, candidate: &Candidate, needed: &str, range: &VersionReq) -> Error {
        let name = self.frames.get(level).map_or("", |f| f.name.as_str());
        let own = format!("`{name}` {} needs `{needed}` {range}", candidate.version);
        let candidates = self.known.get(needed).cloned().unwrap_or_default();
        if !candidates.iter().any(|c| range.matches(&c.version)) {
            return none_within(&own, &candidates);
        }
        // Somebody with whose range this one has no version in common, if there is one; else the first that asked.
        let common =
            |r: &VersionReq| candidates.iter().any(|c| r.matches(&c.version) && range.matches(&c.version));
        let other =
            self.asks_for(needed).find(|a| !common(&a.range)).or_else(|| self.asks_for(needed).next());
        let other =
            other.map_or_else(String::new, |a| format!("{} needs `{needed}` {}", self.title(a.by), a.range));
        let there = self.levels.get(needed).and_then(|at| self.frames.get(*at)?.chosen.as_ref());
        let led = there.map_or_else(String::new, |c| format!(" (which led to {})", c.version));
        Error::conflict(format!("{own}, but {other}{led}")).hint(WIDEN)
    }

    /// Why nothing will do for a level.
    fn conflict(&mut self, level: usize) -> Result<Error> {
        let Some(frame) = self.frames.get_mut(level) else {
            return Ok(Error::internal("a conflict without a place"));
        };
        if let Some(obstacle) = frame.obstacle.take() {
            return Ok(obstacle);
        }
        let (name, candidates) = (frame.name.clone(), frame.candidates.clone());
        let asks: Vec<(String, VersionReq)> =
            self.asks_for(&name).map(|a| (self.title(a.by), a.range.clone())).collect();
        let fits = |r: &VersionReq| candidates.iter().filter(|c| r.matches(&c.version)).count();
        if let Some((by, range)) = asks.iter().find(|(_, range)| fits(range) == 0) {
            return Ok(none_within(&format!("{by} needs `{name}` {range}"), &candidates));
        }
        let needs = |(by, range): &(String, VersionReq)| format!("{by} needs `{name}` {range}");
        for (i, one) in asks.iter().enumerate() {
            for other in asks.iter().take(i) {
                self.step()?;
                if !candidates.iter().any(|c| one.1.matches(&c.version) && other.1.matches(&c.version)) {
                    return Ok(Error::conflict(format!(
                        "no version of `{name}` will do for both: {}, but {}",
                        needs(other),
                        needs(one)
                    ))
                    .hint(WIDEN));
                }
            }
        }
        let shown: Vec<String> = asks.iter().take(super::PASSED_OVER_MAX).map(needs).collect();
        let more = asks.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        Ok(Error::conflict(format!("no version of `{name}` will do for all: {}{more}", shown.join(", ")))
            .hint("widen one of the ranges, or store a version that all take"))
    }

    /// How an error names a level.
    fn title(&self, level: usize) -> String {
        let frame = self.frames.get(level);
        match frame.and_then(|f| f.chosen.as_ref()).filter(|_| level > 0) {
            Some(chosen) => format!("`{}` {}", chosen.name, chosen.version),
            None => format!("`{}`", frame.map_or("", |f| f.name.as_str())),
        }
    }

    /// The versions of a skill: active ones, then drafts, then retired ones, each the highest first.
    pub(super) fn candidates(&mut self, name: &str) -> Result<Rc<Vec<Candidate>>> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT v.id, v.version,
                    (SELECT t.status FROM skill_statuses t WHERE t.version_id = v.id ORDER BY t.set_at DESC, t.id DESC LIMIT 1)
             FROM skills s JOIN skill_versions v ON v.skill_id = s.id WHERE s.name = ?1",
        )?;
        let rows = statement
            .query_map([name], |r| Ok((r.get(0)?, r.get::<_, String>(1)?, r.get::<_, Option<Status>>(2)?)))?;
        let mut all = Vec::new();
        for row in rows {
            let (id, version, status) = row?;
            all.push(Candidate { id, version: parse_version(&version)?, status: status.unwrap_or_default() });
        }
        all.sort_by(|a, b| a.status.cmp(&b.status).then_with(|| b.version.cmp(&a.version)));
        let all = Rc::new(all);
        self.known.insert(name.into(), all.clone());
        Ok(all)
    }

    pub(super) fn depends_of(&mut self, version: i64) -> Result<Rc<Depends>> {
        if let Some(known) = self.depends.get(&version) {
            return Ok(known.clone());
        }
        let text: Option<String> = self
            .connection
            .prepare_cached("SELECT depends FROM skill_versions WHERE id = ?1")?
            .query_row([version], |r| r.get(0))
            .optional()?;
        let depends: Rc<Depends> =
            Rc::new(text.map_or_else(|| Ok(Depends::new()), |t| parse(&t, "dependencies"))?);
        self.ranges_kept += depends.len();
        self.depends.insert(version, depends.clone());
        Ok(depends)
    }
}

/// `needs`: who needs what.
fn none_within(needs: &str, candidates: &[Candidate]) -> Error {
    let newest = candidates.iter().map(|c| &c.version).max().map(ToString::to_string);
    let newest = newest.unwrap_or_default();
    Error::not_found(format!("{needs}, and no version of it will do (the newest is {newest})"))
        .hint("store a version within the range, or widen it")
}

fn in_a_circle(mut names: Vec<String>) -> Error {
    names.extend(names.first().cloned());
    Error::invalid(format!("the dependencies run in a circle: {}", names.join(" → ")))
        .hint("remove one of these dependencies")
}

impl Solution {
    /// Who needs what was chosen on a level.
    pub(super) fn required_by(&self, level: usize) -> Vec<Requirement> {
        let Some(of) = self.chosen.get(level) else { return Vec::new() };
        let needs = |c: &Chosen| {
            let range = c.depends.get(&of.name)?.clone();
            Some(Requirement { by: SkillName { name: c.name.clone(), version: c.version.clone() }, range })
        };
        self.chosen.iter().filter_map(needs).collect()
    }

    /// What of the other choices a version with these dependencies does not fit.
    pub(super) fn obstacle(&self, level: usize, depends: &Depends) -> Option<String> {
        depends.iter().find_map(|(name, range)| {
            let at = *self.levels.get(name)?;
            let there = self.chosen.get(at).filter(|_| at != level)?;
            match at {
                0 => Some(format!("it needs `{name}`, which all of this is for")),
                _ => (!range.matches(&there.version))
                    .then(|| format!("it needs `{name}` {range}, and {} is chosen", there.version)),
            }
        })
    }
}
