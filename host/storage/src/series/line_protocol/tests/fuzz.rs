//! Bodies that nobody would send.

use super::{NOW, decimals, line_of, stored};
use crate::series::line_protocol::{Mapping, Precision, parse_typed, read_body};
use crate::series::{SeriesKey, Value};
use crate::testing::fuzz::{mutated, run};
use crate::testing::random::Random;
use std::collections::BTreeMap;

const NAMES: [&str; 12] =
    ["m", "bar", "tick", "book", "symbol", "timeframe", "a b", "é,=", "x\"y", "price", "bid_price_1", "time"];
const TEXTS: [&str; 8] = ["", "x", "1m", "a\nb", "\\", "\"", "é 🦀", "t"];

fn value(random: &mut Random) -> Value {
    match random.below(6) {
        0 => Value::Float(random.between(-100_000, 100_000) as f64 / 100.0),
        1 => Value::Float(Some(f64::from_bits(random.next())).filter(|v| v.is_finite()).unwrap_or(-0.0)),
        2 => Value::Integer(random.next().cast_signed()),
        3 => Value::Unsigned(random.next()),
        4 => Value::Boolean(random.coin()),
        _ => Value::String((*random.pick(&TEXTS).unwrap()).into()),
    }
}

fn body(random: &mut Random) -> String {
    let mut out = String::new();
    for _ in 0..1 + random.below(6) {
        let name = |random: &mut Random| (*random.pick(&NAMES[..11]).unwrap()).to_string();
        let tags: BTreeMap<String, String> = (0..random.below(4))
            .map(|_| (name(random), (*random.pick(&["A", "1m", "v w", "é"]).unwrap()).into()))
            .collect();
        let key = SeriesKey::new("b", name(random), tags.into_iter().collect()).unwrap();
        let fields = (0..1 + random.below(5)).map(|_| (name(random), value(random))).collect();
        let time = if random.coin() {
            random.between(-20, 20)
        } else {
            random.next().cast_signed() >> random.below(8)
        };
        out += &line_of(&(key, fields, time));
        out += *random.pick(&["\n", "\n", "\n", "\r\n", "\n\n", "\n# comment\n"]).unwrap();
    }
    out
}

#[test]
fn lines() {
    run("lines", |random| {
        let whole = body(random);
        let other = body(random);
        let bytes = match random.below(8) {
            0 => {
                let count = random.below(60);
                random.bytes(count)
            }
            1..4 => whole.into_bytes(),
            _ => mutated(random, whole.as_bytes(), other.as_bytes()),
        };
        let precision = *random.pick(&[Precision::Ns, Precision::Us, Precision::Ms, Precision::S]).unwrap();
        let shown = String::from_utf8_lossy(&bytes);
        let scales = decimals();
        let exact = Mapping { scales: Some(&scales), ..Mapping::typed(u64::MAX) };
        let read = |quick| read_body("b", &bytes, precision, NOW, &exact, quick);
        match (read(true), read(false)) {
            (Ok(a), Ok(b)) => assert_eq!(stored(&a), stored(&b), "{shown:?}"),
            (a, b) => assert_eq!(a.is_err(), b.is_err(), "{shown:?}"),
        }
        let mapping = Mapping::typed(u64::MAX);
        let quick = read_body("b", &bytes, precision, NOW, &mapping, true);
        let slow = read_body("b", &bytes, precision, NOW, &mapping, false);
        match (&quick, &slow) {
            (Ok(a), Ok(b)) => assert_eq!(stored(a), stored(b), "{shown:?}"),
            (Err(a), Err(b)) => assert_eq!((a.kind(), a.message()), (b.kind(), b.message()), "{shown:?}"),
            (a, b) => panic!("{shown:?}: {a:?} but slowly {b:?}"),
        }
        // No more rows than lines, and a bound on them holds.
        let lines = bytes.iter().filter(|b| **b == b'\n').count() + 1;
        let Ok(batch) = quick else { return false };
        assert!(batch.rows() <= lines, "{} rows of {lines} lines: {shown:?}", batch.rows());
        if batch.rows() > 1 {
            let few = parse_typed("b", &bytes, precision, NOW, batch.rows() as u64 - 1);
            assert_eq!(few.unwrap_err().kind(), crate::Kind::Limit);
        }
        written_again_is_read_the_same(&batch);
        batch.rows() > 0
    });
}

/// Where line protocol has a way to say it: a backslash before what is escaped has none.
fn written_again_is_read_the_same(batch: &crate::series::WriteBatch) {
    let mut out = String::new();
    let plain = |text: &str| {
        !text.contains('\\') && !text.starts_with('#') && !text.contains(['\n', '\r', '\t', '\0'])
    };
    for (key, frame) in &batch.series {
        let names = frame.columns.iter().map(|c| c.name.as_str()).chain([key.measurement.as_str()]);
        let tags = key.tags.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()]);
        if !names.chain(tags).all(plain) {
            return;
        }
        for (row, time) in frame.times.iter().enumerate() {
            let fields: BTreeMap<String, Value> =
                frame.columns.iter().filter_map(|c| Some((c.name.clone(), c.get(row)?))).collect();
            out += &line_of(&(key.clone(), fields, *time));
            out.push('\n');
        }
    }
    let again = super::super::parse("b", out.as_bytes(), Precision::Ns, NOW)
        .unwrap_or_else(|e| panic!("{out:?}: {e}"));
    assert_eq!(stored(&again), stored(batch), "{out:?}");
}
