//! Values that were read from rows, kept in memory until a commit touches one of those rows.
//!
//! Nobody gets a value that is older than what was committed before he asked. A commit takes the values of the rows that it touches
//! out before it becomes visible, so that afterwards nobody finds an old one. A value that somebody read meanwhile, from a snapshot
//! of before, is not kept: whoever finds nothing gets a ticket, and what was touched since then is remembered. Which rows a
//! transaction touches SQLite says itself (its update hook), so that no statement can be forgotten; only of a table without a rowid
//! must its writer say so, with [`super::Tx::touches`].

use crate::locks::lock;
use serde_json::Value;
use std::any::Any;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher as _};
use std::sync::{Arc, Mutex};

/// [`super::Options::values_bytes_max`] unless it is chosen.
pub const VALUES_BYTES_MAX: u64 = 16 << 20;
/// A value that takes more than one part in so many of the room is not kept: it would push out what many ask for.
pub const VALUE_SHARE: u64 = 8;
/// Rows touched by one transaction that are told apart; beyond them every value counts as touched.
pub const TOUCHED_MAX: usize = 10_000;
/// Rows whose last commit is remembered, for those who read while it was made.
const REMEMBERED_MAX: usize = 2 * TOUCHED_MAX;
/// What an entry takes beside its key and its value, about: a slot, and a place in two maps.
pub const ENTRY_BYTES: usize = 256;

/// What is kept, told apart in `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    Skills,
    Settings,
    Tokens,
}

impl Noun {
    pub const ALL: [Self; 3] = [Self::Skills, Self::Settings, Self::Tokens];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Skills => "skills",
            Self::Settings => "settings",
            Self::Tokens => "tokens",
        }
    }
}

/// A row that a value was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Skill(i64),
    SkillVersion(i64),
    Token(i64),
    /// The newest revision of a key, by a hash of its name: two keys with the same hash go together, which does no harm.
    Setting(u64),
}

impl Source {
    pub(crate) fn setting(namespace: &str, key: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (namespace, key).hash(&mut hasher);
        Self::Setting(hasher.finish())
    }
}

/// Tables about skills of which no part of a version is read, or whose writer says what he touches.
const BESIDE_SKILLS: [&str; 8] = [
    "skill_tags",
    "skill_performance",
    "skill_index",
    "skill_documents",
    "skill_currents",
    // Written before the versions that name them.
    "skill_imports",
    // Whoever adds to these says of which version: `Tx::touches`.
    "skill_statuses",
    "skill_provenance",
];

/// What a row says that SQLite names: which values are not true any more when it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Row(Source),
    /// A table that was added since: its rows may be about any of them.
    AllOf(Noun),
}

impl Change {
    /// `None`: no value is made of such rows.
    pub(super) fn of(table: &str, rowid: i64) -> Option<Self> {
        match table {
            "skills" => Some(Self::Row(Source::Skill(rowid))),
            "skill_versions" => Some(Self::Row(Source::SkillVersion(rowid))),
            "tokens" => Some(Self::Row(Source::Token(rowid))),
            _ if BESIDE_SKILLS.contains(&table) => None,
            _ if table.starts_with("skill_") => Some(Self::AllOf(Noun::Skills)),
            _ => None,
        }
    }
}

/// A value that can be kept.
pub(crate) trait Kept: Any + Send + Sync {
    const NOUN: Noun;

    /// Bytes that it takes in memory, about.
    fn bytes(&self) -> usize;
}

/// Bytes that a JSON value takes in memory, about.
pub(crate) fn bytes_of_json(value: &Value) -> usize {
    let of_parts = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes_of_json).sum(),
        // A node of the map has room for more than one pair.
        Value::Object(pairs) => {
            pairs.iter().map(|(k, v)| 2 * size_of::<String>() + k.len() + bytes_of_json(v)).sum()
        }
    };
    size_of::<Value>() + of_parts
}

/// What is kept of a noun, and how often it was asked for, since the file was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ValueCounts {
    pub entries: u64,
    /// What they take, keys included.
    pub bytes: u64,
    /// Values that were found.
    pub hits: u64,
    /// Values that had to be read.
    pub misses: u64,
    /// Values that went because a commit touched a row of theirs.
    pub outdated: u64,
    /// Values that went to make room.
    pub evicted: u64,
}

/// What a transaction touched.
#[derive(Debug, Default)]
pub(super) struct Touched {
    rows: HashSet<Source>,
    /// Every value of a noun.
    all_of: [bool; Noun::ALL.len()],
}

impl Touched {
    pub(super) fn add(&mut self, change: Change) {
        match change {
            Change::Row(row) => {
                self.rows.insert(row);
            }
            Change::AllOf(noun) => self.all_of = Noun::ALL.map(|n| n == noun || self.touches_all(n)),
        }
        if self.rows.len() > TOUCHED_MAX {
            *self = Self { rows: HashSet::new(), all_of: [true; Noun::ALL.len()] };
        }
    }

    fn touches_all(&self, noun: Noun) -> bool {
        self.all_of.get(noun as usize) == Some(&true)
    }
}

/// How many commits had ended when somebody found nothing and went to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket(u64);

type Shared = Arc<dyn Any + Send + Sync>;

/// The values of a database.
#[derive(Debug)]
pub(super) struct Values {
    bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The slot of a key, by noun.
    slots_of: [HashMap<Box<[u8]>, usize>; Noun::ALL.len()],
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// The slot that is looked at next when room is needed.
    hand: usize,
    /// The slots whose value was made of a row.
    made_of: HashMap<Source, Vec<usize>>,
    bytes: u64,
    counts: [ValueCounts; Noun::ALL.len()],
    /// The rows of the commit that is being made.
    committing: Touched,
    /// Commits that have ended.
    commits: u64,
    /// Which commit touched a row last, and the same in the order of commits.
    remembered: HashMap<Source, u64>,
    order: VecDeque<(u64, Source)>,
    /// What commits up to this one touched of a noun is not known any more.
    forgotten: [u64; Noun::ALL.len()],
}

struct Slot {
    noun: Noun,
    key: Box<[u8]>,
    value: Shared,
    bytes: u64,
    sources: Vec<Source>,
    /// It was found since the hand passed.
    used: bool,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("noun", &self.noun).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Values {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// The value of a key, or a ticket for whoever goes to read it: taken before his snapshot, it says what he may have missed.
    pub(super) fn get(&self, noun: Noun, key: &[u8]) -> Result<Shared, Ticket> {
        let mut state = lock(&self.state);
        let found = state.find(noun, key);
        let counts = state.count(noun);
        match found {
            Some(_) => counts.hits += 1,
            None => counts.misses += 1,
        }
        found.ok_or(Ticket(state.commits))
    }

    /// [`Values::get`] for somebody who asks again when there is none: that is not counted.
    pub(super) fn peek(&self, noun: Noun, key: &[u8]) -> Option<Shared> {
        let mut state = lock(&self.state);
        let found = state.find(noun, key);
        state.count(noun).hits += u64::from(found.is_some());
        found
    }

    /// Keeps what was read, if it is still true and there is room.
    pub(super) fn keep(
        &self,
        ticket: Ticket,
        noun: Noun,
        key: &[u8],
        value: Shared,
        bytes: usize,
        sources: Vec<Source>,
    ) {
        let bytes = bytes.saturating_add(2 * key.len()).saturating_add(ENTRY_BYTES) as u64;
        if bytes > self.bytes_max / VALUE_SHARE {
            return;
        }
        let mut state = lock(&self.state);
        if state.may_be_old(ticket, noun, &sources) || state.find(noun, key).is_some() {
            return;
        }
        while state.bytes + bytes > self.bytes_max && state.evict() {}
        state.insert(Slot { noun, key: key.into(), value, bytes, sources, used: false });
    }

    /// Before a commit becomes visible.
    pub(super) fn commit_begins(&self, touched: Touched) {
        let mut state = lock(&self.state);
        for noun in Noun::ALL.into_iter().filter(|n| touched.touches_all(*n)) {
            state.outdate_all(noun);
        }
        for row in &touched.rows {
            for at in state.made_of.remove(row).unwrap_or_default() {
                state.outdate(at);
            }
        }
        state.committing = touched;
    }

    /// After it became visible, or failed.
    pub(super) fn commit_ended(&self) {
        let mut state = lock(&self.state);
        let touched = std::mem::take(&mut state.committing);
        state.commits += 1;
        let commit = state.commits;
        for noun in Noun::ALL.into_iter().filter(|n| touched.touches_all(*n)) {
            state.forget(noun, commit);
        }
        for row in touched.rows {
            state.remembered.insert(row, commit);
            state.order.push_back((commit, row));
        }
        while state.order.len() > REMEMBERED_MAX {
            let Some((old, row)) = state.order.pop_front() else { break };
            Noun::ALL.into_iter().for_each(|noun| state.forget(noun, old));
            if state.remembered.get(&row) == Some(&old) {
                state.remembered.remove(&row);
            }
        }
    }

    pub(super) fn counts(&self) -> [ValueCounts; Noun::ALL.len()] {
        lock(&self.state).counts
    }
}

// `noun as usize` is below the length of every array here: each has a place for each noun.
#[allow(clippy::indexing_slicing)]
impl State {
    fn count(&mut self, noun: Noun) -> &mut ValueCounts {
        &mut self.counts[noun as usize]
    }

    fn find(&mut self, noun: Noun, key: &[u8]) -> Option<Shared> {
        let at = *self.slots_of[noun as usize].get(key)?;
        let slot = self.slots.get_mut(at)?.as_mut()?;
        slot.used = true;
        Some(slot.value.clone())
    }

    /// Could something have been committed since the ticket was taken that a value made of `sources` does not show?
    fn may_be_old(&self, ticket: Ticket, noun: Noun, sources: &[Source]) -> bool {
        ticket.0 < self.forgotten[noun as usize]
            || self.committing.touches_all(noun)
            || sources.iter().any(|s| {
                self.committing.rows.contains(s) || self.remembered.get(s).is_some_and(|n| *n > ticket.0)
            })
    }

    fn forget(&mut self, noun: Noun, commit: u64) {
        let forgotten = &mut self.forgotten[noun as usize];
        *forgotten = commit.max(*forgotten);
    }

    fn insert(&mut self, slot: Slot) {
        let at = self.free.pop().unwrap_or(self.slots.len());
        self.slots_of[slot.noun as usize].insert(slot.key.clone(), at);
        for source in &slot.sources {
            self.made_of.entry(*source).or_default().push(at);
        }
        let counts = self.count(slot.noun);
        counts.entries += 1;
        counts.bytes += slot.bytes;
        self.bytes += slot.bytes;
        match self.slots.get_mut(at) {
            Some(place) => *place = Some(slot),
            None => self.slots.push(Some(slot)),
        }
    }

    fn remove(&mut self, at: usize) -> Option<Noun> {
        let slot = self.slots.get_mut(at)?.take()?;
        self.free.push(at);
        self.slots_of[slot.noun as usize].remove(&slot.key);
        for source in &slot.sources {
            if let Some(slots) = self.made_of.get_mut(source) {
                slots.retain(|s| *s != at);
                if slots.is_empty() {
                    self.made_of.remove(source);
                }
            }
        }
        let counts = self.count(slot.noun);
        counts.entries -= 1;
        counts.bytes -= slot.bytes;
        self.bytes -= slot.bytes;
        Some(slot.noun)
    }

    fn outdate(&mut self, at: usize) {
        if let Some(noun) = self.remove(at) {
            self.count(noun).outdated += 1;
        }
    }

    fn outdate_all(&mut self, noun: Noun) {
        let all: Vec<usize> = self.slots_of[noun as usize].values().copied().collect();
        all.into_iter().for_each(|at| self.outdate(at));
    }

    /// Lets one go that was not found since the hand passed last. `false`: there is none left.
    fn evict(&mut self) -> bool {
        // The first round takes the marks away, the second finds one without.
        for _ in 0..2 * self.slots.len() {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.slots.len().max(1);
            match self.slots.get_mut(at) {
                Some(Some(slot)) if slot.used => slot.used = false,
                Some(Some(_)) => {
                    if let Some(noun) = self.remove(at) {
                        self.count(noun).evicted += 1;
                    }
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
