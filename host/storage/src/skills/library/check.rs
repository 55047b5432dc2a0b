//! What can be said of a file by itself, before anything is changed.

use super::super::status::REASON_BYTES_MAX;
use super::super::types::{SAMPLES_MAX, check_line, check_name};
use super::lines::{CurrentLine, Line, Lines, PerformanceLine, StatusLine, VersionLine, check_actor};
use super::{Bounds, LibraryCounts};
use crate::error::{Error, Result};
use crate::skills::Version;
use std::collections::{HashMap, HashSet};
use std::io::BufRead;

/// A file that is sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) digest: String,
    pub(super) counts: LibraryCounts,
}

/// What was seen of a skill.
#[derive(Debug, Default)]
struct Seen {
    versions: HashSet<String>,
    current: bool,
}

#[derive(Debug, Default)]
struct Check {
    skills: HashMap<String, Seen>,
    counts: LibraryCounts,
}

/// Reads a file to its end.
pub(super) fn check<R: BufRead>(
    lines: &mut Lines<R>,
    bounds: &Bounds,
    progress: &mut dyn FnMut(&str, u64) -> Result<()>,
) -> Result<Checked> {
    let mut check = Check::default();
    match lines.next_line()? {
        Some((_, Line::Library(_))) => {}
        _ => {
            return Err(Error::invalid("the file does not begin with the head of a library")
                .hint("`shiphold skills export` writes one; `--format voyager` reads a skills.json"));
        }
    }
    loop {
        let Some((number, line)) = lines.next_line()? else {
            return Err(Error::invalid("the library was cut off: it has no last line")
                .hint("export it again, or send it again"));
        };
        let Line::End(end) = line else {
            check.line(line, bounds).map_err(|e| e.context(format!("line {number}")))?;
            progress("checking, in lines", number)?;
            continue;
        };
        let digest = lines.digest();
        if end.blake3 != digest {
            return Err(Error::invalid(format!(
                "the library was changed: its last line says {}, its content is {digest}",
                super::super::types::shown(&end.blake3)
            ))
            .hint("export it again; a library that was edited needs the digest of its lines"));
        }
        if end.counts != check.counts {
            return Err(Error::invalid("the counts of the library's last line are not those of its lines"));
        }
        if let Some((more, _)) = lines.next_line()? {
            return Err(Error::invalid(format!("line {more} stands behind the end of the library")));
        }
        // The same skill for the same file, whatever the order of a map.
        let without = check.skills.iter().filter(|(_, s)| !s.current).map(|(n, _)| n).min();
        if let Some(name) = without {
            return Err(Error::invalid(format!("no line says which version of skill `{name}` is current"))
                .hint("add a `current` line behind its versions"));
        }
        return Ok(Checked { digest, counts: check.counts });
    }
}

impl Check {
    fn line(&mut self, line: Line, bounds: &Bounds) -> Result<()> {
        match line {
            Line::Library(_) | Line::End(_) => Err(Error::invalid("a second head of a library")),
            Line::Skill(s) => {
                check_name(&s.name)?;
                if s.uses > SAMPLES_MAX {
                    let hint = "count what happened";
                    return Err(Error::limit(
                        format!("{} uses of skill `{}`", s.uses, s.name),
                        SAMPLES_MAX,
                        hint,
                    ));
                }
                self.counts.skills += 1;
                count("skills", self.counts.skills, bounds.versions)?;
                match self.skills.insert(s.name.clone(), Seen::default()) {
                    None => Ok(()),
                    Some(_) => Err(Error::invalid(format!("skill `{}` stands twice in the library", s.name))),
                }
            }
            Line::Version(v) => self.version(&v, bounds),
            Line::Status(s) => self.status(&s, bounds),
            Line::Current(c) => self.current(&c, bounds),
            Line::Performance(p) => self.performance(&p, bounds),
        }
    }

    fn version(&mut self, v: &VersionLine, bounds: &Bounds) -> Result<()> {
        let content = v.content();
        content.check()?;
        check_actor(&v.created_by)?;
        if content.hash() != v.hash {
            return Err(Error::invalid(format!("{}@{} is not what its hash says", v.name, v.version))
                .hint("export the library again"));
        }
        self.counts.versions += 1;
        count("versions", self.counts.versions, bounds.versions)?;
        let seen = self.seen(&v.name)?;
        if !seen.versions.insert(v.version.to_string()) {
            return Err(Error::invalid(format!("{}@{} stands twice in the library", v.name, v.version)));
        }
        Ok(())
    }

    fn status(&mut self, s: &StatusLine, bounds: &Bounds) -> Result<()> {
        self.counts.statuses += 1;
        count("changes of statuses", self.counts.statuses, bounds.records)?;
        s.reason.as_ref().map_or(Ok(()), |r| check_line("reason", r, REASON_BYTES_MAX))?;
        check_actor(&s.set_by)?;
        self.has(&s.name, &s.version).map(drop)
    }

    fn current(&mut self, c: &CurrentLine, bounds: &Bounds) -> Result<()> {
        self.counts.currents += 1;
        count("changes of current versions", self.counts.currents, bounds.records)?;
        check_actor(&c.set_by)?;
        self.has(&c.name, &c.version)?.current = true;
        Ok(())
    }

    fn performance(&mut self, p: &PerformanceLine, bounds: &Bounds) -> Result<()> {
        self.counts.performance += 1;
        count("records of performance", self.counts.performance, bounds.records)?;
        p.performance.check()?;
        check_actor(&p.recorded_by)?;
        self.has(&p.name, &p.version).map(drop)
    }

    fn seen(&mut self, name: &str) -> Result<&mut Seen> {
        check_name(name)?;
        self.skills
            .get_mut(name)
            .ok_or_else(|| Error::invalid(format!("there is no line before for skill `{name}`")))
    }

    fn has(&mut self, name: &str, version: &Version) -> Result<&mut Seen> {
        let seen = self.seen(name)?;
        match seen.versions.contains(&version.to_string()) {
            true => Ok(seen),
            false => Err(Error::invalid(format!("there is no line before for {name}@{version}"))),
        }
    }
}

fn count(what: &str, n: u64, most: u64) -> Result<()> {
    if n > most {
        return Err(Error::limit(format!("the number of {what} in one library"), most, "import it in parts"));
    }
    Ok(())
}
