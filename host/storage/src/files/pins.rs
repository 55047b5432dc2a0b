//! What must not go while somebody is at it: chunks that a put found there and will name, packs that a reader reads.

use crate::locks::lock;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

/// BLAKE3 of a chunk.
pub(super) type ChunkHash = [u8; 32];

/// How often each is held. A collection holds the lock while it takes rows away, so who pins and then looks sees them, or sees
/// that they are gone.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<Pinned>);

#[derive(Debug, Default)]
pub(super) struct Pinned {
    chunks: HashMap<ChunkHash, u32>,
    packs: HashMap<i64, u32>,
}

impl Pinned {
    pub(super) fn has_chunk(&self, hash: &ChunkHash) -> bool {
        self.chunks.contains_key(hash)
    }
    pub(super) fn has_pack(&self, pack: i64) -> bool {
        self.packs.contains_key(&pack)
    }
}

impl Pins {
    pub(super) fn lock(&self) -> MutexGuard<'_, Pinned> {
        lock(&self.0)
    }
}

/// Pins of one put or reader; they go with it.
#[derive(Debug)]
pub(super) struct Held {
    pins: Arc<Pins>,
    chunks: Vec<ChunkHash>,
    packs: Vec<i64>,
}

impl Held {
    pub(super) fn new(pins: Arc<Pins>) -> Self {
        Self { pins, chunks: Vec::new(), packs: Vec::new() }
    }

    pub(super) fn chunks(&mut self, of: impl Iterator<Item = ChunkHash>) {
        let mut pinned = self.pins.lock();
        for hash in of {
            *pinned.chunks.entry(hash).or_default() += 1;
            self.chunks.push(hash);
        }
    }

    pub(super) fn packs(&mut self, of: impl Iterator<Item = i64>) {
        let mut pinned = self.pins.lock();
        for pack in of {
            *pinned.packs.entry(pack).or_default() += 1;
            self.packs.push(pack);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut pinned = self.pins.lock();
        for hash in &self.chunks {
            release(&mut pinned.chunks, hash);
        }
        for pack in &self.packs {
            release(&mut pinned.packs, pack);
        }
    }
}

fn release<K: Hash + Eq + Copy>(of: &mut HashMap<K, u32>, key: &K) {
    if let Entry::Occupied(mut held) = of.entry(*key) {
        *held.get_mut() -= 1;
        if *held.get() == 0 {
            held.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_goes_with_its_last_holder() {
        let pins = Arc::<Pins>::default();
        let mut one = Held::new(pins.clone());
        one.chunks([[1; 32], [1; 32], [2; 32]].into_iter());
        one.packs([7].into_iter());
        let mut two = Held::new(pins.clone());
        two.chunks([[1; 32]].into_iter());
        drop(one);
        assert!(pins.lock().has_chunk(&[1; 32]) && !pins.lock().has_chunk(&[2; 32]));
        assert!(!pins.lock().has_pack(7));
        drop(two);
        assert!(!pins.lock().has_chunk(&[1; 32]));
    }
}
