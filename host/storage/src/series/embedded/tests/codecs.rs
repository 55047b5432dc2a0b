use crate::series::embedded::chunk::{self, Wanted};
use crate::series::embedded::run::{Lane, Run, merge_all};
use crate::series::embedded::{record, statistics};
use crate::series::{FieldType, Values};
use proptest::prelude::*;

const TYPES: [FieldType; 5] =
    [FieldType::Float, FieldType::Integer, FieldType::Unsigned, FieldType::Boolean, FieldType::String];

fn lane(field: u32, values: Values) -> Lane {
    Lane { field, values, valid: None }
}

/// Equal to the last bit: `==` takes -0.0 for 0.0.
fn same(a: &Run, b: &Run) -> bool {
    let bits = |r: &Run| -> Vec<Vec<u64>> {
        r.lanes
            .iter()
            .map(|l| match &l.values {
                Values::Float(v) => v.iter().map(|x| x.to_bits()).collect(),
                _ => Vec::new(),
            })
            .collect()
    };
    a == b && bits(a) == bits(b)
}

fn through_chunk(run: &Run) -> Run {
    let sealed = chunk::seal(1, 17, 17, run).unwrap();
    assert_eq!(sealed.stats, statistics::encode(&statistics::of_run(run)).unwrap());
    assert_eq!(
        statistics::encode(&statistics::decode(&sealed.stats).unwrap()).unwrap(),
        sealed.stats,
        "statistics read back as they were written"
    );
    chunk::decode(&sealed.body, &sealed.chunk, &TYPES, Wanted::ALL).unwrap()
}

fn through_log(run: &Run) -> Run {
    let bytes = record::encode([(7_i64, run)].into_iter()).unwrap();
    let mut sections = record::decode(&bytes).unwrap();
    assert_eq!(sections.len(), 1);
    assert_eq!(sections[0].series, 7);
    sections.remove(0).run
}

fn check(run: &Run) {
    assert!(same(run, &through_chunk(run)), "chunk of {} rows", run.len());
    assert!(same(run, &through_log(run)), "record of {} rows", run.len());
}

#[test]
fn extremes_keep_every_bit() {
    let floats = vec![-0.0, 0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2, 1e300, -1e-300];
    let n = floats.len();
    let cycle = |v: &[i64]| v.iter().copied().cycle().take(n).collect::<Vec<_>>();
    check(&Run {
        times: vec![crate::series::model::TIME_MIN_NS, -1, 0, 1, 2, 3, 1 << 40, i64::MAX - 2, i64::MAX - 1],
        lanes: vec![
            lane(0, Values::Float(floats)),
            lane(1, Values::Integer(cycle(&[i64::MIN, i64::MAX, 0, -1]))),
            lane(2, Values::Unsigned(cycle(&[0, -1, 1]).into_iter().map(i64::cast_unsigned).collect())),
            lane(3, Values::Boolean((0..n).map(|i| i % 3 == 0).collect())),
            lane(
                4,
                Values::String(
                    ["", "ü", "ß🚢", "a\0b", "\"\n"].iter().cycle().take(n).map(|s| (*s).into()).collect(),
                ),
            ),
        ],
    });
}

#[test]
fn one_row_and_one_more_than_a_frame() {
    for n in [1_i64, 2, 255, 256, 257, 65_537] {
        let run = Run {
            times: (0..n).map(|i| i * 60_000_000_000).collect(),
            lanes: vec![
                lane(0, Values::Float((0..n).map(|i| (10_000 + i % 97) as f64 / 100.0).collect())),
                lane(
                    4,
                    Values::String(
                        (0..n).map(|i| if i % 2 == 0 { "buy".into() } else { "sell".into() }).collect(),
                    ),
                ),
            ],
        };
        check(&run);
    }
}

#[test]
fn prices_in_cents_are_short() {
    let n = 50_000_i64;
    let mut price = 10_000_i64;
    let closes: Vec<f64> = (0..n)
        .map(|i| {
            price += (i * 7919) % 13 - 6;
            price as f64 / 100.0
        })
        .collect();
    let run = Run {
        times: (0..n).map(|i| i * 60_000_000_000).collect(),
        lanes: vec![lane(0, Values::Float(closes))],
    };
    let sealed = chunk::seal(1, 1, 1, &run).unwrap();
    assert!(sealed.body.len() < 60_000, "{} bytes", sealed.body.len());
}

#[test]
fn a_part_of_a_chunk_is_decoded() {
    let run = Run {
        times: (0..1000).collect(),
        lanes: vec![
            lane(0, Values::Float((0..1000).map(f64::from).collect())),
            Lane {
                field: 1,
                values: Values::Integer((0..1000).map(|i| if i % 3 == 0 { i } else { 0 }).collect()),
                valid: Some((0..1000).map(|i| i % 3 == 0).collect()),
            },
            lane(4, Values::String((0..1000).map(|i| format!("s{i}")).collect())),
        ],
    };
    let sealed = chunk::seal(1, 1, 1, &run).unwrap();
    for before in [0, 1, 300, 301, 999, 1000, 5000] {
        let wanted = Wanted { fields: Some(&[1, 4]), before };
        let part = chunk::decode(&sealed.body, &sealed.chunk, &TYPES, wanted).unwrap();
        assert_eq!(part, run.slice(0, usize::try_from(before.min(1000)).unwrap(), Some(&[1, 4])), "{before}");
    }
}

fn values(of: FieldType, n: usize) -> BoxedStrategy<Values> {
    let float = prop_oneof![
        (-1_000_000_i64..1_000_000).prop_map(|c| c as f64 / 100.0),
        any::<f64>().prop_filter("finite", |v| v.is_finite()),
        Just(-0.0)
    ];
    match of {
        FieldType::Float => prop::collection::vec(float, n).prop_map(Values::Float).boxed(),
        FieldType::Integer | FieldType::Decimal(_) => {
            prop::collection::vec(any::<i64>(), n).prop_map(Values::Integer).boxed()
        }
        FieldType::Unsigned => prop::collection::vec(any::<u64>(), n).prop_map(Values::Unsigned).boxed(),
        FieldType::Boolean => prop::collection::vec(any::<bool>(), n).prop_map(Values::Boolean).boxed(),
        FieldType::String => prop::collection::vec(".{0,6}", n).prop_map(Values::String).boxed(),
    }
}

fn a_lane(field: u32, n: usize) -> impl Strategy<Value = Lane> {
    let valid = prop::option::of(prop::collection::vec(any::<bool>(), n));
    (values(TYPES[field as usize], n), valid).prop_map(move |(values, valid)| Lane { field, values, valid })
}

/// Rows in any order, with gaps; then brought into a run.
fn a_run() -> impl Strategy<Value = Run> {
    (1_usize..300).prop_flat_map(|n| {
        let times = prop_oneof![prop::collection::vec(0_i64..200, n), prop::collection::vec(any::<i64>(), n)];
        let lanes = (0..5_u32).map(|f| a_lane(f, n)).collect::<Vec<_>>();
        let lanes = lanes.prop_flat_map(|all| prop::sample::subsequence(all, 1..=5));
        (times, lanes).prop_map(|(times, lanes)| {
            let mut run = Run::from_rows(times, lanes);
            blank(&mut run);
            run
        })
    })
}

/// A chunk does not keep what stands where no value is.
fn blank(run: &mut Run) {
    for lane in &mut run.lanes {
        let Some(valid) = &lane.valid else { continue };
        for (row, ok) in valid.iter().enumerate().filter(|(_, ok)| !**ok) {
            let _ = ok;
            match &mut lane.values {
                Values::Float(v) => v[row] = 0.0,
                Values::Integer(v) | Values::Decimal(v, _) => v[row] = 0,
                Values::Unsigned(v) => v[row] = 0,
                Values::Boolean(v) => v[row] = false,
                Values::String(v) => v[row].clear(),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_run_comes_back(run in a_run()) {
        if !run.is_empty() {
            check(&run);
        }
    }

    #[test]
    fn merging_in_steps_is_merging_at_once(runs in prop::collection::vec(a_run(), 1..6)) {
        let mut one_by_one = Run::default();
        for run in runs.clone() {
            one_by_one = crate::series::embedded::run::merge(one_by_one, run);
        }
        let mut at_once = merge_all(runs);
        for r in [&mut one_by_one, &mut at_once] {
            r.tidy();
            blank(r);
        }
        prop_assert!(same(&one_by_one, &at_once));
    }

    #[test]
    fn forged_bytes_are_refused_and_never_panic(run in a_run(), at in any::<prop::sample::Index>(), bit in 0_u8..8, mend in any::<bool>()) {
        prop_assume!(!run.is_empty());
        let sealed = chunk::seal(1, 1, 1, &run).unwrap();
        let damaged = forge(&sealed.body, at.index(sealed.body.len()), bit, mend);
        let read = chunk::decode(&damaged, &sealed.chunk, &TYPES, Wanted::ALL);
        // With a checksum that was mended too, it may be read as something else; it must only not panic.
        prop_assert!(read.is_err() || mend);
        let log = record::encode([(1_i64, &run)].into_iter()).unwrap();
        let read = record::decode(&forge(&log, at.index(log.len()), bit, mend));
        prop_assert!(read.is_err() || mend);
        let read = statistics::decode(&forge(&sealed.stats, at.index(sealed.stats.len()), bit, mend));
        prop_assert!(read.is_err() || mend);
    }
}

fn forge(bytes: &[u8], at: usize, bit: u8, mend: bool) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at] ^= 1 << bit;
    if mend { crate::series::embedded::bytes::close(out) } else { out }
}
