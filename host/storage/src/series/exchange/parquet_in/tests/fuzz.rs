//! Whole files, a few bytes of them changed: they are read, or refused, and nothing else.

use super::*;
use crate::testing::fuzz::{mutated, run};

/// Mebibytes of memory that no case takes beside what the process has: the bounds of pages, cells and pieces together.
const GROWTH_MIB_MAX: u64 = 768;

fn bases() -> Vec<Vec<u8>> {
    let count = 600_i64;
    let columns = || {
        let words = ["a", "bb", "ccc"];
        [
            ("time", utc(TimeUnit::NANOS), Of::I64((0..count).map(Some).collect())),
            (
                "tag:k",
                Some(LogicalType::String),
                Of::Text((0..count).map(|i| words.get(i as usize % 4).copied()).collect()),
            ),
            ("i", None, Of::I64((0..count).map(|i| (i % 7 != 0).then_some(i * i)).collect())),
            ("f", None, Of::F64((0..count).map(|i| (i % 5 != 0).then_some(i as f64 / 3.0)).collect())),
            ("b", None, Of::Bool((0..count).map(|i| Some(i % 3 == 0)).collect())),
            (
                "s",
                Some(LogicalType::String),
                Of::Text((0..count).map(|i| words.get(i as usize % 3).copied()).collect()),
            ),
        ]
    };
    let mut out = Vec::new();
    for version in VERSIONS {
        for dictionary in [true, false] {
            for compression in [Compression::UNCOMPRESSED, Compression::ZSTD(Default::default())] {
                out.push(written(&columns(), |p| {
                    p.set_writer_version(version)
                        .set_dictionary_enabled(dictionary)
                        .set_compression(compression)
                        .set_data_page_row_count_limit(200)
                        .set_write_batch_size(100)
                        .set_offset_index_disabled(true)
                        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
                        .set_column_encoding("tag:k".into(), Encoding::PLAIN)
                        .set_column_encoding("i".into(), Encoding::DELTA_BINARY_PACKED)
                        .set_column_encoding("f".into(), Encoding::BYTE_STREAM_SPLIT)
                        .set_column_encoding("s".into(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
                }));
            }
        }
    }
    out
}

/// The most memory that the process has had, in mebibytes.
fn peak_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) >> 10
}

#[test]
fn parquet() {
    let bases = bases();
    let (_dir, s) = store("");
    for base in &bases {
        assert_eq!(import(&s, base, &of_m()).unwrap().rows, 600);
    }
    let before = peak_mib();
    run("parquet", |random| {
        let (base, other) = (random.below(bases.len()), random.below(bases.len()));
        let (Some(base), Some(other)) = (bases.get(base), bases.get(other)) else { return false };
        let file = if random.one_in(4) {
            // Only the footer.
            let from = base.len()
                - 8
                - u32::from_le_bytes(base[base.len() - 8..base.len() - 4].try_into().unwrap()) as usize;
            let footer = mutated(random, &base[from..base.len() - 8], other);
            let length = (footer.len() as u32).to_le_bytes();
            [&base[..from], &footer, &length, b"PAR1"].concat()
        } else {
            mutated(random, base, other)
        };
        match import(&s, &file, &of_m()) {
            Ok(_) => true,
            Err(e) => {
                let kinds = [Kind::Invalid, Kind::Limit, Kind::Conflict];
                assert!(kinds.contains(&e.kind()), "{e:?}");
                false
            }
        }
    });
    let grown = peak_mib().saturating_sub(before);
    assert!(grown < GROWTH_MIB_MAX, "{grown} MiB");
}
