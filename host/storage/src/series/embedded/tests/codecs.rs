use crate::series::embedded::chunk::{self, Wanted};
use crate::series::embedded::run::{Lane, Run, merge_all};
use crate::series::embedded::{body, bytes, record, statistics};
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
        statistics::encode(&statistics::decode(&sealed.stats, None).unwrap()).unwrap(),
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
    assert!(sealed.body.len() < 30_000, "{} bytes", sealed.body.len());
}

/// What a batch costs before it is acknowledged.
#[test]
fn a_record_is_short_where_numbers_are_near_each_other() {
    let bytes = |times: Vec<i64>, lanes: Vec<Values>| {
        let lanes = (0..).zip(lanes).map(|(field, values)| lane(field, values)).collect();
        let run = Run { times, lanes };
        assert!(same(&run, &through_log(&run)));
        record::encode([(7_i64, &run)].into_iter()).unwrap().len()
    };
    let envelope = bytes::ENVELOPE_BYTES + 4;
    let section = 8 + 4 + 4 + 1;
    let head = 4 + 1 + 1;
    let minutes = |n: i64| (0..n).map(|i| i * 60_000_000_000).collect::<Vec<i64>>();
    let prices = |n: i64, span: i64| (0..n).map(|i| (9_000 + i * 7 % (span + 1)) as f64 / 100.0).collect();
    // Times of one step, prices of two bytes, of one, of four.
    for (span, width) in [(255, 1), (256, 2), (65_535, 2), (65_536, 4)] {
        let mut values: Vec<f64> = prices(1_000, span);
        values[1] = (9_000 + span) as f64 / 100.0;
        let got = bytes(minutes(1_000), vec![Values::Float(values)]);
        assert_eq!(got, envelope + section + 16 + head + 10 + 1_000 * width, "{span}");
    }
    // Times of many steps, of steps that are too long, and too few of them.
    let some = || vec![Values::Unsigned(vec![u64::MAX; 5])];
    assert_eq!(bytes(vec![-7, -6, 0, 1, 4_294_967_296], some()), envelope + section + 8 + 16 + head + 15);
    assert_eq!(bytes(vec![-7, -6, 0, 1, 4_294_967_297], some()), envelope + section + 40 + head + 15);
    let two = vec![Values::Integer(vec![5, 6])];
    assert_eq!(bytes(vec![0, 1], two), envelope + section + 16 + head + 12);
    // Narrowing must pay; and only what is there is written.
    let one = vec![Values::Integer(vec![5])];
    assert_eq!(bytes(vec![0], one), envelope + section + 8 + head + 8);
    let gaps = Lane {
        field: 0,
        values: Values::Float((0..80).map(|i| if i % 4 == 0 { f64::from(i) } else { 0.0 }).collect()),
        valid: Some((0..80).map(|i| i % 4 == 0).collect()),
    };
    let run = Run { times: (0..80).collect(), lanes: vec![gaps] };
    assert!(same(&run, &through_log(&run)));
    let got = record::encode([(7_i64, &run)].into_iter()).unwrap().len();
    assert_eq!(got, envelope + section + 16 + head + 10 + 10 + 20);
}

/// With a checksum that is right.
fn forged(run: &Run, change: impl Fn(&mut Vec<u8>)) -> crate::Result<Vec<record::Section>> {
    let mut bytes = record::encode([(7_i64, run)].into_iter()).unwrap();
    change(&mut bytes);
    record::decode(&bytes::close(bytes))
}

#[test]
fn forged_records_are_refused_in_words() {
    let run = Run {
        times: (0..40).collect(),
        lanes: vec![lane(0, Values::Integer((0..40).collect())), lane(3, Values::Boolean(vec![true; 40]))],
    };
    assert!(forged(&run, |_| {}).is_ok());
    let rows = bytes::ENVELOPE_BYTES + 4 + 8;
    let (times, first_lane) = (rows + 8, rows + 8 + 1 + 16);
    let base = first_lane + 6;
    let boolean = base + 10 + 40 + 5;
    type Change = Box<dyn Fn(&mut Vec<u8>)>;
    let set = |at: usize, to: Vec<u8>| -> Change {
        Box::new(move |bytes: &mut Vec<u8>| bytes[at..at + to.len()].copy_from_slice(&to))
    };
    for (change, word) in [
        (set(1, vec![3]), "version 3, this binary reads up to 2"),
        (set(1, vec![0]), "version 0"),
        (set(rows, vec![255; 4]), "too many rows"),
        (set(rows, 33_554_432_u32.to_le_bytes().to_vec()), "more rows than values"),
        (set(rows, 33_554_433_u32.to_le_bytes().to_vec()), "too many rows"),
        (set(times, vec![3]), "unknown form 3"),
        (set(times + 1, i64::MAX.to_le_bytes().to_vec()), "out of their range"),
        (set(times + 9, vec![0; 8]), "do not ascend"),
        (set(times + 9, vec![255; 8]), "do not ascend"),
        (set(first_lane + 5, vec![4]), "unknown form 4"),
        (set(base, vec![11]), "exponent 11"),
        (set(base + 1, vec![3]), "offsets of 3 bytes"),
        (set(boolean, vec![2]), "column of booleans has the unknown form 2"),
    ] {
        let e = forged(&run, change).unwrap_err();
        assert!(e.kind() == crate::Kind::Corrupt && e.message().contains(word), "{word}: {e}");
    }
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
    // Numbers that can be narrowed, and such that cannot.
    let prices = (-300_i64..70_000).prop_map(|c| c as f64 / 100.0);
    match of {
        FieldType::Float => prop_oneof![prop::collection::vec(float, n), prop::collection::vec(prices, n)]
            .prop_map(Values::Float)
            .boxed(),
        FieldType::Integer | FieldType::Decimal(_) => prop_oneof![
            prop::collection::vec(any::<i64>(), n),
            prop::collection::vec(i64::MIN..i64::MIN + 200, n)
        ]
        .prop_map(Values::Integer)
        .boxed(),
        FieldType::Unsigned => prop_oneof![
            prop::collection::vec(any::<u64>(), n),
            prop::collection::vec(u64::MAX - 100_000..u64::MAX, n)
        ]
        .prop_map(Values::Unsigned)
        .boxed(),
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
        let mut damaged = forge(&sealed.body, at.index(sealed.body.len()), bit, false);
        if mend {
            damaged = body::mend(damaged);
        }
        let read = chunk::decode(&damaged, &sealed.chunk, &TYPES, Wanted::ALL);
        // With a checksum that was mended too, it may be read as something else; it must only not panic.
        prop_assert!(read.is_err() || mend);
        let log = record::encode([(1_i64, &run)].into_iter()).unwrap();
        let read = record::decode(&forge(&log, at.index(log.len()), bit, mend));
        prop_assert!(read.is_err() || mend);
        let read = statistics::decode(&forge(&sealed.stats, at.index(sealed.stats.len()), bit, mend), None);
        prop_assert!(read.is_err() || mend);
    }
}

fn forge(bytes: &[u8], at: usize, bit: u8, mend: bool) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at] ^= 1 << bit;
    if mend { crate::series::embedded::bytes::close(out) } else { out }
}

/// Notes what is read of a body.
struct Noting<'a>(&'a [u8], std::cell::RefCell<Vec<std::ops::Range<usize>>>);

impl body::Stored for Noting<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn read(&self, at: usize, len: usize) -> crate::Result<Vec<u8>> {
        self.1.borrow_mut().push(at..at + len);
        body::Stored::read(&self.0, at, len)
    }
}

#[test]
fn only_columns_that_are_asked_for_are_read_and_checked() {
    const ROWS: usize = 5_000;
    let mut random = crate::testing::random::Random::new(5);
    let mut noise = || Values::Unsigned((0..ROWS).map(|_| random.next()).collect());
    let lanes: Vec<Lane> = (0..8).map(|field| lane(field, noise())).collect();
    let run = Run { times: (0..ROWS as i64).collect(), lanes };
    let sealed = chunk::seal(1, 1, 1, &run).unwrap();
    let column = ROWS * 8 + 6;
    let types = [FieldType::Unsigned; 8];
    let read = |stored: &[u8], fields: &[u32]| {
        let noting = Noting(stored, std::cell::RefCell::default());
        let loaded = body::load(&noting, &sealed.chunk, Wanted { fields: Some(fields), before: i64::MAX });
        (loaded.map(|_| ()), noting.1.into_inner())
    };
    let columns_at = sealed.body.len() - 8 * column;
    let place = |n: usize| columns_at + n * column..columns_at + (n + 1) * column;
    // The times are so short that they are read with the head.
    assert!(columns_at < 4_096);
    let reads = |fields: &[u32]| read(&sealed.body, fields).1.split_off(1);
    assert!(reads(&[]).is_empty());
    assert_eq!(reads(&[7]), [place(7)]);
    assert_eq!(reads(&[2, 3, 6]), [place(2).start..place(3).end, place(6)]);
    assert_eq!(read(&sealed.body, &[0]).1.len(), 2, "what stands behind them comes with them");
    // What is not asked for hurts nobody; what is, is told.
    let mut hurt = sealed.body.clone();
    hurt[place(3).start + 77] ^= 1;
    let decode = |fields: &[u32]| {
        chunk::decode(&hurt, &sealed.chunk, &types, Wanted { fields: Some(fields), before: i64::MAX })
    };
    assert_eq!(decode(&[2, 4]).unwrap(), run.slice(0, ROWS, Some(&[2, 4])));
    for fields in [&[3][..], &[2, 3, 4]] {
        let e = decode(fields).unwrap_err();
        assert!(e.kind() == crate::Kind::Corrupt && e.message().contains("checksum of a column"), "{e}");
    }
    // Nothing may follow, nothing may be missing.
    for len in [0, 1, 17, 18, 40, columns_at, sealed.body.len() - 1] {
        assert_eq!(
            read(&sealed.body[..len], &[0]).0.unwrap_err().kind(),
            crate::Kind::Corrupt,
            "{len} bytes"
        );
    }
    let longer = [sealed.body.as_slice(), &[0]].concat();
    assert!(read(&longer, &[0]).0.unwrap_err().message().contains("follow after its end"));
    let mut newer = sealed.body.clone();
    newer[1] = 4;
    assert!(read(&newer, &[0]).0.unwrap_err().message().contains("version 4, this binary reads up to 3"));
}

/// Long heads are read whole.
#[test]
fn a_chunk_of_a_thousand_fields_comes_back() {
    let lanes: Vec<Lane> = (0..1_000).map(|field| lane(field, Values::Integer(vec![7, 8, 9]))).collect();
    let run = Run { times: vec![1, 2, 3], lanes };
    let sealed = chunk::seal(1, 1, 1, &run).unwrap();
    let types = vec![FieldType::Integer; 1_000];
    assert_eq!(chunk::decode(&sealed.body, &sealed.chunk, &types, Wanted::ALL).unwrap(), run);
    let some = Wanted { fields: Some(&[3, 999]), before: 3 };
    let part = chunk::decode(&sealed.body, &sealed.chunk, &types, some).unwrap();
    assert_eq!(part, run.slice(0, 2, Some(&[3, 999])));
}
