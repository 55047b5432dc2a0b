use super::*;
use crate::series::Values;
use crate::series::embedded::bytes;
use crate::series::embedded::statistics::{decode, encode, fields_of, of_run as statistics_of};
use crate::series::model::{TIME_MAX_NS, TIME_MIN_NS};
use proptest::prelude::*;

const MINUTE_NS: i64 = 60_000_000_000;

fn floats(times: Vec<i64>) -> Run {
    let values = Values::Float(times.iter().map(|t| (t / MINUTE_NS % 7_919) as f64 / 100.0).collect());
    Run { times, lanes: vec![Lane { field: 3, values, valid: None }] }
}

/// Rows a minute apart, from a minute on.
fn minutes(from: i64, rows: i64) -> Run {
    floats((from..from + rows).map(|n| n * MINUTE_NS).collect())
}

fn numbers_of(run: &Run) -> Option<Vec<(i64, u32)>> {
    of_run(run).map(|days| days.days().iter().map(|d| (d.day, d.rows)).collect())
}

#[test]
fn a_chunk_has_days_where_there_are_several_of_enough_rows() {
    assert_eq!(numbers_of(&minutes(0, 1_440)), None, "one day");
    assert_eq!(numbers_of(&minutes(1_440 - 200, 400)), Some(vec![(0, 200), (1, 200)]));
    let bound = 2 * DAY_ROWS_MIN as i64;
    assert_eq!(
        numbers_of(&minutes(1_440 - 10, bound)),
        Some(vec![(0, 10), (1, 2 * DAY_ROWS_MIN as u32 - 10)])
    );
    assert_eq!(numbers_of(&minutes(1_440 - 10, bound - 1)), None, "fewer a day on the average");
    // The first and the last count as one.
    let sparse = |rows: i64| floats((0..rows).map(|n| n * DAY_NS / 100 + DAY_NS / 2).collect());
    let few = |days: i64| floats((0..256).map(|n| n * (days - 1) * DAY_NS / 256 + DAY_NS / 2).collect());
    assert_eq!(numbers_of(&few(3)).map(|days| days.len()), Some(3));
    assert_eq!(numbers_of(&few(4)), None);
    assert_eq!(numbers_of(&sparse(1_000)), None);
    // A weekend between, and days before 1970.
    let mut times: Vec<i64> = (-300..0).map(|n| n * MINUTE_NS).collect();
    times.extend((0..300).map(|n| 2 * DAY_NS + n * MINUTE_NS));
    assert_eq!(numbers_of(&floats(times)), Some(vec![(-1, 300), (2, 300)]));
    assert_eq!(numbers_of(&Run::default()), None);
    // Of strings the rows tell.
    let mut texts = minutes(1_440 - 200, 400);
    texts.lanes[0].values = Values::String(vec!["x".into(); 400]);
    assert_eq!(numbers_of(&texts), None);
}

#[test]
fn a_day_has_its_first_and_last_time_within_the_chunk_also_at_the_ends_of_time() {
    assert_eq!(span_of(0, (-5, i64::MAX)), (0, DAY_NS - 1));
    assert_eq!(span_of(0, (7, 9)), (7, 9));
    assert_eq!(span_of(-1, (i64::MIN, i64::MAX)), (-DAY_NS, -1));
    for ends in [(TIME_MIN_NS, TIME_MAX_NS), (i64::MIN, i64::MAX - 1)] {
        assert_eq!(span_of(day_of(ends.0), ends).0, ends.0);
        assert_eq!(span_of(day_of(ends.1), ends).1, ends.1);
    }
    for time in [i64::MIN, -DAY_NS - 1, -DAY_NS, -1, 0, 1, DAY_NS - 1, DAY_NS, i64::MAX - 1] {
        let (first, last) = span_of(day_of(time), (i64::MIN, i64::MAX));
        assert!(first <= time && time <= last, "{time}");
    }
    // Numbers of days that nobody wrote.
    assert_eq!(span_of(i64::MAX, (3, 4)).1, 4);
    assert_eq!(span_of(i64::MIN, (3, 4)).0, 3);
}

#[test]
fn days_of_prices_are_short() {
    let stored = |run: &Run| encode(&statistics_of(run)).unwrap().len();
    let (short, long) = (minutes(0, 1_440), minutes(0, 35 * 1_440));
    assert_eq!(of_run(&long).unwrap().days().len(), 35);
    // Day, rows and count in one byte each, four prices in two, a sum in eight.
    let heads = 4 * 12 + 4 + 4 + 1 + 4 + 1;
    assert!(stored(&long) - stored(&short) <= 35 * (1 + 2 + 1 + 4 * 2 + 8) + heads);
}

fn a_lane(field: u32, n: usize) -> impl Strategy<Value = Lane> {
    let valid = prop::option::of(prop_oneof![
        prop::collection::vec(any::<bool>(), n),
        // Whole days have none.
        (0..n).prop_map(move |from| (0..n).map(|row| row >= from).collect())
    ]);
    let near = (-300_i64..70_000, any::<u64>());
    let any = any::<(i64, u64)>();
    let words = prop_oneof![prop::collection::vec(near, n), prop::collection::vec(any, n)];
    (words, valid).prop_map(move |(words, valid)| {
        let values = match field {
            0 => Values::Float(words.iter().map(|(a, _)| *a as f64 / 100.0).collect()),
            1 => Values::Float(words.iter().map(|(_, b)| f64::from_bits(b >> 2)).collect()),
            2 => Values::Integer(words.iter().map(|(a, _)| *a).collect()),
            3 => Values::Unsigned(words.iter().map(|(_, b)| *b).collect()),
            4 => Values::Boolean(words.iter().map(|(a, _)| a % 2 == 0).collect()),
            _ => Values::String(words.iter().map(|(a, _)| a.to_string()).collect()),
        };
        Lane { field, values, valid }
    })
}

fn a_run() -> impl Strategy<Value = Run> {
    (300_usize..500, -3_000_i64..3_000, 1_i64..12).prop_flat_map(|(n, from, step)| {
        let times: Vec<i64> = (0..n as i64).map(|i| (from + i * step) * MINUTE_NS).collect();
        let lanes: Vec<_> = (0..6).map(|field| a_lane(field, n)).collect();
        lanes.prop_map(move |lanes| Run::from_rows(times.clone(), lanes))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// They are what the rows of each day come to, also after they were stored.
    #[test]
    fn days_tell_what_their_rows_do(run in a_run(), wanted in prop::sample::subsequence(vec![0_u32, 1, 2, 3], 0..=4)) {
        let Some(days) = of_run(&run) else { return Ok(()) };
        let stored = encode(&statistics_of(&run)).unwrap();
        let back = decode(&stored, None).unwrap().days.unwrap();
        prop_assert_eq!(format!("{:?}", &back), format!("{:?}", &days), "zeros have signs");
        let some = decode(&stored, Some(&wanted)).unwrap().days.unwrap();
        let mut from = 0;
        for (at, day) in days.days().iter().enumerate() {
            let to = from + day.rows as usize;
            let rows = run.slice(from, to, None);
            prop_assert!(rows.times.iter().all(|t| day_of(*t) == day.day));
            let known = |t: &Totals| is_number(t.first.field_type());
            let told: Vec<Totals> = fields_of(&rows).into_iter().map(|s| s.totals).filter(known).collect();
            prop_assert_eq!(format!("{:?}", days.totals(at)), format!("{:?}", &told));
            let told: Vec<Totals> = told.into_iter().filter(|t| wanted.contains(&t.field)).collect();
            prop_assert_eq!(format!("{:?}", some.totals(at)), format!("{:?}", told));
            from = to;
        }
        prop_assert_eq!(from, run.len());
    }

    #[test]
    fn forged_days_never_panic(run in a_run(), at in any::<prop::sample::Index>(), bit in 0_u8..8, mend in any::<bool>()) {
        let Some(days) = of_run(&run) else { return Ok(()) };
        let stored = encode(&statistics_of(&run)).unwrap();
        let mut own = Vec::new();
        put(&mut own, Some(&days)).unwrap();
        let mut forged = stored.clone();
        forged[stored.len() - own.len() + at.index(own.len())] ^= 1 << bit;
        let read = decode(&if mend { bytes::close(forged) } else { forged }, None);
        prop_assert!(read.is_err() || mend);
        if let Ok(statistics) = read {
            prop_assert!(decode(&encode(&statistics).unwrap(), None).is_ok());
        }
    }
}

/// With the checksum mended.
fn forged(at: usize, to: &[u8]) -> crate::Error {
    let run = minutes(1_440 - 200, 400);
    let mut own = Vec::new();
    put(&mut own, of_run(&run).as_ref()).unwrap();
    own[at..at + to.len()].copy_from_slice(to);
    let mut input = Input::of(&own);
    get(&mut input, None).and_then(|_| input.end()).unwrap_err()
}

#[test]
fn forged_days_are_refused_in_words() {
    // Two days, narrowed: form, exponent, width, the least in eight bytes, an offset each. Then their rows, and one field.
    let (days, rows, fields) = (4, 4 + 13, 4 + 13 + 13);
    let counts = fields + 4 + 4 + 1 + 4;
    for (at, to, word) in [
        (0, &[255_u8; 4][..], "ends too early"),
        (days, &[1], "unknown form 1"),
        (days + 11, &[1], "do not ascend"),
        (rows + 3, &[0], "no number of rows"),
        (rows + 3 + 4, &[1], "no number of rows"),
        (fields, &[0], "follow after its end"),
        (fields, &[2], "ends too early"),
        (fields + 8, &[4], "no numbers"),
        (counts + 3, &[201], "more values than rows"),
        (counts + 3, &[0], "follow after its end"),
    ] {
        let e = forged(at, to);
        assert!(e.kind() == crate::Kind::Corrupt && e.message().contains(word), "{at} {to:?}: {e}");
    }
}
