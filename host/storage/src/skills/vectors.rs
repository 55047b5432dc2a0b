//! The vectors of every skill in memory, a signed byte per dimension, and the nearest of them.
//!
//! A hundred thousand skills with 128 dimensions are 13 MB and one pass over them takes milliseconds: an approximate index
//! would cost more than it gains, and forget some.

use crate::error::Result;
use rusqlite::{Connection, OptionalExtension as _};
use std::collections::{BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock};

/// Cosines below this say nothing.
const COSINE_MIN: f64 = 0.2;

/// Read from the database when they are first asked for; what is touched is read again.
#[derive(Debug, Default)]
pub(super) struct Vectors {
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// By plugin.
    spaces: HashMap<String, Space>,
    /// Skills whose entries changed since they were read.
    touched: BTreeSet<i64>,
}

/// The vectors of one indexer, one after another.
#[derive(Debug, Default)]
struct Space {
    revision: String,
    dimensions: usize,
    skills: Vec<i64>,
    norms: Vec<f32>,
    values: Vec<i8>,
    at: HashMap<i64, usize>,
}

impl Vectors {
    /// Call it after the commit that changed a skill's entries.
    pub(super) fn touch(&self, skill: i64) {
        self.held.write().unwrap_or_else(PoisonError::into_inner).touched.insert(skill);
    }

    pub(super) fn forget(&self) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Held::default();
    }

    /// The skills whose direction is nearest to `vector`, with their cosines, at most `most`.
    pub(super) fn nearest(
        &self,
        c: &Connection,
        plugin: &str,
        revision: &str,
        vector: &[i8],
        most: usize,
    ) -> Result<Vec<(i64, f64)>> {
        {
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(space) =
                held.spaces.get(plugin).filter(|s| s.revision == revision && held.touched.is_empty())
            {
                return Ok(space.nearest(vector, most));
            }
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let touched = std::mem::take(&mut held.touched);
        for skill in touched {
            for (plugin, space) in &mut held.spaces {
                space.set(skill, one(c, plugin, &space.revision, skill)?);
            }
        }
        if held.spaces.get(plugin).is_none_or(|s| s.revision != revision) {
            let space = Space::read(c, plugin, revision)?;
            held.spaces.insert(plugin.into(), space);
        }
        Ok(held.spaces.get(plugin).map_or_else(Vec::new, |s| s.nearest(vector, most)))
    }
}

fn one(c: &Connection, plugin: &str, revision: &str, skill: i64) -> Result<Option<Vec<u8>>> {
    Ok(c.prepare_cached(
        "SELECT vector FROM skill_index WHERE skill_id = ?1 AND plugin = ?2 AND revision = ?3",
    )?
    .query_row((skill, plugin, revision), |r| r.get(0))
    .optional()?)
}

impl Space {
    fn read(c: &Connection, plugin: &str, revision: &str) -> Result<Self> {
        let mut space = Self { revision: revision.into(), ..Self::default() };
        let mut statement = c.prepare_cached(
            "SELECT skill_id, vector FROM skill_index WHERE plugin = ?1 AND revision = ?2 ORDER BY skill_id",
        )?;
        let mut rows = statement.query((plugin, revision))?;
        while let Some(row) = rows.next()? {
            space.set(row.get(0)?, Some(row.get(1)?));
        }
        Ok(space)
    }

    fn set(&mut self, skill: i64, vector: Option<Vec<u8>>) {
        self.remove(skill);
        let Some(vector) = vector.filter(|v| !v.is_empty()) else { return };
        if self.skills.is_empty() {
            self.dimensions = vector.len();
        }
        // The database keeps one revision to one number of dimensions; what somebody else put there is left out.
        if vector.len() != self.dimensions {
            return;
        }
        let vector: Vec<i8> = vector.into_iter().map(u8::cast_signed).collect();
        self.at.insert(skill, self.skills.len());
        self.skills.push(skill);
        self.norms.push(norm(&vector));
        self.values.extend(vector);
    }

    /// The last one takes the place of the one that goes.
    fn remove(&mut self, skill: i64) {
        let Some(at) = self.at.remove(&skill) else { return };
        self.skills.swap_remove(at);
        self.norms.swap_remove(at);
        let last = self.skills.len() * self.dimensions;
        self.values.copy_within(last.., at * self.dimensions);
        self.values.truncate(last);
        if let Some(moved) = self.skills.get(at) {
            self.at.insert(*moved, at);
        }
    }

    fn nearest(&self, vector: &[i8], most: usize) -> Vec<(i64, f64)> {
        if vector.len() != self.dimensions || self.dimensions == 0 {
            return Vec::new();
        }
        let own = norm(vector);
        let mut found: Vec<(i64, f64)> = self
            .values
            .chunks_exact(self.dimensions)
            .zip(self.skills.iter().zip(&self.norms))
            .filter_map(|(values, (skill, norm))| {
                let cosine = f64::from(dot(values, vector)) / f64::from(own * norm);
                (cosine >= COSINE_MIN).then_some((*skill, cosine))
            })
            .collect();
        let order = |a: &(i64, f64), b: &(i64, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if found.len() > most {
            found.select_nth_unstable_by(most, order);
            found.truncate(most);
        }
        found.sort_by(order);
        found
    }
}

/// 256 products of two signed bytes stay below 2²²: no overflow.
fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(x, y)| i32::from(*x) * i32::from(*y)).sum()
}

#[allow(clippy::cast_precision_loss)]
fn norm(v: &[i8]) -> f32 {
    (dot(v, v) as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(v: &[i8]) -> Option<Vec<u8>> {
        Some(v.iter().map(|x| x.cast_unsigned()).collect())
    }

    #[test]
    fn the_nearest_come_first_and_the_far_not_at_all() {
        let mut space = Space::default();
        space.set(1, bytes(&[127, 0, 0]));
        space.set(2, bytes(&[0, 127, 0]));
        space.set(3, bytes(&[90, 90, 0]));
        space.set(4, bytes(&[-127, 0, 0]));
        space.set(5, bytes(&[127, 127]));
        let found = space.nearest(&[100, 10, 0], 10);
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [1, 3]);
        assert!(found[0].1 > 0.99 && found[1].1 < 0.9);
        assert_eq!(space.nearest(&[100, 10, 0], 1).len(), 1);
        assert!(space.nearest(&[1, 1], 10).is_empty(), "another space");
    }

    #[test]
    fn vectors_come_and_go() {
        let mut space = Space::default();
        for skill in 0..10_i8 {
            space.set(skill.into(), bytes(&[skill + 1, 1]));
        }
        space.set(0, None);
        space.set(5, bytes(&[-1, 50]));
        space.set(9, bytes(&[]));
        assert_eq!((space.skills.len(), space.values.len(), space.at.len()), (8, 16, 8));
        for (skill, at) in &space.at {
            assert_eq!(space.skills[*at], *skill);
            let want = if *skill == 5 { [-1, 50] } else { [i8::try_from(*skill).unwrap() + 1, 1] };
            assert_eq!(space.values[at * 2..at * 2 + 2], want);
        }
        assert_eq!(space.nearest(&[-1, 50], 1)[0].0, 5);
    }
}
