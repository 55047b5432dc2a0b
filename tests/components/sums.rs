//! Not hostile: it adds up points, so that what the boundary costs can be measured. `given` gets them through `transform`;
//! `read` reads them itself, `units` as the units of a decimal.

wit_bindgen::generate!({ world: "query-builder-plugin", path: "../../wit" });

use exports::shiphold::host::query_builder::{Frame, Guest, NamedQuery};
use shiphold::host::series::{self, SeriesKey, TimeRange};
use shiphold::host::types::{Column, Error, Values};
use std::cell::Cell;

thread_local! {
    static SUM: Cell<(f64, i64)> = const { Cell::new((0.0, 0)) };
}

/// Rows of one step of a read: the most that the host gives.
const ROWS_MAX: u32 = 65_536;

struct Sums;

impl Guest for Sums {
    fn describe() -> Result<Vec<NamedQuery>, Error> {
        let named = |name: &str| NamedQuery {
            name: name.into(),
            description: "the sum of `price` and the number of rows".into(),
            params: Vec::new(),
            transforms: true,
        };
        Ok(vec![named("given"), named("read"), named("units")])
    }

    fn build(_name: String, _params: String) -> Result<String, Error> {
        SUM.set((0.0, 0));
        Ok(r#"{"bucket":"market","measurement":"tick.SUM","fields":["price"]}"#.into())
    }

    fn transform(name: String, _params: String, batch: Frame, last: bool) -> Result<Frame, Error> {
        if name == "given" {
            add(&batch);
        } else if last {
            let key = SeriesKey { bucket: "market".into(), measurement: "tick.SUM".into(), tags: Vec::new() };
            let whole = TimeRange { start: 0, end: i64::MAX - 2 };
            // Of a decimal of three digits.
            let field = if name == "units" { "price@3" } else { "price" };
            let scan = series::open_scan(&key, whole, &[field.to_string()])?;
            while let Some(frame) = scan.next(ROWS_MAX)? {
                add(&frame);
            }
        }
        if !last {
            return Ok(Frame { times: Vec::new(), columns: Vec::new() });
        }
        let (sum, rows) = SUM.get();
        let column = |name: &str, values| Column { name: name.into(), values, valid: Vec::new() };
        Ok(Frame {
            times: vec![0],
            columns: vec![
                column("sum", Values::Floats(vec![sum])),
                column("rows", Values::Integers(vec![rows])),
            ],
        })
    }
}

fn add(frame: &Frame) {
    let (mut sum, rows) = SUM.get();
    for column in &frame.columns {
        match &column.values {
            Values::Floats(values) => sum += values.iter().sum::<f64>(),
            Values::Integers(units) if column.name.contains('@') => sum += units.iter().sum::<i64>() as f64,
            _ => {}
        }
    }
    SUM.set((sum, rows + frame.times.len() as i64));
}

export!(Sums);
