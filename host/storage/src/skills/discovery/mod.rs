//! Discovery: what is searched of every skill lies in memory, and follows the database.
//!
//! The database has it all (`skill_documents`, `skill_index`, `skill_performance`); this is what is made of it. It is made when the
//! first question comes, or before (`Skills::warm`), and then follows each commit before the write returns: who stored a
//! skill finds it.

mod field;
mod library;
mod question;
mod rank;
mod scores;
mod spelling;
mod stem;
mod vectors;
mod words;

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::locks::{lock, read, write};
use crate::sqlite::Database;
use library::{Library, documents};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};

pub(super) use question::Question;
pub(super) use rank::{Asked, Asking, Hit, Reading, Widened};
use scores::Scratch;

/// Skills that are read in one transaction while the index is made.
const PAGE_SKILLS: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Discovery {
    held: RwLock<Option<Library>>,
    changed: Mutex<Changed>,
    /// Something was noted that a question must not miss, and is not in the index yet.
    behind: AtomicBool,
    /// One makes the index, the others wait for it.
    making: Mutex<()>,
    /// One at a time follows what changed, so that an older reading never replaces a newer one. Locked after `making`, before
    /// `held`, and never by who keeps readers of the database waiting.
    following: Mutex<()>,
    scratch: Mutex<Vec<Scratch>>,
}

/// Skills that changed since they were read. Nothing is noted while there is no index and none is being made.
#[derive(Debug, Default)]
struct Changed {
    noted: bool,
    skills: BTreeSet<i64>,
}

impl Discovery {
    /// Call it after the commit that changed a skill. The write stands whether or not it can be followed at once: a question
    /// tries again, and fails if it must.
    pub(super) fn follow(&self, db: &Database, skills: impl IntoIterator<Item = i64>) {
        let mut changed = lock(&self.changed);
        if !changed.noted {
            return;
        }
        changed.skills.extend(skills);
        drop(changed);
        if let Err(e) = self.catch_up(db) {
            tracing::warn!(error = %e, "the index of skills will follow with the next question");
        }
    }

    /// Call it after the commit that changed a skill: the next question reads it first, unless somebody followed before.
    pub(super) fn note(&self, skill: i64) {
        let mut changed = lock(&self.changed);
        if changed.noted {
            changed.skills.insert(skill);
            self.behind.store(true, Ordering::SeqCst);
        }
    }

    fn catch_up(&self, db: &Database) -> Result<()> {
        let _one = lock(&self.following);
        // While it is being made, its maker does this.
        if read(&self.held).is_none() {
            return Ok(());
        }
        self.follow_into(db, |of| {
            if let Some(library) = write(&self.held).as_mut() {
                of.iter().for_each(|d| library.set(d));
            }
        })
    }

    /// Reads what changed until nothing is left. Only by the one that holds `following`.
    fn follow_into(&self, db: &Database, mut set: impl FnMut(&[library::Document])) -> Result<()> {
        loop {
            let skills = {
                let mut changed = lock(&self.changed);
                if changed.skills.is_empty() {
                    // All that was noted before is in the index: who notes more waits for this lock.
                    self.behind.store(false, Ordering::SeqCst);
                    return Ok(());
                }
                std::mem::take(&mut changed.skills)
            };
            let found = db.read(|c| {
                let one = |skill: &i64| documents(c, skill.saturating_sub(1), *skill, 1);
                skills.iter().map(one).collect::<Result<Vec<_>>>()
            });
            match found {
                Ok(found) => found.iter().for_each(|d| set(d)),
                Err(e) => {
                    let mut changed = lock(&self.changed);
                    changed.skills.extend(skills);
                    self.behind.store(true, Ordering::SeqCst);
                    return Err(e);
                }
            }
        }
    }

    /// Forgets the index: the next question makes it anew.
    pub(super) fn forget(&self) {
        let _one = lock(&self.making);
        self.reset(false);
    }

    /// Without an index, and with nothing noted. Only by the one that holds `making`.
    fn reset(&self, noted: bool) {
        // Who is following ends first: it would take what is noted from now on for an index that is gone.
        let _one = lock(&self.following);
        // In this order: who notes a change while the index is still there must not lose it.
        *write(&self.held) = None;
        *lock(&self.changed) = Changed { noted, skills: BTreeSet::new() };
        self.behind.store(false, Ordering::SeqCst);
    }

    /// Makes the index for these indexers, if it is not there.
    pub(super) fn ready(&self, db: &Database, indexers: &[(String, String)]) -> Result<()> {
        let there = || read(&self.held).as_ref().is_some_and(|l| l.is_for(indexers));
        if !there() {
            let _one = lock(&self.making);
            if !there() {
                self.reset(true);
                self.make(db, indexers)?;
            }
        }
        Ok(())
    }

    /// Page after page: what changes behind the page that is read was noted.
    fn make(&self, db: &Database, indexers: &[(String, String)]) -> Result<()> {
        let begin = std::time::Instant::now();
        let mut library = Library::new(indexers);
        let mut after = 0;
        loop {
            let page = db.read(|c| documents(c, after, i64::MAX, PAGE_SKILLS))?;
            let Some(last) = page.last() else { break };
            after = last.skill;
            page.iter().for_each(|d| library.set(d));
            if library.skills.len() > field::SLOTS_MAX {
                return Err(Error::limit(
                    "the index of skills",
                    field::SLOTS_MAX,
                    "split the library over several hosts",
                ));
            }
        }
        let _one = lock(&self.following);
        self.follow_into(db, |of| of.iter().for_each(|d| library.set(d)))?;
        tracing::debug!(
            skills = library.skills.len(),
            ms = begin.elapsed().as_millis(),
            "made the index of skills"
        );
        *write(&self.held) = Some(library);
        Ok(())
    }

    /// Asks the index, which is there for these indexers.
    pub(super) fn with<T>(
        &self,
        db: &Database,
        indexers: &[(String, String)],
        ask: impl FnOnce(&Library, &mut Scratch) -> T,
    ) -> Result<T> {
        if self.behind.load(Ordering::SeqCst) {
            self.catch_up(db)?;
        }
        let mut scratch = lock(&self.scratch).pop().unwrap_or_default();
        let answer = loop {
            let held = read(&self.held);
            if let Some(library) = held.as_ref().filter(|l| l.is_for(indexers)) {
                break ask(library, &mut scratch);
            }
            drop(held);
            self.ready(db, indexers)?;
        };
        lock(&self.scratch).push(scratch);
        Ok(answer)
    }
}

/// The words of some terms, each once, at most `most`.
pub(super) fn words_of(terms: &[String], most: usize) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let all = terms.iter().flat_map(|t| words::asked(t));
    all.filter(|w| seen.insert(w.clone())).take(most).collect()
}
