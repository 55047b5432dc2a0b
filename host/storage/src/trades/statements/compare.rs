//! What is different between a statement and the record: each of their trades is at most one of our fills.

use super::read::Theirs;
use crate::trades::number::Number;
use crate::trades::types::{NewFill, Side};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// In which way a trade of the statement and one of the record differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// The statement has it and the record has not.
    MissingHere,
    /// The record has it and the statement has not.
    MissingThere,
    /// Both have it, with another quantity, price, fee, side or instrument.
    Differs,
}

impl DifferenceKind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::MissingHere => "missing-here",
            Self::MissingThere => "missing-there",
            Self::Differs => "differs",
        }
    }
    pub(super) fn read(word: &str) -> Option<Self> {
        [Self::MissingHere, Self::MissingThere, Self::Differs].into_iter().find(|k| k.word() == word)
    }
}

/// A fill of ours, and the number of its version.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ours {
    pub seq: i64,
    pub fill: NewFill,
}

pub(super) type Pair = (DifferenceKind, Option<Ours>, Option<Theirs>);

/// The differences, and how many trades are the same in both. First by id; then what has the same quantity and price at nearly the same
/// time; then what goes the same way in the same instrument then.
pub(super) fn compare(ours: Vec<Ours>, theirs: Vec<Theirs>, tolerance_ns: i64) -> (Vec<Pair>, u64) {
    let (mut differences, mut matched) = (Vec::new(), 0);
    let mut note = |ours: Ours, theirs: Theirs| match same(&ours.fill, &theirs) {
        true => matched += 1,
        false => differences.push((DifferenceKind::Differs, Some(ours), Some(theirs))),
    };
    // Ours by their ids.
    let mut ids: HashMap<String, usize> = HashMap::new();
    for (i, of) in ours.iter().enumerate() {
        ids.entry(of.fill.client_id.clone()).or_insert(i);
    }
    for (i, of) in ours.iter().enumerate() {
        if let Some(id) = &of.fill.broker_id {
            ids.insert(id.clone(), i);
        }
    }
    let mut left: Vec<Option<Ours>> = ours.into_iter().map(Some).collect();
    let mut without = Vec::new();
    for one in theirs {
        let found =
            one.id.as_ref().and_then(|id| ids.get(id)).and_then(|i| left.get_mut(*i)).and_then(Option::take);
        match found {
            Some(ours) => note(ours, one),
            None => without.push(one),
        }
    }
    let left: Vec<Ours> = left.into_iter().flatten().collect();
    let exact = |f: &NewFill| (f.instrument.clone(), f.side, f.quantity, f.price);
    let (left, without) = nearest(
        left,
        without,
        tolerance_ns,
        |o| exact(&o.fill),
        |t| (t.instrument.clone(), t.side, t.quantity, t.price),
        &mut note,
    );
    let (left, without) = nearest(
        left,
        without,
        tolerance_ns,
        |o| (o.fill.instrument.clone(), o.fill.side),
        |t| (t.instrument.clone(), t.side),
        &mut note,
    );
    differences.extend(without.into_iter().map(|t| (DifferenceKind::MissingHere, None, Some(t))));
    differences.extend(left.into_iter().map(|o| (DifferenceKind::MissingThere, Some(o), None)));
    differences.sort_by_key(|(_, ours, theirs)| {
        (
            theirs.as_ref().map(|t| t.time).or_else(|| ours.as_ref().map(|o| o.fill.time)),
            theirs.as_ref().map(|t| t.line),
        )
    });
    (differences, matched)
}

/// Is it the same trade in every figure? Times differ with clocks.
fn same(ours: &NewFill, theirs: &Theirs) -> bool {
    let figures = |instrument: &str, side: Side, quantity: Number, price: Number| {
        (instrument.to_string(), side, quantity, price)
    };
    figures(&ours.instrument, ours.side, ours.quantity, ours.price)
        == figures(&theirs.instrument, theirs.side, theirs.quantity, theirs.price)
        && theirs.fee.is_none_or(|fee| fee == ours.fee)
}

/// Pairs what has the same key and lies within the tolerance, in the order of time; gives what is left of both.
fn nearest<K: Eq + Hash>(
    mut ours: Vec<Ours>,
    mut theirs: Vec<Theirs>,
    tolerance_ns: i64,
    key_of_ours: impl Fn(&Ours) -> K,
    key_of_theirs: impl Fn(&Theirs) -> K,
    mut note: impl FnMut(Ours, Theirs),
) -> (Vec<Ours>, Vec<Theirs>) {
    ours.sort_by_key(|o| (o.fill.time, o.seq));
    theirs.sort_by_key(|t| (t.time, t.line));
    let mut waiting: HashMap<K, VecDeque<Ours>> = HashMap::new();
    for of in ours {
        waiting.entry(key_of_ours(&of)).or_default().push_back(of);
    }
    let (mut left, mut without) = (Vec::new(), Vec::new());
    for one in theirs {
        let Some(queue) = waiting.get_mut(&key_of_theirs(&one)) else {
            without.push(one);
            continue;
        };
        // What is too early for this one is too early for all that follow.
        while let Some(early) = queue.pop_front_if(|o| o.fill.time < one.time.saturating_sub(tolerance_ns)) {
            left.push(early);
        }
        match queue.pop_front_if(|o| o.fill.time <= one.time.saturating_add(tolerance_ns)) {
            Some(of) => note(of, one),
            None => without.push(one),
        }
    }
    left.extend(waiting.into_values().flatten());
    left.sort_by_key(|o| (o.fill.time, o.seq));
    (left, without)
}
