//! Chunks and log records that nobody wrote: changed with their checksum mended, so that what is behind it is reached.

use crate::series::embedded::chunk::{self, Wanted};
use crate::series::embedded::run::{Lane, Run};
use crate::series::embedded::{body, bytes, record, statistics};
use crate::series::{FieldType, Values};
use crate::testing::fuzz::{mutated, run};
use crate::testing::random::Random;

/// By field number: two of each.
const TYPES: [FieldType; 10] = [
    FieldType::Float,
    FieldType::Integer,
    FieldType::Unsigned,
    FieldType::Boolean,
    FieldType::String,
    FieldType::Float,
    FieldType::Integer,
    FieldType::Unsigned,
    FieldType::Boolean,
    FieldType::String,
];
const ROWS_MAX: usize = 400;
const DAY_NS: i64 = 86_400_000_000_000;
/// Kind and version of the envelope, which its checksum does not cover.
const HEAD_BYTES: usize = 2;

fn float(random: &mut Random) -> f64 {
    match random.below(4) {
        0 => Some(f64::from_bits(random.next())).filter(|v| v.is_finite()).unwrap_or(-0.0),
        1 => -0.0,
        _ => random.between(-100_000, 100_000) as f64 / 100.0,
    }
}

/// Half of the lanes hold numbers that can be narrowed.
fn values(random: &mut Random, of: FieldType, n: usize) -> Values {
    let words = random.coin();
    let (steps, bits) = (10_f64.powi(random.between(0, 10) as i32), random.below(40) as u32);
    let near = |random: &mut Random| random.next() & ((1 << bits) - 1);
    match of {
        FieldType::Float if words => {
            Values::Float((0..n).map(|_| (near(random) as f64 - 77.0) / steps).collect())
        }
        FieldType::Integer | FieldType::Decimal(_) if words => {
            Values::Integer((0..n).map(|_| near(random).cast_signed() - 77).collect())
        }
        FieldType::Unsigned if words => Values::Unsigned((0..n).map(|_| near(random)).collect()),
        FieldType::Float => Values::Float((0..n).map(|_| float(random)).collect()),
        FieldType::Integer | FieldType::Decimal(_) => {
            Values::Integer((0..n).map(|_| random.next().cast_signed() >> random.below(64)).collect())
        }
        FieldType::Unsigned => Values::Unsigned((0..n).map(|_| random.next() >> random.below(64)).collect()),
        FieldType::Boolean => Values::Boolean((0..n).map(|_| random.coin()).collect()),
        FieldType::String => Values::String(
            (0..n)
                .map(|i| match random.below(if words { 2 } else { 4 }) {
                    0 => "buy".into(),
                    1 => String::new(),
                    _ => format!("é{i}"),
                })
                .collect(),
        ),
    }
}

fn a_run(random: &mut Random) -> Run {
    let n = 1 + random.below(ROWS_MAX);
    // Some have several days, and enough rows in each to be summed up by them.
    let step = if random.one_in(8) { DAY_NS / 150 } else { 1 << random.below(40) };
    let even = random.coin();
    let mut time = random.next().cast_signed() >> (2 + random.below(30));
    let times = (0..n)
        .map(|_| {
            time += if !even && random.one_in(5) { random.between(1, step) } else { step };
            time
        })
        .collect();
    let mut lanes = Vec::new();
    for (field, of) in (0..).zip(TYPES) {
        if random.coin() || lanes.is_empty() && field == 9 {
            let valid = random.coin().then(|| (0..n).map(|_| !random.one_in(4)).collect());
            lanes.push(Lane { field, values: values(random, of, n), valid });
        }
    }
    Run::from_rows(times, lanes)
}

/// Changed bytes, most of the time with the checksum of what they are now.
fn forged(random: &mut Random, sound: &[u8], other: &[u8]) -> Vec<u8> {
    let (head, body) = sound.split_at(HEAD_BYTES);
    let body = mutated(random, body, other);
    let out = [head, &body].concat();
    if random.one_in(6) { out } else { bytes::close(out) }
}

fn bits(run: &Run) -> Vec<String> {
    let values = |l: &Lane| match &l.values {
        Values::Float(v) => format!("{:?}", v.iter().map(|x| x.to_bits()).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    };
    run.lanes.iter().map(|l| format!("{} {:?} {}", l.field, l.valid, values(l))).collect()
}

/// Whatever it is, it is a run: times ascend, every lane is as long.
fn well_formed(run: &Run, rows_max: usize) {
    assert!(run.len() <= rows_max, "{} rows", run.len());
    assert!(run.times.is_sorted_by(|a, b| a < b));
    assert!(run.lanes.is_sorted_by(|a, b| a.field < b.field));
    for lane in &run.lanes {
        assert_eq!(lane.values.len(), run.len());
        assert!(lane.valid.as_ref().is_none_or(|v| v.len() == run.len()));
    }
}

#[test]
fn chunk() {
    run("chunk", |random| {
        let (run, other) = (a_run(random), a_run(random));
        if run.is_empty() || other.is_empty() {
            return false;
        }
        let sealed = chunk::seal(1, 7, 7, &run).unwrap();
        let back = chunk::decode(&sealed.body, &sealed.chunk, &TYPES, Wanted::ALL).unwrap();
        assert_eq!((&back.times, bits(&back)), (&run.times, bits(&run)));
        let of_other = chunk::seal(1, 8, 8, &other).unwrap();
        let body = forged(random, &sealed.body, &of_other.body);
        let body = if random.one_in(6) { body } else { body::mend(body) };
        let stats = forged(random, &sealed.stats, &of_other.stats);
        if let Ok(stats) = statistics::decode(&stats, None) {
            assert!(statistics::decode(&statistics::encode(&stats).unwrap(), None).is_ok());
        }
        let fields = random.some(&[0_u32, 1, 4, 9, 77]);
        let before = *random.pick(&run.times).unwrap();
        let wanted = if random.coin() { Wanted::ALL } else { Wanted { fields: Some(&fields), before } };
        let Ok(read) = chunk::decode(&body, &sealed.chunk, &TYPES, wanted) else { return false };
        well_formed(&read, run.len());
        true
    });
}

#[test]
fn record() {
    run("record", |random| {
        let (one, two) = (a_run(random), a_run(random));
        let sound = record::encode([(1, &one), (2, &two)].into_iter()).unwrap();
        let back = record::decode(&sound).unwrap();
        assert_eq!((bits(&back[0].run), bits(&back[1].run)), (bits(&one), bits(&two)));
        assert_eq!((&back[0].run.times, &back[1].run.times), (&one.times, &two.times));
        let other = record::encode([(9, &two)].into_iter()).unwrap();
        let Ok(sections) = record::decode(&forged(random, &sound, &other)) else { return false };
        // Every row has at least a bit in the record.
        sections.iter().for_each(|s| well_formed(&s.run, 8 * (sound.len() + other.len())));
        true
    });
}
