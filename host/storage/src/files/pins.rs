//! What must not go while somebody is at it: chunks that a put found there and will name, objects and packs that a reader reads. And
//! what must not be said of an object that came anew while it was looked at.

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
    /// By their hashes in hexadecimal.
    objects: HashMap<String, u32>,
}

impl Pinned {
    pub(super) fn has_chunk(&self, hash: &ChunkHash) -> bool {
        self.chunks.contains_key(hash)
    }
    pub(super) fn has_pack(&self, pack: i64) -> bool {
        self.packs.contains_key(&pack)
    }
    pub(super) fn has_object(&self, hash: &str) -> bool {
        self.objects.contains_key(hash)
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
    objects: Vec<String>,
}

impl Held {
    pub(super) fn new(pins: Arc<Pins>) -> Self {
        Self { pins, chunks: Vec::new(), packs: Vec::new(), objects: Vec::new() }
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

    /// Of an object that is in chunks: neither it goes, nor what it is made of.
    pub(super) fn object(&mut self, hash: &str) {
        *self.pins.lock().objects.entry(hash.into()).or_default() += 1;
        self.objects.push(hash.into());
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
        for hash in &self.objects {
            release(&mut pinned.objects, hash);
        }
    }
}

/// Objects that somebody looks at.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<Vec<Watched>>);

#[derive(Debug)]
struct Watched {
    number: u64,
    hash: String,
    /// A file came into its place since.
    anew: bool,
}

/// One look.
pub(super) struct Watch<'a> {
    of: &'a Watches,
    number: u64,
}

impl Watches {
    pub(super) fn begin(&self, hash: &str) -> Watch<'_> {
        let mut all = lock(&self.0);
        // The last one has the largest number.
        let number = all.last().map_or(0, |w| w.number + 1);
        all.push(Watched { number, hash: hash.into(), anew: false });
        Watch { of: self, number }
    }

    /// A file came into the place of an object, or perhaps did.
    pub(super) fn placed(&self, hash: &str) {
        lock(&self.0).iter_mut().filter(|w| w.hash == hash).for_each(|w| w.anew = true);
    }
}

impl Watch<'_> {
    /// Whether what was seen may be of another file than is there now. Who asks holds `placing`, as who places does.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.of.0).iter().any(|w| w.number == self.number && w.anew)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        lock(&self.of.0).retain(|w| w.number != self.number);
    }
}

fn release<K: Hash + Eq + Clone>(of: &mut HashMap<K, u32>, key: &K) {
    if let Entry::Occupied(mut held) = of.entry(key.clone()) {
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
        two.object("aa");
        assert!(pins.lock().has_object("aa") && !pins.lock().has_object("ab"));
        drop(two);
        assert!(!pins.lock().has_chunk(&[1; 32]) && !pins.lock().has_object("aa"));
    }

    #[test]
    fn a_watch_is_over_when_its_object_comes_anew() {
        let watches = Watches::default();
        let (one, other) = (watches.begin("aa"), watches.begin("bb"));
        watches.placed("aa");
        assert!(one.is_over() && !other.is_over());
        assert!(!watches.begin("aa").is_over());
        drop((one, other));
        assert!(lock(&watches.0).is_empty());
    }
}
