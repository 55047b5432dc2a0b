//! File stores: large files beside a plain copy that hashes, many small ones, versions that share most of their content.

use crate::machine::median;
use crate::{Run, Table};
use shiphold_storage::files::{BATCH_FILES_MAX, BatchFile, PutOptions};
use shiphold_storage::{Caller, DataLayer, Manifest};
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;
use std::time::Instant;

const OP: Caller = Caller::Operator;
const STEP_BYTES: usize = 256 << 10;
/// Times that the large file is copied and got.
const GETS: usize = 5;
/// Who store small files one by one at once.
const WRITERS: usize = 8;

/// Bytes that cannot be compressed: xorshift of a seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

fn mib_per_s(bytes: usize, begin: Instant) -> f64 {
    bytes as f64 / f64::from(1 << 20) / begin.elapsed().as_secs_f64()
}

/// Gives all that is read to `f`, step by step; how many bytes.
fn each_step(from: &mut dyn Read, mut f: impl FnMut(&[u8])) -> usize {
    let mut step = vec![0; STEP_BYTES];
    let mut all = 0;
    loop {
        let n = from.read(&mut step).unwrap();
        if n == 0 {
            return all;
        }
        f(&step[..n]);
        all += n;
    }
}

/// Reads, hashes, writes and syncs, as `cp` with a checksum would.
fn plain_copy(from: &Path, to: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut to = fresh(to);
    each_step(&mut File::open(from).unwrap(), |part| {
        hasher.update(part);
        to.write_all(part).unwrap();
    });
    to.sync_all().unwrap();
    hasher.finalize().to_hex().to_string()
}

/// A new file: to write over an old one is another work.
fn fresh(path: &Path) -> File {
    let _ = std::fs::remove_file(path);
    File::create(path).unwrap()
}

/// Writes and syncs what is given; what is given is hashed already.
fn copy_out(from: &mut dyn Read, to: &Path) -> usize {
    let mut to = fresh(to);
    let all = each_step(from, |part| to.write_all(part).unwrap());
    to.sync_all().unwrap();
    all
}

/// Reads and hashes.
fn plain_read(from: &mut dyn Read) -> usize {
    let mut hasher = blake3::Hasher::new();
    let all = each_step(from, |part| {
        hasher.update(part);
    });
    std::hint::black_box(hasher.finalize());
    all
}

pub fn run(run: &Run, table: &mut Table) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("shiphold.toml");
    std::fs::write(
        &manifest,
        "[host]\nname = \"bench\"\ndata = \"data\"\n[files.models]\nkind = \"models\"\nquota_files = 1_000_000\n",
    )
    .unwrap();
    let layer = DataLayer::open(&Manifest::load(&manifest).unwrap()).unwrap();
    let put = |path: &str, content: &mut dyn Read| {
        layer.files().put(&OP, "models", path, content, PutOptions::default()).unwrap()
    };
    large(run, table, dir.path(), &layer);

    let bytes = run.size(100 << 20, 8 << 20);
    let mut model = noise(7, bytes);
    let before = layer.files().stats("models").unwrap().stored;
    put("versions/model", &mut model.as_slice());
    let one = layer.files().stats("models").unwrap().stored - before;
    for version in 1..10_u64 {
        // One part in a hundred, in ten places.
        for place in 0..10_u64 {
            let len = bytes / 1000;
            let at = (noise(version * 100 + place, 8).iter().fold(0_u64, |n, b| n << 8 | u64::from(*b))
                % (bytes - len) as u64) as usize;
            model[at..at + len].copy_from_slice(&noise(version * 1000 + place, len));
        }
        put("versions/model", &mut model.as_slice());
    }
    let all = layer.files().stats("models").unwrap().stored - before;
    table.cost(
        "ten versions, 1 % changed in 10 places",
        "times one version",
        all as f64 / one as f64,
        Some(("whole copies", 10.0)),
        "1.3",
    );
    small(run, table, dir.path(), &layer);
}

fn large(run: &Run, table: &mut Table, dir: &Path, layer: &DataLayer) {
    let bytes = run.size(1 << 30, 64 << 20);
    let (source, copy) = (dir.join("source"), dir.join("copy"));
    {
        let mut file = File::create(&source).unwrap();
        for piece in 0..bytes / (16 << 20) {
            file.write_all(&noise(piece as u64 + 1, 16 << 20)).unwrap();
        }
        file.sync_all().unwrap();
    }
    table.note(format!(
        "The large file has {} MiB that cannot be compressed; whoever writes it syncs it once.",
        bytes >> 20
    ));
    let begin = Instant::now();
    let hash = plain_copy(&source, &copy);
    let theirs = mib_per_s(bytes, begin);
    let begin = Instant::now();
    let mut file = File::open(&source).unwrap();
    let stored = layer.files().put(&OP, "models", "large", &mut file, PutOptions::default()).unwrap();
    let ours = mib_per_s(bytes, begin);
    assert_eq!(stored.blake3.as_deref(), Some(hash.as_str()));
    table.rate("put", "MiB/s", ours, Some(("copy with hashing", theirs)), "0.5×");
    // The disk is busy with what was written before, more or less: in turn, and the median of each.
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..GETS {
        let begin = Instant::now();
        assert_eq!(plain_copy(&source, &copy), hash);
        theirs.push(mib_per_s(bytes, begin));
        let begin = Instant::now();
        let (_, mut content) = layer.files().get(&OP, "models", "large", None, None).unwrap();
        assert_eq!(copy_out(&mut content, &dir.join("got")), bytes);
        ours.push(mib_per_s(bytes, begin));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    table.rate("get to a file", "MiB/s", ours, Some(("copy with hashing", theirs)), "0.5×");
    let begin = Instant::now();
    assert_eq!(plain_read(&mut File::open(&copy).unwrap()), bytes);
    let theirs = mib_per_s(bytes, begin);
    let begin = Instant::now();
    let (_, mut content) = layer.files().get(&OP, "models", "large", None, None).unwrap();
    assert_eq!(each_step(&mut content, |_| ()), bytes);
    table.rate("get to memory", "MiB/s", mib_per_s(bytes, begin), Some(("read with hashing", theirs)), "");
    let begin = Instant::now();
    let rounds = 1_000;
    for i in 0..rounds {
        let at = (i as u64 * 7_919_003) % (bytes as u64 - 4096);
        let (_, mut content) = layer.files().get(&OP, "models", "large", None, Some(at..at + 4096)).unwrap();
        assert_eq!(plain_read(&mut content), 4096);
    }
    table.cost("range of 4 KiB", "ms", begin.elapsed().as_secs_f64() * 1e3 / f64::from(rounds), None, "");
    let begin = Instant::now();
    layer
        .files()
        .put(&OP, "models", "again", &mut File::open(&source).unwrap(), PutOptions::default())
        .unwrap();
    table.rate("put of what is there already", "MiB/s", mib_per_s(bytes, begin), None, "");
    std::fs::remove_file(copy).unwrap();
}

fn small(run: &Run, table: &mut Table, dir: &Path, layer: &DataLayer) {
    const BYTES: usize = 10 << 10;
    let files = run.size(10_000, 500);
    let folder = dir.join("small");
    std::fs::create_dir(&folder).unwrap();
    let contents: Vec<Vec<u8>> = (0..files).map(|i| noise(1_000_000 + i as u64, BYTES)).collect();
    let begin = Instant::now();
    for (i, content) in contents.iter().enumerate() {
        let mut file = File::create(folder.join(i.to_string())).unwrap();
        file.write_all(content).unwrap();
        file.sync_all().unwrap();
    }
    let theirs = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    for (n, batch) in contents.chunks(BATCH_FILES_MAX).enumerate() {
        let files = batch.iter().enumerate().map(|(i, content)| BatchFile {
            path: format!("batch/{n}/{i}"),
            content: content.clone(),
            ..BatchFile::default()
        });
        layer.files().put_many(&OP, "models", files.collect()).unwrap();
    }
    let of = format!("{files} objects of 10 KiB, in batches");
    let target = if run.quick { "" } else { "3" };
    table.cost(&of, "s", begin.elapsed().as_secs_f64(), Some(("files, each synced", theirs)), target);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for w in 0..WRITERS {
            let contents = &contents;
            scope.spawn(move || {
                for (i, content) in contents.iter().enumerate().skip(w).step_by(WRITERS) {
                    let content: Vec<u8> = content.iter().rev().copied().collect();
                    let path = format!("single/{i}");
                    layer
                        .files()
                        .put(&OP, "models", &path, &mut content.as_slice(), PutOptions::default())
                        .unwrap();
                }
            });
        }
    });
    let of = format!("{files} objects of 10 KiB, one by one from {WRITERS} writers");
    table.cost(&of, "s", begin.elapsed().as_secs_f64(), Some(("files, each synced", theirs)), "");
}
