//! Changes to the bytes of a component, all of them made by a seed.

/// SplitMix64: small, and the same on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `most`, which is not zero.
    pub(super) fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).unwrap()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Bytes that counts, lengths and indices turn over at.
const EDGES: [u8; 8] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];

/// One to four changes of `file`; `other` is what parts are taken from.
pub(super) fn mutated(random: &mut Random, file: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = file.to_vec();
    // Most of the time bytes of code or data alone: the frame stays valid, and the component runs.
    let (gentle, times) = (random.below(4) > 0, 1 + random.below(4));
    for _ in 0..times {
        let kind = if gentle { random.below(3) } else { random.below(10) };
        match kind {
            0 => constant(random, &mut out),
            1 => text(random, &mut out),
            2 | 3 => {
                if let Some(at) = place(random, &out) {
                    out[at] ^= 1 << random.below(8);
                }
            }
            4 => {
                if let Some(at) = place(random, &out) {
                    out[at] = EDGES[random.below(EDGES.len())];
                }
            }
            5 => out.truncate(random.below(out.len() + 1)),
            6 => {
                let (from, len) = span(random, out.len());
                out.drain(from..from + len);
            }
            7 => {
                let (from, len) = span(random, out.len());
                let part = out[from..from + len].to_vec();
                let at = random.below(out.len() + 1);
                out.splice(at..at, part);
            }
            8 => out = swapped(random, &out),
            _ => {
                // The head of one and the tail of another, at the ends of sections where there are any.
                let (a, b) = (sections(&out), sections(other));
                if !a.is_empty() && !b.is_empty() {
                    let (a, b) = (a[random.below(a.len())].0, b[random.below(b.len())].0);
                    out = [&out[..a], &other[b..]].concat();
                }
            }
        }
    }
    out
}

fn place(random: &mut Random, file: &[u8]) -> Option<usize> {
    (!file.is_empty()).then(|| random.below(file.len()))
}

fn span(random: &mut Random, len: usize) -> (usize, usize) {
    let from = random.below(len + 1);
    (from, random.below((len - from).min(64) + 1))
}

/// Changes what stands behind an `i32.const`, within the bytes that it has.
fn constant(random: &mut Random, file: &mut [u8]) {
    let at: Vec<usize> = (0..file.len().saturating_sub(1)).filter(|i| file[*i] == 0x41).collect();
    let Some(i) = (!at.is_empty()).then(|| at[random.below(at.len())]) else { return };
    // The bit that says whether another byte follows stays.
    for byte in file[i + 1..].iter_mut().take(5) {
        let more = *byte & 0x80;
        *byte = (random.next().to_le_bytes()[0] & 0x7f) | more;
        if more == 0 {
            return;
        }
    }
}

/// Changes a letter or a zero: names, texts and data rather than structure.
fn text(random: &mut Random, file: &mut [u8]) {
    let at: Vec<usize> =
        (8..file.len()).filter(|i| file[*i].is_ascii_alphabetic() || file[*i] == 0).collect();
    let Some(i) = (!at.is_empty()).then(|| at[random.below(at.len())]) else { return };
    file[i] = match file[i] {
        0 => EDGES[random.below(EDGES.len())],
        letter => letter ^ 0x20,
    };
}

/// Where the top-level sections begin and end.
fn sections(file: &[u8]) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    let mut at = 8;
    while at < file.len() {
        let (mut len, mut i, mut shift) = (0_usize, at + 1, 0);
        loop {
            let Some(byte) = file.get(i) else { return out };
            len |= usize::from(byte & 0x7f) << shift;
            (i, shift) = (i + 1, shift + 7);
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 28 {
                return out;
            }
        }
        let end = i.saturating_add(len);
        if end > file.len() {
            return out;
        }
        out.push((at, end));
        at = end;
    }
    out
}

/// Two sections in each other's place.
fn swapped(random: &mut Random, file: &[u8]) -> Vec<u8> {
    let all = sections(file);
    if all.len() < 2 {
        return file.to_vec();
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    let (a, b) = (random.below(all.len()), random.below(all.len()));
    order.swap(a, b);
    let mut out = file[..8].to_vec();
    for i in order {
        out.extend_from_slice(&file[all[i].0..all[i].1]);
    }
    out
}
