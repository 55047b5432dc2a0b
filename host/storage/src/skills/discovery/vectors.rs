//! The vectors of every skill, a signed byte per dimension, and how near each is to a question.
//!
//! Every vector is compared: an approximate index would forget some. They lie in blocks of slots, dimension after dimension,
//! so that a question costs only the dimensions that it uses, and those are added up in long runs.

/// Slots of a block.
const BLOCK: usize = 1_024;
/// Cosines below this say nothing.
const COSINE_MIN: f32 = 0.2;

#[derive(Debug, Default)]
pub(super) struct Vectors {
    dimensions: usize,
    /// Each `dimensions × BLOCK` values.
    blocks: Vec<Box<[i8]>>,
    /// By slot; 0 without a vector.
    norms: Vec<f32>,
}

impl Vectors {
    /// Replaces the vector of a slot; an empty one is none.
    pub(super) fn set(&mut self, slot: u32, vector: &[i8]) {
        let slot = slot as usize;
        // The database keeps one revision to one number of dimensions; what somebody else put there is left out.
        let fits = self.dimensions == 0 || vector.len() == self.dimensions;
        let vector = if fits { vector } else { &[] };
        if self.norms.len() <= slot && !vector.is_empty() {
            self.norms.resize(slot + 1, 0.0);
        }
        let Some(held) = self.norms.get_mut(slot) else { return };
        *held = norm(vector);
        if vector.is_empty() {
            return;
        }
        self.dimensions = vector.len();
        let (block, at) = (slot / BLOCK, slot % BLOCK);
        while self.blocks.len() <= block {
            self.blocks.push(vec![0; self.dimensions * BLOCK].into());
        }
        let values = self.blocks.get_mut(block).map(|b| b.chunks_exact_mut(BLOCK)).into_iter().flatten();
        for (column, value) in values.zip(vector) {
            if let Some(there) = column.get_mut(at) {
                *there = *value;
            }
        }
    }

    /// Lifts what each skill has to its cosine, if its direction is near that of `vector`.
    pub(super) fn score(&self, vector: &[i8], cosines: &mut [f32]) {
        if vector.len() != self.dimensions || vector.is_empty() {
            return;
        }
        let own = norm(vector);
        let used: Vec<(usize, i16)> =
            vector.iter().enumerate().filter(|(_, v)| **v != 0).map(|(d, v)| (d, i16::from(*v))).collect();
        let mut sums = [0_i32; BLOCK];
        let blocks = self.blocks.iter().zip(self.norms.chunks(BLOCK)).zip(cosines.chunks_mut(BLOCK));
        for ((block, norms), cosines) in blocks {
            let column = |d: usize| block.get(d * BLOCK..(d + 1) * BLOCK).unwrap_or_default();
            sums.fill(0);
            let (twos, last) = used.as_chunks::<2>();
            for [(a, by_a), (b, by_b)] in twos {
                add(&mut sums, [column(*a), column(*b)], [*by_a, *by_b]);
            }
            for (a, by) in last {
                add(&mut sums, [column(*a); 2], [*by, 0]);
            }
            for ((sum, norm), cosine) in sums.iter().zip(norms).zip(cosines) {
                let one = near(*sum, own, *norm);
                *cosine = if one > *cosine { one } else { *cosine };
            }
        }
    }

    /// The cosine of one skill, if it is near.
    pub(super) fn cosine(&self, slot: u32, vector: &[i8]) -> Option<f32> {
        let (block, at) = (slot as usize / BLOCK, slot as usize % BLOCK);
        let norm_there = *self.norms.get(slot as usize)?;
        let values = self.blocks.get(block)?.chunks_exact(BLOCK).filter_map(|column| column.get(at));
        let sum = values.zip(vector).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        let cosine = near(sum, norm(vector), norm_there);
        (cosine > 0.0 && vector.len() == self.dimensions).then_some(cosine)
    }
}

/// Two dimensions at once. Two products of signed bytes, of which `by` is never -128, fit in sixteen bits, so that twice as many
/// slots are multiplied in one step as with thirty-two; all 256 stay below 2²³. So nothing wraps, and no check keeps the
/// additions apart.
fn add(sums: &mut [i32; BLOCK], [a, b]: [&[i8]; 2], [by_a, by_b]: [i16; 2]) {
    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
        let two = i16::from(*a).wrapping_mul(by_a).wrapping_add(i16::from(*b).wrapping_mul(by_b));
        *sum = sum.wrapping_add(i32::from(two));
    }
}

/// The cosine, or 0 if it says nothing. A vector that is not there has the norm 0, and no sum with it means anything.
fn near(sum: i32, own: f32, norm: f32) -> f32 {
    let cosine = sum as f32 / (own * norm).max(1.0);
    if cosine >= COSINE_MIN && norm > 0.0 { cosine.min(1.0) } else { 0.0 }
}

fn norm(v: &[i8]) -> f32 {
    let squares: i32 = v.iter().map(|x| i32::from(*x).pow(2)).sum();
    (squares as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(v: &Vectors, question: &[i8]) -> Vec<(u32, f32)> {
        let mut cosines = vec![0.0; v.norms.len()];
        v.score(question, &mut cosines);
        let near = (0..).zip(cosines).filter(|(_, cosine)| *cosine > 0.0).collect::<Vec<_>>();
        assert!(near.iter().all(|(slot, cosine)| v.cosine(*slot, question) == Some(*cosine)));
        near
    }

    #[test]
    fn the_near_are_found_and_the_far_are_not() {
        let mut v = Vectors::default();
        for (slot, vector) in [
            (0, &[127, 0, 0][..]),
            (1, &[0, 127, 0]),
            (2, &[90, 90, 0]),
            (3, &[-127, 0, 0]),
            (4, &[127, 127]),
        ] {
            v.set(slot, vector);
        }
        let near = found(&v, &[100, 10, 0]);
        assert_eq!(near.iter().map(|n| n.0).collect::<Vec<_>>(), [0, 2]);
        assert!(near[0].1 > 0.99 && near[1].1 < 0.9, "{near:?}");
        assert!(found(&v, &[1, 1]).is_empty(), "another space");
        assert!(found(&v, &[0, 0, 0]).is_empty(), "no direction");
    }

    #[test]
    fn vectors_come_and_go_over_the_border_of_a_block() {
        let (mut v, last) = (Vectors::default(), u32::try_from(BLOCK).unwrap() + 1);
        for slot in 0..=last {
            v.set(slot, if slot % 2 == 0 { &[1, 9] } else { &[9, 1] });
        }
        v.set(1, &[]);
        v.set(last, &[-9, 1]);
        v.set(last - 1, &[-1, 9]);
        let near = found(&v, &[-1, 9]);
        assert_eq!(near.len(), BLOCK / 2 + 2, "every even one, and the two that changed");
        assert!(near.iter().all(|(slot, _)| slot % 2 == 0 || *slot == last));
        assert!((near.iter().find(|n| n.0 == last - 1).unwrap().1 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_greatest_vectors_do_not_overflow() {
        let mut v = Vectors::default();
        v.set(0, &[-127; 256]);
        v.set(1, &[127; 256]);
        // No indexer's vector has it; somebody may have put it into the database.
        v.set(2, &[-128; 256]);
        let near = found(&v, &[127; 256]);
        assert!(near.len() == 1 && (near[0].1 - 1.0).abs() < 1e-6, "{near:?}");
        let near = found(&v, &[-127; 256]);
        assert_eq!(near.iter().map(|n| n.0).collect::<Vec<_>>(), [0, 2]);
        assert!(near.iter().all(|n| (n.1 - 1.0).abs() < 1e-6), "{near:?}");
    }

    #[test]
    fn an_odd_number_of_dimensions_is_summed_up_whole() {
        let mut v = Vectors::default();
        v.set(0, &[3, -4, 12]);
        for (question, want) in [([3, -4, 12], 1.0), ([0, 0, 7], 12.0 / 13.0), ([0, -9, 0], 4.0 / 13.0)] {
            let near = found(&v, &question);
            assert!(near.len() == 1 && (near[0].1 - want).abs() < 1e-6, "{question:?}: {near:?}");
        }
    }
}
