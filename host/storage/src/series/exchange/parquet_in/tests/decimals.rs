//! Decimals of a file into decimals of the manifest, to the last digit.

use super::*;
use crate::series::exchange::{Export, Format};
use crate::series::line_protocol::Precision;
use crate::series::{Decimal, Selector};

const OP: Caller = Caller::Operator;
/// `v` of `m` and of `n` has eight digits after its point.
const DECLARED: &str = "[[series.decimals]]\nmeasurement = \"m\"\nfields = [\"v\"]\nscale = 8\n[[series.decimals]]\nmeasurement = \"n\"\nfields = [\"v\"]\nscale = 8\n";

fn units(units: i64) -> Option<Value> {
    Some(Value::Decimal(Decimal { units, scale: 8 }))
}

/// The bytes of a whole number, the greatest first.
fn bytes(number: i128, width: usize) -> Option<Vec<u8>> {
    let wide = number.to_be_bytes();
    let filler = if number < 0 { 0xff } else { 0 };
    let mut out = vec![filler; width.saturating_sub(wide.len())];
    out.extend_from_slice(&wide[wide.len().saturating_sub(width)..]);
    Some(out)
}

fn of(scale: i32, precision: i32, values: Of) -> Vec<u8> {
    let count = match &values {
        Of::I32(v) => v.len(),
        Of::I64(v) => v.len(),
        Of::Fixed(_, v) => v.len(),
        _ => panic!("no decimals"),
    };
    let times = (1..=count as i64).map(Some).collect();
    let v = ("v", Some(LogicalType::Decimal { scale, precision }), values);
    written(&[("time", utc(TimeUnit::NANOS), Of::I64(times)), v], |p| p)
}

#[test]
fn every_form_is_taken_as_it_is() {
    let last = i128::from(i64::MAX);
    for (what, file, want) in [
        (
            "INT32",
            of(2, 9, Of::I32(vec![Some(-18_970), None, Some(5)])),
            vec![(1, units(-18_970_000_000)), (3, units(5_000_000))],
        ),
        // More than a float holds.
        (
            "INT64",
            of(8, 18, Of::I64(vec![Some(123_456_789_012_345_678), Some(-1)])),
            vec![(1, units(123_456_789_012_345_678)), (2, units(-1))],
        ),
        (
            "nine bytes",
            of(8, 19, Of::Fixed(9, vec![bytes(last, 9), bytes(-last - 1, 9)])),
            vec![(1, units(i64::MAX)), (2, units(i64::MIN))],
        ),
        // Digits that say nothing do not count.
        (
            "sixteen bytes",
            of(12, 38, Of::Fixed(16, vec![bytes(last * 10_000, 16), bytes(-1_230_000, 16)])),
            vec![(1, units(i64::MAX)), (2, units(-123))],
        ),
        ("no digits", of(0, 9, Of::I32(vec![Some(7)])), vec![(1, units(700_000_000))]),
        ("wide", of(10, 50, Of::Fixed(24, vec![bytes(-12_300, 24)])), vec![(1, units(-123))]),
    ] {
        let (_dir, s) = store(DECLARED);
        // Once more changes nothing: it is of the type that is there.
        for _ in 0..2 {
            let done = import(&s, &file, &of_m()).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!((done.written, done.dropped), (want.len() as u64, 0), "{what}");
            assert_eq!(field(&s, "v"), want, "{what}");
        }
    }
}

#[test]
fn what_is_no_decimal_of_the_scale_refuses_the_file_and_names_the_row() {
    let good = Some(100_000_000_000);
    for (file, words) in [
        (
            of(9, 18, Of::I64(vec![good, Some(1_234_567_891)])),
            ["row 2", "`v`", "1.234567891", "more digits after the point than decimal(8)"],
        ),
        (
            of(2, 18, Of::I64(vec![good, Some(9_223_372_036_855)])),
            ["row 2", "`v`", "92233720368.55", "beyond decimal(8)"],
        ),
        (
            of(0, 38, Of::Fixed(16, vec![bytes(1, 16), bytes(i128::from(i64::MAX), 16)])),
            ["row 2", "`v`", "9223372036854775807", "beyond decimal(8)"],
        ),
        (
            of(0, 50, Of::Fixed(24, vec![Some(vec![1; 24])])),
            ["row 1", "`v`", "more than 38 digits", "column"],
        ),
    ] {
        let (_dir, s) = store(DECLARED);
        let e = import(&s, &file, &of_m()).unwrap_err();
        assert_eq!(e.kind(), Kind::Invalid);
        for word in words {
            assert!(e.message().contains(word), "{word}: {e}");
        }
        assert!(e.hint_text().is_some(), "{e}");
        assert_eq!(field(&s, "v"), [], "nothing is written of a file that is wrong anywhere");
    }
}

/// A file of several measurements, of which one has no decimals.
#[test]
fn an_export_comes_back_to_the_last_digit() {
    let (_dir, s) = store(DECLARED);
    let lines = "m,s=A v=92233720368.54775807,w=1.5 1\nm,s=A v=-0.00000001 2\nn v=0.1 1\no v=0.3 1";
    let said = s.write_lines(&OP, "market", lines.as_bytes(), Precision::Ns).unwrap();
    assert_eq!((said.written, said.dropped), (4, 0));
    let export = |measurement: &str| {
        let mut out = Vec::new();
        let asked = Export { measurement: measurement.into(), ..Export::default() };
        s.export(&OP, &asked, Format::Parquet, &Budget::default(), &mut out).unwrap();
        out
    };
    let both = [export("m"), export("n"), export("o")];
    let want = field(&s, "v");
    assert_eq!(want.len(), 4);
    for gone in [false, true] {
        if gone {
            s.delete(&OP, &Selector::default(), TimeRange::ALL).unwrap();
        }
        for file in &both {
            let done = import(&s, file, &Import::default()).unwrap();
            assert_eq!(done.dropped, 0, "{done:?}");
        }
        assert_eq!(field(&s, "v"), want, "{gone}");
    }
}

/// Which of its measurements have decimals is known when the rows come: the others have the floats that are the same numbers.
#[test]
fn a_file_of_several_measurements_is_taken_by_each() {
    let measurement = Of::Text(vec![Some("m"), Some("other"), Some("n")]);
    let file = |values: Vec<Option<i64>>, last: &'static str| {
        let names = match &measurement {
            Of::Text(v) => Of::Text(vec![v[0], v[1], Some(last)]),
            _ => panic!("no texts"),
        };
        written(
            &[
                ("time", utc(TimeUnit::NANOS), Of::I64(vec![Some(1), Some(2), Some(3)])),
                ("measurement", Some(LogicalType::String), names),
                ("v", Some(LogicalType::Decimal { scale: 8, precision: 18 }), Of::I64(values)),
            ],
            |p| p,
        )
    };
    let (_dir, s) = store(DECLARED);
    let exact = Some(123_456_789_012_345_678);
    import(&s, &file(vec![exact, Some(150_000_000), exact], "n"), &Import::default()).unwrap();
    let number = units(123_456_789_012_345_678);
    assert_eq!(field(&s, "v"), [(1, number.clone()), (3, number), (2, Some(Value::Float(1.5)))]);
    let e = import(&s, &file(vec![exact, Some(1), exact], "other"), &Import::default()).unwrap_err();
    assert!(e.message().contains("row 3") && e.message().contains("no float holds"), "{e}");
}
